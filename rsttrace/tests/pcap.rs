//! `rsttrace pcap` on captures that the tests write byte by byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "pcap/ends.rs"]
mod ends;
#[path = "pcap/file.rs"]
mod file;

use file::{Capture, ETHERNET};

/// TCP over IPv4 with its link header.
fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend(file::tcp(file::C, file::S, 64, "S", (1_000, 0), b""));
    frame
}

#[test]
fn a_capture_without_packets_or_without_tcp_is_no_silent_zero() {
    let mut macsec = frame();
    macsec[12..14].copy_from_slice(&[0x88, 0xe5]);
    let mut udp = frame();
    udp[23] = 17;
    for (frames, warning) in [
        (vec![], "has no packets; check the interface"),
        (vec![udp.clone()], "no TCP in the 1 packet of"),
        (
            vec![macsec.clone(), macsec.clone(), udp.clone()],
            "no TCP found in the 3 packets of",
        ),
        (vec![macsec, udp, frame()], ""),
    ] {
        let mut capture = Capture::new(ETHERNET);
        for frame in &frames {
            capture.frame(0, frame);
        }
        let run = capture.run(&[]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        if warning.is_empty() {
            assert!(!run.stderr.contains("no TCP"), "{}", run.stderr);
        } else {
            assert!(run.stderr.contains(warning), "{}", run.stderr);
        }
        if frames.len() == 3 {
            assert!(
                run.stderr
                    .contains("not analyzed, EtherType 0x88e5 (MACsec)"),
                "{}",
                run.stderr
            );
        }
    }
}

#[test]
fn a_snapshot_length_that_cuts_all_headers_is_a_warning() {
    let mut capture = Capture::new(ETHERNET);
    for _ in 0..5 {
        capture.cut(0, &frame(), 40);
    }
    let run = capture.run(&[]);
    assert_eq!(run.code, Some(0));
    assert!(
        run.stderr.contains("5 are truncated before its end")
            && run.stderr.contains("tcpdump -s 128"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains("5 packets: 0 TCP, 0 other protocols, 5 not analyzed"),
        "{}",
        run.stderr
    );
}

#[test]
fn each_capture_is_an_object_of_its_own_in_json() {
    let mut capture = Capture::new(ETHERNET);
    capture.frame(0, &frame());
    let mut macsec = frame();
    macsec[12..14].copy_from_slice(&[0x88, 0xe5]);
    capture.frame(1, &macsec);
    let run = capture.run(&["-o", "json"]);
    assert!(run.records().is_empty());
    let object: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(object["schema"], "rsttrace.capture.v1");
    assert_eq!((&object["packets"], &object["tcp"]), (&2.into(), &1.into()));
    assert_eq!(object["not_tcp"], 0);
    assert_eq!(
        object["not_analyzed"],
        serde_json::json!([{"reason": "EtherType 0x88e5 (MACsec)", "packets": 1}])
    );
    let validator = jsonschema::validator_for(&rsttrace::cli::schema::document(
        rsttrace::cli::schema::Kind::Capture,
    ))
    .unwrap();
    assert!(validator.is_valid(&object));
}

/// A refused connect beside healthy connections, at a place so many milliseconds and routers from the client.
fn refused_at(routers: u8) -> Capture {
    let (there, back) = (
        u64::from(routers) * 5_000,
        40_000 - u64::from(routers) * 5_000,
    );
    let (client, server) = (64 - routers, 60 + routers);
    let mut capture = Capture::new(ETHERNET);
    let mut send = |at: u64, from: &str, flags: &str, numbers: (u32, u32), payload: &[u8]| {
        let is_client = from != file::S;
        let (to, ttl) = if is_client {
            (file::S, client)
        } else {
            (file::C, server)
        };
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend(file::tcp(from, to, ttl, flags, numbers, payload));
        capture.frame(at, &frame);
    };
    send(there, file::C, "S", (1_000, 0), b"");
    send(back, file::S, "SA", (5_000, 1_001), b"");
    send(40_000 + there, file::C, "A", (1_001, 5_001), b"");
    send(40_100 + there, file::C, "PA", (1_001, 5_001), &[7; 100]);
    send(40_100 + back, file::S, "PA", (5_001, 1_101), &[8; 100]);
    send(80_200 + there, file::C, "FA", (1_101, 5_101), b"");
    send(80_200 + back, file::S, "FA", (5_101, 1_102), b"");
    send(5_000_000 + there, file::C, "S", (77_000, 0), b"");
    send(5_000_000 + back, file::S, "RA", (0, 77_001), b"");
    capture
}

#[test]
fn a_reset_in_several_captures_is_counted_once() {
    let captures = [0, 2, 4].map(refused_at);
    let run = Capture::run_all(&captures.each_ref(), &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("1 reset in") && run.stderr.contains("0 faults, 1 refused, 0 noise"),
        "{}{}",
        run.stdout,
        run.stderr
    );
}

/// On the link between two ends, or on a router.
#[test]
fn the_summary_names_the_sender_of_what_passes() {
    let run = refused_at(2).run(&["-v"]);
    let peers = run.stderr.rsplit("peer\n").next().unwrap();
    assert!(
        peers.contains("10.9.0.2") && !peers.contains("10.9.0.1"),
        "{}",
        run.stderr
    );
}

#[test]
fn captures_that_share_no_connection_are_shown_each_for_itself() {
    let mut other = Capture::new(ETHERNET);
    for number in 0..30_u32 {
        let from = format!("10.8.0.1:{}", 30_000 + number);
        for (at, from, to, ttl, flags, numbers) in [
            (0, from.as_str(), file::S, 64, "S", (9_000 + number, 0)),
            (
                10_000,
                file::S,
                from.as_str(),
                60,
                "RA",
                (0, 9_001 + number),
            ),
        ] {
            let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
            frame.extend(file::tcp(from, to, ttl, flags, numbers, b""));
            other.frame(at + u64::from(number) * 1_000_000, &frame);
        }
    }
    let alone = Capture::run_all(&[&refused_at(0), &other], &[]);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    assert!(
        alone
            .stderr
            .contains("no connection with a reset in common"),
        "{}",
        alone.stderr
    );
    assert!(
        !alone.stdout.contains("in one capture only"),
        "{}",
        alone.stdout
    );
    assert!(alone.stdout.lines().count() < 50, "{}", alone.stdout);
}
