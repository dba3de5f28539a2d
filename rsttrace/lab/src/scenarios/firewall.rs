//! Resets of a firewall on this host.

use super::handshake::refused;
use super::pair::Pair;
use super::{Armed, Family, Scenario, Staged, Suite, confirm};
use crate::lab::Place;
use crate::net::nft::{FlagMatch, Hook, Port, Rule, Verdict};
use crate::record::{Cause, Form, Origin};
use crate::segment::Flags;
use crate::truth::{Hidden, Truth};

/// A SYN for a listening port is rejected in INPUT.
pub const REJECT_SYN: Scenario = Scenario {
    name: "firewall-reject-syn",
    title: "the server's firewall rejects a SYN with a RST",
    family: Family::Both,
    can_predate: false,
    suite: Suite::Short,
    hops: &[],
    twins: &["port-closed"],
    open: |lab, version| {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(lab.service(version), 8)?;
        Armed::new(move |lab| {
            lab.firewall(
                Place::Server,
                &[reject(Hook::Input, listener.local.port(), None)],
            )?;
            lab.capture(Place::Server)?;
            let socket = client.start_connect(None, listener.local)?;
            let error = client.await_error(socket)?;
            confirm("error at the client", error.as_str(), "ECONNREFUSED")?;
            let seen = lab.reset(Place::Server, listener.local, socket.local)?;
            let cause = Cause::FirewallReject;
            let truth = Truth::sent(
                lab,
                Place::Server,
                seen.clone(),
                Origin::LocalFirewall,
                cause,
            )
            .because("an nftables rule in input rejects with tcp reset; a listener is there")
            .peer_saw(error);
            let refused = refused(lab, &client, seen).hidden(Hidden::PacketFilter);
            Staged::new(
                Some(Form::Passive),
                vec![truth, refused],
                vec![client, server],
            )
        })
    },
};

/// Data of a live connection is rejected in INPUT.
pub const REJECT_ESTABLISHED: Scenario = Scenario {
    name: "firewall-reject-established",
    title: "the server's firewall rejects data of a live connection",
    family: Family::V4,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["raw-socket", "data-after-shutdown"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        Armed::new(move |lab| {
            let rule = reject(Hook::Input, pair.listener.local.port(), Some(Flags::SYN));
            lab.firewall(Place::Server, &[rule])?;
            lab.capture(Place::Server)?;
            pair.client.send(pair.at_client, 50)?;
            let seen = pair.reset_by_server(lab, Place::Server)?;
            let error = pair.client_error("ECONNRESET")?;
            pair.confirm_server_end_lives()?;
            let cause = Cause::FirewallReject;
            let truth = Truth::sent(
                lab,
                Place::Server,
                seen.clone(),
                Origin::LocalFirewall,
                cause,
            )
            .because("an nftables rule in input rejects data; the server's socket still lives")
            .lost_connection()
            .peer_saw(error);
            let received = pair
                .client_truth(lab, &seen)
                .because("the firewall of the server's host sent it")
                .hidden(Hidden::PacketFilter);
            Staged::new(
                Some(Form::Passive),
                vec![truth, received],
                pair.into_actors(),
            )
        })
    },
};

/// The router answers in the server's name.
pub const REJECT_FORWARDED: Scenario = Scenario {
    name: "firewall-reject-forwarded",
    title: "the router's firewall rejects a SYN with the server's address",
    family: Family::Both,
    can_predate: false,
    suite: Suite::Short,
    hops: &[],
    twins: &["forwarded", "port-closed"],
    open: |lab, version| {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(lab.service(version), 8)?;
        Armed::new(move |lab| {
            lab.firewall(
                Place::Router,
                &[reject(Hook::Forward, listener.local.port(), None)],
            )?;
            lab.capture(Place::Router)?;
            let socket = client.start_connect(None, listener.local)?;
            let error = client.await_error(socket)?;
            confirm("error at the client", error.as_str(), "ECONNREFUSED")?;
            let seen = lab.reset(Place::Router, listener.local, socket.local)?;
            confirm("TTL of the RST", seen.ttl, 64)?;
            let cause = Cause::FirewallReject;
            let truth = Truth::sent(lab, Place::Router, seen, Origin::LocalFirewall, cause)
                .because("an nftables rule in the router's forward hook rejects with tcp reset")
                .peer_saw(error);
            Staged::new(Some(Form::Passive), vec![truth], vec![client, server])
        })
    },
};

/// Rejects segments to a port; with `unless`, only those without these bits.
fn reject(hook: Hook, port: u16, unless: Option<Flags>) -> Rule {
    let flags = unless.map(|mask| FlagMatch {
        mask,
        value: Flags(0),
    });
    Rule {
        hook,
        port: Port::Destination(port),
        flags,
        only: None,
        verdict: Verdict::Reject,
    }
}
