//! Grouping of similar records, and when their number is shown.
//!
//! The first of a kind is shown at once. Further ones are counted. Their first count is shown after a second without one, or after five
//! seconds; from then on there is at most one count a minute. A kind is forgotten after a minute without a record.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::findings::service;
use crate::hash::HashMap;
use crate::record::{
    Cause, Class, Confidence, Direction, Endpoint, FailureKind, FailureRecord, Origin, Record,
    ServingEnd, Severity, Word,
};

/// Silence after which the first count is shown.
const QUIET: Duration = Duration::from_secs(1);
/// Longest time the first count is held back.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between further counts.
const INTERVAL: Duration = Duration::from_secs(60);
/// Silence after which a kind is new again.
const KNOWN: Duration = Duration::from_secs(60);
/// Groups at a time. One without a pending count makes room for the next; records of further kinds are shown one by one.
const MOST: usize = 1024;

/// What records of one group have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Reset(ResetKind),
    Failure(FailureGroup),
}

/// What failures of one group have in common: neither local ports nor numbers of processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FailureGroup {
    pub kind: FailureKind,
    pub severity: Severity,
    error: Option<i32>,
    pub process: Option<Word>,
    pub netns: Option<u32>,
    /// The end that serves; none has a table.
    service: Option<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ResetKind {
    pub direction: Direction,
    pub cause: Cause,
    pub origin: Origin,
    pub severity: Severity,
    pub confidence: Confidence,
    pub class: Option<Class>,
    /// By name: a client that is started again and again has many ids.
    pub process: Option<Word>,
    owner: Option<u32>,
    pub netns: Option<u32>,
    pub local: IpAddr,
    pub remote: IpAddr,
    /// The serving end and its port, if known; the other end's port changes with each connection.
    service: Option<(ServingEnd, u16)>,
}

impl Kind {
    pub fn of_failure(failure: &FailureRecord) -> Self {
        let remote = failure.remote.as_ref();
        let local_port = failure.local.as_ref().map_or(u16::MAX, |local| local.port);
        let service = remote.filter(|remote| failure.syns.is_some() || remote.port <= local_port);
        Self::Failure(FailureGroup {
            kind: failure.verdict.kind,
            severity: failure.verdict.severity,
            error: failure.error,
            process: failure.process.as_ref().map(|it| it.comm.clone()),
            netns: failure.netns,
            service: service.or(failure.local.as_ref()).cloned(),
        })
    }

    pub fn of(record: &Record) -> Self {
        let verdict = &record.verdict;
        // It is one, whatever the ports and whoever listened there.
        let is_scan = verdict.class == Some(Class::PortScan);
        Self::Reset(ResetKind {
            direction: record.direction,
            cause: verdict.cause,
            origin: verdict.origin,
            severity: verdict.severity,
            confidence: verdict.confidence,
            class: verdict.class,
            process: record
                .process
                .as_ref()
                .filter(|_| !is_scan)
                .map(|process| process.comm.clone()),
            owner: record.owner.as_ref().map(|owner| owner.pid),
            netns: record.netns,
            local: record.local.address,
            remote: record.remote.address,
            service: service(record).filter(|_| !is_scan),
        })
    }
}

/// Further records of a kind that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct More {
    pub kind: Kind,
    pub count: u64,
    /// Time of the record that was shown.
    pub since: String,
    /// Time of the last one counted.
    pub until: String,
    /// What they have in common, ready to be shown.
    pub label: String,
}

#[derive(Debug)]
struct Group {
    /// In [`Groups::pending`] or [`Groups::idle`].
    key: Key,
    label: String,
    since: String,
    until: String,
    last: Instant,
    /// When a count was shown last.
    counted: Option<Instant>,
    pending: u64,
    /// When the first pending one came; meaningful if there is one.
    held_since: Instant,
}

impl Group {
    fn due(&self) -> Instant {
        match self.counted {
            _ if self.pending == 0 => self.last + KNOWN,
            None => (self.last + QUIET).min(self.held_since + PATIENCE),
            Some(counted) => counted + INTERVAL,
        }
    }

    fn take(&mut self, kind: &Kind) -> Option<More> {
        let count = std::mem::take(&mut self.pending);
        (count > 0).then(|| More {
            kind: kind.clone(),
            count,
            since: self.since.clone(),
            until: self.until.clone(),
            label: self.label.clone(),
        })
    }
}

/// A time, and a number that keeps equal times apart.
type Key = (Instant, u64);

/// The groups that are open.
#[derive(Debug, Default)]
pub(super) struct Groups {
    open: HashMap<Kind, Group>,
    /// Those with a count to come, by the time that it is due.
    pending: BTreeMap<Key, Kind>,
    /// Those without, by the time that they are forgotten.
    idle: BTreeMap<Key, Kind>,
    number: u64,
}

impl Groups {
    /// Whether the record is shown; otherwise it was counted. Call [`Self::due`] first for counts that were due before it.
    pub fn admit_record(
        &mut self,
        now: Instant,
        record: &Record,
        label: impl FnOnce(&Record) -> String,
    ) -> bool {
        let kind = Kind::of(record);
        self.admit(now, kind, (&record.time, 1), || label(record))
    }

    /// The same for a failure.
    pub fn admit_failure(
        &mut self,
        now: Instant,
        failure: &FailureRecord,
        label: impl FnOnce(&FailureRecord) -> String,
    ) -> bool {
        let kind = Kind::of_failure(failure);
        self.admit(now, kind, (&failure.time, failure.count()), || {
            label(failure)
        })
    }

    /// `number`: how many it stands for.
    fn admit(
        &mut self,
        now: Instant,
        kind: Kind,
        (time, number): (&str, u64),
        label: impl FnOnce() -> String,
    ) -> bool {
        if let Some(group) = self.open.get_mut(&kind) {
            if group.pending == 0 {
                group.held_since = now;
            }
            let is_first = group.pending == 0;
            group.pending += number;
            group.last = now;
            time.clone_into(&mut group.until);
            if is_first {
                self.idle.remove(&group.key);
                group.key.0 = group.due();
                self.pending.insert(group.key, kind);
            }
            return false;
        }
        if self.open.len() >= MOST {
            self.make_room();
        }
        if self.open.len() < MOST {
            self.number += 1;
            let group = Group {
                key: (now + KNOWN, self.number),
                label: label(),
                since: time.to_owned(),
                until: time.to_owned(),
                last: now,
                counted: None,
                pending: 0,
                held_since: now,
            };
            self.idle.insert(group.key, kind.clone());
            self.open.insert(kind, group);
        }
        true
    }

    fn make_room(&mut self) {
        if let Some((_, kind)) = self.idle.pop_first() {
            self.open.remove(&kind);
        }
    }

    /// When to ask [`Self::due`] again; may be too early.
    pub fn deadline(&self) -> Option<Instant> {
        let first = |keys: &BTreeMap<Key, Kind>| keys.keys().next().map(|(due, _)| *due);
        [first(&self.pending), first(&self.idle)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Counts that are due, oldest group first. Groups without a record for long are closed.
    pub fn due(&mut self, now: Instant) -> Vec<More> {
        let mut due = Vec::new();
        while let Some(first) = self.pending.first_entry()
            && first.key().0 <= now
        {
            let (_, kind) = first.remove_entry();
            let Some(group) = self.open.get_mut(&kind) else {
                continue;
            };
            // Later ones may have come since.
            if group.due() <= now {
                due.extend(group.take(&kind));
                group.counted = Some(now);
            }
            group.key.0 = group.due();
            let keys = match group.pending {
                0 => &mut self.idle,
                _ => &mut self.pending,
            };
            keys.insert(group.key, kind);
        }
        while let Some(first) = self.idle.first_entry()
            && first.key().0 <= now
        {
            self.open.remove(&first.remove());
        }
        due.sort_by(by_age);
        due
    }

    /// Everything that is held back, due or not.
    pub fn drain(&mut self) -> Vec<More> {
        let mut all: Vec<_> = self
            .open
            .drain()
            .filter_map(|(kind, mut group)| group.take(&kind))
            .collect();
        self.pending.clear();
        self.idle.clear();
        all.sort_by(by_age);
        all
    }
}

/// Whatever the table they come from.
fn by_age(one: &More, other: &More) -> std::cmp::Ordering {
    let key = |more: &More| (more.until.clone(), more.since.clone(), more.count);
    key(one)
        .cmp(&key(other))
        .then_with(|| one.label.cmp(&other.label))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::sample_failure;

    fn record(number: u16) -> Record {
        let text = include_str!("../../../tests/data/records/close_with_unread_data.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        record.remote.port = 50_000 + number;
        record.time = format!("2026-01-05T12:03:{:02}.000000000Z", number % 60);
        record
    }

    fn admit(groups: &mut Groups, now: Instant, record: &Record) -> bool {
        groups.admit(now, Kind::of(record), (&record.time, 1), || {
            "label".to_owned()
        })
    }

    #[test]
    fn the_first_is_shown_and_the_rest_counted_after_a_quiet_second() {
        let mut groups = Groups::default();
        let start = Instant::now();
        assert!(admit(&mut groups, start, &record(0)));
        for number in 1..=41 {
            assert!(!admit(&mut groups, start, &record(number)));
        }
        assert!(groups.due(start + QUIET / 2).is_empty());
        let due = groups.due(groups.deadline().unwrap());
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].count, 41);
        assert_eq!(due[0].since, record(0).time);
        assert_eq!(due[0].until, record(41).time);
        assert!(!admit(&mut groups, start + 2 * QUIET, &record(42)));
        assert_eq!(groups.due(start + QUIET + INTERVAL).len(), 1);
        // Then it is forgotten.
        assert!(groups.due(start + 2 * QUIET + KNOWN).is_empty());
        assert_eq!(groups.deadline(), None);
        assert!(admit(&mut groups, start + 2 * KNOWN, &record(43)));
    }

    #[test]
    fn a_stream_without_pause_is_counted_after_five_seconds_and_then_every_minute() {
        let mut groups = Groups::default();
        let start = Instant::now();
        let (mut shown, mut counted, mut reports) = (0, 0, 0);
        for step in 0..2_000_u16 {
            let now = start + Duration::from_millis(100) * u32::from(step);
            for more in groups.due(now) {
                counted += more.count;
                reports += 1;
            }
            shown += u64::from(admit(&mut groups, now, &record(step)));
        }
        counted += groups.drain().iter().map(|more| more.count).sum::<u64>();
        assert_eq!((shown, counted, reports), (1, 1_999, 4));
        assert_eq!(
            (
                groups.open.len(),
                (groups.pending.len() + groups.idle.len())
            ),
            (0, 0)
        );
    }

    #[test]
    fn another_process_peer_or_service_is_another_group() {
        let mut groups = Groups::default();
        let now = Instant::now();
        assert!(admit(&mut groups, now, &record(0)));
        let mut other = record(0);
        other.remote.address = "10.0.3.200".parse().unwrap();
        assert!(admit(&mut groups, now, &other));
        let mut other = record(0);
        other.local.port += 1;
        assert!(admit(&mut groups, now, &other));
        let mut other = record(0);
        other.process = None;
        assert!(admit(&mut groups, now, &other));
    }

    #[test]
    fn as_a_client_our_own_port_does_not_matter() {
        let mut groups = Groups::default();
        let now = Instant::now();
        let client = |number: u16| {
            let mut record = record(0);
            std::mem::swap(&mut record.local, &mut record.remote);
            record.local.port = 40_000 + number;
            record
        };
        assert!(admit(&mut groups, now, &client(0)));
        assert!(!admit(&mut groups, now, &client(1)));
    }

    #[test]
    fn two_ports_the_kernel_chose_do_not_split_a_storm() {
        let mut groups = Groups::default();
        let now = Instant::now();
        let of = |local: u16, remote: u16| {
            let mut record = record(0);
            record.local.port = local;
            record.remote.port = remote;
            record
        };
        assert!(admit(&mut groups, now, &of(40_000, 39_000)));
        assert!(!admit(&mut groups, now, &of(40_000, 41_000)));
        assert!(admit(&mut groups, now, &of(8080, 41_000)));
    }

    #[test]
    fn a_check_every_two_seconds_is_a_line_and_a_count_each_minute() {
        let mut groups = Groups::default();
        let start = Instant::now();
        let (mut shown, mut counts) = (0, Vec::new());
        for check in 0..61_u16 {
            let now = start + Duration::from_secs(2) * u32::from(check);
            counts.extend(groups.due(now).into_iter().map(|more| more.count));
            let mut failure = sample_failure();
            if let Some(local) = &mut failure.local {
                local.port = 40_000 + check;
            }
            let kind = Kind::of_failure(&failure);
            shown += u32::from(groups.admit(now, kind, (&failure.time, 1), String::new));
        }
        counts.extend(groups.drain().into_iter().map(|more| more.count));
        assert_eq!((shown, counts), (1, vec![1, 30, 29]));
    }

    #[test]
    fn memory_is_bounded_and_what_does_not_fit_is_shown() {
        let mut groups = Groups::default();
        let now = Instant::now();
        for round in 0..2 {
            for number in 0..3000_u16 {
                let mut record = record(0);
                record.local.port = number + 1;
                let fits = usize::from(number) < MOST;
                assert_eq!(admit(&mut groups, now, &record), round == 0 || !fits);
                // Its count is still to come.
                assert_eq!(admit(&mut groups, now, &record), !fits);
            }
        }
        assert_eq!(
            (
                groups.open.len(),
                (groups.pending.len() + groups.idle.len())
            ),
            (MOST, MOST)
        );
        assert_eq!(groups.due(now + PATIENCE).len(), MOST);
        // Some get another record, and wait for a minute; those that do not make room.
        for number in 0..1000_u16 {
            let mut record = record(0);
            record.local.port = number + 1;
            assert!(!admit(&mut groups, now + PATIENCE, &record));
        }
        for port in [20_000, 20_001] {
            let mut next = record(0);
            next.local.port = port;
            assert!(admit(&mut groups, now + PATIENCE, &next));
            assert!(!admit(&mut groups, now + PATIENCE, &next));
        }
        assert_eq!(
            (
                groups.open.len(),
                (groups.pending.len() + groups.idle.len())
            ),
            (MOST, MOST)
        );
    }
}
