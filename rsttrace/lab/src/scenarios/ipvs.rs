//! Resets of connections that IPVS has expired, and resets that only pass IPVS.
//!
//! IPVS sends no reset itself: what belongs to no entry of it is passed over, and reaches the balancer's own TCP or, not
//! translated, the other end.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::chain::TIMEOUT;
use super::pair::Pair;
use super::site::Site;
use super::transparent::{from_server, late};
use super::{Armed, Family, Hop, Scenario, Staged, Suite, confirm};
use crate::StageError;
use crate::actor::protocol::{SocketOption, TcpState};
use crate::lab::{Lab, Place};
use crate::record::{Cause, Direction, Form, IdleMode, Origin, Role};
use crate::segment::Segment;
use crate::truth::Truth;

/// The client's next packet is not balanced and reaches the balancer's own TCP.
pub const NAT_ANSWERS_CLIENT: Scenario = Scenario {
    name: "expired-ipvs-answers-client",
    title: "IPVS (NAT) expired the connection; the TCP stack of the load balancer answers the client",
    family: Family::V4,
    // What the balancer's host knows of it is the handshake that passed, which must have been seen.
    can_predate: false,
    suite: Suite::Long,
    hops: &[hop("lab-ipvs-60", "198.51.100.60/32")],
    twins: &["ipvs-not-expired-crashed", "expired-ipvs-peer-answers"],
    open: |lab, _| answered_by_balancer(lab, 60, Forwarding::Nat),
};

/// The same where only the client's packets pass the balancer: the server answers on its own.
pub const DIRECT_ROUTING: Scenario = Scenario {
    name: "expired-ipvs-direct-routing",
    title: "IPVS (direct routing) expired the connection; the TCP stack of the director answers the client",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[hop("lab-ipvs-62", "198.51.100.62/32")],
    twins: &["ipvs-not-expired-crashed", "expired-ipvs-answers-client"],
    open: |lab, _| answered_by_balancer(lab, 62, Forwarding::DirectRouting),
};

fn answered_by_balancer(
    lab: &mut Lab,
    site: u8,
    forwarding: Forwarding,
) -> Result<Armed, StageError> {
    let mut path = Balanced::open(lab, site, forwarding)?;
    Armed::due(path.silent_since + EXPIRED, move |lab| {
        let Balanced { pair, front, .. } = &mut path;
        pair.client.send(pair.at_client, 50)?;
        let seen = pair.client.reset(*front, pair.at_client.local)?;
        confirm("TTL of the RST", seen.ttl, 64)?;
        let error = pair.client_error("ECONNRESET")?;
        pair.confirm_server_end_lives()?;
        let received = late(lab, Place::Client, &seen, Some(TIMEOUT))
            .names(&pair.client, &[Role::Owner])
            .because(
                "the balancer's own TCP answered in the service's name; the server's end lives",
            )
            .peer_saw(error);
        let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
        let sent = Truth::sent(lab, Place::Router, seen, origin, cause)
            .because("after IPVS's timeout the segment was not balanced: no socket for it")
            .lost_connection()
            .at_timeout(IdleMode::LateRst, Some(TIMEOUT))
            .of_device("IPVS");
        Staged::new(
            Some(Form::Passive),
            vec![received, sent],
            path.pair.into_actors(),
        )
    })
}

/// The server's push reaches the client untranslated, and the client, which has no connection with that address, resets.
///
/// The server can know as little as with any other translation that was forgotten: its peer's own TCP answered.
pub const NAT_PEER_ANSWERS: Scenario = Scenario {
    name: "expired-ipvs-peer-answers",
    title: "IPVS (NAT) expired the connection and forwards data untranslated; the client resets",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[],
    twins: &["expired-ipvs-answers-client", "peer-crashed-in-silence"],
    open: |lab, _| {
        let mut path = Balanced::open(lab, 61, Forwarding::Nat)?;
        Armed::due(path.silent_since + EXPIRED, move |lab| {
            let Balanced { pair, .. } = &mut path;
            pair.server.send(pair.at_server, 50)?;
            let (client, server) = (pair.at_client.local, pair.listener.local);
            let seen = pair.server.reset(client, server)?;
            confirm("TTL of the RST", seen.ttl, 63)?;
            let error = pair.server.await_error(pair.at_server)?;
            confirm("error at the server", error.as_str(), "ECONNRESET")?;
            pair.client.segment(from_server(server, client))?;
            pair.client
                .await_state(pair.at_client, TcpState::Established)?;
            pair.client.vanish(pair.at_client)?;
            let received = pair
                .server_truth(lab, &seen)
                .because("the client's kernel sent it: the push came from an address it has no connection with")
                .but_really("IPVS had forgotten the connection after 3 s; the peer's answer looks the same when the peer has restarted")
                .peer_saw(error);
            let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
            let sent = Truth::sent(lab, Place::Client, seen.clone(), origin, cause)
                .because("a segment from the server's own address, with which the client has no connection")
                .lost_connection();
            let passed_on = passed_on(lab, seen)
                .because("the client's RST for the server's own address passed the balancer")
                .at_timeout(IdleMode::LateRst, Some(TIMEOUT))
                .of_device("IPVS");
            Staged::new(
                Some(Form::Passive),
                vec![received, sent, passed_on],
                path.pair.into_actors(),
            )
        })
    },
};

/// The application's own reset, before the timeout is over: others may not keep it waiting.
pub const NOT_EXPIRED: Scenario = Scenario {
    name: "ipvs-not-expired",
    title: "close() with SO_LINGER of 0 seconds behind IPVS, which still has the connection",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Alone,
    hops: &[hop("lab-ipvs-63", "198.51.100.63/32")],
    twins: &["expired-ipvs-answers-client", "linger-zero"],
    open: |lab, _| {
        let mut path = Balanced::open(lab, 63, Forwarding::Nat)?;
        Armed::due(path.silent_since + NOT_YET, move |lab| {
            lab.capture(Place::Server)?;
            let Pair {
                server, at_server, ..
            } = &mut path.pair;
            server.set(*at_server, SocketOption::Linger(0))?;
            server.close(*at_server)?;
            let told = "SO_LINGER 0, then close(), after a second of silence";
            path.ended_by_server(lab, Cause::LingerZero, told, "close()")
        })
    },
};

/// The same where the server's process dies.
pub const NOT_EXPIRED_UNREAD: Scenario = Scenario {
    name: "ipvs-server-killed",
    title: "killed (SIGKILL) with 120 bytes unread behind IPVS, which still has the connection",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Alone,
    hops: &[hop("lab-ipvs-64", "198.51.100.64/32")],
    twins: &["expired-ipvs-answers-client", "killed-unread"],
    open: |lab, _| {
        let mut path = Balanced::open(lab, 64, Forwarding::Nat)?;
        let Pair {
            client, at_client, ..
        } = &mut path.pair;
        client.send(*at_client, 120)?;
        path.pair.server.await_unread(path.pair.at_server, 120)?;
        path.silent_since = Instant::now();
        Armed::due(path.silent_since + NOT_YET, move |lab| {
            lab.capture(Place::Server)?;
            path.pair.server.kill()?;
            let told = "120 bytes unread, then killed by SIGKILL, after a second of silence";
            let cause = Cause::KilledWithUnreadData;
            path.ended_by_server(lab, cause, told, "died of SIGKILL")
        })
    },
};

/// The same where the server has lost the connection: its kernel answers the client, through IPVS.
pub const NOT_EXPIRED_CRASHED: Scenario = Scenario {
    name: "ipvs-not-expired-crashed",
    title: "the server behind IPVS lost the connection; IPVS still has it and forwards the answer",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Alone,
    hops: &[hop("lab-ipvs-65", "198.51.100.65/32")],
    twins: &["expired-ipvs-answers-client", "peer-crashed-in-silence"],
    open: |lab, _| {
        let mut path = Balanced::open(lab, 65, Forwarding::Nat)?;
        path.pair.server.close(path.pair.listener)?;
        path.pair.server.vanish(path.pair.at_server)?;
        Armed::due(path.silent_since + NOT_YET, move |lab| {
            lab.capture(Place::Server)?;
            path.pair.client.send(path.pair.at_client, 50)?;
            let Passing {
                left,
                received,
                passed_on,
            } = path.reset_by_server(lab)?;
            let told = "the server had lost the connection without a packet; the client wrote a second later";
            let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
            let sent = Truth::sent(lab, Place::Server, left, origin, cause)
                .because(told)
                .names(&path.pair.server, &[Role::FormerOwner, Role::Listener])
                .lost_connection();
            Staged::new(
                Some(Form::Passive),
                vec![received.because(told), sent, passed_on],
                path.pair.into_actors(),
            )
        })
    },
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
struct Balanced {
    pair: Pair,
    front: SocketAddr,
    /// When the silence began.
    silent_since: Instant,
}

impl Balanced {
    fn open(lab: &mut Lab, site: u8, forwarding: Forwarding) -> Result<Self, StageError> {
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
        let mut pair = Pair::open_through(lab, site.client.into(), front.into(), service.into())?;
        let silent_since = Instant::now();
        pair.client.capture()?;
        pair.server.capture()?;
        Ok(Self {
            pair,
            front: front.into(),
            silent_since,
        })
    }

    /// A reset of the server's end, as seen at the server, at the client and at the router in between.
    fn reset_by_server(&mut self, lab: &mut Lab) -> Result<Passing, StageError> {
        let Self { pair, front, .. } = self;
        let client = pair.at_client.local;
        let left = pair.reset_by_server(lab, Place::Server)?;
        let arrived = pair.client.reset(*front, client)?;
        confirm("TTL of the RST", arrived.ttl, 63)?;
        let silence = self.silent_since.elapsed();
        confirm(
            "silence below the timeout",
            silence < TIMEOUT - MARGIN,
            true,
        )?;
        let error = pair.client_error("ECONNRESET")?;
        let received = pair.client_truth(lab, &arrived).peer_saw(error);
        let passed_on = passed_on(lab, arrived).because("IPVS only translated it");
        Ok(Passing {
            left,
            received,
            passed_on,
        })
    }

    /// The truths of a reset that the server's process caused.
    fn ended_by_server(
        mut self,
        lab: &mut Lab,
        cause: Cause,
        told: &'static str,
        did: &'static str,
    ) -> Result<Staged, StageError> {
        let Passing {
            left,
            received,
            passed_on,
        } = self.reset_by_server(lab)?;
        let sent = Truth::sent(lab, Place::Server, left, Origin::LocalProcess, cause)
            .because(told)
            .done_by(&self.pair.server, did)
            .names(&self.pair.server, &[Role::Closer])
            .lost_connection();
        Staged::new(
            Some(Form::Active),
            vec![received.because(told), sent, passed_on],
            self.pair.into_actors(),
        )
    }
}

/// A reset of the server's end on its way to the client.
struct Passing {
    /// As captured at the server.
    left: Segment,
    /// The truth at the client.
    received: Truth,
    /// The truth at the balancer.
    passed_on: Truth,
}

/// The truth at the balancer about a reset that only passed it.
fn passed_on(lab: &Lab, seen: Segment) -> Truth {
    let (origin, cause) = (Origin::Forwarded, Cause::Forwarded);
    let mut truth = Truth::sent(lab, Place::Router, seen, origin, cause).lost_connection();
    truth.direction = Direction::Forwarded;
    truth
}

const fn hop(name: &'static str, network: &'static str) -> Hop {
    Hop {
        name,
        network,
        port: None,
        timeout: TIMEOUT,
        mode: IdleMode::LateRst,
        transparent: true,
    }
}

/// After this silence the entry is gone; longer than a host's settings are remembered once they were read.
const EXPIRED: Duration = Duration::from_millis(6500);
/// After this one it is not.
const NOT_YET: Duration = Duration::from_secs(1);
/// How much shorter than the timeout the silence has to be.
const MARGIN: Duration = Duration::from_millis(400);
const LACKING: &str = "this kernel has no IPVS (modules ip_vs and ip_vs_rr)";
/// What ipvsadm says without them.
const NO_IPVS: [&str; 2] = [
    "Can't initialize ipvs",
    "Scheduler or persistence engine not found",
];
