//! Resets of a firewall on this host.

use super::handshake::be_refused;
use super::pair::on_pair;
use super::{Armed, Family, SHORT, Scenario, Staged, confirm};
use crate::lab::Place;
use crate::net::nft::{Hook, Port, Rule, Verdict};
use crate::record::{Cause, Origin};
use crate::segment::Flags;
use crate::truth::Hidden;

pub const REJECT_SYN: Scenario = Scenario {
    name: "firewall-reject-syn",
    title: "the server's firewall rejects a SYN with a RST",
    family: Family::Both,
    can_predate: false,
    twins: &["port-closed"],
    open: |lab, version| {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(lab.service(version), 8)?;
        Armed::new(move |lab| {
            let rule = reject(Hook::Input, listener.local.port());
            lab.firewall(Place::Server, &[rule])?;
            lab.capture(Place::Server)?;
            let [sent, received] = be_refused(
                lab,
                &mut client,
                (listener.local, Place::Server),
                (Origin::LocalFirewall, Cause::FirewallReject),
            )?;
            let sent = sent
                .because("an nftables rule in input rejects with tcp reset; a listener is there");
            let received = received.hidden(Hidden::PacketFilter);
            Staged::passive([sent, received], [client, server])
        })
    },
    ..SHORT
};

pub const REJECT_ESTABLISHED: Scenario = Scenario {
    name: "firewall-reject-established",
    title: "the server's firewall rejects data of a live connection",
    twins: &["raw-socket", "data-after-shutdown"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            let rule = reject(Hook::Input, pair.listener.local.port()).flags(Flags::SYN, Flags(0));
            lab.firewall(Place::Server, &[rule])?;
            lab.capture(Place::Server)?;
            pair.client.send(pair.at_client, 50)?;
            let who = (Origin::LocalFirewall, Cause::FirewallReject);
            let [sent, received] = pair.ended_by_server(lab, who, "ECONNRESET")?;
            pair.confirm_server_end_lives()?;
            let sent = sent
                .because("an nftables rule in input rejects data; the server's socket still lives");
            let received = received
                .because("the firewall of the server's host sent it")
                .hidden(Hidden::PacketFilter);
            Staged::passive([sent, received], pair)
        })
    },
    ..SHORT
};

/// The router answers in the server's name.
pub const REJECT_FORWARDED: Scenario = Scenario {
    name: "firewall-reject-forwarded",
    title: "the router's firewall rejects a SYN with the server's address",
    family: Family::Both,
    can_predate: false,
    twins: &["forwarded", "port-closed"],
    open: |lab, version| {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(lab.service(version), 8)?;
        Armed::new(move |lab| {
            let rule = reject(Hook::Forward, listener.local.port());
            lab.firewall(Place::Router, &[rule])?;
            lab.capture(Place::Router)?;
            let [sent, _] = be_refused(
                lab,
                &mut client,
                (listener.local, Place::Router),
                (Origin::LocalFirewall, Cause::FirewallReject),
            )?;
            confirm("TTL of the RST", sent.seen.ttl, 64)?;
            let sent = sent
                .because("an nftables rule in the router's forward hook rejects with tcp reset");
            Staged::passive([sent], [client, server])
        })
    },
    ..SHORT
};

/// Rejects segments to a port.
fn reject(hook: Hook, port: u16) -> Rule {
    Rule::new(hook, Port::Destination(port), Verdict::Reject)
}
