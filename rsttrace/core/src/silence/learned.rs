//! Timeouts learned from earlier resets on the same path.
//!
//! A path is a remote network and a service. Each accepted reset of an established connection is noted there with the
//! silence before it. From these come two answers: at which timeout resets come ([`Memory::learned`]), and whether many
//! connections went at one instant ([`Memory::burst`]), which is a failover or a restart and no idleness.
//!
//! Bounded: [`MAX_PATHS`] paths of [`MAX_SAMPLES`] resets, the path quiet for longest forgotten first.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::clocks::Quiet;
use crate::event::{BootTime, Flow, NetnsCookie};
use crate::hash::HashMap;
use crate::record::{Bound, IdleMode, Learned};
use crate::thresholds::{IDLE, MANY_AT_ONCE, learned_tolerance};

/// Paths remembered.
pub const MAX_PATHS: usize = 1024;
/// Resets remembered of each.
pub const MAX_SAMPLES: usize = 64;

/// What is older teaches nothing: settings change.
const LESSON_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// Silences below this bound no timeout: a device may have lost its state, or reset for another reason.
const LEAST_BOUND: Duration = Duration::from_secs(60);
/// At least so many instants show that they are evenly spaced.
const EVENLY: usize = 6;

/// Connections that a timeout is learned from, at least.
const LEAST_FLOWS: usize = 5;
/// Instants that a timeout is learned from, at least: at one a failover may have reset them all.
const LEAST_INSTANTS: usize = 2;
/// Resets further apart than this are of different instants.
const INSTANT: Duration = Duration::from_millis(500);
/// A remote network and a service, as seen from one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Where.
    pub netns: NetnsCookie,
    /// The other end's network: /24 or /64.
    pub network: IpNet,
    /// The service's port: the remote one if this end connected, else its own.
    pub service: u16,
    /// This end connected.
    pub outgoing: bool,
}

impl Path {
    /// The path of a connection; `outgoing`: this end connected, `None`: not known, then the lower port is the service's.
    pub fn of(netns: NetnsCookie, flow: &Flow, outgoing: Option<bool>) -> Self {
        let outgoing = outgoing.unwrap_or(flow.remote.port() < flow.local.port());
        Self {
            netns,
            network: network(flow.remote.ip()),
            service: if outgoing {
                flow.remote.port()
            } else {
                flow.local.port()
            },
            outgoing,
        }
    }
}

/// The network that stands for an address: neighbours share their devices.
fn network(address: IpAddr) -> IpNet {
    let prefix = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new(address, prefix).map_or_else(|_| IpNet::from(address), |net| net.trunc())
}

/// One accepted reset.
#[derive(Clone, Copy, Debug)]
struct Sample {
    time: BootTime,
    flow: Flow,
    quiet: Option<Quiet>,
    /// Evidence spoke against the peer as the sender.
    from_device: bool,
}

impl Sample {
    fn is_silent(&self) -> bool {
        self.quiet.is_some_and(|quiet| quiet.application >= IDLE)
    }
}

/// What a path has shown, the oldest first.
#[derive(Debug, Default)]
struct History {
    samples: VecDeque<Sample>,
    last: BootTime,
    /// How many of the samples came after a silence.
    silent: usize,
}

/// Many connections of one path at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// How many; at [`MAX_SAMPLES`] there may be more.
    pub connections: usize,
    /// From the first to the last of them.
    pub within: Duration,
    /// The shortest silence among them.
    pub shortest: Duration,
    /// The longest.
    pub longest: Duration,
}

/// A timeout that a path has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// Where.
    pub path: Path,
    /// How the timeout made itself known.
    pub mode: IdleMode,
    /// What it is.
    pub learned: Learned,
}

/// Resets by path.
#[derive(Debug, Default)]
pub struct Memory {
    paths: HashMap<Path, History>,
}

impl Memory {
    /// Paths known.
    pub fn entries(&self) -> usize {
        self.paths.len()
    }

    /// Notes an accepted reset, as soon as it is known.
    pub fn note(&mut self, path: Path, flow: Flow, time: BootTime, quiet: Option<Quiet>) {
        if self.paths.len() >= MAX_PATHS && !self.paths.contains_key(&path) {
            let oldest = self
                .paths
                .iter()
                .min_by_key(|(path, history)| (history.last, **path))
                .map(|(path, _)| *path);
            if let Some(oldest) = oldest {
                self.paths.remove(&oldest);
            }
        }
        let history = self.paths.entry(path).or_default();
        if history.samples.len() >= MAX_SAMPLES {
            let oldest = history.samples.pop_front();
            history.silent -= usize::from(oldest.is_some_and(|oldest| oldest.is_silent()));
        }
        history.last = history.last.max(time);
        let sample = Sample {
            time,
            flow,
            quiet,
            from_device: false,
        };
        history.silent += usize::from(sample.is_silent());
        history.samples.push_back(sample);
    }

    /// A noted reset turned out not to look like the peer's.
    pub fn blame_device(&mut self, path: Path, flow: Flow, time: BootTime) {
        let samples = self
            .paths
            .get_mut(&path)
            .map(|history| &mut history.samples);
        for sample in samples.into_iter().flatten() {
            if sample.flow == flow && sample.time == time {
                sample.from_device = true;
            }
        }
    }

    /// The connections of a path that were reset around `time` after silences that differ: whatever ended them, it was no
    /// timer of theirs.
    pub fn burst(&self, path: Path, time: BootTime) -> Option<Burst> {
        // In a storm there is no silence: nothing to be looked through.
        if self.paths.get(&path)?.silent < MANY_AT_ONCE {
            return None;
        }
        let near: Vec<(&Sample, Duration)> = self
            .samples(path)
            .filter(|sample| distance(sample.time, time) <= INSTANT)
            .filter_map(|sample| Some((sample, sample.quiet?.application)))
            .filter(|(_, silence)| *silence >= IDLE)
            .collect();
        if flows(near.iter().map(|(sample, _)| *sample)) < MANY_AT_ONCE {
            return None;
        }
        let shortest = near.iter().map(|(_, silence)| *silence).min()?;
        let longest = near.iter().map(|(_, silence)| *silence).max()?;
        if longest - shortest <= learned_tolerance(longest) * 2 {
            return None;
        }
        let first = near.iter().map(|(sample, _)| sample.time).min()?;
        let last = near.iter().map(|(sample, _)| sample.time).max()?;
        Some(Burst {
            connections: near.len(),
            within: last.since(first),
            shortest,
            longest,
        })
    }

    /// The timeout that a path has shown in this mode, as far as it explains a reset after `quiet`.
    pub fn learned(&self, path: Path, quiet: &Quiet) -> Option<Learned> {
        match quiet.mode {
            IdleMode::LateRst => self
                .at_most(path)
                .filter(|learned| quiet.wire.as_secs_f64() >= learned.timeout),
            mode @ (IdleMode::RstAtExpiry | IdleMode::FinAtExpiry) => {
                self.exact(path, mode, quiet.application)
            }
        }
    }

    /// Every timeout learned so far, for a summary.
    pub fn lessons(&self) -> Vec<Lesson> {
        let mut lessons = Vec::new();
        for (&path, history) in &self.paths {
            for mode in [IdleMode::RstAtExpiry, IdleMode::FinAtExpiry] {
                let mut silences: Vec<Duration> = history
                    .samples
                    .iter()
                    .filter_map(|sample| sample.quiet.filter(|quiet| quiet.mode == mode))
                    .map(|quiet| quiet.application)
                    .collect();
                silences.sort_unstable();
                let middle = silences.get(silences.len() / 2);
                if let Some(learned) = middle.and_then(|&middle| self.exact(path, mode, middle)) {
                    lessons.push(Lesson {
                        path,
                        mode,
                        learned,
                    });
                }
            }
            if let Some(learned) = self.at_most(path) {
                lessons.push(Lesson {
                    path,
                    mode: IdleMode::LateRst,
                    learned,
                });
            }
        }
        // Of one path they are in order already.
        lessons.sort_by_key(|lesson| (std::cmp::Reverse(lesson.learned.samples), lesson.path));
        lessons
    }

    /// A sharp edge: most of the path's resets after a silence came at the same one, on enough connections, at enough
    /// instants, and not in step with a clock.
    fn exact(&self, path: Path, mode: IdleMode, silence: Duration) -> Option<Learned> {
        if silence < IDLE {
            return None;
        }
        let width = learned_tolerance(silence);
        let idle: Vec<(&Sample, Duration)> = self
            .samples(path)
            .filter_map(|sample| Some((sample, sample.quiet?)))
            .filter(|(_, quiet)| quiet.mode == mode && quiet.application >= IDLE)
            .map(|(sample, quiet)| (sample, quiet.application))
            .collect();
        let at: Vec<(&Sample, Duration)> = idle
            .iter()
            .copied()
            .filter(|(_, found)| found.abs_diff(silence) <= width)
            .collect();
        // A connection that was silent for longer speaks against the timeout.
        let longer = idle
            .iter()
            .filter(|(_, found)| *found > silence + width)
            .count();
        if flows(at.iter().map(|(sample, _)| *sample)) < LEAST_FLOWS
            || at.len() * 2 < idle.len()
            || longer * 10 > at.len()
        {
            return None;
        }
        let mut silences: Vec<Duration> = at.iter().map(|(_, found)| *found).collect();
        silences.sort_unstable();
        let timeout = *silences.get(silences.len() / 2)?;
        let instants = instants(at.iter().map(|(sample, _)| *sample));
        if instants.len() < LEAST_INSTANTS || are_in_step(&instants, timeout) {
            return None;
        }
        let spread = silences.iter().map(|found| found.abs_diff(timeout)).max();
        Some(Learned {
            timeout: timeout.as_secs_f64(),
            samples: at.len() as u64,
            of: idle.len() as u64,
            spread: spread.map(|spread| spread.as_secs_f64()),
            bound: Bound::Exact,
        })
    }

    /// A device that forgets silently shows only that its timeout was over: the shortest silence that was too long. Resets
    /// of the peer itself do not count: it may have gone for another reason, and whoever writes every 300 s finds out 300 s
    /// later.
    fn at_most(&self, path: Path) -> Option<Learned> {
        let late: Vec<(&Sample, Duration)> = self
            .samples(path)
            .filter_map(|sample| Some((sample, sample.quiet?)))
            .filter(|(_, quiet)| quiet.mode == IdleMode::LateRst && quiet.wire >= LEAST_BOUND)
            .map(|(sample, quiet)| (sample, quiet.wire))
            .collect();
        let by_device: Vec<(&Sample, Duration)> = late
            .iter()
            .copied()
            .filter(|(sample, _)| sample.from_device)
            .collect();
        let samples = by_device.iter().map(|(sample, _)| *sample);
        if flows(samples.clone()) < LEAST_FLOWS || instants(samples).len() < LEAST_INSTANTS {
            return None;
        }
        let shortest = by_device.iter().map(|(_, silence)| *silence).min()?;
        Some(Learned {
            timeout: shortest.as_secs_f64(),
            samples: by_device.len() as u64,
            of: late.len() as u64,
            spread: None,
            bound: Bound::AtMost,
        })
    }

    fn samples(&self, path: Path) -> impl Iterator<Item = &Sample> + Clone {
        self.paths.get(&path).into_iter().flat_map(|history| {
            history
                .samples
                .iter()
                .filter(|sample| history.last.since(sample.time) <= LESSON_LIFE)
        })
    }
}

fn distance(one: BootTime, other: BootTime) -> Duration {
    one.since(other).max(other.since(one))
}

/// How many connections.
fn flows<'a>(samples: impl Iterator<Item = &'a Sample>) -> usize {
    let mut flows: Vec<Flow> = samples.map(|sample| sample.flow).collect();
    flows.sort_unstable_by_key(|flow| (flow.local, flow.remote));
    flows.dedup();
    flows.len()
}

/// When they were reset, those at one instant taken together.
fn instants<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<BootTime> {
    let mut times: Vec<BootTime> = samples.map(|sample| sample.time).collect();
    times.sort_unstable();
    let mut instants: Vec<BootTime> = Vec::new();
    for time in times {
        if instants
            .last()
            .is_none_or(|&last| time.since(last) > INSTANT)
        {
            instants.push(time);
        }
    }
    instants
}

/// The instants lie whole timeouts apart, or evenly: then a job that runs that often explains them as well.
fn are_in_step(instants: &[BootTime], timeout: Duration) -> bool {
    let period = timeout.as_nanos().max(1);
    let slack = (timeout / 50).max(Duration::from_millis(100));
    let gaps: Vec<Duration> = instants
        .windows(2)
        .filter_map(|pair| Some(pair.last()?.since(*pair.first()?)))
        .collect();
    let whole = |gap: &Duration| {
        let off = gap.as_nanos() % period;
        off.min(period - off) <= slack.as_nanos()
    };
    let even = |gap: &Duration| {
        gaps.first()
            .is_some_and(|first| gap.abs_diff(*first) <= slack)
    };
    gaps.iter().all(whole) || (instants.len() >= EVENLY && gaps.iter().all(even))
}

#[cfg(test)]
mod tests {
    use super::super::clocks::Trigger;
    use super::*;
    use crate::engine::fixtures::{NOW, SECOND, address};

    const MINUTES: u64 = 300;

    fn flow(port: u16) -> Flow {
        Flow {
            local: address("10.0.0.1:8080"),
            remote: (address("10.0.3.7:1").ip(), port).into(),
        }
    }

    fn path() -> Path {
        Path::of(NetnsCookie(7), &flow(40_000), Some(false))
    }

    fn quiet(mode: IdleMode, millis: u64) -> Quiet {
        Quiet {
            mode,
            trigger: Trigger::Nothing,
            wire: Duration::from_millis(millis),
            application: Duration::from_millis(millis),
            after: None,
            owed: false,
        }
    }

    /// Resets at `(seconds, silence in milliseconds)`, each of a connection of its own.
    fn memory(mode: IdleMode, resets: &[(u64, u64)]) -> Memory {
        let mut memory = Memory::default();
        for (index, &(second, millis)) in resets.iter().enumerate() {
            let flow = flow(40_000 + u16::try_from(index).expect("few"));
            let time = BootTime(NOW + second * SECOND);
            memory.note(path(), flow, time, Some(quiet(mode, millis)));
        }
        memory
    }

    fn learn(mode: IdleMode, resets: &[(u64, u64)], millis: u64) -> Option<Learned> {
        memory(mode, resets).learned(path(), &quiet(mode, millis))
    }

    #[test]
    fn a_sharp_edge_is_learned_from_five_connections_at_two_instants() {
        let edge: Vec<(u64, u64)> = [0, 10, 47, 90, 133]
            .iter()
            .map(|&second| (second, 300_000 + second))
            .collect();
        for mode in [IdleMode::RstAtExpiry, IdleMode::FinAtExpiry] {
            let learned = learn(mode, &edge, 300_100).expect("learned");
            assert_eq!((learned.samples, learned.of), (5, 5));
            assert!((learned.timeout - 300.0).abs() < 0.1, "{learned:?}");
            assert_eq!(learned.bound, Bound::Exact);
            assert_eq!(learn(mode, &edge[1..], 300_100), None, "four are too few");
            assert_eq!(learn(mode, &edge, 250_000), None, "another silence");
        }
    }

    #[test]
    fn one_instant_teaches_nothing() {
        let at_once: Vec<(u64, u64)> = (0..8).map(|_| (5, 300_000)).collect();
        assert_eq!(learn(IdleMode::RstAtExpiry, &at_once, 300_000), None);
    }

    #[test]
    fn a_job_that_runs_every_five_minutes_is_no_timeout() {
        // It closes in step with its own period.
        let job: Vec<(u64, u64)> = (0..8).map(|n| (n * MINUTES, 300_000)).collect();
        assert_eq!(learn(IdleMode::RstAtExpiry, &job, 300_000), None);
        // A little more than its silence, each time.
        let drifting: Vec<(u64, u64)> = (0..20).map(|n| (n * 301, 300_000)).collect();
        assert_eq!(learn(IdleMode::RstAtExpiry, &drifting, 300_000), None);
        let evenly: Vec<(u64, u64)> = (0..8).map(|n| (n * 90, 60_000)).collect();
        assert_eq!(learn(IdleMode::RstAtExpiry, &evenly, 60_000), None);
        // It writes every five minutes and finds the peer gone: the peer's own resets bound no timeout.
        let writer: Vec<(u64, u64)> = (0..8).map(|n| (n * 77, 300_000)).collect();
        assert_eq!(learn(IdleMode::LateRst, &writer, 300_000), None);
    }

    #[test]
    fn longer_silences_speak_against_a_timeout() {
        let mixed = [
            (0, 60_000),
            (10, 60_000),
            (25, 60_000),
            (47, 60_000),
            (71, 60_000),
            (90, 200_000),
        ];
        assert_eq!(learn(IdleMode::RstAtExpiry, &mixed, 60_000), None);
        assert!(learn(IdleMode::RstAtExpiry, &mixed[..5], 60_000).is_some());
    }

    #[test]
    fn late_resets_of_a_device_bound_its_timeout() {
        let resets = [
            (0, 400_000),
            (9, 351_000),
            (31, 900_000),
            (50, 360_000),
            (77, 380_000),
        ];
        let mut memory = memory(IdleMode::LateRst, &resets);
        let late = quiet(IdleMode::LateRst, 500_000);
        assert_eq!(memory.learned(path(), &late), None, "perhaps the peer's");
        for (index, &(second, _)) in resets.iter().enumerate() {
            let flow = flow(40_000 + u16::try_from(index).expect("few"));
            memory.blame_device(path(), flow, BootTime(NOW + second * SECOND));
        }
        let learned = memory.learned(path(), &late).expect("a bound");
        assert_eq!((learned.timeout, learned.bound), (351.0, Bound::AtMost));
        assert_eq!(learned.samples, 5);
        let shorter = quiet(IdleMode::LateRst, 100_000);
        assert_eq!(memory.learned(path(), &shorter), None);
        assert_eq!(memory.lessons().len(), 1);
    }

    #[test]
    fn a_burst_is_many_connections_at_one_instant_after_different_silences() {
        let instant = BootTime(NOW + 5 * SECOND);
        let failover: Vec<(u64, u64)> = (1..=6).map(|n| (5, n * 10_000)).collect();
        let burst = memory(IdleMode::RstAtExpiry, &failover)
            .burst(path(), instant)
            .expect("a burst");
        assert_eq!(burst.connections, 6);
        assert_eq!(burst.longest, Duration::from_secs(60));
        // A pool that was opened and left alone at one instant expires at one.
        let pool: Vec<(u64, u64)> = (1..=6).map(|n| (5, 300_000 + n)).collect();
        let memory_of_pool = memory(IdleMode::RstAtExpiry, &pool);
        assert_eq!(memory_of_pool.burst(path(), instant), None);
        // Busy connections were not idle at all.
        let busy: Vec<(u64, u64)> = (1..=6).map(|n| (5, n)).collect();
        let busy = memory(IdleMode::RstAtExpiry, &busy);
        assert_eq!(busy.burst(path(), instant), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for n in 0..(MAX_PATHS as u64 + 50) {
            let port = u16::try_from(n % 60_000).expect("a port");
            let path = Path {
                service: port,
                ..path()
            };
            for _ in 0..(if n == 7 { MAX_SAMPLES + 9 } else { 1 }) {
                memory.note(path, flow(port), BootTime(NOW + n), None);
            }
        }
        assert!(memory.paths.len() <= MAX_PATHS);
        assert!(
            memory
                .paths
                .values()
                .all(|it| it.samples.len() <= MAX_SAMPLES)
        );
    }

    #[test]
    fn of_paths_of_one_age_the_same_is_forgotten_each_time() {
        let kept = || {
            let mut memory = Memory::default();
            for port in 0..MAX_PATHS as u16 + 100 {
                let path = Path {
                    service: port,
                    ..path()
                };
                memory.note(path, flow(port), BootTime(NOW), None);
            }
            let mut kept: Vec<_> = memory.paths.keys().copied().collect();
            kept.sort();
            kept
        };
        assert_eq!(kept(), kept());
    }

    #[test]
    fn the_service_is_the_end_that_was_connected_to() {
        let flow = flow(40_000);
        assert_eq!(Path::of(NetnsCookie(7), &flow, Some(false)).service, 8080);
        assert_eq!(Path::of(NetnsCookie(7), &flow, Some(true)).service, 40_000);
        let guessed = Path::of(NetnsCookie(7), &flow, None);
        assert_eq!((guessed.service, guessed.outgoing), (8080, false));
        assert_eq!(guessed.network.to_string(), "10.0.3.0/24");
    }
}
