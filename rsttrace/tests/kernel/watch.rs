//! The real binary, and its output until it ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::SystemTime;

use aya::programs::{SchedClassifier, TcAttachType};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{eventually, run};

/// The command with these arguments: the one that was built with the tests, or another build of it that is tested instead.
pub fn rsttrace(arguments: &[&str]) -> Command {
    let other = std::env::var_os("RSTTRACE_PROGRAM");
    let program = other.unwrap_or_else(|| env!("CARGO_BIN_EXE_rsttrace").into());
    let mut command = Command::new(program);
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// `rsttrace watch -o json` at work. Ended when dropped.
pub struct Watch {
    child: Child,
    out: Arc<Mutex<Vec<Line>>>,
    out_reader: Option<JoinHandle<()>>,
    err_reader: Option<JoinHandle<()>>,
    said: Arc<Mutex<String>>,
}

#[derive(Clone)]
pub struct Line {
    /// When it could be read.
    pub arrived: SystemTime,
    pub text: String,
}

impl Line {
    pub fn record(&self) -> Value {
        let parsed = serde_json::from_str(&self.text);
        parsed.unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text))
    }
}

/// What it left when it ended.
pub struct Ended {
    /// Exit code; absent when a signal ended it.
    pub code: Option<i32>,
    pub lines: Vec<Line>,
    /// Standard error: diagnostics and the summary.
    pub stderr: String,
}

impl Ended {
    /// Standard output as JSON: records, and sums of those that were not described.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        self.lines.iter().map(Line::record)
    }

    pub fn records(&self) -> Vec<Value> {
        self.values()
            .filter(|record| record["schema"] == "rsttrace.reset.v1")
            .collect()
    }

    /// A line of the summary like `kernel, sent: 3 = 2 detailed + 1 suppressed + 0 lost`.
    pub fn total(&self, name: &str) -> KernelTotal {
        let begin = format!("kernel, {name}: ");
        let line = self
            .stderr
            .lines()
            .find_map(|line| line.strip_prefix(&begin));
        let line = line.unwrap_or_else(|| panic!("no total of {name}: {}", self.stderr));
        let numbers: Vec<u64> = line
            .split(' ')
            .filter_map(|word| word.replace(',', "").parse().ok())
            .collect();
        let [seen, detailed, suppressed, lost, ..] = numbers[..] else {
            panic!("not understood: {line}");
        };
        KernelTotal {
            seen,
            detailed,
            suppressed,
            lost,
        }
    }
}

/// What became of the events of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTotal {
    pub seen: u64,
    pub detailed: u64,
    /// Counted only, because of a flood.
    pub suppressed: u64,
    /// Counted only: the buffer was full.
    pub lost: u64,
}

impl Watch {
    /// Starts it in the calling thread's namespace and waits until its hooks are on.
    pub fn start(arguments: &[&str]) -> Self {
        let watch = Self::start_unready(arguments);
        watch.await_classifiers("lo");
        watch
    }

    /// The same, of what happens in the calling thread's namespace alone, whatever else happens on this host.
    pub fn own_namespace(arguments: &[&str]) -> Self {
        let inode = super::netns_inode().to_string();
        Self::start(&[&["--netns", &inode], arguments].concat())
    }

    pub fn start_unready(arguments: &[&str]) -> Self {
        Self::spawn(&mut rsttrace(
            &[&["watch", "-v", "-o", "json"], arguments].concat(),
        ))
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out: Arc<Mutex<Vec<Line>>> = Arc::default();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let into = Arc::clone(&out);
        let out_reader = std::thread::spawn(move || {
            for text in stdout.lines().map_while(Result::ok) {
                let arrived = SystemTime::now();
                into.lock().unwrap().push(Line { arrived, text });
            }
        });
        let said: Arc<Mutex<String>> = Arc::default();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let into = Arc::clone(&said);
        let err_reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *into.lock().unwrap() += &(line + "\n");
            }
        });
        Self {
            child,
            out,
            said,
            out_reader: Some(out_reader),
            err_reader: Some(err_reader),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its classifiers are on an interface of the calling thread's namespace. Tracepoints come before.
    pub fn await_classifiers(&self, interface: &str) {
        eventually(&format!("classifiers on {interface}"), || {
            self.has_classifiers(interface).then_some(())
        });
    }

    fn has_classifiers(&self, interface: &str) -> bool {
        let own = self.held("prog_id");
        let by_link = [TcAttachType::Ingress, TcAttachType::Egress]
            .into_iter()
            .all(|direction| {
                let attached = SchedClassifier::query_tcx(interface, direction);
                attached.is_ok_and(|(_, programs)| programs.iter().any(|p| own.contains(&p.id())))
            });
        by_link || self.filters(interface) == 2
    }

    /// How many clsact filters of its own are on an interface: their handle is its process id.
    pub fn filters(&self, interface: &str) -> usize {
        let handle = format!("handle {:#x} ", self.pid());
        let on = |direction| run("tc", &["filter", "show", "dev", interface, direction]);
        ["ingress", "egress"]
            .into_iter()
            .map(|direction| on(direction).matches(&handle).count())
            .sum()
    }

    /// Numbers of the BPF objects its descriptors hold: `prog_id`, `map_id` or `link_id`.
    pub fn held(&self, what: &str) -> BTreeSet<u32> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", self.pid()));
        descriptors
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
            .filter_map(|info| {
                let number = info.lines().find_map(|line| line.strip_prefix(what))?;
                number.trim_start_matches(':').trim().parse().ok()
            })
            .collect()
    }

    pub fn lines(&self) -> Vec<Line> {
        self.out.lock().unwrap().clone()
    }

    /// Whether it has said this on standard error.
    pub fn has_said(&self, words: &str) -> bool {
        self.said.lock().unwrap().contains(words)
    }

    /// The first record that fits, when it comes.
    pub fn await_record(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let lines = self.lines();
            lines.iter().map(Line::record).find(|record| fits(record))
        })
    }

    /// Waits until so many lines came.
    pub fn await_lines(&self, count: usize) {
        eventually(&format!("{count} lines"), || {
            (self.out.lock().unwrap().len() >= count).then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal).unwrap();
    }

    /// Sends a signal and waits for the end.
    pub fn end(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.await_end()
    }

    pub fn await_end(mut self) -> Ended {
        let status = eventually("the end", || self.child.try_wait().unwrap());
        self.out_reader.take().unwrap().join().unwrap();
        self.err_reader.take().unwrap().join().unwrap();
        Ended {
            code: status.code(),
            stderr: std::mem::take(&mut *self.said.lock().unwrap()),
            lines: std::mem::take(&mut *self.out.lock().unwrap()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Still ours: the number is not given away before it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
