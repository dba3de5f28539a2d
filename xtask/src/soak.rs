//! `cargo xtask soak`: memory and counts of the tracer during minutes of floods.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use procfs::process::Process;
use rsttrace_lab::Link;
use serde::Serialize;

use crate::{
    bench::{
        self, Programs,
        process::{End, Running, Speaks},
        told::{self, Total},
        workload::{Act, Place, Workload},
    },
    command, workspace,
};

/// Let the tracer run through floods for minutes; see whether it stays small, and whether it accounts for what the kernel counts
///
/// Creates its own network namespaces and removes them. Exit code 1 if a check fails.
#[derive(clap::Args)]
pub struct Args {
    /// Run time in minutes; 1 checks that it works
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Result file [default: target/soak/soak.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What each phase adds to the steady traffic, so many a second (0: as many as possible), one after the other, again and again.
const PHASES: [(&str, Option<(Act, u64)>); 7] = [
    ("steady traffic alone", None),
    ("linger-0 closes, 1 k/s", Some((Act::Reset, 1_000))),
    ("linger-0 closes, 10 k/s", Some((Act::Reset, 10_000))),
    ("linger-0 closes, full rate", Some((Act::Reset, 0))),
    ("SYN flood, one /24, 10 k/s", Some((Act::Flood, 10_000))),
    ("SYN flood, one /24, full rate", Some((Act::Flood, 0))),
    ("SYN flood, random sources", Some((Act::RandomFlood, 0))),
];
/// The number of the rest at the end.
const AT_REST: usize = PHASES.len();
/// Sampling is over.
const OVER: usize = PHASES.len() + 1;

/// Every quarter of the time has as many of each phase, or quarters would not compare.
const QUARTERS: u32 = 4;
/// A phase lasts no longer, if there is time for several rounds.
const LONGEST: Duration = Duration::from_secs(15);
/// Requests a second, all the time.
const STEADY: u64 = 200;
/// Without any load, at the end: what is held for no reason is given back by then.
const REST: Duration = Duration::from_secs(8);
/// Between looks at the tracer.
const SECOND: Duration = Duration::from_secs(1);

const MB: f64 = 1e6;
/// By how much memory may grow from the second quarter to the last: a part of it, or MB.
const GROWTH: (f64, f64) = (0.1, 2.0);
/// MB that may be held at the end more than before the first flood.
const HELD: f64 = 6.0;

/// A look at the tracer.
#[derive(Clone, Copy, Serialize)]
struct Sample {
    /// Seconds since the first one.
    at: f64,
    phase: usize,
    resident_mb: f64,
    /// Seconds of CPU since its start.
    cpu: f64,
}

/// What a soak showed.
#[derive(Serialize)]
struct Soak {
    totals: Vec<Total>,
    /// Resets that the kernel counted in the namespaces of the load.
    kernel: u64,
    /// Sent resets in the last metrics, whatever became of them.
    in_metrics: u64,
    samples: Vec<Sample>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !command::is_root() {
        bail!("tracing needs root: run `sudo -E cargo xtask soak`");
    }
    let programs = Programs::build()?;
    let folder = tempfile::tempdir().context("make a folder for the metrics")?;
    let metrics = folder.path().join("rsttrace.prom");
    let link = Link::new().context("make network namespaces")?;
    let mut watch = Command::new(&programs.rsttrace);
    watch.args(["watch", "-o", "json", "--metrics-file"]);
    watch.arg(&metrics).env_remove("RUST_LOG");
    let mut tracer = Running::start(&watch, Speaks::Err)?;
    tracer.await_line("tracing resets")?;
    let before = bench::resets(&link)?;
    let lasts = Duration::from_secs(60) * args.minutes;
    let samples = load(&programs, &link, tracer.pid(), lasts)?;
    let kernel = bench::resets(&link)? - before;
    let said = tracer.end(End::Signal(Signal::SIGINT))?;
    let text = fs::read_to_string(&metrics).context("read the metrics")?;
    let soak = Soak {
        totals: told::totals(&said),
        kernel,
        in_metrics: sum_of(&text, "rsttrace_events_total", r#"kind="sent""#),
        samples,
    };
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| workspace::target().join("soak/soak.json"));
    let folder = out.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let json = serde_json::to_string_pretty(&soak).context("write as JSON")?;
    fs::write(&out, json).with_context(|| format!("write {}", out.display()))?;
    soak.print();
    eprintln!("figures: {}", out.display());
    let mut wrong = soak.wrong();
    if said.contains("does not add up") {
        wrong.push("the summary says that it does not add up".to_owned());
    }
    if !wrong.is_empty() {
        bail!("the tracer did not last: {}\n{said}", wrong.join("; "));
    }
    Ok(())
}

/// Goes through all phases, and looks at the tracer meanwhile.
fn load(programs: &Programs, link: &Link, tracer: u32, lasts: Duration) -> Result<Vec<Sample>> {
    let each = (PHASES.len() as u32) * QUARTERS;
    let rounds = lasts.as_secs_f64() / (LONGEST * each).as_secs_f64();
    let rounds = rounds.ceil().max(1.0) as u32;
    let phase_lasts = lasts / (each * rounds);
    let workload = |act, rate| Workload {
        act,
        place: Place::Veth,
        rate,
    };
    let mut steady = workload(Act::Exchange, STEADY).command(programs, link, lasts);
    let phase = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let fail = |error| {
        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(error);
    };
    let has_failed = || {
        let failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some()
    };
    let samples = thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(tracer, &phase, &fail));
        scope.spawn(|| command::output(&mut steady).map_or_else(&fail, drop));
        for round in 0..QUARTERS * rounds {
            eprintln!("round {}, {phase_lasts:?} a phase", round + 1);
            for (number, (_, load)) in PHASES.iter().enumerate() {
                if has_failed() {
                    break;
                }
                phase.store(number, Ordering::Relaxed);
                let begin = Instant::now();
                if let Some((act, rate)) = *load
                    && let Err(error) = workload(act, rate).run(programs, link, phase_lasts)
                {
                    fail(error);
                }
                thread::sleep(phase_lasts.saturating_sub(begin.elapsed()));
            }
        }
        phase.store(AT_REST, Ordering::Relaxed);
        thread::sleep(REST);
        phase.store(OVER, Ordering::Relaxed);
        sampler.join().unwrap_or_default()
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(samples),
    }
}

/// Looks each second.
fn sample(pid: u32, phase: &AtomicUsize, fail: &impl Fn(anyhow::Error)) -> Vec<Sample> {
    let begin = Instant::now();
    let mut samples = Vec::new();
    loop {
        let phase = phase.load(Ordering::Relaxed);
        if phase == OVER {
            return samples;
        }
        match look(pid, phase, begin).context("the tracer is gone") {
            Ok(sample) => samples.push(sample),
            Err(error) => {
                fail(error);
                return samples;
            }
        }
        thread::sleep(SECOND);
    }
}

fn look(pid: u32, phase: usize, begin: Instant) -> Result<Sample> {
    let process = Process::new(pid.cast_signed())?;
    let tasks = process.tasks()?.flatten();
    let nanoseconds = tasks.filter_map(|task| Some(task.schedstat().ok()?.sum_exec_runtime));
    Ok(Sample {
        at: begin.elapsed().as_secs_f64(),
        phase,
        resident_mb: process.status()?.vmrss.context("no memory")? as f64 * 1024.0 / MB,
        cpu: nanoseconds.sum::<u64>() as f64 / 1e9,
    })
}

impl Soak {
    /// What is not as it should be.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut require = |good: bool, what: String| {
            if !good {
                wrong.push(what);
            }
        };
        for total in &self.totals {
            let (name, seen) = (&total.name, total.seen);
            let sum = total.detailed + total.suppressed + total.lost;
            require(
                seen == sum,
                format!("{name}: {seen} seen, {sum} accounted for"),
            );
        }
        // Others of this machine may have sent some, too.
        let seen = told::sent(&self.totals).seen;
        require(
            seen >= self.kernel,
            format!("{seen} resets seen, {} counted by the kernel", self.kernel),
        );
        require(
            self.in_metrics == seen,
            format!(
                "{} resets in the metrics, {seen} in the summary",
                self.in_metrics
            ),
        );
        let [second, last] = [1, 3].map(|quarter| self.most_in(quarter));
        require(
            last <= second + (second * GROWTH.0).max(GROWTH.1),
            format!("memory grows: {second:.1} MB to {last:.1} MB"),
        );
        let of = |phase| {
            self.samples
                .iter()
                .filter(move |sample| sample.phase == phase)
        };
        let quiet = of(0).next().map_or(0.0, |sample| sample.resident_mb);
        let at_end = of(AT_REST)
            .next_back()
            .map_or(f64::MAX, |sample| sample.resident_mb);
        require(
            at_end <= quiet + HELD,
            format!("memory is kept: {at_end:.1} MB after {quiet:.1} MB"),
        );
        wrong
    }

    /// Most memory in a quarter of the load: it goes up and down with the floods, so a median would tell which of them fell into a
    /// quarter.
    fn most_in(&self, quarter: usize) -> f64 {
        let loaded = self.samples.iter().filter(|it| it.phase < AT_REST);
        let each = loaded.clone().count() / QUARTERS as usize;
        let part = loaded.skip(quarter * each).take(each);
        part.map(|sample| sample.resident_mb).fold(0.0, f64::max)
    }

    fn print(&self) {
        let names = PHASES
            .iter()
            .map(|(name, _)| *name)
            .chain(["nothing, at the end"]);
        for (phase, name) in names.enumerate() {
            let pairs = self
                .samples
                .windows(2)
                .filter(|pair| pair[1].phase == phase);
            let (mut seconds, mut cpu, mut most) = (0.0, 0.0, 0.0_f64);
            for pair in pairs {
                seconds += pair[1].at - pair[0].at;
                cpu += pair[1].cpu - pair[0].cpu;
                most = most.max(pair[1].resident_mb);
            }
            let part = 100.0 * cpu / f64::max(seconds, 0.001);
            println!("{name:<32} {seconds:>5.0} s  CPU {part:>5.1} %  at most {most:>5.1} MB");
        }
        let sent = told::sent(&self.totals);
        println!(
            "the kernel counted {} resets of the load; seen {} = {} described + {} counted + {} lost",
            self.kernel, sent.seen, sent.detailed, sent.suppressed, sent.lost
        );
    }
}

/// The values of this metric with this label.
fn sum_of(text: &str, name: &str, label: &str) -> u64 {
    let of_it = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
    });
    of_it
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(resident_mb: impl Fn(usize) -> f64, summary: &str) -> Soak {
        let sample = |number: usize| Sample {
            at: number as f64,
            phase: if number == 40 { AT_REST } else { number % 2 },
            resident_mb: resident_mb(number),
            cpu: number as f64 / 10.0,
        };
        Soak {
            totals: told::totals(summary),
            kernel: 50,
            in_metrics: 50,
            samples: (0..41).map(sample).collect(),
        }
    }

    const GOOD: &str = "kernel, sent: 50 = 10 detailed + 40 suppressed + 0 lost\n";

    #[test]
    fn growth_what_is_kept_and_what_is_missing_are_wrong() {
        assert_eq!(soak(|_| 20.0, GOOD).wrong(), Vec::<String>::new());
        let wrong = |resident: &dyn Fn(usize) -> f64, summary| {
            let wrong = soak(resident, summary).wrong();
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            wrong[0].split(':').next().unwrap_or_default().to_owned()
        };
        assert_eq!(wrong(&|at| 20.0 + at as f64 * 0.149, GOOD), "memory grows");
        assert_eq!(
            wrong(&|at| if at == 40 { 40.0 } else { 20.0 }, GOOD),
            "memory is kept"
        );
        let short = "kernel, sent: 50 = 10 detailed + 39 suppressed + 0 lost\n";
        assert_eq!(wrong(&|_| 1.0, short), "sent");
        let missing = "kernel, sent: 49 = 9 detailed + 40 suppressed + 0 lost\n";
        assert_eq!(soak(|_| 1.0, missing).wrong().len(), 2);
    }

    #[test]
    fn metrics_are_summed_by_label() {
        let text = "# HELP x\na{kind=\"sent\",outcome=\"lost\"} 2\na{kind=\"sent\",outcome=\"detailed\"} 40\n\
                    a{kind=\"received\",outcome=\"lost\"} 1\nab{kind=\"sent\"} 9\n";
        assert_eq!(sum_of(text, "a", r#"kind="sent""#), 42);
    }
}
