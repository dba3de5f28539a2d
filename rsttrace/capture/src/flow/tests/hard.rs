//! What captures do to connections: cut, lose, repeat, reorder, and begin in the middle.

use super::*;

const PSH_ACK: u8 = TcpFlags::PSH | TcpFlags::ACK;
const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
const RST_ACK: u8 = TcpFlags::RST | TcpFlags::ACK;

/// Segments of a play without some of them.
fn without(play: &Play, drop: impl Fn(&Segment<'_>) -> bool) -> Vec<Record> {
    let kept: Vec<_> = play
        .segments
        .iter()
        .filter(|segment| !drop(segment))
        .copied()
        .collect();
    judge(&kept)
}

fn only(mut records: Vec<Record>) -> Record {
    assert_eq!(records.len(), 1, "{records:#?}");
    records.remove(0)
}

fn is_sure(record: &Record) -> bool {
    record.verdict.confidence != Confidence::Possible
}

/// A play without anything special, ended by the server's application.
fn plain() -> Play {
    Play::at_client()
        .handshake()
        .exchange()
        .exchange()
        .active(Server)
}

#[test]
fn options_that_the_capture_cut_off_change_no_blame() {
    let mut play = plain();
    for segment in &mut play.segments {
        segment.options = TcpOptions {
            timestamps: None,
            window_scale: None,
            any: segment.options.any,
            cut: true,
        };
    }
    assert_eq!(blame(&play.only()), blame(&plain().only()));
}

#[test]
fn without_a_handshake_the_blame_is_the_same() {
    let play = plain();
    let record = only(without(&play, |segment| segment.flags.has(TcpFlags::SYN)));
    assert_eq!(blame(&record), blame(&play.only()));
    let server = Play::at_server().handshake().exchange().active(Server);
    let record = only(without(&server, |segment| segment.flags.has(TcpFlags::SYN)));
    assert_eq!(blame(&record), blame(&server.only()));
}

#[test]
fn one_direction_alone_names_nobody_wrongly() {
    for direction in [Client, Server] {
        let play = Play::at_client().handshake().exchange().active(Server);
        let address = play.ends[direction as usize].address;
        let record = only(without(&play, |segment| {
            segment.source == address && !segment.flags.has(TcpFlags::RST)
        }));
        assert!(
            matches!(record.verdict.origin, Origin::Peer | Origin::Unknown),
            "{record:#?}"
        );
    }
}

#[test]
fn segments_out_of_order_change_no_blame() {
    let mut play = plain();
    play.segments.swap(3, 4);
    play.segments.swap(6, 7);
    let record = play.only();
    assert_eq!(blame(&record), blame(&plain().only()));
    assert!(record.verdict.confidence <= plain().only().verdict.confidence);
}

#[test]
fn a_syn_that_the_capture_has_late_does_not_set_numbers_back() {
    let mut play = plain();
    play.segments.swap(0, 3);
    assert_eq!(blame(&play.only()), blame(&plain().only()));
}

#[test]
fn segments_that_were_sent_again_change_no_blame() {
    let play = plain();
    let mut segments = Vec::new();
    for segment in &play.segments {
        segments.push(*segment);
        if segment.payload_len > 0 {
            let mut again = *segment;
            again.time = again.time.plus(Duration::from_millis(6));
            again.ip_id = Some(7);
            segments.push(again);
        }
    }
    let record = only(judge(&segments));
    assert_eq!(blame(&record), blame(&play.only()));
}

#[test]
fn sightings_at_two_devices_that_overlap_make_one_record_with_the_same_blame() {
    let play = plain();
    let mut segments: Vec<_> = play
        .segments
        .iter()
        .flat_map(|segment| {
            let mut again = *segment;
            again.time = again.time.plus(Duration::from_micros(40));
            again.interface = 2;
            again.ttl -= 1;
            [*segment, again]
        })
        .collect();
    // Two in flight at once: each at one device, then each at the other.
    segments.swap(7, 8);
    let record = only(judge(&segments));
    assert_eq!(
        (record.verdict.origin, record.verdict.cause),
        (Origin::Peer, Cause::ResetByPeer),
        "{record:#?}"
    );
}

#[test]
fn times_that_are_all_the_same_harm_nothing() {
    let mut play = plain();
    for segment in &mut play.segments {
        segment.time = CaptureTime(1_700_000_000_000_000_000);
    }
    let record = play.only();
    assert_eq!(record.verdict.origin, Origin::Peer, "{record:#?}");
}

#[test]
fn a_reset_beyond_what_the_capture_holds_is_not_blamed_on_a_box() {
    let play = plain();
    let data = play.segments.len() - 3;
    let lost = play.segments[data].frame;
    let record = only(without(&play, |segment| {
        segment.frame == lost || segment.frame == lost + 1
    }));
    assert_ne!(record.verdict.origin, Origin::Middlebox, "{record:#?}");
}

#[test]
fn numbers_that_wrap_change_no_blame() {
    let mut play = Play::at_client();
    play.ends[1].seq = u32::MAX - 1_000;
    play.ends[0].seq = u32::MAX - 50;
    let record = play.handshake().exchange().exchange().active(Server).only();
    assert_eq!(blame(&record), blame(&plain().only()));
}

#[test]
fn answered_probes_of_a_shut_window_are_no_keepalive_timeout() {
    let mut play = Play::at_client()
        .handshake()
        .exchange()
        .send(Server, TcpFlags::ACK, 0)
        .last(|segment| segment.window = 0);
    for _ in 0..5 {
        play = play
            .wait(5_000)
            .send(Client, TcpFlags::ACK, 0)
            .last(|segment| segment.seq = segment.seq.wrapping_sub(1))
            .send(Server, TcpFlags::ACK, 0)
            .last(|segment| segment.window = 0);
    }
    let record = play.active(Client).only();
    assert_eq!(
        (record.verdict.origin, record.verdict.cause),
        (Origin::LocalProcess, Cause::Unknown)
    );
}

#[test]
fn keepalive_probes_of_one_byte_count_as_those_of_none() {
    for bytes in [0, 1] {
        let mut play = Play::at_client().handshake().exchange();
        for _ in 0..3 {
            play = play
                .wait(10_000)
                .send(Client, TcpFlags::ACK, 0)
                .last(|segment| {
                    segment.seq = segment.seq.wrapping_sub(1);
                    segment.payload_len = bytes;
                });
        }
        let record = play.wait(10_000).active(Client).only();
        assert_eq!(record.verdict.cause, Cause::KeepaliveTimeout, "{bytes}");
        assert!(is_sure(&record));
    }
}

#[test]
fn one_unanswered_probe_is_a_hint_and_no_more() {
    let play = Play::at_client()
        .handshake()
        .exchange()
        .wait(10_000)
        .send(Client, TcpFlags::ACK, 0)
        .last(|segment| segment.seq = segment.seq.wrapping_sub(1));
    let record = play.wait(1_000).active(Client).only();
    assert_eq!(record.verdict.cause, Cause::KeepaliveTimeout);
    assert!(!is_sure(&record));
}

#[test]
fn an_application_that_resets_while_a_probe_is_on_its_way_is_not_a_keepalive_timeout() {
    let play = Play::at_client()
        .handshake()
        .exchange()
        .wait(10_000)
        .send(Client, TcpFlags::ACK, 0)
        .last(|segment| segment.seq = segment.seq.wrapping_sub(1));
    let record = play.active(Client).only();
    assert_eq!(record.verdict.origin, Origin::LocalProcess);
}

#[test]
fn two_ends_that_open_at_once_have_one_connection() {
    let mut play = Play::at_client()
        .send(Client, TcpFlags::SYN, 0)
        .send(Server, TcpFlags::SYN, 0);
    for who in [Client, Server] {
        play = play.send(who, SYN_ACK, 0).last(|segment| {
            segment.seq = segment.seq.wrapping_sub(1);
        });
        let seq = &mut play.ends[who as usize].seq;
        *seq = seq.wrapping_sub(1);
    }
    let record = play
        .send(Client, TcpFlags::ACK, 0)
        .exchange()
        .active(Server)
        .only();
    assert_eq!(
        blame(&record),
        (Origin::Peer, Cause::ResetByPeer, Severity::Fault)
    );
}

#[test]
fn a_syn_with_data_is_turned_away_like_any_other() {
    for taken in [0, 300] {
        let play = Play::at_client()
            .send(Client, TcpFlags::SYN, 300)
            .send(Server, RST_ACK, 0)
            .last(|segment| {
                (segment.seq, segment.window) = (0, 0);
                segment.ack = segment.ack.wrapping_sub(300 - taken);
                segment.options = TcpOptions::default();
            });
        // The play's own numbers leave out the SYN beside data.
        let mut segments = play.segments.clone();
        segments[1].ack = segments[0].seq.wrapping_add(1 + taken);
        let record = only(judge(&segments));
        assert_eq!(
            blame(&record),
            (Origin::Peer, Cause::ConnectionRefused, Severity::Refused),
            "{taken}: {record:#?}"
        );
    }
}

#[test]
fn a_syn_sent_again_is_the_same_connect() {
    let play = Play::at_client().send(Client, TcpFlags::SYN, 0).wait(1_000);
    let mut again = play.segments[0];
    again.time = CaptureTime(play.now);
    let mut play = play.wait(20);
    play.segments.push(again);
    let record = play.passive(Server).only();
    assert_eq!(
        blame(&record),
        (Origin::Peer, Cause::ConnectionRefused, Severity::Refused)
    );
}

#[test]
fn ports_used_again_at_once_are_another_connection_though_no_syn_was_captured() {
    let mut play = plain().wait(3_000);
    play.ends[0].seq = 2_000_000_000;
    play.ends[1].seq = 1_000_000_000;
    let records = play.exchange().exchange().active(Server).records();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(
            blame(record),
            (Origin::Peer, Cause::ResetByPeer, Severity::Fault),
            "{record:#?}"
        );
    }
}

#[test]
fn segments_of_a_later_connection_are_no_speaking_on_of_the_one_before() {
    let mut play = plain();
    play.ends[0].seq = 2_000_000_000;
    play.ends[1].seq = 1_000_000_000;
    let records = play.wait(20).exchange().records();
    assert_eq!(
        blame(&records[0]),
        (Origin::Peer, Cause::ResetByPeer, Severity::Fault)
    );
}

#[test]
fn a_syn_for_a_connection_that_the_other_end_still_has_resets_that_one() {
    for at_client in [true, false] {
        let mut play = if at_client {
            Play::at_client()
        } else {
            Play::at_server()
        };
        play = play.handshake().exchange().wait(60_000);
        let (old, server) = (play.ends[0].seq, play.ends[1].seq);
        play.ends[0].seq = 3_000_000_000;
        play = play
            .send(Client, TcpFlags::SYN, 0)
            .send(Server, TcpFlags::ACK, 0)
            .last(|segment| segment.ack = old)
            .passive(Client)
            .last(|segment| segment.seq = old)
            .wait(1_000)
            .send(Client, TcpFlags::SYN, 0)
            .last(|segment| segment.seq = 3_000_000_000);
        play.ends[0].seq = 3_000_000_001;
        play.ends[1].seq = server.wrapping_add(1_000_000);
        let record = play
            .send(Server, SYN_ACK, 0)
            .send(Client, TcpFlags::ACK, 0)
            .exchange()
            .only();
        let expected = if at_client {
            (Origin::LocalKernel, Cause::BadHandshake, Severity::Noise)
        } else {
            (Origin::Peer, Cause::ResetByPeer, Severity::Fault)
        };
        assert_eq!(blame(&record), expected, "{record:#?}");
    }
}

#[test]
fn a_reset_with_data_is_a_reset() {
    let play = plain().last(|segment| segment.payload_len = 40);
    assert_eq!(blame(&play.only()), blame(&plain().only()));
}

#[test]
fn nonsense_flags_beside_a_reset_change_no_blame() {
    for flags in [
        TcpFlags::SYN,
        TcpFlags::FIN,
        TcpFlags::SYN | TcpFlags::FIN | TcpFlags::PSH,
    ] {
        let play = plain().last(|segment| segment.flags = TcpFlags(RST_ACK | flags));
        assert_eq!(blame(&play.only()), blame(&plain().only()), "{flags:#x}");
    }
}

#[test]
fn segments_that_offloads_put_together_are_followed() {
    let record = Play::at_client()
        .handshake()
        .send(Client, PSH_ACK, 100)
        .send(Server, PSH_ACK, 64_000)
        .send(Server, PSH_ACK, 400_000)
        .send(Client, TcpFlags::ACK, 0)
        .active(Server)
        .only();
    assert_eq!(
        blame(&record),
        (Origin::Peer, Cause::ResetByPeer, Severity::Fault)
    );
}

#[test]
fn the_form_of_an_answer_with_nothing_to_answer_is_not_the_kernels() {
    let record = Play::at_server()
        .handshake()
        .exchange()
        .wait(10_000)
        .passive(Server)
        .only();
    assert_eq!(record.verdict.origin, Origin::Unknown, "{record:#?}");
}

#[test]
fn a_shut_window_does_not_make_an_answer_of_an_applications_reset() {
    let record = Play::at_server()
        .handshake()
        .exchange()
        .active(Server)
        .last(|segment| {
            segment.window = 0;
            segment.options = TcpOptions::default();
        })
        .only();
    assert_eq!(record.verdict.origin, Origin::LocalProcess, "{record:#?}");
}

#[test]
fn a_syn_ack_that_nobody_waits_for_is_answered_by_the_kernel_and_perhaps_a_filter() {
    let record = Play::at_client()
        .send(Client, TcpFlags::SYN, 0)
        .wait(60_000)
        .send(Server, SYN_ACK, 0)
        .passive(Client)
        .only();
    assert_eq!(
        blame(&record),
        (Origin::LocalKernel, Cause::LateSynack, Severity::Noise)
    );
    assert!(!is_sure(&record));
}

/// At a NAT, the client's segments have the addresses of the server's side on their way out only.
#[test]
fn a_reset_that_was_not_translated_is_compared_where_the_others_were_seen() {
    let play = |twice: bool| {
        let mut play = Play::with_ttls(63, 57)
            .handshake()
            .exchange()
            .wait(4_500)
            .send(Server, PSH_ACK, 50)
            .passive(Client);
        let mut again = *play.segments.last().expect("a reset");
        (again.frame, again.interface) = (again.frame + 1, 1);
        if let Some(came_in) = play.segments.last_mut() {
            came_in.ttl = 64;
        }
        play.segments.extend(twice.then_some(again));
        play.only()
    };
    let record = play(true);
    assert_eq!(record.verdict.origin, Origin::Peer, "{record:#?}");
    assert_eq!(record.packet.and_then(|packet| packet.ttl), Some(63));
    // Its twin: nothing shows that it passed.
    assert_eq!(play(false).verdict.origin, Origin::Middlebox);
}

#[test]
fn a_syn_ack_for_a_syn_to_another_address_bypassed_a_nat() {
    let play = |shown_translated: bool| {
        let mut play = Play::at_client().send(Client, TcpFlags::SYN, 0);
        let behind = play.ends[1].address;
        play.segments[0].destination = "198.51.100.2:80".parse().expect("an address");
        if shown_translated {
            let mut translated = play.segments[0];
            translated.destination = behind;
            play.segments.push(translated);
        }
        play.send(Server, SYN_ACK, 0).passive(Client).only()
    };
    let record = play(false);
    assert_eq!(
        blame(&record),
        (
            Origin::LocalKernel,
            Cause::UntranslatedAnswer,
            Severity::Refused
        )
    );
    let summary = record.verdict.summary();
    assert!(
        summary.contains("to 198.51.100.2:80 came from 10.0.1.1:8080"),
        "{summary}"
    );
    // Its twin: at the NAT itself the answer belongs to the SYN as it left.
    assert_eq!(play(true).verdict.cause, Cause::LateSynack);
}

#[test]
fn data_that_was_never_acknowledged_does_not_make_the_answer_miss() {
    let mut play = Play::at_client()
        .handshake()
        .exchange()
        .send(Server, PSH_ACK, 40)
        .wait(400);
    let lost = play.ends[1].seq;
    // The client does not get it, and the server gives up.
    play.ends[1].seq = lost.wrapping_sub(40);
    let record = play.send(Client, PSH_ACK, 50).passive(Server).only();
    assert_eq!(
        blame(&record),
        (Origin::Peer, Cause::ResetByPeer, Severity::Fault),
        "{record:#?}"
    );
}

/// The capturing host passes segments on, seen coming in and going out, with one router less to go.
fn passed_on(play: &Play) -> Vec<Segment<'static>> {
    play.segments
        .iter()
        .flat_map(|segment| {
            let mut came = *segment;
            came.way = Some(Way::In);
            let mut left = *segment;
            left.way = Some(Way::Out);
            left.ttl -= 1;
            left.time = left.time.plus(Duration::from_micros(20));
            [came, left]
        })
        .collect()
}

#[test]
fn what_a_router_passes_on_is_the_ends() {
    let play = Play::with_ttls(64, 64)
        .handshake()
        .exchange()
        .active(Server);
    let record = only(judge(&passed_on(&play)));
    assert_eq!(
        blame(&record),
        (Origin::Peer, Cause::ResetByPeer, Severity::Fault)
    );
}

#[test]
fn what_a_router_puts_in_itself_is_not_the_ends() {
    let play = Play::with_ttls(64, 64)
        .handshake()
        .exchange()
        .active(Server);
    let mut segments = passed_on(&play);
    // It did not come in.
    segments.remove(segments.len() - 2);
    for ttl in [64, 63] {
        segments.last_mut().expect("a reset").ttl = ttl;
        let record = only(judge(&segments));
        assert_eq!(record.verdict.origin, Origin::Unknown, "{record:#?}");
        assert!(kinds(&record).contains(&"put_in_here"));
    }
}

#[test]
fn a_sender_that_acknowledges_later_data_has_not_reset_the_connection() {
    let mut play = Play::at_client()
        .handshake()
        .exchange()
        .wait(1_000)
        .active(Server);
    play.now -= 9_900_000;
    play = play.send(Client, PSH_ACK, 10);
    play.now -= 9_900_000;
    let records = play.send(Server, PSH_ACK, 10).records();
    assert!(
        kinds(&records[0]).contains(&"peer_talks_on"),
        "{records:#?}"
    );
    assert_eq!(records[0].verdict.origin, Origin::Middlebox);
}

#[test]
fn a_reset_that_a_host_sends_in_its_own_name_and_does_not_mean_is_no_boxs() {
    let mut play = Play::with_ttls(57, 64);
    play.ends[0].way = Some(Way::In);
    play.ends[1].way = Some(Way::Out);
    let records = play
        .handshake()
        .exchange()
        .wait(1_000)
        .active(Server)
        .wait(500)
        .exchange()
        .records();
    assert_eq!(records[0].verdict.origin, Origin::Unknown, "{records:#?}");
    assert_eq!(records[0].verdict.severity, Severity::Noise);
}

#[test]
fn a_reset_long_after_the_last_segment_answers_nothing() {
    let record = Play::at_server()
        .handshake()
        .exchange()
        .send(Client, PSH_ACK, 10)
        .wait(100)
        .passive(Server)
        .only();
    assert_eq!(record.verdict.origin, Origin::Unknown, "{record:#?}");
}

#[test]
fn a_reset_on_one_side_of_a_router_only_is_not_sure_to_be_the_ends() {
    let play = Play::with_ttls(64, 64)
        .handshake()
        .exchange()
        .active(Server);
    let mut segments = passed_on(&play);
    for segment in &mut segments {
        segment.way = None;
    }
    let whole = only(judge(&segments));
    assert_eq!(whole.verdict.origin, Origin::Peer, "{whole:#?}");
    segments.pop();
    let once = only(judge(&segments));
    assert_eq!(once.verdict.origin, Origin::Unknown, "{once:#?}");
}
