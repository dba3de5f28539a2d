//! Which process has this socket open right now?
//!
//! Decision: the answer names a process only if it is the only one, among those looked at, that holds the socket. A
//! socket inherited across fork() is held by several, and `/proc` cannot tell which of them uses it. The exception is a
//! process that was running as the socket was used: if that one holds it, nobody else is looked at.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use procfs::process::{Process, Stat};

use super::generations::Generations;
use super::process::start_of_ticks;
use crate::event::{BootTime, Task};

/// Answers kept.
const CAPACITY: usize = 2048;
/// How long an answer holds: sockets change hands, and inode numbers come back.
const FRESH_NS: u64 = 1_000_000_000;
/// Lookups a second.
const RATE: u32 = 200;
/// Time spent on lookups in a second.
const BUDGET: Duration = Duration::from_millis(100);
/// Time for one lookup.
const PATIENCE: Duration = Duration::from_millis(30);
/// Threads of the recorded owner that are asked for children.
const THREADS: usize = 64;

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The recorded owner and its children: enough for the workers of a listener.
    Family(u32),
    /// All processes, nobody being recorded; but first the one that was running as a raw socket sent.
    Everyone(Option<u32>),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// One process has it. Its thread is not known, so `comm` is the process's; `start` is exact to a clock tick.
    One(Task),
    /// Nobody that was looked at has it, or several have.
    Unclear,
    /// Not asked, or not to the end: over the rate or the time allowed.
    NotAsked,
}

/// Finds holders of sockets, within a rate and a time budget.
#[derive(Debug)]
pub struct SocketHolders {
    answers: Generations<u64, (BootTime, Holder)>,
    /// Begin of the second that `asked` and `spent` belong to.
    second: BootTime,
    asked: u32,
    spent: Duration,
    not_asked: u64,
}

impl Default for SocketHolders {
    fn default() -> Self {
        Self {
            answers: Generations::new(CAPACITY),
            second: BootTime(0),
            asked: 0,
            spent: Duration::ZERO,
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
            self.not_asked += u64::from(*answer == Holder::NotAsked);
            return answer.clone();
        }
        if now.0.saturating_sub(self.second.0) >= 1_000_000_000 {
            (self.second, self.asked, self.spent) = (now, 0, Duration::ZERO);
        }
        if self.asked >= RATE || self.spent >= BUDGET {
            self.not_asked += 1;
            return Holder::NotAsked;
        }
        self.asked += 1;
        let begin = Instant::now();
        let answer = look(
            inode,
            search,
            begin + PATIENCE.min(BUDGET.saturating_sub(self.spent)),
        );
        self.spent += begin.elapsed();
        if answer == Holder::NotAsked {
            self.not_asked += 1;
        }
        self.answers.insert(inode, (now, answer.clone()));
        answer
    }

    /// How many questions were not answered for want of rate or time.
    pub fn not_asked(&self) -> u64 {
        self.not_asked
    }
}

/// The deadline has passed.
struct TimeUp;

fn look(inode: u64, search: Search, deadline: Instant) -> Holder {
    let mut holders = Holders {
        link: format!("socket:[{inode}]"),
        deadline,
        found: None,
        several: false,
    };
    let ended = match search {
        Search::Family(pid) => holders.add_family(pid),
        Search::Everyone(first) => holders.add_everyone(first),
    };
    match (ended, holders.several, holders.found) {
        (_, true, _) => Holder::Unclear,
        (Err(TimeUp), ..) => Holder::NotAsked,
        (Ok(()), _, Some(task)) => Holder::One(task),
        (Ok(()), _, None) => Holder::Unclear,
    }
}

struct Holders {
    link: String,
    deadline: Instant,
    found: Option<Task>,
    several: bool,
}

impl Holders {
    fn add_family(&mut self, pid: u32) -> Result<(), TimeUp> {
        self.add(pid)?;
        for child in children(pid, self.deadline) {
            self.add(child)?;
        }
        Ok(())
    }

    fn add_everyone(&mut self, first: Option<u32>) -> Result<(), TimeUp> {
        if let Some(pid) = first {
            self.add(pid)?;
            if self.found.is_some() {
                return Ok(());
            }
        }
        let Ok(entries) = fs::read_dir("/proc") else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|&pid| Some(pid) != first) {
                self.add(pid)?;
            }
            if self.several {
                break;
            }
        }
        Ok(())
    }

    /// Looks at one process; one that is gone or not ours to see holds nothing that we could name.
    fn add(&mut self, pid: u32) -> Result<(), TimeUp> {
        if Instant::now() > self.deadline {
            return Err(TimeUp);
        }
        if !self.holds(pid)? {
            return Ok(());
        }
        // The directory is opened after the match: should the pid have been reused in between, it must match again.
        let Some(task) = describe(pid) else {
            return Ok(());
        };
        if self.holds(pid)? {
            self.several |= self.found.is_some();
            self.found.get_or_insert(task);
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

fn children(pid: u32, deadline: Instant) -> Vec<u32> {
    let tasks = i32::try_from(pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok())
        .and_then(|process| process.tasks().ok());
    let Some(tasks) = tasks else {
        return Vec::new();
    };
    let answers: Vec<Vec<u32>> = tasks
        .take(THREADS)
        .filter_map(|task| task.ok()?.children().ok())
        .collect();
    if !answers.is_empty() {
        return answers.concat();
    }
    // Kernels without CONFIG_PROC_CHILDREN: ask all processes for their parent.
    procfs::process::all_processes()
        .into_iter()
        .flatten()
        .take_while(|_| Instant::now() < deadline)
        .filter_map(|process| process.ok()?.stat().ok())
        .filter(|stat| u32::try_from(stat.ppid) == Ok(pid))
        .filter_map(|stat| u32::try_from(stat.pid).ok())
        .collect()
}

fn describe(pid: u32) -> Option<Task> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let Stat {
        starttime, comm, ..
    } = process.stat().ok()?;
    Some(Task {
        pid,
        start: start_of_ticks(starttime),
        uid: process.status().ok()?.euid,
        cgroup_id: 0,
        comm,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::super::process::tests::{eventually, task_of};
    use super::*;

    fn inode(socket: &TcpListener) -> u64 {
        let file = fs::File::from(socket.as_fd().try_clone_to_owned().unwrap());
        file.metadata().unwrap().ino()
    }

    fn look_at_leisure(inode: u64, search: Search) -> Holder {
        look(inode, search, Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn the_only_holder_is_named_and_several_are_not() {
        let us = std::process::id();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = inode(&socket);
        let family = || look_at_leisure(number, Search::Family(us));
        let everyone = || look_at_leisure(number, Search::Everyone(None));
        eventually(|| family() == Holder::One(task_of(us)));
        eventually(|| everyone() == Holder::One(task_of(us)));
        // A child that has it as its standard input.
        let mut child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::from(socket.as_fd().try_clone_to_owned().unwrap()))
            .spawn()
            .unwrap();
        assert_eq!(family(), Holder::Unclear);
        assert_eq!(everyone(), Holder::Unclear);
        let running = look_at_leisure(number, Search::Everyone(Some(us)));
        assert_eq!(running, Holder::One(task_of(us)));
        // Once it alone has the socket, it is found as a child of ours.
        drop(socket);
        let is_child = |holder| matches!(holder, Holder::One(task) if task.pid == child.id());
        eventually(|| is_child(family()));
        child.kill().unwrap();
        child.wait().unwrap();
        eventually(|| everyone() == Holder::Unclear);
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
        // The next second has an allowance of its own.
        holders.asked = RATE;
        assert_eq!(
            holders.find(7_777, Search::Family(us), second),
            Holder::NotAsked
        );
        assert_eq!(
            holders.find(7_777, Search::Family(us), BootTime(2_000_000_000)),
            Holder::Unclear
        );
    }
}
