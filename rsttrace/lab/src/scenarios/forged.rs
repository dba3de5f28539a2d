//! Resets that a device on the path sends with the addresses of both ends.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::chain::TIMEOUT;
use super::flock::{Flock, Flow, Look, inject_later};
use super::{Armed, Family, Hop, LONG, Scenario, Staged, confirm, confirm_silence};
use crate::StageError;
use crate::actor::Actor;
use crate::actor::protocol::Command;
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, IdleMode, Origin, Role};
use crate::truth::{Hidden, Truth};

/// A box that resets both ends at its timeout, and that the configuration names.
pub const EXPIRED: Scenario = Scenario {
    name: "expired-resets-both",
    title: "a device on the path resets both ends at its timeout",
    family: Family::Both,
    can_predate: true,
    hops: &[
        box_at("192.0.2.30/32"),
        box_at("203.0.113.30/32"),
        box_at("fd01::1e/128"),
        box_at("fd03::1e/128"),
    ],
    twins: &["expired-looks-like-peer", "slow-application"],
    open: |lab, version| {
        let mut flock = Flock::open(lab, 30, version)?;
        let mut device = lab.actor(Place::Router, "rt-box")?;
        let flow = flock.grow()?;
        expire(&mut flock, &mut device, flow, FROM_BOX)?;
        Armed::due(Instant::now() + TIMEOUT + SLACK, move |lab| {
            let truths = expired(lab, &mut flock, flow, FROM_BOX)?;
            staged(truths, flock, device)
        })
    },
    ..LONG
};

const fn box_at(network: &'static str) -> Hop {
    Hop {
        name: "lab-box-30",
        network,
        port: None,
        timeout: TIMEOUT,
        mode: IdleMode::RstAtExpiry,
        transparent: true,
    }
}

/// The same, where the timeout has to be learned.
pub const LEARNED: Scenario = Scenario {
    name: "expired-learned",
    title: "a device on the path resets at its timeout, for the seventh and eighth time",
    family: Family::Both,
    twins: &["failover-burst", "periodic-writer"],
    open: |lab, version| {
        let flock = Flock::open(lab, 31, version)?;
        let device = lab.actor(Place::Router, "rt-box")?;
        open_two_more(flock, device, Instant::now())
    },
    ..LONG
};

/// Two more connections expire at one instant; four such instants, more than a second apart.
fn open_two_more(mut flock: Flock, mut device: Actor, due: Instant) -> Result<Armed, StageError> {
    Armed::step_due(due, move |_| {
        for _ in 0..2 {
            let flow = flock.grow()?;
            expire(&mut flock, &mut device, flow, FROM_ROUTER)?;
        }
        let now = Instant::now();
        if flock.flows.len() < LESSONS + 2 {
            return open_two_more(flock, device, now + BETWEEN);
        }
        Armed::due(now + TIMEOUT + SLACK, move |lab| {
            let mut truths = Vec::new();
            for (index, flow) in flock.flows.clone().into_iter().enumerate() {
                let of_flow = expired(lab, &mut flock, flow, FROM_ROUTER)?;
                if index >= LESSONS {
                    truths.extend(of_flow);
                }
            }
            staged(truths, flock, device)
        })
    })
}

/// The same once, in a form that does not distinguish the box from the peer.
pub const AMBIGUOUS: Scenario = Scenario {
    name: "expired-looks-like-peer",
    title: "a device on the path resets both ends at its timeout, imitating each peer",
    twins: &["slow-application", "expired-resets-both"],
    open: |lab, version| {
        let mut flock = open_without_timestamps(lab, 32, version)?;
        let mut device = lab.actor(Place::Router, "rt-box")?;
        let flow = flock.grow()?;
        lab.tidy()?;
        expire(&mut flock, &mut device, flow, FROM_PEER)?;
        Armed::due(Instant::now() + TIMEOUT + SLACK, move |lab| {
            let truths = expired(lab, &mut flock, flow, FROM_PEER)?;
            let looks = |truth: Truth| {
                let (origin, cause) = (Origin::Peer, Cause::ResetByPeer);
                let truth = Truth {
                    origin,
                    cause,
                    idle: None,
                    ..truth
                };
                truth.but_really("the router wrote it at a timeout of 3 s, with the peer's TTL and the look of a close(); one such reset proves nothing")
            };
            staged(truths.into_iter().map(looks).collect(), flock, device)
        })
    },
    ..LONG
};

/// The peer did not send "its" reset and keeps sending data: a proof that needs no TTL.
pub const PEER_TALKS_ON: Scenario = Scenario {
    name: "injected-peer-talks-on",
    title: "RST that looks like the peer's, but the peer keeps sending",
    twins: &["received", "expired-looks-like-peer"],
    open: |lab, version| {
        let mut flock = open_without_timestamps(lab, 33, version)?;
        let mut device = lab.actor(Place::Router, "rt-box")?;
        let flow = flock.grow()?;
        lab.tidy()?;
        Armed::new(move |lab| {
            let [segment, _] = flock.forge(flow, FROM_PEER)?;
            device.ask(Command::Inject(segment))?;
            let seen = flock.reset_to_client(flow)?;
            confirm("TTL of the RST", seen.ttl, FROM_PEER.ttl)?;
            let error = flock.client.confirm_error(flow.at_client, "ECONNRESET")?;
            // Many round trips, so that it was not under way already.
            sleep(PEER_TALKS_AFTER);
            flock.server.send(flow.at_server, 50)?;
            let answer = flock.reset_to_server(flow)?;
            confirm("TTL of the answer", answer.ttl, 63)?;
            let error_there = flock.server.await_error(flow.at_server)?;
            let forged = flock
                .client_lost(lab, &seen, Origin::Middlebox, Cause::NotFromPeer)
                .because(
                    "the router wrote it; 20 ms later the peer sent data as if nothing had happened",
                )
                .hidden(Hidden::RawSocket)
                .peer_saw(error);
            let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
            let sent = Truth::sent(lab, Place::Client, &answer, origin, cause)
                .because("the peer sent data on a connection that a forged RST had ended here")
                .names(&flock.client, &[Role::FormerOwner])
                .lost_connection()
                .peer_saw(error_there);
            let received = flock
                .server_lost(lab, &answer, Origin::Peer, Cause::ResetByPeer)
                .because(
                    "the client's kernel, which had lost the connection to a forged RST, sent it",
                );
            let truths = vec![forged, sent, received];
            staged(truths, flock, device)
        })
    },
    ..LONG
};

/// The balancer drops all its connections at once: they only have the time in common.
pub const FAILOVER: Scenario = Scenario {
    name: "failover-burst",
    title: "a device on the path resets 8 connections with different idle times at once",
    twins: &["expired-learned", "deploy-restart"],
    open: |lab, version| {
        let flock = Flock::open(lab, 34, version)?;
        let device = lab.actor(Place::Router, "rt-box")?;
        flock.grow_in_turn(0, |flock, due| reset_all(flock, device, due))
    },
    ..LONG
};

fn reset_all(mut flock: Flock, mut device: Actor, due: Instant) -> Result<Armed, StageError> {
    Armed::due(due, move |lab| {
        let mut segments = Vec::new();
        for flow in flock.flows.clone() {
            let [to_client, _] = flock.forge(flow, FROM_ROUTER)?;
            segments.push(to_client);
        }
        inject_later(&mut device, segments, Duration::ZERO)?;
        let mut truths = Vec::new();
        for flow in flock.flows.clone() {
            let seen = flock.reset_to_client(flow)?;
            confirm("TTL of the RST", seen.ttl, FROM_ROUTER.ttl)?;
            let error = flock.client.confirm_error(flow.at_client, "ECONNRESET")?;
            // Otherwise the end of its process would cause another reset.
            flock.server_vanishes(flow)?;
            let truth = flock
                .client_lost(lab, &seen, Origin::Middlebox, Cause::NotFromPeer)
                .because("the router reset 8 connections at once, silent for 0.4 s to 3.2 s; the server knows nothing of it");
            truths.push(truth.hidden(Hidden::RawSocket).peer_saw(error));
        }
        staged(truths, flock, device)
    })
}

/// Starts the device's timer for a connection.
fn expire(flock: &mut Flock, device: &mut Actor, flow: Flow, look: Look) -> Result<(), StageError> {
    let segments = flock.forge(flow, look)?;
    // The timer was running while the segments were built, which takes a while on a slow machine.
    let left = TIMEOUT.saturating_sub(flow.silent_since.elapsed());
    inject_later(device, segments.into(), left)
}

/// Confirms that the box's RSTs were taken for the peer's at both ends; the truths at client and server.
fn expired(lab: &Lab, flock: &mut Flock, flow: Flow, look: Look) -> Result<Vec<Truth>, StageError> {
    let last = flock.request(flow)?;
    let at_client = flock.reset_to_client(flow)?;
    let at_server = flock.reset_to_server(flow)?;
    for seen in [&at_client, &at_server] {
        confirm("TTL of the RST", seen.ttl, look.ttl)?;
        confirm_silence(&last, seen, TIMEOUT)?;
    }
    let errors = [
        flock.client.confirm_error(flow.at_client, "ECONNRESET")?,
        flock.server.confirm_error(flow.at_server, "ECONNRESET")?,
    ];
    let (origin, cause) = (Origin::Middlebox, Cause::IdleTimeout);
    let truths = [
        flock.client_lost(lab, &at_client, origin, cause),
        flock.server_lost(lab, &at_server, origin, cause),
    ];
    let truths = truths.into_iter().zip(errors).map(|(truth, error)| {
        truth
            .because(
                "the router wrote a RST to both ends after 3 s of silence; neither end sent one",
            )
            .at_timeout(IdleMode::RstAtExpiry, Some(TIMEOUT))
            .hidden(Hidden::RawSocket)
            .peer_saw(error)
    });
    Ok(truths.collect())
}

fn open_without_timestamps(
    lab: &mut Lab,
    site: u8,
    version: IpVersion,
) -> Result<Flock, StageError> {
    // A RST without them would not look like the peer's. Until the lab is tidied.
    lab.sysctl(Place::Client, "ipv4/tcp_timestamps", "0")?;
    Flock::open(lab, site, version)
}

fn staged(truths: Vec<Truth>, mut flock: Flock, device: Actor) -> Result<Staged, StageError> {
    flock.further.push(device);
    Staged::crafted(truths, flock)
}

/// An appliance's usual TTL.
const FROM_BOX: Look = Look {
    ttl: 255,
    active: false,
};
/// The ends are one hop further away from each other than from the router.
const FROM_ROUTER: Look = Look {
    ttl: 64,
    active: false,
};
/// As the peer's own RST.
const FROM_PEER: Look = Look {
    ttl: 63,
    active: true,
};
/// How many resets are there to learn from.
const LESSONS: usize = 6;
/// Between the instants of these.
const BETWEEN: Duration = Duration::from_millis(1200);
const PEER_TALKS_AFTER: Duration = Duration::from_millis(20);
/// For timers that are a little late.
const SLACK: Duration = Duration::from_millis(200);
