//! Resets that answer a peer whose connection no longer exists.

use super::pair::{Pair, on_pair};
use super::{Armed, Family, SHORT, Scenario, Staged};
use crate::StageError;
use crate::actor::protocol::TcpState;
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Origin, Role};
use crate::segment::Flags;
use crate::segment::Pattern;
use crate::truth::Truth;

pub const HALF_OPEN: Scenario = Scenario {
    name: "half-open",
    title: "data for a connection that the server has lost, no listener",
    family: Family::Both,
    twins: &["data-after-close-time-wait", "port-closed"],
    open: |lab, version| on_pair(lab, version, write_to_vanished),
    ..SHORT
};

/// The server's end vanishes, and the client writes.
pub fn write_to_vanished(lab: &mut Lab, mut pair: Pair) -> Result<Staged, StageError> {
    pair.server.close(pair.listener)?;
    pair.server.vanish(pair.at_server)?;
    pair.confirm_server_end_gone(lab)?;
    lab.capture(Place::Server)?;
    pair.client.send(pair.at_client, 50)?;
    let who = (Origin::LocalKernel, Cause::HalfOpen);
    let [sent, received] = pair.ended_by_server(lab, who, "ECONNRESET")?;
    let sent = sent
        .because("the server's end was gone without a packet; the client wrote")
        .names(&pair.server, &[Role::FormerOwner]);
    Staged::passive([sent, received], pair)
}

pub const HALF_OPEN_LISTENER_BACK: Scenario = Scenario {
    name: "half-open-listener-back",
    title: "data for a connection from before the service's restart",
    family: Family::Both,
    twins: &["stray-ack", "half-open"],
    open: open_listener_back,
    ..SHORT
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
        let who = (Origin::LocalKernel, Cause::HalfOpen);
        let [sent, received] = pair.ended_by_server(lab, who, "ECONNRESET")?;
        let sent = sent
            .because("the connection was of the service before its restart; the client wrote")
            .names(&pair.server, &[Role::FormerOwner])
            .names(&restarted, &[Role::Listener]);
        pair.further.push(restarted);
        Staged::passive([sent, received], pair)
    })
}

/// The client lost the connection and connects again from the same port: the server's old socket answers the
/// SYN with an ACK that the new connect cannot use.
pub const BAD_ACK_WHILE_CONNECTING: Scenario = Scenario {
    name: "bad-ack-while-connecting",
    title: "ACK of an old connection while connecting",
    family: Family::Both,
    twins: &["late-synack", "half-open"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            pair.client.vanish(pair.at_client)?;
            lab.capture(Place::Client)?;
            let (from, to) = (pair.at_client.local, pair.listener.local);
            let again = pair.client.start_connect(Some(from), to)?;
            // The answer of the server's old socket to the new SYN is the provocation.
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
            let cause = Cause::BadHandshake;
            let truth = Truth::sent(lab, Place::Client, &seen, Origin::LocalKernel, cause)
                .because(
                    "a connect from the port of a lost connection; the peer's old socket answered",
                )
                .names(&pair.client, &[Role::Owner])
                .peer_saw(error);
            let received = pair.server_truth(lab, &seen);
            // The kernel repeats the SYN a few ms later, and now it is accepted.
            pair.client.await_state(again, TcpState::Established)?;
            let accepted = pair.server.accept(pair.listener)?;
            pair.server.vanish(accepted)?;
            pair.client.vanish(again)?;
            Staged::passive([truth, received], pair)
        })
    },
    ..SHORT
};
