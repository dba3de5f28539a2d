//! Packet captures of the staged resets, analyzed without kernel data and compared with the truth.
//!
//! The demo captures at each place ([`Taps`](crate::demo::Taps)) and notes what it staged; the captures are judged later, each
//! for itself and in three sights, and the verdicts are compared with the truth.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::compare::Case;
use super::hop;
use crate::capture::{Reader, Segment};
use crate::captured::CapturedReset;
use crate::demo::scenarios::ALL;
use crate::demo::{IpVersion, Place, Truth, file_name};
use crate::engine::{Config, Engine, Input};
use crate::event::TcpFlags;
use crate::flow::Tracker;
use crate::record::Output;
use crate::record::{Cause, Confidence, Direction, IdleMode, Origin, Record, Severity, Vantage};

/// What was staged, one reset and place a line.
const STAGED: &str = "staged.jsonl";

/// Variants of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureSight {
    /// As `tcpdump -i any` captures: all interfaces, with the way of each packet.
    Any,
    /// As `tcpdump -i eth0` does: each interface for itself, and only TTLs show its position.
    Wire,
    /// The same, begun in the middle of all connections.
    Middle,
    /// The same as [`Wire`](Self::Wire), with every eighth segment lost by the capture.
    Lossy,
    /// All interfaces merged, without packet directions: `mergecap`.
    Merged,
}

impl CaptureSight {
    pub const ALL: [Self; 5] = [
        Self::Any,
        Self::Wire,
        Self::Middle,
        Self::Lossy,
        Self::Merged,
    ];
}

/// How a verdict compares with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Origin and cause are as staged, or the cause is a more general word for it.
    Right,
    /// The verdict is "unknown".
    Unknown,
    /// Another one or another cause is named, as a possibility.
    Doubtful,
    /// Another one is blamed, or for another reason.
    Wrong,
    Missing,
}

/// A staged reset in one sight of the capture of its place, and its verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CapturedCase {
    pub scenario: String,
    pub version: IpVersion,
    pub place: Place,
    /// Which way it goes there.
    pub direction: Direction,
    /// The variant of the capture.
    pub sight: CaptureSight,
    pub origin: Origin,
    pub cause: Cause,
    /// What a single host cannot know.
    pub unknowable: Option<String>,
    pub grade: Grade,
    /// The severity is wrong.
    pub is_cost_wrong: bool,
    pub record: Option<Record>,
}

/// A staged reset, as stored with the captures.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Staged {
    capture: String,
    scenario: String,
    version: IpVersion,
    place: Place,
    direction: Direction,
    sender: SocketAddr,
    receiver: SocketAddr,
    origin: Origin,
    cause: Cause,
    mode: Option<IdleMode>,
    condition: String,
    unknowable: Option<String>,
    lost: bool,
    spares: Vec<Cause>,
    in_own_name: bool,
    /// The truth is another place's, and this place saw it pass.
    #[serde(default)]
    is_derived: bool,
    seq: u32,
    flags: u8,
    captured_ns: Option<u64>,
}

impl Staged {
    fn of(case: &Case, truth: &Truth) -> Self {
        let seen = &truth.seen;
        Self {
            capture: file_name(truth.view.place),
            scenario: case.scenario.name.to_owned(),
            version: case.version,
            place: truth.view.place,
            direction: truth.direction,
            sender: truth.sender,
            receiver: truth.receiver,
            origin: truth.origin,
            cause: truth.cause,
            mode: truth.idle.map(|idle| idle.mode),
            condition: truth.condition.to_owned(),
            unknowable: truth.unknowable.map(str::to_owned),
            lost: truth.lost,
            spares: truth.spares.to_vec(),
            // In other names firewalls of the router answer, and its kernel where it translates them.
            in_own_name: truth.view.place != Place::Router
                || truth.origin == Origin::LocalProcess
                || truth.cause == Cause::DataAfterClose,
            is_derived: false,
            seq: seen.seq,
            flags: seen.flags.0,
            captured_ns: seen
                .captured
                .and_then(|time| u64::try_from(time.as_nanos()).ok()),
        }
    }

    /// The same as another place sees it; absent if that place has its own truth, or if it cannot be known.
    fn from(&self, place: Place, all: &[Self]) -> Option<Self> {
        let is_same = |other: &&Self| {
            (other.sender, other.receiver, other.seq) == (self.sender, self.receiver, self.seq)
        };
        let has_own = all
            .iter()
            .filter(is_same)
            .any(|other| other.place == place || other.unknowable.is_some());
        let sees = match self.direction {
            Direction::Sent => self.cause != Cause::Propagated,
            Direction::Received | Direction::Observed => self.origin == Origin::Middlebox,
            Direction::Forwarded => false,
        };
        (sees && !has_own).then(|| Self {
            capture: file_name(place),
            place,
            is_derived: true,
            ..self.clone()
        })
    }

    /// This reset of the capture is it: how far apart they are.
    fn distance(&self, reset: &CapturedReset) -> Option<u64> {
        let packet = &reset.packet;
        let is_it = packet.source == self.sender
            && packet.destination == self.receiver
            && packet.segment.seq == self.seq;
        is_it.then(|| {
            self.captured_ns
                .map_or(0, |time| time.abs_diff(reset.time.0))
        })
    }

    fn case(&self, sight: CaptureSight, record: Option<&Record>, blamed: bool) -> CapturedCase {
        let grade = match record {
            None => Grade::Missing,
            Some(_) if blamed => Grade::Wrong,
            Some(record) => self.grade(sight, record),
        };
        CapturedCase {
            scenario: self.scenario.clone(),
            version: self.version,
            place: self.place,
            direction: if self.is_derived {
                Direction::Observed
            } else {
                self.direction
            },
            sight,
            origin: self.origin,
            cause: self.cause,
            unknowable: self.unknowable.clone(),
            grade,
            is_cost_wrong: record.is_some_and(|record| self.is_cost_wrong(record)),
            record: record.cloned(),
        }
    }

    fn grade(&self, sight: CaptureSight, record: &Record) -> Grade {
        let verdict = &record.verdict;
        // Only without the ways of packets a capture may take itself for another's.
        let vantage = record.capture.as_ref().and_then(|capture| capture.vantage);
        let is_elsewhere = sight != CaptureSight::Any
            && self.direction == Direction::Sent
            && matches!(
                vantage,
                None | Some(Vantage::Between | Vantage::Destination)
            );
        let is_elsewhere = is_elsewhere || self.is_derived;
        let is_certain_of_unknowable =
            self.unknowable.is_some() && verdict.confidence == Confidence::Certain;
        if verdict.origin == Origin::Unknown {
            Grade::Unknown
        } else if self.allows(verdict.origin, verdict.cause, is_elsewhere)
            && !is_certain_of_unknowable
        {
            Grade::Right
        } else if verdict.confidence == Confidence::Possible
            || self.is_beyond(sight, verdict.origin, verdict.cause)
        {
            Grade::Doubtful
        } else {
            Grade::Wrong
        }
    }

    /// Nothing in the capture can show it.
    fn is_beyond(&self, sight: CaptureSight, origin: Origin, cause: Cause) -> bool {
        match self.cause {
            // The one probe is what was lost.
            Cause::KeepaliveTimeout => {
                sight == CaptureSight::Lossy
                    && (origin, cause) == (Origin::LocalProcess, Cause::Unknown)
            }
            // On the router's own link, or where TTLs of both its sides are mixed, its answer to a SYN is like the server's.
            Cause::FirewallReject => {
                sight != CaptureSight::Any
                    && !self.in_own_name
                    && (origin, cause) == (Origin::Peer, Cause::ConnectionRefused)
            }
            // What the peer said afterwards is what was lost.
            Cause::NotFromPeer => {
                sight == CaptureSight::Lossy
                    && (origin, cause) == (Origin::Peer, Cause::ResetByPeer)
            }
            _ => false,
        }
    }

    /// As staged, or more general; `is_elsewhere`: judged from a place other than the sending end.
    fn allows(&self, origin: Origin, cause: Cause, is_elsewhere: bool) -> bool {
        let is_plain = matches!(cause, Cause::ResetByPeer | Cause::ConnectionRefused)
            || (cause == Cause::IdleTimeout && self.mode.is_some());
        match self.origin {
            // A router sees the reset of an end pass by, and the end is who sent it; its neighbours see what it sees.
            Origin::Forwarded => {
                (origin == Origin::Peer && is_plain)
                    || (origin == Origin::LocalProcess && cause == Cause::Unknown)
            }
            // To others who resets in its own name is the peer, or the host whose link it is, and who does so in another's is
            // a box on the way.
            Origin::LocalProcess | Origin::LocalKernel | Origin::LocalFirewall if is_elsewhere => {
                if self.in_own_name {
                    (origin == Origin::Peer && is_plain)
                        || (self.is_derived
                            && origin == self.origin
                            && (cause == self.cause || cause == Cause::Unknown))
                } else {
                    origin == Origin::Middlebox
                        && matches!(cause, Cause::IdleTimeout | Cause::NotFromPeer)
                }
            }
            // One leg of a proxy does not show the other.
            Origin::Peer if self.cause == Cause::Propagated => {
                matches!(
                    (origin, cause),
                    (Origin::LocalProcess, Cause::Unknown) | (Origin::Peer, Cause::ResetByPeer)
                )
            }
            _ => {
                origin == self.origin
                    && (cause == self.cause
                        || cause == Cause::Unknown
                        || matches!(
                            (self.cause, cause),
                            (
                                Cause::IdleTimeout | Cause::ConnectionRefused,
                                Cause::ResetByPeer
                            ) | (Cause::IdleTimeout, Cause::NotFromPeer)
                        ))
            }
        }
    }

    /// What was lost is no noise to the end that lost it, and nothing else is a fault.
    fn is_cost_wrong(&self, record: &Record) -> bool {
        if self.is_derived {
            return false;
        }
        match record.impact() {
            Severity::Fault => !self.lost,
            Severity::Refused => self.lost,
            Severity::Noise => self.lost && self.direction == Direction::Received,
        }
    }
}

/// Stores what was staged with the captures.
pub fn note_staged(folder: &Path, cases: &[Case]) -> anyhow::Result<()> {
    let path = folder.join(STAGED);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut file = BufWriter::new(file);
    for case in cases {
        if let Some(judged) = &case.judged {
            let truth = &judged.namespace.truth;
            serde_json::to_writer(&mut file, &Staged::of(case, truth))?;
            file.write_all(b"\n")
                .context("cannot write the staged truth")?;
        }
    }
    file.flush().context("cannot write the staged truth")
}

/// Judges the captures of this folder in all sights.
pub fn judge_captures(folder: &Path) -> anyhow::Result<Vec<CapturedCase>> {
    let file = File::open(folder.join(STAGED)).context("cannot open the staged truth")?;
    let staged = BufReader::new(file)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<anyhow::Result<Vec<Staged>>>()
        .context("cannot read the staged truth")?;
    let mut cases = Vec::new();
    for place in [Place::Client, Place::Router, Place::Server] {
        let capture = file_name(place);
        let path = folder.join(&capture);
        let mut here: Vec<_> = staged
            .iter()
            .filter(|staged| staged.place == place)
            .cloned()
            .collect();
        let elsewhere = staged.iter().filter(|other| other.place != place);
        here.extend(elsewhere.filter_map(|other| other.from(place, &staged)));
        for sight in CaptureSight::ALL {
            let judged =
                judge(&path, sight).with_context(|| format!("cannot analyze {capture}"))?;
            for staged in &here {
                compare(staged, sight, &judged, &mut cases);
            }
        }
    }
    Ok(cases)
}

/// The resets of one capture, or of one interface of it.
type Judged = Vec<(CapturedReset, Record)>;

/// A case for each interface that saw it; one without a record if none did.
fn compare(staged: &Staged, sight: CaptureSight, judged: &[Judged], cases: &mut Vec<CapturedCase>) {
    let before = cases.len();
    for resets in judged {
        let nearest = resets
            .iter()
            .filter_map(|(reset, record)| Some((staged.distance(reset)?, record)))
            .min_by_key(|(distance, _)| *distance);
        let blamed = resets.iter().any(|(reset, record)| {
            let ends = (reset.packet.source, reset.packet.destination);
            let is_of_flow = ends == (staged.sender, staged.receiver)
                || ends == (staged.receiver, staged.sender);
            is_of_flow
                && staged.spares.contains(&record.verdict.cause)
                && record.verdict.origin != Origin::Unknown
                && record.verdict.confidence != Confidence::Possible
        });
        if let Some((_, record)) = nearest {
            cases.push(staged.case(sight, Some(record), blamed));
        }
    }
    // What did not arrive there cannot be reported there.
    if cases.len() == before && !staged.is_derived {
        cases.push(staged.case(sight, None, false));
    }
}

fn judge(capture: &Path, sight: CaptureSight) -> anyhow::Result<Vec<Judged>> {
    let mut trackers: HashMap<u32, (Tracker, Vec<CapturedReset>)> = HashMap::new();
    let mut reader = Reader::open(capture)?;
    let mut begun = HashSet::new();
    while let Some(segment) = reader.next()? {
        if sight == CaptureSight::Middle {
            let (one, other) = (segment.source, segment.destination);
            let ends = (one.min(other), one.max(other));
            if segment.flags.has(TcpFlags::SYN) {
                if !begun.contains(&ends) {
                    continue;
                }
            } else {
                begun.insert(ends);
            }
        }
        // Which one has nothing to do with what it is, and is the same in each run.
        let is_lost = segment.frame.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 == 0;
        if sight == CaptureSight::Lossy && is_lost && !segment.flags.has(TcpFlags::RST) {
            continue;
        }
        let seen = match sight {
            CaptureSight::Any => segment,
            _ => Segment {
                way: None,
                ..segment
            },
        };
        let interface = match sight {
            CaptureSight::Any | CaptureSight::Merged => 0,
            _ => segment.interface,
        };
        let (tracker, resets) = trackers.entry(interface).or_default();
        tracker.see(&seen, resets);
    }
    let mut interfaces: Vec<_> = trackers.into_iter().collect();
    interfaces.sort_unstable_by_key(|(interface, _)| *interface);
    interfaces
        .into_iter()
        .map(|(_, (mut tracker, mut resets))| {
            tracker.finish(&mut resets);
            records(resets)
        })
        .collect()
}

fn records(resets: Vec<CapturedReset>) -> anyhow::Result<Judged> {
    let hops = ALL.iter().flat_map(|scenario| scenario.hops).map(hop);
    let hops = hops.collect::<anyhow::Result<Vec<_>>>()?;
    let name = "capture".into();
    let mut engine = Engine::new(Config::of_capture(&name, hops));
    for reset in resets.iter().cloned() {
        engine.captured(reset, &name);
    }
    engine.push(Input::Finish);
    let mut by_frame: HashMap<u64, Record> = std::iter::from_fn(|| engine.poll_output())
        .filter_map(|output| match output {
            Output::Reset(record) => {
                let frame = record.capture.as_ref()?.frame;
                Some((frame, *record))
            }
            Output::Failure(_) | Output::Suppressed(_) => None,
        })
        .collect();
    let judged = resets
        .into_iter()
        .filter_map(|reset| by_frame.remove(&reset.frame).map(|record| (reset, record)));
    Ok(judged.collect())
}
