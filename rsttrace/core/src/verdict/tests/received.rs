//! Accepted resets: severity, process and silence.

use std::time::Duration;

use crate::engine::fixtures::*;
use crate::event::*;
use crate::record::{Cause, Confidence, Origin, Quality, Role, Severity};

const R: u8 = TcpFlags::RST;

#[test]
fn an_inherited_owner_gives_way_to_the_process_with_the_file() {
    let scene = Scene::new();
    let mut received = scene.received(socket(1));
    received.ownership = Some(Ownership {
        inherited: true,
        ..ownership(86, "master", OwnerSource::Listen)
    });
    let facts = HostContext {
        holder: Some(Holder {
            task: task(88, "worker"),
            shares: false,
        }),
        processes: smallvec::smallvec![std::sync::Arc::new(ProcessFacts {
            pid: 88,
            exe: Some("/usr/sbin/worker".into()),
            ..ProcessFacts::default()
        })],
        ..HostContext::default()
    };
    let guessed = only(run(vec![event(0, received.clone())]))
        .process
        .expect("inherited");
    assert_eq!((guessed.pid, guessed.quality), (86, Quality::Inherited));
    let found = only(run_with(host(), vec![(event(0, received), facts)]));
    let found = found.process.expect("looked up");
    assert_eq!((found.pid, found.quality), (88, Quality::LookedUp));
    assert_eq!(found.exe.as_deref(), Some("/usr/sbin/worker"));
}

/// The master (86) listened or accepted, the worker (88) may have the connection.
#[test]
#[rustfmt::skip]
fn whoever_is_named_is_known_as_well_as_it_is_said() {
    use OwnerNow::*;
    use OwnerSource::*;
    let holder = |shares| Some(Holder { task: task(88, "worker"), shares });
    let scene = Scene::new();
    // (source, inherited, shut down by the worker, owner, found), (pid, role, quality)
    let cases = [
        (Listen, true, false, Lives, None, (86, Role::Owner, Quality::Inherited)),
        (Listen, true, false, Lives, holder(false), (88, Role::Owner, Quality::LookedUp)),
        // It is one of several.
        (Listen, true, false, Lives, holder(true), (88, Role::Owner, Quality::Inherited)),
        (Listen, true, true, Lives, None, (88, Role::Owner, Quality::Recorded)),
        (Listen, true, true, Lives, holder(true), (88, Role::Owner, Quality::Recorded)),
        (Listen, true, false, Gone, None, (86, Role::FormerOwner, Quality::Inherited)),
        // Once it has accepted, it is known to have had the connection, if not for how long.
        (Accept, false, false, Lives, None, (86, Role::Owner, Quality::Recorded)),
        (Accept, false, false, MayHaveHandedOn, None, (86, Role::Owner, Quality::Inherited)),
        (Accept, false, false, HandedOn, None, (86, Role::FormerOwner, Quality::Recorded)),
        (Accept, false, false, Gone, None, (86, Role::FormerOwner, Quality::Recorded)),
        (Accept, false, false, Lives, holder(false), (88, Role::Owner, Quality::LookedUp)),
        (Accept, false, false, Lives, holder(true), (88, Role::Owner, Quality::Inherited)),
        // Whoever shut it down is not whoever holds it, where that is known.
        (Accept, false, true, Lives, None, (86, Role::Owner, Quality::Recorded)),
        (Connect, false, false, Lives, holder(false), (88, Role::Owner, Quality::LookedUp)),
        (Connect, false, false, HandedOn, None, (86, Role::FormerOwner, Quality::Recorded)),
        (Seeded, false, false, Lives, None, (86, Role::Owner, Quality::LookedUp)),
    ];
    for case in cases {
        let (source, inherited, shut_down, owner, holder, expected) = case.clone();
        let mut received = scene.received(socket(1));
        received.ownership = Some(Ownership {
            inherited,
            closer: shut_down.then(|| closer(88, "worker")),
            ..ownership(86, "master", source)
        });
        let facts = HostContext { owner, holder, ..HostContext::default() };
        let record = only(run_with(host(), vec![(event(0, received), facts)]));
        let named = record.process.expect("somebody");
        assert_eq!((named.pid, named.role, named.quality), expected, "{case:?}");
    }
}

#[test]
fn accepted_resets_are_judged_by_what_was_lost() {
    let scene = Scene::new();
    let state = |state| Socket { state, ..socket(1) };
    let closed = Socket {
        orphaned: true,
        ..state(TcpState::LastAck)
    };
    let fast_open = Socket {
        bytes_received: 100,
        ..state(TcpState::SynRecv)
    };
    let handshake = Socket {
        bytes_received: 0,
        ..state(TcpState::SynRecv)
    };
    let unsent = Socket {
        unacknowledged: 900,
        ..closed.clone()
    };
    for (socket, cause, severity) in [
        (
            state(TcpState::Established),
            Cause::ResetByPeer,
            Severity::Fault,
        ),
        (
            state(TcpState::CloseWait),
            Cause::ResetByPeer,
            Severity::Fault,
        ),
        (closed, Cause::ResetByPeer, Severity::Noise),
        (unsent, Cause::ResetByPeer, Severity::Fault),
        (fast_open, Cause::ResetByPeer, Severity::Fault),
        (handshake, Cause::ResetByPeer, Severity::Noise),
        (
            state(TcpState::SynSent),
            Cause::ConnectionRefused,
            Severity::Refused,
        ),
    ] {
        let name = format!("{}", socket.state);
        let record = only(run(vec![event(0, scene.received(socket))]));
        assert_eq!(record.verdict.cause, cause, "{name}");
        assert_eq!(record.verdict.severity, severity, "{name}");
        assert_eq!(record.verdict.origin, Origin::Peer, "{name}");
    }
}

#[test]
fn a_late_reset_tells_the_silence_before_our_write() {
    let mut socket = socket(1);
    socket.since_received = Some(Duration::from_secs(310));
    socket.since_ack = Some(Duration::from_micros(300_000_400));
    socket.since_first_unacknowledged = Some(Duration::from_micros(400));
    let record = only(run(vec![event(0, Scene::new().received(socket))]));
    assert_eq!(
        record.verdict.summary(),
        "10.0.0.2:40000 reset the connection after 12.3 s: idle for 5 min 0 s; RST arrived 0.4 ms after our next write"
    );
    assert_eq!(record.idle.and_then(|idle| idle.quiet_before), Some(300.0));
}

#[test]
fn a_bare_reset_that_answers_nothing_and_has_another_ttl_is_not_from_the_peer() {
    let scene = Scene::new();
    let unasked = Some(Duration::from_millis(300));
    let just_sent = Some(Duration::from_micros(300));
    // Each fact alone may have an innocent reason; an active reset (with ACK) answers nothing by its nature.
    for (flags, ack, ttl, since_transmit, expected) in [
        (R, 0, 64, unasked, Cause::NotFromPeer),
        (R, 0, 50, unasked, Cause::NotFromPeer),
        (R, 0, 57, unasked, Cause::ResetByPeer),
        // A change of route.
        (R, 0, 58, unasked, Cause::ResetByPeer),
        // As many routers from another start.
        (R, 0, 121, unasked, Cause::ResetByPeer),
        (R, 0, 64, just_sent, Cause::ResetByPeer),
        (R, 0, 64, None, Cause::ResetByPeer),
        (R | TcpFlags::ACK, 1000, 64, unasked, Cause::ResetByPeer),
    ] {
        let mut socket = socket(1);
        socket.since_transmit = since_transmit;
        socket.rtt = Some(Duration::from_millis(1));
        let mut packet = scene.ingress(flags, 5000, ack, target(&socket));
        packet.segment.ttl = ttl;
        packet.baseline = Some(Baseline {
            // Before the handshake ended, 12.3 s ago.
            time: BootTime(NOW - 12_400_000_000),
            ttl: 57,
            source_mac: None,
        });
        let record = only(run(vec![
            event(0, packet),
            event(1, scene.received(socket)),
        ]));
        assert_eq!(
            record.verdict.cause, expected,
            "{flags} {ttl} {since_transmit:?}"
        );
    }
}

#[test]
fn ttl_is_compared_with_the_handshakes() {
    let scene = Scene::new();
    for (ttl, confidence) in [
        (64, Confidence::Likely),
        (63, Confidence::Likely),
        (40, Confidence::Possible),
    ] {
        let mut packet = scene.ingress(R, 5000, 0, target(&socket(1)));
        packet.segment.ttl = ttl;
        packet.baseline = Some(Baseline {
            time: BootTime(NOW - 12_400_000_000),
            ttl: 64,
            source_mac: None,
        });
        let record = only(run(vec![
            event(0, packet),
            event(1, scene.received(socket(1))),
        ]));
        assert!(
            record
                .verdict
                .evidence()
                .iter()
                .any(|evidence| evidence.kind.name() == "ttl")
        );
        assert_eq!(
            record.packet.and_then(|packet| packet.expected_ttl),
            Some(64)
        );
        assert_eq!(record.verdict.confidence, confidence, "{ttl}");
        assert_eq!(record.verdict.cause, Cause::ResetByPeer);
    }
}
