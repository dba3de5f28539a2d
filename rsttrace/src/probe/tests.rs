//! Tests with simulated paths of every kind, from the plan to the report, without waiting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;

use super::plan::{Planned, confirming_round, first_round, second_round};
use super::*;
use crate::record::{Confidence, Endpoint};

const RTT: Duration = Duration::from_millis(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// What becomes of a connection: (opened, planned silence, its number) to (end, how long it was silent).
type Path = dyn Fn(Duration, Duration, usize) -> (End, Duration);

/// A timer of this kind and length, off by as much as `jitter` seconds.
fn timer(
    end: End,
    timeout: Duration,
    jitter: f64,
) -> impl Fn(Duration, Duration, usize) -> (End, Duration) {
    move |_, silence, number| {
        // The same for the same connection, evenly spread over all of them.
        let timeout = timeout + secs(jitter * (number as f64 * 0.754_877).fract());
        if silence < timeout {
            return (alive(), silence);
        }
        match end {
            End::FinInSilence | End::RstInSilence => (end.clone(), timeout),
            _ => (end.clone(), silence),
        }
    }
}

fn alive() -> End {
    End::Survived(Answer::Acknowledged)
}

/// A restart: all open connections get this.
fn restart(end: End, at: Duration) -> impl Fn(Duration, Duration, usize) -> (End, Duration) {
    move |opened, silence, _| {
        let dead = opened < at && opened + silence >= at;
        match (dead, &end) {
            (false, _) => (alive(), silence),
            (true, End::FinInSilence | End::RstInSilence) => (end.clone(), at - opened),
            (true, _) => (end.clone(), silence),
        }
    }
}

struct Settings {
    min: Duration,
    max: Duration,
    connections: usize,
    /// The user ends it then.
    until: Duration,
}

const USUAL: Settings = Settings {
    min: Duration::from_secs(1),
    max: Duration::from_secs(960),
    connections: 40,
    until: Duration::MAX,
};

/// Plays a probe of the path through and gives the report.
fn play(path: &Path, settings: &Settings) -> Report {
    let mut trials: Vec<Trial> = Vec::new();
    let mut fates: Vec<(Duration, Option<Duration>, Outcome)> = Vec::new();
    let begin =
        |round: Vec<Planned>, now: Duration, trials: &mut Vec<Trial>, fates: &mut Vec<_>| {
            for planned in round {
                let opened = now + planned.delay + RTT;
                let (end, quiet) = path(opened, planned.trial.silence, trials.len());
                let (spoke, at) = match end {
                    End::FinInSilence | End::RstInSilence => (None, opened + quiet),
                    End::NoAnswer => (Some(opened + quiet), opened + quiet + ANSWER_LIMIT),
                    _ => (Some(opened + quiet), opened + quiet + RTT),
                };
                let heard = 0;
                fates.push((
                    opened,
                    spoke,
                    Outcome {
                        end,
                        quiet,
                        at,
                        heard,
                    },
                ));
                trials.push(planned.trial);
            }
        };
    let plan = first_round(
        settings.min,
        settings.max,
        settings.connections,
        Speech::Keepalive,
    );
    begin(plan, Duration::ZERO, &mut trials, &mut fates);
    let mut now = Duration::ZERO;
    let mut interrupted = false;
    for _ in 0..1_000_000 {
        for (trial, (opened, spoke, outcome)) in trials.iter_mut().zip(&fates) {
            trial.opened = (*opened <= now).then_some(*opened);
            trial.state = if outcome.at <= now {
                State::Over(outcome.clone())
            } else if spoke.is_some_and(|spoke| spoke <= now) {
                State::Speaking {
                    quiet: outcome.quiet,
                }
            } else if *opened <= now {
                State::Silent { since: *opened }
            } else {
                State::Opening
            };
        }
        match next(&trials, now) {
            Next::Wait => {}
            Next::Refine { survived, lost } => {
                assert!(trials.iter().all(|trial| trial.round < 2), "refines once");
                let round = second_round(survived, lost, settings.connections);
                begin(round, now, &mut trials, &mut fates);
            }
            Next::Confirm { timeout } => {
                assert!(trials.iter().all(|trial| trial.round < 2), "confirms once");
                let round = confirming_round(timeout, settings.connections);
                begin(round, now, &mut trials, &mut fates);
            }
            Next::Enough => break,
        }
        if now >= settings.until {
            interrupted = true;
            break;
        }
        now += Duration::from_millis(50).max(now / 200);
    }
    Report::new(
        heading(settings, Speech::Keepalive),
        Results {
            took: now,
            interrupted,
            to_server: trials,
            to_client: None,
            remarks: Vec::new(),
        },
    )
}

fn heading(settings: &Settings, speech: Speech) -> Heading {
    Heading {
        time: "2026-01-01T12:00:00Z".to_owned(),
        host: None,
        target: Target {
            host: "lb".to_owned(),
            port: 443,
        },
        address: Endpoint {
            address: [192, 0, 2, 7].into(),
            port: 443,
        },
        speech,
        silences: Bounds {
            min: settings.min.as_secs_f64(),
            max: settings.max.as_secs_f64(),
        },
    }
}

const KINDS: [(End, Mode); 4] = [
    (End::FinInSilence, Mode::FinAtExpiry),
    (End::RstInSilence, Mode::RstAtExpiry),
    (End::RstOnPacket, Mode::LateRst),
    (End::NoAnswer, Mode::Silent),
];

fn assert_timeout(report: &Report, mode: Mode, timeout: f64) {
    let found = &report.conclusion;
    assert_eq!(found.mode, Some(mode), "{report:#?}");
    let off = (found.timeout.unwrap() / timeout - 1.0).abs();
    assert!(off < 0.02, "{timeout}: {found:#?}");
    let bounds = found.at_least.unwrap() - 1e-6..=found.at_most.unwrap() + 1e-6;
    assert!(bounds.contains(&timeout), "{timeout}: {found:#?}");
    // Its own timeout once or twice, openings, and answers that do not come.
    let rounds = match mode {
        Mode::FinAtExpiry | Mode::RstAtExpiry => 1.05,
        _ => 2.25,
    };
    let overhead = if mode == Mode::Silent { 8.0 } else { 2.0 };
    assert!(
        report.took <= timeout * rounds + overhead,
        "{timeout}: {}",
        report.took
    );
}

#[test]
fn usual_timeouts_of_every_kind_are_found_for_certain() {
    for timeout in [
        3.0, 5.0, 10.0, 55.0, 60.0, 240.0, 300.0, 350.0, 600.0, 900.0,
    ] {
        for (end, mode) in KINDS {
            let report = play(&timer(end, secs(timeout), 0.0), &USUAL);
            assert_timeout(&report, mode, timeout);
            assert_eq!(
                report.conclusion.confidence,
                Confidence::Certain,
                "{report:#?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_timeout_of_any_kind_is_found(timeout in 1.2_f64..930.0, kind in 0_usize..4) {
        let (end, mode) = KINDS[kind].clone();
        let report = play(&timer(end, secs(timeout), 0.0), &USUAL);
        assert_timeout(&report, mode, timeout);
    }

    #[test]
    fn nothing_makes_it_panic_or_run_for_ever(
        ends in prop::collection::vec((0_usize..7, 0.0_f64..1.2), 1..80),
        connections in 1_usize..60,
        until in 0.0_f64..100.0,
    ) {
        let path = move |_: Duration, silence: Duration, number: usize| {
            let (end, part) = ends[number % ends.len()];
            match end {
                0 => (alive(), silence),
                1 => (End::FinInSilence, silence.mul_f64(part.min(1.0))),
                2 => (End::RstInSilence, silence.mul_f64(part.min(1.0))),
                3 => (End::RstOnPacket, silence),
                4 => (End::NoAnswer, silence),
                5 => (End::NotOpened("refused".to_owned()), Duration::ZERO),
                _ => (End::FinOnPacket, silence),
            }
        };
        let settings = Settings { max: secs(30.0), connections, until: secs(until), ..USUAL };
        let report = play(&path, &settings);
        prop_assert!(report.took <= 75.0, "{}", report.took);
        let text = render(&report, 100);
        prop_assert!(text.contains(&report.conclusion.summary));
        let json = serde_json::to_string(&report).unwrap();
        prop_assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}

#[test]
fn a_path_without_timeout_is_none() {
    let settings = Settings {
        max: secs(20.0),
        ..USUAL
    };
    let report = play(&|_, silence, _| (alive(), silence), &settings);
    let found = &report.conclusion;
    assert_eq!(found.mode, Some(Mode::None));
    assert_eq!(
        (found.timeout, found.at_least, found.at_most),
        (None, Some(20.0), None)
    );
    assert!((20.0..22.0).contains(&report.took));
    // Only one direction was tested.
    assert_eq!(found.confidence, Confidence::Likely);
    let [to_server, to_client] = &report.directions[..] else {
        panic!("{report:#?}");
    };
    let about = to_server.conclusion.as_ref().unwrap();
    assert_eq!(
        (to_server.direction, to_server.tested),
        (Direction::ToServer, true)
    );
    assert_eq!(about.confidence, Confidence::Certain);
    assert_eq!(
        (to_client.direction, to_client.tested),
        (Direction::ToClient, false)
    );
    assert_eq!(to_client.conclusion, None);
    let text = render(&report, 100);
    let line = "tested: this host writes first after the silence; not tested: the server writes first. \
                Run `rsttrace probe --listen PORT` there to test it";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_restart_is_no_timeout() {
    for end in [End::FinInSilence, End::RstInSilence, End::RstOnPacket] {
        let settings = Settings {
            max: secs(120.0),
            ..USUAL
        };
        let report = play(&restart(end, secs(7.3)), &settings);
        let found = &report.conclusion;
        assert_eq!((found.mode, found.timeout), (None, None), "{report:#?}");
        assert!(found.summary.contains("restart"), "{}", found.summary);
        assert!(report.took < 25.0, "{}", report.took);
    }
}

#[test]
fn one_lost_connection_is_no_timeout() {
    for end in [End::RstOnPacket, End::NoAnswer, End::FinInSilence] {
        let path = move |_: Duration, silence: Duration, number: usize| {
            let end = if number == 17 { end.clone() } else { alive() };
            (end, silence)
        };
        let settings = Settings {
            max: secs(30.0),
            ..USUAL
        };
        let report = play(&path, &settings);
        assert_eq!(report.conclusion.mode, None, "{report:#?}");
    }
}

#[test]
fn the_timeout_behind_one_lost_connection_is_found() {
    let late = timer(End::RstOnPacket, secs(12.0), 0.0);
    let fin = timer(End::FinInSilence, secs(12.0), 0.0);
    let paths: [(Box<Path>, Mode); 2] = [
        (Box::new(late), Mode::LateRst),
        (Box::new(fin), Mode::FinAtExpiry),
    ];
    for (path, mode) in paths {
        let lossy = move |opened, silence, number| match number {
            5 => (End::NoAnswer, silence),
            _ => path(opened, silence, number),
        };
        let report = play(
            &lossy,
            &Settings {
                max: secs(60.0),
                ..USUAL
            },
        );
        let found = &report.conclusion;
        assert_eq!(found.mode, Some(mode), "{report:#?}");
        // The second round went to the wrong place, so the bounds are those of the first.
        assert!(
            (found.timeout.unwrap() / 12.0 - 1.0).abs() < 0.1,
            "{found:#?}"
        );
    }
}

#[test]
fn a_server_that_turns_connections_away_has_no_timeout() {
    let report = play(&|_, _, _| (End::FinInSilence, secs(0.003)), &USUAL);
    let found = &report.conclusion;
    assert_eq!(found.mode, None);
    assert!(found.summary.contains("40 of 40"), "{}", found.summary);
    assert!(
        found.summary.contains("rejects connections"),
        "{}",
        found.summary
    );
    assert!(report.took < 2.0);
}

#[test]
fn ends_that_differ_are_no_timeout() {
    let path = |_: Duration, silence: Duration, number: usize| {
        let timeout = secs(3.0 + number as f64 / 2.0);
        if silence < timeout {
            (alive(), silence)
        } else {
            (End::RstInSilence, timeout)
        }
    };
    let report = play(&path, &USUAL);
    let found = &report.conclusion;
    assert_eq!((found.mode, found.timeout), (None, None), "{found:#?}");
    assert!(
        found.summary.contains("not a single idle timeout"),
        "{}",
        found.summary
    );
}

#[test]
fn a_coarse_timer_is_found_with_its_spread() {
    let report = play(&timer(End::FinInSilence, secs(60.0), 2.0), &USUAL);
    let found = &report.conclusion;
    assert_eq!(found.mode, Some(Mode::FinAtExpiry));
    assert!((60.0..62.0).contains(&found.timeout.unwrap()));
    assert_eq!(found.confidence, Confidence::Likely);
}

#[test]
fn a_timer_that_is_looked_at_now_and_then_is_no_restart() {
    for (timeout, every) in [(30.0, 2.0), (60.0, 5.0), (300.0, 10.0)] {
        let path = move |opened: Duration, silence: Duration, _: usize| {
            let due = (opened.as_secs_f64() + timeout) / every;
            let quiet = secs(due.ceil() * every) - opened;
            if silence < quiet {
                (alive(), silence)
            } else {
                (End::FinInSilence, quiet)
            }
        };
        let report = play(&path, &USUAL);
        let found = &report.conclusion;
        assert_eq!(found.mode, Some(Mode::FinAtExpiry), "{report:#?}");
        let timeout_found = found.timeout.unwrap();
        assert!(
            (timeout..=timeout + every).contains(&timeout_found),
            "{found:#?}"
        );
        assert_eq!(found.confidence, Confidence::Likely);
    }
}

#[test]
fn one_connection_alone_is_a_hint_only() {
    let settings = Settings {
        min: secs(10.0),
        max: secs(10.0),
        connections: 1,
        ..USUAL
    };
    let report = play(&timer(End::RstInSilence, secs(3.0), 0.0), &settings);
    assert_eq!(report.conclusion.confidence, Confidence::Possible);
    assert!(report.conclusion.notes[0].contains("restart"));
}

#[test]
fn not_even_the_shortest_silence_gives_an_upper_bound() {
    for (end, mode) in [
        (End::RstOnPacket, Mode::LateRst),
        (End::NoAnswer, Mode::Silent),
    ] {
        let report = play(&timer(end, secs(0.5), 0.0), &USUAL);
        let found = &report.conclusion;
        assert_eq!(
            (found.mode, found.timeout, found.at_most),
            (Some(mode), None, Some(1.0))
        );
        assert!(found.advice[0].contains("--send"), "{found:#?}");
        assert!(report.took < 8.0, "{}", report.took);
    }
}

#[test]
fn an_interruption_concludes_from_what_is_known() {
    let report = play(
        &timer(End::RstOnPacket, secs(60.0), 0.0),
        &Settings {
            until: secs(20.0),
            ..USUAL
        },
    );
    let found = &report.conclusion;
    assert!(report.interrupted);
    assert_eq!(found.mode, Some(Mode::None));
    assert!(
        (15.0..20.0).contains(&found.at_least.unwrap()),
        "{found:#?}"
    );
    // In the second round: the first round's bounds.
    let report = play(
        &timer(End::RstOnPacket, secs(60.0), 0.0),
        &Settings {
            until: secs(80.0),
            ..USUAL
        },
    );
    let found = &report.conclusion;
    assert_eq!(found.mode, Some(Mode::LateRst));
    assert!(
        found.at_least.unwrap() < 60.0 && found.at_most.unwrap() >= 60.0,
        "{found:#?}"
    );
    assert_eq!(found.confidence, Confidence::Possible);
    // At once.
    let report = play(
        &timer(End::RstOnPacket, secs(60.0), 0.0),
        &Settings {
            until: Duration::ZERO,
            ..USUAL
        },
    );
    assert_eq!(report.conclusion.mode, None);
}

#[test]
fn neighbours_with_the_same_fate_share_a_row() {
    let report = play(&timer(End::FinInSilence, secs(350.0), 0.0), &USUAL);
    let text = render(&report, 100);
    let rows: Vec<_> = text.lines().filter(|line| line.contains(" … ")).collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(
        rows[1].ends_with("FIN after 350.0 s (5 min 50 s) idle"),
        "{text}"
    );
    assert!(
        text.contains("FIN AT EXPIRY certain: idle timeout 350.0 s (5 min 50 s)"),
        "{text}"
    );
}

/// Silences of 1 to 20 s in two rounds; from `timeout` on they end so.
fn trials(end: &End, timeout: u64, other_end: OtherEnd) -> Vec<Trial> {
    let over = |seconds: u64| {
        let lost = seconds >= timeout;
        let quiet = Duration::from_secs(seconds);
        Trial {
            round: if seconds.is_multiple_of(2) { 1 } else { 2 },
            silence: quiet,
            opened: Some(Duration::ZERO),
            state: State::Over(Outcome {
                end: if lost {
                    end.clone()
                } else {
                    End::Survived(Answer::Data)
                },
                quiet,
                at: quiet + RTT,
                heard: 0,
            }),
            other_end: Some(if lost { other_end } else { OtherEnd::Message }),
        }
    };
    (1..=20).map(over).collect()
}

#[test]
fn with_a_responder_each_direction_has_its_table_and_its_conclusion() {
    let results = Results {
        took: secs(21.0),
        interrupted: false,
        to_server: trials(&End::NoAnswer, 99, OtherEnd::Open),
        to_client: Some(trials(&End::RstOnPacket, 8, OtherEnd::Open)),
        remarks: vec!["a remark".to_owned()],
    };
    let report = Report::new(heading(&USUAL, Speech::Message), results);
    let text = render(&report, 200);
    let expected = "\
lb at 192.0.2.7:443: 40 connections, idle for 1.00 s to 960.0 s (16 min), then a message from one end, which the other answers

this host writes first: 20 connections
idle time        connections  result
1.00 s … 20.0 s  20           survived
NONE certain: no idle timeout up to 20.0 s: 20 of 20 connections survived, the longest idle time was 20.0 s

the server writes first: 20 connections
idle time        connections  result
1.00 s … 7.00 s  7            survived
8.00 s … 20.0 s  13           RST on the next packet; still open at the other end
LATE RST certain: idle timeout 7.50 s (between 7.00 s and 8.00 s): reset in response to the first packet after an idle \
time of 8.00 s or more, on 13 of 13 connections; 7.00 s survived

LATE RST certain: idle timeout 7.50 s (between 7.00 s and 8.00 s)
  when the server writes first: reset in response to the first packet after an idle time of 8.00 s or more, on 13 of 13 \
connections; 7.00 s survived
  note: when this host writes first: 20 of 20 connections survived, the longest idle time was 20.0 s
  note: the server received the RST, and the connection was still open at this host: a device on the path sent it, or no \
longer translates the addresses (13 of 13 connections)
  note: a remark
  → enable SO_KEEPALIVE on the server, whose packets are lost, with TCP_KEEPIDLE below 5.60 s (the Linux default is 7200 s)
  → have the server send a heartbeat of its protocol more often than every 5.60 s, or close connections idle for longer
  took 21.0 s
";
    assert_eq!(text, expected);
}

#[test]
fn a_report_of_an_earlier_version_is_read() {
    let report = play(&timer(End::RstOnPacket, secs(60.0), 0.0), &USUAL);
    let mut json = serde_json::to_value(&report).unwrap();
    json.as_object_mut().unwrap().remove("directions").unwrap();
    for observation in json["observations"].as_array_mut().unwrap() {
        observation
            .as_object_mut()
            .unwrap()
            .remove("direction")
            .unwrap();
    }
    let read: Report = serde_json::from_value(json).unwrap();
    assert_eq!(
        (&read.conclusion, &read.observations),
        (&report.conclusion, &report.observations)
    );
    let text = render(&report, 100);
    assert_eq!(
        render(&read, 100),
        text.replace(&format!("{}\n", untested_line(&text)), "")
    );
}

fn untested_line(text: &str) -> &str {
    text.lines()
        .find(|line| line.starts_with("  tested: "))
        .unwrap()
}

#[test]
fn bytes_are_judged_by_how_they_are_answered_without_a_silence() {
    let over = |round, silence: f64, end: End| Trial {
        round,
        silence: secs(silence),
        opened: Some(Duration::ZERO),
        state: State::Over(Outcome {
            end,
            quiet: secs(silence),
            at: secs(silence),
            heard: 0,
        }),
        other_end: None,
    };
    let of = |control: End, first: End, second: End| {
        let trials = [
            over(0, 0.0, control),
            over(1, 2.0, first),
            over(1, 4.0, second),
        ];
        conclude(&trials, Speech::Bytes, Direction::ToServer)
    };
    let data = || End::Survived(Answer::Data);
    // A proxy acknowledges; behind it nothing answers any more.
    let found = of(data(), data(), alive());
    assert_eq!((found.mode, found.timeout), (Some(Mode::Silent), Some(3.0)));
    // The application never answers these bytes.
    let found = of(alive(), alive(), alive());
    assert_eq!((found.mode, found.at_least), (Some(Mode::None), Some(4.0)));
    // It closes whenever it gets them.
    let found = of(End::FinOnPacket, End::FinOnPacket, End::FinOnPacket);
    assert_eq!((found.mode, found.at_least), (Some(Mode::None), Some(4.0)));
    // Or resets.
    let found = of(End::RstOnPacket, End::RstOnPacket, End::RstOnPacket);
    assert_eq!(found.mode, None);
    assert!(
        found.summary.contains("even without idle time"),
        "{}",
        found.summary
    );
}
