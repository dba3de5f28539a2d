//! Ends of connections that real captures hold, and what must be said of them.
//!
//! The client is at 10.9.0.1 (TTL 64), the server at 10.9.0.2 (TTL 52), the round trip 40 ms. Where only the numbers matter, the segments
//! have no options.

use serde_json::Value;

use super::file::{self, C, Capture, ETHERNET, S};

/// A conversation as it is captured.
struct Talk {
    capture: Capture,
    now: u64,
    /// What each end's segments have as TTL.
    ttls: [u8; 2],
    /// A VNI, if it is in VXLAN.
    vni: Option<u8>,
}

impl Talk {
    fn new() -> Self {
        Self {
            capture: Capture::new(ETHERNET),
            now: 0,
            ttls: [64, 52],
            vni: None,
        }
    }

    /// Until both ends have acknowledged everything: C's next number is 1101, S's is 5001.
    fn established(self) -> Self {
        self.c("S", 1_000, 0, b"")
            .after(40_000)
            .s("SA", 5_000, 1_001, b"")
            .c("A", 1_001, 5_001, b"")
            .c("PA", 1_001, 5_001, &[7; 100])
            .after(40_000)
            .s("A", 5_001, 1_101, b"")
            .after(10_000)
    }

    /// Microseconds go by.
    fn after(mut self, microseconds: u64) -> Self {
        self.now += microseconds;
        self
    }

    fn c(self, flags: &str, seq: u32, ack: u32, payload: &[u8]) -> Self {
        self.send(0, flags, (seq, ack), payload)
    }

    fn s(self, flags: &str, seq: u32, ack: u32, payload: &[u8]) -> Self {
        self.send(1, flags, (seq, ack), payload)
    }

    fn send(mut self, who: usize, flags: &str, numbers: (u32, u32), payload: &[u8]) -> Self {
        let (from, to) = if who == 0 { (C, S) } else { (S, C) };
        let mac: [u8; 12] = if who == 0 {
            [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]
        } else {
            [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]
        };
        let mut frame = mac.to_vec();
        frame.extend([8, 0]);
        frame.extend(file::tcp(from, to, self.ttls[who], flags, numbers, payload));
        if let Some(vni) = self.vni {
            let vxlan = [8, 0, 0, 0, 0, 0, vni, 0];
            let tunnel = file::udp(
                "192.0.2.1:5000",
                "192.0.2.2:4789",
                &[&vxlan, &frame[..]].concat(),
            );
            frame = [&mac[..], &[8, 0], &tunnel].concat();
        }
        self.capture.frame(self.now, &frame);
        // Never at the same moment.
        self.now += 2;
        self
    }

    fn judged(&self) -> Vec<Value> {
        self.judged_with(&[])
    }

    fn judged_with(&self, arguments: &[&str]) -> Vec<Value> {
        let run = self
            .capture
            .run(&[&["-o", "json", "--noise"], arguments].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.records()
    }
}

#[track_caller]
fn assert_is(record: &Value, expected: [&str; 3]) {
    let of = |key: &str| record["verdict"][key].as_str().unwrap().to_owned();
    assert_eq!(
        [of("cause"), of("severity"), of("origin")],
        expected,
        "{record:#}"
    );
}

fn summary(record: &Value) -> &str {
    record["verdict"]["summary"].as_str().unwrap()
}

/// Windows and embedded stacks retry with the same port and number.
#[test]
fn a_refused_connect_that_is_retried_and_accepted_is_followed() {
    let talk = Talk::new()
        .c("S", 1_000, 0, b"")
        .after(40_000)
        .s("RA", 0, 1_001, b"")
        .after(460_000)
        .established()
        .s("PA", 5_001, 1_101, &[7; 200])
        .after(40_000)
        .c("A", 1_101, 5_201, b"")
        .after(30_000_000)
        .s("RA", 5_201, 1_101, b"");
    let records = talk.judged();
    assert_eq!(records.len(), 2, "{records:#?}");
    assert_is(&records[0], ["connection_refused", "refused", "peer"]);
    assert_is(&records[1], ["reset_by_peer", "fault", "peer"]);
    assert!(
        summary(&records[1]).contains("30.0 s"),
        "{}",
        summary(&records[1])
    );
}

#[test]
fn answers_to_a_burst_after_the_close_answer_each_of_its_segments() {
    for vni in [None, Some(7)] {
        let mut talk = Talk::new();
        talk.vni = vni;
        let talk = talk
            .established()
            .c("PA", 1_101, 5_001, &[7; 24])
            .c("FA", 1_125, 5_001, b"")
            .after(40_000)
            .s("PA", 5_001, 1_125, &[7; 27])
            .s("FA", 5_028, 1_125, b"")
            .s("A", 5_029, 1_126, b"")
            .after(80)
            .c("R", 1_125, 0, b"")
            .c("R", 1_125, 0, b"")
            .c("R", 1_126, 0, b"");
        let records = talk.judged();
        assert_eq!(records.len(), 3, "{vni:?}");
        for record in &records {
            assert_is(record, ["data_after_close", "noise", "local_kernel"]);
        }
    }
}

#[test]
fn an_answer_to_an_older_acknowledgment_is_an_answer() {
    let talk = Talk::new()
        .established()
        .c("PA", 1_101, 5_001, &[7; 24])
        .c("FA", 1_125, 5_001, b"")
        .after(20_000)
        .s("PA", 5_001, 1_101, &[7; 200])
        .s("FA", 5_201, 1_125, b"")
        .after(80)
        .c("R", 1_101, 0, b"")
        .c("R", 1_125, 0, b"");
    for record in &talk.judged() {
        assert_eq!(record["verdict"]["cause"], "data_after_close", "{record:#}");
        assert_eq!(record["verdict"]["origin"], "local_kernel", "{record:#}");
    }
}

#[test]
fn a_fin_that_crosses_data_is_a_close_before_it() {
    let mut talk = Talk::new();
    talk.ttls = [64, 64];
    let talk = talk
        .established()
        .c("PA", 1_101, 5_001, &[7; 24])
        .after(4)
        .s("FA", 5_001, 1_101, b"")
        .after(63)
        .s("R", 5_001, 0, b"");
    let records = talk.judged();
    assert_eq!(records.len(), 1);
    assert_eq!(
        records[0]["verdict"]["cause"], "data_after_close",
        "{records:#?}"
    );
}

#[test]
fn an_abort_with_an_acknowledgment_number_but_no_flag_is_the_application_s() {
    let talk = Talk::new()
        .established()
        .s("PA", 5_001, 1_101, &[7; 500])
        .after(40_000)
        .c("A", 1_101, 5_501, b"")
        .after(1_000_000)
        .c("R", 1_101, 5_501, b"");
    let records = talk.judged();
    assert_eq!(records.len(), 1);
    assert_eq!(
        records[0]["verdict"]["origin"], "local_process",
        "{records:#?}"
    );
    assert!(!summary(&records[0]).contains("raw socket"), "{records:#?}");
}

/// Its twin: an answer leaves the field empty.
#[test]
fn an_answer_without_flag_and_number_that_answers_nothing_stays_one() {
    let talk = Talk::new()
        .established()
        .s("PA", 5_001, 1_101, &[7; 500])
        .after(40_000)
        .c("A", 1_101, 5_501, b"")
        .after(1_000_000)
        .c("R", 1_101, 0, b"");
    let records = talk.judged();
    assert_eq!(records[0]["verdict"]["cause"], "unknown", "{records:#?}");
}

#[test]
fn unanswered_syns_and_a_reset_are_a_connect_that_was_given_up() {
    let mut talk = Talk::new();
    for second in [1, 2, 4, 8, 16, 32] {
        talk = talk.c("S", 1_000, 0, b"").after(second * 1_000_000);
    }
    let records = talk.c("R", 1_000, 0, b"").judged();
    assert_eq!(records.len(), 1);
    assert!(
        summary(&records[0]).contains("gave up"),
        "{}",
        summary(&records[0])
    );
    assert_eq!(records[0]["verdict"]["severity"], "refused", "{records:#?}");
}

#[test]
fn the_local_address_counts_whatever_the_ttl() {
    let mut talk = Talk::new();
    talk.ttls = [52, 63];
    let talk = talk
        .established()
        .s("PA", 5_001, 1_101, &[7; 50])
        .after(40_000)
        .c("A", 1_101, 5_051, b"")
        .after(1_000_000)
        .s("RA", 5_051, 1_101, b"");
    let records = talk.judged_with(&["--local", "10.9.0.2"]);
    assert_eq!(records[0]["direction"], "sent", "{records:#?}");
    assert_eq!(
        records[0]["verdict"]["origin"], "local_process",
        "{records:#?}"
    );
    assert_eq!(
        records[0]["verdict"]["confidence"], "likely",
        "{records:#?}"
    );
}

#[test]
fn a_local_address_that_is_not_in_the_capture_is_a_warning_that_names_those_that_are() {
    let run = Talk::new()
        .established()
        .capture
        .run(&["--local", "10.9.0.22"]);
    assert!(
        run.stderr
            .contains("--local 10.9.0.22 is not in the capture")
            && run.stderr.contains("10.9.0.1")
            && run.stderr.contains("10.9.0.2"),
        "{}",
        run.stderr
    );
    let known = Talk::new()
        .established()
        .capture
        .run(&["--local", "10.9.0.2"]);
    assert!(!known.stderr.contains("is not in"), "{}", known.stderr);
}

#[test]
fn a_bare_acknowledgment_does_not_end_the_silence_before_a_write() {
    let talk = Talk::new()
        .established()
        .after(58_000_000)
        .c("PA", 1_101, 5_001, &[7; 50])
        .after(40_000)
        .s("A", 5_001, 1_151, b"")
        .after(24)
        .s("R", 5_001, 0, b"");
    let records = talk.judged();
    assert_eq!(records.len(), 1);
    let quiet = records[0]["idle"]["quiet_before"]
        .as_f64()
        .unwrap_or_default();
    assert!((57.9..58.2).contains(&quiet), "{records:#?}");
    assert!(
        summary(&records[0]).contains("58"),
        "{}",
        summary(&records[0])
    );
}

/// A server closes with an alert and a FIN, the client answers with what it still had to say, and maybe closes.
fn goodbye(answer: &[u8], closes: bool) -> Vec<Value> {
    let mut farewell = vec![0x15, 3, 3, 0, 26];
    farewell.extend([9; 26]);
    let mut talk = Talk::new()
        .established()
        .s("PA", 5_001, 1_101, &farewell)
        .s("FA", 5_032, 1_101, b"")
        .after(20)
        .c("A", 1_101, 5_033, b"")
        .c("PA", 1_101, 5_033, answer);
    if closes {
        talk = talk.c("FA", 1_101 + answer.len() as u32, 5_033, b"");
    }
    let records = talk.after(40_000).s("R", 5_033, 0, b"").judged();
    assert_eq!(records.len(), 1);
    records
}

#[test]
fn a_farewell_of_tls_answered_by_a_reset_costs_nothing() {
    let mut farewell = vec![0x15, 3, 3, 0, 26];
    farewell.extend([9; 26]);
    let records = goodbye(&farewell, true);
    assert_eq!(records[0]["verdict"]["severity"], "noise", "{records:#?}");
}

#[test]
fn a_request_answered_by_a_reset_is_lost() {
    // Over HTTPS a request is longer than a close_notify.
    for (request, closes) in [(&[7; 32][..], false), (&[7; 200], true)] {
        let records = goodbye(request, closes);
        assert_eq!(records[0]["verdict"]["severity"], "fault", "{records:#?}");
    }
}

#[test]
fn resets_both_ways_are_one_end_and_no_box_on_the_link() {
    let talk = Talk::new()
        .established()
        .c("PA", 1_101, 5_001, &[7; 27])
        .c("FA", 1_128, 5_001, b"")
        .after(20_000)
        .s("PA", 5_001, 1_101, &[7; 53])
        .after(30)
        .c("RA", 1_129, 5_054, b"")
        .after(500)
        .s("FA", 5_054, 1_101, b"")
        .after(1_500)
        .s("R", 5_001, 0, b"")
        .s("R", 5_001, 0, b"");
    let records = talk.judged();
    assert_eq!(records.len(), 3, "{records:#?}");
    for record in &records {
        assert!(
            !summary(record).contains("device on the link"),
            "{record:#}"
        );
    }
    assert_eq!(
        records[0]["verdict"]["cause"], "data_after_close",
        "{records:#?}"
    );
}

#[test]
fn data_after_a_reset_opens_the_connection_again() {
    let talk = Talk::new()
        .established()
        // Forged: with another TTL, and both ends go on.
        .after(1_000_000)
        .s("R", 5_001, 0, b"")
        .after(3_000_000)
        .c("PA", 1_101, 5_001, &[7; 50])
        .after(40_000)
        .s("PA", 5_001, 1_151, &[7; 60])
        .after(40_000)
        .c("A", 1_151, 5_061, b"")
        .after(20_000_000)
        .s("RA", 5_061, 1_151, b"");
    let records = talk.judged();
    assert_eq!(records.len(), 2);
    assert_is(&records[1], ["reset_by_peer", "fault", "peer"]);
}

#[test]
fn what_this_host_sent_is_not_said_to_be_the_peer_s() {
    let talk = Talk::new()
        .established()
        .s("PA", 5_001, 1_101, &[7; 50])
        .after(40_000)
        .c("A", 1_101, 5_051, b"")
        .after(1_000_000)
        .c("RA", 1_101, 5_051, b"")
        .after(100)
        .s("PA", 5_051, 1_101, &[7; 50])
        .after(30)
        .c("R", 1_101, 0, b"");
    let records = talk.judged();
    assert_eq!(records.len(), 2, "{records:#?}");
    for record in &records {
        assert_eq!(record["direction"], "sent");
        assert_ne!(record["verdict"]["cause"], "reset_by_peer", "{record:#}");
    }
}

/// Linux sends such resets with the IP identification 0.
#[test]
fn equal_answers_to_two_segments_are_two_resets() {
    let talk = Talk::new()
        .established()
        .c("FA", 1_101, 5_001, b"")
        .after(40_000)
        .s("PA", 5_001, 1_102, &[7; 27])
        .s("PA", 5_028, 1_102, &[7; 27])
        .after(80)
        .c("R", 1_102, 0, b"")
        .c("R", 1_102, 0, b"");
    let run = talk.capture.run(&["-o", "json", "--noise"]);
    assert_eq!(run.records().len(), 2, "{}", run.stdout);
    assert!(!run.stderr.contains("duplicate"), "{}", run.stderr);
}

/// The SYN-ACK may have been lost by the capture: its answer has the next number.
#[test]
fn an_answer_to_a_syn_ack_that_was_not_captured_is_no_connect_given_up() {
    let records = Talk::new()
        .c("S", 1_000, 0, b"")
        .after(40_000)
        .c("R", 1_001, 0, b"")
        .judged();
    assert_eq!(records.len(), 1);
    assert!(
        !summary(&records[0]).contains("gave up"),
        "{}",
        summary(&records[0])
    );
}

/// A scanner and some stacks ask three times: it is one connect.
#[test]
fn a_connect_that_is_refused_again_is_refused_once() {
    let mut talk = Talk::new();
    for _ in 0..3 {
        talk = talk
            .c("S", 1_000, 0, b"")
            .after(40_000)
            .s("RA", 0, 1_001, b"")
            .after(460_000);
    }
    let records = talk.judged();
    let severities: Vec<_> = records
        .iter()
        .map(|record| record["verdict"]["severity"].as_str().unwrap())
        .collect();
    assert_eq!(severities, ["refused", "noise", "noise"]);
    for record in &records {
        assert_eq!(
            record["verdict"]["cause"], "connection_refused",
            "{record:#}"
        );
    }
}
