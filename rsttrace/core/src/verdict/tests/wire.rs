//! Resets seen on the wire only: firewalls, raw sockets, routers, near misses.

use crate::engine::fixtures::*;
use crate::event::*;
use crate::record::{
    Cause, Confidence, Direction, Evidence, EvidenceKind, Origin, Quality, Record, Severity,
};

const R: u8 = TcpFlags::RST;
const RA: u8 = TcpFlags::RST | TcpFlags::ACK;

/// A reset that came in and that no event tells was accepted.
fn came(seq: u32, aim: Target) -> Record {
    only(run(vec![event(0, Scene::new().ingress(R, seq, 0, aim))]))
}

#[test]
fn resets_that_no_socket_took_are_told_apart_by_their_numbers() {
    let aim = || target(&socket(1));
    for (name, seq, aim, cause, severity) in [
        (
            "near miss",
            5100,
            aim(),
            Cause::BlindAttempt,
            Severity::Noise,
        ),
        (
            "far off",
            90_000,
            aim(),
            Cause::BlindAttempt,
            Severity::Noise,
        ),
        ("exact", 5000, aim(), Cause::Unknown, Severity::Fault),
        (
            "time-wait",
            1,
            Target::Stateless(TcpState::TimeWait),
            Cause::ResetByPeer,
            Severity::Noise,
        ),
        (
            "half-done",
            1,
            Target::Stateless(TcpState::SynRecv),
            Cause::ResetByPeer,
            Severity::Noise,
        ),
        (
            "listener",
            1,
            Target::Stateless(TcpState::Listen),
            Cause::Unknown,
            Severity::Noise,
        ),
        ("nobody", 1, Target::None, Cause::Unknown, Severity::Noise),
    ] {
        let record = came(seq, aim);
        assert_eq!(record.direction, Direction::Observed, "{name}");
        assert_eq!(record.verdict.cause, cause, "{name}");
        assert_eq!(record.verdict.severity, severity, "{name}");
    }
    assert!(
        came(5100, aim())
            .verdict
            .summary()
            .contains("challenge ACK")
    );
}

#[test]
fn a_segment_of_no_socket_in_passive_form_is_a_firewalls() {
    let scene = Scene::new();
    let reject = scene.egress(RA, 0, 701);
    let record = only(run(vec![event(0, reject.clone())]));
    assert_eq!(record.verdict.cause, Cause::FirewallReject);
    assert_eq!(record.verdict.origin, Origin::LocalFirewall);
    assert_eq!(record.verdict.severity, Severity::Refused);
    assert_eq!(record.verdict.confidence, Confidence::Certain);
    assert_eq!(
        only(run(vec![event(0, scene.egress(R, 7, 0))]))
            .verdict
            .severity,
        Severity::Fault
    );
    // Its twins: a forwarded one, one of a TCP socket whose event is missing, one with a window.
    let mut passing = reject.clone();
    passing.ingress_ifindex = Some(4);
    let mut orphan_event = reject.clone();
    orphan_event.sender_socket = SenderSocket::Some(SocketCookie(5));
    let mut active = reject.clone();
    active.segment.window = 100;
    for (packet, cause) in [
        (passing, Cause::Forwarded),
        (orphan_event, Cause::Unknown),
        (active, Cause::Unknown),
    ] {
        assert_eq!(only(run(vec![event(0, packet)])).verdict.cause, cause);
    }
}

#[test]
fn a_kernel_blind_to_answers_leaves_a_firewall_possible_only() {
    let mut old = host();
    old.coverage.sent_stateless = false;
    let scene = Scene::new();
    let reject = scene.egress(RA, 0, 701);
    let mut stack = reject.clone();
    stack.sender_socket = SenderSocket::Some(SocketCookie(5));
    for (packet, cause, confidence) in [
        (reject, Cause::FirewallReject, Confidence::Possible),
        (stack, Cause::PortClosed, Confidence::Likely),
    ] {
        let record = only(run_with(
            old.clone(),
            vec![(event(0, packet), HostContext::default())],
        ));
        assert_eq!(record.verdict.cause, cause);
        assert_eq!(record.verdict.confidence, confidence);
    }
}

#[test]
fn over_ipv6_a_blind_kernel_tells_no_firewall_from_its_own_stack() {
    let mut old = host();
    old.coverage.sent_stateless = false;
    let mut scene = Scene::new();
    scene.flow.local = address("[2001:db8::1]:8080");
    scene.flow.remote = address("[2001:db8::2]:40000");
    let reject = event(0, scene.egress(RA, 0, 701));
    let record = only(run_with(
        old,
        vec![(reject.clone(), HostContext::default())],
    ));
    assert_eq!(record.verdict.cause, Cause::Unknown);
    assert_eq!(record.verdict.origin, Origin::Unknown);
    // Its twin: a kernel that would have told.
    let record = only(run(vec![reject]));
    assert_eq!(record.verdict.cause, Cause::FirewallReject);
}

#[test]
fn the_other_end_is_no_surer_of_a_firewall_than_its_own_record() {
    for (sees_all, confidence) in [(true, Confidence::Certain), (false, Confidence::Possible)] {
        let mut host = host();
        host.coverage.sent_stateless = sees_all;
        let scene = Scene::new();
        let reject = scene.egress(RA, 0, 701);
        let mut connecting = Scene::new();
        (connecting.flow.local, connecting.flow.remote) = (scene.flow.remote, scene.flow.local);
        let mut socket = socket(3);
        socket.state = TcpState::SynSent;
        socket.snd_nxt = 701;
        let records = run_with(
            host,
            vec![
                (event(0, reject), HostContext::default()),
                (
                    event(1, connecting.received(socket)),
                    HostContext::default(),
                ),
            ],
        );
        assert_eq!(records.len(), 2);
        for record in records {
            assert_eq!(record.verdict.cause, Cause::FirewallReject, "{record:?}");
            assert_eq!(record.verdict.confidence, confidence);
        }
    }
}

#[test]
fn a_raw_sockets_owner_is_named_only_if_its_file_is_found() {
    let scene = Scene::new();
    let mut packet = scene.egress(R, 7, 0);
    packet.sender_socket = SenderSocket::Raw {
        cookie: SocketCookie(3),
        inode: Some(77),
        current: Some(current(900, "scapy")),
    };
    let found = |task, shares| Some(Holder { task, shares });
    let (running, other) = (task(900, "python3"), task(901, "hping3"));
    for (holder, expected) in [
        (found(running, false), Some((900, Quality::Certain))),
        (found(other.clone(), false), Some((901, Quality::LookedUp))),
        (found(other, true), None),
        (None, None),
    ] {
        let facts = HostContext {
            holder,
            ..HostContext::default()
        };
        let record = only(run_with(host(), vec![(event(0, packet.clone()), facts)]));
        assert_eq!(record.verdict.cause, Cause::RawSocket);
        assert_eq!(record.verdict.origin, Origin::LocalProcess);
        let process = record.process.map(|process| (process.pid, process.quality));
        assert_eq!(process, expected);
    }
}

#[test]
fn a_near_miss_is_blamed_on_what_wrote_it_where_that_is_seen() {
    let scene = Scene::new();
    let near_miss = || event(9, scene.ingress(R, 5100, 0, target(&socket(1))));
    let mut written = scene.reversed().egress(R, 5100, 0);
    written.sender_socket = SenderSocket::Raw {
        cookie: SocketCookie(3),
        inode: None,
        current: None,
    };
    for (before, origin) in [
        (None, Origin::Middlebox),
        (Some(written), Origin::LocalProcess),
    ] {
        let before = before.map(|packet| event_in(HERE + 1, 0, packet));
        let records = run(before.into_iter().chain([near_miss()]).collect());
        let observed = records
            .iter()
            .find(|it| it.direction == Direction::Observed);
        let verdict = &observed.unwrap().verdict;
        assert_eq!(verdict.cause, Cause::BlindAttempt);
        assert_eq!(verdict.origin, origin);
    }
}

#[test]
fn a_router_shows_both_legs() {
    let scene = Scene::new();
    let came = scene.ingress(RA, 77, 88, Target::None);
    let mut left = scene.reversed().egress(RA, 77, 88);
    left.source = address("203.0.113.254:8080");
    left.ifindex = 3;
    left.ingress_ifindex = Some(2);
    let record = only(run(vec![event(0, came), event(1, left)]));
    assert_eq!(record.direction, Direction::Forwarded);
    assert_eq!(record.verdict.origin, Origin::Forwarded);
    assert_eq!(record.verdict.severity, Severity::Fault);
    assert_eq!(record.local.port, 8080);
    assert!(
        record
            .verdict
            .evidence()
            .iter()
            .any(|evidence| evidence.kind.name() == "nat")
    );
}

#[test]
fn a_lost_event_takes_certainty_from_what_rests_on_its_absence() {
    let scene = Scene::new();
    let near_miss = scene.ingress(R, 5100, 0, target(&socket(1)));
    let certain = scene.answer(segment(TcpFlags::SYN, 1, 0, 0));
    let remembered = Sent {
        former_connection: Some(Box::new(tombstone(87, "nginx", TcpState::Established))),
        ..scene.answer(segment(TcpFlags::ACK, 1, 2, 10))
    };
    let forgotten = scene.answer(segment(TcpFlags::ACK, 1, 2, 10));
    for (body, cause, confidence, says_so) in [
        (
            Body::from(scene.egress(RA, 0, 701)),
            Cause::Unknown,
            Confidence::Possible,
            true,
        ),
        (
            Body::from(near_miss),
            Cause::Unknown,
            Confidence::Possible,
            true,
        ),
        (
            Body::from(certain),
            Cause::PortClosed,
            Confidence::Certain,
            false,
        ),
        (
            Body::from(remembered),
            Cause::HalfOpen,
            Confidence::Certain,
            false,
        ),
        (
            Body::from(forgotten),
            Cause::HalfOpen,
            Confidence::Possible,
            true,
        ),
    ] {
        let mut engine = engine(host());
        engine.note_loss(BootTime(NOW + 100 * MS), 12);
        engine.handle(event(0, body), HostContext::default());
        let record = only(resets(finish(&mut engine)));
        assert_eq!(record.verdict.cause, cause);
        assert_eq!(record.verdict.confidence, confidence);
        let lost = |evidence: &Evidence| evidence.kind.name() == EvidenceKind::LostEvents.name();
        assert_eq!(record.verdict.evidence().iter().any(lost), says_so);
    }
}
