//! Program, container and unit of a process.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use procfs::process::Process;

use super::cgroup::{Ids, Membership, ids, may_be_forged, telling_path};
use super::workload::Workloads;
use crate::event::{BootTime, ProcessFacts, Task};
use crate::hash::{self, LruCache};

/// Descriptions kept.
const CAPACITY: usize = 4096;
/// A process may exec or move to another control group: a description this old is made again.
const FRESH_NS: u64 = 10_000_000_000;
/// Most of a command line that is read.
const CMDLINE_LIMIT: u64 = 4096;

/// Describes processes, remembering what it read. A process that has gone keeps the description it had.
#[derive(Debug)]
pub struct Processes {
    /// By pid and start, so that a reused pid is another process.
    known: LruCache<(u32, BootTime), Known>,
    workloads: Workloads,
}

#[derive(Debug)]
struct Known {
    /// Absent: it was gone already, or is not ours to see.
    facts: Option<Arc<ProcessFacts>>,
    /// That may be looked up.
    ids: Ids,
    read: BootTime,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            known: hash::lru(CAPACITY),
            workloads: Workloads::default(),
        }
    }
}

impl Processes {
    /// Most descriptions kept.
    pub const CAPACITY: usize = CAPACITY;

    /// Descriptions kept now.
    pub fn entries(&self) -> usize {
        self.known.len()
    }

    /// What `/proc` says about `task`; absent if it has gone, or if its pid belongs to a process with another start.
    /// `now` decides how long an earlier answer holds.
    pub fn describe(&mut self, task: &Task, now: BootTime) -> Option<Arc<ProcessFacts>> {
        let key = (task.pid, task.start);
        let mut last = None;
        if let Some(known) = self.known.get_mut(&key) {
            if now.0.saturating_sub(known.read.0) < FRESH_NS {
                if let Some(facts) = &mut known.facts
                    && facts.workload.is_none()
                    && let Some(names) = self.workloads.of_without_waiting(&known.ids, now)
                {
                    Arc::make_mut(facts).workload = Some(names);
                }
                return known.facts.clone();
            }
            last = Some((known.facts.clone(), known.ids.clone()));
        }
        let described = read(task).map(|(mut facts, ids)| {
            facts.workload = self.workloads.of(&ids, now);
            (Some(Arc::new(facts)), ids)
        });
        let (facts, ids) = described.or(last).unwrap_or_default();
        self.known.put(
            key,
            Known {
                facts: facts.clone(),
                ids,
                read: now,
            },
        );
        facts
    }
}

/// Which processes still live; an answer holds for a moment.
#[derive(Debug)]
pub struct Living {
    /// By pid and start: whether it lived, and when that was asked.
    known: LruCache<(u32, BootTime), (bool, BootTime)>,
}

impl Default for Living {
    fn default() -> Self {
        Self {
            known: hash::lru(CAPACITY),
        }
    }
}

impl Living {
    /// Whether `task` is still there, to the second. One whose start is not known counts as there.
    pub fn has(&mut self, task: &Task, now: BootTime) -> bool {
        let key = (task.pid, task.start);
        if let Some(&(lives, asked)) = self.known.get(&key)
            && now.since(asked) < ALIVE_FOR
        {
            return lives;
        }
        let lives = task.start.0 == 0 || is_alive(task);
        self.known.put(key, (lives, now));
        lives
    }
}

/// A process that died since is named for this long.
const ALIVE_FOR: Duration = Duration::from_secs(1);

fn is_alive(task: &Task) -> bool {
    let stat = i32::try_from(task.pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok())
        .and_then(|process| process.stat().ok());
    stat.is_some_and(|stat| is_same_start(task.start, stat.starttime))
}

/// Whether a process with this start time in clock ticks (`/proc/PID/stat`) is the one that started at `start`:
/// within a tick, as the ticks are rounded down. A start of 0 is not known and matches nothing.
pub fn is_same_start(start: BootTime, starttime_ticks: u64) -> bool {
    start.0 != 0 && (start.0 / nanoseconds_a_tick()).abs_diff(starttime_ticks) <= 1
}

/// Start of a process out of its ticks, exact to one of them.
pub fn start_of_ticks(starttime_ticks: u64) -> BootTime {
    BootTime(starttime_ticks.saturating_mul(nanoseconds_a_tick()))
}

fn nanoseconds_a_tick() -> u64 {
    1_000_000_000 / procfs::ticks_per_second().max(1)
}

/// With the ids that may be looked up.
fn read(task: &Task) -> Option<(ProcessFacts, Ids)> {
    // All files are opened relative to the directory, which stays this process's even if the pid is reused.
    let process = Process::new(i32::try_from(task.pid).ok()?).ok()?;
    if !is_same_start(task.start, process.stat().ok()?.starttime) {
        return None;
    }
    let cgroup = telling_cgroup(&process);
    let ids = cgroup.as_deref().map(ids).unwrap_or_default();
    let facts = ProcessFacts {
        pid: task.pid,
        exe: process
            .exe()
            .ok()
            .map(|path| printable(&path.to_string_lossy()).into()),
        cmdline: cmdline(&process).map(Into::into),
        container_id: ids.container_id.as_ref().map(Into::into),
        unit: ids.unit.as_ref().map(Into::into),
        pod_uid: ids.pod_uid.as_ref().map(Into::into),
        workload: None,
        cgroup: cgroup.as_deref().map(|path| printable(path).into()),
    };
    let is_forged = cgroup.as_deref().is_some_and(may_be_forged);
    Some((facts, if is_forged { Ids::default() } else { ids }))
}

/// The container or pod of a process; empty if it has none, or has gone.
pub(super) fn ids_of(pid: i32) -> Ids {
    let process = Process::new(pid).ok();
    process
        .and_then(|process| telling_cgroup(&process))
        .map(|path| ids(&path))
        .unwrap_or_default()
}

fn telling_cgroup(process: &Process) -> Option<String> {
    let memberships = process.cgroups().ok()?.0;
    let lines: Vec<(String, &str)> = memberships
        .iter()
        .map(|line| (line.controllers.join(","), line.pathname.as_str()))
        .collect();
    let lines: Vec<Membership<'_>> = lines
        .iter()
        .map(|(controllers, path)| Membership { controllers, path })
        .collect();
    telling_path(&lines).map(str::to_owned)
}

/// Absent for kernel threads, which have none.
fn cmdline(process: &Process) -> Option<String> {
    let file = process.open_relative("cmdline").ok()?;
    let mut bytes = Vec::new();
    file.take(CMDLINE_LIMIT).read_to_end(&mut bytes).ok()?;
    let line = join_arguments(&bytes);
    (!line.is_empty()).then_some(line)
}

/// Arguments end with a NUL each; a process may have written anything there.
fn join_arguments(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    printable(&text.trim_end_matches('\0').replace('\0', " "))
}

/// Control characters would reach terminals and logs: they are written as escapes.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// The first answer that is not due to a file being lent: a test beside this one that forks lends all files to the child until
    /// that calls exec. A wrong answer is not asked for again.
    pub(in crate::host) fn unless_lent<T>(
        mut ask: impl FnMut() -> T,
        may_be_lent: impl Fn(&T) -> bool,
    ) -> T {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let answer = ask();
            if !may_be_lent(&answer) {
                return answer;
            }
            assert!(std::time::Instant::now() < end, "lent for 10 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(in crate::host) fn task_of(pid: u32) -> Task {
        let stat = Process::new(i32::try_from(pid).unwrap())
            .unwrap()
            .stat()
            .unwrap();
        Task {
            pid,
            outside: false,
            start: start_of_ticks(stat.starttime),
            uid: 0,
            cgroup_id: 0,
            comm: stat.comm.into(),
        }
    }

    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    fn this_process_has_an_executable_a_command_line_and_a_control_group() {
        let task = task_of(std::process::id());
        let facts = Processes::default().describe(&task, BootTime(1)).unwrap();
        assert_eq!(
            facts.exe,
            std::env::current_exe()
                .ok()
                .map(|path| path.to_string_lossy().into_owned().into())
        );
        assert!(
            facts.cmdline.is_some()
                && facts
                    .cgroup
                    .as_ref()
                    .is_some_and(|path| path.starts_with('/'))
        );
    }

    #[test]
    fn a_reused_pid_is_not_mislabelled() {
        let mut processes = Processes::default();
        let mut task = task_of(std::process::id());
        let start = task.start.0;
        // Two seconds before and after, and not known at all.
        for other in [
            start.saturating_sub(2_000_000_000),
            start + 2_000_000_000,
            0,
        ] {
            task.start = BootTime(other);
            assert_eq!(processes.describe(&task, BootTime(1)), None, "{other}");
        }
        // The kernel's own value is finer than a tick.
        task.start = BootTime(start + 9_999_999);
        assert!(processes.describe(&task, BootTime(1)).is_some());
    }

    #[test]
    fn a_process_that_has_gone_keeps_its_description() {
        let mut processes = Processes::default();
        let mut child = sleeper();
        let (task, unseen) = (task_of(child.id()), task_of(child.id()));
        let alive = loop {
            // Until it has called exec.
            let facts = Processes::default().describe(&task, BootTime(1)).unwrap();
            if facts.cmdline.as_deref() == Some("sleep 600") {
                break processes.describe(&task, BootTime(1)).unwrap();
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(processes.describe(&task, BootTime(2)), Some(alive.clone()));
        assert_eq!(
            processes.describe(&task, BootTime(FRESH_NS * 9)),
            Some(alive)
        );
        assert_eq!(Processes::default().describe(&unseen, BootTime(2)), None);
    }

    #[test]
    fn names_that_come_later_are_used_without_reading_the_process_again() {
        let id = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("var/log/containers");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("web-0_shop_nginx-{id}.log")), "").unwrap();
        let mut processes = Processes {
            workloads: Workloads::below(root.path()),
            ..Processes::default()
        };
        let task = task_of(std::process::id());
        let known = Known {
            facts: Some(Arc::default()),
            ids: Ids {
                container_id: Some(id.to_owned()),
                ..Ids::default()
            },
            read: BootTime(1),
        };
        processes.known.put((task.pid, task.start), known);
        let end = std::time::Instant::now() + Duration::from_secs(10);
        let names = loop {
            let facts = processes.describe(&task, BootTime(2)).unwrap();
            if let Some(names) = &facts.workload {
                break names.clone();
            }
            assert!(std::time::Instant::now() < end, "no names for 10 s");
            std::thread::yield_now();
        };
        assert_eq!(names.pod.as_deref(), Some("web-0"));
    }

    #[test]
    fn command_lines_are_one_printable_line() {
        let cases: &[(&[u8], &str)] = &[
            (b"nginx: worker\0\0\0\0", "nginx: worker"),
            (b"sh\0-c\0echo\na\0", "sh -c echo\\na"),
            (b"\x1b]0;owned\x07\0", "\\u{1b}]0;owned\\u{7}"),
            (b"caf\xe9\0", "caf\u{fffd}"),
            (b"", ""),
        ];
        for &(bytes, line) in cases {
            assert_eq!(join_arguments(bytes), line);
        }
    }
}
