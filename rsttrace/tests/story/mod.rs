//! Six hours of a host behind a balancer, as records: what a report is looked at with.
//!
//! Nothing is random: the same number of resets gives the same story.

use rsttrace::record::Record;
use serde_json::{Value, json};

const BOOT: &str = "0d4f8a0e-53a5-4f0b-9c1e-6b2b6f0a7d11";
const NETNS: u32 = 4_026_531_840;
/// Seconds after midnight, and how long the story takes.
const BEGIN: f64 = 21_600.0;
const SPAN: f64 = 21_600.0;

/// JSON lines in the order of their times: about so many resets, sums of two floods, two deaths without a reset.
pub fn lines(resets: usize) -> String {
    let mut all: Vec<(f64, Value)> = Vec::new();
    let share = |part: f64| ((resets as f64 * part) as usize).max(2);
    idle(&mut all, share(0.12));
    lingers(&mut all, share(0.15));
    unread(&mut all, share(0.05));
    scan(&mut all, share(0.25));
    proxied(&mut all, share(0.05));
    forged(&mut all, share(0.03));
    refused(&mut all, share(0.15));
    noise(&mut all, share(0.10));
    unknown(&mut all, share(0.02));
    keepalive(&mut all, share(0.02));
    all.push((SPAN * 0.7, hostile()));
    sums(&mut all);
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut text = String::new();
    for (number, (at, mut value)) in all.into_iter().enumerate() {
        value["time"] = json!(time(at));
        value["host"] = json!("web-3");
        if value["schema"] != "rsttrace.suppressed.v1" {
            value["id"] = json!({"boot": BOOT, "number": number + 1_000});
        }
        text.push_str(&value.to_string());
        text.push('\n');
    }
    text
}

/// Only the resets, parsed.
#[allow(dead_code, reason = "not every test needs them")]
pub fn records(resets: usize) -> Vec<Record> {
    lines(resets)
        .lines()
        .filter(|line| line.contains("rsttrace.reset.v1"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// RFC 3339 with nanoseconds.
fn time(at: f64) -> String {
    let nanos = ((BEGIN + at) * 1e9) as u64;
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("2026-01-05T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// A number below one that looks like chance.
fn chance(seed: usize) -> f64 {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed >> 11) as f64) / ((1_u64 << 53) as f64)
}

fn reset(
    direction: &str,
    local: (&str, usize),
    remote: (&str, usize),
    verdict: [&str; 4],
    summary: &str,
) -> Value {
    let [origin, cause, severity, confidence] = verdict;
    json!({
        "schema": "rsttrace.reset.v1",
        "direction": direction,
        "local": {"address": local.0, "port": local.1},
        "remote": {"address": remote.0, "port": remote.1},
        "netns": NETNS, "interface": "eth0",
        "verdict": {"origin": origin, "cause": cause, "severity": severity, "confidence": confidence,
            "summary": summary, "evidence": [], "advice": []},
        "packet": {"ttl": 64, "seq": 3_070_136_834_u32, "ack": 7_000, "window": 0, "flags": "R."},
        "kernel": {"hook": ["tcp:tcp_receive_reset", "tc:ingress"]}
    })
}

fn process(comm: &str, pid: usize, role: &str) -> Value {
    json!({"pid": pid, "comm": comm, "exe": format!("/usr/sbin/{comm}"), "unit": format!("{comm}.service"),
        "role": role, "quality": "certain"})
}

fn fact(kind: &str, detail: &str) -> Value {
    json!({"kind": kind, "detail": detail})
}

fn client(seed: usize) -> String {
    format!("10.0.3.{}", 2 + seed % 40)
}

fn idle(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let quiet = 300.0 + (chance(seed) - 0.5) * 0.8;
        let summary = format!(
            "idle for {quiet:.1} s; RST arrived 0.4 ms after our next write (min RTT 21 ms): a stateful device on the path had expired the connection"
        );
        let sure = if seed < 3 { "possible" } else { "likely" };
        let mut value = reset(
            "received",
            ("10.0.9.4", 8_080),
            (&client(seed), 40_000 + seed % 20_000),
            ["middlebox", "idle_timeout", "fault", sure],
            &summary,
        );
        value["process"] = process("java", 412, "owner");
        value["packet"]["ttl"] = json!(63);
        value["packet"]["expected_ttl"] = json!(57);
        value["verdict"]["evidence"] = json!([
            fact(
                "quiet_gap",
                &format!("no segment for {quiet:.2} s before our write")
            ),
            fact("timing", "reset 0.4 ms after the write, min RTT 21 ms"),
            fact("ttl", "the reset came with TTL 63, the handshake with 57"),
        ]);
        value["verdict"]["advice"] = json!([
            "turn SO_KEEPALIVE on for this socket, with TCP_KEEPIDLE below 240 s",
            "raise the idle timeout of the balancer above 300 s"
        ]);
        value["idle"] = json!({"quiet_before": quiet, "since_data": quiet, "reset_after_send": 0.0004,
            "mode": "late_rst", "candidates": [
                {"device": "IPVS (tcp timeout set to 300 s)", "timeout": 300.0, "mode": "late_rst", "basis": "configured"},
                {"device": "Azure Load Balancer, highest", "timeout": 240.0, "mode": "late_rst", "basis": "known"}]});
        if seed >= 3 {
            value["idle"]["learned"] = json!({"timeout": 300.0, "samples": seed, "of": seed + 1,
                "spread": 0.4, "bound": "at_most"});
        }
        all.push((SPAN * (0.05 + 0.9 * chance(seed + 7)), value));
    }
}

fn lingers(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let quiet = 0.02 + 4.0 * chance(seed).powi(4);
        let mut value = reset(
            "sent",
            ("10.0.9.4", 443),
            (&client(seed * 7), 33_000 + seed % 20_000),
            ["local_process", "linger_zero", "fault", "certain"],
            &format!(
                "nginx[87] closed with SO_LINGER {{1, 0}} after {:.1} s",
                quiet + 0.3
            ),
        );
        value["process"] = process("nginx", 87 + seed % 4, "closer");
        value["verdict"]["evidence"] = json!([fact(
            "kernel_reason",
            "the kernel's reason is TCP_ABORT_ON_LINGER"
        )]);
        value["verdict"]["advice"] = json!([
            "leave SO_LINGER alone, or set it to {0, 0}: nginx: reset_timedout_connection off;"
        ]);
        value["idle"] = json!({"quiet_before": quiet});
        // A deployment at half time.
        let at = if seed % 3 == 0 {
            0.5 + 0.02 * chance(seed)
        } else {
            chance(seed + 3)
        };
        all.push((SPAN * at, value));
    }
}

fn unread(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let mut value = reset(
            "sent",
            ("2001:db8:85a3:8d3::7348", 8_443),
            (
                &format!("2001:db8:{:x}::{:x}", seed % 9, seed + 1),
                52_000 + seed % 9_000,
            ),
            [
                "local_process",
                "close_with_unread_data",
                "fault",
                "certain",
            ],
            "uwsgi[1377] closed with 1,448 bytes unread after 12.3 s",
        );
        value["process"] = process("uwsgi", 1_377, "closer");
        value["verdict"]["evidence"] = json!([fact(
            "kernel_reason",
            "the kernel's reason is TCP_ABORT_ON_CLOSE"
        )]);
        value["verdict"]["advice"] =
            json!(["read the request to its end, or shutdown(SHUT_WR) and drain, before close()"]);
        all.push((SPAN * chance(seed + 11), value));
    }
}

fn scan(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let port = 1_000 + seed * 13 % 30_000;
        let mut value = reset(
            "sent",
            ("10.0.9.4", port),
            ("203.0.113.77", 61_001),
            ["local_kernel", "port_closed", "refused", "certain"],
            &format!("no listener on port {port}"),
        );
        value["verdict"]["evidence"] =
            json!([fact("kernel_reason", "the kernel's reason is NO_SOCKET")]);
        all.push((SPAN * (0.3 + 0.04 * chance(seed + 5)), value));
    }
}

/// A back end resets; the proxy resets its client.
fn proxied(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let at = SPAN * chance(seed + 23);
        let id = 900_000 + seed;
        let mut back = reset(
            "received",
            ("10.0.9.4", 40_112 + seed),
            ("10.0.5.2", 8_000),
            ["peer", "reset_by_peer", "fault", "certain"],
            "10.0.5.2:8000 reset the connection after 3.2 s, 1.1 ms after our unacknowledged write",
        );
        back["process"] = process("haproxy", 640, "owner");
        back["packet"]["ttl"] = json!(62);
        back["link"] = json!({"id": id, "role": "receiver"});
        back["incident"] = json!({"id": id, "role": "first", "severity": "fault"});
        all.push((at, back));
        let mut front = reset(
            "sent",
            ("10.0.9.4", 80),
            (&client(seed), 50_300 + seed),
            ["peer", "propagated", "noise", "likely"],
            "haproxy[640] reset this connection because another of its connections ended: 10.0.5.2:8000 reset the connection after 3.2 s",
        );
        front["process"] = process("haproxy", 640, "closer");
        front["verdict"]["evidence"] = json!([fact(
            "proxy",
            "the same process got a reset from 10.0.5.2:8000 0.3 ms before"
        )]);
        front["link"] = json!({"id": id, "role": "sender"});
        front["incident"] = json!({"id": id, "role": "leg", "severity": "fault"});
        all.push((at + 0.0003, front));
    }
}

fn forged(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let mut value = reset(
            "received",
            ("10.0.9.4", 51_000 + seed),
            ("198.51.100.7", 443),
            ["middlebox", "not_from_peer", "fault", "likely"],
            "a reset with source 198.51.100.7:443 does not look like it came from the peer: the peer kept sending after the reset",
        );
        value["process"] = process("git-remote-https", 2_100 + seed, "owner");
        value["packet"]["ttl"] = json!(243);
        value["packet"]["expected_ttl"] = json!(49);
        value["verdict"]["evidence"] = json!([
            fact("ttl", "the reset came with TTL 243, the handshake with 49"),
            fact("talks_on", "3 segments of the peer came after it"),
        ]);
        value["verdict"]["advice"] = json!([
            "ask whoever runs the firewalls on the way to 198.51.100.7 which of them resets TLS connections"
        ]);
        all.push((SPAN * chance(seed + 31), value));
    }
}

fn refused(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let mut value = reset(
            "received",
            ("10.0.9.4", 42_000 + seed % 9_000),
            ("10.0.5.9", 5_432),
            ["peer", "connection_refused", "refused", "certain"],
            "10.0.5.9:5432 refused the connection",
        );
        value["process"] = process("java", 412, "owner");
        value["verdict"]["advice"] = json!(["check that something listens on 5432 there"]);
        all.push((SPAN * (0.62 + 0.1 * chance(seed + 41)), value));
    }
}

fn noise(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let value = reset(
            "observed",
            ("10.0.9.4", 443),
            (&format!("203.0.113.{}", seed % 250), 61_001),
            ["middlebox", "blind_attempt", "noise", "likely"],
            "RST rejected (in window, unexpected sequence number) with a challenge ACK; connection still up",
        );
        all.push((SPAN * chance(seed + 53), value));
    }
}

fn unknown(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let mut value = reset(
            "observed",
            ("10.0.9.4", 9_090),
            ("10.0.7.3", 38_000 + seed),
            ["unknown", "unknown", "fault", "possible"],
            "a reset from 10.0.7.3 fits a socket, unknown whether it was accepted, because no event says that it was",
        );
        value["verdict"]["evidence"] = json!([
            fact(
                "missing",
                "no event of the TCP stack: it may have been dropped by a packet filter"
            ),
            fact("lost", &format!("{} events were lost around it", 10 + seed)),
        ]);
        all.push((SPAN * chance(seed + 61), value));
    }
}

fn keepalive(all: &mut Vec<(f64, Value)>, number: usize) {
    for seed in 0..number {
        let quiet = 7_200.0 + 675.0 + chance(seed) * 10.0;
        let mut value = reset(
            "sent",
            ("10.0.9.4", 22),
            ("192.0.2.50", 49_000 + seed),
            ["local_kernel", "keepalive_timeout", "fault", "certain"],
            "192.0.2.50 answered none of 9 keepalive probes of sshd[977], silent for 2 h 11 min",
        );
        value["process"] = process("sshd", 977, "owner");
        value["verdict"]["evidence"] =
            json!([fact("probes", "9 keepalive probes were not answered")]);
        value["idle"] = json!({"quiet_before": quiet});
        all.push((SPAN * chance(seed + 71), value));
    }
}

/// A process that would like to be markup, a colour, and something else.
pub fn hostile() -> Value {
    let script = "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">";
    let mut value = reset(
        "sent",
        ("10.0.9.4", 8_081),
        ("10.0.3.9", 51_600),
        ["local_process", "linger_zero", "fault", "certain"],
        &format!("closed by \u{1b}[2J{script}\u{202e}txt.exe"),
    );
    value["process"] = process("\u{1b}]0;pwn\u{7}<b onclick=1>", 666, "closer");
    value["process"]["unit"] = json!("a\u{202e}b\u{200b}.service");
    value["verdict"]["evidence"] = json!([fact(script, script)]);
    value["verdict"]["advice"] = json!([script]);
    value
}

fn sums(all: &mut Vec<(f64, Value)>) {
    for (from, to, count, network) in [
        (0.30, 0.32, 41_233, Some("203.0.113.0/24")),
        (0.32, 0.34, 204_871, None),
        (0.80, 0.805, 1_204, Some("198.51.100.0/24")),
    ] {
        let mut sum = json!({"schema": "rsttrace.suppressed.v1", "since": time(SPAN * from), "count": count,
            "direction": "sent", "cause": "port_closed", "reason": "NO_SOCKET", "netns": NETNS});
        if let Some(network) = network {
            sum["remote_network"] = json!(network);
        }
        all.push((SPAN * to, sum));
    }
    for at in [0.4, 0.41] {
        let dead = json!({"schema": "rsttrace.timeout.v1",
            "local": {"address": "10.0.9.4", "port": 8_080}, "remote": {"address": "10.0.3.7", "port": 40_001},
            "error": 110, "error_name": "ETIMEDOUT", "state": "ESTABLISHED",
            "process": process("java", 412, "owner")});
        all.push((SPAN * at, dead));
    }
}
