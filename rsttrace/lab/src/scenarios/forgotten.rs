//! Connections that the router translates and forgets before their time, by a deleted entry or half-closed; and one that it still has.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::chain::TIMEOUT;
use super::pair::Pair;
use super::site::Site;
use super::{ALONE, Armed, Family, LONG, Scenario, Staged, confirm};
use crate::StageError;
use crate::actor::protocol::{Command, TcpState};
use crate::lab::{IpVersion, Lab, Place};
use crate::net::nft::{Hook, Only, Port, Rule, Verdict};
use crate::record::{Cause, Direction, Origin, Role};
use crate::segment::Segment;
use crate::truth::Truth;

/// The client's next segment is not translated and reaches the router's own TCP.
pub const DELETED_DESTINATION_NAT: Scenario = Scenario {
    name: "deleted-nat-answers-client",
    title: "the load balancer's entry is deleted; its own TCP stack answers the client",
    family: Family::Both,
    twins: &["translated-linger-zero", "half-open"],
    open: |lab, version| {
        let ends = Ends::of(lab, 70, version)?;
        let mut pair = open(lab, ends, Nat::Destination)?;
        let opened = Instant::now();
        Armed::due(opened + SILENCE, move |lab| {
            confirm_young(opened)?;
            let client = pair.at_client.local;
            lab.forget(Place::Router, client, ends.front)?;
            pair.client.send(pair.at_client, 50)?;
            let seen = pair.client.reset(ends.front, client)?;
            confirm("TTL of the RST", seen.ttl, 64)?;
            let error = pair.client_error("ECONNRESET")?;
            pair.confirm_server_end_lives()?;
            let received = Truth::received(lab, Place::Client, &seen, Origin::Middlebox, Cause::NotFromPeer)
                .because("the balancer's own TCP answered in the service's name; the server's end lives; the way to the service has a router")
                .names(&pair.client, &[Role::Owner])
                .lost_connection()
                .peer_saw(error);
            let sent = answered(lab, &seen, DELETED)
                .says(pair.listener.local)
                .without_timer();
            Staged::passive([received, sent], pair)
        })
    },
    ..ALONE
};

/// The server's next segment goes to an address of the router's own.
pub const DELETED_SOURCE_NAT: Scenario = Scenario {
    name: "deleted-masquerade-answers-server",
    title: "the entry of a masqueraded connection is deleted; the router's own TCP stack answers the server",
    family: Family::Both,
    twins: &["translated-linger-zero", "deleted-nat-answers-client"],
    open: |lab, version| {
        let ends = Ends::of(lab, 71, version)?;
        let pair = open(lab, ends, Nat::Source)?;
        let opened = Instant::now();
        Armed::due(opened + SILENCE, move |lab| {
            confirm_young(opened)?;
            lab.forget(Place::Router, pair.at_client.local, ends.server)?;
            let (pair, truths) = answered_server(lab, pair, DELETED, "ECONNRESET")?;
            Staged::passive(truths, pair)
        })
    },
    ..ALONE
};

/// The client has closed its direction, which shortens the entry's life; the server sends on.
pub const HALF_CLOSED: Scenario = Scenario {
    name: "half-closed-masquerade-answers-server",
    title: "the router expired a half-closed connection; its own TCP stack answers the server",
    twins: &[
        "translated-linger-zero",
        "deleted-masquerade-answers-server",
    ],
    open: |lab, version| {
        let ends = Ends::of(lab, 72, version)?;
        let mut pair = open(lab, ends, Nat::Source)?;
        pair.client.ask(Command::ShutdownWrite(pair.at_client.id))?;
        pair.server
            .await_state(pair.at_server, TcpState::CloseWait)?;
        pair.client
            .await_state(pair.at_client, TcpState::FinWait2)?;
        Armed::due(Instant::now() + EXPIRED, move |lab| {
            // The server's end cannot know more than that its peer may have been another one.
            let (pair, [_, sent]) = answered_server(lab, pair, CLOSE_WAIT_OVER, "EPIPE")?;
            Staged::passive([sent], pair)
        })
    },
    ..LONG
};

/// The same connection, which the router still translates: the server's own reset only passes.
pub const NOT_FORGOTTEN: Scenario = Scenario {
    name: "translated-linger-zero",
    title: "close() with SO_LINGER of 0 seconds behind a NAT that still has the connection",
    family: Family::Both,
    twins: &["deleted-nat-answers-client", "linger-zero"],
    open: |lab, version| {
        let ends = Ends::of(lab, 73, version)?;
        let mut pair = open(lab, ends, Nat::Destination)?;
        Armed::due(Instant::now(), move |lab| {
            pair.server.close_with_linger_zero(pair.at_server)?;
            let seen = pair.client.reset(ends.front, pair.at_client.local)?;
            confirm("TTL of the RST", seen.ttl, 63)?;
            let error = pair.client_error("ECONNRESET")?;
            let received = pair
                .client_truth(lab, &seen)
                .because("the server's process closed with SO_LINGER 0")
                .never_says("NAT")
                .peer_saw(error);
            let (origin, cause) = (Origin::Forwarded, Cause::Forwarded);
            let passed_on = Truth::sent(lab, Place::Router, &seen, origin, cause)
                .because("the router translated it, as all of the connection")
                .lost_connection()
                .never_says("had translated")
                .without_timer();
            let passed_on = Truth {
                direction: Direction::Forwarded,
                ..passed_on
            };
            Staged::active([received, passed_on], pair)
        })
    },
    ..LONG
};

/// What the router translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nat {
    Destination,
    Source,
}

/// Addresses of one scenario.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub client: IpAddr,
    /// The router's, in the service's name.
    pub front: SocketAddr,
    pub server: SocketAddr,
}

impl Ends {
    /// Those with this number, with a port of their own.
    pub fn of(lab: &mut Lab, number: u8, version: IpVersion) -> Result<Self, StageError> {
        let port = lab.port();
        let (client, front, server): (IpAddr, IpAddr, IpAddr) = match version {
            IpVersion::V4 => {
                let site = Site::new(lab, number)?;
                (site.client.into(), site.front.into(), site.server.into())
            }
            IpVersion::V6 => {
                let at = |network| Ipv6Addr::new(network, 0, 0, 0, 0, 0, 0, number.into()).into();
                let (client, front, server) = (at(0xfd01), at(0xfd02), at(0xfd03));
                lab.further_address(Place::Client, client)?;
                lab.further_address(Place::Router, front)?;
                lab.further_address(Place::Server, server)?;
                (client, front, server)
            }
        };
        Ok(Self {
            client,
            front: SocketAddr::new(front, port),
            server: SocketAddr::new(server, port),
        })
    }

    /// Connections to the front go to the server.
    pub fn redirect(&self) -> Rule {
        let redirect = Verdict::Redirect(self.server);
        let rule = Rule::new(
            Hook::Redirect,
            Port::Destination(self.front.port()),
            redirect,
        );
        rule.only(Only::To(self.front.ip()))
    }
}

/// A connection that the router translates, both ends capturing.
fn open(lab: &mut Lab, ends: Ends, nat: Nat) -> Result<Pair, StageError> {
    let port = Port::Destination(ends.server.port());
    let (rule, to) = match nat {
        Nat::Destination => (ends.redirect(), ends.front),
        Nat::Source => (
            Rule::new(Hook::Leaving, port, Verdict::Masquerade),
            ends.server,
        ),
    };
    lab.firewall_to_stay(Place::Router, &[rule])?;
    let mut pair = Pair::open_through(lab, ends.client, to, ends.server)?;
    pair.client.capture()?;
    pair.server.capture()?;
    Ok(pair)
}

/// The server writes to the router's address, and the router's TCP answers.
fn answered_server(
    lab: &mut Lab,
    mut pair: Pair,
    why: &'static str,
    error: &str,
) -> Result<(Pair, [Truth; 2]), StageError> {
    let Some(masqueraded) = pair.at_server.remote else {
        return Err(StageError::Failed(
            "the server's end has no peer".to_owned(),
        ));
    };
    pair.server.send(pair.at_server, 50)?;
    let seen = pair.server.reset(masqueraded, pair.listener.local)?;
    confirm("TTL of the RST", seen.ttl, 64)?;
    let error = pair.server.confirm_error(pair.at_server, error)?;
    pair.client.vanish(pair.at_client)?;
    let (origin, cause) = (Origin::Middlebox, Cause::NotFromPeer);
    let received = Truth::received(lab, Place::Server, &seen, origin, cause)
        .because(
            "the router's own TCP answered in the client's name, with another TTL, after a silence",
        )
        .names(&pair.server, &[Role::Owner])
        .lost_connection()
        .peer_saw(error);
    let sent = answered(lab, &seen, why).says(pair.at_client.local);
    Ok((pair, [received, sent]))
}

/// Fails the staging unless the entry's own timeout is far.
fn confirm_young(opened: Instant) -> Result<(), StageError> {
    confirm(
        "age below the timeout",
        opened.elapsed() < TIMEOUT / 2,
        true,
    )
}

/// The truth at the router, which has no socket for what it no longer translates.
fn answered(lab: &Lab, seen: &Segment, why: &'static str) -> Truth {
    let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
    Truth::sent(lab, Place::Router, seen, origin, cause)
        .because(why)
        .lost_connection()
}

const DELETED: &str = "`conntrack -D` had deleted the entry";
const CLOSE_WAIT_OVER: &str = "nf_conntrack_tcp_timeout_close_wait (2 s) was over";
/// Long enough that what answers the next segment has not just been talked to.
const SILENCE: Duration = Duration::from_millis(1000);
/// Longer than the half-closed connection's timeout, by a margin.
const EXPIRED: Duration = Duration::from_millis(4500);
