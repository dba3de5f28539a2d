//! How is a cause said in one plain sentence?

use std::net::SocketAddr;
use std::time::Duration;

use super::timeout::{self, Timeout};
use super::words::{self, after_age, bytes, span};
use super::{Around, Side, evidence};
use crate::attribution::Who;
use crate::event::{BootTime, Facts, Received, Sent, TcpState};
use crate::idle::clocks::{self, LEAST, Quiet, Trigger};
use crate::idle::memory::Burst;
use crate::record::{Cause, Idle, IdleMode, Origin, Process, Role};

/// Silence in seconds that a sentence mentions.
const WORTH_TELLING: f64 = 0.1;

/// What the kernel sent, and why.
pub fn sent(sent: &Sent, at: BootTime, cause: Cause, who: &Who, facts: &Facts) -> String {
    let process = who.process.as_ref();
    let name = subject(process);
    let age = after_age(sent.ownership.as_ref(), at);
    let unread = sent
        .socket
        .as_ref()
        .map(|socket| socket.unread)
        .filter(|&unread| unread > 0)
        .map_or_else(
            || "unread data".to_owned(),
            |unread| format!("{} unread", bytes(unread)),
        );
    let quiet = quiet(sent);
    let port = sent.flow.local.port();
    let remote = sent.flow.remote;
    match cause {
        Cause::CloseWithUnreadData if ended_by(sent).0 => {
            format!("{name} exited with {unread}{age}")
        }
        Cause::CloseWithUnreadData => format!("{name} closed with {unread}{age}{quiet}"),
        Cause::KilledWithUnreadData => match ended_by(sent).1 {
            Some(signal) => format!(
                "{name} was killed by {} with {unread}{age}",
                words::signal(signal)
            ),
            None => format!("{name} was killed with {unread}{age}"),
        },
        Cause::LingerZero => [&name, " closed with SO_LINGER time 0", &age, &quiet].concat(),
        Cause::Linger2 => format!("{name} closed with TCP_LINGER2 below zero{age}"),
        Cause::Disconnect => {
            format!("{name} dissolved the connection with connect(AF_UNSPEC){age}")
        }
        Cause::ListenerClosed => {
            format!(
                "{name} closed the listening socket on port {port} before this connection was accepted"
            )
        }
        Cause::SocketDestroyed => destroyed(process, who.owner.as_ref(), &age),
        Cause::KeepaliveTimeout => keepalive(sent, process),
        Cause::OutOfMemory => format!(
            "too many orphaned sockets or no TCP memory: the kernel dropped the connection{}",
            of(process)
        ),
        Cause::OrphanTimeout => format!(
            "{remote} never closed its side: the kernel gave up waiting{}",
            after_closing(process)
        ),
        Cause::PortClosed => port_closed(sent, at),
        Cause::HalfOpen => half_open(sent, at, facts),
        Cause::DataAfterClose => data_after_close(sent, at, process),
        Cause::LateSynack if is_abandoned(sent) => format!(
            "{remote} answered a connect{} that had been given up",
            of(process)
        ),
        Cause::LateSynack => format!(
            "{remote} answered a connect that is not known here: given up before the tool was there, or never made (a spoofed SYN's echo)"
        ),
        Cause::AcceptQueueOverflow => overflow(sent, process),
        Cause::StrayAck => format!(
            "port {port} listens{} but knows no such connection",
            by(process)
        ),
        Cause::BadHandshake => format!(
            "a segment of {remote} does not fit the handshake{}",
            of(process)
        ),
        Cause::Mptcp => format!("a multipath subflow was reset{}", of(process)),
        _ => match sent.reason.as_deref() {
            Some(reason) => format!("the kernel's reason {reason} does not tell why"),
            None => "the kernel gave no reason and the socket shows none".to_owned(),
        },
    }
}

/// `, quiet for 60.0 s`: how long no data had moved when the application closed. Many proxies reset at their timeouts.
fn quiet(sent: &Sent) -> String {
    let since = sent
        .socket
        .as_ref()
        .and_then(|socket| socket.since_sent.min(socket.since_received));
    match since {
        Some(since) if since >= WORTH_TELLING_WHEN_CLOSED => format!(", quiet for {}", span(since)),
        _ => String::new(),
    }
}

/// A silence before a close that a sentence mentions: shorter ones are think time.
const WORTH_TELLING_WHEN_CLOSED: Duration = Duration::from_millis(900);

/// What a socket accepted. `idle` is absent where there was no connection yet.
pub fn received(
    received: &Received,
    at: BootTime,
    idle: Option<&Idle>,
    finished: bool,
    around: &Around,
) -> String {
    let our = around.side.our();
    let remote = received.flow.remote;
    let Some(idle) = idle else {
        return format!("{remote} reset the handshake");
    };
    let age = after_age(received.ownership.as_ref(), at);
    if finished {
        return format!("{remote} reset a connection{age} that this side had closed");
    }
    if let Some(quiet) = around
        .quiet
        .filter(|quiet| quiet.trigger == Trigger::PeerFinish)
    {
        let silence = if quiet.application >= WORTH_TELLING_WHEN_CLOSED {
            format!(" after {} of silence", words::silence(quiet.application))
        } else {
            String::new()
        };
        return format!(
            "{remote} had closed the connection{silence}, and {}",
            what_came_of_it(received, &quiet, our)
        );
    }
    let quiet = idle.quiet_before.filter(|&quiet| quiet >= WORTH_TELLING);
    match (quiet, idle.reset_after_send) {
        (Some(quiet), Some(after)) => format!(
            "{remote} reset the connection{age}: silent {}, then {our} write was reset {}",
            words::seconds(quiet),
            answer_time(after)
        ),
        (Some(quiet), None) => {
            format!(
                "{remote} reset the connection{age}, silent {}",
                words::seconds(quiet)
            )
        }
        (None, Some(after)) => format!(
            "{remote} reset the connection{age}, {} after {our} unanswered write",
            words::seconds(after)
        ),
        (None, None) => format!("{remote} reset the connection{age}"),
    }
}

/// `in 0.4 ms`; the kernel's clock of writes has ticks, within which everything is at once.
fn answer_time(seconds: f64) -> String {
    if seconds <= 0.0 {
        "at once".to_owned()
    } else {
        format!("in {}", words::seconds(seconds))
    }
}

/// What a packet filter or a raw socket of this host wrote in the peer's name.
pub fn made_here(remote: SocketAddr, cause: Cause, label: &str) -> String {
    match cause {
        Cause::FirewallReject => {
            format!("a packet filter of this host rejected the connection in the name of {remote}")
        }
        _ => format!("{label} on this host wrote a reset in the name of {remote}"),
    }
}

/// A reset that several signs speak against.
pub fn not_from_peer(remote: SocketAddr, around: &Around, loudest: Option<&str>) -> String {
    let how = match around.talks_on {
        Some(_) => "the peer spoke on afterwards",
        None => loudest.unwrap_or("several signs speak against it"),
    };
    format!("a reset in the name of {remote} does not look like it came from the peer: {how}")
}

/// An idle timeout.
pub fn timed_out(received: &Received, at: BootTime, found: &Timeout, side: Side) -> String {
    let our = side.our();
    let remote = received.flow.remote;
    let age = after_age(received.ownership.as_ref(), at);
    let quiet = &found.quiet;
    let silence = words::silence(timeout::silence(quiet));
    let foreign = found.origin == Origin::Middlebox;
    let mut text = match (quiet.mode, foreign) {
        (IdleMode::RstAtExpiry, true) => format!(
            "a device on the way to {remote} reset the connection{age} when it had been silent for {silence}"
        ),
        (IdleMode::RstAtExpiry, false) => {
            format!("{remote} reset the connection{age} when it had been silent for {silence}")
        }
        (IdleMode::FinAtExpiry, _) => {
            format!(
                "{remote} closed the connection when it had been silent for {silence}, and {}",
                what_came_of_it(received, quiet, our)
            )
        }
        (IdleMode::LateRst, _) => {
            let who = if foreign {
                format!("a device on the way to {remote} had forgotten the connection")
            } else {
                format!("the connection to {remote} was forgotten on the way, or there")
            };
            let what = match quiet.trigger {
                Trigger::Probe => "keepalive probe",
                Trigger::Close => "FIN",
                _ => "write",
            };
            let when = quiet.after.map_or_else(String::new, |after| {
                format!(" {}", answer_time(after.as_secs_f64()))
            });
            format!("silent {silence}, then {our} {what} was reset{when}: {who}")
        }
    };
    if let Some(fits) = &found.fits {
        text = format!("{text}; {fits}");
    }
    if quiet.owed && !foreign {
        text.push_str(match side {
            Side::Ours => "; it had asked, and this end had not answered yet",
            Side::Theirs => "; it had asked, and the receiver had not answered yet",
        });
    }
    if quiet.application > quiet.wire + LEAST && quiet.mode != IdleMode::LateRst {
        text.push_str("; only segments without data, such as keepalive probes, passed meanwhile");
    }
    text
}

/// What followed a FIN at a timeout.
fn what_came_of_it(received: &Received, quiet: &Quiet, our: &str) -> String {
    let what = match received.socket.since_first_unacknowledged {
        Some(_) => format!("reset {our} write"),
        None => "reset it".to_owned(),
    };
    match quiet.after {
        Some(after) if after >= SOON => format!("{what} {} later", span(after)),
        _ => format!("{what} at once"),
    }
}

/// A span that a sentence leaves out.
const SOON: Duration = Duration::from_millis(5);

/// Many connections that went together.
pub fn burst(burst: &Burst) -> String {
    format!(
        "with it {} of this path within {}: one event (a failover, a restart, a sweep), not each one's own timer",
        words::things(burst.connections.saturating_sub(1), "connection"),
        span(burst.within)
    )
}

/// A connect that was turned away; `known`: what refused it is on this host and says so itself.
pub fn refused(remote: SocketAddr, known: bool) -> String {
    if known {
        return format!("{remote} refused the connection");
    }
    format!(
        "{remote} refused the connection: nothing listens there, or a firewall on the way rejects it"
    )
}

fn subject(process: Option<&Process>) -> String {
    match process {
        Some(process) if process.role == Role::Listener => {
            format!("the listener's process {}", words::process(process))
        }
        Some(process) => words::process(process),
        None => "a process not known".to_owned(),
    }
}

fn of(process: Option<&Process>) -> String {
    process.map_or_else(String::new, |process| {
        format!(" of {}", words::process(process))
    })
}

fn by(process: Option<&Process>) -> String {
    process.map_or_else(String::new, |process| {
        format!(" ({})", words::process(process))
    })
}

fn after_closing(process: Option<&Process>) -> String {
    process.map_or_else(String::new, |process| {
        format!(" after {} had closed", words::process(process))
    })
}

/// Whether the closing task was exiting, and the signal that was killing it.
fn ended_by(sent: &Sent) -> (bool, Option<u8>) {
    if let Some(current) = sent.actor().filter(|current| !current.kernel_thread) {
        return (current.exiting, current.signal);
    }
    sent.ownership
        .as_ref()
        .and_then(|ownership| ownership.closer.as_ref())
        .map_or((false, None), |closer| (closer.exiting, closer.signal))
}

fn destroyed(process: Option<&Process>, owner: Option<&Process>, age: &str) -> String {
    match (process, owner) {
        (Some(process), Some(owner)) => format!(
            "{} destroyed the socket of {}{age}",
            words::process(process),
            words::process(owner)
        ),
        (Some(process), None) if process.role == Role::Closer => {
            format!("{} destroyed the socket{age}", words::process(process))
        }
        (process, _) => format!("the socket{} was destroyed from outside{age}", of(process)),
    }
}

fn keepalive(sent: &Sent, process: Option<&Process>) -> String {
    let remote = sent.flow.remote;
    let Some(socket) = &sent.socket else {
        return format!("{remote} answered no keepalive probe{}", of(process));
    };
    let silence = clocks::heard(socket)
        .map_or_else(String::new, |heard| format!(", silent for {}", span(heard)));
    format!(
        "{remote} answered none of {} keepalive probes{}{silence}",
        socket.probes_out,
        of(process)
    )
}

fn port_closed(sent: &Sent, at: BootTime) -> String {
    let port = sent.flow.local.port();
    match &sent.former_listener {
        Some(tombstone) => format!(
            "nobody listens on {port}; until {} ago {} did",
            span(at.since(tombstone.died)),
            evidence::listener(&tombstone.ownership)
        ),
        None => format!("nobody listens on {port}"),
    }
}

fn half_open(sent: &Sent, at: BootTime, facts: &Facts) -> String {
    let remote = sent.flow.remote;
    match &sent.former_connection {
        Some(tombstone) => format!(
            "{remote} spoke on a connection that is gone here: {}",
            evidence::connection_end(tombstone, at, facts)
        ),
        None => format!("{remote} spoke on a connection that this host does not have"),
    }
}

fn is_abandoned(sent: &Sent) -> bool {
    sent.former_connection
        .as_ref()
        .is_some_and(|former| former.last_state == TcpState::SynSent)
}

fn data_after_close(sent: &Sent, at: BootTime, process: Option<&Process>) -> String {
    let remote = sent.flow.remote;
    let what = sent
        .cause
        .filter(|cause| cause.payload_len > 0)
        .map_or_else(|| "a segment".to_owned(), |cause| bytes(cause.payload_len));
    let closer = sent
        .ownership
        .as_ref()
        .or(sent
            .former_connection
            .as_ref()
            .map(|former| &former.ownership))
        .and_then(|ownership| ownership.closer.as_ref());
    let died = sent.former_connection.as_ref().map(|former| former.died);
    let who = process.map_or_else(|| "the application".to_owned(), words::process);
    let silence = closer
        .map(|closer| closer.quiet)
        .filter(|quiet| *quiet >= LEAST)
        .map_or_else(String::new, |quiet| {
            format!(" after {} of silence", words::silence(quiet))
        });
    let how = format!("{}{silence}", words::ended(closer));
    match closer.and_then(|closer| closer.time).or(died) {
        Some(time) => format!(
            "{remote} sent {what} {} after {who} had {how}",
            span(at.since(time))
        ),
        None => format!("{remote} sent {what} after {who} had {how}"),
    }
}

fn overflow(sent: &Sent, process: Option<&Process>) -> String {
    let queue = sent
        .socket
        .as_ref()
        .and_then(|socket| socket.accept_queue)
        .map_or_else(String::new, |(waiting, limit)| {
            format!(": {waiting} connections wait for accept(), the limit is {limit}")
        });
    format!(
        "the accept queue of port {}{} is full{queue}",
        sent.flow.local.port(),
        by(process)
    )
}
