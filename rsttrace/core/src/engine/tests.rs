//! Order, completeness and timing of outputs for any input.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::engine::fixtures::*;
use crate::event::*;
use crate::record::{Cause, Direction, IncidentRole, Record, Severity};

#[test]
fn a_record_comes_when_its_window_is_over_and_not_before() {
    let mut engine = engine(host());
    let scene = Scene::new();
    engine.handle(event(0, scene.received(socket(1))), HostContext::default());
    let deadline = BootTime(NOW).plus(WINDOW);
    assert_eq!(engine.deadline(), Some(deadline));
    engine.push(Input::Advance(BootTime(deadline.0 - 1)));
    assert!(engine.poll_output().is_none());
    engine.push(Input::Advance(deadline));
    assert_eq!(ready(&mut engine).len(), 1);
    assert_eq!(engine.deadline(), None);
}

#[test]
fn records_come_in_event_order_and_numbers_count_up() {
    let scene = Scene::new();
    let mut events = Vec::new();
    for port in 0..200_u16 {
        let mut scene = scene.clone();
        scene.flow.local.set_port(port);
        let syn = segment(TcpFlags::SYN, u32::from(port) * 7 + 1, 0, 0);
        // Every other one is seen late on the wire first.
        let at = u64::from(port ^ 1) * 10;
        events.push(event(at, scene.answer(syn)));
    }
    let records = run(events);
    assert_eq!(records.len(), 200);
    assert!(records.windows(2).all(|pair| pair[0].time < pair[1].time));
    assert!(
        records
            .windows(2)
            .all(|pair| pair[0].id.number < pair[1].id.number)
    );
}

#[test]
fn a_restart_begins_with_a_higher_number() {
    let mut later = host();
    later.started = BootTime(host().started.0 + SECOND);
    let number = |host| {
        let events = vec![(
            event(0, Scene::new().received(socket(1))),
            HostContext::default(),
        )];
        run_with(host, events)[0].id.number
    };
    // A million numbers a second cannot be given.
    assert!(number(later) >= number(host()) + 1_000_000);
}

#[test]
fn a_flood_flushes_the_oldest_early_and_counts_it() {
    let mut engine = engine(host());
    let scene = Scene::new();
    let sent = scene.answer(segment(TcpFlags::SYN, 1, 0, 0));
    let flood = MAX_PENDING as u64 + 1_000;
    for n in 0..flood {
        let mut event = event(0, sent.clone());
        event.time = BootTime(NOW + n);
        engine.handle(event, HostContext::default());
    }
    assert_eq!(engine.stats().shortfalls.judged_early, 1_000);
    assert_eq!(finish(&mut engine).len() as u64, flood);
}

#[test]
fn connections_that_a_process_closes_at_once_are_one_incident() {
    let closed = |number: u16, microseconds| {
        let mut sent = Scene::new().active(Some("TCP_ABORT_ON_CLOSE"), closing(number.into()));
        sent.flow.remote.set_port(number);
        if let Some(socket) = &mut sent.socket {
            socket.unread = 100;
        }
        if let Some(current) = &mut sent.current {
            current.exiting = true;
        }
        event(microseconds, sent)
    };
    let at_once = (1..=10).map(|number| closed(number, u64::from(number) * 300));
    let records = run(at_once.collect());
    let first = &records[0];
    assert!(
        first
            .verdict
            .summary()
            .ends_with("; one of 10 connections that it closed as it exited, within 2.7 ms"),
        "{}",
        first.verdict.summary()
    );
    let faults = |records: &[Record]| {
        let severities = records.iter().map(|record| record.verdict.severity);
        severities.filter(|it| *it == Severity::Fault).count()
    };
    assert_eq!(faults(&records), 1);
    for record in &records {
        let incident = record.incident.as_ref().expect("every record has one");
        assert_eq!(
            (incident.id, incident.severity),
            (first.id.number, Severity::Fault)
        );
    }
    // One after another they are incidents of their own.
    let in_turn = (1..=10).map(|number| closed(number, u64::from(number) * 6_000));
    assert_eq!(faults(&run(in_turn.collect())), 10);
}

#[test]
fn a_connection_that_died_of_silence_names_its_process() {
    let mut engine = engine(host());
    let failed = Failed {
        flow: Scene::new().flow,
        socket: None,
        ownership: Some(ownership(412, "java", OwnerSource::Connect)),
        error: 110,
        last_state: TcpState::Established,
        tried: None,
        unsent: false,
    };
    let body = Body::Failed(Arc::new(failed));
    engine.handle(event(0, body), HostContext::default());
    let out = finish(&mut engine);
    assert_eq!(out.len(), 1);
    let Some(Output::Failure(record)) = out.first() else {
        unreachable!("a connection that died, not {out:?}");
    };
    assert_eq!(record.error_name.as_deref(), Some("ETIMEDOUT"));
    assert_eq!(
        record.process.as_ref().map(|process| process.pid),
        Some(412)
    );
    assert_eq!(record.age, Some(12.3));
}

#[test]
fn an_age_without_any_traffic_is_named_once() {
    let mut socket = closing(1);
    socket.unread = 1448;
    socket.since_sent = Some(Duration::from_millis(12_299));
    socket.since_received = socket.since_sent;
    let sent = Scene::new().active(Some("TCP_ABORT_ON_CLOSE"), socket);
    let record = only(run_with(
        host(),
        vec![(event(0, sent), HostContext::default())],
    ));
    assert_eq!(
        record.verdict.summary(),
        "nginx[87] closed with 1,448 bytes unread after 12.2 s idle"
    );
}

#[test]
fn the_record_has_the_state_and_settings_the_application_lost() {
    let scene = Scene::new();
    let mut socket = closing(1);
    socket.unread = 1448;
    let facts = HostContext {
        settings: Some(Arc::new(NetSettings {
            keepalive: Some(KeepaliveDefaults {
                time: Duration::from_secs(7200),
                interval: Duration::from_secs(75),
                probes: 9,
            }),
            ..NetSettings::default()
        })),
        ..HostContext::default()
    };
    let sent = scene.active(Some("TCP_ABORT_ON_CLOSE"), socket);
    let record = only(run_with(host(), vec![(event(0, sent), facts)]));
    assert_eq!(
        record.verdict.summary(),
        "nginx[87] closed with 1,448 bytes unread after 12.3 s, idle for 2.0 s"
    );
    let socket = record.socket.expect("socket");
    assert_eq!(socket.state, "ESTABLISHED");
    assert_eq!(socket.age, Some(12.3));
    assert_eq!(socket.unread, Some(1448));
    assert_eq!(socket.keepalive.time, Some(7200.0));
    assert_eq!(
        record.kernel.and_then(|kernel| kernel.state).as_deref(),
        Some("CLOSE")
    );
    let packet = record.packet.expect("determined");
    assert_eq!((packet.seq, packet.ack), (Some(9000), Some(5000)));
    assert_eq!(packet.flags.as_deref(), Some("R."));
    assert_eq!(packet.ttl, None);
}

/// An accepted reset that no classifier saw, with the segment tcp_reset() was called for.
fn told(fill: impl FnOnce(&mut Socket, &mut Segment)) -> (Event, HostContext) {
    let mut socket = socket(1);
    let mut segment = Segment {
        window: 0,
        ttl: 57,
        ..segment(TcpFlags::RST, 5000, 0, 0)
    };
    fill(&mut socket, &mut segment);
    let facts = HostContext {
        interface: Some("eth2".into()),
        ..HostContext::default()
    };
    let received = Scene::new().received_with(socket, segment);
    (event(0, received), facts)
}

#[test]
fn without_a_classifier_the_packet_is_what_the_kernel_was_called_for() {
    let record = only(run_with(host(), vec![told(|_, _| {})]));
    let packet = record.packet.expect("told");
    assert_eq!((packet.ttl, packet.hops), (Some(57), Some(7)));
    assert_eq!((packet.seq, packet.ack), (Some(5000), None));
    assert_eq!((packet.window, packet.ip_id), (Some(0), Some(1)));
    assert_eq!(packet.flags.as_deref(), Some("R"));
    assert_eq!(packet.form, Some(crate::record::Form::Passive));
    assert_eq!(
        (packet.expected_ttl, packet.timestamps, packet.mac),
        (None, None, None)
    );
    assert_eq!(record.interface.as_deref(), Some("eth2"));
    assert_eq!(
        record.kernel.expect("kernel").hook,
        ["tcp:tcp_receive_reset", "function:tcp_reset"]
    );
    // Devices are watched, and none saw it.
    let evidence = &record.verdict.evidence();
    assert!(
        evidence
            .iter()
            .any(|it| it.kind.name() == "not_seen_on_wire")
    );
    // Without the hook nothing is known of the packet.
    let received = Scene::new().received(socket(1));
    let record = only(run(vec![event(0, received)]));
    assert_eq!((record.packet, record.interface), (None, None));
    assert_eq!(
        record.kernel.expect("kernel").hook,
        ["tcp:tcp_receive_reset"]
    );
}

#[test]
fn the_form_says_so_too_where_options_cannot_decide_it() {
    use crate::record::Form;
    const RA: u8 = TcpFlags::RST | TcpFlags::ACK;
    // (flags, seq, window, timestamps agreed on, form)
    for (flags, seq, window, timestamps, form) in [
        (RA, 5000, 501, true, Some(Form::Active)),
        (RA, 5000, 0, false, Some(Form::Passive)),
        (RA, 5000, 0, true, None),
        (RA, 0, 0, true, Some(Form::Passive)),
        (TcpFlags::RST, 5000, 0, true, Some(Form::Passive)),
    ] {
        let event = told(|socket, segment| {
            socket.timestamps = timestamps;
            (segment.flags, segment.seq, segment.window) = (TcpFlags(flags), seq, window);
        });
        let record = only(run_with(host(), vec![event]));
        assert_eq!(
            record.packet.and_then(|packet| packet.form),
            form,
            "{flags:#x} {seq} {window} {timestamps}"
        );
        // What its options were is not known.
        let signs = ["timestamps", "ip_id", "source_mac"];
        let evidence = &record.verdict.evidence();
        assert!(evidence.iter().all(|it| !signs.contains(&it.kind.name())));
    }
}

#[test]
fn what_a_classifier_saw_of_a_segment_goes_before_what_the_kernel_told() {
    let scene = Scene::new();
    let mut packet = scene.ingress(TcpFlags::RST, 5000, 0, target(&socket(1)));
    packet.segment.ttl = 57;
    packet.baseline = Some(Baseline {
        time: BootTime(NOW - 12_300 * MS),
        ttl: 57,
        source_mac: None,
    });
    let seen = HostContext {
        interface: Some("br0".into()),
        ..HostContext::default()
    };
    let records = run_with(host(), vec![(event(0, packet), seen), told(|_, _| {})]);
    let record = only(records);
    let packet = record.packet.expect("seen");
    assert_eq!((packet.expected_ttl, packet.ttl), (Some(57), Some(57)));
    assert!(packet.mac.is_some());
    assert_eq!(record.interface.as_deref(), Some("br0"));
    assert_eq!(
        record.kernel.expect("kernel").hook,
        ["tcp:tcp_receive_reset", "function:tcp_reset", "tc:ingress"]
    );
}

#[test]
fn a_told_ttl_is_held_against_the_peers_other_connections() {
    // Another connection of the peer was reset a second earlier; its handshake had been seen.
    let mut other = Scene::new();
    other.flow.local.set_port(9090);
    let mut packet = other.ingress(TcpFlags::RST, 5000, 0, target(&socket(2)));
    packet.baseline = Some(Baseline {
        time: BootTime(NOW - 12_300 * MS),
        ttl: 57,
        source_mac: None,
    });
    for (ttl, sure) in [(57, true), (64, false)] {
        let mut earlier = event(0, packet.clone());
        earlier.time = BootTime(NOW - SECOND);
        let events = vec![
            (earlier, HostContext::default()),
            told(|_, segment| segment.ttl = ttl),
        ];
        let records = run_with(host(), events);
        let verdict = &of(&records, Direction::Received).verdict;
        assert!(verdict.evidence().iter().any(|it| it.kind.name() == "ttl"));
        assert_eq!(
            verdict.confidence == crate::record::Confidence::Likely,
            sure,
            "{verdict:?}"
        );
    }
}

#[test]
fn a_peer_that_sends_on_after_late_data_is_not_suspected() {
    let scene = Scene::new();
    for (flags, suspected) in [(TcpFlags::ACK, false), (TcpFlags::RST, true)] {
        let mut orphan = socket(1);
        orphan.state = TcpState::FinWait2;
        orphan.orphaned = true;
        let late = segment(flags, 5000, 9000, 100);
        let mut former = tombstone(412, "java", TcpState::FinWait2);
        former.died = BootTime(NOW);
        former.error = 104;
        let mut again = scene.answer(segment(TcpFlags::ACK, 5100, 9000, 100));
        again.former_connection = Some(Box::new(former));
        let records = run(vec![
            event(0, scene.received_with(orphan, late)),
            event(500_000, again),
        ]);
        let sent = of(&records, Direction::Sent);
        let evidence = &sent.verdict.evidence();
        assert_eq!(
            evidence.iter().any(|it| it.kind.name() == "peer_talks_on"),
            suspected
        );
    }
}

/// Bodies over few addresses, numbers and sockets, so that much of it meets.
fn body() -> impl Strategy<Value = Body> {
    let scene = || {
        (0..3_u8, any::<bool>()).prop_map(|(end, reverse)| {
            let mut scene = Scene::new();
            scene.flow.local = address(&format!("10.0.0.{end}:80"));
            if reverse { scene.reversed() } else { scene }
        })
    };
    let state = prop_oneof![
        Just(TcpState::Established),
        Just(TcpState::SynSent),
        Just(TcpState::Close),
        Just(TcpState::FinWait2),
        Just(TcpState::LastAck),
        Just(TcpState::Listen),
    ];
    let number = || prop_oneof![Just(0_u32), Just(5000), Just(9000), Just(u32::MAX)];
    let any_socket = (1..4_u64, state, any::<[bool; 6]>(), number(), number()).prop_map(
        |(cookie, state, flags, rcv_nxt, snd_nxt)| Socket {
            state,
            owned: flags[0],
            has_file: flags[1],
            orphaned: flags[2],
            send_shutdown: flags[3],
            receive_shutdown: flags[4],
            linger: flags[5].then_some(Duration::ZERO),
            rcv_nxt,
            snd_nxt,
            ..socket(cookie - 1)
        },
    );
    let any_socket = any_socket.boxed();
    let reason = prop_oneof![
        Just(None),
        Just(Some("TCP_STATE".to_owned())),
        Just(Some("NO_SOCKET".to_owned())),
        Just(Some("TCP_ABORT_ON_DATA".to_owned())),
        Just(Some("#99".to_owned())),
    ];
    let cause = (any::<u8>(), number(), number(), any::<u32>())
        .prop_map(|(flags, seq, ack, payload)| segment(flags, seq, ack, payload));
    let cause = cause.boxed();
    let sent = (
        scene(),
        reason,
        proptest::option::of(cause.clone()),
        proptest::option::of(any_socket.clone()),
        any::<bool>(),
    )
        .prop_map(|(scene, reason, cause, socket, passive)| {
            let mut sent = scene.answer(segment(0, 0, 0, 0));
            sent.reason = reason.as_deref().map(Into::into);
            sent.cause = cause;
            sent.socket = socket;
            sent.passive = passive;
            Body::from(sent)
        });
    let received = (scene(), any_socket.clone(), proptest::option::of(cause)).prop_map(
        |(scene, socket, segment)| {
            Body::from(Received {
                segment,
                ..scene.received(socket)
            })
        },
    );
    let packet = (
        scene(),
        any::<u8>(),
        number(),
        number(),
        any_socket,
        any::<[bool; 4]>(),
        0..3_u32,
    )
        .prop_map(|(scene, flags, seq, ack, socket, bits, ifindex)| {
            let mut packet = if bits[0] {
                scene.egress(flags, seq, ack)
            } else {
                scene.ingress(flags, seq, ack, target(&socket))
            };
            packet.loopback = bits[1];
            packet.ifindex = ifindex;
            packet.ingress_ifindex = bits[2].then_some(1);
            if bits[3] && packet.egress {
                packet.sender_socket = SenderSocket::Some(socket.cookie);
            }
            Body::from(packet)
        });
    prop_oneof![sent, received, packet]
}

fn sent_events(record: &Record) -> bool {
    record.direction == Direction::Sent
        && record
            .kernel
            .as_ref()
            .is_some_and(|kernel| kernel.hook.iter().any(|hook| hook.ends_with("_send_reset")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_sequence_of_events_is_explained_in_time(
        steps in proptest::collection::vec((0..20_000_u64, 0..3_u64, body()), 0..60)
    ) {
        let mut engine = engine(host());
        let mut out = Vec::new();
        let mut micros = 0;
        let mut sent = 0;
        for (step, netns, body) in steps {
            micros += step;
            sent += usize::from(matches!(body, Body::Sent(_)));
            let event = event_in(netns, micros, body);
            let now = event.time;
            engine.handle(event, HostContext::default());
            engine.push(Input::Advance(now));
            out.extend(ready(&mut engine));
            prop_assert!(engine.deadline().is_none_or(|deadline| deadline > now));
            prop_assert!(engine.deadline().is_none_or(|deadline| deadline <= now.plus(WINDOW)));
        }
        out.extend(finish(&mut engine));
        prop_assert_eq!(engine.deadline(), None);
        let records = resets(out);
        prop_assert_eq!(records.iter().filter(|record| sent_events(record)).count(), sent);
        for pair in records.windows(2) {
            prop_assert!(pair[0].time <= pair[1].time);
            prop_assert!(pair[0].id.number < pair[1].id.number);
        }
        for record in &records {
            let json = serde_json::to_string(record).expect("serializes");
            let back: Record = serde_json::from_str(&json).expect("parses");
            prop_assert_eq!(record, &back);
            if let Some(link) = &record.link {
                prop_assert!(records.iter().any(|first| first.id.number == link.id));
            }
        }
    }
}

#[test]
fn after_a_rest_it_goes_on_as_before_and_what_waits_is_kept() {
    let mut engine = engine(host());
    let (mut out, scene) = (Vec::new(), Scene::new());
    for round in 0..3 {
        let accepted = event(round * 1_000 * MS, scene.received(socket(1)));
        engine.handle(accepted, HostContext::default());
        engine.push(Input::Rest);
        out.extend(finish(&mut engine));
        engine.push(Input::Rest);
        assert!(engine.join.index_is_empty() && engine.deadline().is_none());
    }
    assert_eq!(out.len(), 3);
}

#[test]
fn resets_that_pass_the_interface_in_one_burst_are_one_incident() {
    let scene = Scene::new();
    let lost = socket(1);
    let mut events: Vec<Event> = (0..4)
        .map(|n| {
            let flags = if n == 0 {
                TcpFlags::RST | TcpFlags::ACK
            } else {
                TcpFlags::RST
            };
            let ack = if n == 0 { 9000 } else { 0 };
            event(n, scene.ingress(flags, lost.rcv_nxt, ack, target(&lost)))
        })
        .collect();
    events.push(event(120, scene.received(lost.clone())));
    let records = run(events);
    let roles: Vec<_> = records
        .iter()
        .map(|record| {
            let incident = record.incident.as_ref().expect("every record has one");
            let verdict = &record.verdict;
            (incident.role.name(), verdict.cause, verdict.severity)
        })
        .collect();
    let consequence = ("consequence", Cause::ResetByPeer, Severity::Noise);
    let first = ("first", Cause::ResetByPeer, Severity::Fault);
    assert_eq!(roles, [first, consequence, consequence, consequence]);
    let further = records[0].incident.as_ref().and_then(|it| it.further);
    assert_eq!(further, Some(3));
}

#[test]
fn an_answer_that_overtakes_the_reset_of_a_close_is_its_consequence() {
    // The kernel marks the socket as closed, answers a segment that comes in, and then sends the reset of the close.
    let scene = Scene::new();
    let answered = |died: u64| {
        let data = segment(TcpFlags::ACK | TcpFlags::PSH, 5000, 9000, 1_448);
        let mut answer = scene.answer(data);
        let mut former = tombstone(87, "nginx", TcpState::Established);
        former.died = BootTime(died);
        former.ownership.closer = Some(closer(87, "nginx"));
        answer.former_connection = Some(Box::new(former));
        let close = scene.active(Some("TCP_ABORT_ON_CLOSE"), closing(1));
        let records = run(vec![event(0, answer), event(12, close)]);
        let role = |record: &Record| {
            let incident = record.incident.as_ref().expect("placed");
            (record.verdict.cause, incident.role)
        };
        records.iter().map(role).collect::<Vec<_>>()
    };
    let (first, consequence) = (IncidentRole::First, IncidentRole::Consequence);
    assert_eq!(
        answered(NOW - 8_000),
        [
            (Cause::CloseWithUnreadData, first),
            (Cause::HalfOpen, consequence)
        ]
    );
    // The connection was gone for long.
    let late = answered(NOW - 8 * MS);
    assert_eq!(late[0], (Cause::HalfOpen, first));
}

#[test]
fn an_answer_that_overtakes_the_reset_of_a_check_harms_nobody() {
    // The server had sent its answer and its FIN; the checker's own reset acknowledges them and comes 13 µs later.
    let judged = |acknowledged: u32, micros: u64| {
        let scene = Scene::new();
        let mut received = scene.received(Socket {
            state: TcpState::FinWait1,
            unacknowledged: 148,
            snd_una: 5_001,
            snd_nxt: 5_150,
            since_sent: Some(Duration::ZERO),
            since_received: Some(Duration::ZERO),
            ..socket(1)
        });
        received.ownership = Some(ownership(87, "nginx", OwnerSource::Accept));
        let answer = scene.ingress(TcpFlags::RST, 9_000, 0, Target::None);
        let mut close = scene.ingress(
            TcpFlags::RST | TcpFlags::ACK,
            9_000,
            acknowledged,
            Target::None,
        );
        (close.segment.window, close.has_options) = (63, true);
        let mut arrived = answer.clone();
        arrived.target = Target::Socket {
            cookie: Some(SocketCookie(1)),
            state: TcpState::FinWait1,
            rcv_nxt: 9_000,
            rcv_wnd: 65_535,
            snd_una: 5_001,
            snd_nxt: 5_150,
        };
        let events = vec![
            event(0, arrived),
            event(1, received),
            event(1 + micros, close),
        ];
        let records = run(events);
        of(&records, Direction::Received).impact()
    };
    assert_eq!(judged(5_149, 13), Severity::Noise);
    // It had not received all of it, or it is another matter.
    assert_eq!(judged(5_100, 13), Severity::Fault);
    assert_eq!(judged(5_149, 100_000), Severity::Fault);
}

#[test]
fn a_reset_that_meets_the_close_of_its_receiver_costs_nothing() {
    let judged = |closed: u64| {
        let scene = Scene::new();
        let lost = socket(1);
        let arrived = scene.ingress(TcpFlags::RST, lost.rcv_nxt, 0, target(&lost));
        let mut close = scene.active(Some("TCP_STATE"), closing(1));
        if let Some(ownership) = &mut close.ownership {
            ownership.closer = Some(Closer {
                time: Some(BootTime(closed)),
                ..closer(87, "nginx")
            });
        }
        let at = (closed - NOW) / 1_000;
        let mut arrived = event(0, arrived);
        arrived.time = BootTime(NOW + SECOND);
        let records = run(vec![arrived, event(at, close)]);
        of(&records, Direction::Observed).verdict.severity
    };
    assert_eq!(judged(NOW + SECOND), Severity::Noise);
    assert_eq!(judged(NOW + 2 * SECOND), Severity::Fault);
}

#[test]
fn a_refused_connect_that_costs_a_client_its_connection_is_one_fault() {
    // A relay's connect is refused; it closes its clients with their requests unread.
    let judged = |clients: u16, severity: Severity| {
        let mut connect = Scene::new();
        connect.flow = Flow {
            local: address("10.0.1.1:50000"),
            remote: address("10.0.1.2:81"),
        };
        let mut refused = connect.received(Socket {
            state: TcpState::SynSent,
            bytes_received: 0,
            bytes_sent: 0,
            ..socket(1)
        });
        refused.ownership = Some(ownership(87, "nginx", OwnerSource::Connect));
        let mut events = vec![event(0, refused)];
        for client in 0..clients {
            let mut scene = Scene::new();
            scene.flow.remote.set_port(40_000 + client);
            let unread = Socket {
                unread: 90,
                ..closing(2 + u64::from(client))
            };
            let mut close = scene.active(Some("TCP_ABORT_ON_CLOSE"), unread);
            // The connect was made when it had just been accepted.
            if let Some(ownership) = &mut close.ownership {
                ownership.established = Some(BootTime(NOW - 20 * MS));
            }
            events.push(event(900, close));
        }
        let records = run(events);
        assert_eq!(records[0].verdict.cause, Cause::ConnectionRefused);
        assert_eq!(records[0].impact(), severity, "{clients}");
        let says_so =
            "nginx[87] reset its connection with 10.0.0.2:40000 because of it, 0.9 ms later";
        let says_so_too = records[0].verdict.summary().ends_with(says_so);
        assert_eq!(says_so_too, severity == Severity::Fault);
        records
            .iter()
            .map(|record| {
                let incident = record.incident.as_ref().expect("placed");
                (incident.role, record.verdict.severity)
            })
            .collect::<Vec<_>>()
    };
    let first = |severity| (IncidentRole::First, severity);
    let leg = (IncidentRole::Leg, Severity::Noise);
    assert_eq!(judged(1, Severity::Fault), [first(Severity::Fault), leg]);
    assert_eq!(judged(0, Severity::Refused), [first(Severity::Refused)]);
    // Which of two clients the connect was for is not known.
    let two = judged(2, Severity::Refused);
    let [refused, fault] = [Severity::Refused, Severity::Fault].map(first);
    assert_eq!(two, [refused, fault, fault]);
}
