//! Scenarios seen by the receiver or a router instead of the sender.

use super::pair::on_pair;
use super::{Family, SHORT, Scenario, Staged, confirm};
use crate::lab::Place;
use crate::record::{Cause, Direction, Origin};
use crate::truth::Truth;

pub const RECEIVED: Scenario = Scenario {
    name: "received",
    title: "RST received in ESTABLISHED, sent by the peer",
    family: Family::Both,
    twins: &["injected-exact", "injected-in-window"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            lab.capture(Place::Client)?;
            pair.server.close_with_linger_zero(pair.at_server)?;
            let seen = pair.reset_by_server(lab, Place::Client)?;
            confirm("TTL of the RST", seen.ttl, 63)?;
            let error = pair.client_error("ECONNRESET")?;
            let truth = pair
                .client_truth(lab, &seen)
                .because("the peer closed with SO_LINGER 0")
                .done_by(&pair.server, "close()")
                .peer_saw(error);
            Staged::active([truth], pair)
        })
    },
    ..SHORT
};

pub const FORWARDED: Scenario = Scenario {
    name: "forwarded",
    title: "RST forwarded by the router",
    family: Family::Both,
    twins: &["firewall-reject-forwarded"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            lab.capture(Place::Router)?;
            pair.server.close_with_linger_zero(pair.at_server)?;
            let arrived = pair.reset_by_server(lab, Place::Router)?;
            let left = pair.reset_by_server(lab, Place::Router)?;
            confirm("TTL on both legs", (arrived.ttl, left.ttl), (64, 63))?;
            let error = pair.client_error("ECONNRESET")?;
            let (origin, cause) = (Origin::Forwarded, Cause::Forwarded);
            let mut truth = Truth::sent(lab, Place::Router, &left, origin, cause)
                .because("the server closed with SO_LINGER 0; the router only passed it on")
                .lost_connection()
                .peer_saw(error);
            truth.direction = Direction::Forwarded;
            Staged::active([truth], pair)
        })
    },
    ..SHORT
};
