//! Settings that keep an idle connection open, or end it with a FIN.
//!
//! What helps depends on what the timer counts: a device on the path counts packets, so keepalive helps; a proxy or
//! a server counts its application's data, so it does not.

use std::time::Duration;

use super::settings::{self, Setting};
use super::table::{self, Shape};
use crate::ownership::ProcessName;
use crate::record::{Basis, IdleMode, Sentence};
use crate::silence::candidates::Match;
use crate::silence::devices::{self, Kind};
use crate::words;

/// A reset after an idle timeout, as far as advice depends on it.
#[derive(Clone, Debug)]
pub struct IdleSituation<'a> {
    /// What happened at the timeout.
    pub mode: IdleMode,
    /// The timeout: learned, configured, or the silence if it ended at expiry; absent if only a bound is known.
    pub timeout: Option<Duration>,
    /// The silence before the reset: the timeout is not longer.
    pub silence: Duration,
    /// The devices that fit, most plausible first; empty if none does.
    pub matches: &'a [Match],
    /// The evidence says that a device between the ends did it, not the other end.
    pub transparent: bool,
    /// Keepalive of this end's socket; absent if there is no socket to ask.
    pub keepalive: Option<KeepaliveNow>,
    /// The process at this end; absent if not known.
    pub process: Option<&'a ProcessName>,
    /// This end opened the connection; absent if not known.
    pub opened_here: Option<bool>,
    /// This end was sending a request when the other end closed: the first advice.
    pub race: Option<Sentence>,
}

impl IdleSituation<'_> {
    fn listened(&self) -> Option<bool> {
        self.opened_here.map(|opened| !opened)
    }

    fn setting(&self, shape: Shape) -> Option<&'static str> {
        table::find(self.process?.program, self.listened(), shape)
    }

    fn comm(&self) -> Option<&str> {
        self.process.map(|process| process.comm.as_str())
    }
}

/// Keepalive of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveNow {
    /// SO_KEEPALIVE.
    pub enabled: bool,
    /// Silence before the first probe, used or not; absent if it is the sysctl's and that is not known.
    pub time: Option<Duration>,
    /// Between unanswered probes; absent as `time`. Says nothing about idle timeouts: an answered probe is
    /// followed by the next after `time`.
    pub interval: Option<Duration>,
    /// `time` is net.ipv4.tcp_keepalive_time, not the socket's own TCP_KEEPIDLE.
    pub from_sysctl: bool,
}

/// At most three sentences, most useful first.
pub fn for_idle(situation: &IdleSituation<'_>) -> Vec<Sentence> {
    let advice = if keepalive_helps(situation) {
        by_keepalive(situation)
    } else {
        by_application(situation)
    };
    let race = situation.race.clone();
    race.into_iter()
        .chain(advice.into_iter().map(Into::into))
        .take(MOST)
        .collect()
}

const MOST: usize = 3;

/// A first probe that most devices let through, where no timeout is known.
const USUAL_KEEPALIVE: u64 = 60;

/// The devices that may be it.
fn suspects<'a>(situation: &IdleSituation<'a>) -> impl Iterator<Item = &'a Match> + use<'a> {
    let transparent = situation.transparent;
    situation
        .matches
        .iter()
        .filter(move |found| !transparent || found.kind == Kind::Transparent)
}

fn keepalive_helps(situation: &IdleSituation<'_>) -> bool {
    situation.transparent
        || suspects(situation)
            .find_map(|found| found.keepalive_helps)
            // An end that closes with a FIN has a connection of its own.
            .unwrap_or(situation.mode != IdleMode::FinAtExpiry)
}

/// What the advice has to stay below: the timeout, else that of the most plausible device. After a late reset any of
/// those that fit may be it, so the shortest counts, of those that probes can hold open.
fn timeout(situation: &IdleSituation<'_>) -> Option<Duration> {
    let seconds = |found: &Match| Duration::try_from_secs_f64(found.candidate.timeout).ok();
    situation.timeout.or_else(|| match situation.mode {
        IdleMode::RstAtExpiry | IdleMode::FinAtExpiry => {
            suspects(situation).next().and_then(seconds)
        }
        IdleMode::LateRst => suspects(situation)
            .filter(|found| found.keepalive_helps != Some(false))
            .filter_map(seconds)
            .min(),
    })
}

/// Seconds as people type them, about half of the timeout; `None` if that is below a second.
fn half(timeout: Duration) -> Option<u64> {
    const TYPED: [u64; 22] = [
        1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180, 240, 300, 600, 900, 1200, 1800,
        3600, 7200,
    ];
    let most = timeout.as_secs() / 2;
    TYPED.into_iter().rev().find(|seconds| *seconds <= most)
}

/// `, below the timeout of 5 min 0 s`.
fn below(situation: &IdleSituation<'_>) -> String {
    let late = situation.mode == IdleMode::LateRst && situation.timeout.is_none();
    match timeout(situation).map(words::span) {
        None => format!(
            ", well below the {} of idle time that was too long",
            words::silence(situation.silence)
        ),
        Some(least) if late => format!(", below every timeout that matches ({least} and longer)"),
        Some(timeout) => format!(", below the timeout of {timeout}"),
    }
}

/// A box between counts packets: send some.
fn by_keepalive(situation: &IdleSituation<'_>) -> Vec<String> {
    let timeout = timeout(situation);
    let mut advice = Vec::new();
    let unknown = || half(situation.silence).map(|most| most.min(USUAL_KEEPALIVE));
    if let Some(seconds) = timeout.map_or_else(unknown, half) {
        let own = situation
            .setting(Shape::Keepalive)
            .map(|setting| setting.replace("{n}", &seconds.to_string()));
        let place = situation.comm().unwrap_or_default();
        let below = below(situation);
        let limit = timeout.unwrap_or(Duration::from_secs(seconds + 1));
        match situation.keepalive {
            Some(now) if now.enabled && now.time.is_some_and(|time| time < limit) => {
                advice.push(in_vain(now));
            }
            Some(now) if now.enabled && (now.from_sysctl || now.time.is_none()) => {
                let time = now
                    .time
                    .map(|time| format!(" from {}", words::span(time)))
                    .unwrap_or_default();
                advice.push(format!(
                    "lower the keepalive time{time}: `sysctl -w net.ipv4.tcp_keepalive_time={seconds}`{below}"
                ));
                advice.extend(own.map(|own| format!("or for {place} alone: {own}")));
            }
            Some(now) if now.enabled => {
                let time = now.time.map(words::span).unwrap_or_default();
                let how = own.unwrap_or_else(|| format!("TCP_KEEPIDLE {seconds} (seconds)"));
                advice.push(format!(
                    "lower the keepalive time from {time}: {how}{below}"
                ));
            }
            Some(now) => {
                advice.push(turn_on(place, own, seconds, &below));
                if now.from_sysctl {
                    advice.push(format!(
                        "`sysctl -w net.ipv4.tcp_keepalive_time={seconds}` applies to sockets without their own TCP_KEEPIDLE, but has no effect while SO_KEEPALIVE is off"
                    ));
                }
            }
            None => advice.push(match own {
                Some(own) => format!("make sure that keepalive is on in {place}: {own}{below}"),
                None => format!(
                    "make sure that SO_KEEPALIVE is on with TCP_KEEPIDLE {seconds} (seconds){below}"
                ),
            }),
        }
    }
    advice.extend(raise(situation).map(|raise| match advice.len() {
        0 => raise,
        _ => format!("or {raise}"),
    }));
    if advice.is_empty() {
        advice.push(have_it_send(timeout));
    }
    advice
}

fn turn_on(place: &str, own: Option<String>, seconds: u64, below: &str) -> String {
    match own {
        Some(own) => format!("turn keepalive on in {place}: {own}{below}"),
        None => format!(
            "turn SO_KEEPALIVE on for this socket, with TCP_KEEPIDLE {seconds} (seconds){below}"
        ),
    }
}

/// Keepalive should have helped.
fn in_vain(now: KeepaliveNow) -> String {
    let time = now
        .time
        .map(|time| format!(" after {}", words::span(time)))
        .unwrap_or_default();
    format!(
        "keepalive does not help here: it is on and probes{time}, but whatever timed out ignores probes or did not receive them; have the application send data instead"
    )
}

/// A proxy or the other end counts data: send some, wait longer, or end it first.
fn by_application(situation: &IdleSituation<'_>) -> Vec<String> {
    let timeout = timeout(situation);
    let send = have_it_send(timeout);
    let first = raise(situation).map_or_else(
        || {
            format!(
                "raise the idle timeout of the proxy or server that closed above the application's longest pause, or {send}"
            )
        },
        |raise| format!("{raise}, above the application's longest pause, or {send}"),
    );
    let keepalive = useless_keepalive(situation.keepalive);
    if situation.race.is_some() {
        return vec![first, keepalive];
    }
    let limit = timeout.map_or_else(|| "that timeout".to_owned(), words::span);
    let pool = match (situation.comm(), situation.setting(Shape::Idle)) {
        (Some(process), Some(idle)) => format!("{idle} of {process}"),
        (Some(_), None) | (None, _) => "the connection pool's idle timeout".to_owned(),
    };
    let here = format!("close idle connections here first: {pool} below {limit}");
    if situation.opened_here == Some(true) {
        vec![here, format!("or {first}"), keepalive]
    } else {
        vec![first, format!("or {here}"), keepalive]
    }
}

fn have_it_send(timeout: Option<Duration>) -> String {
    let often = timeout.and_then(half).map_or_else(String::new, |seconds| {
        format!(
            " at least every {}",
            words::span(Duration::from_secs(seconds))
        )
    });
    format!("have the application send data{often}")
}

fn useless_keepalive(now: Option<KeepaliveNow>) -> String {
    let state = match now {
        Some(KeepaliveNow { enabled: true, .. }) => " (it is on)",
        Some(KeepaliveNow { enabled: false, .. }) => " (it is off)",
        None => "",
    };
    format!(
        "TCP keepalive{state} does not help here: the kernel answers the probes, and the timer counts application data only"
    )
}

/// The setting of the device, if only one fits; of several any may be it.
fn raise(situation: &IdleSituation<'_>) -> Option<String> {
    let mut all = suspects(situation);
    let first = all.next()?;
    let name = first.candidate.device.as_str();
    // Beside a device that the user names, others of the same number are no news.
    if first.candidate.basis == Basis::Configured {
        return Some(format!("raise the idle timeout: that of {name}"));
    }
    let others: Vec<&Match> = all.collect();
    if !others.is_empty() {
        let names: Vec<&str> = std::iter::once(first)
            .chain(others)
            .map(|found| found.candidate.device.as_str())
            .collect();
        return Some(format!(
            "raise the idle timeout of the device that it was: {}",
            several(&names)
        ));
    }
    match settings::of_device(name)? {
        Setting::Named(setting) => Some(format!(
            "raise the idle timeout: {setting}{} for {name}",
            limits(name, setting)
        )),
        Setting::Fixed => Some(format!("replace {name}, whose timeout cannot be changed")),
    }
}

/// `6 known timeouts fit (A, B, C and 3 more)`.
pub fn several(names: &[&str]) -> String {
    const NAMED: usize = 3;
    let shown = names.get(..NAMED).unwrap_or(names).join(", ");
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} known timeouts fit ({shown}{more})", names.len())
}

/// ` (60 to 6000 s)`, where the table has limits.
fn limits(name: &str, setting: &str) -> String {
    let range = devices::all()
        .iter()
        .find(|device| device.name == name)
        .and_then(|device| device.range);
    let (unit, seconds) = if setting.contains("InMinutes") {
        ("min", 60)
    } else {
        ("s", 1)
    };
    range.map_or_else(String::new, |(least, most)| {
        format!(
            " ({} to {} {unit})",
            least.as_secs() / seconds,
            most.as_secs() / seconds
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Environment;
    use crate::record::{Candidate, Role};
    use crate::silence::candidates::{self, ClosingEnd, Knowledge, Silence};
    use crate::silence::software;

    fn matches(mode: IdleMode, seconds: f64, environment: Option<Environment>) -> Vec<Match> {
        let span = Duration::from_secs_f64(seconds);
        let silence = Silence {
            wire: span,
            application: span,
        };
        let knowledge = Knowledge {
            hops: Vec::new(),
            environment,
        };
        candidates::find(
            mode,
            silence,
            "10.0.3.7".parse().unwrap(),
            8080,
            ClosingEnd::default(),
            &knowledge,
        )
    }

    fn late(matches: &[Match]) -> IdleSituation<'_> {
        IdleSituation {
            mode: IdleMode::LateRst,
            timeout: Some(Duration::from_secs(300)),
            silence: Duration::from_secs(300),
            matches,
            transparent: true,
            keepalive: OFF,
            process: None,
            opened_here: Some(true),
            race: None,
        }
    }

    fn named(comm: &str) -> ProcessName {
        ProcessName {
            comm: comm.into(),
            pid: 87,
            role: Role::Owner,
            program: software::program(comm, None, None),
        }
    }

    fn closed(matches: &[Match]) -> IdleSituation<'_> {
        IdleSituation {
            mode: IdleMode::FinAtExpiry,
            transparent: false,
            ..late(matches)
        }
    }

    const OFF: Option<KeepaliveNow> = Some(KeepaliveNow {
        enabled: false,
        time: Some(Duration::from_secs(7200)),
        interval: Some(Duration::from_secs(75)),
        from_sysctl: true,
    });

    fn on(seconds: u64, from_sysctl: bool) -> Option<KeepaliveNow> {
        Some(KeepaliveNow {
            enabled: true,
            time: Some(Duration::from_secs(seconds)),
            interval: None,
            from_sysctl,
        })
    }

    #[test]
    fn keepalive_that_is_off_is_turned_on_and_the_sysctl_alone_does_nothing() {
        let advice = for_idle(&late(&[]));
        assert_eq!(
            advice,
            [
                "turn SO_KEEPALIVE on for this socket, with TCP_KEEPIDLE 150 (seconds), below the timeout of 5 min 0 s",
                "`sysctl -w net.ipv4.tcp_keepalive_time=150` applies to sockets without their own TCP_KEEPIDLE, but has no effect while SO_KEEPALIVE is off",
            ]
        );
    }

    #[test]
    fn a_sysctl_that_is_not_used_is_not_spoken_of() {
        let mut own = OFF;
        if let Some(now) = &mut own {
            now.from_sysctl = false;
        }
        let situation = IdleSituation {
            keepalive: own,
            ..late(&[])
        };
        assert!(!for_idle(&situation).concat().contains("sysctl"));
    }

    #[test]
    fn keepalive_that_comes_too_late_is_lowered_where_its_time_comes_from() {
        let by = |keepalive, process: Option<&str>| {
            for_idle(&IdleSituation {
                keepalive,
                process: process.map(named).as_ref(),
                ..late(&[])
            })
        };
        assert_eq!(
            by(on(7200, true), None),
            [
                "lower the keepalive time from 2 h 0 min: `sysctl -w net.ipv4.tcp_keepalive_time=150`, below the timeout of 5 min 0 s"
            ]
        );
        assert_eq!(
            by(on(7200, false), None),
            [
                "lower the keepalive time from 2 h 0 min: TCP_KEEPIDLE 150 (seconds), below the timeout of 5 min 0 s"
            ]
        );
        // At the timeout is too late as well.
        assert!(by(on(300, false), None)[0].starts_with("lower"));
        let nginx = by(on(7200, true), Some("nginx"));
        assert!(nginx[1].starts_with("or for nginx alone: `so_keepalive=150s::`"));
    }

    #[test]
    fn keepalive_that_came_in_time_is_said_not_to_help() {
        let situation = IdleSituation {
            keepalive: on(60, true),
            ..late(&[])
        };
        let advice = for_idle(&situation);
        assert!(
            advice[0].starts_with(
                "keepalive does not help here: it is on and probes after 1 min 0 s, but"
            ),
            "{advice:?}"
        );
        assert!(advice[0].contains("have the application send data"));
    }

    #[test]
    fn keepalive_of_which_nothing_is_known_is_to_be_looked_at() {
        let situation = IdleSituation {
            keepalive: None,
            ..late(&[])
        };
        assert!(for_idle(&situation)[0].starts_with("make sure that SO_KEEPALIVE is on"));
        let situation = IdleSituation {
            process: Some(&named("postgres")),
            ..situation
        };
        assert_eq!(
            for_idle(&situation)[0],
            "make sure that keepalive is on in postgres: `tcp_keepalives_idle = 150`, below the timeout of 5 min 0 s"
        );
    }

    #[test]
    fn programs_are_told_their_own_settings() {
        for (process, setting) in [
            (
                "nginx",
                "`so_keepalive=150s::` on listen; `proxy_socket_keepalive on`",
            ),
            (
                "haproxy",
                "`option clitcpka` with `clitcpka-idle 150s`, `option srvtcpka`",
            ),
            ("redis-server", "`tcp-keepalive 150`"),
            ("node", "`socket.setKeepAlive(true, 150000)`"),
        ] {
            let situation = IdleSituation {
                process: Some(&named(process)),
                ..late(&[])
            };
            let advice = for_idle(&situation);
            assert!(
                advice[0].starts_with(&format!("turn keepalive on in {process}: {setting}")),
                "{advice:?}"
            );
        }
        let situation = IdleSituation {
            process: Some(&named("orders")),
            ..late(&[])
        };
        assert!(for_idle(&situation)[0].starts_with("turn SO_KEEPALIVE on"));
    }

    #[test]
    fn a_device_that_fits_is_named_with_its_setting() {
        let aws = matches(IdleMode::LateRst, 350.2, Some(Environment::Aws));
        let situation = IdleSituation {
            timeout: None,
            ..late(&aws)
        };
        let advice = for_idle(&situation);
        assert_eq!(advice.len(), 3);
        // The connection tracking of a router, 300 s, fits as well.
        assert!(advice[0].ends_with(
            "TCP_KEEPIDLE 150 (seconds), below every timeout that matches (5 min 0 s and longer)"
        ));
        // Any of them may be it: no setting of one of them.
        assert_eq!(
            advice[2],
            "or raise the idle timeout of the device that it was: 5 known timeouts fit (AWS NLB (TCP), AWS NAT gateway, Linux conntrack unacknowledged / max retrans and 2 more)"
        );
        let only = |name| -> Vec<Match> {
            let all = matches(IdleMode::LateRst, 350.2, None);
            let is_it = |found: &Match| found.candidate.device == name;
            all.into_iter().filter(is_it).collect()
        };
        assert_eq!(
            for_idle(&late(&only("AWS NLB (TCP)")))[2],
            "or raise the idle timeout: listener attribute `tcp.idle_timeout.seconds` (60 to 6000 s) for AWS NLB (TCP)"
        );
        assert_eq!(
            for_idle(&late(&only("AWS NAT gateway")))[2],
            "or replace AWS NAT gateway, whose timeout cannot be changed"
        );
        assert!(
            for_idle(&late(&only("Azure NAT Gateway")))[2]
                .contains("`idleTimeoutInMinutes` (4 to 120 min) for Azure NAT Gateway")
        );
    }

    #[test]
    fn a_long_silence_before_a_late_reset_is_no_timeout() {
        let matches = matches(IdleMode::LateRst, 90_000.0, Some(Environment::Aws));
        let situation = IdleSituation {
            timeout: None,
            ..late(&matches)
        };
        let advice = for_idle(&situation);
        assert!(
            advice[0].contains("TCP_KEEPIDLE 150 (seconds)"),
            "{advice:?}"
        );
    }

    #[test]
    fn a_proxy_that_watches_the_application_is_not_impressed_by_keepalive() {
        let alb = matches(IdleMode::FinAtExpiry, 60.0, Some(Environment::Aws));
        let situation = IdleSituation {
            timeout: Some(Duration::from_secs(60)),
            keepalive: on(30, false),
            ..closed(&alb)
        };
        let advice = for_idle(&situation);
        assert_eq!(
            advice,
            [
                "close idle connections here first: the connection pool's idle timeout below 1 min 0 s",
                "or raise the idle timeout of the device that it was: 6 known timeouts fit (AWS ALB, AWS CLB, nginx upstream keepalive_timeout and 3 more), above the application's longest pause, or have the application send data at least every 30.0 s",
                "TCP keepalive (it is on) does not help here: the kernel answers the probes, and the timer counts application data only",
            ]
        );
    }

    #[test]
    fn who_closes_politely_without_being_known_is_a_proxy() {
        let accepted = IdleSituation {
            opened_here: Some(false),
            ..closed(&[])
        };
        let advice = for_idle(&accepted);
        assert!(advice[0].starts_with("raise the idle timeout of the proxy or server that closed"));
        assert!(advice[0].ends_with("at least every 2 min 30 s"));
        assert!(advice[2].starts_with("TCP keepalive (it is off) does not help here"));
        let situation = IdleSituation {
            process: Some(&named("nginx")),
            timeout: None,
            ..closed(&[])
        };
        assert_eq!(
            for_idle(&situation)[0],
            "close idle connections here first: `keepalive_timeout` of the upstream or `proxy_read_timeout` (stream: `proxy_timeout`) of nginx below that timeout"
        );
    }

    #[test]
    fn a_named_hop_is_called_by_its_name() {
        let hop = [Match {
            candidate: Candidate {
                device: "edge balancer".into(),
                timeout: 300.0,
                mode: Some(IdleMode::LateRst),
                basis: Basis::Configured,
            },
            kind: Kind::Transparent,
            keepalive_helps: Some(true),
            precise: false,
        }];
        assert_eq!(
            for_idle(&late(&hop))[2],
            "or raise the idle timeout: that of edge balancer"
        );
    }

    #[test]
    fn evidence_for_a_box_between_leaves_proxies_out() {
        let mixed = matches(IdleMode::FinAtExpiry, 60.0, None);
        let situation = IdleSituation {
            transparent: true,
            ..closed(&mixed)
        };
        let advice = for_idle(&situation);
        assert!(advice[0].starts_with("turn SO_KEEPALIVE on"), "{advice:?}");
        assert!(!advice.concat().contains("ALB"));
    }

    #[test]
    fn what_is_advised_is_about_half_and_typed_by_people() {
        for (timeout, advised) in [
            (1, None),
            (2, Some(1)),
            (60, Some(30)),
            (240, Some(120)),
            (300, Some(150)),
            (350, Some(150)),
            (900, Some(300)),
            (3600, Some(1800)),
            (432_000, Some(7200)),
        ] {
            assert_eq!(half(Duration::from_secs(timeout)), advised, "{timeout} s");
        }
    }

    #[test]
    fn a_timeout_too_short_for_keepalive_is_the_applications_affair() {
        let situation = IdleSituation {
            timeout: Some(Duration::from_millis(900)),
            ..late(&[])
        };
        assert_eq!(for_idle(&situation), ["have the application send data"]);
    }

    #[test]
    fn without_any_timeout_a_minute_is_advised() {
        let situation = IdleSituation {
            timeout: None,
            ..late(&[])
        };
        assert!(
            for_idle(&situation)[0].contains("TCP_KEEPIDLE 60 (seconds), well below the 300.0 s")
        );
    }

    proptest! {
        #[test]
        fn there_are_one_to_three_sentences(
            mode in prop::sample::select(IdleMode::ALL),
            seconds in 0.0_f64..500_000.0,
            timeout in prop::option::of(any::<u64>()),
            keepalive in prop::option::of((any::<bool>(), prop::option::of(any::<u64>()), any::<bool>())),
            process in prop::option::of(prop::sample::select(vec!["nginx", "java", "orders"])),
            transparent in any::<bool>(),
            opened_here in prop::option::of(any::<bool>()),
        ) {
            let matches = matches(mode, seconds, None);
            let advice = for_idle(&IdleSituation {
                silence: Duration::from_secs(300),
                mode,
                timeout: timeout.map(Duration::from_secs),
                matches: &matches,
                transparent,
                keepalive: keepalive.map(|(enabled, time, from_sysctl)| KeepaliveNow {
                    enabled,
                    time: time.map(Duration::from_secs),
                    interval: None,
                    from_sysctl,
                }),
                process: process.map(named).as_ref(),
                opened_here,
                race: None,
            });
            prop_assert!((1..=MOST).contains(&advice.len()), "{advice:?}");
            for sentence in advice {
                prop_assert!(!sentence.is_empty() && !sentence.contains("{}"), "{sentence}");
            }
        }
    }
}
