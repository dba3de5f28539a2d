#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::record::sample_failure;

/// As journald reads an entry.
fn fields(entry: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = entry;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| b"=\n".contains(byte)).unwrap();
        let name = std::str::from_utf8(&rest[..end]).unwrap().to_owned();
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        assert!(name.bytes().all(is_name), "{name}");
        let is_sized = rest[end] == b'\n';
        rest = &rest[end + 1..];
        let length = if is_sized {
            let (length, after) = rest.split_first_chunk().unwrap();
            rest = after;
            usize::try_from(u64::from_le_bytes(*length)).unwrap()
        } else {
            rest.iter().position(|byte| *byte == b'\n').unwrap()
        };
        let value = std::str::from_utf8(&rest[..length]).unwrap().to_owned();
        assert_eq!(rest[length], b'\n');
        rest = &rest[length + 1..];
        assert_eq!(found.insert(name, value), None);
    }
    found
}

fn record(name: &str) -> Record {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/records");
    let text = std::fs::read_to_string(Path::new(folder).join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_reset_has_a_field_for_each_fact_that_one_searches_by() {
    let mut record = record("wide_names_container.json");
    record.process.as_mut().unwrap().cgroup = Some("/system.slice/docker-9d1c.scope".into());
    let mut fields = fields(&reset(&record).unwrap());
    let whole: Record = serde_json::from_str(&fields.remove("RSTTRACE_RECORD").unwrap()).unwrap();
    assert_eq!(whole, record);
    let shown: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let expected = [
        "MESSAGE=sent 10.0.9.4:8082 → 10.0.3.9:51601  订单服务[4194303] pod orders-6b8c9d4f55-zxcvb/app  LOCAL PROCESS certain  killed by signal 9 with 17 unread bytes → look for OOM kills: journalctl -k -g oom",
        "MESSAGE_ID=63a5b3cf4d874db3b9616b52aa1e3b2e",
        "OBJECT_PID=4194303",
        "OBJECT_SYSTEMD_UNIT=docker-9d1c.scope",
        "PRIORITY=4",
        "RSTTRACE_CAUSE=killed_with_unread_data",
        "RSTTRACE_CONFIDENCE=certain",
        "RSTTRACE_CONTAINER=app",
        "RSTTRACE_CONTAINER_ID=9d1cdd1b5a5e0f1f4a3b2c1d9d1cdd1b5a5e0f1f4a3b2c1d9d1cdd1b5a5e0f1f",
        "RSTTRACE_DIRECTION=sent",
        "RSTTRACE_LOCAL_ADDRESS=10.0.9.4",
        "RSTTRACE_LOCAL_PORT=8082",
        "RSTTRACE_NAMESPACE=shop",
        "RSTTRACE_NETNS=4026532500",
        "RSTTRACE_ORIGIN=local_process",
        "RSTTRACE_PID=4194303",
        "RSTTRACE_POD=orders-6b8c9d4f55-zxcvb",
        "RSTTRACE_PROCESS=订单服务",
        "RSTTRACE_REMOTE_ADDRESS=10.0.3.9",
        "RSTTRACE_REMOTE_PORT=51601",
        "RSTTRACE_SEVERITY=fault",
        "RSTTRACE_WORKLOAD=orders",
        "SYSLOG_IDENTIFIER=rsttrace",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn command_lines_stay_out_of_the_journal() {
    let secret = Some("mysql --password=hunter2".into());
    let mut record = record("close_with_unread_data.json");
    let mut owner = record.process.clone().unwrap();
    owner.cmdline.clone_from(&secret);
    record.process.as_mut().unwrap().cmdline.clone_from(&secret);
    record.owner = Some(Box::new(owner.clone()));
    let mut failure = sample_failure();
    failure.process = Some(owner);
    for entry in [reset(&record).unwrap(), failed(&failure).unwrap()] {
        let entry = String::from_utf8(entry).unwrap();
        assert!(entry.contains("RSTTRACE_RECORD"));
        assert!(!entry.contains("hunter2"), "{entry}");
    }
}

#[test]
fn names_that_any_user_can_choose_add_no_field_and_no_line() {
    let mut record = record("hostile_names.json");
    let process = record.process.as_mut().unwrap();
    process.comm = "a\nPRIORITY=0\n".into();
    let fields = fields(&reset(&record).unwrap());
    assert_eq!(fields["PRIORITY"], "4");
    assert_eq!(fields["RSTTRACE_PROCESS"], "a\nPRIORITY=0\n");
    assert!(!fields["MESSAGE"].contains(|letter: char| letter.is_control()));
}

#[test]
fn a_pid_that_may_be_of_another_process_is_not_looked_up_by_journald() {
    let record = record("wide_names_container.json");
    let (mut outside, mut former) = (record.clone(), record);
    outside.process.as_mut().unwrap().outside = true;
    former.process.as_mut().unwrap().role = Role::FormerOwner;
    for record in [outside, former] {
        let fields = fields(&reset(&record).unwrap());
        assert!(!fields.contains_key("OBJECT_PID"));
        assert_eq!(fields["RSTTRACE_PID"], "4194303");
    }
}

#[test]
fn a_failure_has_its_own_message_id() {
    let fields = fields(&failed(&sample_failure()).unwrap());
    assert_eq!(fields["MESSAGE_ID"], FAILURE);
    assert!(fields["MESSAGE"].starts_with("fail "));
    assert!(fields.contains_key("RSTTRACE_FAILURE"));
    assert!(fields["RSTTRACE_RECORD"].contains("rsttrace.failure.v1"));
}

#[test]
fn similar_resets_are_one_entry_and_a_count_unless_every_one_is_wanted() {
    for (every, expected) in [(false, [RESET, SIMILAR].as_slice()), (true, &[RESET; 3])] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let journal = Journal::start(&path, Arc::default()).unwrap();
        let mut sink = Journald::new(journal, io::sink(), every);
        let now = Instant::now();
        for _ in 0..3 {
            sink.record(now, &record("close_with_unread_data.json"))
                .unwrap();
        }
        sink.end().unwrap();
        let mut entry = vec![0; 1 << 16];
        for id in expected {
            let length = socket.recv(&mut entry).unwrap();
            let fields = fields(&entry[..length]);
            assert_eq!(fields["MESSAGE_ID"], *id);
            if *id == SIMILAR {
                for (name, value) in [
                    ("RSTTRACE_COUNT", "2"),
                    ("PRIORITY", "4"),
                    ("RSTTRACE_CAUSE", "close_with_unread_data"),
                    ("RSTTRACE_SEVERITY", "fault"),
                    ("RSTTRACE_PROCESS", "nginx"),
                ] {
                    assert_eq!(fields[name], value, "{name}");
                }
                let message = &fields["MESSAGE"];
                assert!(
                    message.starts_with("+2 similar since 2026-01-05T12:03:44"),
                    "{message}"
                );
            }
        }
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut entry).is_err());
    }
}
