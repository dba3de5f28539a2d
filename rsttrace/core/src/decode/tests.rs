//! Decoding reads what the eBPF programs write.

use std::time::Duration;

use rsttrace_common::{
    Header, WIRE_VERSION, header, lifecycle, packet, reset, socket as wire_socket,
};
use zerocopy::{FromZeros, IntoBytes};

use super::encode::{NOW, facts};
use super::segment::dissect;
use super::{DecodeError, Decoder};
use crate::event::{Body, Packet, ResetReason, SenderSocket, Sent, Socket, Target, TcpState};

pub(super) fn decoder() -> Decoder {
    Decoder::new(facts())
}

fn head(kind: u16) -> Header {
    Header {
        time_ns: 1,
        netns_cookie: 2,
        netns_inode: 0,
        jiffies: NOW,
        kind,
        version: WIRE_VERSION,
        cpu: 0,
    }
}

fn sent(fill: impl FnOnce(&mut reset::ResetSent)) -> Result<Sent, DecodeError> {
    let mut wire = reset::ResetSent::new_zeroed();
    wire.header = head(header::KIND_RESET_SENT);
    wire.socket.state = wire_socket::TCP_ESTABLISHED;
    wire.reason = reset::REASON_NONE;
    fill(&mut wire);
    match decoder().decode(wire.as_bytes())?.body {
        Body::Sent(sent) => Ok(Sent::clone(&sent)),
        other => unreachable!("{other:?}"),
    }
}

fn socket(fill: impl FnOnce(&mut wire_socket::Socket)) -> Socket {
    sent(|wire| fill(&mut wire.socket)).unwrap().socket.unwrap()
}

#[test]
fn too_short_of_another_version_or_kind_is_said_with_the_number() {
    let mut wire = reset::ResetSent::new_zeroed();
    wire.header = head(header::KIND_RESET_SENT);
    wire.socket.state = 1;
    let bytes = wire.as_bytes();
    assert_eq!(
        decoder().decode(&bytes[..31]),
        Err(DecodeError::Short {
            what: "the header",
            need: 32,
            got: 31
        })
    );
    assert_eq!(
        decoder().decode(&bytes[..bytes.len() - 1]),
        Err(DecodeError::Short {
            what: "a sent reset",
            need: bytes.len(),
            got: bytes.len() - 1
        })
    );
    wire.header.version = 9;
    assert_eq!(
        decoder().decode(wire.as_bytes()),
        Err(DecodeError::Version(9))
    );
    wire.header = head(77);
    assert_eq!(
        decoder().decode(wire.as_bytes()),
        Err(DecodeError::Kind(77))
    );
    assert_eq!(
        sent(|wire| wire.socket.state = 13),
        Err(DecodeError::State(13))
    );
    assert_eq!(
        sent(|wire| wire.ownership.source = 5),
        Err(DecodeError::OwnerSource(5))
    );
}

#[test]
fn the_class_of_an_event_does_not_depend_on_where_it_lies() {
    let mut wire = reset::ResetSent::new_zeroed();
    wire.header = head(header::KIND_RESET_SENT);
    wire.reason = 3;
    wire.passive = 1;
    let classes = [0, 1, 4].map(|at| {
        let bytes = [&[0; 8][..at], wire.as_bytes()].concat();
        Decoder::class(&bytes[at..])
    });
    assert!(classes[0].is_some());
    assert_eq!(classes, [classes[0]; 3]);
}

#[test]
fn padding_after_the_event_and_any_alignment_are_accepted() {
    let mut wire = lifecycle::TimedOut::new_zeroed();
    wire.header = head(header::KIND_TIMED_OUT);
    wire.last_state = 1;
    let expected = decoder().decode(wire.as_bytes()).unwrap();
    for shift in 0..9 {
        let mut bytes = vec![0xff; shift];
        bytes.extend_from_slice(wire.as_bytes());
        bytes.extend_from_slice(&[0xee; 4]);
        assert_eq!(decoder().decode(&bytes[shift..]), Ok(expected.clone()));
    }
}

#[test]
fn reasons_are_named_by_the_running_kernel() {
    let name = |number| sent(|wire| wire.reason = number).unwrap().reason;
    assert_eq!(name(3), Some(ResetReason::NoSocket));
    assert_eq!(name(1), Some(ResetReason::NotSpecified));
    assert_eq!(name(25), Some(ResetReason::Other("#25".into())));
    assert_eq!(name(reset::REASON_NONE), None);
}

#[test]
fn mapped_addresses_are_ipv4_and_a_listeners_unset_end_follows_the_other() {
    let v4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
    let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let cases = [
        (v4, v4, "10.0.0.1:80 10.0.0.1:9"),
        (v6, v6, "[fd00::1]:80 [fd00::1]:9"),
        (v4, [0; 16], "10.0.0.1:80 0.0.0.0:9"),
        ([0; 16], v4, "0.0.0.0:80 10.0.0.1:9"),
        ([0; 16], [0; 16], "[::]:80 [::]:9"),
    ];
    for (local_address, remote_address, shown) in cases {
        let flow = rsttrace_common::Flow {
            local_address,
            remote_address,
            local_port: 80,
            remote_port: 9,
            reserved: 0,
        };
        assert_eq!(
            sent(|wire| wire.flow = flow).unwrap().flow.to_string(),
            shown
        );
    }
}

/// (state, state before close, peer's FIN seen, rcv_nxt − copied_seq, write_seq − snd_una, unread, unacknowledged)
const AMOUNTS: &[(u8, u8, bool, u32, u32, u32, u32)] = &[
    (wire_socket::TCP_ESTABLISHED, 0, false, 100, 7, 100, 7),
    (wire_socket::TCP_CLOSE_WAIT, 0, true, 101, 7, 100, 7),
    // The application has read the end of the stream: the FIN's number is behind copied_seq.
    (wire_socket::TCP_CLOSE_WAIT, 0, true, 0, 0, 0, 0),
    (wire_socket::TCP_FIN_WAIT1, 0, false, 5, 11, 5, 10),
    (wire_socket::TCP_FIN_WAIT1, 0, false, 0, 0, 0, 0),
    (wire_socket::TCP_FIN_WAIT2, 0, false, 5, 0, 5, 0),
    (
        wire_socket::TCP_CLOSE,
        wire_socket::TCP_LAST_ACK,
        true,
        1,
        1,
        0,
        0,
    ),
    (
        wire_socket::TCP_CLOSE,
        wire_socket::TCP_ESTABLISHED,
        false,
        64,
        3,
        64,
        3,
    ),
    (wire_socket::TCP_CLOSE, 0, false, 64, 3, 64, 3),
    (wire_socket::TCP_SYN_SENT, 0, false, 0, 1, 0, 0),
    (
        wire_socket::TCP_CLOSE,
        wire_socket::TCP_SYN_SENT,
        false,
        9,
        1,
        0,
        0,
    ),
    (wire_socket::TCP_LISTEN, 0, false, 17, 17, 0, 0),
    (
        wire_socket::TCP_ESTABLISHED,
        0,
        false,
        u32::MAX,
        1 << 31,
        0,
        0,
    ),
];

#[test]
fn amounts_leave_out_syn_and_fin_and_never_wrap() {
    for case in AMOUNTS {
        let &(state, before, done, received, written, unread, unacknowledged) = case;
        let sent = sent(|wire| {
            wire.ownership.state_before_close = before;
            let socket = &mut wire.socket;
            socket.state = state;
            socket.flags = u64::from(done) << 1;
            socket.copied_seq = u32::MAX - 10;
            socket.rcv_nxt = socket.copied_seq.wrapping_add(received);
            socket.snd_una = u32::MAX - 2;
            socket.write_seq = socket.snd_una.wrapping_add(written);
        });
        let socket = sent.unwrap().socket.unwrap();
        assert_eq!(
            (socket.unread, socket.unacknowledged),
            (unread, unacknowledged),
            "{case:?}"
        );
    }
}

#[test]
fn clocks_mean_nothing_before_the_handshake() {
    // (state, state before close, clocks are read)
    let cases = [
        (wire_socket::TCP_ESTABLISHED, 0, true),
        (wire_socket::TCP_FIN_WAIT2, 0, true),
        (wire_socket::TCP_CLOSE, 0, true),
        (wire_socket::TCP_CLOSE, wire_socket::TCP_ESTABLISHED, true),
        (wire_socket::TCP_CLOSE, wire_socket::TCP_SYN_SENT, false),
        (wire_socket::TCP_CLOSE, wire_socket::TCP_SYN_RECV, false),
        (wire_socket::TCP_SYN_SENT, 0, false),
        (wire_socket::TCP_SYN_RECV, 0, false),
        (wire_socket::TCP_LISTEN, 0, false),
    ];
    for (state, before, read) in cases {
        let sent = sent(|wire| {
            wire.ownership.state_before_close = before;
            wire.socket.state = state;
            wire.socket.lsndtime = NOW - 250;
            wire.socket.lrcvtime = NOW - 500;
            wire.socket.rcv_tstamp = NOW - 750;
        });
        let socket = sent.unwrap().socket.unwrap();
        let clocks = [socket.since_sent, socket.since_received, socket.since_ack];
        let expected = [1, 2, 3].map(|seconds| read.then(|| Duration::from_secs(seconds)));
        assert_eq!(clocks, expected, "{state} {before}");
        assert_eq!(
            socket.accept_queue.is_some(),
            socket.state == TcpState::Listen
        );
    }
}

#[test]
fn the_first_unacknowledged_send_counts_only_while_something_is_in_flight() {
    // (chrono type, snd_nxt − snd_una, packets out, known)
    for (chrono_type, in_flight, packets_out, known) in [
        (1, 5, 0, true),
        (1, 0, 1, true),
        (1, 0, 0, false),
        (2, 5, 1, false),
        (0, 5, 1, false),
    ] {
        let socket = socket(|socket| {
            socket.chrono_type = chrono_type;
            socket.chrono_start = NOW - 504;
            socket.snd_nxt = socket.snd_una + in_flight;
            socket.packets_out = packets_out;
        });
        let expected = known.then(|| Duration::from_millis(2016));
        assert_eq!(
            socket.since_first_unacknowledged, expected,
            "{chrono_type} {in_flight} {packets_out}"
        );
    }
}

#[test]
fn settings_and_measures_come_in_their_units() {
    let it = socket(|socket| {
        socket.flags = 1 << 3 | 1 << 4;
        socket.keepalive_time = 75_000;
        socket.keepalive_probes = 9;
        socket.linger_jiffies = u32::MAX;
        socket.linger2 = -1;
        socket.user_timeout_ms = 30_000;
        socket.srtt_us_x8 = 8 * 1_500 + 7;
        socket.rtt_min_us = u32::MAX;
    });
    assert!(it.keepalive && it.linger2_off && !it.orphaned && !it.peer_finished);
    assert_eq!(it.keepalive_time, Some(Duration::from_secs(300)));
    assert_eq!(
        (it.keepalive_interval, it.keepalive_probes),
        (None, Some(9))
    );
    assert_eq!(
        it.linger,
        Some(Duration::from_millis(u64::from(u32::MAX) * 4))
    );
    assert_eq!(it.user_timeout, Some(Duration::from_secs(30)));
    assert_eq!(
        (it.rtt, it.rtt_min),
        (Some(Duration::from_micros(1_500)), None)
    );
    let bare = socket(|socket| socket.linger_jiffies = 5);
    assert_eq!(
        (bare.linger, bare.rtt, bare.user_timeout, bare.inode),
        (None, None, None, None)
    );
}

#[test]
fn a_fin_is_no_received_byte() {
    for (done, counted, bytes) in [(true, 101, 100), (false, 101, 101), (true, 0, 0)] {
        let socket = socket(|socket| {
            socket.flags = u64::from(done) << 1;
            socket.bytes_received = counted;
        });
        assert_eq!(socket.bytes_received, bytes);
    }
}

#[test]
fn the_segment_of_an_accepted_reset_is_absent_where_it_was_not_hooked() {
    for (present, flags, reset_came) in
        [(0, 4, None), (1, 0x14, Some(true)), (1, 0x18, Some(false))]
    {
        let mut wire = reset::ResetReceived::new_zeroed();
        wire.header = head(header::KIND_RESET_RECEIVED);
        wire.socket.state = wire_socket::TCP_ESTABLISHED;
        wire.segment.present = present;
        wire.segment.seq = 7;
        wire.segment.flags = flags;
        wire.segment.ttl = 57;
        let Body::Received(received) = decoder().decode(wire.as_bytes()).unwrap().body else {
            unreachable!("the kind says so");
        };
        assert_eq!(received.reset_came(), reset_came);
        let headers = received.segment.map(|segment| (segment.seq, segment.ttl));
        assert_eq!(headers, (present == 1).then_some((7, 57)));
    }
}

#[test]
fn nobody_is_absent_and_a_killed_closer_has_its_signal() {
    let nobody = sent(|_| {}).unwrap();
    assert_eq!(
        (nobody.ownership, nobody.current, nobody.cause),
        (None, None, None)
    );
    let killed = sent(|wire| {
        wire.ownership.closer_pid = 7;
        wire.ownership.closer_comm = *b"caf\xe9\0rest is jun";
        wire.ownership.closer_flags = wire_socket::CLOSER_EXITING;
        wire.ownership.closer_signal = 9;
        wire.ownership.source = wire_socket::SOURCE_LISTEN;
        wire.current.task.pid = 7;
        wire.current.flags = rsttrace_common::task::PF_EXITING;
        wire.current.exit_code = 0x89;
    })
    .unwrap();
    let ownership = killed.ownership.unwrap();
    assert_eq!(
        (ownership.owner, ownership.source),
        (None, None),
        "a source without an owner says nothing"
    );
    let closer = ownership.closer.unwrap();
    assert_eq!(
        (closer.task.comm.as_str(), closer.signal, closer.exiting),
        ("caf\u{fffd}", Some(9), true)
    );
    assert_eq!(
        killed.current.unwrap().signal,
        Some(9),
        "the core-dump bit is no signal"
    );
}

/// A packet's first bytes in hex, the kernel's TCP offset, and what they say:
/// source, destination, TTL, id, payload, flags, timestamps, other options than padding.
#[allow(clippy::type_complexity, reason = "a table")]
pub(super) const SNAPS: &[(&str, &str, usize, &str, &str, u8, Option<u16>, u32, &str, Option<(u32, u32)>, bool)] = &[
    (
        "passive reset of Linux to a closed port",
        "45000028000040004006 26cc 0a000102 0a000101 1f90a8ca 00000000 0000002b 5014 0000 0000 0000",
        20, "10.0.1.2:8080", "10.0.1.1:43210", 64, Some(0), 0, "R.", None, false,
    ),
    (
        "active reset with timestamps, cut right behind its header, by Ethernet padded",
        "45000034 1234 4000 3f06 0000 0a000102 0a000101 1f90a8ca 00000001 00000002 8014 01f6 0000 0000
         0101080a 00000010 00000020 0000 0000",
        20, "10.0.1.2:8080", "10.0.1.1:43210", 63, Some(0x1234), 0, "R.", Some((16, 32)), true,
    ),
    (
        "MD5 before timestamps",
        "45000048 0001 0000 4006 0000 0a000102 0a000101 1f90a8ca 00000001 00000002 d004 01f6 0000 0000
         0101 1312 00112233445566778899aabbccddeeff 080a 00000010 00000020 0000",
        20, "10.0.1.2:8080", "10.0.1.1:43210", 64, Some(1), 0, "R", Some((16, 32)), true,
    ),
    (
        "IPv6 with hop-by-hop and destination options, two payload bytes",
        "60000000 0026 00 40 fd000000000000000000000000000002 fd000000000000000000000000000001
         3c00010400000000 0600010400000000 1f90a8ca 00000001 00000002 5014 0000 0000 0000 4142",
        56, "[fd00::2]:8080", "[fd00::1]:43210", 64, None, 2, "R.", None, false,
    ),
    (
        "options cut off within the timestamps",
        "45000034 0000 4000 4006 0000 0a000102 0a000101 1f90a8ca 00000001 00000002 8014 01f6 0000 0000 0101080a 0000",
        20, "10.0.1.2:8080", "10.0.1.1:43210", 64, Some(0), 0, "R.", None, true,
    ),
    (
        "first fragment: only the kernel's offset tells",
        "45000428 0000 2000 4006 0000 0a000102 0a000101 1f90a8ca 00000001 00000002 5004 0000 0000 0000",
        20, "10.0.1.2:8080", "10.0.1.1:43210", 64, Some(0), 1024, "R", None, false,
    ),
    (
        "IPv4 options",
        "4600002c 0000 0000 4006 0000 0a000102 0a000101 01010100 1f90a8ca 00000001 00000002 5004 0000 0000 0000",
        24, "10.0.1.2:8080", "10.0.1.1:43210", 64, Some(0), 0, "R", None, false,
    ),
];

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn segments_are_read_from_whatever_of_the_packet_is_there() {
    for &(
        name,
        snap,
        offset,
        source,
        destination,
        ttl,
        id,
        payload,
        flags,
        timestamps,
        has_options,
    ) in SNAPS
    {
        let found =
            dissect(&hex(snap), offset).unwrap_or_else(|error| unreachable!("{name}: {error}"));
        assert_eq!(found.source.to_string(), source, "{name}");
        assert_eq!(found.destination.to_string(), destination, "{name}");
        assert_eq!(
            (found.ttl, found.ip_id, found.payload_len),
            (ttl, id, payload),
            "{name}"
        );
        assert_eq!(
            (found.flags.to_string().as_str(), found.timestamps),
            (flags, timestamps),
            "{name}"
        );
        assert_eq!(found.has_options, has_options, "{name}");
        assert_eq!(found.dont_fragment.is_some(), id.is_some(), "{name}");
    }
}

#[test]
fn a_snapshot_without_headers_is_an_error() {
    let whole = hex(SNAPS[0].1);
    assert_eq!(dissect(&[], 20), Err(DecodeError::NoIpHeader));
    assert_eq!(dissect(&whole[..19], 20), Err(DecodeError::NoIpHeader));
    assert_eq!(dissect(&whole[..39], 20), Err(DecodeError::NoTcpHeader));
    assert_eq!(dissect(&whole[..20], 500), Err(DecodeError::NoTcpHeader));
}

fn packet(fill: impl FnOnce(&mut packet::RstPacket)) -> Result<Packet, DecodeError> {
    let mut wire = packet::RstPacket::new_zeroed();
    wire.header = head(header::KIND_RST_PACKET);
    let snap = hex(SNAPS[0].1);
    wire.snap[..snap.len()].copy_from_slice(&snap);
    wire.snap_len = u16::try_from(snap.len()).unwrap();
    wire.tcp_offset = 20;
    wire.baseline.seen_ns = 5;
    wire.socket_cookie = 8;
    wire.ingress_ifindex = 3;
    fill(&mut wire);
    match decoder().decode(wire.as_bytes())?.body {
        Body::Packet(packet) => Ok(Packet::clone(&packet)),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn each_direction_knows_its_own_facts_only() {
    let ingress = packet(|wire| wire.flags = packet::PACKET_LOOKED_UP).unwrap();
    assert_eq!(
        (ingress.sender_socket, ingress.ingress_ifindex),
        (SenderSocket::None, None)
    );
    assert_eq!(
        (ingress.baseline.is_some(), ingress.target),
        (true, Target::None)
    );
    let egress =
        packet(|wire| wire.flags = packet::PACKET_EGRESS | packet::PACKET_LOOKED_UP).unwrap();
    assert_eq!(
        egress.sender_socket,
        SenderSocket::Some(crate::event::SocketCookie(8))
    );
    assert_eq!(
        (egress.ingress_ifindex, egress.baseline, egress.target),
        (Some(3), None, Target::NotLookedUp)
    );
    let not_looked_up = packet(|wire| wire.target.state = 1).unwrap();
    assert_eq!(not_looked_up.target, Target::NotLookedUp);
    let listener = packet(|wire| {
        wire.flags = packet::PACKET_LOOKED_UP;
        wire.target.state = wire_socket::TCP_LISTEN;
    });
    assert_eq!(
        listener.unwrap().target,
        Target::Stateless(TcpState::Listen)
    );
    assert_eq!(
        packet(|wire| wire.snap_len = 129),
        Err(DecodeError::SnapLength(129))
    );
}
