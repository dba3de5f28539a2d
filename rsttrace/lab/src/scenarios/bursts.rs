//! Scenarios with many resets, or unrelated resets close together.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::chain::{Chain, patient_haproxy};
use super::flock::Flock;
use super::{Armed, Family, Scenario, Staged, Suite, confirm};
use crate::StageError;
use crate::actor::protocol::{SocketOption, TcpState};
use crate::actor::{Actor, Socket};
use crate::lab::{Lab, Place};
use crate::record::{Cause, Form, Origin, Role};
use crate::segment::Segment;
use crate::truth::Truth;

/// A service is restarted the hard way.
pub const DEPLOY_RESTART: Scenario = Scenario {
    name: "deploy-restart",
    title: "a server is killed with 8 connections with different idle times and unread requests",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[],
    twins: &["failover-burst", "killed-unread"],
    open: |lab, version| {
        let flock = Flock::open(lab, 50, version)?;
        connect_in_turn(flock, Instant::now(), UNREAD, |flock, due| {
            Armed::due(due, move |lab| restart(lab, flock))
        })
    },
};

/// The same the soft way: every connection gets a FIN at that instant, and is written to a little later.
pub const GRACEFUL_RESTART: Scenario = Scenario {
    name: "graceful-restart",
    title: "a server exits with 8 connections with different idle times; the client writes to them",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[],
    twins: &["haproxy-timeout-client", "deploy-restart"],
    open: |lab, version| {
        let flock = Flock::open(lab, 54, version)?;
        connect_in_turn(flock, Instant::now(), 0, |mut flock, due| {
            Armed::step_due(due, move |_| {
                flock.server.exit(0)?;
                let later = Instant::now() + Duration::from_millis(500);
                Armed::due(later, move |lab| write_after_restart(lab, flock))
            })
        })
    },
};

fn write_after_restart(lab: &mut Lab, mut flock: Flock) -> Result<Staged, StageError> {
    let mut truths = Vec::new();
    for flow in flock.flows.clone() {
        flock
            .client
            .await_state(flow.at_client, TcpState::CloseWait)?;
        flock.client.send(flow.at_client, 50)?;
        let seen = flock.reset_to_client(flow)?;
        let error = flock.client.await_error(flow.at_client)?;
        confirm("error at the client", error.as_str(), "EPIPE")?;
        let received = flock
            .client_lost(lab, seen.clone(), Origin::Peer, Cause::ResetByPeer)
            .because("the server exited and so closed 8 connections at once, silent for 0.4 s to 3.2 s; the client wrote")
            .peer_saw(error);
        let (origin, cause) = (Origin::LocalKernel, Cause::DataAfterClose);
        let sent = Truth::sent(lab, Place::Server, seen, origin, cause)
            .because("the server had exited with all read; the client wrote half a second later")
            .names(&flock.server, &[Role::Closer, Role::FormerOwner])
            .lost_connection();
        truths.extend([received, sent]);
    }
    Staged::new(Some(Form::Passive), truths, flock.into_actors())
}

/// Connections that begin one after the other, each with so many bytes that the server does not read; then more.
fn connect_in_turn(
    mut flock: Flock,
    due: Instant,
    unread: usize,
    then: impl FnOnce(Flock, Instant) -> Result<Armed, StageError> + Send + 'static,
) -> Result<Armed, StageError> {
    Armed::step_due(due, move |_| {
        let flow = flock.grow()?;
        if unread > 0 {
            flock.client.send(flow.at_client, unread)?;
            flock.server.await_unread(flow.at_server, unread)?;
        }
        let next = Instant::now() + APART;
        if flock.flows.len() < CONNECTIONS {
            return connect_in_turn(flock, next, unread, then);
        }
        then(flock, next)
    })
}

fn restart(lab: &mut Lab, mut flock: Flock) -> Result<Staged, StageError> {
    flock.server.kill()?;
    let mut truths = Vec::new();
    for flow in flock.flows.clone() {
        let seen = flock.reset_to_client(flow)?;
        let error = flock.client.await_error(flow.at_client)?;
        confirm("error at the client", error.as_str(), "ECONNRESET")?;
        let received = flock
            .client_lost(lab, seen.clone(), Origin::Peer, Cause::ResetByPeer)
            .because("the server was killed with 8 requests unread, 0.4 s to 3.2 s old")
            .peer_saw(error);
        let (origin, cause) = (Origin::LocalProcess, Cause::KilledWithUnreadData);
        let sent = Truth::sent(lab, Place::Server, seen, origin, cause)
            .because("killed by SIGKILL with 8 requests unread")
            .done_by(&flock.server, "died of SIGKILL")
            .names(&flock.server, &[Role::Closer])
            .with_unread(UNREAD as u64)
            .lost_connection();
        truths.extend([received, sent]);
    }
    Staged::new(Some(Form::Active), truths, flock.into_actors())
}

/// A client that waits for an answer resets its leg to a proxy, which resets the other.
pub const PROXY_PASSES_ON: Scenario = Scenario {
    name: "proxy-passes-on",
    title: "the client resets before it has its answer; HAProxy in between resets the server",
    open: |lab, _| {
        let mut chain = Chain::open(lab, 51, |ends| patient_haproxy(ends, ""))?;
        Armed::new(move |lab| {
            chain.client.send(chain.at_client, REQUEST)?;
            let asked = chain.server.receive(chain.at_server, REQUEST)?;
            confirm("request", asked, REQUEST as u64)?;
            Staged::new(
                Some(Form::Active),
                leave(lab, &mut chain)?
                    .into_iter()
                    .map(Truth::lost_connection)
                    .collect(),
                chain.into_actors(),
            )
        })
    },
    ..PASSES_ON
};

/// Its look-alike: the client has its answer, and nobody loses anything.
pub const PROXY_PASSES_ON_COMPLETE: Scenario = Scenario {
    name: "proxy-passes-on-complete",
    title: "the client resets when it has its answer; HAProxy in between resets the server",
    open: |lab, _| {
        let mut chain = Chain::open(lab, 54, |ends| patient_haproxy(ends, ""))?;
        Armed::new(move |lab| {
            let truths = leave(lab, &mut chain)?;
            Staged::new(Some(Form::Active), truths.into(), chain.into_actors())
        })
    },
    ..PASSES_ON
};

const PASSES_ON: Scenario = Scenario {
    name: "",
    title: "",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[],
    twins: &["busy-process", "haproxy-timeout-server"],
    open: |_, _| Err(StageError::Failed(String::new())),
};

/// The client resets its leg; nothing is lost until said otherwise.
fn leave(lab: &mut Lab, chain: &mut Chain) -> Result<[Truth; 3], StageError> {
    close_with_linger_zero(&mut chain.client, chain.at_client)?;
    let first = chain.client.reset(chain.at_client.local, chain.front)?;
    let second = chain.reset_to_server()?;
    let error = chain.server.await_error(chain.at_server)?;
    let [received, sent] = passed_on(lab, &chain.balancer, first, second.clone(), error);
    let at_server = Truth::received(lab, Place::Server, second, Origin::Peer, Cause::ResetByPeer)
        .because("HAProxy, the peer, sent it")
        .names(&chain.server, &[Role::Owner]);
    Ok([received, sent, at_server])
}

/// The other way round.
pub const PROXY_PASSES_BACK: Scenario = Scenario {
    name: "proxy-passes-back",
    title: "the server resets; HAProxy in between resets the client (option nolinger)",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[],
    twins: &["busy-process", "haproxy-timeout-nolinger"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 53, |ends| patient_haproxy(ends, "option nolinger"))?;
        Armed::new(move |lab| {
            close_with_linger_zero(&mut chain.server, chain.at_server)?;
            let back = chain.back()?;
            let first = chain.server.reset(chain.at_server.local, back)?;
            let second = chain.reset_to_client()?;
            let error = chain.client.await_error(chain.at_client)?;
            let truths = passed_on(lab, &chain.balancer, first, second.clone(), error)
                .map(Truth::lost_connection);
            let at_client =
                Truth::received(lab, Place::Client, second, Origin::Peer, Cause::ResetByPeer)
                    .because("HAProxy, the peer, sent it")
                    .names(&chain.client, &[Role::Owner])
                    .lost_connection();
            let truths = truths.into_iter().chain([at_client]).collect();
            Staged::new(Some(Form::Active), truths, chain.into_actors())
        })
    },
};

/// The truths on the proxy's host.
fn passed_on(
    lab: &Lab,
    proxy: &Actor,
    first: Segment,
    second: Segment,
    error: String,
) -> [Truth; 2] {
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
    [received, sent]
}

/// A process that serves many closes one connection soon after another was reset, and for its own reasons.
pub const BUSY_PROCESS: Scenario = Scenario {
    name: "busy-process",
    title: "a process closes one connection with SO_LINGER 0, 20 ms after another was reset",
    family: Family::V4,
    can_predate: false,
    suite: Suite::Long,
    hops: &[],
    twins: &["proxy-passes-on", "linger-zero"],
    open: |lab, version| {
        let mut flock = Flock::open(lab, 52, version)?;
        let (one, other) = (flock.grow()?, flock.grow()?);
        Armed::new(move |lab| {
            flock.client.send(one.at_client, REQUEST)?;
            flock.server.await_unread(one.at_server, REQUEST)?;
            close_with_linger_zero(&mut flock.client, one.at_client)?;
            let first = flock.reset_to_server(one)?;
            let error = flock.server.await_error(one.at_server)?;
            confirm("error at the server", error.as_str(), "ECONNRESET")?;
            sleep(SOON);
            close_with_linger_zero(&mut flock.server, other.at_server)?;
            let second = flock.reset_to_client(other)?;
            let received = flock
                .server_lost(lab, first, Origin::Peer, Cause::ResetByPeer)
                .because("the client closed one connection with SO_LINGER 0");
            let (origin, cause) = (Origin::LocalProcess, Cause::LingerZero);
            let sent = Truth::sent(lab, Place::Server, second, origin, cause)
                .because(
                    "the server closed another connection with SO_LINGER 0, by its own decision",
                )
                .done_by(&flock.server, "close()")
                .names(&flock.server, &[Role::Closer])
                .lost_connection();
            Staged::new(
                Some(Form::Active),
                vec![received, sent],
                flock.into_actors(),
            )
        })
    },
};

fn close_with_linger_zero(actor: &mut Actor, socket: Socket) -> Result<(), StageError> {
    actor.set(socket, SocketOption::Linger(0))?;
    actor.close(socket)
}

const CONNECTIONS: usize = 8;
const UNREAD: usize = 100;
/// Bytes of a request that gets no answer.
const REQUEST: usize = 50;
/// How much longer each connection has been silent than the next.
const APART: Duration = Duration::from_millis(400);
const SOON: Duration = Duration::from_millis(20);
