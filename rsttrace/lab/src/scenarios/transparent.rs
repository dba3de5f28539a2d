//! Resets after a transparent load balancer has expired a connection. It translates addresses and has no
//! sockets: its timeout is that of conntrack, and it first reacts to the next packet.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::chain::TIMEOUT;
use super::pair::Pair;
use super::site::Site;
use super::{Armed, Family, Hop, Scenario, Staged, Suite, confirm};
use crate::StageError;
use crate::actor::protocol::TcpState;
use crate::lab::{Lab, Place};
use crate::net::nft::{Hook, Only, Port, Rule, Verdict};
use crate::record::{Cause, Form, IdleMode, Origin, Role};
use crate::segment::{Flags, Pattern, Segment};
use crate::truth::{Hidden, Truth};

/// The balancer's firewall rejects what belongs to no connection: in the client's name.
pub const REJECTED_PUSH: Scenario = Scenario {
    name: "expired-nat-rejects-server",
    title: "the load balancer expired the connection and rejects data from the server",
    family: Family::V4,
    // What the balancer's host knows of it is the handshake that passed, which must have been seen.
    can_predate: false,
    suite: Suite::Long,
    hops: &[Hop {
        name: "lab-nat-20",
        network: "192.0.2.20/32",
        port: None,
        timeout: TIMEOUT,
        mode: IdleMode::LateRst,
        transparent: true,
    }],
    twins: &["peer-crashed-in-silence", "expired-nat-peer-answers"],
    open: |lab, _| {
        let mut path = Path::open(lab, 20, true)?;
        Armed::due(path.expired, move |lab| {
            let Path { pair, .. } = &mut path;
            pair.server.send(pair.at_server, 50)?;
            let seen = pair
                .server
                .reset(pair.at_client.local, pair.listener.local)?;
            confirm("TTL of the RST", seen.ttl, 64)?;
            let error = pair.server.await_error(pair.at_server)?;
            confirm("error at the server", error.as_str(), "ECONNRESET")?;
            path.confirm_client_lives()?;
            let timeout = Some(TIMEOUT);
            let received = late(lab, Place::Server, &seen, timeout)
                .names(&path.pair.server, &[Role::Owner])
                .because("the balancer's firewall rejected the push in the client's name; the client knows nothing of it")
                .hidden(Hidden::PacketFilter)
                .peer_saw(error);
            let (origin, cause) = (Origin::LocalFirewall, Cause::FirewallReject);
            let sent = Truth::sent(lab, Place::Router, seen, origin, cause)
                .because("ct state invalid reject with tcp reset, after conntrack's timeout")
                .lost_connection()
                .at_timeout(IdleMode::LateRst, timeout);
            Staged::new(
                Some(Form::Passive),
                vec![received, sent],
                path.pair.into_actors(),
            )
        })
    },
};

/// Without such a rule, the client's next packet is not translated and reaches the balancer's own TCP.
pub const ANSWERED_BY_BALANCER: Scenario = Scenario {
    name: "expired-nat-answers-client",
    title: "the load balancer expired the connection; its own TCP stack answers the client",
    family: Family::V4,
    // As above.
    can_predate: false,
    suite: Suite::Long,
    hops: &[Hop {
        name: "lab-nat-21",
        network: "198.51.100.21/32",
        port: None,
        timeout: TIMEOUT,
        mode: IdleMode::LateRst,
        transparent: true,
    }],
    twins: &["peer-crashed-in-silence", "half-open"],
    open: |lab, _| answered_by_balancer(lab, 21, Some(TIMEOUT)),
};

/// The same where nothing is known of the path beforehand.
pub const ANSWERED_BY_UNKNOWN_BALANCER: Scenario = Scenario {
    name: "expired-nat-unconfigured",
    title: "a load balancer that is not configured expired the connection and answers the client",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[],
    twins: &["peer-crashed-in-silence", "expired-nat-answers-client"],
    open: |lab, _| answered_by_balancer(lab, 22, None),
};

fn answered_by_balancer(
    lab: &mut Lab,
    site: u8,
    known: Option<Duration>,
) -> Result<Armed, StageError> {
    let mut path = Path::open(lab, site, false)?;
    Armed::due(path.expired, move |lab| {
        let Path { pair, front, .. } = &mut path;
        pair.client.send(pair.at_client, 50)?;
        let seen = pair.client.reset(*front, pair.at_client.local)?;
        confirm("TTL of the RST", seen.ttl, 64)?;
        let error = pair.client_error("ECONNRESET")?;
        pair.confirm_server_end_lives()?;
        let received = match known {
            Some(timeout) => late(lab, Place::Client, &seen, Some(timeout)),
            // It came from this link and answered the first segment after 4.5 s.
            None => Truth::received(
                lab,
                Place::Client,
                seen.clone(),
                Origin::Middlebox,
                Cause::NotFromPeer,
            )
            .lost_connection()
            .hidden(Hidden::Conntrack(TIMEOUT.as_secs_f64()))
            .but_really("a balancer had forgotten the connection after 3 s; after so short a silence a reset that somebody meant looks the same"),
        };
        let received = received
            .names(&pair.client, &[Role::Owner])
            .because("the balancer's own TCP answered in the server's name; the server's end lives")
            .peer_saw(error);
        let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
        let sent = Truth::sent(lab, Place::Router, seen, origin, cause)
            .because("after conntrack's timeout the segment was not translated: no socket for it")
            .lost_connection()
            .at_timeout(IdleMode::LateRst, Some(TIMEOUT));
        Staged::new(
            Some(Form::Passive),
            vec![received, sent],
            path.pair.into_actors(),
        )
    })
}

/// The server's push reaches the client untranslated, and the client itself, which has no connection with that
/// address, resets.
///
/// What the server can know: its peer's own TCP answered with a RST, with the TTL it always had. The same is
/// seen when the peer's host has restarted. That a balancer's timeout is behind it shows at the client only,
/// where the push comes from the server's own address.
pub const ANSWERED_BY_PEER: Scenario = Scenario {
    name: "expired-nat-peer-answers",
    title: "the load balancer expired the connection and forwards data untranslated; the client resets",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[],
    twins: &["expired-nat-rejects-server", "peer-crashed-in-silence"],
    open: |lab, _| {
        let mut path = Path::open(lab, 23, false)?;
        Armed::due(path.expired, move |lab| {
            let Path { pair, .. } = &mut path;
            pair.server.send(pair.at_server, 50)?;
            let (client, server) = (pair.at_client.local, pair.listener.local);
            let seen = pair.server.reset(client, server)?;
            confirm("TTL of the RST", seen.ttl, 63)?;
            let error = pair.server.await_error(pair.at_server)?;
            confirm("error at the server", error.as_str(), "ECONNRESET")?;
            // Untranslated, it is of another connection.
            pair.client.segment(from_server(server, client))?;
            path.confirm_client_lives()?;
            let received = path
                .pair
                .server_truth(lab, &seen)
                .because("the client's kernel sent it: the push came from an address it has no connection with")
                .but_really("a balancer had forgotten the connection after 3 s; the peer's answer looks the same when the peer has restarted")
                .peer_saw(error);
            let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
            let sent = Truth::sent(lab, Place::Client, seen, origin, cause)
                .because("a segment from the server's own address, with which the client has no connection")
                .lost_connection();
            Staged::new(
                Some(Form::Passive),
                vec![received, sent],
                path.pair.into_actors(),
            )
        })
    },
};

/// A connection through a router that translates the destination, and forgets.
struct Path {
    pair: Pair,
    front: SocketAddr,
    expired: Instant,
}

impl Path {
    fn open(lab: &mut Lab, site: u8, rejects: bool) -> Result<Self, StageError> {
        let site = Site::new(lab, site)?;
        let port = lab.port();
        let front = SocketAddrV4::new(site.front, port);
        let service = SocketAddrV4::new(site.server, port);
        let mut rules = vec![Rule {
            hook: Hook::Redirect,
            port: Port::Destination(port),
            flags: None,
            only: Some(Only::To(site.front)),
            verdict: Verdict::Redirect(service),
        }];
        if rejects {
            rules.push(Rule {
                hook: Hook::Forward,
                port: Port::Source(port),
                flags: None,
                only: Some(Only::Invalid),
                verdict: Verdict::Reject,
            });
        }
        lab.firewall_to_stay(Place::Router, &rules)?;
        let mut pair = Pair::open_through(lab, site.client.into(), front.into(), service.into())?;
        let expired = Instant::now() + TIMEOUT + SLACK;
        pair.client.capture()?;
        pair.server.capture()?;
        Ok(Self {
            pair,
            front: front.into(),
            expired,
        })
    }

    /// The client's end knows nothing of the reset; its process may end without another one.
    fn confirm_client_lives(&mut self) -> Result<(), StageError> {
        let Pair {
            client, at_client, ..
        } = &mut self.pair;
        client.await_state(*at_client, TcpState::Established)?;
        client.vanish(*at_client)
    }
}

/// The truth at an end: a device on the way had forgotten the connection.
pub fn late(lab: &Lab, place: Place, seen: &Segment, timeout: Option<Duration>) -> Truth {
    Truth::received(
        lab,
        place,
        seen.clone(),
        Origin::Middlebox,
        Cause::IdleTimeout,
    )
    .lost_connection()
    .at_timeout(IdleMode::LateRst, timeout)
}

/// Data from the server's own address.
pub fn from_server(server: SocketAddr, client: SocketAddr) -> Pattern {
    Pattern {
        source: server,
        destination: Some(client),
        with: Flags::PSH,
        without: Flags::RST,
    }
}

/// conntrack counts in jiffies, and the silence is to be longer than the timeout by something that shows.
const SLACK: Duration = Duration::from_millis(1500);
