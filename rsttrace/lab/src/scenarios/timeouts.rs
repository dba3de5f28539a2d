//! Scenarios with a peer that stops answering.

use super::pair::{Pair, on_pair};
use super::{Armed, Family, SHORT, Scenario, Staged};
use crate::StageError;
use crate::actor::protocol::{SocketOption, TcpState};
use crate::lab::{IpVersion, Lab, Place};
use crate::net::nft::{Hook, Port, Rule, Verdict};
use crate::record::{Cause, Origin, Role};
use crate::truth::Truth;

pub const KEEPALIVE: Scenario = Scenario {
    name: "keepalive-timeout",
    title: "keepalive probes without an answer",
    family: Family::Both,
    twins: &["user-timeout"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            lab.firewall(Place::Client, &black_hole(pair.listener.local.port()))?;
            lab.capture(Place::Server)?;
            pair.server.set(pair.at_server, PROBE_SOON)?;
            pair.server.confirm_error(pair.at_server, "ETIMEDOUT")?;
            let seen = pair.reset_by_server(lab, Place::Server)?;
            // If it stayed open, it would provoke a second reset of the same flow when its process ends.
            pair.client.vanish(pair.at_client)?;
            let cause = Cause::KeepaliveTimeout;
            let truth = Truth::sent(lab, Place::Server, &seen, Origin::LocalKernel, cause)
                .because("the client was cut off; one probe after 1 s, none answered within 1 s")
                .names(&pair.server, &[Role::Owner])
                .lost_connection();
            Staged::active([truth], pair)
        })
    },
    ..SHORT
};

/// TCP_USER_TIMEOUT with unacknowledged data ends the connection without a RST; the RST comes when the peer
/// sends again.
pub const USER_TIMEOUT: Scenario = Scenario {
    name: "user-timeout",
    title: "TCP_USER_TIMEOUT ended the connection without a packet; the peer sends later",
    twins: &["keepalive-timeout", "half-open"],
    open: open_user_timeout,
    ..SHORT
};

fn open_user_timeout(lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
    let mut pair = Pair::open(lab, version)?;
    pair.server
        .set(pair.at_server, SocketOption::UserTimeout(300))?;
    Armed::new(move |lab| {
        lab.firewall(Place::Client, &black_hole(pair.listener.local.port()))?;
        let no_reset = (Place::Server, "OutRsts", 0);
        lab.counted(no_reset, |_| {
            pair.server.send(pair.at_server, 40)?;
            pair.server.confirm_error(pair.at_server, "ETIMEDOUT")?;
            pair.server.await_state(pair.at_server, TcpState::Close)
        })?;
        lab.open_firewall(Place::Client)?;
        lab.capture(Place::Server)?;
        pair.client.send(pair.at_client, 50)?;
        // The listener is still there, but the connection was known: half open, not stray.
        let who = (Origin::LocalKernel, Cause::HalfOpen);
        let [sent, received] = pair.ended_by_server(lab, who, "ECONNRESET")?;
        let sent = sent
            .because(
                "TCP_USER_TIMEOUT had ended the connection without a RST; the client wrote later",
            )
            .names(&pair.server, &[Role::FormerOwner, Role::Listener]);
        Staged::passive([sent, received], pair)
    })
}

/// Nothing from or to this service's port reaches or leaves the client.
pub(super) fn black_hole(port: u16) -> [Rule; 2] {
    [
        Rule::new(Hook::Input, Port::Source(port), Verdict::Drop),
        Rule::new(Hook::Output, Port::Destination(port), Verdict::Drop),
    ]
}

/// One keepalive probe after a second, and a second for its answer.
pub const PROBE_SOON: SocketOption = SocketOption::KeepAlive {
    idle: 1,
    interval: 1,
    probes: 1,
};
