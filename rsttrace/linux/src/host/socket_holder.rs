//! Lookup of the process that has a socket open.
//!
//! Decision: the answer names a process as the holder only if it is the only one, among those looked at, that holds the
//! socket. A socket inherited across fork() is held by several, and `/proc` does not show which of them uses it: then the answer is
//! their common ancestor, marked as sharing. The exception is a process that was running when the socket was used, or that is
//! recorded as its owner: if it holds the socket, no other process is checked.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use log::debug;
use procfs::process::{Process, Stat};

use super::process::start_of_ticks;
use crate::event::{BootTime, Task};
use crate::hash::{self, LruCache};

/// Answers kept.
const CAPACITY: usize = 2048;
/// How long an answer is valid: sockets are passed on, and inode numbers are reused.
const FRESH_NS: u64 = 1_000_000_000;
/// Lookups per second.
const RATE: u32 = 200;
/// Time spent on lookups in a second.
const BUDGET: Duration = Duration::from_millis(160);
/// The same in a storm, that is with more lookups in a second than allowed: most sockets are closed before the lookup, and a search
/// without a result takes longest.
const STORM_BUDGET: Duration = Duration::from_millis(10);
/// Time limit of one lookup.
const PATIENCE: Duration = Duration::from_millis(60);
/// Time limit for the check of a recorded owner, which mostly still has the socket. If not, the search has its own limit.
const PATIENCE_TO_CONFIRM: Duration = Duration::from_millis(5);
/// The same of a thread that nothing waits for.
const LEISURE: Duration = Duration::from_secs(5);
/// Searches from one process without a result, after which only its family is checked in that second: its sockets are closed before
/// the lookup, and not passed on.
const FRUITLESS: u32 = 3;
/// Threads of a process whose children are read.
const THREADS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The listening process and its descendants (its workers). If none of them has it, the processes of its control group, which may
    /// have received it.
    Family(u32),
    /// The recorded owner; if it no longer has the socket, its family.
    Confirm(u32),
    /// All processes, without a recorded owner; first the one that was running when a raw socket sent.
    Everyone(Option<u32>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// One process has it. Its thread is not known, so `comm` is the process's; `start` is exact to a clock tick.
    One(Task),
    /// Several have it, and all the others descend from this one.
    Eldest(Task),
    /// Several have it, without a common ancestor among them.
    Several,
    /// No checked process has it.
    Nobody,
    /// No lookup, or an incomplete one, because of the rate or the time limit.
    NotAsked,
}

/// Looks up holders of sockets, within a rate and a time budget.
#[derive(Debug)]
pub struct SocketHolders {
    answers: LruCache<u64, (BootTime, Holder)>,
    /// The start of the second that `questions`, `asked` and `spent` belong to.
    second: BootTime,
    questions: u32,
    /// There was a storm in the second before.
    was_storm: bool,
    asked: u32,
    spent: Duration,
    /// Searches of this second without a result, by the process they began at; 0: all processes.
    fruitless: HashMap<u32, u32>,
    not_asked: u64,
}

impl Default for SocketHolders {
    fn default() -> Self {
        Self {
            answers: hash::lru(CAPACITY),
            second: BootTime(0),
            questions: 0,
            was_storm: false,
            asked: 0,
            spent: Duration::ZERO,
            fruitless: HashMap::new(),
            not_asked: 0,
        }
    }
}

impl SocketHolders {
    /// Who has the socket with this inode open. `now` is when the question arose.
    pub fn find(&mut self, inode: u64, search: Search, now: BootTime) -> Holder {
        if let Some((asked, answer)) = self.answers.get(&inode)
            && now.0.saturating_sub(asked.0) < FRESH_NS
        {
            let confirms = matches!(search, Search::Confirm(_));
            self.not_asked += u64::from(*answer == Holder::NotAsked && !confirms);
            return answer.clone();
        }
        if now.0.saturating_sub(self.second.0) >= 1_000_000_000 {
            self.was_storm = self.is_storm();
            (self.second, self.questions) = (now, 0);
            (self.asked, self.spent) = (0, Duration::ZERO);
            self.fruitless.clear();
        }
        self.questions = self.questions.saturating_add(1);
        // What only confirms a record leaves half of the time to the questions that nothing else answers.
        let confirms = matches!(search, Search::Confirm(_));
        let budget = if self.was_storm || self.is_storm() {
            STORM_BUDGET
        } else {
            BUDGET
        };
        let budget = if confirms { budget / 2 } else { budget };
        let from = match search {
            Search::Family(pid) | Search::Confirm(pid) => pid,
            Search::Everyone(first) => first.unwrap_or(0),
        };
        let is_fruitless = self.fruitless.get(&from) >= Some(&FRUITLESS);
        if self.asked >= RATE || self.spent >= budget {
            self.not_asked += u64::from(!confirms);
            return Holder::NotAsked;
        }
        self.asked += 1;
        let begin = Instant::now();
        let left = budget.saturating_sub(self.spent);
        let answer = look(inode, search, !is_fruitless, begin, PATIENCE.min(left));
        let took = begin.elapsed();
        self.spent += took;
        if answer == Holder::Nobody {
            *self.fruitless.entry(from).or_default() += 1;
        } else if answer != Holder::NotAsked {
            self.fruitless.remove(&from);
        }
        debug!("socket:[{inode}]: {search:?} gave {answer:?} in {took:?}");
        if answer == Holder::NotAsked {
            self.not_asked += u64::from(!confirms);
        }
        self.answers.put(inode, (now, answer.clone()));
        answer
    }

    fn is_storm(&self) -> bool {
        self.questions > RATE
    }

    /// Lookups skipped because of the rate or the time limit.
    pub fn not_asked(&self) -> u64 {
        self.not_asked
    }
}

/// Who has the socket with this inode open, for a thread that nothing waits for.
pub(super) fn find_at_leisure(inode: u64) -> Holder {
    look(inode, Search::Everyone(None), true, Instant::now(), LEISURE)
}

/// The deadline has passed.
struct TimeUp;

/// `widely`: also beyond the family. Without it, an empty result is no answer.
fn look(inode: u64, search: Search, widely: bool, begin: Instant, patience: Duration) -> Holder {
    let deadline = begin + patience;
    let mut holders = Holders {
        widely,
        link: format!("socket:[{inode}]"),
        deadline,
        looked_at: HashSet::new(),
        found: Vec::new(),
        by_parent: None,
    };
    let ended = match search {
        Search::Family(pid) => holders.add_family(pid),
        Search::Confirm(pid) => {
            holders.deadline = begin + patience.min(PATIENCE_TO_CONFIRM);
            if holders.add(pid).is_err() {
                return Holder::NotAsked;
            }
            holders.deadline = deadline;
            if !holders.found.is_empty() {
                return holders.answer(true);
            }
            return match holders.add_family(pid) {
                Ok(()) => holders.answer(true),
                Err(TimeUp) => match holders.found.first() {
                    // It is not known whether it shares.
                    Some(found) => Holder::Eldest(found.task.clone()),
                    None => Holder::NotAsked,
                },
            };
        }
        Search::Everyone(None) => holders.add_everyone(),
        Search::Everyone(Some(first)) => holders.add_unless_found(first, Holders::add_everyone),
    };
    holders.answer(ended.is_ok())
}

struct Holders {
    link: String,
    widely: bool,
    deadline: Instant,
    looked_at: HashSet<u32>,
    found: Vec<Found>,
    /// Children of each process, if the kernel does not list those of one process.
    by_parent: Option<BTreeMap<u32, Vec<u32>>>,
}

/// A process that has the socket.
struct Found {
    task: Task,
    parent: u32,
}

impl Holders {
    fn answer(self, is_complete: bool) -> Holder {
        let is_child = |it: &Found| self.found.iter().any(|other| other.task.pid == it.parent);
        match self.found.as_slice() {
            [] if is_complete => Holder::Nobody,
            [one] if is_complete => Holder::One(one.task.clone()),
            [] | [_] => Holder::NotAsked,
            several => {
                let mut eldest = several.iter().filter(|&it| !is_child(it));
                match (eldest.next(), eldest.next()) {
                    (Some(one), None) if is_complete => Holder::Eldest(one.task.clone()),
                    _ => Holder::Several,
                }
            }
        }
    }

    fn add_unless_found(
        &mut self,
        first: u32,
        others: impl FnOnce(&mut Self) -> Result<(), TimeUp>,
    ) -> Result<(), TimeUp> {
        self.add(first)?;
        if self.found.is_empty() {
            others(self)?;
        }
        Ok(())
    }

    fn add_family(&mut self, pid: u32) -> Result<(), TimeUp> {
        self.add(pid)?;
        self.add_descendants(pid)?;
        if !self.found.is_empty() {
            return Ok(());
        }
        if self.widely {
            self.add_control_group(pid)
        } else {
            Err(TimeUp)
        }
    }

    fn add_descendants(&mut self, pid: u32) -> Result<(), TimeUp> {
        let mut parents = VecDeque::from([pid]);
        while let Some(parent) = parents.pop_front() {
            let children = match children(parent) {
                Some(children) => children,
                // Kernels without CONFIG_PROC_CHILDREN: all processes are asked for their parent, once.
                None => match &mut self.by_parent {
                    Some(by_parent) => by_parent,
                    None => self.by_parent.insert(all_children(self.deadline)?),
                }
                .remove(&parent)
                .unwrap_or_default(),
            };
            for child in children {
                if !self.looked_at.contains(&child) {
                    self.add(child)?;
                    parents.push_back(child);
                }
            }
        }
        Ok(())
    }

    /// A process that received the socket over a Unix socket is mostly of the same service, and was started at about the same time. Once
    /// one is found, only those that may share with it are checked.
    fn add_control_group(&mut self, pid: u32) -> Result<(), TimeUp> {
        let group = |pid| fs::read(format!("/proc/{pid}/cgroup")).ok();
        let Some(own) = group(pid) else {
            return Ok(());
        };
        let mut others = all_pids();
        others.sort_unstable_by_key(|other| other.abs_diff(pid));
        for other in others {
            if Instant::now() > self.deadline {
                return Err(TimeUp);
            }
            if !self.looked_at.contains(&other) && group(other).as_ref() == Some(&own) {
                self.add(other)?;
            }
            if let Some(found) = self.found.first() {
                let parent = found.parent;
                self.add_descendants(other)?;
                return self.add(parent);
            }
        }
        Ok(())
    }

    fn add_everyone(&mut self) -> Result<(), TimeUp> {
        all_pids().into_iter().try_for_each(|pid| self.add(pid))
    }

    /// Looks at one process, once; one that is gone or not ours to see holds nothing that we could name.
    fn add(&mut self, pid: u32) -> Result<(), TimeUp> {
        if Instant::now() > self.deadline {
            return Err(TimeUp);
        }
        if !self.looked_at.insert(pid) || !self.holds(pid)? {
            return Ok(());
        }
        // The directory is opened after the match: should the pid have been reused in between, it must match again.
        let Some(found) = describe(pid) else {
            return Ok(());
        };
        if self.holds(pid)? {
            self.found.push(found);
        }
        Ok(())
    }

    /// Links are read directly: procfs's iterator needs four calls for each open file.
    fn holds(&self, pid: u32) -> Result<bool, TimeUp> {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return Ok(false);
        };
        for (index, entry) in entries.flatten().enumerate() {
            if index % 256 == 255 && Instant::now() > self.deadline {
                return Err(TimeUp);
            }
            let target = fs::read_link(entry.path());
            if target.is_ok_and(|target| target.as_os_str().as_bytes() == self.link.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Absent if this kernel does not have it, or the process is gone.
fn children(pid: u32) -> Option<Vec<u32>> {
    let tasks = Process::new(i32::try_from(pid).ok()?).ok()?.tasks().ok()?;
    let answers: Vec<Vec<u32>> = tasks
        .take(THREADS)
        .filter_map(|task| task.ok()?.children().ok())
        .collect();
    (!answers.is_empty()).then(|| answers.concat())
}

fn all_children(deadline: Instant) -> Result<BTreeMap<u32, Vec<u32>>, TimeUp> {
    let mut by_parent: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in all_pids() {
        if Instant::now() > deadline {
            return Err(TimeUp);
        }
        if let Some(parent) = parent(pid) {
            by_parent.entry(parent).or_default().push(pid);
        }
    }
    Ok(by_parent)
}

/// Read directly: it is asked of every process.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit(|&byte| byte == b')').next()?;
    let mut words = str::from_utf8(after_name).ok()?.split_whitespace();
    words.nth(1)?.parse().ok()
}

fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Which processes have had children? What one never had, it may have soon.
#[derive(Debug)]
pub struct Forkers {
    /// By pid and start: whether it has, and when that was asked.
    known: LruCache<(u32, BootTime), (bool, BootTime)>,
}

impl Default for Forkers {
    fn default() -> Self {
        Self {
            known: hash::lru(CAPACITY),
        }
    }
}

impl Forkers {
    /// See [`has_had_children`]; `now` decides how long an earlier answer holds.
    pub fn has(&mut self, task: &Task, now: BootTime) -> bool {
        let key = (task.pid, task.start);
        if let Some(&(has, asked)) = self.known.get(&key)
            && (has || now.since(asked) < CHILDLESS_FOR)
        {
            return has;
        }
        let has = has_had_children(task.pid);
        self.known.put(key, (has, now));
        has
    }
}

/// A process that has had no child is asked again after this.
const CHILDLESS_FOR: Duration = Duration::from_millis(50);

/// Whether a process has children, has waited for one, or has them reaped unseen: then it may have handed on what it
/// accepted. One that does not let itself be seen may have.
fn has_had_children(pid: u32) -> bool {
    const SIGCHLD: u64 = 1 << (libc::SIGCHLD - 1);
    let process = i32::try_from(pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok());
    let Some(process) = process else { return true };
    // Every child that was waited for has left its page faults with its parent; those of one that ignores SIGCHLD are
    // never waited for.
    let has_waited = process
        .stat()
        .map_or(true, |stat| stat.cminflt > 0 || stat.cmajflt > 0);
    let ignores = process
        .status()
        .map_or(true, |status| status.sigign & SIGCHLD != 0);
    if has_waited || ignores {
        return true;
    }
    let deadline = Instant::now() + PATIENCE_TO_CONFIRM;
    let children = children(pid).or_else(|| all_children(deadline).ok()?.remove(&pid));
    children.is_some_and(|children| !children.is_empty())
}

fn describe(pid: u32) -> Option<Found> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let Stat {
        starttime,
        comm,
        ppid,
        ..
    } = process.stat().ok()?;
    let task = Task {
        pid,
        outside: false,
        start: start_of_ticks(starttime),
        uid: process.status().ok()?.euid,
        cgroup_id: 0,
        comm: comm.into(),
    };
    let parent = u32::try_from(ppid).ok()?;
    Some(Found { task, parent })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::super::process::tests::{task_of, unless_lent};
    use super::*;

    fn inode(socket: &TcpListener) -> u64 {
        let file = fs::File::from(socket.as_fd().try_clone_to_owned().unwrap());
        file.metadata().unwrap().ino()
    }

    fn is_shared(holder: &Holder) -> bool {
        matches!(holder, Holder::Eldest(_) | Holder::Several)
    }

    fn look_at_leisure(inode: u64, search: Search) -> Holder {
        look(inode, search, true, Instant::now(), Duration::from_secs(60))
    }

    #[test]
    fn the_only_holder_is_named_and_several_are_not() {
        let us = std::process::id();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = inode(&socket);
        let family = || look_at_leisure(number, Search::Family(us));
        let everyone = || look_at_leisure(number, Search::Everyone(None));
        assert_eq!(unless_lent(family, is_shared), Holder::One(task_of(us)));
        assert_eq!(unless_lent(everyone, is_shared), Holder::One(task_of(us)));
        // A child that has it as its standard input.
        let mut child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::from(socket.as_fd().try_clone_to_owned().unwrap()))
            .spawn()
            .unwrap();
        assert_eq!(family(), Holder::Eldest(task_of(us)));
        assert_eq!(everyone(), Holder::Eldest(task_of(us)));
        let confirm = || look_at_leisure(number, Search::Confirm(us));
        assert_eq!(confirm(), Holder::One(task_of(us)));
        let running = look_at_leisure(number, Search::Everyone(Some(us)));
        assert_eq!(running, Holder::One(task_of(us)));
        // Once it alone has the socket, it is found as a child of ours.
        drop(socket);
        let child_id = child.id();
        let is_child =
            |holder: &Holder| matches!(holder, Holder::One(task) if task.pid == child_id);
        assert!(is_child(&unless_lent(family, is_shared)));
        assert!(is_child(&unless_lent(confirm, is_shared)));
        // Also from another process of the same control group.
        let mut relative = Command::new("sleep").arg("600").spawn().unwrap();
        let from_relative = || look_at_leisure(number, Search::Family(relative.id()));
        assert!(is_child(&unless_lent(from_relative, is_shared)));
        relative.kill().unwrap();
        relative.wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let names_another = |holder: &Holder| *holder != Holder::Nobody && !is_child(holder);
        assert_eq!(unless_lent(everyone, names_another), Holder::Nobody);
        assert!(has_had_children(us));
    }

    #[test]
    fn a_process_has_a_parent_and_pid_0_is_no_process() {
        let parent_of_us = std::os::unix::process::parent_id();
        assert_eq!(parent(std::process::id()), Some(parent_of_us));
        assert_eq!(parent(0), None);
    }

    #[test]
    fn lookups_are_limited_and_what_is_not_asked_is_counted() {
        let mut holders = SocketHolders::default();
        let us = std::process::id();
        let second = BootTime(1_000_000_000);
        let answers: Vec<Holder> = (0..u64::from(RATE) + 50)
            .map(|inode| holders.find(inode, Search::Family(us), second))
            .collect();
        assert!(
            answers
                .iter()
                .filter(|&answer| *answer == Holder::NotAsked)
                .count()
                >= 50
        );
        assert!(holders.not_asked() >= 50);
        // An answer that was given is repeated, for free.
        assert_eq!(holders.find(0, Search::Family(us), second), answers[0]);
        // The next second has a new budget.
        (holders.asked, holders.spent) = (RATE, Duration::ZERO);
        assert_eq!(
            holders.find(7_777, Search::Family(us), second),
            Holder::NotAsked
        );
        assert_eq!(
            holders.find(7_777, Search::Family(us), BootTime(2_000_000_000)),
            Holder::Nobody
        );
    }

    #[test]
    fn a_storm_is_looked_at_for_a_tenth_of_the_time_and_so_is_the_second_after_it() {
        let mut holders = SocketHolders::default();
        let second = BootTime(1_000_000_000);
        let is_asked = |holders: &mut SocketHolders, inode, spent, now| {
            holders.spent = spent;
            holders.find(inode, Search::Family(u32::MAX), now);
            holders.answers.get(&inode).is_some()
        };
        assert!(is_asked(&mut holders, 1, STORM_BUDGET, second));
        holders.questions = RATE;
        assert!(!is_asked(&mut holders, 2, STORM_BUDGET, second));
        let next = BootTime(2_000_000_000);
        assert!(is_asked(&mut holders, 3, Duration::ZERO, next));
        assert!(!is_asked(&mut holders, 4, STORM_BUDGET, next));
        let calm = BootTime(3_000_000_000);
        assert!(is_asked(&mut holders, 5, Duration::ZERO, calm));
        assert!(is_asked(&mut holders, 6, STORM_BUDGET, calm));
    }

    #[test]
    fn of_several_holders_the_common_ancestor_is_the_answer() {
        let answer = |family: &[(u32, u32)], is_complete| {
            let found = family.iter().map(|&(pid, parent)| Found {
                task: Task {
                    pid,
                    ..task_of(std::process::id())
                },
                parent,
            });
            let holders = Holders {
                widely: true,
                link: String::new(),
                deadline: Instant::now(),
                looked_at: HashSet::new(),
                found: found.collect(),
                by_parent: None,
            };
            match holders.answer(is_complete) {
                Holder::One(task) => format!("one {}", task.pid),
                Holder::Eldest(task) => format!("eldest {}", task.pid),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(answer(&[], true), "Nobody");
        assert_eq!(answer(&[], false), "NotAsked");
        assert_eq!(answer(&[(5, 1)], true), "one 5");
        assert_eq!(answer(&[(5, 1)], false), "NotAsked");
        assert_eq!(answer(&[(6, 5), (5, 1), (7, 6)], true), "eldest 5");
        assert_eq!(answer(&[(6, 5), (5, 1)], false), "Several");
        assert_eq!(answer(&[(6, 1), (5, 1)], true), "Several");
    }
}
