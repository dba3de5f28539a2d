//! Failures without a reset: what failed, how sure that is, and what to change.
//!
//! The kernel says it by the state that the socket leaves for CLOSE, and by `sk_err`. A reset says more, so what a reset ended is
//! left to its record.

use std::time::Duration;

use super::record_fields::{age, endpoint, timestamp, unnumbered};
use crate::correlate::Origin;
use crate::event::{
    BootTime, Failed, FullQueue, FullTable, HostContext, HostFacts, Socket, TcpState,
};
use crate::ownership::{self, ProcessName};
use crate::record::{
    AcceptQueue, Confidence, ConntrackTable, FAILURE_SCHEMA, FailureKind, FailureRecord,
    FailureVerdict, Process, Role, Sentence, Severity, Word,
};
use crate::verdict::advice::{Shape, Situation, for_operator};
use crate::words::{self, bytes, span, things};

const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTDOWN: i32 = 112;
const EHOSTUNREACH: i32 = 113;
const EPIPE: i32 = 32;
const ENONET: i32 = 64;

/// No route feature makes a connect take longer; what is longer was not milliseconds.
const LONGEST_TRY: Duration = Duration::from_secs(24 * 3_600);

/// The record of a failure; absent if it was none.
pub fn of_event(
    at: Origin,
    event: &Failed,
    facts: &HostContext,
    host: &HostFacts,
) -> Option<FailureRecord> {
    let kind = kind(event, host.coverage.received)?;
    let case = Case {
        kind,
        event,
        tried: event.tried.filter(|tried| *tried <= LONGEST_TRY),
        process: ownership::failed(event, facts),
    };
    let is_connect = event.last_state == TcpState::SynSent;
    let error = if event.unsent {
        Some(EADDRNOTAVAIL)
    } else {
        (event.error != 0).then_some(event.error)
    };
    let established = event.socket.as_ref().filter(|_| !is_connect);
    let record = blank(at.time, at.inode, case.verdict(), host);
    Some(FailureRecord {
        local: Some(endpoint(event.flow.local)),
        remote: Some(endpoint(event.flow.remote)),
        error,
        error_name: error.and_then(words::errno_name).map(Word::new_static),
        state: Some(Word::new_static(event.last_state.name())),
        age: age(event.ownership.as_ref(), at.time),
        tried: case.tried.map(|tried| tried.as_secs_f64()),
        silent: case.silent().map(|silent| silent.as_secs_f64()),
        syns: is_connect.then(|| case.syns()),
        retransmits: established.map(unanswered),
        unacknowledged: established.map(|socket| socket.unacknowledged),
        process: case.process,
        ..record
    })
}

/// A record of which nothing else is known.
fn blank(
    time: BootTime,
    netns: Option<u32>,
    verdict: FailureVerdict,
    host: &HostFacts,
) -> FailureRecord {
    FailureRecord {
        schema: Word::new_static(FAILURE_SCHEMA),
        id: unnumbered(),
        time: timestamp(time, host),
        host: host.host.clone(),
        local: None,
        remote: None,
        netns,
        verdict,
        error: None,
        error_name: None,
        state: None,
        age: None,
        tried: None,
        silent: None,
        syns: None,
        retransmits: None,
        unacknowledged: None,
        accept_queue: None,
        conntrack: None,
        process: None,
        incident: None,
    }
}

/// The record of a listener that dropped handshakes.
pub fn of_queue(queue: &FullQueue, facts: &HostContext, host: &HostFacts) -> FailureRecord {
    let process = ownership::listens(facts);
    let is_full = queue.length > queue.limit;
    let now = if is_full { "is" } else { "was" };
    let waiting = things(queue.length, "connection");
    let summary = format!(
        "{} dropped within {}: the accept queue {now} full ({waiting} waiting, limit {})",
        handshakes(queue.dropped),
        span(queue.within),
        words::count(queue.limit.into())
    );
    let name = process.as_ref().map(ProcessName::from);
    let mut advice: Vec<Sentence> = for_operator(name.as_ref(), Some(true), Shape::Accept)
        .into_iter()
        .collect();
    advice.push(
        format!(
            "find out why the process accepts too slowly (a blocked loop, too few workers, CPU limits); if it does not, raise the backlog of listen() and net.core.somaxconn above {}, and restart it",
            queue.limit
        )
        .into(),
    );
    Situation::AcceptQueue.refer(&mut advice);
    let verdict = FailureVerdict {
        kind: FailureKind::AcceptQueueFull,
        severity: Severity::Refused,
        // The counter of overflows is the namespace's, that of drops the listener's.
        confidence: if is_full {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        summary,
        advice,
    };
    FailureRecord {
        local: Some(endpoint(queue.local)),
        state: Some(Word::new_static(TcpState::Listen.name())),
        tried: Some(queue.within.as_secs_f64()),
        accept_queue: Some(AcceptQueue {
            length: queue.length,
            limit: queue.limit,
            dropped: queue.dropped.into(),
        }),
        process,
        ..blank(queue.time, facts.netns_inode, verdict, host)
    }
}

/// The record of packets that connection tracking dropped.
pub fn of_table(table: &FullTable, host: &HostFacts) -> FailureRecord {
    let packets = things(table.dropped, "packet");
    let verb = if table.dropped == 1 { "was" } else { "were" };
    let mut advice: Vec<Sentence> = vec![
        format!(
            "sysctl -w net.netfilter.nf_conntrack_max={}; `conntrack -L` shows what fills the table: a lower nf_conntrack_tcp_timeout_established, or notrack rules for busy services, keep it smaller",
            table.limit.saturating_mul(2)
        )
        .into(),
    ];
    Situation::ConnectTimeout.refer(&mut advice);
    let verdict = FailureVerdict {
        kind: FailureKind::ConntrackFull,
        severity: Severity::Refused,
        confidence: Confidence::Certain,
        summary: format!(
            "{packets} of new connections {verb} dropped within {}: the connection tracking table was full ({} entries, limit {})",
            span(table.within),
            words::count(table.entries),
            words::count(table.limit)
        ),
        advice,
    };
    FailureRecord {
        tried: Some(table.within.as_secs_f64()),
        conntrack: Some(ConntrackTable {
            entries: table.entries,
            limit: table.limit,
            dropped: table.dropped,
        }),
        ..blank(table.time, table.netns_inode, verdict, host)
    }
}

/// What failed; `resets_seen`: the kernel's accepted resets are hooked, so a refused connect without one was refused by ICMP.
fn kind(event: &Failed, resets_seen: bool) -> Option<FailureKind> {
    match event.last_state {
        TcpState::SynSent => match event.error {
            0 if event.unsent => Some(FailureKind::NoLocalPort),
            0 => Some(FailureKind::ConnectAbandoned),
            ETIMEDOUT => Some(FailureKind::ConnectTimeout),
            ENETUNREACH | EHOSTUNREACH | EHOSTDOWN | ENONET => {
                Some(FailureKind::ConnectUnreachable)
            }
            ECONNREFUSED => resets_seen.then_some(FailureKind::ConnectRejected),
            // Destroyed (`ss -K`), or reset.
            ECONNABORTED | ECONNRESET | EPIPE => None,
            _ => Some(FailureKind::ConnectRejected),
        },
        TcpState::Established | TcpState::SynRecv | TcpState::CloseWait => {
            let socket = event.socket.as_ref();
            let is_set = socket.is_some_and(|socket| socket.user_timeout.is_some());
            let probes = |socket: &Socket| socket.probes_out > 0 && socket.retransmits == 0;
            Some(if socket.is_some_and(probes) {
                FailureKind::WindowTimeout
            } else if is_set && event.error == ETIMEDOUT {
                FailureKind::UserTimeout
            } else {
                FailureKind::RetransmissionTimeout
            })
        }
        TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => {
            Some(FailureKind::CloseTimeout)
        }
        // The FIN was acknowledged, so nothing was lost.
        TcpState::FinWait2
        | TcpState::TimeWait
        | TcpState::Close
        | TcpState::Listen
        | TcpState::NewSynRecv => None,
    }
}

/// Unanswered retransmissions or probes in a row.
fn unanswered(socket: &Socket) -> u32 {
    socket.retransmits.max(socket.probes_out).into()
}

struct Case<'a> {
    kind: FailureKind,
    event: &'a Failed,
    tried: Option<Duration>,
    process: Option<Process>,
}

impl Case<'_> {
    fn verdict(&self) -> FailureVerdict {
        FailureVerdict {
            kind: self.kind,
            severity: self.severity(),
            confidence: match self.kind {
                // The kernel does not keep the errno of a connect() that it refused at once.
                FailureKind::NoLocalPort => Confidence::Likely,
                FailureKind::ConnectTimeout
                | FailureKind::ConnectAbandoned
                | FailureKind::ConnectUnreachable
                | FailureKind::ConnectRejected
                | FailureKind::RetransmissionTimeout
                | FailureKind::UserTimeout
                | FailureKind::WindowTimeout
                | FailureKind::CloseTimeout
                | FailureKind::AcceptQueueFull
                | FailureKind::ConntrackFull => Confidence::Certain,
            },
            summary: self.summary(),
            advice: self.advice(),
        }
    }

    fn severity(&self) -> Severity {
        match self.kind {
            // The first SYN may still have been on its way.
            FailureKind::ConnectAbandoned if self.syns() < 2 => Severity::Noise,
            FailureKind::CloseTimeout if self.unacknowledged() == 0 => Severity::Noise,
            FailureKind::ConnectTimeout
            | FailureKind::ConnectAbandoned
            | FailureKind::ConnectUnreachable
            | FailureKind::ConnectRejected
            | FailureKind::NoLocalPort
            | FailureKind::AcceptQueueFull
            | FailureKind::ConntrackFull => Severity::Refused,
            FailureKind::RetransmissionTimeout
            | FailureKind::UserTimeout
            | FailureKind::WindowTimeout
            | FailureKind::CloseTimeout => Severity::Fault,
        }
    }

    fn syns(&self) -> u32 {
        match &self.event.socket {
            Some(_) if self.event.unsent => 0,
            Some(socket) => socket.total_retransmits.saturating_add(1),
            None => 1,
        }
    }

    fn unacknowledged(&self) -> u32 {
        let socket = self.event.socket.as_ref();
        socket.map_or(0, |socket| socket.unacknowledged)
    }

    /// How long the peer had not been heard from.
    fn silent(&self) -> Option<Duration> {
        let socket = self.event.socket.as_ref()?;
        let heard = [socket.since_received, socket.since_ack];
        heard.into_iter().flatten().min()
    }

    fn summary(&self) -> String {
        let event = self.event;
        let error = error_words(event.error);
        let after = words::after(" after ", self.tried.map(span));
        let silent = words::after(", silent for ", self.silent().map(span));
        let socket = event.socket.as_ref();
        match self.kind {
            FailureKind::ConnectTimeout => format!(
                "connect failed{after}: {error}; {} not answered",
                syns(self.syns())
            ),
            FailureKind::ConnectAbandoned => {
                let who = self.process.as_ref().map_or_else(
                    || "the process".to_owned(),
                    |process| words::name(&process.comm, process.pid),
                );
                format!(
                    "{who} gave up the connect{after}; {} not answered",
                    syns(self.syns())
                )
            }
            FailureKind::ConnectUnreachable => format!("connect failed{after}: {error}"),
            FailureKind::ConnectRejected => {
                format!("an ICMP message ended the connect{after}: {error}")
            }
            FailureKind::NoLocalPort => format!(
                "connect failed at once: no local port is free for {}: {}",
                event.flow.remote,
                error_words(EADDRNOTAVAIL)
            ),
            FailureKind::RetransmissionTimeout => {
                let tries = socket.map(|socket| things(unanswered(socket), "retransmission"));
                let tries = tries.map_or_else(String::new, |tries| {
                    format!("; {tries}{} not answered", in_time(self.tried))
                });
                format!("the connection was lost: {error}{tries}{silent}")
            }
            FailureKind::UserTimeout => {
                let timeout = socket.and_then(|socket| socket.user_timeout);
                let timeout = words::after(" of ", timeout.map(span));
                format!(
                    "the connection was lost: {error}; TCP_USER_TIMEOUT{timeout} expired{silent}"
                )
            }
            FailureKind::WindowTimeout => {
                let probes = socket.map_or(0, unanswered);
                format!(
                    "the connection was lost: {error}; the peer's window was closed and {} not answered{silent}",
                    things(probes, "probe")
                )
            }
            FailureKind::CloseTimeout => {
                let rest = match self.unacknowledged() {
                    0 => "FIN".to_owned(),
                    left => format!("last {} and FIN", bytes(left)),
                };
                format!("the peer did not acknowledge the {rest} after the close: {error}{silent}")
            }
            // They are of no socket.
            FailureKind::AcceptQueueFull | FailureKind::ConntrackFull => String::new(),
        }
    }

    fn advice(&self) -> Vec<Sentence> {
        let remote = self.event.flow.remote;
        let (host, port) = (remote.ip().to_canonical(), remote.port());
        let mut advice: Vec<Sentence> = Vec::new();
        let situation = match self.kind {
            FailureKind::ConnectTimeout | FailureKind::ConnectAbandoned => {
                advice.push(
                    format!(
                        "capture on {host} with `tcpdump -ni any 'tcp port {port}'`: if no SYN arrives, a firewall, security group or route drops it; if it arrives unanswered, the accept queue there is full (`nstat -az TcpExtListenOverflows`) or a packet filter drops it"
                    )
                    .into(),
                );
                advice.extend(self.of_program(Shape::Connect));
                Situation::ConnectTimeout
            }
            FailureKind::ConnectUnreachable => {
                advice.push(
                    format!(
                        "run `ip route get {host}` and `ip neigh show {host}`: FAILED or INCOMPLETE means that no host has the address; otherwise a router or packet filter rejects the connect (`tcpdump -ni any icmp or icmp6` shows which)"
                    )
                    .into(),
                );
                Situation::Unreachable
            }
            FailureKind::ConnectRejected => {
                advice.push(
                    format!(
                        "look for a rule with REJECT for port {port} in `nft list ruleset` or `iptables-save`, on {host} and on the way there; `tcpdump -ni any icmp or icmp6` shows who sends the message"
                    )
                    .into(),
                );
                Situation::Unreachable
            }
            FailureKind::NoLocalPort => {
                advice.push(
                    format!(
                        "reuse connections to {host}:{port} (a keep-alive pool); `ss -tan state time-wait dst {host}` counts what holds the ports. Then widen net.ipv4.ip_local_port_range, and set net.ipv4.tcp_tw_reuse=1"
                    )
                    .into(),
                );
                Situation::NoLocalPort
            }
            FailureKind::RetransmissionTimeout
            | FailureKind::UserTimeout
            | FailureKind::WindowTimeout
            | FailureKind::CloseTimeout => {
                advice.push(if self.kind == FailureKind::WindowTimeout {
                    format!("find out why the process on {host} reads no data, and whether the host is up").into()
                } else {
                    format!(
                        "find out whether {host} crashed, lost its route, or a firewall on the way forgot the connection: capture at both ends"
                    )
                    .into()
                });
                let is_default = self.kind == FailureKind::RetransmissionTimeout;
                advice.extend(self.of_program(Shape::Silent));
                if is_default && advice.len() < 2 {
                    advice.push(Sentence::Borrowed(
                        "to notice it sooner, set TCP_USER_TIMEOUT in the program, or lower net.ipv4.tcp_retries2 (15 by default: about 15 min)",
                    ));
                }
                Situation::PeerSilent
            }
            FailureKind::AcceptQueueFull | FailureKind::ConntrackFull => Situation::AcceptQueue,
        };
        situation.refer(&mut advice);
        advice
    }

    fn of_program(&self, shape: Shape) -> Option<Sentence> {
        let process = self.process.as_ref()?;
        let listened = match process.role {
            Role::Listener => Some(true),
            Role::Owner | Role::Closer | Role::FormerOwner => {
                (self.event.last_state == TcpState::SynSent).then_some(false)
            }
        };
        let name = ProcessName::from(process);
        for_operator(Some(&name), listened, shape)
    }
}

/// `No route to host (EHOSTUNREACH)`.
fn error_words(error: i32) -> String {
    match words::errno_text(error) {
        Some(text) => format!("{text} ({})", words::errno(error)),
        None => words::errno(error),
    }
}

/// `3 SYNs were`.
fn syns(number: u32) -> String {
    let verb = if number == 1 { "was" } else { "were" };
    format!("{} {verb}", things(number, "SYN"))
}

/// `3 SYNs or ACKs of handshakes were`.
fn handshakes(number: u32) -> String {
    let noun = if number == 1 {
        "SYN or ACK of a handshake was"
    } else {
        "SYNs or ACKs of handshakes were"
    };
    format!("{} {noun}", words::count(number.into()))
}

fn in_time(tried: Option<Duration>) -> String {
    words::after(" in ", tried.map(span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Input;
    use crate::engine::fixtures::*;
    use crate::event::{Body, BootTime, FullQueue, NetnsCookie, OwnerSource, TcpFlags};
    use crate::record::{IncidentRole, Output};

    fn failed(state: TcpState, error: i32, change: impl FnOnce(&mut Socket)) -> Failed {
        let mut socket = socket(1);
        socket.state = state;
        socket.error = error;
        change(&mut socket);
        Failed {
            flow: Scene::new().flow,
            socket: Some(socket),
            ownership: Some(ownership(412, "haproxy", OwnerSource::Connect)),
            error,
            last_state: state,
            tried: Some(Duration::from_secs(7)),
            unsent: false,
        }
    }

    fn told(failed: Failed) -> Option<FailureRecord> {
        let mut engine = engine(host());
        let event = event(0, Body::Failed(failed.into()));
        engine.handle(event, HostContext::default());
        match finish(&mut engine).pop() {
            Some(Output::Failure(failure)) => Some(*failure),
            Some(Output::Reset(_) | Output::Suppressed(_)) | None => None,
        }
    }

    fn kind(failed: Failed) -> Option<(FailureKind, Severity)> {
        told(failed).map(|it| (it.verdict.kind, it.verdict.severity))
    }

    #[test]
    fn the_state_and_the_error_say_what_failed() {
        use FailureKind as Kind;
        use Severity::{Fault, Noise, Refused};
        use TcpState::{Closing, Established, FinWait1, LastAck, SynRecv, SynSent};
        let as_it_is = |_: &mut Socket| {};
        let cases = [
            (
                failed(SynSent, 110, as_it_is),
                Kind::ConnectTimeout,
                Refused,
            ),
            (
                failed(SynSent, 113, as_it_is),
                Kind::ConnectUnreachable,
                Refused,
            ),
            (
                failed(SynSent, 101, as_it_is),
                Kind::ConnectUnreachable,
                Refused,
            ),
            (
                failed(SynSent, 111, as_it_is),
                Kind::ConnectRejected,
                Refused,
            ),
            (
                failed(SynSent, 13, as_it_is),
                Kind::ConnectRejected,
                Refused,
            ),
            (
                failed(SynSent, 0, |it| it.total_retransmits = 1),
                Kind::ConnectAbandoned,
                Refused,
            ),
            (failed(SynSent, 0, as_it_is), Kind::ConnectAbandoned, Noise),
            (
                Failed {
                    unsent: true,
                    ..failed(SynSent, 0, as_it_is)
                },
                Kind::NoLocalPort,
                Refused,
            ),
            (
                failed(Established, 110, as_it_is),
                Kind::RetransmissionTimeout,
                Fault,
            ),
            (
                failed(Established, 113, as_it_is),
                Kind::RetransmissionTimeout,
                Fault,
            ),
            (
                failed(SynRecv, 110, as_it_is),
                Kind::RetransmissionTimeout,
                Fault,
            ),
            (
                failed(Established, 110, |it| {
                    it.user_timeout = Some(Duration::from_secs(30))
                }),
                Kind::UserTimeout,
                Fault,
            ),
            (
                failed(Established, 110, |it| it.probes_out = 15),
                Kind::WindowTimeout,
                Fault,
            ),
            (
                failed(FinWait1, 110, |it| it.unacknowledged = 9),
                Kind::CloseTimeout,
                Fault,
            ),
            (failed(LastAck, 110, as_it_is), Kind::CloseTimeout, Noise),
            (failed(Closing, 113, as_it_is), Kind::CloseTimeout, Noise),
        ];
        for (failed, expected, severity) in cases {
            let what = format!("{} {}", failed.last_state, failed.error);
            let failure = told(failed);
            let failure = failure.unwrap_or_else(|| unreachable!("{what}"));
            let verdict = &failure.verdict;
            assert_eq!(
                (verdict.kind, verdict.severity),
                (expected, severity),
                "{what}"
            );
            let first = verdict
                .advice
                .first()
                .map(|it| it.contains("(rsttrace explain "));
            assert_eq!(first, Some(true), "{what}");
        }
    }

    #[test]
    fn what_a_reset_or_an_operator_ended_is_no_failure() {
        for (state, error) in [
            (TcpState::SynSent, 103),
            (TcpState::SynSent, 104),
            // All was acknowledged; an ICMP message had left its error.
            (TcpState::FinWait2, 113),
            (TcpState::TimeWait, 110),
        ] {
            assert_eq!(kind(failed(state, error, |_| {})), None, "{state} {error}");
        }
        // Where accepted resets are not seen, one may have refused the connect.
        let mut blind = host();
        blind.coverage.received = false;
        let mut engine = engine(blind);
        let refused = failed(TcpState::SynSent, 111, |_| {});
        engine.handle(
            event(0, Body::Failed(refused.into())),
            HostContext::default(),
        );
        assert_eq!(finish(&mut engine), []);
    }

    #[test]
    fn a_connect_has_its_syns_its_time_and_the_settings_of_its_program() {
        let abandoned = failed(TcpState::SynSent, 0, |it| it.total_retransmits = 2);
        let failure = told(abandoned).expect("a failure");
        assert_eq!(
            failure.verdict.summary,
            "haproxy[412] gave up the connect after 7.0 s; 3 SYNs were not answered"
        );
        assert_eq!((failure.syns, failure.tried), (Some(3), Some(7.0)));
        assert_eq!((failure.error, failure.retransmits), (None, None));
        let advice = &failure.verdict.advice;
        assert!(advice[1].contains("timeout connect"), "{advice:?}");
        // 2^32 ms: the stamp was no time in milliseconds.
        let far = Failed {
            tried: Some(Duration::from_millis(u32::MAX.into())),
            ..failed(TcpState::SynSent, 110, |_| {})
        };
        assert_eq!(told(far).expect("a failure").tried, None);
    }

    #[test]
    fn a_reset_that_answers_for_a_connection_that_failed_is_its_consequence() {
        let mut engine = engine(host());
        let lost = failed(TcpState::Established, 110, |_| {});
        engine.handle(event(0, Body::Failed(lost.into())), HostContext::default());
        let late = Scene::new().answer(segment(TcpFlags::ACK, 1, 1, 9));
        engine.handle(event(900_000, late), HostContext::default());
        let out = finish(&mut engine);
        let [Output::Failure(failure), Output::Reset(reset)] = &out[..] else {
            unreachable!("not a failure and a reset: {out:?}");
        };
        assert_eq!(failure.impact(), Severity::Fault);
        assert_eq!(reset.verdict.severity, Severity::Noise);
        let of = |incident: Option<&crate::record::Incident>| incident.map(|it| (it.id, it.role));
        let id = failure.id.number;
        assert_eq!(
            of(failure.incident.as_ref()),
            Some((id, IncidentRole::First))
        );
        assert_eq!(
            of(reset.incident.as_ref()),
            Some((id, IncidentRole::Consequence))
        );
        // A connect from the same port is another attempt.
        engine.handle(
            event(
                1_000_000,
                Body::Failed(failed(TcpState::SynSent, 110, |_| {}).into()),
            ),
            HostContext::default(),
        );
        let Some(Output::Failure(other)) = finish(&mut engine).pop() else {
            unreachable!("a failure");
        };
        assert_eq!(
            of(other.incident.as_ref()),
            Some((other.id.number, IncidentRole::First))
        );
    }

    #[test]
    fn a_full_queue_names_its_listener_and_a_full_table_its_namespace() {
        let mut engine = engine(host());
        let queue = FullQueue {
            time: BootTime(NOW),
            netns: NetnsCookie(HERE),
            local: address("0.0.0.0:8080"),
            length: 129,
            limit: 128,
            dropped: 3,
            within: Duration::from_secs(10),
        };
        let facts = HostContext {
            holder: Some(crate::event::Holder {
                task: task(99, "gunicorn"),
                shares: true,
            }),
            ..HostContext::default()
        };
        engine.push(Input::QueueFull { queue, facts });
        let Some(Output::Failure(failure)) = finish(&mut engine).pop() else {
            unreachable!("a failure");
        };
        assert_eq!(
            failure.verdict.summary,
            "3 SYNs or ACKs of handshakes were dropped within 10.0 s: the accept queue is full (129 connections waiting, limit 128)"
        );
        assert!(failure.verdict.advice[0].starts_with("raise `--workers`"));
        assert_eq!((failure.count(), failure.incident), (3, None));
        engine.push(Input::TableFull(FullTable {
            time: BootTime(NOW + SECOND),
            netns_inode: Some(7),
            entries: 4096,
            limit: 4096,
            dropped: 1,
            within: Duration::from_secs(10),
        }));
        let Some(Output::Failure(table)) = finish(&mut engine).pop() else {
            unreachable!("a failure");
        };
        assert_eq!(
            table.verdict.summary,
            "1 packet of new connections was dropped within 10.0 s: the connection tracking table was full (4,096 entries, limit 4,096)"
        );
        assert_eq!((table.local, table.netns), (None, Some(7)));
        let role = failure.process.map(|process| (process.pid, process.role));
        assert_eq!(role, Some((99, Role::Listener)));
    }
}
