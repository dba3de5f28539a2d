//! A process of a measurement: its start, readiness, resource usage and end.

use std::{
    fs,
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
use procfs::{
    ProcResult,
    process::{Process, Status},
};

use super::fdinfo;
use crate::command;

/// Longer than anything takes.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the tracer may work off a backlog.
const BACKLOG: Duration = Duration::from_secs(15);
/// How long a process may take to end after its standard input is closed.
const GRACE: Duration = Duration::from_secs(1);
/// Interval of looking at CPU time. A process that uses less than 5 % of a CPU is at rest.
const LOOK: Duration = Duration::from_millis(100);

/// Ended when dropped.
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Instant, String)>,
    said: String,
}

/// The stream with the line that says that it is ready; the other one is discarded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Out,
    Err,
}

impl Running {
    /// Starts it. It is killed when this process ends, however that happens.
    pub fn start(command: &Command, speaks: Speaks) -> Result<Self> {
        let name = command::shown(command);
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL", "--"]);
        bound.arg(command.get_program()).args(command.get_args());
        bound.env_remove("RUST_LOG").stdin(Stdio::piped());
        match speaks {
            Speaks::Out => bound.stdout(Stdio::piped()).stderr(Stdio::inherit()),
            Speaks::Err => bound.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = bound.spawn().with_context(|| format!("start {name}"))?;
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

    /// Waits for a line that contains `part`; returns when it came.
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
                    bail!("{} ended early: {}", self.name, self.said)
                }
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn process(&self) -> ProcResult<Process> {
        Process::new(self.pid().cast_signed())
    }

    /// CPU time until now. The scheduler counts nanoseconds; `stat` has ticks of 10 ms.
    pub fn cpu(&self) -> Duration {
        let tasks = self.process().and_then(|process| process.tasks());
        let tasks = tasks.into_iter().flatten().flatten();
        let nanoseconds = tasks.filter_map(|task| Some(task.schedstat().ok()?.sum_exec_runtime));
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.memory(|status| status.vmrss)
    }

    /// Peak of the resident memory in bytes, since the start or [`Self::forget_peak`].
    pub fn peak(&self) -> u64 {
        self.memory(|status| status.vmhwm)
    }

    fn memory(&self, of: fn(Status) -> Option<u64>) -> u64 {
        let status = self.process().and_then(|process| process.status());
        status.ok().and_then(of).unwrap_or(0) * 1024
    }

    /// Has the kernel measure the peak from now on.
    pub fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")
            .with_context(|| format!("{}: reset its peak of memory", self.name))
    }

    /// BPF programs and maps that it holds.
    pub fn bpf(&self) -> fdinfo::Held {
        fdinfo::held(self.pid())
    }

    /// Waits until it has been at rest for this long, at most [`BACKLOG`].
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

    /// Sends SIGINT, waits for the end, and returns the output.
    pub fn end(mut self) -> Result<String> {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGINT)
            .with_context(|| format!("{}: end it", self.name))?;
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

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It may have a setting to restore.
        let begin = Instant::now();
        while begin.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        // Not waited for yet, so the process ID is still ours.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
