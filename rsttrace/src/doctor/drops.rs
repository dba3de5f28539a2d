//! Checks of what this host drops before a connection comes about: full accept queues, connection tracking.

use super::{Finding, Listener, NetCounters, Severity, Tracking};
use crate::words::{count, things};

/// Part of the conntrack table, in percent, from which on it is nearly full.
const NEARLY_FULL: u64 = 90;

/// Listeners whose accept queue is or was full.
pub fn of_listeners(listeners: &[Listener], counters: &NetCounters) -> Vec<Finding> {
    let mut findings: Vec<Finding> = listeners
        .iter()
        .filter_map(|listener| of_listener(listener, counters))
        .collect();
    let overflows = counters.listen_overflows.unwrap_or(0);
    if findings.is_empty() {
        let summary = if overflows > 0 {
            format!(
                "no accept queue is full; {} since boot (ListenOverflows), of listeners that have closed",
                things(overflows, "overflow")
            )
        } else {
            "no accept queue has been full".to_owned()
        };
        findings.push(Finding::ok("accept_queues", summary));
    }
    findings
}

fn of_listener(listener: &Listener, counters: &NetCounters) -> Option<Finding> {
    let queue = listener.queue;
    let dropped = queue.dropped.unwrap_or(0);
    // Without an overflow in the namespace, the drops had other reasons.
    let has_overflowed = dropped > 0 && counters.listen_overflows.is_none_or(|it| it > 0);
    let (severity, kind, state) = if queue.is_full() {
        (Severity::Warning, "accept_queue_full", "is full")
    } else if has_overflowed {
        (Severity::Advice, "accept_queue_was_full", "was full")
    } else {
        return None;
    };
    let who = listener.holders.first().map_or_else(
        || "an unknown process".to_owned(),
        |program| format!("{}[{}]", program.comm, program.pid),
    );
    let summary = format!(
        "the accept queue of {who} on {} {state}: {} waiting, limit {}; {} since it listens",
        listener.local,
        things(queue.length, "connection"),
        count(queue.limit.into()),
        things(dropped, "drop")
    );
    let limit = u64::from(queue.limit);
    let advice = match counters.somaxconn {
        Some(most) if most <= limit => format!(
            "find out why the process accepts too slowly; if it does not: sysctl -w net.core.somaxconn={}, raise the backlog of the program too, and restart it",
            (2 * most).max(4096)
        ),
        _ => format!(
            "find out why the process accepts too slowly; if it does not, raise the backlog of the program above {limit} (net.core.somaxconn allows {}) and restart it",
            counters.somaxconn.map_or_else(|| "more".to_owned(), count)
        ),
    };
    Some(Finding {
        processes: listener.holders.clone(),
        port: Some(listener.local.port()),
        ..Finding::new(severity, kind, summary, advice)
    })
}

/// A conntrack table that is full, or packets that it dropped.
pub fn of_tracking(tracking: &Tracking) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Tracking { entries, most, .. } = *tracking;
    if most > 0 && entries * 100 >= most * NEARLY_FULL {
        findings.push(Finding::new(
            Severity::Warning,
            "conntrack_table_full",
            format!(
                "the conntrack table has {} of {} entries: when it is full, packets of new connections are dropped",
                count(entries),
                count(most)
            ),
            format!(
                "sysctl -w net.netfilter.nf_conntrack_max={}; a lower nf_conntrack_tcp_timeout_established (432000 s by default) and notrack rules for busy services keep it smaller",
                2 * most
            ),
        ));
    }
    let dropped = [
        (tracking.dropped, "table full"),
        (tracking.early_dropped, "entries evicted early"),
        (tracking.not_inserted, "entries not inserted"),
    ];
    let dropped: Vec<String> = dropped
        .iter()
        .filter_map(|(number, why)| number.filter(|it| *it > 0).map(|it| (it, why)))
        .map(|(number, why)| format!("{why}: {}", count(number)))
        .collect();
    if !dropped.is_empty() {
        findings.push(Finding::new(
            Severity::Advice,
            "conntrack_drops",
            format!(
                "connection tracking has dropped packets or entries since boot ({})",
                dropped.join("; ")
            ),
            "watch `conntrack -S`: if the numbers grow, raise net.netfilter.nf_conntrack_max; entries that are not inserted point to port collisions of SNAT or to races of UDP".to_owned(),
        ));
    }
    if let Some(invalid) = tracking.invalid.filter(|it| *it > 0) {
        findings.push(Finding::new(
            Severity::Advice,
            "conntrack_invalid",
            format!(
                "connection tracking has found {} INVALID since boot; a rule that drops `ct state invalid` makes connections hang without a reset",
                things(invalid, "packet")
            ),
            "if connections hang: sysctl -w net.netfilter.nf_conntrack_log_invalid=6 shows them in the kernel log; net.netfilter.nf_conntrack_tcp_be_liberal=1 accepts segments out of window".to_owned(),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "conntrack_table",
            format!(
                "the conntrack table has {} of {} entries and has dropped nothing",
                count(entries),
                count(most)
            ),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{AcceptQueue, Program};
    use super::*;

    fn listener(length: u32, limit: u32, dropped: u32) -> Listener {
        Listener {
            local: std::net::SocketAddr::from(([0, 0, 0, 0], 8080)),
            keepalive: Some(true),
            queue: AcceptQueue {
                length,
                limit,
                dropped: Some(dropped),
            },
            holders: vec![Program {
                pid: 99,
                comm: "gunicorn".to_owned(),
            }],
        }
    }

    fn counters(overflows: u64) -> NetCounters {
        NetCounters {
            listen_overflows: Some(overflows),
            somaxconn: Some(128),
            ..NetCounters::default()
        }
    }

    fn kinds(findings: &[Finding]) -> Vec<&'static str> {
        findings.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn a_queue_that_is_or_was_full_is_named_with_its_process_and_the_lower_limit() {
        let findings = of_listeners(&[listener(129, 128, 6)], &counters(6));
        assert_eq!(findings[0].severity, Severity::Warning);
        assert_eq!(
            findings[0].summary,
            "the accept queue of gunicorn[99] on 0.0.0.0:8080 is full: 129 connections waiting, limit 128; 6 drops since it listens"
        );
        let advice = findings[0].advice.as_deref().unwrap_or_default();
        assert!(advice.contains("net.core.somaxconn=4096"), "{advice}");
        let findings = of_listeners(&[listener(0, 5, 6)], &counters(6));
        assert_eq!(kinds(&findings), ["accept_queue_was_full"]);
        let advice = findings[0].advice.as_deref().unwrap_or_default();
        assert!(advice.contains("above 5"), "{advice}");
    }

    #[test]
    fn a_queue_at_its_limit_and_drops_without_overflow_are_nothing() {
        // The kernel lets one more in than the limit.
        let findings = of_listeners(&[listener(128, 128, 0)], &counters(0));
        assert_eq!(kinds(&findings), ["accept_queues"]);
        assert_eq!(findings[0].severity, Severity::Ok);
        let findings = of_listeners(&[listener(0, 128, 3)], &counters(0));
        assert_eq!(kinds(&findings), ["accept_queues"]);
    }

    #[test]
    fn a_conntrack_table_is_judged_by_its_size_and_its_drops() {
        let fine = Tracking {
            entries: 10,
            most: 100,
            dropped: Some(0),
            early_dropped: Some(0),
            not_inserted: Some(0),
            invalid: Some(0),
        };
        assert_eq!(kinds(&of_tracking(&fine)), ["conntrack_table"]);
        let full = Tracking {
            entries: 90,
            dropped: Some(3),
            invalid: Some(2),
            ..fine
        };
        assert_eq!(
            kinds(&of_tracking(&full)),
            [
                "conntrack_table_full",
                "conntrack_drops",
                "conntrack_invalid"
            ]
        );
    }
}
