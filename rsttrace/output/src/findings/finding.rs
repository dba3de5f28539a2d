//! Findings: records of one cause, path and process, combined.
//!
//! A finding claims no more than the weakest of its records; where those differ it says how many are how sure. Paths of
//! one cause and process that are too many are combined first by network, then by port.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::service;
use crate::hash::{self, LruCache};
use crate::record::{
    Basis, Cause, Confidence, Direction, LinkRole, Origin, Process, Quality, Record, Role,
    ServingEnd, Severity, Word, Workload,
};
use crate::stats::leg::Leg;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Kinds that are distinguished; records of further ones are combined by cause and process.
    kinds: usize,
    /// Kinds, with those of cause and process; records of further ones are combined by cause, of which there are few.
    coarse: usize,
    /// Records that a finding describes; further ones are only counted.
    described: u64,
    /// Senders of resets whose other ends may be on this host, too.
    senders: usize,
}

impl Limits {
    pub const REPORT: Self = Self {
        kinds: 4_096,
        coarse: 5_120,
        described: u64::MAX,
        senders: 8_192,
    };
    /// A trace runs for months in little memory. Each of its incidents is counted by its first record.
    pub const TRACE: Self = Self {
        kinds: 96,
        coarse: 128,
        described: 512,
        senders: 1,
    };
}

/// Paths of one cause and process that are findings of their own.
const MOST_PATHS: usize = 4;
/// Values kept of one finding: networks, ports, processes, silences, sentences.
pub(super) const MOST_VALUES: usize = 1_024;
/// Texts kept of one finding: there are only so many sentences, apart from names in them.
const MOST_TEXTS: usize = 64;

/// The end that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    /// A port of this host.
    Local(u16),
    Remote(IpAddr, u16),
    /// Unknown, or several.
    Several,
}

/// What the records of one finding have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub severity: usize,
    pub cause: Cause,
    pub origin: Origin,
    pub direction: Direction,
    pub process: Option<Word>,
    pub service: Service,
    pub network: Option<IpNet>,
}

/// A device of the table only: it may not be there at all.
type Doubtful = bool;

/// A piece of text with how often it came and where in its record it stood.
type Texts = BTreeMap<String, (u64, usize, String)>;

#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub kind: Kind,
    pub count: u64,
    /// RFC 3339, as records have it.
    pub first: String,
    pub last: String,
    /// How many are certain, likely, possible.
    pub sure: [u64; 3],
    pub networks: BTreeSet<IpNet>,
    pub ports: BTreeSet<u16>,
    pub hosts: BTreeSet<Word>,
    pub pids: BTreeSet<u32>,
    /// Workloads (Deployments and the like), pods, containers or units of the processes.
    pub places: BTreeSet<Word>,
    /// The process did it, as opposed to having had the connection.
    pub closer: bool,
    /// A worker or child may be the real one.
    pub inherited: bool,
    /// Seconds.
    pub quiets: Vec<f64>,
    /// Which end serves, in any of the records: this host's, the other.
    pub serves: [bool; 2],
    /// Devices whose timeout fits, those that are known to be there before those of the table.
    pub devices: BTreeMap<(Doubtful, Word), u64>,
    pub learned: Option<(f64, u64, u64)>,
    /// Processes of this host at the other ends of the same resets.
    pub others: BTreeSet<Word>,
    pub owners: BTreeSet<Word>,
    advice: Texts,
    missing: Texts,
    pub example: Box<Record>,
}

impl Finding {
    fn new(kind: Kind, record: &Record) -> Self {
        Self {
            kind,
            count: 0,
            first: record.time.clone(),
            last: record.time.clone(),
            sure: [0; 3],
            networks: BTreeSet::new(),
            ports: BTreeSet::new(),
            hosts: BTreeSet::new(),
            pids: BTreeSet::new(),
            places: BTreeSet::new(),
            closer: false,
            inherited: false,
            quiets: Vec::new(),
            serves: [false; 2],
            devices: BTreeMap::new(),
            learned: None,
            others: BTreeSet::new(),
            owners: BTreeSet::new(),
            advice: Texts::new(),
            missing: Texts::new(),
            example: Box::new(record.clone()),
        }
    }

    fn add(&mut self, record: &Record, described: u64) {
        let verdict = &record.verdict;
        self.count += 1;
        self.sure[sureness(verdict.confidence)] += 1;
        if record.time < self.first {
            self.first.clone_from(&record.time);
        }
        if record.time > self.last {
            self.last.clone_from(&record.time);
        }
        if self.count > described {
            return;
        }
        keep(&mut self.networks, network(record.remote.address));
        if let Some((side, port)) = service(record) {
            keep(&mut self.ports, Some(port));
            self.serves[usize::from(side == ServingEnd::Remote)] = true;
        }
        keep(&mut self.hosts, record.host.clone());
        if let Some(process) = &record.process {
            keep(&mut self.pids, Some(process.pid));
            keep(&mut self.places, place(process));
            self.closer |= process.role == Role::Closer;
            self.inherited |= process.quality == Quality::Inherited;
        }
        keep(
            &mut self.owners,
            record.owner.as_ref().map(|owner| owner.comm.clone()),
        );
        if let Some(idle) = &record.idle {
            if let Some(quiet) = idle.quiet_before.filter(|quiet| quiet.is_finite())
                && self.quiets.len() < MOST_VALUES
            {
                self.quiets.push(quiet);
            }
            for candidate in &idle.candidates {
                let key = (candidate.basis == Basis::Known, candidate.device.clone());
                if self.devices.len() < MOST_VALUES || self.devices.contains_key(&key) {
                    *self.devices.entry(key).or_default() += 1;
                }
            }
            if let Some(learned) = &idle.learned {
                let known = self.learned.map_or(0, |(_, samples, _)| samples);
                if learned.samples >= known {
                    self.learned = Some((learned.timeout, learned.samples, learned.of));
                }
            }
        }
        for (place, advice) in verdict.advice().iter().enumerate() {
            note(&mut self.advice, place, advice);
        }
        if self.is_unknown() {
            for fact in verdict.evidence() {
                note(&mut self.missing, 0, &fact.detail);
            }
        }
        if verdict.evidence().len() > self.example.verdict.evidence().len() {
            (*self.example).clone_from(record);
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        for (sum, more) in self.sure.iter_mut().zip(other.sure) {
            *sum += more;
        }
        if other.first < self.first {
            self.first = other.first;
        }
        if other.last > self.last {
            self.last = other.last;
        }
        self.networks.extend(other.networks);
        self.ports.extend(other.ports);
        self.hosts.extend(other.hosts);
        self.pids.extend(other.pids);
        self.places.extend(other.places);
        self.closer |= other.closer;
        self.inherited |= other.inherited;
        self.quiets.extend(other.quiets);
        self.quiets.truncate(4 * MOST_VALUES);
        for (device, count) in other.devices {
            *self.devices.entry(device).or_default() += count;
        }
        self.learned = None;
        for (mine, theirs) in self.serves.iter_mut().zip(other.serves) {
            *mine |= theirs;
        }
        self.others.extend(other.others);
        self.owners.extend(other.owners);
        for (texts, more) in [
            (&mut self.advice, other.advice),
            (&mut self.missing, other.missing),
        ] {
            for (key, (count, place, text)) in more {
                texts.entry(key).or_insert((0, place, text)).0 += count;
            }
        }
        if other.example.verdict.evidence().len() > self.example.verdict.evidence().len() {
            self.example = other.example;
        }
    }

    /// Who or why is not known.
    pub fn is_unknown(&self) -> bool {
        self.kind.cause == Cause::Unknown || self.kind.origin == Origin::Unknown
    }

    /// What holds for all of its records.
    pub fn weakest(&self) -> Confidence {
        match self.sure {
            [_, 0, 0] => Confidence::Certain,
            [_, _, 0] => Confidence::Likely,
            _ => Confidence::Possible,
        }
    }

    /// What to do, most often advised first.
    pub fn advice(&self, most: usize) -> Vec<&str> {
        top(&self.advice, most)
    }

    /// What was seen instead of an answer.
    pub fn missing(&self, most: usize) -> Vec<&str> {
        top(&self.missing, most)
    }

    /// Shortest, middle and longest silence in seconds; `None` if none is known.
    pub fn silence(&self) -> Option<(f64, f64, f64)> {
        let mut sorted = self.quiets.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = *sorted.get(sorted.len() / 2)?;
        Some((*sorted.first()?, middle, *sorted.last()?))
    }

    /// By what it is sorted: worst first, then most.
    fn order(&self) -> (usize, Reverse<u64>, &Kind) {
        (self.kind.severity, Reverse(self.count), &self.kind)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Findings {
    limits: Limits,
    kinds: BTreeMap<Kind, Finding>,
    /// Records of senders whose other end may follow: the sender's finding by chain and ends.
    senders: LruCache<Leg, Kind>,
}

impl Default for Findings {
    fn default() -> Self {
        Self::new(Limits::REPORT)
    }
}

impl Findings {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            kinds: BTreeMap::new(),
            senders: hash::lru(limits.senders),
        }
    }

    /// One more record. The other end of a reset whose sender is known belongs to the sender's finding; whether it is another reset.
    pub fn add(&mut self, record: &Record) -> bool {
        if let Some(kind) = self.of_its_sender(record)
            && let Some(finding) = self.kinds.get_mut(&kind)
        {
            keep(
                &mut finding.others,
                record.process.as_ref().map(|it| it.comm.clone()),
            );
            return false;
        }
        let mut kind = kind(record);
        if self.kinds.len() >= self.limits.kinds && !self.kinds.contains_key(&kind) {
            kind = coarse(&kind);
        }
        if self.kinds.len() >= self.limits.coarse && !self.kinds.contains_key(&kind) {
            kind.process = None;
        }
        if let Some(link) = &record.link
            && link.role == LinkRole::Sender
            && let Some(leg) = Leg::of(record)
        {
            self.senders.put(leg, kind.clone());
        }
        self.kinds
            .entry(kind)
            .or_insert_with_key(|kind| Finding::new(kind.clone(), record))
            .add(record, self.limits.described);
        true
    }

    /// All of them, worst first.
    pub fn finish(self) -> Vec<Finding> {
        let by_port = join(self.kinds.into_values(), |kind| Kind {
            network: None,
            ..kind.clone()
        });
        let mut all: Vec<_> = join(by_port.into_iter(), coarse);
        all.sort_by(|a, b| a.order().cmp(&b.order()));
        all
    }

    /// The finding that a record tells the other side of. Not if it tells of something worse, or of nothing known.
    fn of_its_sender(&self, record: &Record) -> Option<Kind> {
        let link = record.link.as_ref()?;
        if link.role == LinkRole::Sender || record.verdict.cause == Cause::Unknown {
            return None;
        }
        let kind = self.senders.peek(&Leg::of(record)?)?;
        (kind.severity <= rank(record.verdict.severity)).then(|| kind.clone())
    }
}

/// Puts findings of one cause and process together, as `wider` says, where they are too many.
fn join(findings: impl Iterator<Item = Finding>, wider: impl Fn(&Kind) -> Kind) -> Vec<Finding> {
    let mut families: BTreeMap<Kind, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        families
            .entry(coarse(&finding.kind))
            .or_default()
            .push(finding);
    }
    let mut all = Vec::new();
    for family in families.into_values() {
        if family.len() <= MOST_PATHS {
            all.extend(family);
            continue;
        }
        let mut joined: BTreeMap<Kind, Finding> = BTreeMap::new();
        for mut finding in family {
            finding.kind = wider(&finding.kind);
            match joined.get_mut(&finding.kind) {
                Some(there) => there.merge(finding),
                None => drop(joined.insert(finding.kind.clone(), finding)),
            }
        }
        all.extend(joined.into_values());
    }
    all
}

fn kind(record: &Record) -> Kind {
    let verdict = &record.verdict;
    let service = match service(record) {
        Some((ServingEnd::Local, port)) => Service::Local(port),
        Some((ServingEnd::Remote, port)) => Service::Remote(record.remote.address, port),
        None => Service::Several,
    };
    Kind {
        severity: rank(verdict.severity),
        cause: verdict.cause,
        origin: verdict.origin,
        direction: record.direction,
        process: record.process.as_ref().map(named),
        service,
        network: match service {
            Service::Remote(..) => None,
            _ => network(record.remote.address),
        },
    }
}

fn named(process: &Process) -> Word {
    process.comm.clone()
}

fn coarse(kind: &Kind) -> Kind {
    Kind {
        service: Service::Several,
        network: None,
        ..kind.clone()
    }
}

/// The /24 or /64 of an address.
fn network(address: IpAddr) -> Option<IpNet> {
    let length = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new(address, length).ok().map(|net| net.trunc())
}

/// The place of a severity in the order of findings, worst first.
pub(crate) fn rank(severity: Severity) -> usize {
    match severity {
        Severity::Fault => 0,
        Severity::Refused => 1,
        Severity::Noise => 2,
    }
}

/// The place of a confidence in [`Finding::sure`].
pub(crate) fn sureness(confidence: Confidence) -> usize {
    match confidence {
        Confidence::Certain => 0,
        Confidence::Likely => 1,
        Confidence::Possible => 2,
    }
}

fn keep<T: Ord>(values: &mut BTreeSet<T>, value: Option<T>) {
    if let Some(value) = value
        && values.len() < MOST_VALUES
    {
        values.insert(value);
    }
}

/// Counts a text under what it says apart from numbers; `place`: which of its record's texts it is.
fn note(texts: &mut Texts, place: usize, text: &str) {
    let key: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    if texts.len() < MOST_TEXTS || texts.contains_key(&key) {
        texts
            .entry(key)
            .or_insert_with(|| (0, place, text.to_owned()))
            .0 += 1;
    }
}

/// Those that most records have; of several that as many have in the order in which a record has them.
fn top(texts: &Texts, most: usize) -> Vec<&str> {
    let mut all: Vec<_> = texts.values().collect();
    all.sort_by_key(|(count, place, text)| (Reverse(*count), *place, text));
    all.into_iter()
        .take(most)
        .map(|(_, _, text)| text.as_str())
        .collect()
}

/// Where a process belongs, so that those of one service belong to the same.
fn place(process: &Process) -> Option<Word> {
    let unit = process.unit.clone();
    let Some(names) = &process.workload else {
        return unit;
    };
    let Workload {
        name,
        namespace,
        pod,
        container,
        image: _,
    } = &**names;
    let within = |name: &Word| match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_string(),
    };
    let place = match (name, pod, container) {
        (Some(name), Some(_), _) => format!("workload {}", within(name)),
        (None, Some(pod), _) => format!("pod {}", within(pod)),
        (Some(service), None, _) => format!("service {service}"),
        (None, None, Some(container)) => format!("container {container}"),
        (None, None, None) => return unit,
    };
    Some(Word::from(place))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::sample as record;
    use crate::record::{Link, Severity};

    fn findings(records: &[Record]) -> Vec<Finding> {
        let mut findings = Findings::default();
        for record in records {
            findings.add(record);
        }
        findings.finish()
    }

    fn of_severity(severity: Severity) -> Record {
        let mut record = record();
        record.verdict.severity = severity;
        record
    }

    #[test]
    fn a_finding_is_as_sure_as_its_weakest_record() {
        let mut certain = record();
        certain.verdict.confidence = Confidence::Certain;
        let found = findings(&[certain.clone(), record(), certain]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].weakest(), Confidence::Likely);
        assert_eq!(found[0].sure, [2, 1, 0]);
    }

    #[test]
    fn pods_of_one_deployment_are_one_place() {
        let mut records = [record(), record()];
        for (record, pod) in records
            .iter_mut()
            .zip(["web-6b8c9d4f55-zxcvb", "web-6b8c9d4f55-x2x4v"])
        {
            record.process.as_mut().unwrap().workload = Some(Box::new(Workload {
                name: Some("web".into()),
                namespace: Some("shop".into()),
                pod: Some(pod.into()),
                ..Workload::default()
            }));
        }
        let found = findings(&records);
        let places: Vec<_> = found[0].places.iter().collect();
        assert_eq!(places, ["workload shop/web"]);
        let mut process = records[0].process.clone().unwrap();
        let names = process.workload.as_mut().unwrap();
        names.name = None;
        assert_eq!(
            place(&process).as_deref(),
            Some("pod shop/web-6b8c9d4f55-zxcvb")
        );
        process.workload = None;
        assert_eq!(place(&process), process.unit);
    }

    #[test]
    fn the_worst_come_first_however_few() {
        let noise = of_severity(Severity::Noise);
        let found = findings(&[noise.clone(), noise, record()]);
        assert_eq!([found[0].kind.severity, found[1].kind.severity], [0, 2]);
    }

    #[test]
    fn many_paths_of_one_kind_become_one_finding() {
        let records: Vec<_> = (0..200_u8)
            .map(|number| {
                let mut record = record();
                record.remote.address = IpAddr::from([10, 0, number, 1]);
                record
            })
            .collect();
        let found = findings(&records);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].count, found[0].networks.len()), (200, 200));
        assert_eq!(found[0].kind.service, Service::Local(8_080));
        assert_eq!(findings(&records[..3]).len(), 3);
    }

    #[test]
    fn both_ends_of_one_reset_are_one_finding() {
        let mut sent: Record = serde_json::from_str(include_str!(
            "../../../tests/data/records/close_with_unread_data.json"
        ))
        .unwrap();
        sent.link = Some(Link {
            id: 7,
            role: LinkRole::Sender,
        });
        let mut received = sent.clone();
        std::mem::swap(&mut received.local, &mut received.remote);
        received.direction = Direction::Received;
        received.verdict.cause = Cause::ResetByPeer;
        received.link = Some(Link {
            id: 7,
            role: LinkRole::Receiver,
        });
        let found = findings(&[sent.clone(), received.clone()]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].count, found[0].others.len()), (1, 1));
        // Another connection of the same chain is something else.
        received.remote.port = 9;
        assert_eq!(findings(&[sent, received]).len(), 2);
    }

    #[test]
    fn names_that_never_end_do_not_fill_the_memory() {
        let mut findings = Findings::default();
        for number in 0..20_000_u32 {
            let mut record = record();
            record.remote.address = IpAddr::from(number.to_be_bytes());
            let text = format!("worker-{number}");
            let idle = record.idle.as_mut().unwrap();
            idle.candidates[0].device = text.as_str().into();
            record.process.as_mut().unwrap().comm = text.as_str().into();
            record.verdict.edit(|it| it.advice = vec![text.into()]);
            findings.add(&record);
        }
        assert!(findings.kinds.len() <= Limits::REPORT.coarse + 1);
        for finding in findings.kinds.values() {
            assert!(finding.devices.len() <= MOST_VALUES && finding.advice.len() <= MOST_TEXTS);
        }
        let found = findings.finish();
        // Combined records have no process.
        let nobody: Vec<_> = found
            .iter()
            .filter(|it| it.kind.process.is_none())
            .collect();
        assert_eq!(
            (nobody.len(), nobody[0].count),
            (1, 20_000 - Limits::REPORT.coarse as u64)
        );
    }

    #[test]
    fn advice_that_differs_in_numbers_only_is_given_once() {
        let mut other = record();
        other
            .verdict
            .edit(|text| text.advice[0] = text.advice[0].replace("240", "239").into());
        let found = findings(&[record(), other]);
        assert_eq!(found[0].advice(9).len(), 2);
    }
}
