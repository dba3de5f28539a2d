//! Resets that answer data after the application has closed.

use super::pair::{Pair, on_pair};
use super::{Armed, Family, SHORT, Scenario, Staged};
use crate::StageError;
use crate::actor::protocol::{Command, SocketOption, TcpState};
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Origin, Role};

pub const FIN_WAIT2: Scenario = Scenario {
    name: "data-after-close-fin-wait2",
    title: "data after close(): the orphan is in FIN_WAIT2",
    family: Family::Both,
    twins: &["close-unread", "half-open"],
    // An orphan that may wait longer than 60 s keeps its socket, else it becomes a minisock.
    open: |lab, version| open(lab, version, Some(90)),
    ..SHORT
};

pub const TIME_WAIT: Scenario = Scenario {
    name: "data-after-close-time-wait",
    title: "data after close(): only a TIME_WAIT minisock is left",
    family: Family::Both,
    twins: &["half-open"],
    open: |lab, version| open(lab, version, None),
    ..SHORT
};

fn open(lab: &mut Lab, version: IpVersion, linger2: Option<i32>) -> Result<Armed, StageError> {
    let mut pair = Pair::open(lab, version)?;
    if let Some(seconds) = linger2 {
        pair.server
            .set(pair.at_server, SocketOption::Linger2(seconds))?;
    }
    Armed::new(move |lab| write_to_closed(lab, pair, linger2.is_none()))
}

/// The server's end closes, and the client writes.
pub fn write_to_closed(
    lab: &mut Lab,
    mut pair: Pair,
    minisock: bool,
) -> Result<Staged, StageError> {
    pair.server.close(pair.at_server)?;
    pair.await_server_end(lab, TcpState::FinWait2, minisock)?;
    let condition = "the server had closed with all read; the client wrote 50 bytes";
    answered(lab, pair, condition, &[Role::Closer, Role::FormerOwner])
}

/// The process was killed with everything read: its end is closed politely.
pub const KILLED: Scenario = Scenario {
    name: "data-after-kill",
    title: "data after the process was killed without unread data",
    twins: &["killed-unread", "data-after-close-time-wait"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            pair.server.kill()?;
            pair.await_server_end(lab, TcpState::FinWait2, true)?;
            let condition = "the server was killed with all read; the client wrote 50 bytes";
            answered(lab, pair, condition, &[Role::Closer, Role::FormerOwner])
        })
    },
    ..SHORT
};

pub const SHUTDOWN_BOTH: Scenario = Scenario {
    name: "data-after-shutdown",
    title: "data after shutdown(SHUT_RDWR), socket still open",
    family: Family::Both,
    twins: &["close-unread", "received"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            pair.server.ask(Command::ShutdownBoth(pair.at_server.id))?;
            pair.server
                .await_state(pair.at_server, TcpState::FinWait2)?;
            let condition = "the server had shut both directions down; the client wrote 50 bytes";
            answered(lab, pair, condition, &[Role::Closer, Role::Owner])
        })
    },
    ..SHORT
};

fn answered(
    lab: &mut Lab,
    mut pair: Pair,
    condition: &'static str,
    roles: &[Role],
) -> Result<Staged, StageError> {
    lab.capture(Place::Server)?;
    pair.client.send(pair.at_client, 50)?;
    // The client had received the FIN: a reset is a broken pipe then. The 50 bytes are lost.
    let who = (Origin::LocalKernel, Cause::DataAfterClose);
    let [sent, received] = pair.ended_by_server(lab, who, "EPIPE")?;
    let sent = sent.because(condition).names(&pair.server, roles);
    Staged::passive([sent, received], pair)
}
