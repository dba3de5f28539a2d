//! Resets that answer a peer whose connection no longer exists.

use super::pair::Pair;
use super::{Armed, Family, Scenario, Staged, Suite};
use crate::StageError;
use crate::actor::protocol::TcpState;
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Form, Origin, Role};
use crate::segment::Flags;
use crate::segment::Pattern;
use crate::truth::Truth;

/// The server lost the connection and nobody listens any more.
pub const HALF_OPEN: Scenario = Scenario {
    name: "half-open",
    title: "data for a connection that the server has lost, no listener",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["data-after-close-time-wait", "port-closed"],
    open: |lab, version| {
        let pair = Pair::open(lab, version)?;
        Armed::new(move |lab| write_to_vanished(lab, pair))
    },
};

/// The server's end vanishes, and the client writes.
pub fn write_to_vanished(lab: &mut Lab, mut pair: Pair) -> Result<Staged, StageError> {
    pair.server.close(pair.listener)?;
    pair.server.vanish(pair.at_server)?;
    pair.confirm_server_end_gone(lab)?;
    lab.capture(Place::Server)?;
    pair.client.send(pair.at_client, 50)?;
    let seen = pair.reset_by_server(lab, Place::Server)?;
    let error = pair.client_error("ECONNRESET")?;
    let truth = Truth::sent(
        lab,
        Place::Server,
        seen.clone(),
        Origin::LocalKernel,
        Cause::HalfOpen,
    )
    .because("the server's end was gone without a packet; the client wrote")
    .names(&pair.server, &[Role::FormerOwner])
    .lost_connection()
    .peer_saw(error);
    let received = pair.client_truth(lab, &seen);
    Staged::new(
        Some(Form::Passive),
        vec![truth, received],
        pair.into_actors(),
    )
}

/// The same, but a restarted service listens on the port again.
pub const HALF_OPEN_LISTENER_BACK: Scenario = Scenario {
    name: "half-open-listener-back",
    title: "data for a connection from before the service's restart",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["stray-ack", "half-open"],
    open: open_listener_back,
};

fn open_listener_back(lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
    let mut pair = Pair::open(lab, version)?;
    Armed::new(move |lab| {
        pair.server.vanish(pair.at_server)?;
        pair.confirm_server_end_gone(lab)?;
        pair.server.close(pair.listener)?;
        let mut restarted = lab.actor(Place::Server, "rt-server-2")?;
        restarted.listen(pair.listener.local, 8)?;
        lab.capture(Place::Server)?;
        pair.client.send(pair.at_client, 50)?;
        let seen = pair.reset_by_server(lab, Place::Server)?;
        let error = pair.client_error("ECONNRESET")?;
        let truth = Truth::sent(
            lab,
            Place::Server,
            seen.clone(),
            Origin::LocalKernel,
            Cause::HalfOpen,
        )
        .because("the connection was of the service before its restart; the client wrote")
        .names(&pair.server, &[Role::FormerOwner])
        .names(&restarted, &[Role::Listener])
        .lost_connection()
        .peer_saw(error);
        let received = pair.client_truth(lab, &seen);
        let mut actors = pair.into_actors();
        actors.push(restarted);
        Staged::new(Some(Form::Passive), vec![truth, received], actors)
    })
}

/// The client lost the connection and connects again from the same port: the server's old socket answers the
/// SYN with an ACK that the new connect cannot use.
pub const BAD_ACK_WHILE_CONNECTING: Scenario = Scenario {
    name: "bad-ack-while-connecting",
    title: "ACK of an old connection while connecting",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["late-synack", "half-open"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        Armed::new(move |lab| {
            pair.client.vanish(pair.at_client)?;
            lab.capture(Place::Client)?;
            let (from, to) = (pair.at_client.local, pair.listener.local);
            let again = pair.client.start_connect(Some(from), to)?;
            // What the server's old socket says to the new SYN is the provocation.
            lab.segment(
                Place::Client,
                Pattern {
                    source: to,
                    destination: Some(from),
                    with: Flags::ACK,
                    without: Flags::SYN,
                },
            )?;
            let seen = pair.reset_by_client(lab, Place::Client)?;
            let error = pair.server.await_error(pair.at_server)?;
            let truth = Truth::sent(
                lab,
                Place::Client,
                seen.clone(),
                Origin::LocalKernel,
                Cause::BadHandshake,
            )
            .because("a connect from the port of a lost connection; the peer's old socket answered")
            .names(&pair.client, &[Role::Owner])
            .peer_saw(error);
            let received = pair.server_truth(lab, &seen);
            // The kernel repeats the SYN a few ms later, and now it is welcome.
            pair.client.await_state(again, TcpState::Established)?;
            let accepted = pair.server.accept(pair.listener)?;
            pair.server.vanish(accepted)?;
            pair.client.vanish(again)?;
            Staged::new(
                Some(Form::Passive),
                vec![truth, received],
                pair.into_actors(),
            )
        })
    },
};
