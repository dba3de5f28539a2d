//! Addresses, ports and TCP states of wire fields.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rsttrace_common::{flow as wire, reset, socket};

use super::DecodeError;
use crate::event::{Flow, Segment, TcpFlags, TcpState};

/// A flow. An unset address (a listener's) is shown in the family of the other end.
pub(super) fn flow(wire: &wire::Flow) -> Flow {
    let mut local = address(wire.local_address);
    let mut remote = address(wire.remote_address);
    if local.is_ipv4() && is_unset(remote) {
        remote = Ipv4Addr::UNSPECIFIED.into();
    }
    if remote.is_ipv4() && is_unset(local) {
        local = Ipv4Addr::UNSPECIFIED.into();
    }
    Flow {
        local: SocketAddr::new(local, wire.local_port),
        remote: SocketAddr::new(remote, wire.remote_port),
    }
}

/// A segment that came in; absent if it was not recorded.
pub(super) fn segment(wire: &reset::Segment, flow: &Flow) -> Option<Segment> {
    (wire.present != 0).then(|| Segment {
        seq: wire.seq,
        ack: wire.ack,
        payload_len: wire.payload_len,
        window: wire.window,
        ip_id: flow.local.is_ipv4().then_some(wire.ip_id),
        flags: TcpFlags(wire.flags),
        ttl: wire.ttl,
        ifindex: wire.ifindex,
    })
}

/// A TCP state by the kernel's number.
pub(super) fn state(number: u8) -> Result<TcpState, DecodeError> {
    Ok(match number {
        socket::TCP_ESTABLISHED => TcpState::Established,
        socket::TCP_SYN_SENT => TcpState::SynSent,
        socket::TCP_SYN_RECV => TcpState::SynRecv,
        socket::TCP_FIN_WAIT1 => TcpState::FinWait1,
        socket::TCP_FIN_WAIT2 => TcpState::FinWait2,
        socket::TCP_TIME_WAIT => TcpState::TimeWait,
        socket::TCP_CLOSE => TcpState::Close,
        socket::TCP_CLOSE_WAIT => TcpState::CloseWait,
        socket::TCP_LAST_ACK => TcpState::LastAck,
        socket::TCP_LISTEN => TcpState::Listen,
        socket::TCP_CLOSING => TcpState::Closing,
        socket::TCP_NEW_SYN_RECV => TcpState::NewSynRecv,
        _ => return Err(DecodeError::State(number)),
    })
}

/// The kernel's number of a state.
pub(super) const fn state_number(state: TcpState) -> u8 {
    match state {
        TcpState::Established => socket::TCP_ESTABLISHED,
        TcpState::SynSent => socket::TCP_SYN_SENT,
        TcpState::SynRecv => socket::TCP_SYN_RECV,
        TcpState::FinWait1 => socket::TCP_FIN_WAIT1,
        TcpState::FinWait2 => socket::TCP_FIN_WAIT2,
        TcpState::TimeWait => socket::TCP_TIME_WAIT,
        TcpState::Close => socket::TCP_CLOSE,
        TcpState::CloseWait => socket::TCP_CLOSE_WAIT,
        TcpState::LastAck => socket::TCP_LAST_ACK,
        TcpState::Listen => socket::TCP_LISTEN,
        TcpState::Closing => socket::TCP_CLOSING,
        TcpState::NewSynRecv => socket::TCP_NEW_SYN_RECV,
    }
}

/// A state where 0 stands for "none".
pub(super) fn optional_state(number: u8) -> Result<Option<TcpState>, DecodeError> {
    (number != 0).then(|| state(number)).transpose()
}

fn address(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

fn is_unset(address: IpAddr) -> bool {
    address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}
