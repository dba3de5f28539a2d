//! Events of the tracepoints.

use std::time::Duration;

use rsttrace_common::{lifecycle, reset as wire};

use super::DecodeError;
use super::address::{flow, optional_state, segment, state};
use super::jiffies::Jiffies;
use super::ownership::{current, ownership, tombstone};
use super::packet::baseline;
use super::socket::socket;
use crate::event::{Failed, Received, ResetReason, Sent, Tombstone};

/// A reset sent with a full socket.
pub(super) fn sent(
    wire: &wire::ResetSent,
    reason: Option<ResetReason>,
    clock: Jiffies,
) -> Result<Sent, DecodeError> {
    let flow = flow(&wire.flow);
    let ownership = ownership(&wire.ownership, clock)?;
    Ok(Sent {
        flow,
        reason,
        passive: wire.passive != 0,
        cause: segment(&wire.cause, &flow),
        socket: Some(socket(&wire.socket, ownership.as_ref(), clock)?),
        ownership,
        current: current(&wire.current),
        minisock: None,
        former_connection: None,
        former_listener: None,
        handshake: None,
    })
}

/// A reset sent by a listener, perhaps for a connection that was here before.
pub(super) fn by_listener(
    wire: &wire::ResetSentByListener,
    reason: Option<ResetReason>,
    clock: Jiffies,
) -> Result<Sent, DecodeError> {
    Ok(Sent {
        former_connection: tombstone(&wire.connection, clock)?.map(Box::new),
        ..sent(&wire.sent, reason, clock)?
    })
}

/// A reset sent without a socket: always an answer to a segment.
pub(super) fn stateless(
    wire: &wire::ResetSentStateless,
    reason: Option<ResetReason>,
    clock: Jiffies,
) -> Result<Sent, DecodeError> {
    let flow = flow(&wire.flow);
    // TIME_WAIT keeps its socket's cookie: a tombstone with another one is of an earlier connection on this flow.
    let is_same = |former: &Tombstone| {
        wire.cookie == 0 || former.cookie.is_none_or(|cookie| cookie.0 == wire.cookie)
    };
    Ok(Sent {
        flow,
        reason,
        passive: true,
        cause: segment(&wire.cause, &flow),
        socket: None,
        ownership: None,
        current: None,
        minisock: optional_state(wire.state)?,
        former_connection: tombstone(&wire.connection, clock)?
            .filter(is_same)
            .map(Box::new),
        former_listener: tombstone(&wire.listener, clock)?.map(Box::new),
        handshake: baseline(&wire.handshake),
    })
}

/// A reset accepted by a socket.
pub(super) fn received(
    wire: &wire::ResetReceived,
    clock: Jiffies,
) -> Result<Received, DecodeError> {
    let flow = flow(&wire.flow);
    let ownership = ownership(&wire.ownership, clock)?;
    Ok(Received {
        flow,
        socket: socket(&wire.socket, ownership.as_ref(), clock)?,
        ownership,
        segment: segment(&wire.segment, &flow),
    })
}

/// A connect or a connection that failed without a reset.
pub(super) fn failed(wire: &lifecycle::Failed, clock: Jiffies) -> Result<Failed, DecodeError> {
    let ownership = ownership(&wire.ownership, clock)?;
    Ok(Failed {
        flow: flow(&wire.flow),
        socket: Some(socket(&wire.socket, ownership.as_ref(), clock)?),
        ownership,
        error: wire.error,
        last_state: state(wire.last_state)?,
        tried: (wire.trying_ms != u32::MAX).then(|| Duration::from_millis(wire.trying_ms.into())),
        unsent: wire.unsent != 0,
    })
}

/// A connection that died without a reset, in a recording of an earlier version.
pub(super) fn timed_out(wire: &lifecycle::TimedOut, clock: Jiffies) -> Result<Failed, DecodeError> {
    Ok(Failed {
        flow: flow(&wire.flow),
        socket: None,
        ownership: ownership(&wire.ownership, clock)?,
        error: wire.error,
        last_state: state(wire.last_state)?,
        tried: None,
        unsent: false,
    })
}
