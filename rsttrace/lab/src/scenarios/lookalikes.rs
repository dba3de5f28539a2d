//! Resets after idle time that are not idle timeouts, but look like one.

use std::time::{Duration, Instant};

use super::chain::TIMEOUT;
use super::flock::{Flock, Flow};
use super::translated::hop;
use super::{Armed, Family, LONG, Scenario, Staged, confirm};
use crate::StageError;
use crate::actor::protocol::SocketOption;
use crate::lab::{IpVersion, Lab, Place};
use crate::net::nft::{Hook, Only, Port, Rule, Verdict};
use crate::record::{Cause, Origin, Role};
use crate::segment::{Flags, Pattern};
use crate::truth::Truth;

pub const SLOW_APPLICATION: Scenario = Scenario {
    name: "slow-application",
    title: "the client waits 2 s for an answer; the server closes with SO_LINGER 0",
    family: Family::Both,
    can_predate: true,
    twins: &["expired-looks-like-peer", "linger-zero"],
    open: |lab, version| {
        let (mut flock, flow) = one(lab, 40, version)?;
        flock.client.send(flow.at_client, 120)?;
        flock.server.receive(flow.at_server, 120)?;
        Armed::due(Instant::now() + Duration::from_secs(2), move |lab| {
            flock.server.close_with_linger_zero(flow.at_server)?;
            let condition = "two seconds after a request the server closed with SO_LINGER 0";
            closed(lab, flock, flow, Cause::LingerZero, condition)
        })
    },
    ..LONG
};

pub const SLOW_APPLICATION_UNREAD: Scenario = Scenario {
    name: "slow-application-unread",
    title: "the client waits 2 s for an answer; the server closes without having read the request",
    twins: &["slow-application", "close-unread"],
    open: |lab, version| {
        let (mut flock, flow) = one(lab, 41, version)?;
        flock.client.send(flow.at_client, 120)?;
        flock.server.await_unread(flow.at_server, 120)?;
        Armed::due(Instant::now() + Duration::from_secs(2), move |lab| {
            flock.server.close(flow.at_server)?;
            let condition = "two seconds after a request the server closed, the request unread";
            closed(lab, flock, flow, Cause::CloseWithUnreadData, condition)
        })
    },
    ..LONG
};

/// The peer is gone; its kernel answers what comes after the silence.
pub const PEER_CRASHED: Scenario = Scenario {
    name: "peer-crashed-in-silence",
    title: "the peer loses the idle connection and answers the next packet with a reset",
    family: Family::Both,
    can_predate: true,
    twins: &["expired-nat-unconfigured", "expired-nat-peer-answers"],
    open: |lab, version| {
        let (mut flock, flow) = one(lab, 42, version)?;
        let silent_since = Instant::now();
        Armed::step_due(silent_since + Duration::from_secs(1), move |_| {
            flock.stop_listening()?;
            flock.server_vanishes(flow)?;
            Armed::due(silent_since + Duration::from_millis(3500), move |lab| {
                flock.client.send(flow.at_client, 50)?;
                let truths = answered_by_peer(
                    lab,
                    &mut flock,
                    flow,
                    "the server lost the connection without a packet; the client wrote 2.5 s later",
                )?;
                Staged::passive(truths, flock)
            })
        })
    },
    ..LONG
};

/// The same on the path of a hop that is known to forget connections, but not so soon.
pub const HOP_NOT_EXPIRED: Scenario = Scenario {
    name: "hop-not-expired",
    title: "the peer crashed; the idle time was shorter than the timeout of the hop on the path",
    hops: &[hop("lab-nat-48", "203.0.113.48/32")],
    twins: &["expired-nat-answers-client", "peer-crashed-in-silence"],
    open: |lab, version| {
        let (mut flock, flow) = one(lab, 48, version)?;
        flock.stop_listening()?;
        flock.server_vanishes(flow)?;
        Armed::due(Instant::now() + Duration::from_secs(2), move |lab| {
            let request = flock.request(flow)?;
            flock.client.send(flow.at_client, 50)?;
            let condition = "the server lost the connection without a packet; the client wrote after 2 s, and the hop forgets after 3 s";
            let truths = answered_by_peer(lab, &mut flock, flow, condition)?;
            let silence = truths.first().and_then(|truth| truth.seen.captured);
            let silence = silence
                .zip(request.captured)
                .map(|(end, begin)| end.saturating_sub(begin));
            // Other scenarios may have kept this one waiting.
            confirm(
                "silence below the timeout",
                silence < Some(TIMEOUT - MARGIN),
                true,
            )?;
            Staged::passive(truths, flock)
        })
    },
    ..LONG
};

/// A job that writes every two seconds meets peers that are gone: two seconds are the job's rhythm, no timeout.
pub const PERIODIC_WRITER: Scenario = Scenario {
    name: "periodic-writer",
    title: "a job writes every 2 s to 8 connections whose peer no longer exists",
    family: Family::Both,
    twins: &["expired-learned", "peer-crashed-in-silence"],
    open: |lab, version| {
        write_every_two_seconds(Flock::open(lab, 43, version)?, Instant::now(), Vec::new())
    },
    ..LONG
};

/// Two more connections begin, lose their peer, and are written to after two seconds; and so on.
fn write_every_two_seconds(
    mut flock: Flock,
    due: Instant,
    mut truths: Vec<Truth>,
) -> Result<Armed, StageError> {
    Armed::step_due(due, move |_| {
        let flows = [flock.grow()?, flock.grow()?];
        for flow in flows {
            flock.server_vanishes(flow)?;
        }
        let two_seconds_later = Instant::now() + Duration::from_secs(2);
        Armed::step_due(two_seconds_later, move |lab| {
            for flow in flows {
                flock.client.send(flow.at_client, 50)?;
                let condition =
                    "the client wrote 2 s after its last write; the server had lost the connection";
                truths.extend(answered_by_peer(lab, &mut flock, flow, condition)?);
            }
            if flock.flows.len() < ROUNDS * 2 {
                return write_every_two_seconds(flock, Instant::now(), truths);
            }
            Armed::new(move |_| Staged::passive(truths, flock))
        })
    })
}

/// The route of the peer's packets changes by one hop, either way, before it resets.
pub const REROUTED_LONGER: Scenario = Scenario {
    name: "rerouted-longer",
    title: "the peer resets after 2.5 s idle with a TTL one lower than before",
    twins: &["rerouted-shorter", "injected-exact"],
    open: |lab, version| rerouted(lab, version, 44, 64, 63),
    ..LONG
};

pub const REROUTED_SHORTER: Scenario = Scenario {
    name: "rerouted-shorter",
    title: "the peer resets after 2.5 s idle with a TTL one higher than before",
    twins: &["rerouted-longer", "injected-exact"],
    open: |lab, version| rerouted(lab, version, 45, 63, 64),
    ..LONG
};

fn rerouted(
    lab: &mut Lab,
    version: IpVersion,
    site: u8,
    before: u32,
    after: u32,
) -> Result<Armed, StageError> {
    let mut flock = Flock::open_with(lab, site, version, &[SocketOption::Ttl(before)])?;
    let flow = flock.grow()?;
    Armed::due(Instant::now() + Duration::from_millis(2500), move |lab| {
        let (server, client) = (flow.at_server.local, flow.at_client.local);
        let handshake = Pattern::with(Flags::SYN_ACK, server, client);
        let handshake = flock.client.segment(handshake)?;
        confirm("TTL of the SYN-ACK", u32::from(handshake.ttl), before - 1)?;
        flock.server.set(flow.at_server, SocketOption::Ttl(after))?;
        flock.server.close_with_linger_zero(flow.at_server)?;
        let condition =
            "the server closed with SO_LINGER 0; its packets took another way than at first";
        let staged = closed(lab, flock, flow, Cause::LingerZero, condition)?;
        let ttl = staged.truths.first().map(|truth| u32::from(truth.seen.ttl));
        confirm("TTL of the RST", ttl, Some(after - 1))?;
        Ok(staged)
    })
}

/// A segment got lost before the reset, whose number is therefore not the expected one; it is accepted all the same, at
/// the end of what was selectively acknowledged.
pub const REORDERED: Scenario = Scenario {
    name: "reordered-before-reset",
    title: "a segment is missing before the peer's genuine RST",
    twins: &["received", "injected-in-window"],
    open: open_reordered,
    ..LONG
};

fn open_reordered(lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
    // Without it the second piece would wait for the first one's acknowledgement.
    let mut flock = Flock::open_with(lab, 46, version, &[SocketOption::NoDelay])?;
    let flow = flock.grow()?;
    let port = Port::Source(flow.at_server.local.port());
    let lose = Rule::new(Hook::Forward, port, Verdict::Drop).only(Only::Length(HEADERS + LOST));
    lab.firewall_to_stay(Place::Router, &[lose])?;
    Armed::new(move |lab| {
        let expected = flock.client.sequence(flow.at_client)?.receive;
        flock.server.send(flow.at_server, usize::from(LOST))?;
        flock.server.send(flow.at_server, 200)?;
        flock.server.close_with_linger_zero(flow.at_server)?;
        let condition =
            "the server closed with SO_LINGER 0; of what it sent before, 100 bytes never came";
        let staged = closed(lab, flock, flow, Cause::LingerZero, condition)?;
        let number = staged.truths.first().map(|truth| truth.seen.seq);
        let last = expected.wrapping_add(u32::from(LOST) + 200);
        confirm("number of the RST", number, Some(last))?;
        Ok(staged)
    })
}

/// The application is silent, the connection is not: no idle timer could have fired.
pub const KEEPALIVE: Scenario = Scenario {
    name: "keepalive-in-silence",
    title: "the peer resets after 3 s without data but with keepalive every second",
    can_predate: true,
    twins: &["slow-application", "expired-looks-like-peer"],
    open: |lab, version| {
        let (mut flock, flow) = one(lab, 47, version)?;
        let probing = SocketOption::KeepAlive {
            idle: 1,
            interval: 1,
            probes: 5,
        };
        flock.client.set(flow.at_client, probing)?;
        flock.server.capture()?;
        Armed::due(Instant::now() + Duration::from_millis(3300), move |lab| {
            for _ in 0..3 {
                flock.server.segment(keepalive_probe(flow))?;
            }
            flock.server.close_with_linger_zero(flow.at_server)?;
            let condition =
                "the server closed with SO_LINGER 0; keepalive had been answered every second";
            closed(lab, flock, flow, Cause::LingerZero, condition)
        })
    },
    ..LONG
};

fn one(lab: &mut Lab, site: u8, version: IpVersion) -> Result<(Flock, Flow), StageError> {
    let mut flock = Flock::open(lab, site, version)?;
    let flow = flock.grow()?;
    Ok((flock, flow))
}

/// The truths at client and server of a RST that the server's process has caused.
fn closed(
    lab: &Lab,
    mut flock: Flock,
    flow: Flow,
    cause: Cause,
    condition: &'static str,
) -> Result<Staged, StageError> {
    let who = (Origin::LocalProcess, cause);
    let [received, sent] = flock.ended_by_server(lab, flow, who, "ECONNRESET")?;
    let sent = sent
        .because(condition)
        .done_by(&flock.server, "close()")
        .names(&flock.server, &[Role::Closer]);
    Staged::active([received.because(condition), sent], flock)
}

/// The truths at client and server of a RST that the server's kernel has answered the client with.
fn answered_by_peer(
    lab: &Lab,
    flock: &mut Flock,
    flow: Flow,
    condition: &'static str,
) -> Result<[Truth; 2], StageError> {
    let who = (Origin::LocalKernel, Cause::HalfOpen);
    let [received, sent] = flock.ended_by_server(lab, flow, who, "ECONNRESET")?;
    confirm("TTL of the RST", received.seen.ttl, 63)?;
    let sent = sent
        .because(condition)
        .names(&flock.server, &[Role::FormerOwner, Role::Listener]);
    Ok([received.because(condition), sent])
}

fn keepalive_probe(flow: Flow) -> Pattern {
    Pattern {
        source: flow.at_client.local,
        destination: Some(flow.at_server.local),
        with: Flags::ACK,
        without: Flags(Flags::PSH.0 | Flags::SYN.0 | Flags::RST.0),
    }
}

/// How much shorter than the timeout the silence has to be.
const MARGIN: Duration = Duration::from_millis(400);
/// IPv4 and TCP with timestamps.
const HEADERS: u16 = 52;
const LOST: u16 = 100;
/// Of two connections each.
const ROUNDS: usize = 4;
