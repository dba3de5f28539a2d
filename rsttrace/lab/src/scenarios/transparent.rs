//! Resets after a transparent load balancer has expired a connection. It translates addresses and has no
//! sockets: its timeout is that of conntrack, and it first reacts to the next packet.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::chain::TIMEOUT;
use super::site::Site;
use super::translated::{Translated, expired_on_path, hop};
use super::{Armed, LONG, Scenario, Staged, confirm};
use crate::StageError;
use crate::lab::{Lab, Place};
use crate::net::nft::{Hook, Only, Port, Rule, Verdict};
use crate::record::{Cause, Direction, IdleMode, Origin, Role};
use crate::segment::Segment;
use crate::truth::{Hidden, Truth};

/// The balancer's firewall rejects what belongs to no connection: in the client's name.
pub const REJECTED_PUSH: Scenario = Scenario {
    name: "expired-nat-rejects-server",
    title: "the load balancer expired the connection and rejects data from the server",
    // The balancer's host only knows the handshake that passed, so the tracer must have seen that.
    can_predate: false,
    hops: &[hop("lab-nat-20", "192.0.2.20/32")],
    twins: &["peer-crashed-in-silence", "expired-nat-peer-answers"],
    open: |lab, _| {
        let mut path = open(lab, 20, true)?;
        Armed::due(path.silent_since + EXPIRED, move |lab| {
            let pair = &mut path.pair;
            pair.server.send(pair.at_server, 50)?;
            let seen = pair
                .server
                .reset(pair.at_client.local, pair.listener.local)?;
            confirm("TTL of the RST", seen.ttl, 64)?;
            let error = pair.server.confirm_error(pair.at_server, "ECONNRESET")?;
            pair.confirm_client_end_lives()?;
            let received = expired_on_path(lab, Place::Server, &seen)
                .names(&pair.server, &[Role::Owner])
                .because("the balancer's firewall rejected the push in the client's name; the client knows nothing of it")
                .hidden(Hidden::PacketFilter)
                .peer_saw(error);
            let (origin, cause) = (Origin::LocalFirewall, Cause::FirewallReject);
            let sent = Truth::sent(lab, Place::Router, &seen, origin, cause)
                .because("ct state invalid reject with tcp reset, after conntrack's timeout")
                .lost_connection()
                .at_timeout(IdleMode::LateRst, Some(TIMEOUT));
            Staged::passive([received, sent], path.pair)
        })
    },
    ..LONG
};

/// Without such a rule, the client's next packet is not translated and reaches the balancer's own TCP.
pub const ANSWERED_BY_BALANCER: Scenario = Scenario {
    name: "expired-nat-answers-client",
    title: "the load balancer expired the connection; its own TCP stack answers the client",
    // As above.
    can_predate: false,
    hops: &[hop("lab-nat-21", "198.51.100.21/32")],
    twins: &["peer-crashed-in-silence", "half-open"],
    open: |lab, _| answered_by_balancer(lab, 21, true),
    ..LONG
};

pub const ANSWERED_BY_UNKNOWN_BALANCER: Scenario = Scenario {
    name: "expired-nat-unconfigured",
    title: "a load balancer that is not configured expired the connection and answers the client",
    twins: &["peer-crashed-in-silence", "expired-nat-answers-client"],
    open: |lab, _| answered_by_balancer(lab, 22, false),
    ..LONG
};

fn answered_by_balancer(lab: &mut Lab, site: u8, known: bool) -> Result<Armed, StageError> {
    let mut path = open(lab, site, false)?;
    Armed::due(path.silent_since + EXPIRED, move |lab| {
        let truth = |seen: &Segment| {
            if known {
                return expired_on_path(lab, Place::Client, seen);
            }
            // It came from this link and answered the first segment after 4.5 s.
            let (origin, cause) = (Origin::Middlebox, Cause::NotFromPeer);
            Truth::received(lab, Place::Client, seen, origin, cause)
                .lost_connection()
                .hidden(Hidden::Conntrack(TIMEOUT.as_secs_f64()))
                .but_really("a balancer had forgotten the connection after 3 s; after so short a silence a reset that somebody meant looks the same")
        };
        let truths = path.answered_by_balancer(lab, truth)?;
        Staged::passive(truths, path.pair)
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
    twins: &["expired-nat-rejects-server", "peer-crashed-in-silence"],
    open: |lab, _| {
        let mut path = open(lab, 23, false)?;
        Armed::due(path.silent_since + EXPIRED, move |lab| {
            let really = "a balancer had forgotten the connection after 3 s; the peer's answer looks the same when the peer has restarted";
            let [received, sent] = path.answered_by_peer(lab, really)?;
            let (origin, cause) = (Origin::Forwarded, Cause::Forwarded);
            let passed_on = Truth::sent(lab, Place::Router, &sent.seen, origin, cause)
                .because("the client's RST for the server's own address passed the balancer")
                .lost_connection()
                .at_timeout(IdleMode::LateRst, Some(TIMEOUT))
                .says(format!("had translated the connection from {}", path.front));
            let passed_on = Truth {
                direction: Direction::Forwarded,
                ..passed_on
            };
            Staged::passive([received, sent, passed_on], path.pair)
        })
    },
    ..LONG
};

/// A connection through a router that translates the destination, and forgets.
fn open(lab: &mut Lab, site: u8, rejects: bool) -> Result<Translated, StageError> {
    let site = Site::new(lab, site)?;
    let port = lab.port();
    let front = SocketAddrV4::new(site.front, port);
    let service = SocketAddrV4::new(site.server, port);
    let redirect = Verdict::Redirect(service.into());
    let redirect = Rule::new(Hook::Redirect, Port::Destination(port), redirect);
    let mut rules = vec![redirect.only(Only::To(site.front.into()))];
    if rejects {
        let reject = Rule::new(Hook::Forward, Port::Source(port), Verdict::Reject);
        rules.push(reject.only(Only::Invalid));
    }
    lab.firewall_to_stay(Place::Router, &rules)?;
    Translated::open(lab, site, front, service)
}

/// Longer than the timeout by a visible margin: conntrack counts in jiffies.
const EXPIRED: Duration = Duration::from_millis(4500);
