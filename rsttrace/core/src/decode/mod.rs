//! Decoding of wire events: bytes from the ring, or from a recorded file, become domain events.
//!
//! Pure: all it knows of the kernel comes in as [`KernelFacts`]. It never panics, whatever the bytes: a number
//! that no release of the wire format uses is an error that carries the number.

mod address;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod encode;
mod jiffies;
mod ownership;
mod packet;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod property;
mod reset;
mod segment;
mod socket;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

use rsttrace_common::{
    Header, WIRE_VERSION, flood, header, lifecycle, packet as wire_packet, reset as wire_reset,
    socket as wire_socket,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use std::sync::Arc;

use crate::event::{Body, BootTime, Event, NetnsCookie, ResetReason, TcpFlags, TcpState};
use jiffies::Jiffies;

/// What decoding has to know of the running kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFacts {
    /// Jiffies a second (`CONFIG_HZ`); 0 is taken for 1.
    pub hz: u32,
    /// Members of `enum sk_rst_reason` as the kernel's BTF has them, with or without their prefix
    /// (`SK_RST_REASON_`); empty on kernels that have no reasons.
    pub reasons: Vec<(u32, String)>,
}

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Fewer bytes than the event's struct has.
    #[error("{got} bytes where {what} takes {need}")]
    Short {
        /// Which struct.
        what: &'static str,
        /// Its size.
        need: usize,
        /// How many there were.
        got: usize,
    },
    /// Written by another version of the eBPF program.
    #[error("wire version {0}, this program reads {WIRE_VERSION}")]
    Version(u16),
    /// `Header::kind`.
    #[error("unknown kind of event {0}")]
    Kind(u16),
    /// A TCP state.
    #[error("unknown TCP state {0}")]
    State(u8),
    /// `Ownership::source`.
    #[error("unknown source of ownership {0}")]
    OwnerSource(u8),
    /// `RstPacket::snap_len`.
    #[error("packet snapshot of {0} bytes, more than an event has room for")]
    SnapLength(u16),
    /// The snapshot does not begin with an IP header.
    #[error("packet snapshot without an IP header")]
    NoIpHeader,
    /// The TCP header is not in the snapshot.
    #[error("packet snapshot without a TCP header")]
    NoTcpHeader,
}

/// Turns wire bytes into events.
#[derive(Clone, Debug)]
pub struct Decoder {
    hz: u32,
    /// Sorted by number.
    reasons: Vec<(u32, ResetReason)>,
}

impl Decoder {
    /// A decoder for events of a kernel with these properties.
    pub fn new(facts: KernelFacts) -> Self {
        let short =
            |name: &str| ResetReason::named(name.strip_prefix("SK_RST_REASON_").unwrap_or(name));
        let mut reasons: Vec<(u32, ResetReason)> = facts
            .reasons
            .iter()
            .map(|(number, name)| (*number, short(name)))
            .collect();
        reasons.sort_by_key(|&(number, _)| number);
        Self {
            hz: facts.hz.max(1),
            reasons,
        }
    }

    /// Decodes one event. Bytes beyond its struct are ignored: perf buffers pad what they carry.
    pub fn decode(&self, bytes: &[u8]) -> Result<Event, DecodeError> {
        let (head, _) =
            Header::read_from_prefix(bytes).map_err(|_| short::<Header>("the header", bytes))?;
        if head.version != WIRE_VERSION {
            return Err(DecodeError::Version(head.version));
        }
        let clock = Jiffies {
            now: head.jiffies,
            hz: self.hz,
        };
        let body = match head.kind {
            header::KIND_RESET_SENT => {
                with(bytes, "a sent reset", |wire: &wire_reset::ResetSent| {
                    reset::sent(wire, self.reason(wire.reason), clock)
                        .map(|sent| Body::Sent(Arc::new(sent)))
                })
            }
            header::KIND_RESET_SENT_BY_LISTENER => with(
                bytes,
                "a reset sent by a listener",
                |wire: &wire_reset::ResetSentByListener| {
                    reset::by_listener(wire, self.reason(wire.sent.reason), clock)
                        .map(|sent| Body::Sent(Arc::new(sent)))
                },
            ),
            header::KIND_RESET_SENT_STATELESS => with(
                bytes,
                "a stateless reset",
                |wire: &wire_reset::ResetSentStateless| {
                    reset::stateless(wire, self.reason(wire.reason), clock)
                        .map(|sent| Body::Sent(Arc::new(sent)))
                },
            ),
            header::KIND_RESET_RECEIVED => with(
                bytes,
                "a received reset",
                |wire: &wire_reset::ResetReceived| {
                    reset::received(wire, clock).map(|received| Body::Received(Arc::new(received)))
                },
            ),
            header::KIND_RST_PACKET => with(bytes, "a packet", |wire: &wire_packet::RstPacket| {
                packet::packet(wire).map(|packet| Body::Packet(Arc::new(packet)))
            }),
            header::KIND_TIMED_OUT => with(bytes, "a timeout", |wire: &lifecycle::TimedOut| {
                reset::timed_out(wire, clock).map(|failed| Body::Failed(Arc::new(failed)))
            }),
            header::KIND_FAILED => with(bytes, "a failure", |wire: &lifecycle::Failed| {
                reset::failed(wire, clock).map(|failed| Body::Failed(Arc::new(failed)))
            }),
            kind => Err(DecodeError::Kind(kind)),
        }?;
        Ok(Event {
            time: BootTime(head.time_ns),
            netns: NetnsCookie(head.netns_cookie),
            netns_inode: (head.netns_inode != 0).then_some(head.netns_inode),
            cpu: head.cpu,
            body,
        })
    }

    /// Which class of floods an event belongs to (`rsttrace_common::flood`), if a hook of the TCP stack sent it.
    pub fn class(bytes: &[u8]) -> Option<u16> {
        // Copied: a perf buffer does not align events.
        fn read<T: FromBytes>(bytes: &[u8]) -> Option<T> {
            T::read_from_prefix(bytes).ok().map(|(wire, _)| wire)
        }
        let kind = Header::read_from_prefix(bytes).ok()?.0.kind;
        let (reason, state, marked) = match kind {
            header::KIND_RESET_SENT | header::KIND_RESET_SENT_BY_LISTENER => {
                let wire: wire_reset::ResetSent = read(bytes)?;
                if kind == header::KIND_RESET_SENT && wire.passive == 0 {
                    (wire_reset::REASON_NONE, hints(&wire.socket), true)
                } else {
                    (wire.reason, wire.socket.state, false)
                }
            }
            header::KIND_RESET_SENT_STATELESS => {
                let wire: wire_reset::ResetSentStateless = read(bytes)?;
                let opens = wire.cause.flags & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN;
                (wire.reason, wire.state, opens)
            }
            header::KIND_RESET_RECEIVED => {
                let wire: wire_reset::ResetReceived = read(bytes)?;
                (wire_reset::REASON_NONE, wire.socket.state, false)
            }
            _ => return None,
        };
        Some(flood::class_of(flood::Class {
            kind,
            reason,
            state,
            marked,
        }))
    }

    /// The class of resets that sockets in this state accepted.
    pub fn class_of_accepted(state: TcpState) -> u16 {
        flood::class_of(flood::Class {
            kind: header::KIND_RESET_RECEIVED,
            reason: wire_reset::REASON_NONE,
            state: address::state_number(state),
            marked: false,
        })
    }

    /// A TCP state by the kernel's number; absent for 0 and numbers that no kernel uses.
    pub fn state(number: u8) -> Option<TcpState> {
        address::state(number).ok()
    }

    /// A member of `enum sk_rst_reason`; absent for `REASON_NONE`.
    pub fn reason(&self, number: u32) -> Option<ResetReason> {
        if number == wire_reset::REASON_NONE {
            return None;
        }
        let known = self
            .reasons
            .binary_search_by_key(&number, |&(number, _)| number);
        Some(
            known
                .ok()
                .and_then(|index| self.reasons.get(index))
                .map_or_else(
                    || ResetReason::Other(format!("#{number}").into()),
                    |(_, reason)| reason.clone(),
                ),
        )
    }
}

/// Hands `read` the struct at the start of `bytes`: in place where it is aligned (ring buffer), else a copy.
fn with<T, R>(
    bytes: &[u8],
    what: &'static str,
    read: impl FnOnce(&T) -> Result<R, DecodeError>,
) -> Result<R, DecodeError>
where
    T: FromBytes + KnownLayout + Immutable,
{
    if let Ok((wire, _)) = T::ref_from_prefix(bytes) {
        return read(wire);
    }
    let (wire, _) = T::read_from_prefix(bytes).map_err(|_| short::<T>(what, bytes))?;
    read(&wire)
}

/// The circumstances of an active reset, as the probes see them.
fn hints(socket: &wire_socket::Socket) -> u8 {
    let hint = |holds: bool, flag: u8| if holds { flag } else { 0 };
    hint(
        socket.flags & wire_socket::SOCK_LINGER != 0 && socket.linger_jiffies == 0,
        flood::HINT_LINGER_ZERO,
    ) | hint(socket.rcv_nxt != socket.copied_seq, flood::HINT_UNREAD)
        | hint(
            socket.flags & wire_socket::SOCK_DEAD != 0,
            flood::HINT_ORPHAN,
        )
        | hint(socket.state == wire_socket::TCP_CLOSE, flood::HINT_CLOSED)
        | hint(socket.probes_out != 0, flood::HINT_PROBED)
}

fn short<T>(what: &'static str, bytes: &[u8]) -> DecodeError {
    DecodeError::Short {
        what,
        need: size_of::<T>(),
        got: bytes.len(),
    }
}
