//! Wire bytes of an event, for tests: the inverse that decoding is checked against.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, TcpOptionElement};
use rsttrace_common::{Header, WIRE_VERSION, header, lifecycle, packet, reset, socket, task};
use zerocopy::{FromZeros, IntoBytes};

use super::KernelFacts;
use crate::event::ResetReason;
use crate::event::{
    Baseline, Body, BootTime, CurrentTask, Event, Flow, OwnerSource, Ownership, Packet, Segment,
    SenderSocket, Sent, Socket, Target, Task, TcpState, Tombstone,
};

/// So that every stamp less than 2^31 ticks ago is not 0, and some lie on either side of the wrap.
pub(super) const NOW: u32 = 0x8000_0001;
const HZ: u32 = 250;

pub(super) fn facts() -> KernelFacts {
    KernelFacts {
        hz: HZ,
        reasons: vec![
            (3, "SK_RST_REASON_NO_SOCKET".into()),
            (1, "NOT_SPECIFIED".into()),
        ],
    }
}

pub(super) fn encode(event: &Event) -> Vec<u8> {
    match &event.body {
        Body::Sent(sent) if sent.socket.is_none() => stateless(event, sent),
        Body::Sent(sent) => {
            let mut wire = reset::ResetSent::new_zeroed();
            wire.header = head(event, header::KIND_RESET_SENT);
            wire.flow = flow(&sent.flow);
            wire.socket = sent
                .socket
                .as_ref()
                .map(|it| socket(it, sent.ownership.as_ref()))
                .unwrap();
            wire.ownership = sent
                .ownership
                .as_ref()
                .map_or(FromZeros::new_zeroed(), ownership);
            wire.current = sent
                .current
                .as_ref()
                .map_or(FromZeros::new_zeroed(), current);
            wire.cause = sent.cause.as_ref().map_or(FromZeros::new_zeroed(), segment);
            wire.reason = reason(sent.reason.as_ref().map(ResetReason::name));
            wire.passive = sent.passive.into();
            wire.as_bytes().to_vec()
        }
        Body::Received(received) => {
            let mut wire = reset::ResetReceived::new_zeroed();
            wire.header = head(event, header::KIND_RESET_RECEIVED);
            wire.flow = flow(&received.flow);
            wire.socket = socket(&received.socket, received.ownership.as_ref());
            wire.ownership = received
                .ownership
                .as_ref()
                .map_or(FromZeros::new_zeroed(), ownership);
            wire.segment = received
                .segment
                .as_ref()
                .map_or(FromZeros::new_zeroed(), segment);
            wire.as_bytes().to_vec()
        }
        Body::Failed(failed) => match &failed.socket {
            Some(known) => {
                let mut wire = lifecycle::Failed::new_zeroed();
                wire.header = head(event, header::KIND_FAILED);
                wire.flow = flow(&failed.flow);
                wire.socket = socket(known, failed.ownership.as_ref());
                wire.ownership = failed
                    .ownership
                    .as_ref()
                    .map_or(FromZeros::new_zeroed(), ownership);
                wire.error = failed.error;
                wire.trying_ms = failed.tried.map_or(u32::MAX, |tried| {
                    u32::try_from(tried.as_millis()).unwrap_or(u32::MAX)
                });
                wire.last_state = state(failed.last_state);
                wire.unsent = failed.unsent.into();
                wire.as_bytes().to_vec()
            }
            None => {
                let mut wire = lifecycle::TimedOut::new_zeroed();
                wire.header = head(event, header::KIND_TIMED_OUT);
                wire.flow = flow(&failed.flow);
                wire.ownership = failed
                    .ownership
                    .as_ref()
                    .map_or(FromZeros::new_zeroed(), ownership);
                wire.error = failed.error;
                wire.last_state = state(failed.last_state);
                wire.as_bytes().to_vec()
            }
        },
        Body::Packet(packet) => rst_packet(event, packet),
    }
}

fn stateless(event: &Event, sent: &Sent) -> Vec<u8> {
    let mut wire = reset::ResetSentStateless::new_zeroed();
    wire.header = head(event, header::KIND_RESET_SENT_STATELESS);
    wire.flow = flow(&sent.flow);
    wire.cause = sent.cause.as_ref().map_or(FromZeros::new_zeroed(), segment);
    wire.connection = sent
        .former_connection
        .as_deref()
        .map_or(FromZeros::new_zeroed(), tombstone);
    wire.listener = sent
        .former_listener
        .as_deref()
        .map_or(FromZeros::new_zeroed(), tombstone);
    wire.handshake = sent
        .handshake
        .as_ref()
        .map_or(FromZeros::new_zeroed(), baseline);
    wire.reason = reason(sent.reason.as_ref().map(ResetReason::name));
    wire.state = sent.minisock.map_or(0, state);
    wire.as_bytes().to_vec()
}

pub(super) fn head(event: &Event, kind: u16) -> Header {
    Header {
        time_ns: event.time.0,
        netns_cookie: event.netns.0,
        netns_inode: event.netns_inode.unwrap_or(0),
        jiffies: NOW,
        kind,
        version: WIRE_VERSION,
        cpu: event.cpu,
    }
}

fn reason(name: Option<&str>) -> u32 {
    match name {
        None => reset::REASON_NONE,
        Some("NO_SOCKET") => 3,
        Some("NOT_SPECIFIED") => 1,
        Some(number) => number.trim_start_matches('#').parse().unwrap(),
    }
}

pub(super) fn flow(flow: &Flow) -> rsttrace_common::Flow {
    rsttrace_common::Flow {
        local_address: address(flow.local.ip()),
        remote_address: address(flow.remote.ip()),
        local_port: flow.local.port(),
        remote_port: flow.remote.port(),
        reserved: 0,
    }
}

fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn segment(segment: &Segment) -> reset::Segment {
    reset::Segment {
        seq: segment.seq,
        ack: segment.ack,
        payload_len: segment.payload_len,
        ifindex: segment.ifindex,
        window: segment.window,
        ip_id: segment.ip_id.unwrap_or(0),
        flags: segment.flags.0,
        ttl: segment.ttl,
        tos: 0,
        present: 1,
    }
}

fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos() * u128::from(HZ) / 1_000_000_000).unwrap()
}

fn socket(socket: &Socket, ownership: Option<&Ownership>) -> socket::Socket {
    let mut wire = socket::Socket::new_zeroed();
    let lived_in = match ownership.and_then(|it| it.state_before_close) {
        Some(before) if socket.state == TcpState::Close => before,
        _ => socket.state,
    };
    let fin_or_syn = matches!(
        lived_in,
        TcpState::SynSent | TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck
    );
    let stamp = |since: Option<Duration>| since.map_or(0, |since| NOW - ticks(since));
    let bit = |set: bool, bit: u32| u64::from(set) << bit;
    wire.cookie = socket.cookie.0;
    wire.inode = socket.inode.unwrap_or(0);
    wire.cgroup_id = socket.cgroup_id.unwrap_or(0);
    wire.flags = bit(socket.orphaned, 0)
        | bit(socket.peer_finished, 1)
        | bit(socket.keepalive, 3)
        | bit(socket.linger.is_some(), 4);
    wire.bytes_sent = socket.bytes_sent;
    wire.bytes_received = socket
        .bytes_received
        .saturating_add(socket.peer_finished.into());
    wire.uid = socket.uid;
    wire.rcv_nxt = socket.rcv_nxt;
    wire.copied_seq = socket
        .rcv_nxt
        .wrapping_sub(socket.unread)
        .wrapping_sub(socket.peer_finished.into());
    wire.snd_nxt = socket.snd_nxt;
    wire.snd_una = socket.snd_una;
    wire.write_seq = socket
        .snd_una
        .wrapping_add(socket.unacknowledged)
        .wrapping_add(fin_or_syn.into());
    wire.rcv_wnd = socket.rcv_wnd;
    wire.srtt_us_x8 = socket
        .rtt
        .map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap() << 3 | 1);
    wire.rtt_min_us = socket
        .rtt_min
        .map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap());
    wire.lsndtime = stamp(socket.since_sent);
    wire.lrcvtime = stamp(socket.since_received);
    wire.rcv_tstamp = stamp(socket.since_ack);
    wire.since_transmit_ns = socket
        .since_transmit
        .map_or(u64::MAX, |since| u64::try_from(since.as_nanos()).unwrap());
    wire.chrono_start = stamp(socket.since_first_unacknowledged);
    wire.chrono_type = socket.since_first_unacknowledged.is_some().into();
    wire.packets_out = wire.chrono_type.into();
    wire.keepalive_time = socket.keepalive_time.map_or(0, ticks);
    wire.keepalive_interval = socket.keepalive_interval.map_or(0, ticks);
    wire.keepalive_probes = socket.keepalive_probes.unwrap_or(0);
    wire.user_timeout_ms = socket
        .user_timeout
        .map_or(0, |it| u32::try_from(it.as_millis()).unwrap());
    wire.total_retransmits = socket.total_retransmits;
    wire.linger_jiffies = socket.linger.map_or(0, ticks);
    wire.linger2 = -i32::from(socket.linger2_off);
    wire.error = socket.error;
    (wire.accept_queue, wire.accept_queue_limit) = socket.accept_queue.unwrap_or_default();
    wire.state = state(socket.state);
    wire.shutdown = u8::from(socket.receive_shutdown) | u8::from(socket.send_shutdown) << 1;
    wire.owned = socket.owned.into();
    wire.probes_out = socket.probes_out;
    wire.retransmits = socket.retransmits;
    wire.has_file = socket.has_file.into();
    wire.repair = socket.repair.into();
    wire.mptcp = socket.mptcp.into();
    wire.timestamps = socket.timestamps.into();
    wire
}

fn tombstone(tombstone: &Tombstone) -> lifecycle::Tombstone {
    lifecycle::Tombstone {
        ownership: ownership(&tombstone.ownership),
        end: lifecycle::End {
            died_ns: tombstone.died.0,
            cookie: tombstone.cookie.map_or(0, |cookie| cookie.0),
            error: tombstone.error,
            unread: tombstone.unread,
            last_state: state(tombstone.last_state),
            fin_sent: tombstone.fin_sent.into(),
            reserved: [0; 6],
        },
    }
}

fn ownership(ownership: &Ownership) -> socket::Ownership {
    let mut wire = socket::Ownership::new_zeroed();
    wire.owner = ownership
        .owner
        .as_ref()
        .map_or(FromZeros::new_zeroed(), task);
    // So that a record in which nothing is set stays one.
    wire.cookie = 1;
    if let Some(closer) = &ownership.closer {
        wire.closer_start_boottime_ns = closer.task.start.0;
        wire.closed_ns = closer.time.map_or(0, |time| time.0);
        wire.closer_pid = pid(&closer.task);
        wire.closer_uid = closer.task.uid;
        wire.closer_comm = comm(&closer.task.comm);
        wire.closer_flags = u8::from(closer.exiting) | u8::from(closer.kernel_thread) << 1;
        wire.closed_quiet = ticks(closer.quiet);
        wire.closer_signal = closer.signal.unwrap_or(0);
    }
    if let Some(finish) = ownership.peer_finish {
        wire.peer_finished_ns = finish.time.0;
        wire.peer_finished_quiet = ticks(finish.quiet);
    }
    wire.established_ns = ownership.established.map_or(0, |BootTime(ns)| ns);
    (wire.local_isn, wire.remote_isn) = ownership.isn.unwrap_or_default();
    wire.flags = u32::from(ownership.inherited) | u32::from(ownership.isn.is_some()) << 1;
    wire.source = match ownership.source {
        None => socket::SOURCE_NONE,
        Some(OwnerSource::Connect) => socket::SOURCE_CONNECT,
        Some(OwnerSource::Listen) => socket::SOURCE_LISTEN,
        Some(OwnerSource::Seeded) => socket::SOURCE_SEEDED,
        Some(OwnerSource::Accept) => socket::SOURCE_ACCEPT,
    };
    wire.state_before_close = ownership.state_before_close.map_or(0, state);
    wire
}

fn current(current: &CurrentTask) -> task::CurrentTask {
    task::CurrentTask {
        task: task(&current.task),
        flags: if current.exiting { task::PF_EXITING } else { 0 }
            | if current.kernel_thread {
                task::PF_KTHREAD
            } else {
                0
            },
        exit_code: current.signal.unwrap_or(0).into(),
    }
}

fn task(task: &Task) -> task::Task {
    task::Task {
        start_boottime_ns: task.start.0,
        cgroup_id: task.cgroup_id,
        pid: pid(task),
        uid: task.uid,
        comm: comm(&task.comm),
    }
}

fn pid(task: &Task) -> u32 {
    task.pid | if task.outside { task::PID_OUTSIDE } else { 0 }
}

/// A name that holds replaced bytes may not fit any more.
fn comm(name: &str) -> [u8; task::COMM_LEN] {
    let mut bytes = [0; task::COMM_LEN];
    let length = name.len().min(task::COMM_LEN);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

pub(super) fn state(state: TcpState) -> u8 {
    (1..=12)
        .find(|&number| super::address::state(number) == Ok(state))
        .unwrap()
}

fn rst_packet(event: &Event, packet: &Packet) -> Vec<u8> {
    let mut wire = packet::RstPacket::new_zeroed();
    wire.header = head(event, header::KIND_RST_PACKET);
    wire.ifindex = packet.ifindex;
    wire.ingress_ifindex = packet.ingress_ifindex.unwrap_or(0);
    wire.source_mac = packet.source_mac.unwrap_or_default();
    if packet.egress {
        wire.flags |= packet::PACKET_EGRESS;
    }
    if packet.loopback {
        wire.flags |= packet::PACKET_LOOPBACK;
    }
    match &packet.sender_socket {
        SenderSocket::None => {}
        SenderSocket::Some(cookie) => {
            wire.flags |= packet::PACKET_HAS_SOCKET;
            wire.socket_cookie = cookie.0;
        }
        SenderSocket::Raw {
            cookie,
            inode,
            current: sender,
        } => {
            wire.flags |= packet::PACKET_HAS_SOCKET | packet::PACKET_RAW_SOCKET;
            wire.socket_cookie = cookie.0;
            wire.socket_inode = inode.unwrap_or(0);
            wire.sender = sender.as_ref().map_or(FromZeros::new_zeroed(), current);
        }
    }
    let seen = packet.baseline.or(packet.handshake_of_destination);
    wire.baseline = seen.as_ref().map_or(FromZeros::new_zeroed(), baseline);
    if packet.target != Target::NotLookedUp {
        wire.flags |= packet::PACKET_LOOKED_UP;
    }
    match packet.target {
        Target::NotLookedUp | Target::None => {}
        Target::Stateless(it) => wire.target.state = state(it),
        Target::Socket {
            cookie,
            state: it,
            rcv_nxt,
            rcv_wnd,
            snd_una,
            snd_nxt,
        } => {
            wire.target = packet::Target {
                cookie: cookie.map_or(0, |cookie| cookie.0),
                rcv_nxt,
                rcv_wnd,
                snd_una,
                snd_nxt,
                state: state(it),
                reserved: [0; 7],
            };
        }
    }
    let (snap, tcp_offset) = snap(packet);
    wire.snap[..snap.len()].copy_from_slice(&snap);
    wire.snap_len = u16::try_from(snap.len()).unwrap();
    wire.tcp_offset = u16::try_from(tcp_offset).unwrap();
    wire.as_bytes().to_vec()
}

fn baseline(seen: &Baseline) -> packet::Baseline {
    packet::Baseline {
        seen_ns: seen.time.0,
        ttl: seen.ttl,
        flags: 0,
        source_mac: seen.source_mac.unwrap_or_default(),
    }
}

/// Headers of the packet without its payload, and where TCP begins.
pub(super) fn snap(packet: &Packet) -> (Vec<u8>, usize) {
    let mut tcp = TcpHeader::new(
        packet.source.port(),
        packet.destination.port(),
        packet.segment.seq,
        packet.segment.window,
    );
    tcp.acknowledgment_number = packet.segment.ack;
    if let Some((value, echo)) = packet.timestamps {
        tcp.set_options(&[
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
            TcpOptionElement::Timestamp(value, echo),
        ])
        .unwrap();
    } else if packet.has_options {
        tcp.set_options(&[TcpOptionElement::MaximumSegmentSize(1460)])
            .unwrap();
    }
    let length = tcp.header_len() + packet.segment.payload_len as usize;
    let mut bytes = Vec::new();
    if let Some(ip_id) = packet.segment.ip_id {
        let (SocketAddr::V4(source), SocketAddr::V4(destination)) =
            (packet.source, packet.destination)
        else {
            unreachable!("IPv4 identification without IPv4");
        };
        let length = u16::try_from(length).unwrap();
        let addresses = (source.ip().octets(), destination.ip().octets());
        let mut ip = Ipv4Header::new(
            length,
            packet.segment.ttl,
            IpNumber::TCP,
            addresses.0,
            addresses.1,
        )
        .unwrap();
        ip.identification = ip_id;
        ip.dont_fragment = packet.dont_fragment.unwrap();
        ip.write(&mut bytes).unwrap();
    } else {
        let ip = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: u16::try_from(length).unwrap(),
            next_header: IpNumber::TCP,
            hop_limit: packet.segment.ttl,
            source: address(packet.source.ip()),
            destination: address(packet.destination.ip()),
        };
        ip.write(&mut bytes).unwrap();
    }
    let offset = bytes.len();
    tcp.write(&mut bytes).unwrap();
    bytes[offset + 13] = packet.segment.flags.0;
    (bytes, offset)
}
