//! Closes after a silence: which may be at a timer of the process, and what is advised.

use std::time::Duration;

use crate::engine::Input;
use crate::engine::fixtures::*;
use crate::event::*;
use crate::record::{Basis, Cause, Direction, IdleMode, Record};

/// The back leg of nginx[87], silent for `quiet` seconds when it resets it.
fn back_leg(quiet: u64) -> Sent {
    leg(
        2,
        "10.0.0.1:50000",
        "10.0.7.7:9000",
        quiet,
        OwnerSource::Connect,
    )
}

/// A leg that nginx[87] closes with SO_LINGER 0.
fn leg(cookie: u64, local: &str, remote: &str, quiet: u64, source: OwnerSource) -> Sent {
    let scene = Scene {
        flow: Flow {
            local: address(local),
            remote: address(remote),
        },
    };
    let mut socket = closing(cookie);
    socket.linger = Some(Duration::ZERO);
    let mut sent = scene.active(Some("TCP_STATE"), socket);
    sent.ownership = Some(Ownership {
        closer: Some(Closer {
            time: Some(BootTime(NOW)),
            quiet: Duration::from_secs(quiet),
            ..closer(87, "nginx")
        }),
        state_before_close: Some(TcpState::Established),
        ..ownership(87, "nginx", source)
    });
    sent
}

/// The front leg of nginx[87], reset by the client. Other bytes than the back leg: not passed on.
fn front_reset() -> Received {
    let mut received = Scene::new().received(Socket {
        bytes_received: 7,
        bytes_sent: 9,
        ..socket(1)
    });
    received.ownership = Some(Ownership {
        inherited: true,
        ..ownership(87, "nginx", OwnerSource::Listen)
    });
    received
}

fn judged(events: Vec<Event>) -> Record {
    of(&run(events), Direction::Sent).clone()
}

fn mode(record: &Record) -> Option<IdleMode> {
    record.idle.as_ref().and_then(|idle| idle.mode)
}

fn evidence(record: &Record, kind: &str) -> Option<String> {
    let found = record.verdict.evidence().iter();
    let mut found = found.filter(|it| it.kind.name() == kind);
    found.next().map(|it| it.detail.to_string())
}

fn advice(record: &Record) -> String {
    record.verdict.advice().join("\n")
}

#[test]
fn a_proxy_that_closes_after_a_silence_may_be_at_its_timer_and_no_value_is_claimed() {
    let record = judged(vec![event(0, back_leg(4))]);
    assert_eq!(mode(&record), Some(IdleMode::RstAtExpiry));
    let found = evidence(&record, "own_timeout").unwrap_or_default();
    assert!(found.contains("possibly at an idle timeout"), "{found}");
    let advice = advice(&record);
    assert!(
        advice.starts_with("if the 4.0 s of idle time are a timer of its own: make `keepalive_timeout` of the upstream"),
        "{advice}"
    );
    assert!(!advice.contains("now 4.0 s"), "{advice}");
    assert_eq!(advice.matches("(rsttrace explain ").count(), 1, "{advice}");
}

#[test]
fn no_timer_where_the_other_leg_has_just_ended() {
    let mut died = front_reset();
    died.flow.remote = address("10.0.0.3:40001");
    let timed_out = Failed {
        flow: died.flow,
        socket: None,
        ownership: died.ownership.clone(),
        error: 110,
        last_state: TcpState::Established,
        tried: None,
        unsent: false,
    };
    let mut finished = leg(3, "10.0.0.1:8080", "10.0.0.4:1", 4, OwnerSource::Accept);
    if let Some(ownership) = &mut finished.ownership {
        ownership.peer_finish = Some(PeerFinish {
            time: BootTime(NOW - MS),
            quiet: Duration::from_secs(4),
        });
    }
    let look = "look at the connection with 10.0.0.";
    let others: [(&str, &str, Event); 3] = [
        ("was reset", look, event(0, front_reset())),
        (
            "the connection was lost: Connection timed out (ETIMEDOUT)",
            "find out whether 10.0.0.3 crashed",
            event(0, Body::Failed(timed_out.into())),
        ),
        ("closed by the peer", look, event(100, finished)),
    ];
    for (how, first_advice, other) in others {
        let records = run(vec![other, event(300, back_leg(4))]);
        let record = records
            .iter()
            .find(|it| it.local.port == 50_000)
            .expect("the back leg");
        assert_eq!(mode(record), None, "{how}");
        assert_eq!(evidence(record, "own_timeout"), None, "{how}");
        let found = evidence(record, "other_leg").unwrap_or_default();
        assert!(found.contains(how), "{how}: {found}");
        assert!(
            advice(record).starts_with(first_advice),
            "{how}: {}",
            advice(record)
        );
    }
}

#[test]
fn what_happens_elsewhere_leaves_the_timer_possible() {
    let mut of_another_process = front_reset();
    if let Some(owner) = &mut of_another_process.ownership {
        owner.owner = Some(task(5, "java"));
    }
    // Another nginx.
    let mut of_a_namesake = front_reset();
    if let Some(owner) = &mut of_a_namesake.ownership {
        owner.owner = Some(task(5, "nginx"));
    }
    let mut same_side = front_reset();
    same_side.ownership = Some(ownership(87, "nginx", OwnerSource::Connect));
    for (why, other, at) in [
        ("another process", of_another_process, 300),
        ("a namesake", of_a_namesake, 300),
        ("another upstream connection", same_side, 300),
        ("long before", front_reset(), 200_000),
    ] {
        let mut late = back_leg(4);
        if let Some(closer) = late.ownership.as_mut().and_then(|it| it.closer.as_mut()) {
            closer.time = Some(BootTime(NOW + at * 1_000));
        }
        let records = run(vec![event(0, other), event(at, late)]);
        let record = of(&records, Direction::Sent);
        assert_eq!(mode(record), Some(IdleMode::RstAtExpiry), "{why}");
    }
}

#[test]
fn an_exiting_worker_is_at_no_timer() {
    let mut sent = back_leg(4);
    if let Some(current) = &mut sent.current {
        current.exiting = true;
    }
    let record = judged(vec![event(0, sent)]);
    assert_eq!(mode(&record), None);
    assert!(
        advice(&record).contains("worker_shutdown_timeout"),
        "{}",
        advice(&record)
    );
}

#[test]
fn many_closes_at_once_after_different_silences_are_a_reload() {
    let close = |index: u64, quiet| {
        let remote = format!("10.0.0.{}:40000", index + 2);
        leg(
            index + 1,
            "10.0.0.1:8080",
            &remote,
            quiet,
            OwnerSource::Accept,
        )
    };
    let at_once = |quiet: fn(u64) -> u64| {
        let events = (0..6).map(|index| event(index * 100, close(index, quiet(index))));
        run(events.collect())
    };
    for record in at_once(|index| 4 + index * 3) {
        assert_eq!(mode(&record), None);
        let found = evidence(&record, "other_leg").unwrap_or_default();
        assert!(found.contains("6 connections at the same time"), "{found}");
        assert!(advice(&record).contains("(rsttrace explain restart)"));
    }
    // Opened and used together, they expire together.
    for record in at_once(|_| 4) {
        assert_eq!(mode(&record), Some(IdleMode::RstAtExpiry));
    }
}

#[test]
fn closes_teach_the_timer_of_any_program() {
    let seconds = [0, 7, 19, 31, 44, 50, 63];
    let close = |(index, second): (u64, u64)| {
        let remote = format!("10.0.{index}.2:40000");
        let mut sent = leg(index + 1, "10.0.0.1:8080", &remote, 9, OwnerSource::Accept);
        let at = NOW + second * SECOND;
        if let Some(ownership) = &mut sent.ownership {
            ownership.owner = Some(task(90, "orders"));
            if let Some(closer) = &mut ownership.closer {
                closer.time = Some(BootTime(at));
                closer.task = task(90, "orders");
            }
        }
        sent.current = Some(current(90, "orders"));
        event(second * 1_000_000, sent)
    };
    let records = run((0..).zip(seconds).map(close).collect());
    let modes: Vec<bool> = records
        .iter()
        .map(|record| mode(record).is_some())
        .collect();
    assert_eq!(modes[..3], [false, false, false]);
    assert_eq!(modes[4..], [true, true, true]);
    let last = &records[6];
    assert!(
        advice(last)
            .starts_with("make the idle timeout of orders (9.0 s, as in 7 earlier closes) longer"),
        "{}",
        advice(last)
    );
    let learned = last.idle.as_ref().and_then(|idle| idle.learned.as_ref());
    assert_eq!(learned.map(|learned| learned.timeout), Some(9.0));
}

/// A request of 120 bytes on a connection that a server here had closed `micros` before, after `quiet` seconds of silence.
fn late_request(comm: &str, quiet: u64, micros: u64) -> Sent {
    let mut sent = Scene::new().answer(segment(TcpFlags::ACK | TcpFlags::PSH, 5000, 9000, 120));
    let mut former = tombstone(87, comm, TcpState::FinWait2);
    former.ownership = Ownership {
        closer: Some(Closer {
            time: Some(BootTime(NOW - micros * 1_000)),
            quiet: Duration::from_secs(quiet),
            ..closer(87, comm)
        }),
        ..ownership(87, comm, OwnerSource::Accept)
    };
    former.fin_sent = true;
    sent.former_connection = Some(Box::new(former));
    sent
}

#[test]
fn the_first_advice_of_a_keep_alive_race_is_both_idle_times_with_its_numbers() {
    for (comm, setting) in [
        (
            "node",
            "or set `server.keepAliveTimeout` above the idle time",
        ),
        ("gunicorn", "or set `--keep-alive` above the idle time"),
        (
            "orders",
            "or make the idle timeout of orders longer than that",
        ),
    ] {
        let record = judged(vec![event(0, late_request(comm, 5, 3_000))]);
        let first = &record.verdict.advice()[0];
        assert!(
            first.starts_with("keep-alive race: set the idle time of the connection pool or balancer at 10.0.0.2 below 5.0 s, "),
            "{first}"
        );
        assert!(first.contains(setting), "{first}");
        assert!(
            first.ends_with("(rsttrace explain keep-alive-race)"),
            "{first}"
        );
    }
    // The client had time to notice.
    let record = judged(vec![event(0, late_request("node", 5, 20_000_000))]);
    assert!(record.verdict.advice()[0].starts_with("stale connection: "));
    // It was not idle.
    let record = judged(vec![event(0, late_request("node", 0, 3_000))]);
    assert!(!advice(&record).contains("race:"), "{}", advice(&record));
}

#[test]
fn the_client_of_a_race_gets_the_same_advice() {
    let race = |outgoing: bool| {
        let silent = Some(Duration::from_secs(5));
        let written = Some(Duration::from_millis(2));
        let mut received = Scene::new().received(Socket {
            state: TcpState::CloseWait,
            since_received: silent,
            since_sent: written,
            since_first_unacknowledged: written,
            since_transmit: written,
            unacknowledged: 50,
            ..socket(1)
        });
        received.ownership = Some(Ownership {
            inherited: !outgoing,
            peer_finish: Some(PeerFinish {
                time: BootTime(NOW - 3 * MS),
                quiet: Duration::from_secs(5),
            }),
            ..ownership(412, "java", OwnerSource::Connect)
        });
        let records = run(vec![event(1, received)]);
        advice(&records[0])
    };
    let first = race(true);
    assert!(
        first.starts_with(
            "keep-alive race: close idle connections here before the server does, below 5.0 s (the idle time of its pool"
        ),
        "{first}"
    );
    assert!(!race(false).contains("race:"), "{}", race(false));
}

/// sshd closes a connection of this age with this much unread.
fn closed_early(age: u64, unread: u32) -> Record {
    let mut socket = closing(1);
    socket.bytes_received = 21;
    socket.unread = unread;
    let mut sent = Scene::new().active(Some("TCP_ABORT_ON_CLOSE"), socket);
    sent.current = Some(current(812, "sshd"));
    sent.ownership = Some(Ownership {
        established: Some(BootTime(NOW - age * MS)),
        state_before_close: Some(TcpState::Established),
        ..ownership(812, "sshd", OwnerSource::Accept)
    });
    judged(vec![event(0, sent)])
}

#[test]
fn a_client_that_is_turned_away_is_said_to_be() {
    let record = closed_early(2, 21);
    assert_eq!(record.verdict.cause, Cause::CloseWithUnreadData);
    assert_eq!(
        record.verdict.summary(),
        "sshd[812] turned 10.0.0.2 away: closed 2.0 ms after the handshake without reading (21 bytes unread); \
         its log says which limit or access rule it was"
    );
    let first = &record.verdict.advice()[0];
    assert!(first.contains("`MaxStartups`"), "{first}");
    assert!(first.ends_with("(rsttrace explain turned-away)"), "{first}");
    // It had read something, or had thought about it.
    for record in [closed_early(2, 20), closed_early(3_000, 21)] {
        assert!(!record.verdict.summary().contains("turned"));
        assert!(record.verdict.advice()[0].contains("LoginGraceTime"));
    }
}

#[test]
fn full_size_segments_that_were_never_answered_are_in_the_sentence() {
    let reset = |bytes, retransmits| {
        let received = Scene::new().received(Socket {
            unacknowledged: bytes,
            retransmits,
            since_first_unacknowledged: Some(Duration::from_secs(9)),
            ..socket(1)
        });
        run(vec![event(0, received)]).remove(0)
    };
    let record = reset(1_448, 5);
    let summary = record.verdict.summary();
    assert!(
        summary.contains("; 1,448 bytes had been sent 5 more times without an answer"),
        "{summary}"
    );
    assert!(record.verdict.advice()[0].contains("tracepath -n 10.0.0.2"));
    for other in [reset(60, 5), reset(1_448, 0)] {
        assert!(!other.verdict.summary().contains("without an answer"));
        assert!(!advice(&other).contains("tracepath"));
    }
}

#[test]
fn every_fault_has_advice() {
    let mut cases = vec![
        event(0, Scene::new().received(socket(1))),
        event(
            0,
            Scene::new().answer(segment(TcpFlags::ACK | TcpFlags::PSH, 5000, 9000, 10)),
        ),
    ];
    for reason in [
        "KEEPALIVE_TIMEOUT",
        "TCP_DISCONNECT_WITH_DATA",
        "MPTCP_RST_EMPTCP",
        "WHATEVER",
    ] {
        cases.push(event(0, Scene::new().active(Some(reason), socket(1))));
    }
    for case in cases {
        let record = only(run(vec![case]));
        let advice = record.verdict.advice();
        assert!(!advice.is_empty(), "{:?}", record.verdict.cause);
    }
    let record = only(run(vec![event(0, Scene::new().received(socket(1)))]));
    assert_eq!(
        record.verdict.advice(),
        [
            "run rsttrace on 10.0.0.2, which names the process and its reason, or capture there: \
          `tcpdump -ni any -s 128 -w reset.pcap 'host 10.0.0.1 and tcp port 40000'` (rsttrace explain reset-by-peer)"
        ]
    );
}

/// The back leg, where the configuration of nginx[87] has these timers.
fn configured(complete: bool, timers: &[(&str, u64, Option<&str>)]) -> Record {
    with_timers(back_leg(4), complete, timers)
}

fn with_timers(sent: Sent, complete: bool, timers: &[(&str, u64, Option<&str>)]) -> Record {
    let timers = timers.iter().map(|(setting, seconds, place)| ProgramTimer {
        setting: (*setting).into(),
        timeout: Duration::from_secs(*seconds),
        listened: setting.starts_with("client").then_some(true),
        place: place.map(Into::into),
    });
    let mut engine = engine(host());
    engine.push(Input::Timers(ProgramTimers {
        pid: 87,
        start: BootTime(87),
        complete,
        timers: timers.collect(),
    }));
    let events = vec![(event(0, sent), HostContext::default())];
    only(run_in(engine, events))
}

#[test]
fn a_timer_that_is_set_is_quoted_with_file_and_line() {
    let place = Some("/etc/nginx/nginx.conf:12");
    let record = configured(
        true,
        &[("proxy_timeout", 4, place), ("keepalive_timeout", 75, None)],
    );
    let idle = record.idle.as_ref().expect("idle");
    let [candidate] = &idle.candidates[..] else {
        unreachable!("one candidate, not {:?}", idle.candidates);
    };
    assert_eq!(candidate.device, "proxy_timeout (/etc/nginx/nginx.conf:12)");
    assert_eq!((candidate.timeout, candidate.basis), (4.0, Basis::Host));
    assert!(
        advice(&record).starts_with(
            "make proxy_timeout (/etc/nginx/nginx.conf:12) of nginx, now 4.0 s, longer"
        ),
        "{}",
        advice(&record)
    );
    // In a race as well.
    let place = Some("/etc/nginx/nginx.conf:7");
    let timers = [("keepalive_timeout", 5, place)];
    let record = with_timers(late_request("nginx", 5, 3_000), true, &timers);
    let advice = advice(&record);
    assert!(
        advice.contains("below 5.0 s, or make keepalive_timeout (/etc/nginx/nginx.conf:7) of nginx longer than that"),
        "{advice}"
    );
    // A setting goes before a default of the same length.
    let record = configured(
        true,
        &[("proxy_timeout", 4, place), ("send_timeout", 4, None)],
    );
    assert_eq!(record.idle.expect("idle").candidates.len(), 1);
}

#[test]
fn a_silence_that_no_timer_has_is_none_if_all_are_known() {
    let timers = [("proxy_timeout", 60, Some("/etc/nginx/nginx.conf:12"))];
    let record = configured(true, &timers);
    assert_eq!(mode(&record), None);
    let found = evidence(&record, "own_timeout").unwrap_or_default();
    assert!(found.contains("no timer of that length"), "{found}");
    assert!(
        !advice(&record).contains("idle time are"),
        "{}",
        advice(&record)
    );
    // A timer of the other leg.
    let client = [("client_body_timeout", 4, Some("/etc/nginx/nginx.conf:12"))];
    assert_eq!(mode(&configured(true, &client)), None);
    // What was not read may have it.
    let record = configured(false, &timers);
    assert_eq!(mode(&record), Some(IdleMode::RstAtExpiry));
}

#[test]
fn a_worker_that_ends_right_after_its_close_is_at_no_timer() {
    let judged_of = |micros: u64, lives: bool, outside: bool| {
        let mut sent = late_request("nginx", 4, micros);
        if let Some(former) = &mut sent.former_connection {
            former.died = BootTime(NOW - micros * 1_000);
            if let Some(closer) = &mut former.ownership.closer {
                closer.task.outside = outside;
            }
        }
        let described = |pid| {
            std::sync::Arc::new(ProcessFacts {
                pid,
                ..ProcessFacts::default()
            })
        };
        let facts = HostContext {
            netns_inode: Some(4_026_531_840),
            processes: lives.then(|| described(87)).into_iter().collect(),
            ..HostContext::default()
        };
        let records = run_with(host(), vec![(event(0, sent), facts)]);
        of(&records, Direction::Sent).clone()
    };
    let judged = |micros, lives| judged_of(micros, lives, false);
    let record = judged(20_000, false);
    assert_eq!(mode(&record), None);
    let found = evidence(&record, "own_timeout").unwrap_or_default();
    assert!(found.contains("a reload or a stop"), "{found}");
    assert!(!advice(&record).contains("race:"), "{}", advice(&record));
    // It still serves.
    let record = judged(20_000, true);
    assert_eq!(mode(&record), Some(IdleMode::FinAtExpiry));
    assert!(advice(&record).starts_with("keep-alive race: "));
    // It may have served for a while.
    let record = judged(2_000_000, false);
    assert_eq!(mode(&record), None);
    assert_eq!(evidence(&record, "own_timeout"), None);
    // Whether a process of another PID namespace lives is not known, though one here has its number.
    for lives in [false, true] {
        let record = judged_of(20_000, lives, true);
        assert_eq!(mode(&record), None);
        assert_eq!(evidence(&record, "own_timeout"), None);
    }
}

#[test]
fn a_process_that_a_signal_ends_is_at_no_timer_though_it_is_still_there() {
    let judged = |signal: Option<u8>| {
        let mut sent = late_request("nginx", 4, 43_000);
        if let Some(former) = &mut sent.former_connection
            && let Some(closer) = &mut former.ownership.closer
        {
            (closer.exiting, closer.signal) = (signal.is_some(), signal);
        }
        let process = ProcessFacts {
            pid: 87,
            ..ProcessFacts::default()
        };
        let facts = HostContext {
            netns_inode: Some(4_026_531_840),
            processes: std::iter::once(std::sync::Arc::new(process)).collect(),
            ..HostContext::default()
        };
        let records = run_with(host(), vec![(event(0, sent), facts)]);
        of(&records, Direction::Sent).clone()
    };
    let record = judged(Some(15));
    assert_eq!(mode(&record), None);
    assert!(!advice(&record).contains("race:"), "{}", advice(&record));
    assert_eq!(mode(&judged(None)), Some(IdleMode::FinAtExpiry));
}

#[test]
fn a_timer_that_is_checked_once_a_second_fires_late() {
    let place = Some("/etc/redis/redis.conf:3");
    // It closes after 4 s.
    let record = configured(false, &[("timeout", 3, place)]);
    assert_eq!(record.idle.expect("idle").candidates.len(), 1);
    let record = configured(false, &[("timeout", 2, place)]);
    assert!(record.idle.expect("idle").candidates.is_empty());
    let record = configured(false, &[("keepalive_timeout", 3, place)]);
    assert!(record.idle.expect("idle").candidates.is_empty());
}

#[test]
fn a_process_of_one_connection_that_exits_is_no_shutdown() {
    // The parent, which accepted, is described if it lives; the child exits by itself, or is killed.
    let judged = |parent_lives: bool, signal: Option<u8>| {
        let request = segment(TcpFlags::ACK | TcpFlags::PSH, 5000, 9000, 120);
        let mut sent = Scene::new().answer(request);
        sent.socket = Some(closing(1));
        sent.ownership = Some(Ownership {
            owner: Some(task(80, "socat")),
            closer: Some(Closer {
                time: Some(BootTime(NOW - 20 * MS)),
                quiet: Duration::from_secs(4),
                exiting: true,
                signal,
                ..closer(87, "socat")
            }),
            state_before_close: Some(TcpState::FinWait2),
            ..ownership(80, "socat", OwnerSource::Accept)
        });
        let parent = std::sync::Arc::new(ProcessFacts {
            pid: 80,
            ..ProcessFacts::default()
        });
        let facts = HostContext {
            netns_inode: Some(4_026_531_840),
            processes: parent_lives.then_some(parent).into_iter().collect(),
            ..HostContext::default()
        };
        let records = run_with(host(), vec![(event(0, sent), facts)]);
        advice(of(&records, Direction::Sent))
    };
    let text = judged(true, None);
    assert!(text.starts_with("keep-alive race: "), "{text}");
    for text in [judged(false, None), judged(true, Some(15))] {
        assert!(!text.contains("race:"), "{text}");
    }
}

#[test]
fn a_health_check_that_ends_at_the_same_time_is_no_other_leg() {
    let judged = |opened: u64| {
        let mut check = front_reset();
        check.flow.remote.set_port(4_000);
        check.ownership = Some(Ownership {
            established: Some(BootTime(opened)),
            ..ownership(87, "nginx", OwnerSource::Accept)
        });
        let close = event(50_000, back_leg(4));
        mode(&judged(vec![event(0, check), close]))
    };
    // Opened before the silence, and during it.
    assert_eq!(judged(NOW - 10 * SECOND), None);
    assert_eq!(judged(NOW - SECOND), Some(IdleMode::RstAtExpiry));
}

#[test]
fn a_pool_that_closes_an_idle_connection_at_no_timer_harms_nobody() {
    let timers = [("timeout server", 60, Some("/etc/haproxy/haproxy.cfg:12"))];
    let severity = |complete| configured(complete, &timers).impact();
    assert_eq!(severity(true), crate::record::Severity::Noise);
    // A timer that was not read may end what a client still uses.
    assert_eq!(severity(false), crate::record::Severity::Fault);
}
