//! Verdicts that rest on the network around a reset: translations, attempts, routes, namespaces, looks of devices.

use std::time::Duration;

use crate::engine::Input;
use crate::engine::fixtures::*;
use crate::event::*;
use crate::record::{Cause, Confidence, Direction, Origin, Record, Role, Severity};

const R: u8 = TcpFlags::RST;
const RA: u8 = TcpFlags::RST | TcpFlags::ACK;
const SYNACK: u8 = TcpFlags::SYN | TcpFlags::ACK;

fn judged(facts: Vec<(Flow, NetFact)>, events: Vec<Event>) -> Vec<Record> {
    judged_on(host(), facts, events)
}

fn judged_on(host: HostFacts, facts: Vec<(Flow, NetFact)>, events: Vec<Event>) -> Vec<Record> {
    let mut engine = engine(host);
    for (flow, fact) in facts {
        let netns = NetnsCookie(HERE);
        engine.push(Input::Found(NetFinding { netns, flow, fact }));
    }
    for event in events {
        engine.push(Input::Advance(event.time));
        engine.handle(event, HostContext::default());
    }
    resets(finish(&mut engine))
}

fn translated(scene: &Scene, tracked: Tracked) -> (Flow, NetFact) {
    let translated = Translated {
        source: scene.flow.remote,
        destination: address("10.9.0.3:8611"),
        seen: BootTime(NOW - 5 * SECOND),
        tracked: Some(tracked),
    };
    (scene.flow, NetFact::Translated(translated))
}

#[test]
fn a_connection_that_this_host_translated_is_named_and_lost() {
    let scene = Scene::new();
    let answer = scene.answer(segment(TcpFlags::ACK, 1, 2, 0));
    let memory = translated(&scene, Tracked::Nothing);
    let record = only(judged(vec![memory.clone()], vec![event(0, answer.clone())]));
    assert_eq!(record.verdict.cause, Cause::HalfOpen);
    assert_eq!(record.verdict.confidence, Confidence::Certain);
    assert_eq!(record.verdict.severity, Severity::Fault);
    let summary = record.verdict.summary();
    assert!(
        summary.contains("to 10.9.0.3:8611 (handshake 5.0 s earlier)"),
        "{summary}"
    );
    assert!(record.idle.is_none(), "deleted, not idle");
    let advice = record.verdict.advice();
    assert!(
        advice[0].ends_with("(rsttrace explain conntrack-moved)"),
        "{advice:?}"
    );
    assert!(
        advice[1..]
            .iter()
            .all(|it| !it.contains("rsttrace explain"))
    );
    // Its twins: nothing is remembered; a FIN, after which the entry goes by itself.
    let plain = only(run(vec![event(0, answer)]));
    assert_eq!(plain.verdict.confidence, Confidence::Likely);
    assert_eq!(plain.verdict.severity, Severity::Noise);
    let fin = scene.answer(segment(TcpFlags::FIN | TcpFlags::ACK, 1, 2, 0));
    let record = only(judged(vec![memory], vec![event(0, fin)]));
    assert_eq!(record.verdict.severity, Severity::Noise);
}

#[test]
fn a_translator_is_not_the_peer_of_its_answers() {
    let scene = Scene::new();
    let end = scene.reversed();
    let answer = scene.answer(segment(TcpFlags::ACK, 1, 5000, 50));
    let events = |answer: &Sent| {
        vec![
            event(0, answer.clone()),
            event(10, scene.egress(R, 5000, 0)),
            event_in(HERE + 1, 20, end.ingress(R, 5000, 0, target(&socket(1)))),
            event_in(HERE + 1, 30, end.received(socket(1))),
        ]
    };
    let memory = translated(&scene, Tracked::Nothing);
    let records = judged(vec![memory], events(&answer));
    let received = of(&records, Direction::Received);
    let verdict = &received.verdict;
    assert_eq!(
        (verdict.origin, verdict.cause),
        (Origin::Middlebox, Cause::NotFromPeer)
    );
    assert_eq!(verdict.confidence, Confidence::Certain);
    assert_eq!(
        verdict.advice(),
        of(&records, Direction::Sent).verdict.advice()
    );
    // Its twin: an end that has lost its connection is the peer.
    let records = run(events(&answer));
    let verdict = &of(&records, Direction::Received).verdict;
    assert_eq!(
        (verdict.origin, verdict.cause),
        (Origin::Peer, Cause::ResetByPeer)
    );
}

#[test]
fn a_synack_that_answers_a_syn_to_another_address_is_no_late_one() {
    let scene = Scene::new();
    let answer = scene.answer(segment(SYNACK, 1, 2, 0));
    let attempt = |seconds_ago: u64| {
        let attempt = Attempt {
            to: address("198.51.100.2:80"),
            sent: BootTime(NOW - seconds_ago * SECOND),
            holder: Some(Holder {
                task: task(88, "curl"),
                shares: false,
            }),
        };
        vec![(scene.flow, NetFact::Attempt(attempt))]
    };
    let record = only(judged(attempt(1), vec![event(0, answer.clone())]));
    assert_eq!(record.verdict.cause, Cause::UntranslatedAnswer);
    assert_eq!(record.verdict.severity, Severity::Refused);
    assert_eq!(record.verdict.confidence, Confidence::Certain);
    let process = record.process.as_ref().expect("curl still connects");
    assert_eq!((process.pid, process.role), (88, Role::Owner));
    assert_eq!(
        record.verdict.summary(),
        "the answer to the connect to 198.51.100.2:80 of curl[88] came from 10.0.0.2:40000, untranslated: return traffic bypasses the NAT"
    );
    assert!(record.verdict.advice()[0].ends_with("(rsttrace explain nat-bypassed)"));
    // Its twins: no such SYN, one from long before, a segment that is no SYN-ACK.
    let late = Cause::LateSynack;
    assert_eq!(
        only(run(vec![event(0, answer.clone())])).verdict.cause,
        late
    );
    let old = only(judged(attempt(600), vec![event(0, answer)]));
    assert_eq!((old.verdict.cause, old.process), (late, None));
    let ack = scene.answer(segment(TcpFlags::ACK, 1, 2, 0));
    let other = only(judged(attempt(1), vec![event(0, ack)]));
    assert_eq!(other.verdict.cause, Cause::HalfOpen);
}

#[test]
fn a_rules_reset_says_how_to_enter_its_namespace() {
    let scene = Scene::new();
    let reject = event(0, scene.egress(RA, 0, 701));
    let way = |path: &str, container: Option<&str>| {
        let way = NamespaceWay {
            path: path.into(),
            container_id: container.map(Into::into),
            pod_uid: None,
        };
        vec![(scene.flow, NetFact::Namespace(way))]
    };
    let long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for (facts, place, command) in [
        (
            way("/proc/77/ns/net", Some(long)),
            "on this host in container 0123456789ab rejected",
            "nsenter --net=/proc/77/ns/net nft list ruleset",
        ),
        (
            way("/run/netns/blue", None),
            "on this host in network namespace blue rejected",
            "nsenter --net=/run/netns/blue nft list ruleset",
        ),
        (
            vec![],
            "on this host rejected",
            "find the rule: nft list ruleset",
        ),
    ] {
        let record = only(judged(facts, vec![reject.clone()]));
        let verdict = &record.verdict;
        assert!(verdict.summary().contains(place), "{}", verdict.summary());
        assert!(
            verdict.advice()[0].contains(command),
            "{:?}",
            verdict.advice()
        );
    }
}

/// A reset with this TTL where the handshake had another, and what else the segment looks like.
fn accepted(
    (ttl, usual): (u8, u8),
    (facts, host): (Vec<NetFact>, HostFacts),
    look: impl FnOnce(&mut Packet, &mut Received),
) -> Record {
    let scene = Scene::new();
    let mut packet = scene.ingress(RA, 5000, 9000, target(&socket(1)));
    packet.segment.ttl = ttl;
    packet.segment.window = 500;
    packet.baseline = baseline(usual);
    let mut received = scene.received(socket(1));
    look(&mut packet, &mut received);
    let facts = facts.into_iter().map(|fact| (scene.flow, fact)).collect();
    let events = vec![event(0, packet), event(1, received)];
    only(judged_on(host, facts, events))
}

fn baseline(ttl: u8) -> Option<Baseline> {
    Some(Baseline {
        time: BootTime(NOW - 12_400_000_000),
        ttl,
        source_mac: None,
    })
}

fn gateway() -> NetFact {
    NetFact::Route(Route::Gateway(address("10.0.0.254:0").ip()))
}

#[test]
fn a_reset_of_this_link_is_no_remote_peers() {
    let (peer, foreign) = (Cause::ResetByPeer, Cause::NotFromPeer);
    let cloud = HostFacts {
        environment: Some(Environment::Gcp),
        ..host()
    };
    let on_link = NetFact::Route(Route::OnLink);
    for (name, ttls, facts, host, cause, confidence) in [
        (
            "gateway",
            (64, 63),
            vec![gateway()],
            host(),
            foreign,
            Confidence::Likely,
        ),
        (
            "on link",
            (64, 63),
            vec![on_link],
            host(),
            peer,
            Confidence::Possible,
        ),
        (
            "not asked",
            (64, 63),
            vec![],
            host(),
            peer,
            Confidence::Possible,
        ),
        (
            "cloud",
            (64, 63),
            vec![gateway()],
            cloud.clone(),
            peer,
            Confidence::Possible,
        ),
        (
            "stands in",
            (64, 64),
            vec![gateway()],
            host(),
            peer,
            Confidence::Possible,
        ),
        (
            "stands in, cloud",
            (64, 64),
            vec![gateway()],
            cloud,
            peer,
            Confidence::Likely,
        ),
        (
            "as usual",
            (63, 63),
            vec![gateway()],
            host(),
            peer,
            Confidence::Likely,
        ),
    ] {
        let record = accepted(ttls, (facts, host), |_, _| ());
        assert_eq!(record.verdict.cause, cause, "{name}");
        assert_eq!(record.verdict.confidence, confidence, "{name}");
        let says = record.verdict.summary().contains("a device on this link");
        assert_eq!(says, name == "stands in", "{}", record.verdict.summary());
    }
}

#[test]
fn one_contradiction_of_headers_is_innocent_and_two_are_not() {
    fn no_timestamps(_: &mut Packet, received: &mut Received) {
        received.socket.timestamps = true;
    }
    fn no_df(packet: &mut Packet, _: &mut Received) {
        packet.dont_fragment = Some(false);
        packet.segment.ip_id = Some(4_321);
    }
    fn flags(packet: &mut Packet, _: &mut Received) {
        packet.segment.flags = TcpFlags(RA | TcpFlags::PSH);
    }
    fn old_ack(packet: &mut Packet, received: &mut Received) {
        packet.segment.ack = 8_000;
        if let Some(ownership) = &mut received.ownership {
            ownership.isn = Some((7_999, 1));
        }
    }
    type Look = fn(&mut Packet, &mut Received);
    let (peer, foreign) = (Cause::ResetByPeer, Cause::NotFromPeer);
    let (likely, possible) = (Confidence::Likely, Confidence::Possible);
    let cases: [(&[Look], u8, Cause, Confidence); 9] = [
        (&[], 57, peer, likely),
        (&[no_timestamps], 57, peer, likely),
        (&[no_df], 57, peer, likely),
        (&[flags], 57, peer, likely),
        (&[old_ack], 57, peer, likely),
        (&[no_timestamps, no_df], 57, peer, possible),
        (&[no_timestamps, no_df], 56, foreign, likely),
        (&[no_timestamps, no_df, old_ack], 57, foreign, likely),
        (&[no_df, flags], 57, peer, possible),
    ];
    for (looks, ttl, cause, confidence) in cases {
        let record = accepted((ttl, 57), (vec![], host()), |packet, received| {
            for look in looks {
                look(packet, received);
            }
        });
        let what = (looks.len(), ttl, record.verdict.evidence());
        assert_eq!(record.verdict.cause, cause, "{what:?}");
        assert_eq!(record.verdict.confidence, confidence, "{what:?}");
    }
}

#[test]
fn a_device_is_recognized_by_its_look_unless_that_is_the_peers() {
    let scene = Scene::new();
    let other = Scene {
        flow: Flow {
            remote: address("10.0.0.2:40001"),
            ..scene.flow
        },
    };
    let reset = |scene: &Scene, cookie: u64, at: u64, (ttl, usual): (u8, u8), silent: bool| {
        let mut packet = scene.ingress(R, 5000, 0, target(&socket(cookie)));
        packet.segment.ttl = ttl;
        packet.baseline = baseline(usual);
        let mut received = scene.received(socket(cookie));
        received.socket.since_transmit = silent.then_some(Duration::from_secs(60));
        vec![event(at, packet), event(at + 1, received)]
    };
    // The first has another TTL than its peer and answers nothing; the second's differs little.
    let causes = |first: (u8, u8), second: (u8, u8)| {
        let mut events = reset(&scene, 1, 0, first, true);
        events.extend(reset(&other, 2, 2_000_000, second, false));
        let records = judged(vec![], events);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].verdict.cause, Cause::NotFromPeer);
        assert_eq!(records[1].verdict.cause, Cause::ResetByPeer);
        records[1].verdict.confidence
    };
    assert_eq!(causes((60, 50), (60, 61)), Confidence::Possible);
    assert_eq!(
        causes((60, 50), (62, 61)),
        Confidence::Likely,
        "another look"
    );
    assert_eq!(
        causes((60, 50), (60, 60)),
        Confidence::Likely,
        "the peer's own look"
    );
}
