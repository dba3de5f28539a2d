//! A process of the measurement: started, waited for until it is ready, ended by its id, also after a failure.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use procfs::process::{Process, all_processes};

use super::fdinfo;

/// Longer than anything takes; only a failing measurement waits so long.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a tool may go on working on what came before it is asked to end.
const BACKLOG: Duration = Duration::from_secs(15);
/// How long a process may take to end by itself, once its standard input is closed.
const GRACE: Duration = Duration::from_secs(1);
/// How often it is looked whether it is still at work, which is when it uses more of a CPU than one part in twenty.
const LOOK: Duration = Duration::from_millis(100);

/// Ended when dropped.
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Instant, String)>,
    said: String,
}

/// Which stream tells that it is ready; the other goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Running {
    /// Starts it. Ends it too when this process is killed.
    pub fn start(command: &Command, speaks: Speaks) -> Result<Self> {
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL", "--"]);
        bound.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => bound.env(name, value),
                None => bound.env_remove(name),
            };
        }
        Self::start_bare(bound, speaks)
    }

    /// Starts it and nothing around it.
    pub fn start_bare(mut command: Command, speaks: Speaks) -> Result<Self> {
        let name = shown(&command);
        command.stdin(Stdio::piped());
        match speaks {
            Speaks::Out => command.stdout(Stdio::piped()).stderr(Stdio::inherit()),
            Speaks::Err => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let stdin = child.stdin.take();
        let stream: Box<dyn Read + Send> = match (child.stdout.take(), child.stderr.take()) {
            (Some(out), _) => Box::new(out),
            (None, Some(err)) => Box::new(err),
            (None, None) => bail!("{name} has no output"),
        };
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                if sender.send((Instant::now(), text)).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(Self {
            name,
            child,
            stdin,
            lines,
            said: String::new(),
        })
    }

    /// Waits for a line with this in it; when it came.
    pub fn await_line(&mut self, part: &str) -> Result<Instant> {
        let begin = Instant::now();
        loop {
            let left = LIMIT.saturating_sub(begin.elapsed());
            match self.lines.recv_timeout(left) {
                Ok((when, line)) => {
                    self.said.push_str(&line);
                    if line.contains(part) {
                        return Ok(when);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("{}: not ready after {LIMIT:?}", self.name),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended early: {}", self.name, last_line(&self.said))
                }
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time until now, its children's included.
    pub fn cpu(&self) -> Duration {
        tree(self.pid()).iter().map(cpu).sum()
    }

    /// Resident memory in bytes, its children's included.
    pub fn resident(&self) -> u64 {
        let kilobytes = |process: &Process| process.status().ok()?.vmrss;
        tree(self.pid()).iter().filter_map(kilobytes).sum::<u64>() * 1024
    }

    /// What the kernel says of BPF programs and maps that it holds.
    pub fn bpf(&self) -> fdinfo::Held {
        fdinfo::held(tree(self.pid()).iter().map(Process::pid))
    }

    /// Waits until it has had nothing to do for so long, or as long as is reasonable.
    pub fn settle(&self, still: Duration) {
        let begin = Instant::now();
        let (mut before, mut since) = (self.cpu(), begin);
        while since.elapsed() < still && begin.elapsed() < BACKLOG {
            thread::sleep(LOOK);
            let now = self.cpu();
            if now.saturating_sub(before) > LOOK / 20 {
                since = Instant::now();
            }
            before = now;
        }
    }

    /// Sends a signal, or closes its standard input; waits for the end and gives what it said.
    pub fn end(mut self, how: End) -> Result<String> {
        match how {
            End::Signal(signal) => {
                kill(Pid::from_raw(self.pid().cast_signed()), signal)
                    .with_context(|| format!("{}: end it", self.name))?;
            }
            End::Input => drop(self.stdin.take()),
        }
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > LIMIT {
                bail!("{} does not end", self.name);
            }
            thread::sleep(Duration::from_millis(5));
        }
        let mut said = std::mem::take(&mut self.said);
        said.extend(self.lines.iter().map(|(_, line)| line));
        Ok(said)
    }
}

/// How a process is told to end.
#[derive(Clone, Copy)]
pub enum End {
    /// Tools end by signals.
    Signal(Signal),
    /// Ours end with their standard input.
    Input,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Those that end by that may have something to put back.
        let begin = Instant::now();
        while begin.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        // Still ours: the number is not given away before it is waited for.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// A process and all that came of it. Those that are gone meanwhile are left out.
fn tree(root: u32) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    let mut found = Vec::new();
    for process in all_processes().into_iter().flatten().flatten() {
        let Ok(stat) = process.stat() else { continue };
        if stat.pid == root.cast_signed() {
            found.push(process);
        } else {
            children.entry(stat.ppid).or_default().push(process);
        }
    }
    let mut at = 0;
    while let Some(process) = found.get(at) {
        found.extend(children.remove(&process.pid()).unwrap_or_default());
        at += 1;
    }
    found
}

/// The scheduler's own account, in nanoseconds: `stat` has ticks of 10 ms.
fn cpu(process: &Process) -> Duration {
    let tasks = process.tasks().into_iter().flatten().flatten();
    let nanoseconds = tasks.filter_map(|task| Some(task.schedstat().ok()?.sum_exec_runtime));
    Duration::from_nanos(nanoseconds.sum())
}

fn shown(command: &Command) -> String {
    let words = command.get_args().map(OsStr::to_string_lossy);
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    std::iter::once(name.into())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn last_line(text: &str) -> &str {
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
}
