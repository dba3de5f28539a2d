//! Observations find their reset, in any order.

use std::sync::Arc;

use crate::engine::fixtures::*;
use crate::event::*;
use crate::record::{Cause, Direction, LinkRole, Origin};

const R: u8 = TcpFlags::RST;
const RA: u8 = TcpFlags::RST | TcpFlags::ACK;

/// Every order of these events gives records that `check` accepts.
fn in_any_order(events: &[Event], check: impl Fn(&[crate::record::Record])) {
    let mut orders = vec![vec![]];
    for event in events {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<Event>| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, event.clone());
                    order
                })
            })
            .collect();
    }
    for order in orders {
        check(&run(order));
    }
}

fn active_packet(scene: &Scene, seq: u32, sender: SenderSocket) -> Packet {
    let mut packet = scene.egress(RA, seq, 5000);
    packet.segment.window = 501;
    packet.sender_socket = sender;
    packet
}

fn linger_zero() -> Socket {
    Socket {
        linger: Some(std::time::Duration::ZERO),
        ..closing(1)
    }
}

#[test]
fn an_active_reset_and_its_segment_are_one_record_in_either_order() {
    let scene = Scene::new();
    in_any_order(
        &[
            event(0, active_packet(&scene, 9000, SenderSocket::None)),
            event(10, scene.active(Some("TCP_STATE"), linger_zero())),
        ],
        |records| {
            let record = of(records, Direction::Sent);
            assert_eq!(records.len(), 1);
            let kernel = record.kernel.as_ref().expect("kernel");
            assert_eq!(kernel.hook, ["tcp:tcp_send_reset", "tc:egress"]);
            assert_eq!(
                record.packet.as_ref().and_then(|packet| packet.window),
                Some(501)
            );
        },
    );
}

#[test]
fn a_full_window_changes_the_number_but_not_the_socket() {
    let scene = Scene::new();
    let mut socket = linger_zero();
    socket.snd_una = 8000;
    in_any_order(
        &[
            event(
                0,
                active_packet(&scene, 8500, SenderSocket::Some(SocketCookie(1))),
            ),
            event(10, scene.active(Some("TCP_STATE"), socket)),
        ],
        |records| assert_eq!(records.len(), 1, "{records:#?}"),
    );
}

#[test]
fn an_answer_and_its_segment_are_one_record_in_either_order() {
    let scene = Scene::new();
    in_any_order(
        &[
            event(0, scene.answer(segment(TcpFlags::SYN, 700, 0, 0))),
            event(5, scene.egress(RA, 0, 701)),
        ],
        |records| assert_eq!(records.len(), 1),
    );
}

#[test]
fn translated_source_addresses_are_joined_by_socket_or_numbers() {
    let scene = Scene::new();
    for sender in [SenderSocket::None, SenderSocket::Some(SocketCookie(1))] {
        let mut packet = active_packet(&scene, 9000, sender);
        packet.source = address("203.0.113.1:61000");
        in_any_order(
            &[
                event(0, packet),
                event(10, scene.active(Some("TCP_STATE"), linger_zero())),
            ],
            |records| assert_eq!(records.len(), 1, "{records:#?}"),
        );
    }
}

#[test]
fn numbers_shared_by_two_resets_join_neither() {
    let scene = Scene::new();
    let mut other = scene.clone();
    other.flow.local = address("10.0.0.1:8081");
    let syn = segment(TcpFlags::SYN, 700, 0, 0);
    let mut translated = scene.egress(RA, 0, 701);
    translated.source = address("203.0.113.1:80");
    let records = run(vec![
        event(0, scene.answer(syn)),
        event(1, other.answer(syn)),
        event(2, translated),
    ]);
    assert_eq!(records.len(), 3, "{records:#?}");
}

#[test]
fn a_received_reset_takes_the_segment_that_could_have_been_accepted() {
    let scene = Scene::new();
    let socket = socket(1);
    let blind = scene.ingress(R, 5100, 0, target(&socket));
    let mut exact = scene.ingress(R, 5000, 0, target(&socket));
    exact.segment.ttl = 57;
    in_any_order(
        &[
            event(0, blind),
            event(5, exact),
            event(9, scene.received(socket.clone())),
        ],
        |records| {
            assert_eq!(records.len(), 2, "{records:#?}");
            let received = of(records, Direction::Received);
            assert_eq!(
                received.packet.as_ref().and_then(|packet| packet.ttl),
                Some(57)
            );
            assert_eq!(
                of(records, Direction::Observed).verdict.cause,
                Cause::BlindAttempt
            );
        },
    );
}

#[test]
fn a_received_reset_finds_its_segment_behind_nat() {
    let scene = Scene::new();
    let mut packet = scene.ingress(RA, 5000, 9000, Target::None);
    packet.destination = address("198.51.100.9:80");
    in_any_order(
        &[event(0, packet), event(5, scene.received(socket(1)))],
        |records| {
            assert_eq!(records.len(), 1, "{records:#?}");
            assert_eq!(records[0].direction, Direction::Received);
        },
    );
}

#[test]
fn loopback_gives_each_end_its_record() {
    let scene = Scene::new();
    let mut leaving = active_packet(&scene, 9000, SenderSocket::Some(SocketCookie(1)));
    leaving.loopback = true;
    let mut peer = socket(2);
    peer.rcv_nxt = 9000;
    peer.snd_nxt = 5000;
    let arriving = Packet {
        egress: false,
        sender_socket: SenderSocket::None,
        target: target(&peer),
        ..leaving.clone()
    };
    in_any_order(
        &[
            event(0, leaving),
            event(1, arriving),
            event(2, scene.reversed().received(peer)),
            event(3, scene.active(Some("TCP_STATE"), linger_zero())),
        ],
        |records| {
            assert_eq!(records.len(), 2, "{records:#?}");
            let (sent, received) = (
                of(records, Direction::Sent),
                of(records, Direction::Received),
            );
            let link = |record: &crate::record::Record| record.link.clone().expect("linked");
            assert_eq!(link(sent).id, link(received).id);
            assert_eq!(link(sent).role, LinkRole::Sender);
            assert_eq!(link(received).role, LinkRole::Receiver);
            assert_eq!(received.verdict.cause, Cause::ResetByPeer);
            let local = received
                .verdict
                .evidence()
                .iter()
                .find(|evidence| evidence.kind.name() == "local_sender")
                .expect("evidence");
            assert!(local.detail.contains("nginx[87]"), "{}", local.detail);
        },
    );
}

#[test]
fn what_a_firewall_of_this_host_wrote_is_not_the_peers() {
    let scene = Scene::new();
    let peer = socket(2);
    // The form of an answer, without a socket and without an event of the sending stack: a packet filter.
    let mut leaving = scene.egress(TcpFlags::RST, peer.rcv_nxt, 0);
    leaving.loopback = true;
    leaving.sender_socket = SenderSocket::None;
    leaving.segment.window = 0;
    leaving.has_options = false;
    leaving.timestamps = None;
    let arriving = Packet {
        egress: false,
        target: target(&peer),
        ..leaving.clone()
    };
    in_any_order(
        &[
            event(0, leaving),
            event(1, arriving),
            event(2, scene.reversed().received(peer)),
        ],
        |records| {
            let (sent, received) = (
                of(records, Direction::Sent),
                of(records, Direction::Received),
            );
            assert_eq!(sent.verdict.cause, Cause::FirewallReject);
            assert_eq!(received.verdict.cause, Cause::FirewallReject);
            assert_eq!(received.verdict.origin, Origin::LocalFirewall);
        },
    );
}

#[test]
fn a_reset_to_nobody_over_loopback_is_sent_and_observed() {
    let scene = Scene::new();
    let mut leaving = scene.egress(RA, 0, 701);
    leaving.loopback = true;
    let arriving = Packet {
        egress: false,
        target: Target::None,
        ..leaving.clone()
    };
    let records = run(vec![
        event(0, scene.answer(segment(TcpFlags::SYN, 700, 0, 0))),
        event(1, leaving),
        event(2, arriving),
    ]);
    assert_eq!(records.len(), 2);
    assert_eq!(
        of(&records, Direction::Observed).link,
        of(&records, Direction::Sent)
            .link
            .clone()
            .map(|link| crate::record::Link {
                role: LinkRole::Receiver,
                ..link
            })
    );
}

#[test]
fn a_router_namespace_between_two_pods_is_a_link_of_the_chain() {
    const POD_A: u64 = 11;
    const ROUTER: u64 = 12;
    const POD_B: u64 = 13;
    let scene = Scene::new();
    let leaving = active_packet(&scene, 9000, SenderSocket::Some(SocketCookie(1)));
    let mut peer = socket(2);
    peer.rcv_nxt = 9000;
    let passing = |ifindex, egress| Packet {
        egress,
        ifindex,
        ingress_ifindex: egress.then_some(5),
        sender_socket: SenderSocket::None,
        target: if egress {
            Target::NotLookedUp
        } else {
            Target::None
        },
        ..leaving.clone()
    };
    let arriving = Packet {
        target: target(&peer),
        ..passing(2, false)
    };
    let events = [
        event_in(POD_A, 0, leaving.clone()),
        event_in(ROUTER, 1, passing(5, false)),
        event_in(ROUTER, 2, passing(6, true)),
        event_in(POD_B, 3, arriving),
        event_in(POD_B, 4, scene.reversed().received(peer.clone())),
        event_in(POD_A, 9, scene.active(Some("TCP_STATE"), linger_zero())),
    ];
    let records = run(events.to_vec());
    assert_eq!(records.len(), 3, "{records:#?}");
    let forwarded = of(&records, Direction::Forwarded);
    assert_eq!(forwarded.verdict.severity, crate::record::Severity::Noise);
    assert!(
        forwarded.verdict.summary().contains("nginx[87]"),
        "{}",
        forwarded.verdict.summary()
    );
    let first = records[0].id.number;
    assert!(
        records
            .iter()
            .all(|record| record.link.as_ref().is_some_and(|link| link.id == first))
    );
    assert_eq!(
        of(&records, Direction::Received).verdict.cause,
        Cause::ResetByPeer
    );
}

/// What comes for a connection that its application has closed.
fn late_data() -> Segment {
    segment(TcpFlags::ACK | TcpFlags::PSH, 5000, 9000, 100)
}

/// Such a connection, and the kernel's answer to that data.
fn orphan_and_late_answer(scene: &Scene, data: Segment) -> (Socket, Sent) {
    let mut orphan = socket(1);
    orphan.state = TcpState::FinWait2;
    orphan.orphaned = true;
    let mut late = scene.answer(data);
    late.reason = Some("TCP_ABORT_ON_DATA".into());
    late.socket = Some(Socket {
        state: TcpState::Close,
        ..orphan.clone()
    });
    (orphan, late)
}

#[test]
fn the_kernels_tidying_up_after_late_data_is_not_a_received_reset() {
    let scene = Scene::new();
    let (orphan, late) = orphan_and_late_answer(&scene, late_data());
    in_any_order(
        &[
            event(0, scene.received(orphan.clone())),
            event(3, late.clone()),
            event(4, scene.egress(R, 9000, 0)),
        ],
        |records| {
            assert_eq!(records.len(), 1, "{records:#?}");
            assert_eq!(records[0].verdict.cause, Cause::DataAfterClose);
        },
    );
    // Its twin: a reset really came.
    let records = run(vec![
        event(0, scene.ingress(R, 5000, 0, target(&orphan))),
        event(1, scene.received(orphan)),
        event(3, late),
    ]);
    assert_eq!(records.len(), 2, "{records:#?}");
}

#[test]
fn a_segment_that_is_no_reset_tells_the_tidying_up_by_itself() {
    let scene = Scene::new();
    let data = late_data();
    let (orphan, late) = orphan_and_late_answer(&scene, data);
    let received = scene.received_with(orphan.clone(), data);
    // However late the answer; a reset on the wire with the number the socket would have taken is another one.
    for apart in [3, 40_000] {
        in_any_order(
            &[
                event(0, received.clone()),
                event(1, scene.ingress(R, 5000, 0, Target::None)),
                event(apart, late.clone()),
                event(apart + 1, scene.egress(R, 9000, 0)),
            ],
            |records| {
                assert_eq!(records.len(), 2, "{records:#?}");
                let sent = of(records, Direction::Sent);
                assert_eq!(sent.verdict.cause, Cause::DataAfterClose);
                of(records, Direction::Observed);
            },
        );
    }
    // Even if the answer was not seen.
    assert_eq!(run(vec![event(0, received)]), Vec::new());
}

#[test]
fn a_segment_that_is_a_reset_is_no_tidying_up_whatever_was_sent_beside_it() {
    let scene = Scene::new();
    let (orphan, late) = orphan_and_late_answer(&scene, late_data());
    let accepted = scene.received_with(orphan, segment(R, 5000, 0, 0));
    in_any_order(&[event(0, accepted), event(3, late)], |records| {
        assert_eq!(records.len(), 2, "{records:#?}");
        let received = of(records, Direction::Received);
        assert_eq!(received.verdict.cause, Cause::ResetByPeer);
    });
}

#[test]
fn a_known_segment_finds_its_own_sighting_among_several() {
    let scene = Scene::new();
    let socket = socket(1);
    // Both are in the window; the first one, at the edge of selectively acknowledged data, was accepted.
    let mut edge = scene.ingress(R, 5100, 0, target(&socket));
    edge.segment.ttl = 57;
    let next = scene.ingress(R, 5000, 0, target(&socket));
    in_any_order(
        &[
            event(0, edge),
            event(5, next),
            event(9, scene.received_with(socket, segment(R, 5100, 0, 0))),
        ],
        |records| {
            assert_eq!(records.len(), 2, "{records:#?}");
            let received = of(records, Direction::Received);
            let packet = received.packet.as_ref().expect("seen");
            assert_eq!((packet.seq, packet.ttl), (Some(5100), Some(57)));
            let observed = of(records, Direction::Observed);
            assert_eq!(
                observed.packet.as_ref().and_then(|packet| packet.seq),
                Some(5000)
            );
        },
    );
}

#[test]
fn an_acknowledgement_tells_two_resets_with_one_number_apart() {
    let scene = Scene::new();
    let socket = socket(1);
    let plain = scene.ingress(R, 5000, 0, target(&socket));
    let mut acknowledging = scene.ingress(RA, 5000, 9000, target(&socket));
    acknowledging.segment.ttl = 57;
    in_any_order(
        &[
            event(0, plain),
            event(5, acknowledging),
            event(9, scene.received_with(socket, segment(RA, 5000, 9000, 0))),
        ],
        |records| {
            let received = of(records, Direction::Received);
            let packet = received.packet.as_ref().expect("seen");
            assert_eq!((packet.ack, packet.ttl), (Some(9000), Some(57)));
        },
    );
}

#[test]
fn a_known_segment_is_found_behind_nat_by_its_number_and_by_no_other() {
    let scene = Scene::new();
    for (seq, records_made) in [(5000, 1), (5001, 2)] {
        let mut packet = scene.ingress(RA, seq, 9000, Target::None);
        packet.destination = address("198.51.100.9:80");
        let accepted = scene.received_with(socket(1), segment(RA, 5000, 9000, 0));
        in_any_order(&[event(0, packet), event(5, accepted)], |records| {
            assert_eq!(records.len(), records_made, "{records:#?}");
            of(records, Direction::Received);
        });
    }
}

#[test]
fn a_known_segment_finds_the_end_of_this_host_that_sent_it() {
    let scene = Scene::new();
    let mut peer = socket(2);
    (peer.rcv_nxt, peer.snd_nxt, peer.snd_una) = (9000, 5000, 5000);
    // Its twin came from somewhere else: its number is not one that socket could send.
    for (seq, linked) in [(9000, true), (9400, false)] {
        let accepted = scene
            .reversed()
            .received_with(peer.clone(), segment(RA, seq, 5000, 0));
        in_any_order(
            &[
                event(0, scene.active(Some("TCP_STATE"), linger_zero())),
                event(2, accepted),
            ],
            |records| {
                assert_eq!(records.len(), 2, "{records:#?}");
                let received = of(records, Direction::Received);
                assert_eq!(received.link.is_some(), linked);
            },
        );
    }
}

#[test]
fn the_same_reset_again_is_another_one() {
    let scene = Scene::new();
    let answer = scene.answer(segment(TcpFlags::SYN, 700, 0, 0));
    let packet = scene.egress(RA, 0, 701);
    for apart in [50_000, 1_000_000] {
        let records = run(vec![
            event(0, answer.clone()),
            event(1, packet.clone()),
            event(apart, answer.clone()),
            event(apart + 1, packet.clone()),
        ]);
        assert_eq!(records.len(), 2, "{apart} µs apart");
        assert!(records.iter().all(|record| {
            record
                .kernel
                .as_ref()
                .is_some_and(|kernel| kernel.hook.len() == 2)
        }));
    }
}

#[test]
fn bridge_ports_of_one_namespace_add_no_record() {
    let scene = Scene::new();
    let first = scene.egress(RA, 0, 701);
    let port = Packet {
        ifindex: 9,
        ..first.clone()
    };
    let records = run(vec![
        event(0, scene.answer(segment(TcpFlags::SYN, 700, 0, 0))),
        event(1, first),
        event(2, port),
    ]);
    assert_eq!(records.len(), 1);
}

#[test]
fn closed_chains_leave_nothing_in_the_index() {
    let mut join = super::Correlator::default();
    let scene = Scene::new();
    for n in 0..1_000_u32 {
        let at = super::Origin {
            time: BootTime(NOW + u64::from(n)),
            netns: NetnsCookie(1),
            inode: None,
        };
        let syn = segment(TcpFlags::SYN, n / 2, 0, 0);
        join.sent(at, Arc::new(scene.answer(syn)), HostContext::default());
        join.packet(
            at,
            Arc::new(scene.egress(RA, 0, n / 2 + 1)),
            HostContext::default(),
        );
    }
    while join.close(None).is_some() {}
    assert!(join.index_is_empty());
    assert_eq!(join.open_chains(), 0);
}

#[test]
fn the_refusal_of_a_syn_with_data_is_one_record_at_the_client() {
    let scene = Scene::new();
    let connecting = Socket {
        state: TcpState::SynSent,
        snd_una: 8_000,
        // 100 bytes of TCP Fast Open.
        snd_nxt: 8_101,
        ..socket(1)
    };
    let refusal = scene.ingress(RA, 0, 8_001, target(&connecting));
    in_any_order(
        &[event(0, refusal), event(10, scene.received(connecting))],
        |records| {
            assert_eq!(records.len(), 1, "{records:#?}");
            assert_eq!(records[0].verdict.cause, Cause::ConnectionRefused);
        },
    );
}
