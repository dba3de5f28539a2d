//! `rsttrace pcap` on captures that the tests write byte by byte.

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
