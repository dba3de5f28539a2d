//! Answers with another address than the connect was for, and a device that answers in the server's name.

use std::net::SocketAddr;
use std::time::Duration;

use super::forgotten::Ends;
use super::pair::Pair;
use super::{Armed, Family, LONG, SHORT, Scenario, Staged, confirm};
use crate::actor::protocol::Command;
use crate::lab::Place;
use crate::net::nft::{Hook, Port, Rule, Verdict};
use crate::record::{Cause, Origin, Role};
use crate::segment::{Flags, Pattern, Segment};
use crate::truth::{Hidden, Truth};

/// The router translates the SYN, and the answer bypasses its connection tracking.
pub const ANSWER: Scenario = Scenario {
    name: "untranslated-answer",
    title: "the answer to a translated SYN bypasses the NAT; the client's kernel resets it",
    family: Family::Both,
    twins: &["late-synack", "backscatter-while-connecting"],
    open: |lab, version| {
        let ends = Ends::of(lab, 74, version)?;
        let bypass = Port::Source(ends.server.port());
        let bypass = Rule::new(Hook::Untracked, bypass, Verdict::Untracked);
        lab.firewall_to_stay(Place::Router, &[ends.redirect(), bypass])?;
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        server.listen(ends.server, 8)?;
        Armed::new(move |lab| {
            lab.capture(Place::Client)?;
            let from = SocketAddr::new(ends.client, 0);
            let socket = client.start_connect(Some(from), ends.front)?;
            let seen = lab.reset(Place::Client, socket.local, ends.server)?;
            // Its process is looked up while it still connects.
            lab.await_quiet(QUIET)?;
            client.close(socket)?;
            let (origin, cause) = (Origin::LocalKernel, Cause::UntranslatedAnswer);
            let truth = Truth::sent(lab, Place::Client, &seen, origin, cause)
                .because("the SYN-ACK came from the server's own address, not from the one that was connected to")
                .names(&client, &[Role::Owner])
                .or_names_nobody()
                .says(ends.front);
            Staged::passive([truth], [client, server])
        })
    },
    ..LONG
};

/// A SYN-ACK with another number arrives at the same port.
pub const BACKSCATTER: Scenario = Scenario {
    name: "backscatter-while-connecting",
    title: "a SYN-ACK from an address that was not connected to, with another number, while a connect waits",
    family: Family::Both,
    can_predate: false,
    twins: &["untranslated-answer", "late-synack"],
    open: |lab, version| {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let mut injector = lab.actor(Place::Router, "rt-injector")?;
        let listener = server.listen(lab.service(version), 8)?;
        let mut other = lab.service(version);
        other.set_ip(lab.address(Place::Router, version));
        Armed::new(move |lab| {
            let hold = Port::Destination(listener.local.port());
            let hold = Rule::new(Hook::Forward, hold, Verdict::Drop);
            lab.firewall(Place::Router, &[hold])?;
            lab.capture(Place::Client)?;
            let socket = client.start_connect(None, listener.local)?;
            let syn = Pattern::with(Flags::SYN, socket.local, listener.local);
            let syn = lab.segment(Place::Client, syn)?;
            let mut synack = Segment::new(other, socket.local, Flags::SYN_ACK);
            synack = synack.numbered(77, syn.seq.wrapping_add(2));
            synack.window = 512;
            injector.ask(Command::Inject(synack))?;
            let seen = lab.reset(Place::Client, socket.local, other)?;
            client.close(socket)?;
            let (origin, cause) = (Origin::LocalKernel, Cause::LateSynack);
            let truth = Truth::sent(lab, Place::Client, &seen, origin, cause)
                .because("a SYN-ACK from an address that nobody here had sent a SYN to")
                .never_says("NAT");
            Staged::passive([truth], [client, injector, server])
        })
    },
    ..SHORT
};

/// The router itself accepts what is meant for the server, as a transparent proxy does, and resets it.
pub const STAND_IN: Scenario = Scenario {
    name: "proxy-in-servers-name",
    title: "a proxy on the router accepts and resets a connection in the server's name",
    twins: &["received", "injected-exact"],
    open: |lab, version| {
        let ends = Ends::of(lab, 75, version)?;
        let port = Port::Destination(ends.server.port());
        let to_itself = Rule::new(Hook::Redirect, port, Verdict::Redirect(ends.front));
        lab.firewall_to_stay(Place::Router, &[to_itself])?;
        let mut pair = Pair::open_through_proxy(lab, ends.client, ends.server, ends.front)?;
        pair.client.capture()?;
        Armed::new(move |lab| {
            pair.server.close_with_linger_zero(pair.at_server)?;
            let seen = pair.client.reset(ends.server, pair.at_client.local)?;
            confirm("TTL of the RST", seen.ttl, 64)?;
            let error = pair.client_error("ECONNRESET")?;
            let truth = pair
                .client_truth(lab, &seen)
                .because("it came from this link, and the way to the server has a router: something answers in its name")
                .but_really("a proxy on the router had accepted the connection")
                .hidden(Hidden::Process)
                .says("a device on this link")
                .peer_saw(error);
            Staged::active([truth], pair)
        })
    },
    ..LONG
};

/// Longer than an event waits before it is read.
const QUIET: Duration = Duration::from_millis(100);
