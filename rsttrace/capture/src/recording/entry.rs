//! Entries of a block.
//!
//! One [`Entry`] after the other, in postcard's format. What a process is, and what a namespace is set to, is written once
//! a block; after that its number stands for it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::End;
use crate::engine::Input;
use crate::event::{
    BootTime, FullQueue, FullTable, Holder, HostContext, NetFact, NetFinding, NetSettings,
    NetnsCookie, OwnerNow, ProcessFacts, ProgramTimers,
};
use crate::flood::{Refused, Suppressed};
use crate::hash::HashMap;
use crate::record::{Word, Workload};

/// No word that a host tells is longer, in bytes.
const LONGEST: usize = 64 << 10;

/// One thing that went in, or the end. Append-only: a number stands for each kind.
#[derive(Serialize, Deserialize)]
pub enum Entry<'a, P, S> {
    Event(
        #[serde(borrow, serialize_with = "as_bytes")] &'a [u8],
        Stored<P, S>,
    ),
    Advance(BootTime),
    Lost(u64),
    Suppressed(Suppressed),
    FloodRests(BootTime),
    Refused {
        now: BootTime,
        refused: Cow<'a, [Refused]>,
        namespaces: Cow<'a, [(NetnsCookie, u32)]>,
        finish: bool,
    },
    Rest,
    Finish,
    End(Cow<'a, End>),
    Timers(Cow<'a, ProgramTimers>),
    Found(Cow<'a, NetFinding>),
    QueueFull(Cow<'a, FullQueue>, Stored<P, S>),
    TableFull(FullTable),
}

/// [`HostContext`].
#[derive(Serialize, Deserialize)]
pub struct Stored<P, S> {
    processes: Vec<SharedProcess<P>>,
    owner: OwnerNow,
    holder: Option<Holder>,
    netns_inode: Option<u32>,
    interface: Option<Word>,
    settings: Option<Shared<S>>,
}

/// The first time itself, then its number among those of its kind in this block.
#[derive(Serialize, Deserialize)]
enum Shared<T> {
    New(T),
    Again(u32),
}

/// The same of a process. Append-only: a number stands for each kind.
#[derive(Serialize, Deserialize)]
enum SharedProcess<P> {
    New(P),
    Again(u32),
    /// With the names of its container and pod.
    Named(P, Names),
}

/// A [`Workload`]: name, namespace, pod, container, image.
type Names = [Option<Word>; 5];

fn names_of(workload: &Workload) -> Names {
    let Workload {
        name,
        namespace,
        pod,
        container,
        image,
    } = workload;
    [name, namespace, pod, container, image].map(Option::clone)
}

fn workload_of([name, namespace, pod, container, image]: Names) -> Workload {
    Workload {
        name,
        namespace,
        pod,
        container,
        image,
    }
}

fn as_bytes<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// As an entry is written.
pub type Given<'a> = Entry<'a, &'a ProcessFacts, &'a NetSettings>;
/// As one is read.
pub type Found<'a> = Entry<'a, ProcessFacts, NetSettings>;

/// What stands for an entry that was read.
pub enum Item<'a> {
    Input(Input<'a>),
    End(End),
}

/// What has been written in a block, by where it is in memory; it is held, so that nothing else comes to be there.
#[derive(Default)]
pub struct Told {
    processes: Numbers<ProcessFacts>,
    settings: Numbers<NetSettings>,
}

impl Told {
    /// A new block begins.
    pub fn clear(&mut self) {
        self.processes.clear();
        self.settings.clear();
    }

    /// An event as an entry.
    pub fn event<'a>(&mut self, bytes: &'a [u8], facts: &'a HostContext) -> Given<'a> {
        Entry::Event(bytes, self.facts(facts))
    }

    fn facts<'a>(&mut self, facts: &'a HostContext) -> Stored<&'a ProcessFacts, &'a NetSettings> {
        Stored {
            processes: facts
                .processes
                .iter()
                .map(
                    |process| match (self.processes.share(process), &process.workload) {
                        (Shared::Again(number), _) => SharedProcess::Again(number),
                        (Shared::New(it), None) => SharedProcess::New(it),
                        (Shared::New(it), Some(names)) => SharedProcess::Named(it, names_of(names)),
                    },
                )
                .collect(),
            owner: facts.owner,
            holder: facts.holder.clone(),
            netns_inode: facts.netns_inode,
            interface: facts.interface.clone(),
            settings: facts
                .settings
                .as_ref()
                .map(|settings| self.settings.share(settings)),
        }
    }

    /// An input as an entry.
    pub fn input<'a>(&mut self, input: &'a Input<'a>) -> Given<'a> {
        match input {
            Input::Event { bytes, facts, .. } => self.event(bytes, facts),
            Input::Advance(now) => Entry::Advance(*now),
            Input::Lost(lost) => Entry::Lost(*lost),
            Input::Suppressed(suppressed) => Entry::Suppressed(*suppressed),
            Input::FloodRests(now) => Entry::FloodRests(*now),
            Input::Refused {
                now,
                refused,
                namespaces,
                finish,
            } => Entry::Refused {
                now: *now,
                refused: Cow::Borrowed(refused),
                namespaces: Cow::Borrowed(namespaces),
                finish: *finish,
            },
            Input::Timers(timers) => Entry::Timers(Cow::Borrowed(timers)),
            Input::Found(finding) => Entry::Found(Cow::Borrowed(finding)),
            Input::QueueFull { queue, facts } => {
                Entry::QueueFull(Cow::Borrowed(queue), self.facts(facts))
            }
            Input::TableFull(table) => Entry::TableFull(*table),
            Input::Rest => Entry::Rest,
            Input::Finish => Entry::Finish,
        }
    }
}

struct Numbers<T> {
    by_address: HashMap<usize, u32>,
    held: Vec<Arc<T>>,
}

impl<T> Numbers<T> {
    fn share<'a>(&mut self, value: &'a Arc<T>) -> Shared<&'a T> {
        let address = Arc::as_ptr(value).addr();
        if let Some(&number) = self.by_address.get(&address) {
            return Shared::Again(number);
        }
        if let Ok(number) = u32::try_from(self.held.len()) {
            self.by_address.insert(address, number);
            self.held.push(Arc::clone(value));
        }
        Shared::New(value)
    }

    fn clear(&mut self) {
        self.by_address.clear();
        self.held.clear();
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self {
            by_address: HashMap::default(),
            held: Vec::new(),
        }
    }
}

/// What has been read in a block, by number.
#[derive(Default)]
pub struct Known {
    processes: Vec<Arc<ProcessFacts>>,
    settings: Vec<Arc<NetSettings>>,
}

impl Known {
    /// A new block begins.
    pub fn clear(&mut self) {
        self.processes.clear();
        self.settings.clear();
    }

    /// What an entry stands for; `None`: it names what was not written before it.
    pub fn input<'a>(&mut self, entry: Found<'a>) -> Option<Item<'a>> {
        Some(Item::Input(match entry {
            Entry::Event(bytes, stored) => Input::Event {
                bytes,
                decoded: None,
                facts: self.facts(stored)?,
            },
            Entry::Advance(now) => Input::Advance(now),
            Entry::Lost(lost) => Input::Lost(lost),
            Entry::Suppressed(suppressed) => Input::Suppressed(suppressed),
            Entry::FloodRests(now) => Input::FloodRests(now),
            Entry::Refused {
                now,
                refused,
                namespaces,
                finish,
            } => Input::Refused {
                now,
                refused: refused.into_owned(),
                namespaces: namespaces.into_owned(),
                finish,
            },
            Entry::Rest => Input::Rest,
            Entry::Finish => Input::Finish,
            Entry::Timers(timers) => {
                let words = timers
                    .timers
                    .iter()
                    .flat_map(|timer| std::iter::once(&timer.setting).chain(timer.place.as_ref()));
                let is_credible = words.map(|word| word.len()).all(|length| length <= LONGEST);
                Input::Timers(is_credible.then(|| timers.into_owned())?)
            }
            Entry::Found(finding) => {
                let is_credible = words_of(&finding.fact).all(|word| word.len() <= LONGEST);
                Input::Found(is_credible.then(|| finding.into_owned())?)
            }
            Entry::QueueFull(queue, stored) => Input::QueueFull {
                queue: queue.into_owned(),
                facts: self.facts(stored)?,
            },
            Entry::TableFull(table) => Input::TableFull(table),
            Entry::End(end) => return Some(Item::End(end.into_owned())),
        }))
    }

    fn facts(&mut self, stored: Stored<ProcessFacts, NetSettings>) -> Option<HostContext> {
        let holder = stored.holder.iter().map(|holder| &holder.task.comm);
        let mut words = stored.interface.iter().chain(holder);
        if words.any(|word| word.len() > LONGEST) || !stored.processes.iter().all(is_credible) {
            return None;
        }
        Some(HostContext {
            processes: stored
                .processes
                .into_iter()
                .map(|shared| {
                    let shared = match shared {
                        SharedProcess::New(process) => Shared::New(process),
                        SharedProcess::Again(number) => Shared::Again(number),
                        SharedProcess::Named(mut process, names) => {
                            process.workload = Some(Box::new(workload_of(names)));
                            Shared::New(process)
                        }
                    };
                    resolve(&mut self.processes, shared)
                })
                .collect::<Option<_>>()?,
            owner: stored.owner,
            holder: stored.holder,
            netns_inode: stored.netns_inode,
            interface: stored.interface,
            settings: match stored.settings {
                Some(shared) => Some(resolve(&mut self.settings, shared)?),
                None => None,
            },
        })
    }
}

/// What it keeps of the host's words.
fn words_of(fact: &NetFact) -> impl Iterator<Item = &Word> {
    let words = match fact {
        NetFact::Namespace(way) => [
            Some(&way.path),
            way.container_id.as_ref(),
            way.pod_uid.as_ref(),
        ],
        NetFact::Attempt(attempt) => [
            attempt.holder.as_ref().map(|holder| &holder.task.comm),
            None,
            None,
        ],
        NetFact::Translated(_) | NetFact::Route(_) => [None; 3],
    };
    words.into_iter().flatten()
}

/// What is kept of a process beyond its block has the size that the host gives it.
fn is_credible(process: &SharedProcess<ProcessFacts>) -> bool {
    let (process, names) = match process {
        SharedProcess::New(process) => (process, &[][..]),
        SharedProcess::Named(process, names) => (process, &names[..]),
        SharedProcess::Again(_) => return true,
    };
    let ProcessFacts {
        pid: _,
        exe,
        cmdline,
        container_id,
        unit,
        pod_uid,
        workload: _,
        cgroup,
    } = process;
    [exe, cmdline, container_id, unit, pod_uid, cgroup]
        .into_iter()
        .chain(names)
        .flatten()
        .all(|word| word.len() <= LONGEST)
}

fn resolve<T>(known: &mut Vec<Arc<T>>, shared: Shared<T>) -> Option<Arc<T>> {
    match shared {
        Shared::New(value) => {
            let value = Arc::new(value);
            known.push(Arc::clone(&value));
            Some(value)
        }
        Shared::Again(number) => known.get(usize::try_from(number).ok()?).cloned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn takes(facts: &HostContext) -> bool {
        let mut told = Told::default();
        let bytes = postcard::to_stdvec(&told.event(b"x", facts)).unwrap();
        let found: Found<'_> = postcard::from_bytes(&bytes).unwrap();
        Known::default().input(found).is_some()
    }

    #[test]
    fn words_that_no_host_tells_are_not_believed() {
        let word = |length: usize| Some(Word::from("x".repeat(length)));
        let of_process = |length| HostContext {
            processes: std::iter::once(Arc::new(ProcessFacts {
                cmdline: word(length),
                ..ProcessFacts::default()
            }))
            .collect(),
            ..HostContext::default()
        };
        let of_interface = |length| HostContext {
            interface: word(length),
            ..HostContext::default()
        };
        assert!(takes(&of_process(LONGEST)) && takes(&of_interface(LONGEST)));
        assert!(!takes(&of_process(LONGEST + 1)));
        assert!(!takes(&of_interface(LONGEST + 1)));
    }
}
