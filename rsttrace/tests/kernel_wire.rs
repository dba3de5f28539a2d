//! Every RST on the wire is understood, whatever surrounds it, and passed on unchanged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::net::{IpAddr, Ipv4Addr};

use kernel::{
    ACK, Namespace, RST, Watch, Wire, addresses, ethernet, ipv4, ipv6, private_namespace, run, sh,
    tcp,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

const MORE_FRAGMENTS: u16 = 0x2000;
/// In units of 8 bytes.
const LATER: u16 = 185;

/// IPv6 extension headers without their first byte: eight bytes each, padded.
const HOP_BY_HOP: (u8, &[u8]) = (0, &[0, 1, 4, 0, 0, 0, 0]);
const ROUTING: (u8, &[u8]) = (43, &[0, 4, 0, 0, 0, 0, 0]);
/// Of 16 bytes.
const DESTINATION: (u8, &[u8]) = (60, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const FRAGMENT_ATOMIC: (u8, &[u8]) = (44, &[0, 0, 0, 0, 0, 0, 1]);
const FRAGMENT_FIRST: (u8, &[u8]) = (44, &[0, 0, 1, 0, 0, 0, 1]);
const FRAGMENT_LATER: (u8, &[u8]) = (44, &[0, 5, 0xc8, 0, 0, 0, 1]);

const CUSTOMER: (u16, u16) = (0x8100, 7);
const SERVICE: (u16, u16) = (0x88a8, 3);

/// An IP packet and what has to be said about it.
struct Sample {
    name: &'static str,
    packet: Vec<u8>,
    expected: Expected,
}

/// A reset as it should be reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    port: u16,
    seq: u32,
    ttl: u8,
    version: u8,
}

fn v4(ttl: u8, options: &[u8], fragment: u16, segment: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = addresses(4) else {
        unreachable!("two of version 4");
    };
    ipv4((from, to), ttl, options, fragment, segment)
}

fn v6(hop_limit: u8, extensions: &[(u8, &[u8])], segment: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = addresses(6) else {
        unreachable!("two of version 6");
    };
    ipv6((from, to), hop_limit, extensions, segment)
}

/// The packet of a TTL or hop limit around a segment.
type Build = fn(u8, &[u8]) -> Vec<u8>;

/// Everything that carries a whole TCP header of these flags; ports from `port` on.
fn readable(port: u16, flags: u8) -> Vec<Sample> {
    let samples: [(&str, u8, Build); 11] = [
        ("plain", 4, |ttl, t| v4(ttl, &[], 0, t)),
        ("4 bytes of options", 4, |ttl, t| {
            v4(ttl, &[1, 1, 1, 0], 0, t)
        }),
        ("40 bytes of options", 4, |ttl, t| v4(ttl, &[1; 40], 0, t)),
        ("first fragment", 4, |ttl, t| {
            v4(ttl, &[], MORE_FRAGMENTS, t)
        }),
        ("payload", 4, |ttl, t| {
            v4(ttl, &[], 0, &[t, b"why it was reset"].concat())
        }),
        ("plain six", 6, |ttl, t| v6(ttl, &[], t)),
        ("hop-by-hop", 6, |ttl, t| v6(ttl, &[HOP_BY_HOP], t)),
        ("destination options", 6, |ttl, t| {
            v6(ttl, &[DESTINATION], t)
        }),
        ("atomic fragment", 6, |ttl, t| {
            v6(ttl, &[FRAGMENT_ATOMIC], t)
        }),
        ("first fragment six", 6, |ttl, t| {
            v6(ttl, &[FRAGMENT_FIRST], t)
        }),
        ("four extension headers", 6, |ttl, t| {
            v6(ttl, &[HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT_ATOMIC], t)
        }),
    ];
    let numbered = samples.into_iter().zip(port..);
    numbered
        .map(|((name, version, packet), port)| {
            let expected = Expected {
                port,
                seq: 0x8000_0000 + u32::from(port),
                ttl: 40 + (port % 64) as u8,
                version,
            };
            let segment = tcp((port, 443), expected.seq, flags);
            let packet = packet(expected.ttl, &segment);
            Sample {
                name,
                packet,
                expected,
            }
        })
        .collect()
}

/// Nothing of this is a RST that can be read, though the bytes look like one.
fn unreadable(port: u16) -> Vec<Vec<u8>> {
    let reset = tcp((port, 443), 1, RST);
    let whole = [
        v4(64, &[1; 40], 0, &reset),
        v6(64, &[HOP_BY_HOP, DESTINATION], &reset),
    ];
    let mut udp = v4(64, &[], 0, &reset);
    udp[9] = 17;
    let mut packets = vec![
        udp,
        v4(64, &[], LATER, &reset),
        v4(64, &[], MORE_FRAGMENTS | LATER, &reset),
        v6(64, &[FRAGMENT_LATER], &reset),
        v6(64, &[HOP_BY_HOP, FRAGMENT_LATER], &reset),
        // An unknown extension header cannot be passed by.
        v6(64, &[(253, &[0, 0, 0, 0, 0, 0, 0])], &reset),
    ];
    for packet in whole {
        // Cut before the flags, in the ports, in the headers before, in the fixed header.
        for left in [
            packet.len() - 7,
            packet.len() - 18,
            packet.len() - 25,
            12,
            // A tagged frame with less does not get through the kernel.
            2,
        ] {
            packets.push(packet[..left].to_vec());
        }
    }
    packets
}

/// What a record says about a reset of ours; panics if its addresses are not as sent.
fn reported(record: &Value) -> Expected {
    // What only came in is shown from the end it came in at.
    let (source, destination) = if record["direction"] == "observed" {
        (&record["remote"], &record["local"])
    } else {
        (&record["local"], &record["remote"])
    };
    let address = |end: &Value| -> IpAddr { end["address"].as_str().unwrap().parse().unwrap() };
    let version = if address(source).is_ipv4() { 4 } else { 6 };
    let ends = (address(source), address(destination));
    assert_eq!(ends, addresses(version), "{record:#}");
    assert_eq!(destination["port"], 443);
    assert_eq!(record["packet"]["flags"], "R", "{record:#}");
    let number = |value: &Value| value.as_u64().unwrap();
    Expected {
        port: number(&source["port"]).try_into().unwrap(),
        seq: number(&record["packet"]["seq"]).try_into().unwrap(),
        ttl: number(&record["packet"]["ttl"]).try_into().unwrap(),
        version,
    }
}

fn assert_reported(records: &[Value], samples: &[Sample], whose: &str) {
    let mut got: Vec<_> = records.iter().map(reported).collect();
    let mut wanted: Vec<_> = samples
        .iter()
        .map(|sample| sample.expected.clone())
        .collect();
    got.sort();
    wanted.sort();
    for sample in samples {
        let times = got.iter().filter(|got| **got == sample.expected).count();
        println!("{whose}: {} {:?}: {times}", sample.name, sample.expected);
    }
    assert_eq!(got, wanted, "{whose}");
}

/// Two namespaces, a veth pair between them, one tracer for each that sees nothing of the other.
struct Lab {
    far: Namespace,
    near_watch: Watch,
    far_watch: Watch,
    near_wire: Wire,
    far_wire: Wire,
}

impl Lab {
    fn up(tc: &str) -> Self {
        let far = Namespace::new();
        let add = format!(
            "ip link add va address 02:00:00:00:00:0a type veth \
             peer name vb address 02:00:00:00:00:0b netns {}",
            far.pid()
        );
        sh(&add);
        run("ip", &["link", "set", "va", "up"]);
        let far_wire = far.enter(|| {
            // A packet socket fails on an interface that is down.
            run("ip", &["link", "set", "vb", "up"]);
            let wire = Wire::start(&["fd:t0", "vb"]);
            run("ip", &["link", "set", "t0", "up"]);
            wire
        });
        let near_wire = Wire::start(&["va"]);
        let options = ["--every", "--noise", "--tc", tc];
        let near_watch = Watch::own_namespace(&options);
        near_watch.await_classifiers("va");
        let inode = far.inode().to_string();
        let far_watch = Watch::start_unready(&[&options[..], &["--netns", &inode]].concat());
        far.enter(|| {
            far_watch.await_classifiers("vb");
            far_watch.await_classifiers("t0");
        });
        Self {
            far,
            near_watch,
            far_watch,
            near_wire,
            far_wire,
        }
    }

    /// Both tracers' records, after all that was sent has been seen.
    fn end(self) -> (Vec<Value>, Vec<Value>) {
        let end = |watch: Watch| {
            let ended = watch.end(Signal::SIGINT);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            assert!(ended.stderr.contains("no events lost"), "{}", ended.stderr);
            ended.records()
        };
        (end(self.near_watch), end(self.far_watch))
    }
}

#[test]
#[ignore = "needs root"]
fn resets_in_ethernet_frames_are_reported_once_at_each_host_and_arrive_as_sent() {
    ethernet_frames("auto");
}

#[test]
#[ignore = "needs root"]
fn resets_in_ethernet_frames_pass_clsact_classifiers_as_sent_too() {
    ethernet_frames("clsact");
}

fn ethernet_frames(tc: &'static str) {
    private_namespace(move || {
        let mut lab = Lab::up(tc);
        let mut expected = Vec::new();
        let framings: [(&str, &[(u16, u16)]); 4] = [
            ("untagged", &[]),
            ("802.1Q", &[CUSTOMER]),
            ("QinQ", &[SERVICE, CUSTOMER]),
            ("QinQ of 802.1Q tags", &[(0x8100, 3), CUSTOMER]),
        ];
        for (at, (name, tags)) in (0..).zip(framings) {
            let port = 1000 + 100 * at;
            let resets = readable(port, RST);
            let others = readable(port + 50, ACK);
            let packets = resets.iter().chain(&others).map(|sample| &sample.packet);
            for packet in packets.chain(&unreadable(port + 90)) {
                let frame = ethernet(FAR_MAC, NEAR_MAC, tags, packet);
                lab.near_wire.send("va", &frame);
                lab.far_wire.await_frame("vb", &frame);
            }
            expected.extend(resets.into_iter().map(|reset| Sample { name, ..reset }));
        }
        let process = lab.near_wire.pid();
        let (near, far) = lab.end();
        assert_reported(&far, &expected, "far");
        for record in &far {
            assert_eq!(record["direction"], "observed", "{record:#}");
            assert_eq!(record["interface"], "vb");
            assert_eq!(record.get("process"), None, "{record:#}");
        }
        assert_reported(&near, &expected, "near");
        for record in &near {
            assert_eq!(record["verdict"]["cause"], "raw_socket", "{record:#}");
            assert_eq!(record["process"]["pid"], process, "{record:#}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn resets_at_a_device_without_link_layer_header_are_reported_once_and_pass_as_sent() {
    private_namespace(|| {
        let mut lab = Lab::up("auto");
        let written = readable(1000, RST);
        let read = readable(2000, RST);
        for sample in written.iter().chain(&readable(1500, ACK)) {
            lab.far_wire.send("fd:t0", &sample.packet);
        }
        // Through a packet socket, to be read at the file's end.
        let mut sender = lab.far.enter(|| Wire::start(&["t0"]));
        for sample in read.iter().chain(&readable(2500, ACK)) {
            sender.send("t0", &sample.packet);
            lab.far_wire.await_frame("fd:t0", &sample.packet);
        }
        for packet in unreadable(3000) {
            // Shorter ones are not taken by such a device.
            if packet.len() >= 20 {
                sender.send("t0", &packet);
                lab.far_wire.await_frame("fd:t0", &packet);
            }
        }
        let (near, far) = lab.end();
        assert!(near.is_empty(), "{near:#?}");
        let came: Vec<_> = far
            .iter()
            .filter(|record| record["direction"] == "observed")
            .cloned()
            .collect();
        assert_reported(&came, &written, "written by the file's end");
        let sent: Vec<_> = far
            .iter()
            .filter(|record| record["direction"] != "observed")
            .cloned()
            .collect();
        assert_reported(&sent, &read, "read at the file's end");
        for record in &far {
            assert_eq!(record["interface"], "t0", "{record:#}");
            assert_eq!(record["packet"].get("mac"), None, "{record:#}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn forwarded_resets_are_reported_once_and_leave_with_one_hop_less_only() {
    private_namespace(|| {
        let mut lab = Lab::up("auto");
        for (setting, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/vb/rp_filter", "0"),
        ] {
            lab.far.set(setting, value);
        }
        for address in ["192.0.2.1/24", "2001:db8:1::1/64"] {
            let address = address.parse().unwrap();
            lab.far.add_address("vb", address).unwrap();
        }
        lab.far.enter(|| {
            sh("ip route add 198.51.100.0/24 dev t0");
            sh("ip route add 2001:db8:2::/64 dev t0");
        });
        let samples = [forwardable(1000, RST), forwardable(2000, ACK)];
        for sample in samples.iter().flatten() {
            let frame = ethernet(FAR_MAC, NEAR_MAC, &[], &sample.packet);
            lab.near_wire.send("va", &frame);
            lab.far_wire
                .await_frame("fd:t0", &one_hop_less(&sample.packet));
        }
        let [resets, _] = samples;
        let (_, far) = lab.end();
        for record in &far {
            assert_eq!(record["direction"], "forwarded", "{record:#}");
            assert_eq!(record["interface"], "t0", "{record:#}");
            assert_eq!(record.get("process"), None, "{record:#}");
        }
        let ports: Vec<_> = far.iter().map(|record| reported(record).port).collect();
        let wanted: Vec<_> = resets.iter().map(|sample| sample.expected.port).collect();
        assert_eq!(ports, wanted);
        for (record, sample) in far.iter().zip(&resets) {
            let Expected { seq, ttl, .. } = reported(record);
            assert_eq!(seq, sample.expected.seq);
            // At the first or the last sight.
            assert!(
                (sample.expected.ttl - 1..=sample.expected.ttl).contains(&ttl),
                "{record:#}"
            );
        }
    });
}

/// Without what routers refuse or touch.
fn forwardable(port: u16, flags: u8) -> Vec<Sample> {
    let mut samples = readable(port, flags);
    samples.retain(|sample| {
        [
            "plain",
            "40 bytes of options",
            "plain six",
            "destination options",
        ]
        .contains(&sample.name)
    });
    samples
}

/// The packet after a router; the only change besides is the checksum that covers the TTL.
fn one_hop_less(packet: &[u8]) -> Vec<u8> {
    let mut after = packet.to_vec();
    if packet[0] >> 4 == 6 {
        after[7] -= 1;
        return after;
    }
    let ends =
        |at: usize| Ipv4Addr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let length = usize::from(packet[0] & 0xf) * 4;
    let options = &packet[20..length];
    ipv4(
        (ends(12), ends(16)),
        packet[8] - 1,
        options,
        0,
        &packet[length..],
    )
}
