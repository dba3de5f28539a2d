//! Resets by which nobody loses anything, and look-alikes by which somebody does. All are sent by the client, with SO_LINGER 0.

use std::thread::sleep;
use std::time::Duration;

use super::pair::Pair;
use super::{Armed, Family, SHORT, Scenario, Staged};
use crate::StageError;
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Origin, Role};
use crate::truth::Truth;

/// What a load balancer's check of a TCP port does.
pub const CHECK: Scenario = Scenario {
    name: "check",
    title: "the client connects and resets, without a byte",
    twins: &["reset-before-request"],
    open: |lab, version| {
        client_leaves(
            lab,
            version,
            Lost::Nothing,
            (Cause::LingerZero, "the client had sent nothing"),
            |_| Ok(()),
        )
    },
    ..HARMLESS
};

/// The same at a server that speaks first.
pub const CHECK_WITH_BANNER: Scenario = Scenario {
    name: "check-with-banner",
    title: "the client connects and resets, with the server's banner unread",
    twins: &["reset-before-request"],
    open: |lab, version| {
        // Unread data goes before SO_LINGER (tcp_close).
        let condition = "the client had sent nothing and did not read the banner";
        let why = (Cause::CloseWithUnreadData, condition);
        client_leaves(lab, version, Lost::Nothing, why, |pair| {
            pair.server.send(pair.at_server, 30)?;
            pair.client.await_unread(pair.at_client, 30).map(drop)
        })
    },
    ..HARMLESS
};

/// A pool that drops a connection it does not need any more.
pub const LEAVES_AFTER_ANSWER: Scenario = Scenario {
    name: "leaves-after-answer",
    title: "the client resets when it has its answer",
    twins: &["leaves-before-answer"],
    open: |lab, version| {
        let condition = "the client had read its answer";
        let why = (Cause::LingerZero, condition);
        client_leaves(lab, version, Lost::Nothing, why, Pair::talk)
    },
    ..HARMLESS
};

/// The look-alike: it gave up.
pub const LEAVES_BEFORE_ANSWER: Scenario = Scenario {
    name: "leaves-before-answer",
    title: "the client resets while the server owes an answer",
    twins: &["leaves-after-answer"],
    open: |lab, version| {
        let condition = "the client had sent a request and got no answer";
        let why = (Cause::LingerZero, condition);
        client_leaves(lab, version, Lost::Connection, why, |pair| {
            pair.talk()?;
            // Within one tick the kernel's clocks do not tell which came last.
            sleep(TICK);
            pair.client.send(pair.at_client, 50)?;
            pair.server.receive(pair.at_server, 50)
        })
    },
    ..HARMLESS
};

/// The look-alike of a check: it is the server that resets.
pub const RESET_BEFORE_REQUEST: Scenario = Scenario {
    name: "reset-before-request",
    title: "the server resets a connection on which nothing was sent",
    twins: &["check"],
    open: |lab, version| {
        let mut pair = connected(lab, version)?;
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            pair.server.close_with_linger_zero(pair.at_server)?;
            let condition = "the client had not sent its request yet";
            let truths = pair.closed_by_server(lab, Cause::LingerZero, condition, "close()")?;
            Staged::active(truths, pair)
        })
    },
    ..HARMLESS
};

/// Longer than a tick of any kernel, 10 ms.
const TICK: Duration = Duration::from_millis(20);

/// Who opened the connection must have been seen.
const HARMLESS: Scenario = Scenario {
    family: Family::Both,
    can_predate: false,
    ..SHORT
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Nothing,
    Connection,
}

fn connected(lab: &mut Lab, version: IpVersion) -> Result<Pair, StageError> {
    let mut pair = Pair::connecting(lab, version)?;
    pair.accept()?;
    Ok(pair)
}

fn client_leaves(
    lab: &mut Lab,
    version: IpVersion,
    lost: Lost,
    (cause, condition): (Cause, &'static str),
    before: fn(&mut Pair) -> Result<(), StageError>,
) -> Result<Armed, StageError> {
    let mut pair = connected(lab, version)?;
    before(&mut pair)?;
    Armed::new(move |lab| {
        lab.capture(Place::Client)?;
        pair.client.close_with_linger_zero(pair.at_client)?;
        let seen = pair.reset_by_client(lab, Place::Client)?;
        pair.server.confirm_error(pair.at_server, "ECONNRESET")?;
        let own = Origin::LocalProcess;
        let sent = Truth::sent(lab, Place::Client, &seen, own, cause)
            .because(condition)
            .done_by(&pair.client, "close()")
            .names(&pair.client, &[Role::Closer]);
        let received = Truth::received(lab, Place::Server, &seen, Origin::Peer, Cause::ResetByPeer)
            .because(condition)
            .names(&pair.server, &[Role::Owner]);
        let truths = match lost {
            Lost::Nothing => [sent, received],
            Lost::Connection => [sent, received].map(Truth::lost_connection),
        };
        Staged::active(truths, pair)
    })
}
