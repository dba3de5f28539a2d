//! Scenarios with many resets, or unrelated resets close together.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::chain::{Chain, patient_haproxy};
use super::flock::Flock;
use super::{Armed, LONG, Scenario, Staged};
use crate::StageError;
use crate::actor::Actor;
use crate::actor::protocol::TcpState;
use crate::lab::{Lab, Place};
use crate::record::{Cause, Origin, Role};
use crate::segment::Segment;
use crate::truth::Truth;

pub const DEPLOY_RESTART: Scenario = Scenario {
    name: "deploy-restart",
    title: "a server is killed with 8 connections with different idle times and unread requests",
    twins: &["failover-burst", "killed-unread"],
    open: |lab, version| {
        let flock = Flock::open(lab, 50, version)?;
        flock.grow_in_turn(UNREAD, |flock, due| {
            Armed::due(due, move |lab| restart(lab, flock))
        })
    },
    ..LONG
};

/// A restart where every connection gets a FIN at once, and is written to a little later.
pub const GRACEFUL_RESTART: Scenario = Scenario {
    name: "graceful-restart",
    title: "a server exits with 8 connections with different idle times; the client writes to them",
    twins: &["haproxy-timeout-client", "deploy-restart"],
    open: |lab, version| {
        let flock = Flock::open(lab, 54, version)?;
        flock.grow_in_turn(0, |mut flock, due| {
            Armed::step_due(due, move |_| {
                flock.server.exit(0)?;
                let later = Instant::now() + Duration::from_millis(500);
                Armed::due(later, move |lab| write_after_restart(lab, flock))
            })
        })
    },
    ..LONG
};

fn write_after_restart(lab: &mut Lab, mut flock: Flock) -> Result<Staged, StageError> {
    let mut truths = Vec::new();
    for flow in flock.flows.clone() {
        flock
            .client
            .await_state(flow.at_client, TcpState::CloseWait)?;
        flock.client.send(flow.at_client, 50)?;
        let who = (Origin::LocalKernel, Cause::DataAfterClose);
        let [received, sent] = flock.ended_by_server(lab, flow, who, "EPIPE")?;
        let received = received.because("the server exited and so closed 8 connections at once, silent for 0.4 s to 3.2 s; the client wrote");
        let sent = sent
            .because("the server had exited with all read; the client wrote half a second later")
            .names(&flock.server, &[Role::Closer, Role::FormerOwner]);
        truths.extend([received, sent]);
    }
    Staged::passive(truths, flock)
}

fn restart(lab: &mut Lab, mut flock: Flock) -> Result<Staged, StageError> {
    flock.server.kill()?;
    let mut truths = Vec::new();
    for flow in flock.flows.clone() {
        let who = (Origin::LocalProcess, Cause::KilledWithUnreadData);
        let [received, sent] = flock.ended_by_server(lab, flow, who, "ECONNRESET")?;
        let received =
            received.because("the server was killed with 8 requests unread, 0.4 s to 3.2 s old");
        let sent = sent
            .because("killed by SIGKILL with 8 requests unread")
            .done_by(&flock.server, "died of SIGKILL")
            .names(&flock.server, &[Role::Closer])
            .with_unread(UNREAD as u64);
        truths.extend([received, sent]);
    }
    Staged::active(truths, flock)
}

pub const PROXY_PASSES_ON: Scenario = Scenario {
    name: "proxy-passes-on",
    title: "the client resets before it has its answer; HAProxy in between resets the server",
    twins: &["busy-process", "haproxy-timeout-server"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 51, |ends| patient_haproxy(ends, ""))?;
        Armed::new(move |lab| {
            chain.client.send(chain.at_client, REQUEST)?;
            chain.server.receive(chain.at_server, REQUEST)?;
            let truths = leave(lab, &mut chain)?.map(Truth::lost_connection);
            Staged::active(truths, chain)
        })
    },
    ..LONG
};

/// The look-alike: the client has its answer, and nobody loses anything.
pub const PROXY_PASSES_ON_COMPLETE: Scenario = Scenario {
    name: "proxy-passes-on-complete",
    title: "the client resets when it has its answer; HAProxy in between resets the server",
    twins: &["proxy-passes-on"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 54, |ends| patient_haproxy(ends, ""))?;
        Armed::new(move |lab| {
            // The others that wait at the same time may have made it idle.
            chain.talk()?;
            let truths = leave(lab, &mut chain)?;
            Staged::active(truths, chain)
        })
    },
    ..LONG
};

/// The client resets its leg.
fn leave(lab: &mut Lab, chain: &mut Chain) -> Result<[Truth; 3], StageError> {
    chain.client.close_with_linger_zero(chain.at_client)?;
    let first = chain.client.reset(chain.at_client.local, chain.front)?;
    let second = chain.reset_to_server()?;
    let error = chain.server.await_error(chain.at_server)?;
    let end = (Place::Server, &chain.server);
    Ok(passed_on(
        lab,
        &chain.balancer,
        end,
        [&first, &second],
        error,
    ))
}

pub const PROXY_PASSES_BACK: Scenario = Scenario {
    name: "proxy-passes-back",
    title: "the server resets; HAProxy in between resets the client (option nolinger)",
    twins: &["busy-process", "haproxy-timeout-nolinger"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 53, |ends| patient_haproxy(ends, "option nolinger"))?;
        Armed::new(move |lab| {
            chain.server.close_with_linger_zero(chain.at_server)?;
            let back = chain.back()?;
            let first = chain.server.reset(chain.at_server.local, back)?;
            let second = chain.reset_to_client()?;
            let error = chain.client.await_error(chain.at_client)?;
            let end = (Place::Client, &chain.client);
            let truths = passed_on(lab, &chain.balancer, end, [&first, &second], error);
            Staged::active(truths.map(Truth::lost_connection), chain)
        })
    },
    ..LONG
};

/// The truths on the proxy's host, and at the end whose leg the proxy reset. Nothing is lost until
/// said otherwise.
fn passed_on(
    lab: &Lab,
    proxy: &Actor,
    (place, end): (Place, &Actor),
    [first, second]: [&Segment; 2],
    error: String,
) -> [Truth; 3] {
    let received = Truth::received(lab, Place::Router, first, Origin::Peer, Cause::ResetByPeer)
        .because("one end closed its leg with SO_LINGER 0")
        .names(proxy, &[Role::Owner])
        .linked();
    let sent = Truth::sent(lab, Place::Router, second, Origin::Peer, Cause::Propagated)
        .because("HAProxy closed this leg because the other had been reset")
        .done_by(proxy, "close()")
        .names(proxy, &[Role::Closer])
        .peer_saw(error)
        .linked();
    let at_end = Truth::received(lab, place, second, Origin::Peer, Cause::ResetByPeer)
        .because("HAProxy, the peer, sent it")
        .names(end, &[Role::Owner]);
    [received, sent, at_end]
}

pub const BUSY_PROCESS: Scenario = Scenario {
    name: "busy-process",
    title: "a process closes one connection with SO_LINGER 0, 20 ms after another was reset",
    twins: &["proxy-passes-on", "linger-zero"],
    open: |lab, version| {
        let mut flock = Flock::open(lab, 52, version)?;
        let (one, other) = (flock.grow()?, flock.grow()?);
        Armed::new(move |lab| {
            flock.client.send(one.at_client, REQUEST)?;
            flock.server.await_unread(one.at_server, REQUEST)?;
            flock.client.close_with_linger_zero(one.at_client)?;
            let first = flock.reset_to_server(one)?;
            flock.server.confirm_error(one.at_server, "ECONNRESET")?;
            sleep(SOON);
            flock.server.close_with_linger_zero(other.at_server)?;
            let second = flock.reset_to_client(other)?;
            let received = flock
                .server_lost(lab, &first, Origin::Peer, Cause::ResetByPeer)
                .because("the client closed one connection with SO_LINGER 0");
            let (origin, cause) = (Origin::LocalProcess, Cause::LingerZero);
            let sent = Truth::sent(lab, Place::Server, &second, origin, cause)
                .because(
                    "the server closed another connection with SO_LINGER 0, by its own decision",
                )
                .done_by(&flock.server, "close()")
                .names(&flock.server, &[Role::Closer])
                .lost_connection();
            Staged::active([received, sent], flock)
        })
    },
    ..LONG
};

const UNREAD: usize = 100;
/// Bytes of a request that gets no answer.
const REQUEST: usize = 50;
const SOON: Duration = Duration::from_millis(20);
