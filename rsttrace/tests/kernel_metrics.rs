//! Metrics over HTTP, in the file and in the summary agree with what happened.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use kernel::{
    Ended, Watch, await_refusal, close_with_linger_zero, closed_port, end_burst, eventually,
    private_namespace,
};
use nix::sys::signal::Signal;

/// Resets of each kind that are staged; both ends are on this host.
const STAGED: u64 = 25;

/// Values by name with labels, as they stand in the text.
type Metrics = BTreeMap<String, f64>;

/// Strictly: a metric is described before its values, and no line comes twice.
fn parse(text: &str) -> Metrics {
    let mut types = BTreeMap::new();
    let mut metrics = Metrics::new();
    assert!(text.ends_with('\n'), "cut off: {text}");
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(types.insert(name.to_owned(), kind), None, "{line}");
        } else if !line.starts_with("# HELP ") {
            let (key, value) = line.rsplit_once(' ').unwrap();
            let name = key.split('{').next().unwrap();
            assert!(types.contains_key(name), "no type: {line}");
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0, "{line}");
            assert_eq!(metrics.insert(key.to_owned(), value), None, "{line}");
        }
    }
    metrics
}

fn scrape(address: SocketAddr) -> Option<Metrics> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    Some(parse(body))
}

/// One where nobody listens now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn resets(direction: &str, origin: &str, cause: &str, severity: &str) -> String {
    format!(
        r#"rsttrace_resets_total{{direction="{direction}",origin="{origin}",cause="{cause}",severity="{severity}"}}"#
    )
}

/// Everything on this host is counted, also resets of other programs: the records show those, too.
fn resets_of_records(ended: &Ended) -> Metrics {
    let mut metrics = Metrics::new();
    for record in ended.records() {
        let verdict = &record["verdict"];
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let key = resets(
            &text(&record["direction"]),
            &text(&verdict["origin"]),
            &text(&verdict["cause"]),
            &text(&verdict["severity"]),
        );
        *metrics.entry(key).or_default() += 1.0;
    }
    metrics
}

fn resets_of(metrics: &Metrics) -> Metrics {
    let resets = metrics
        .iter()
        .filter(|(key, _)| key.starts_with("rsttrace_resets_total"));
    resets.map(|(key, value)| (key.clone(), *value)).collect()
}

fn assert_as_summary(metrics: &Metrics, ended: &Ended) {
    for (name, kind) in [
        ("sent", "sent"),
        ("received", "received"),
        ("on the wire", "on_the_wire"),
    ] {
        let total = ended.total(name);
        for (outcome, number) in [
            ("detailed", total.detailed),
            ("suppressed", total.suppressed),
            ("lost", total.lost),
        ] {
            let key = format!(r#"rsttrace_events_total{{kind="{kind}",outcome="{outcome}"}}"#);
            assert_eq!(metrics[&key], number as f64, "{key}: {}", ended.stderr);
        }
    }
}

fn stage() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..STAGED {
        close_with_linger_zero(&listener);
        await_refusal(closed_port(9));
        end_burst();
    }
}

fn read(file: &Path) -> Metrics {
    parse(&std::fs::read_to_string(file).unwrap())
}

#[test]
#[ignore = "needs root"]
fn what_is_scraped_and_what_the_file_says_is_what_was_staged() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rsttrace.prom");
        let address = free_address();
        let (at, name) = (address.to_string(), file.display().to_string());
        let watch = Watch::start(&[
            "--every",
            "--noise",
            "--metrics",
            &at,
            "--metrics-file",
            &name,
        ]);
        stage();
        let staged = [
            resets("sent", "local_process", "linger_zero", "fault"),
            resets("sent", "local_kernel", "port_closed", "refused"),
        ];
        let scraped = eventually("all of them", || {
            let scraped = scrape(address)?;
            let enough = |key: &String| scraped.get(key).is_some_and(|it| *it >= STAGED as f64);
            staged.iter().all(enough).then_some(scraped)
        });
        let received: f64 = scraped
            .iter()
            .filter(|(key, _)| key.contains(r#"direction="received""#))
            .map(|(_, value)| value)
            .sum();
        assert!(received >= 2.0 * STAGED as f64, "{scraped:#?}");
        for (key, least) in [
            ("process_resident_memory_bytes", 1e6),
            ("process_start_time_seconds", 1e9),
            ("rsttrace_ring_capacity_bytes", (4 << 20) as f64),
            ("rsttrace_ring_read_peak_bytes", 300.0),
            (
                r#"rsttrace_table_capacity_entries{table="tombstones"}"#,
                2.0,
            ),
            (r#"rsttrace_table_entries{table="processes"}"#, 1.0),
        ] {
            assert!(scraped[key] >= least, "{key}: {}", scraped[key]);
        }
        let version = env!("CARGO_PKG_VERSION");
        let build = format!(r#"rsttrace_build_info{{version="{version}"}}"#);
        assert!(scraped.contains_key(&build), "{scraped:#?}");
        let hooks: Vec<_> = scraped
            .keys()
            .filter(|key| key.starts_with("rsttrace_hook_active"))
            .collect();
        assert_eq!(hooks.len(), 11, "{hooks:?}");
        assert!(file.exists(), "it is written at the start");

        let ended = watch.end(Signal::SIGINT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let written = read(&file);
        assert_eq!(resets_of(&written), resets_of_records(&ended));
        assert_as_summary(&written, &ended);
        for (key, value) in &scraped {
            let counts = key.split('{').next().unwrap().ends_with("_total");
            assert!(!counts || written[key] >= *value, "{key} went back");
        }
        assert!(ended.stderr.contains(&format!("http://{address}/metrics")));
        assert!(ended.stderr.contains("\nrsttrace: "), "{}", ended.stderr);
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    });
}

#[test]
#[ignore = "needs root"]
fn filters_and_counts_do_not_change_what_is_counted() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rsttrace.prom");
        let name = file.display().to_string();
        let watch = Watch::start(&[
            "--every",
            "--cause",
            "keepalive_timeout",
            "--metrics-file",
            &name,
        ]);
        stage();
        let ended = watch.end(Signal::SIGTERM);
        assert!(ended.records().is_empty(), "{:?}", ended.records());
        let written = read(&file);
        let key = resets("sent", "local_process", "linger_zero", "fault");
        assert!(written[&key] >= STAGED as f64, "{written:#?}");
        assert_as_summary(&written, &ended);
    });
}

#[test]
#[ignore = "needs root"]
fn a_reader_that_goes_away_leaves_the_file_written() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rsttrace.prom");
        let name = file.display().to_string();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = kernel::rsttrace(&[
            "watch",
            "-v",
            "-o",
            "json",
            "--noise",
            "--metrics-file",
            &name,
        ]);
        let mut child = command.stdout(writer).spawn().unwrap();
        // It holds the other copy of the writing end.
        drop(command);
        drop(reader);
        eventually("the first text", || file.exists().then_some(()));
        let code = eventually("the end", || {
            await_refusal(closed_port(9));
            child.try_wait().unwrap()
        });
        assert_eq!(code.code(), Some(0));
        let counted: f64 = resets_of(&read(&file)).values().sum();
        assert!(counted >= 1.0, "what ended it was counted, too");
    });
}

#[test]
#[ignore = "needs root"]
fn a_client_that_writes_to_a_closed_connection_of_the_server_makes_no_fault() {
    private_namespace(|| {
        let address = free_address();
        let watch = Watch::own_namespace(&["--noise", "--metrics", &address.to_string()]);
        let mut stream = eventually("the server", || TcpStream::connect(address).ok());
        stream.write_all(b"GET /metrics HT").unwrap();
        // The server ends it, and what comes then is answered by a reset.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let _ = stream.write_all(b"TP");
        let record = watch.await_record("the reset", |record| record["direction"] == "sent");
        assert_eq!(record["verdict"]["severity"], "noise", "{record}");
        let evidence = record["verdict"]["evidence"].to_string();
        assert!(evidence.contains("rsttrace itself"), "{record}");
        let ended = watch.end(Signal::SIGINT);
        assert!(ended.stderr.contains(": 0 faults, "), "{}", ended.stderr);
    });
}
