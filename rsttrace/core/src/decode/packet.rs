//! Sightings of the TC classifiers.

use rsttrace_common::packet::{
    self as wire, PACKET_EGRESS, PACKET_HAS_SOCKET, PACKET_LOOKED_UP, PACKET_LOOPBACK,
    PACKET_RAW_SOCKET,
};

use super::DecodeError;
use super::address::state;
use super::ownership::current;
use super::segment::dissect;
use crate::event::{
    Baseline, BootTime, Packet, Segment, SenderSocket, SocketCookie, Target, TcpState,
};

/// A segment with RST.
pub(super) fn packet(wire: &wire::RstPacket) -> Result<Packet, DecodeError> {
    let snap = wire
        .snap
        .get(..wire.snap_len.into())
        .ok_or(DecodeError::SnapLength(wire.snap_len))?;
    let headers = dissect(snap, wire.tcp_offset.into())?;
    let egress = wire.flags & PACKET_EGRESS != 0;
    Ok(Packet {
        source: headers.source,
        destination: headers.destination,
        segment: Segment {
            seq: headers.seq,
            ack: headers.ack,
            payload_len: headers.payload_len,
            window: headers.window,
            ip_id: headers.ip_id,
            flags: headers.flags,
            ttl: headers.ttl,
            ifindex: wire.ifindex,
        },
        dont_fragment: headers.dont_fragment,
        timestamps: headers.timestamps,
        has_options: headers.has_options,
        source_mac: mac(wire.source_mac),
        egress,
        loopback: wire.flags & PACKET_LOOPBACK != 0,
        ifindex: wire.ifindex,
        ingress_ifindex: (egress && wire.ingress_ifindex != 0).then_some(wire.ingress_ifindex),
        sender_socket: sender_socket(wire, egress),
        baseline: baseline(&wire.baseline).filter(|_| !egress),
        handshake_of_destination: baseline(&wire.baseline).filter(|_| egress),
        target: target(wire, egress)?,
    })
}

/// A SYN or SYN-ACK that came in; absent if none was seen.
pub(super) fn baseline(wire: &wire::Baseline) -> Option<Baseline> {
    (wire.seen_ns != 0).then(|| Baseline {
        time: BootTime(wire.seen_ns),
        ttl: wire.ttl,
        source_mac: mac(wire.source_mac),
    })
}

fn sender_socket(wire: &wire::RstPacket, egress: bool) -> SenderSocket {
    let cookie = SocketCookie(wire.socket_cookie);
    if !egress {
        SenderSocket::None
    } else if wire.flags & PACKET_RAW_SOCKET != 0 {
        SenderSocket::Raw {
            cookie,
            inode: (wire.socket_inode != 0).then_some(wire.socket_inode),
            current: current(&wire.sender),
        }
    } else if wire.flags & PACKET_HAS_SOCKET != 0 || wire.socket_cookie != 0 {
        SenderSocket::Some(cookie)
    } else {
        SenderSocket::None
    }
}

fn target(wire: &wire::RstPacket, egress: bool) -> Result<Target, DecodeError> {
    if egress || wire.flags & PACKET_LOOKED_UP == 0 {
        return Ok(Target::NotLookedUp);
    }
    let target = &wire.target;
    if target.state == 0 {
        return Ok(Target::None);
    }
    let state = state(target.state)?;
    if matches!(
        state,
        TcpState::Listen | TcpState::TimeWait | TcpState::NewSynRecv
    ) {
        return Ok(Target::Stateless(state));
    }
    Ok(Target::Socket {
        cookie: (target.cookie != 0).then_some(SocketCookie(target.cookie)),
        state,
        rcv_nxt: target.rcv_nxt,
        rcv_wnd: target.rcv_wnd,
        snd_una: target.snd_una,
        snd_nxt: target.snd_nxt,
    })
}

fn mac(bytes: [u8; 6]) -> Option<[u8; 6]> {
    (bytes != [0; 6]).then_some(bytes)
}
