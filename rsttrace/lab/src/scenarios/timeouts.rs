//! Scenarios with a peer that stops answering.

use super::pair::Pair;
use super::{Armed, Family, Scenario, Staged, Suite, confirm};
use crate::StageError;
use crate::actor::protocol::{SocketOption, TcpState};
use crate::lab::{IpVersion, Lab, Place};
use crate::net::nft::{Hook, Port, Rule, Verdict};
use crate::record::{Cause, Form, Origin, Role};
use crate::truth::Truth;

/// Keepalive probes find no answer.
pub const KEEPALIVE: Scenario = Scenario {
    name: "keepalive-timeout",
    title: "keepalive probes without an answer",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["user-timeout"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        Armed::new(move |lab| {
            lab.firewall(Place::Client, &black_hole(pair.listener.local.port()))?;
            lab.capture(Place::Server)?;
            let probing = SocketOption::KeepAlive {
                idle: 1,
                interval: 1,
                probes: 1,
            };
            pair.server.set(pair.at_server, probing)?;
            let error = pair.server.await_error(pair.at_server)?;
            confirm("error at the server", error.as_str(), "ETIMEDOUT")?;
            let seen = pair.reset_by_server(lab, Place::Server)?;
            // Else its end, still open, would provoke a second reset of the same flow at its own end.
            pair.client.vanish(pair.at_client)?;
            let cause = Cause::KeepaliveTimeout;
            let truth = Truth::sent(lab, Place::Server, seen, Origin::LocalKernel, cause)
                .because("the client was cut off; one probe after 1 s, none answered within 1 s")
                .names(&pair.server, &[Role::Owner])
                .lost_connection();
            Staged::new(Some(Form::Active), vec![truth], pair.into_actors())
        })
    },
};

/// TCP_USER_TIMEOUT with unacknowledged data ends the connection without a RST; the RST comes when the peer
/// speaks again.
pub const USER_TIMEOUT: Scenario = Scenario {
    name: "user-timeout",
    title: "TCP_USER_TIMEOUT ended the connection without a packet; the peer sends later",
    family: Family::V4,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["keepalive-timeout", "half-open"],
    open: open_user_timeout,
};

fn open_user_timeout(lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
    let mut pair = Pair::open(lab, version)?;
    pair.server
        .set(pair.at_server, SocketOption::UserTimeout(300))?;
    Armed::new(move |lab| {
        lab.firewall(Place::Client, &black_hole(pair.listener.local.port()))?;
        let resets = lab.node(Place::Server).counter("OutRsts")?;
        pair.server.send(pair.at_server, 40)?;
        let error = pair.server.await_error(pair.at_server)?;
        confirm("error at the server", error.as_str(), "ETIMEDOUT")?;
        pair.server.await_state(pair.at_server, TcpState::Close)?;
        let after = lab.node(Place::Server).counter("OutRsts")?;
        confirm("resets sent at the timeout", after - resets, 0)?;
        lab.open_firewall(Place::Client)?;
        lab.capture(Place::Server)?;
        pair.client.send(pair.at_client, 50)?;
        let seen = pair.reset_by_server(lab, Place::Server)?;
        let error = pair.client_error("ECONNRESET")?;
        let truth =
            // The listener is still there, but the connection was known: half open, not stray.
            Truth::sent(lab, Place::Server, seen.clone(), Origin::LocalKernel, Cause::HalfOpen)
            .because("TCP_USER_TIMEOUT had ended the connection without a RST; the client wrote later")
            .names(&pair.server, &[Role::FormerOwner, Role::Listener])
            .lost_connection()
            .peer_saw(error);
        let received = pair.client_truth(lab, &seen);
        Staged::new(
            Some(Form::Passive),
            vec![truth, received],
            pair.into_actors(),
        )
    })
}

/// Nothing from or to this service's port reaches or leaves the client.
pub(super) fn black_hole(port: u16) -> [Rule; 2] {
    let rule = |hook, port| Rule {
        hook,
        port,
        flags: None,
        only: None,
        verdict: Verdict::Drop,
    };
    [
        rule(Hook::Input, Port::Source(port)),
        rule(Hook::Output, Port::Destination(port)),
    ]
}
