//! Resets of connections that IPVS has expired, and resets that only pass IPVS.
//!
//! IPVS sends no reset itself: what belongs to no entry of it is passed over, and reaches the balancer's own TCP or, not
//! translated, the other end.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::chain::TIMEOUT;
use super::site::Site;
use super::translated::{Translated, expired_on_path, hop};
use super::{ALONE, Armed, LONG, Scenario, Staged, confirm};
use crate::StageError;
use crate::lab::{Lab, Place};
use crate::record::{Cause, Direction, IdleMode, Origin, Role};
use crate::segment::Segment;
use crate::truth::Truth;

/// The client's next packet is not balanced and reaches the balancer's own TCP.
pub const NAT_ANSWERS_CLIENT: Scenario = Scenario {
    name: "expired-ipvs-answers-client",
    title: "IPVS (NAT) expired the connection; the TCP stack of the load balancer answers the client",
    // The balancer's host only knows the handshake that passed, so the tracer must have seen that.
    can_predate: false,
    hops: &[hop("lab-ipvs-60", "198.51.100.60/32")],
    twins: &["ipvs-not-expired-crashed", "expired-ipvs-peer-answers"],
    open: |lab, _| answered_by_balancer(lab, 60, Forwarding::Nat),
    ..LONG
};

/// The same where only the client's packets pass the balancer: the server answers on its own.
pub const DIRECT_ROUTING: Scenario = Scenario {
    name: "expired-ipvs-direct-routing",
    title: "IPVS (direct routing) expired the connection; the TCP stack of the director answers the client",
    hops: &[hop("lab-ipvs-62", "198.51.100.62/32")],
    twins: &["ipvs-not-expired-crashed", "expired-ipvs-answers-client"],
    open: |lab, _| answered_by_balancer(lab, 62, Forwarding::DirectRouting),
    ..LONG
};

fn answered_by_balancer(
    lab: &mut Lab,
    site: u8,
    forwarding: Forwarding,
) -> Result<Armed, StageError> {
    let mut path = open_balanced(lab, site, forwarding)?;
    Armed::due(path.silent_since + EXPIRED, move |lab| {
        let truth = |seen: &Segment| expired_on_path(lab, Place::Client, seen);
        let [received, sent] = path.answered_by_balancer(lab, truth)?;
        Staged::passive([received, sent.of_device("IPVS")], path.pair)
    })
}

/// The server's push reaches the client untranslated, and the client, which has no connection with that address, resets.
///
/// The server can know as little as with any other translation that was forgotten: its peer's own TCP answered.
pub const NAT_PEER_ANSWERS: Scenario = Scenario {
    name: "expired-ipvs-peer-answers",
    title: "IPVS (NAT) expired the connection and forwards data untranslated; the client resets",
    twins: &["expired-ipvs-answers-client", "peer-crashed-in-silence"],
    open: |lab, _| {
        let mut path = open_balanced(lab, 61, Forwarding::Nat)?;
        Armed::due(path.silent_since + EXPIRED, move |lab| {
            let really = "IPVS had forgotten the connection after 3 s; the peer's answer looks the same when the peer has restarted";
            let [received, sent] = path.answered_by_peer(lab, really)?;
            let passed_on = passed_on(lab, &sent.seen)
                .because("the client's RST for the server's own address passed the balancer")
                .at_timeout(IdleMode::LateRst, Some(TIMEOUT))
                .of_device("IPVS");
            Staged::passive([received, sent, passed_on], path.pair)
        })
    },
    ..LONG
};

/// The application's own reset, before the timeout is over: others may not keep it waiting.
pub const NOT_EXPIRED: Scenario = Scenario {
    name: "ipvs-not-expired",
    title: "close() with SO_LINGER of 0 seconds behind IPVS, which still has the connection",
    hops: &[hop("lab-ipvs-63", "198.51.100.63/32")],
    twins: &["expired-ipvs-answers-client", "linger-zero"],
    open: |lab, _| {
        let mut path = open_balanced(lab, 63, Forwarding::Nat)?;
        Armed::due(path.silent_since + NOT_YET, move |lab| {
            lab.capture(Place::Server)?;
            let pair = &mut path.pair;
            pair.server.close_with_linger_zero(pair.at_server)?;
            let condition = "SO_LINGER 0, then close(), after a second of silence";
            ended_by_server(lab, path, Cause::LingerZero, condition, "close()")
        })
    },
    ..ALONE
};

pub const NOT_EXPIRED_UNREAD: Scenario = Scenario {
    name: "ipvs-server-killed",
    title: "killed (SIGKILL) with 120 bytes unread behind IPVS, which still has the connection",
    hops: &[hop("lab-ipvs-64", "198.51.100.64/32")],
    twins: &["expired-ipvs-answers-client", "killed-unread"],
    open: |lab, _| {
        let mut path = open_balanced(lab, 64, Forwarding::Nat)?;
        path.pair.leave_unread(120)?;
        path.silent_since = Instant::now();
        Armed::due(path.silent_since + NOT_YET, move |lab| {
            lab.capture(Place::Server)?;
            path.pair.server.kill()?;
            let condition = "120 bytes unread, then killed by SIGKILL, after a second of silence";
            let cause = Cause::KilledWithUnreadData;
            ended_by_server(lab, path, cause, condition, "died of SIGKILL")
        })
    },
    ..ALONE
};

pub const NOT_EXPIRED_CRASHED: Scenario = Scenario {
    name: "ipvs-not-expired-crashed",
    title: "the server behind IPVS lost the connection; IPVS still has it and forwards the answer",
    hops: &[hop("lab-ipvs-65", "198.51.100.65/32")],
    twins: &["expired-ipvs-answers-client", "peer-crashed-in-silence"],
    open: |lab, _| {
        let mut path = open_balanced(lab, 65, Forwarding::Nat)?;
        path.pair.server.close(path.pair.listener)?;
        path.pair.server.vanish(path.pair.at_server)?;
        Armed::due(path.silent_since + NOT_YET, move |lab| {
            lab.capture(Place::Server)?;
            path.pair.client.send(path.pair.at_client, 50)?;
            let condition = "the server had lost the connection without a packet; the client wrote a second later";
            let who = (Origin::LocalKernel, Cause::HalfOpen);
            let [received, sent, passed_on] = reset_by_server(lab, &mut path, who, condition)?;
            let sent = sent.names(&path.pair.server, &[Role::FormerOwner, Role::Listener]);
            Staged::passive([received, sent, passed_on], path.pair)
        })
    },
    ..ALONE
};

/// How IPVS hands packets to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forwarding {
    /// With the destination translated; answers pass the balancer, too.
    Nat,
    /// As they are; the server has the service's address itself.
    DirectRouting,
}

/// A connection through IPVS at the router.
fn open_balanced(
    lab: &mut Lab,
    site: u8,
    forwarding: Forwarding,
) -> Result<Translated, StageError> {
    let site = Site::new(lab, site)?;
    let port = lab.port();
    let front = SocketAddrV4::new(site.front, port);
    let behind = SocketAddrV4::new(site.server, port);
    let (how, service) = match forwarding {
        Forwarding::Nat => ("--masquerading", behind),
        Forwarding::DirectRouting => {
            lab.virtual_address(Place::Server, site.front.into())?;
            lab.pass_on_own_address()?;
            ("--gatewaying", front)
        }
    };
    let seconds = TIMEOUT.as_secs();
    for command in [
        format!("ipvsadm --set {seconds} 2 2"),
        format!("ipvsadm --add-service --tcp-service {front} --scheduler rr"),
        format!("ipvsadm --add-server --tcp-service {front} --real-server {behind} {how}"),
    ] {
        lab.run(Place::Router, &command, (&NO_IPVS, LACKING))?;
    }
    Translated::open(lab, site, front, service)
}

/// The truths at client, server and router of a reset that the server's end sent before the timeout.
fn reset_by_server(
    lab: &mut Lab,
    path: &mut Translated,
    (origin, cause): (Origin, Cause),
    condition: &'static str,
) -> Result<[Truth; 3], StageError> {
    let Translated { pair, front, .. } = path;
    let left = pair.reset_by_server(lab, Place::Server)?;
    let arrived = pair.client.reset(*front, pair.at_client.local)?;
    confirm("TTL of the RST", arrived.ttl, 63)?;
    let in_time = path.silent_since.elapsed() < TIMEOUT - MARGIN;
    confirm("silence below the timeout", in_time, true)?;
    let error = pair.client_error("ECONNRESET")?;
    let received = pair.client_truth(lab, &arrived).because(condition);
    let sent = Truth::sent(lab, Place::Server, &left, origin, cause)
        .because(condition)
        .lost_connection();
    let passed_on = passed_on(lab, &arrived).because("IPVS only translated it");
    Ok([received.peer_saw(error), sent, passed_on])
}

/// The same where the server's process caused it.
fn ended_by_server(
    lab: &mut Lab,
    mut path: Translated,
    cause: Cause,
    condition: &'static str,
    did: &'static str,
) -> Result<Staged, StageError> {
    let who = (Origin::LocalProcess, cause);
    let [received, sent, passed_on] = reset_by_server(lab, &mut path, who, condition)?;
    let sent = sent
        .done_by(&path.pair.server, did)
        .names(&path.pair.server, &[Role::Closer]);
    Staged::active([received, sent, passed_on], path.pair)
}

/// The truth at the balancer about a reset that only passed it.
fn passed_on(lab: &Lab, seen: &Segment) -> Truth {
    let (origin, cause) = (Origin::Forwarded, Cause::Forwarded);
    let mut truth = Truth::sent(lab, Place::Router, seen, origin, cause).lost_connection();
    truth.direction = Direction::Forwarded;
    truth
}

/// After this silence the entry is gone; longer than a host's settings are remembered once they were read.
const EXPIRED: Duration = Duration::from_millis(6500);
/// After this one it is not.
const NOT_YET: Duration = Duration::from_secs(1);
/// How much shorter than the timeout the silence has to be.
const MARGIN: Duration = Duration::from_millis(400);
const LACKING: &str = "this kernel has no IPVS (modules ip_vs and ip_vs_rr)";
/// Errors of ipvsadm without them.
const NO_IPVS: [&str; 2] = [
    "Can't initialize ipvs",
    "Scheduler or persistence engine not found",
];
