//! Tests of scenes seen by several captures, with look-alikes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod many;
mod scene;

use proptest::prelude::*;

use super::report::{Comparison, ConnectionComparison, MadeBy, PathKind, ResetComparison};
use super::{Digest, compare};
use crate::capture::{CaptureTime, Overlay, Segment, TcpOptions, Way};
use crate::event::TcpFlags;
use crate::palette::Palette;
use crate::record::Confidence;
use scene::{MS, Scene, US, client, server};

const HOUR: i64 = 3_600_000 * MS;

fn only(comparison: &Comparison) -> &ConnectionComparison {
    assert_eq!(
        comparison.connections.len(),
        1,
        "{}",
        comparison.render(200, Palette::default())
    );
    &comparison.connections[0]
}

fn reset(comparison: &Comparison) -> &ResetComparison {
    let resets = &only(comparison).resets;
    assert_eq!(
        resets.len(),
        1,
        "{}",
        comparison.render(200, Palette::default())
    );
    &resets[0]
}

fn is_server(made_by: &MadeBy) -> bool {
    matches!(made_by, MadeBy::Server { .. })
}

fn is_client(made_by: &MadeBy) -> bool {
    matches!(made_by, MadeBy::Client { .. })
}

fn between(after: &str, before: &str) -> MadeBy {
    MadeBy::Between {
        after: Some(after.into()),
        before: before.into(),
    }
}

#[test]
fn a_reset_that_left_the_server_and_came_to_the_client_is_the_servers() {
    let mut scene = Scene::transparent();
    scene.with_ways();
    scene.talk(0);
    scene.send(500 * MS, server().reset());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    let reset = reset(&found);
    assert!(is_server(&reset.made_by), "{reset:#?}");
    assert_eq!(reset.confidence, Confidence::Certain);
    assert!(!reset.sentence.contains("its link"), "{}", reset.sentence);
    assert_eq!(reset.sightings.len(), 4);
    assert_eq!(only(&found).path, PathKind::Translated);
    let disagreement = only(&found).disagreement.as_deref().unwrap();
    assert!(disagreement.contains("the same reset"), "{disagreement}");
}

#[test]
fn what_the_servers_interface_shows_may_come_from_its_link() {
    // The same without what tells that it left the host.
    let mut scene = Scene::transparent();
    scene.talk(0);
    scene.send(500 * MS, server().reset());
    scene.aside(2_000 * MS);
    for without in ["", "server"] {
        scene.without(without);
        let found = scene.compare();
        let reset = reset(&found);
        assert!(is_server(&reset.made_by), "{reset:#?}");
        assert_eq!(reset.confidence, Confidence::Likely);
        assert!(
            reset.sentence.contains("or a device on its link sent it"),
            "{}",
            reset.sentence
        );
    }
}

#[test]
fn a_refused_connect_is_compared_with_other_connections_of_the_server() {
    for (ways, other, confidence) in [
        (true, true, Confidence::Certain),
        (false, true, Confidence::Likely),
        (false, false, Confidence::Possible),
    ] {
        let mut scene = Scene::transparent();
        if ways {
            scene.with_ways();
        }
        scene.send(0, client().syn());
        scene.send(5 * MS, server().reset());
        if other {
            scene.aside(2_000 * MS);
        }
        let found = scene.compare();
        let first = found
            .connections
            .iter()
            .find_map(|connection| connection.resets.first())
            .expect("the refusal");
        assert!(is_server(&first.made_by), "{first:#?}");
        assert_eq!(first.confidence, confidence, "{first:#?}");
    }
    // Something else answers, unlike the server's other connections.
    let mut scene = Scene::transparent();
    scene.send(0, client().syn());
    scene.send(5 * MS, server().reset().with_ttl(247));
    scene.aside(2_000 * MS);
    let found = scene.compare();
    let first = &found.connections[0].resets[0];
    assert!(!is_server(&first.made_by), "{first:#?}");
}

#[test]
fn another_route_is_nobody_else() {
    // One or two routers more or less, or another start: with the server's capture lacking it, or not there at all.
    for ttl in [61, 62, 127, 254] {
        let mut scene = Scene::transparent();
        scene.talk(0);
        scene.send(500 * MS, server().reset().with_ttl(ttl).unseen("server"));
        scene.aside(2_000 * MS);
        scene.without("balancer");
        let found = scene.compare();
        let reset = reset(&found);
        assert_eq!(reset.confidence, Confidence::Possible, "{ttl} {reset:#?}");
        assert!(
            reset.sentence.contains("may have missed it"),
            "{}",
            reset.sentence
        );
    }
    for ttl in [62, 126] {
        let mut scene = Scene::transparent();
        scene.with_ways();
        scene.talk(0);
        scene.send(500 * MS, server().reset().with_ttl(ttl).unseen("server"));
        scene.send(600 * MS, client().data(b"this goes on").unseen("server"));
        scene.send(610 * MS, server().acknowledge());
        scene.aside(2_000 * MS);
        let found = scene.compare();
        assert_eq!(
            reset(&found).made_by,
            MadeBy::Unknown,
            "{:#?}",
            reset(&found)
        );
    }
}

#[test]
fn a_path_that_always_changes_says_nothing_by_its_ttl() {
    for steady in [true, false] {
        let mut scene = Scene::transparent();
        scene.talk(0);
        for ttl in [40, 45, 50, 55] {
            let shot = server().data(b"more").with_ttl(ttl);
            let shot = if steady { shot.with_ttl(40) } else { shot };
            scene.send(100 * MS + i64::from(ttl) * MS, shot);
        }
        scene.send(500 * MS, server().reset().with_ttl(58).unseen("server"));
        scene.aside(2_000 * MS);
        scene.without("balancer");
        let found = scene.compare();
        let expected = if steady {
            Confidence::Likely
        } else {
            Confidence::Possible
        };
        assert_eq!(reset(&found).confidence, expected, "{:#?}", reset(&found));
    }
}

#[test]
fn a_copy_that_a_bridge_lost_makes_no_bridge_the_maker() {
    let mut scene = Scene::transparent();
    scene.bridged();
    scene.talk(0);
    scene.send(500 * MS, server().reset().unseen_coming_in());
    scene.aside(2_000 * MS);
    for without in ["server", ""] {
        scene.without(without);
        let found = scene.compare();
        let reset = reset(&found);
        if without.is_empty() {
            assert!(is_server(&reset.made_by), "{reset:#?}");
        } else {
            assert_eq!(reset.made_by, MadeBy::Unknown, "{reset:#?}");
        }
    }
    // The server's capture does not hold it either: two would have lost it.
    let mut scene = Scene::transparent();
    scene.bridged();
    scene.talk(0);
    scene.send(500 * MS, server().reset().by_balancer());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    assert!(matches!(reset(&found).made_by, MadeBy::CaptureHost { .. }));
    assert_eq!(reset(&found).confidence, Confidence::Likely);
}

#[test]
fn a_reset_after_an_hour_of_silence_is_one_whatever_the_clocks_drifted() {
    for drift in [0.0, 40e-6, -40e-6] {
        let mut scene = Scene::transparent();
        scene.clock("server", 5_000 * MS, drift);
        scene.talk(0);
        for tenth in 1..10 {
            scene.send(tenth * 100 * MS, client().data(b"?"));
            scene.send(tenth * 100 * MS + 50 * MS, server().data(b"!"));
        }
        scene.send(HOUR, server().reset());
        scene.send(HOUR + 5 * MS, client().reset());
        let found = scene.compare();
        let resets = &only(&found).resets;
        assert_eq!(resets.len(), 2, "{drift} {resets:#?}");
        assert!(resets.iter().all(|reset| reset.sightings.len() == 4));
        assert!(resets.iter().all(|reset| !reset.sentence.contains("lost")));
        assert_eq!(found.captures[2].drift_ppm, None);
    }
}

#[test]
fn two_resets_with_the_same_numbers_are_two() {
    let mut scene = Scene::transparent();
    scene.talk(0);
    scene.send(500 * MS, server().reset().by_balancer());
    scene.send(900 * MS, server().reset());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    assert_eq!(only(&found).resets.len(), 2);
}

#[test]
fn a_capture_with_a_filter_for_data_proves_nothing() {
    for (filter, proves) in [
        (
            (|segment: &Segment<'_>| segment.payload_len > 0) as scene::Filter,
            false,
        ),
        (
            |segment| segment.payload_len > 0 || segment.flags.has(TcpFlags::SYN),
            false,
        ),
        (|_| true, true),
    ] {
        let mut scene = Scene::transparent();
        scene.without("balancer");
        scene.filtered("server", filter);
        scene.talk(0);
        scene.send(500 * MS, server().reset().by_balancer());
        scene.aside(2_000 * MS);
        let found = scene.compare();
        let reset = reset(&found);
        assert_eq!(reset.missing[0].proves, proves, "{reset:#?}");
        assert_eq!(
            reset.sentence.contains("it seems to be filtered")
                || reset.missing[0].because.contains("it seems to be filtered"),
            !proves,
            "{reset:#?}"
        );
    }
}

#[test]
fn a_capture_that_could_not_be_read_whole_proves_nothing() {
    use crate::capture::ReadCounts;
    for (counts, proves) in [
        (ReadCounts::default(), true),
        (
            ReadCounts {
                not_tcp: 9,
                frames: 99,
                ..ReadCounts::default()
            },
            true,
        ),
        (
            ReadCounts {
                cut: 1,
                ..ReadCounts::default()
            },
            false,
        ),
        (
            ReadCounts {
                fragments: 1,
                ..ReadCounts::default()
            },
            false,
        ),
    ] {
        let mut scene = Scene::transparent();
        scene.without("balancer");
        scene.talk(0);
        scene.send(500 * MS, server().reset().by_balancer());
        scene.aside(2_000 * MS);
        let mut digests = scene.digests();
        digests[1].ended(&counts);
        let found = compare(digests, &[]);
        assert_eq!(reset(&found).missing[0].proves, proves, "{counts:?}");
        let text = found.render(200, Palette::default());
        assert_eq!(
            text.contains("server may have missing packets"),
            !proves,
            "{text}"
        );
    }
}

#[test]
fn a_capture_that_forgot_connections_proves_nothing() {
    for forgotten in [0, 1] {
        let mut scene = Scene::transparent();
        scene.without("balancer");
        scene.talk(0);
        scene.send(500 * MS, server().reset().by_balancer());
        scene.aside(2_000 * MS);
        let mut digests = scene.digests();
        digests[1].forgotten = forgotten;
        let found = compare(digests, &[]);
        assert_eq!(reset(&found).missing[0].proves, forgotten == 0);
    }
}

#[test]
fn a_reset_that_only_leaves_the_balancer_is_the_balancers() {
    let mut scene = Scene::transparent();
    scene.talk(0);
    // One in each one's name.
    scene.send(500 * MS, server().reset().by_balancer());
    scene.send(501 * MS, client().reset().by_balancer());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    for reset in &only(&found).resets {
        let host = MadeBy::CaptureHost {
            file: "balancer".into(),
        };
        assert_eq!(reset.made_by, host, "{reset:#?}");
        assert_eq!(reset.confidence, Confidence::Certain);
    }
    let disagreement = only(&found).disagreement.as_deref().unwrap();
    assert!(
        disagreement.ends_with("the host of balancer sent both, one with the address of each end."),
        "{disagreement}"
    );
}

#[test]
fn a_reset_of_the_server_that_the_balancer_drops_is_still_the_servers() {
    let mut scene = Scene::transparent();
    scene.talk(0);
    scene.send(500 * MS, server().reset().lost_at_balancer());
    scene.send(900 * MS, client().data(b"still here"));
    scene.aside(2_000 * MS);
    let found = scene.compare();
    let reset = reset(&found);
    assert!(is_server(&reset.made_by), "{reset:#?}");
    assert!(reset.sentence.contains("did not forward it"), "{reset:#?}");
}

#[test]
fn without_the_balancers_capture_it_is_between_the_others() {
    let mut scene = Scene::transparent();
    scene.without("balancer");
    scene.talk(0);
    scene.send(500 * MS, server().reset().by_balancer());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    let reset = reset(&found);
    assert_eq!(reset.made_by, between("server", "client"));
    // A way round the server's capture explains the TTL, too.
    assert_eq!(reset.confidence, Confidence::Likely, "{reset:#?}");
}

#[test]
fn a_capture_that_ended_before_proves_nothing() {
    let mut scene = Scene::transparent();
    scene.without("balancer");
    scene.talk(0);
    // With the server's TTL: only its capture could contradict.
    scene.send(500 * MS, server().reset());
    scene.ends("server", 400 * MS);
    scene.aside(2_000 * MS);
    let found = scene.compare();
    let reset = reset(&found);
    assert_eq!(reset.made_by, MadeBy::Unknown, "{reset:#?}");
    assert!(!reset.missing[0].proves);
    assert!(
        reset.sentence.contains("may have ended earlier"),
        "{}",
        reset.sentence
    );
}

#[test]
fn a_capture_that_lacks_segments_proves_nothing() {
    for lossy in [true, false] {
        let mut scene = Scene::transparent();
        scene.without("balancer");
        scene.talk(0);
        scene.send(
            400 * MS,
            server()
                .data(b"more")
                .unseen(if lossy { "server" } else { "" }),
        );
        scene.send(410 * MS, client().acknowledge());
        scene.send(500 * MS, server().reset().unseen("server"));
        scene.aside(2_000 * MS);
        let found = scene.compare();
        let reset = reset(&found);
        // Even if it lacks nothing else: the TTL is the server's, so it is not sure.
        if lossy {
            assert_eq!(reset.made_by, MadeBy::Unknown, "{reset:#?}");
        } else {
            assert_eq!(reset.confidence, Confidence::Possible, "{reset:#?}");
        }
    }
}

#[test]
fn a_capture_that_is_said_to_lack_segments_proves_nothing() {
    let mut scene = Scene::transparent();
    scene.without("balancer");
    scene.talk(0);
    scene.send(500 * MS, server().reset().unseen("server"));
    scene.aside(2_000 * MS);
    let mut digests = scene.digests();
    for digest in &mut digests {
        digest.lacks("3 packets were dropped");
    }
    let found = compare(digests, &[]);
    assert_eq!(reset(&found).made_by, MadeBy::Unknown);
}

#[test]
fn an_alleged_sender_that_goes_on_did_not_send_it() {
    let mut scene = Scene::transparent();
    scene.without("balancer");
    scene.talk(0);
    // With the client's TTL.
    scene.send(500 * MS, client().reset().unseen("client"));
    scene.send(900 * MS, client().data(b"still here"));
    scene.aside(2_000 * MS);
    let found = scene.compare();
    let reset = reset(&found);
    assert_eq!(reset.made_by, between("client", "server"), "{reset:#?}");
    assert_eq!(reset.confidence, Confidence::Certain, "{reset:#?}");
}

#[test]
fn hours_between_the_clocks_change_nothing() {
    let mut scene = Scene::transparent();
    scene.clock("server", 3 * HOUR, 0.0);
    scene.clock("balancer", -HOUR, 0.0);
    scene.talk(0);
    scene.send(500 * MS, server().reset());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    assert!(is_server(&reset(&found).made_by));
    let offset = found.captures[2].offset.unwrap();
    assert!((offset - 10_800.0).abs() <= found.captures[2].within.unwrap() + 1e-9);
}

#[test]
fn clocks_that_drift_are_followed() {
    let mut scene = Scene::transparent();
    scene.clock("server", 5_000 * MS, 50e-6);
    scene.talk(0);
    for second in 1..1_200 {
        scene.send(second * 1_000 * MS, client().data(b"?"));
        scene.send(second * 1_000 * MS + 50 * MS, server().data(b"!"));
    }
    scene.send(1_200_500 * MS, server().reset());
    scene.aside(1_202_000 * MS);
    let found = scene.compare();
    assert!(is_server(&reset(&found).made_by));
    let drift = found.captures[2].drift_ppm.unwrap();
    assert!((drift - 50.0).abs() < 5.0, "{drift}");
}

#[test]
fn a_clock_that_was_set_is_told_and_not_relied_on() {
    let mut scene = Scene::transparent();
    scene.step("server", 300 * MS, 5_000 * MS);
    scene.talk(0);
    for tenth in 1..40 {
        scene.send(tenth * 20 * MS, client().data(b"?"));
        scene.send(tenth * 20 * MS + 7 * MS, server().data(b"!"));
    }
    scene.send(900 * MS, server().reset());
    scene.aside(20_000 * MS);
    let found = scene.compare();
    assert!(found.captures[2].contradictory);
    assert!(
        found
            .render(200, Palette::default())
            .contains("set during the capture")
    );
    assert!(is_server(&reset(&found).made_by) || reset(&found).made_by == MadeBy::Unknown);
}

#[test]
fn a_capture_that_began_later_is_matched_by_its_segments() {
    let mut scene = Scene::transparent();
    scene.begins("client", 250 * MS);
    scene.talk(0);
    for tenth in 1..8 {
        scene.send(tenth * 100 * MS, client().data(b"a question"));
        scene.send(tenth * 100 * MS + 20 * MS, server().data(b"an answer"));
    }
    scene.send(900 * MS, server().reset().by_balancer());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    assert_eq!(only(&found).path, PathKind::Translated);
    assert!(matches!(reset(&found).made_by, MadeBy::CaptureHost { .. }));
    assert_eq!(reset(&found).sightings.len(), 2);
}

#[test]
fn ports_that_are_used_again_are_another_connection() {
    let mut scene = Scene::transparent();
    scene.talk(0);
    scene.send(200 * MS, client().fin());
    scene.send(210 * MS, server().fin());
    scene.begin_anew(77_000);
    scene.talk(1_000 * MS);
    scene.send(1_500 * MS, server().reset());
    scene.aside(3_000 * MS);
    let found = scene.compare();
    assert!(is_server(&reset(&found).made_by));
    assert_eq!(only(&found).points.len(), 4);
    // Not of the first one.
    assert!(
        only(&found)
            .events
            .iter()
            .all(|event| event.kind != super::report::EventKind::Fin)
    );
}

#[test]
fn a_syn_that_was_lost_and_sent_again_begins_one_connection() {
    let mut scene = Scene::transparent();
    scene.send(0, client().syn().unseen("balancer").unseen("server"));
    scene.talk(1_000 * MS);
    scene.send(1_500 * MS, client().reset());
    scene.aside(3_000 * MS);
    let found = scene.compare();
    assert!(is_client(&reset(&found).made_by), "{:#?}", reset(&found));
    assert!(!found.captures[2].contradictory);
    assert!(found.captures[2].offset.unwrap().abs() < 0.01);
}

#[test]
fn a_proxys_two_connections_are_joined_by_what_they_carry() {
    let mut scene = Scene::terminating(
        b"GET /only/this HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    );
    scene.serve(0);
    scene.send(500 * MS, server().reset());
    scene.first_leg();
    scene.send(502 * MS, server().reset());
    scene.aside(2_000 * MS);
    for without in ["", "balancer"] {
        scene.without(without);
        let found = scene.compare();
        let connection = only(&found);
        assert_eq!(connection.path, PathKind::Terminated);
        let [server, proxy] = connection.resets.as_slice() else {
            panic!("{connection:#?}");
        };
        assert!(is_server(&server.made_by), "{server:#?}");
        assert!(matches!(proxy.made_by, MadeBy::Proxy { .. }), "{proxy:#?}");
        assert!(
            proxy.sentence.contains("propagated this"),
            "{}",
            proxy.sentence
        );
    }
}

#[test]
fn a_header_of_the_proxy_protocol_is_not_what_was_said() {
    for header in [
        &b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 80\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\x9c\x40\0\x50",
    ] {
        let mut scene = Scene::terminating(b"a question like no other", b"and its answer");
        scene.with_header(header);
        scene.serve(0);
        scene.send(500 * MS, server().reset());
        scene.aside(2_000 * MS);
        for without in ["", "balancer"] {
            scene.without(without);
            let found = scene.compare();
            assert_eq!(only(&found).path, PathKind::Terminated);
            assert!(is_server(&reset(&found).made_by));
        }
    }
}

#[test]
fn connections_that_carry_the_same_at_once_are_not_joined() {
    let mut scene = Scene::terminating(b"GET /health HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n");
    scene.serve(0);
    scene.second_pair();
    scene.serve(MS / 10);
    scene.send(500 * MS, server().reset());
    scene.aside(2_000 * MS);
    scene.without("balancer");
    let found = scene.compare();
    for connection in &found.connections {
        assert_ne!(connection.path, PathKind::Terminated, "{connection:#?}");
        for reset in &connection.resets {
            assert_eq!(reset.made_by, MadeBy::Unknown, "{reset:#?}");
        }
    }
}

#[test]
fn one_client_that_asks_two_servers_the_same_is_no_proxy() {
    let mut scene = Scene::transparent();
    scene.only_tap("client");
    scene.talk(0);
    scene.another_server();
    scene.talk(US);
    scene.send(500 * MS, server().reset());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    assert!(
        found
            .connections
            .iter()
            .all(|connection| connection.path == PathKind::Alone)
    );
    assert_eq!(reset(&found).made_by, MadeBy::Unknown);
}

#[test]
fn a_load_that_two_interfaces_share_is_nobodys_reset() {
    // In by one interface or the other: what did not come by the one came by the other.
    let mut scene = Scene::transparent();
    scene.talk(0);
    for tenth in 1..8 {
        let shot = server().data(b"an answer");
        scene.send(
            tenth * 50 * MS,
            if tenth % 2 == 0 {
                shot.by_other_interface()
            } else {
                shot
            },
        );
    }
    scene.send(500 * MS, server().reset().by_other_interface());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    assert!(is_server(&reset(&found).made_by), "{:#?}", reset(&found));
}

#[test]
fn captures_of_nothing_give_nothing() {
    let found = compare(vec![Digest::new("a"), Digest::new("b")], &[]);
    assert!(found.connections.is_empty());
    assert!(
        found
            .render(80, Palette::default())
            .contains("No connection")
    );
    assert!(compare(Vec::new(), &[]).connections.is_empty());
}

#[test]
fn it_is_told_on_narrow_screens_too_and_read_back_from_json() {
    let mut scene = Scene::transparent();
    scene.talk(0);
    scene.send(500 * MS, server().reset().by_balancer());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    for columns in [40, 80, 200] {
        let text = found.render(columns, Palette::default());
        assert!(text.contains("balancer"), "{text}");
    }
    let json = serde_json::to_string(&found).unwrap();
    assert!(!json.contains("null"), "{json}");
    assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), found);
}

prop_compose! {
    fn segments()(
        all in prop::collection::vec((0_u64..50, 0_u8..4, 0_u8..32, any::<u8>(), 0_u32..6, 0_u32..6, 0_usize..40, 0_u8..4), 0..120)
    ) -> Vec<(u64, u8, u8, u8, u32, u32, usize, u8)> {
        all
    }
}

proptest! {
    #[test]
    fn whatever_is_captured_nothing_panics(captures in prop::collection::vec(segments(), 0..4), wild in any::<bool>()) {
        let payload = [b'x'; 64];
        let mut digests = Vec::new();
        for (number, capture) in captures.iter().enumerate() {
            let mut digest = Digest::new(format!("{number}"));
            for (frame, (time, hosts, flags, ttl, seq, ack, length, place)) in capture.iter().enumerate() {
                let end = |n: u8| format!("192.0.2.{}:{}", 1 + n % 2, 1000 + u16::from(n)).parse().unwrap();
                let number = |n: u32| if wild { n.wrapping_mul(0x3fff_ffff) } else { 1000 + n * 8 };
                digest.see(&Segment {
                    time: CaptureTime(if wild { time.wrapping_mul(u64::MAX / 49) } else { time * 1_000 }),
                    frame: frame as u64 + 1,
                    interface: u32::from(*place),
                    overlay: Overlay(0),
                    source: end(hosts & 1),
                    destination: end(2 + (hosts >> 1)),
                    seq: number(*seq),
                    ack: number(*ack),
                    flags: TcpFlags(*flags),
                    window: 1,
                    options: TcpOptions::default(),
                    payload_len: *length as u32,
                    payload: &payload[..*length],
                    ttl: *ttl,
                    ip_id: Some(1),
                    dont_fragment: None,
                    source_mac: None,
                    way: [None, Some(Way::In), Some(Way::Out), Some(Way::By)][usize::from(*place)],
                });
            }
            digests.push(digest);
        }
        let found = compare(digests, &[]);
        let _ = found.render(100, Palette::default());
    }
}
