//! Scenarios seen by the receiver or a router instead of the sender.

use super::pair::Pair;
use super::{Armed, Family, Scenario, Staged, Suite, confirm};
use crate::actor::protocol::SocketOption;
use crate::lab::Place;
use crate::record::{Cause, Direction, Form, Origin};
use crate::truth::Truth;

/// A RST that the peer really sent, judged at the receiver.
pub const RECEIVED: Scenario = Scenario {
    name: "received",
    title: "RST received in ESTABLISHED, sent by the peer",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["injected-exact", "injected-in-window"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        Armed::new(move |lab| {
            lab.capture(Place::Client)?;
            pair.server.set(pair.at_server, SocketOption::Linger(0))?;
            pair.server.close(pair.at_server)?;
            let seen = pair.reset_by_server(lab, Place::Client)?;
            confirm("TTL of the RST", seen.ttl, 63)?;
            let error = pair.client_error("ECONNRESET")?;
            let truth = pair
                .client_truth(lab, &seen)
                .because("the peer closed with SO_LINGER 0")
                .done_by(&pair.server, "close()")
                .peer_saw(error);
            Staged::new(Some(Form::Active), vec![truth], pair.into_actors())
        })
    },
};

/// A RST passing through, judged at the router.
pub const FORWARDED: Scenario = Scenario {
    name: "forwarded",
    title: "RST forwarded by the router",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["firewall-reject-forwarded"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        Armed::new(move |lab| {
            lab.capture(Place::Router)?;
            pair.server.set(pair.at_server, SocketOption::Linger(0))?;
            pair.server.close(pair.at_server)?;
            let arrived = pair.reset_by_server(lab, Place::Router)?;
            let left = pair.reset_by_server(lab, Place::Router)?;
            confirm("TTL on both legs", (arrived.ttl, left.ttl), (64, 63))?;
            let error = pair.client_error("ECONNRESET")?;
            let mut truth = Truth::sent(
                lab,
                Place::Router,
                left,
                Origin::Forwarded,
                Cause::Forwarded,
            )
            .because("the server closed with SO_LINGER 0; the router only passed it on")
            .lost_connection()
            .peer_saw(error);
            truth.direction = Direction::Forwarded;
            Staged::new(Some(Form::Active), vec![truth], pair.into_actors())
        })
    },
};
