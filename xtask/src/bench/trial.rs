//! One run of a workload under one tool: what the workload did, and what the tool took.

use std::{
    os::unix::process::CommandExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use procfs::{CurrentSI as _, KernelStats};
use serde::{Deserialize, Serialize};

use super::{
    Bench,
    lab::Lab,
    process::{Running, Speaks},
    stats::Spread,
    told::Told,
    tool::Tool,
    workload::Workload,
};

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The workload ran for so long.
    pub seconds: f64,
    /// Connections, or SYNs.
    pub done: u64,
    /// Resets sent by the workload's namespaces, as the kernel counts them.
    pub resets: u64,
    /// Seconds that all CPUs together were not idle.
    pub busy: f64,
    /// Seconds of CPU, user and system, that the tool's processes took, until they had nothing left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Seconds that the tool's BPF programs ran; only where that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf: Option<f64>,
    /// Times that they ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_runs: Option<u64>,
    /// Bytes resident at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<u64>,
    /// What the tool told at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
}

/// All trials of a workload under a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// The traffic.
    pub workload: Workload,
    /// Name of the tool; "none".
    pub tool: String,
    /// Whether the tool is rsttrace.
    pub ours: bool,
    /// Whether the tool prints a line for each reset.
    pub line_each: bool,
    /// In the order of the rounds.
    pub trials: Vec<Trial>,
    /// One more, while the kernel counted BPF run times, which costs something itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Trial>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_measured: Option<String>,
}

/// A tool that has been still for so long has started.
const AFTER_START: Duration = Duration::from_millis(200);

/// Name of the course without a tool.
pub const NONE: &str = "none";

impl Course {
    /// Of something of each trial.
    pub fn spread(&self, of: impl Fn(&Trial) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.trials.iter().map(of).collect::<Option<Vec<_>>>()?)
    }

    /// Speed of the workload: what was done a second; resets in a flood, whose sender does not wait for answers.
    pub fn speed(&self) -> Option<Spread> {
        self.spread(|trial| Some(trial.speed(&self.workload)))
    }

    /// Part of the free speed that the workload keeps, round by round.
    pub fn kept(&self, free: &Self) -> Option<Spread> {
        Spread::ratio(&self.speed()?.values, &free.speed()?.values)
    }

    /// BPF seconds a reset that was made, from the run that was counted.
    pub fn bpf_per_reset(&self) -> Option<f64> {
        let counted = self.counted.as_ref()?;
        per(counted.bpf?, counted.resets)
    }

    /// Seconds of CPU, processes and BPF programs, a reset that was made.
    pub fn cpu_per_reset(&self) -> Option<Spread> {
        let bpf = self.bpf_per_reset().unwrap_or(0.0);
        self.spread(|trial| Some(per(trial.cpu?, trial.resets)? + bpf))
    }

    /// The same, a reset that was explained or shown.
    pub fn cpu_per_shown(&self) -> Option<Spread> {
        let bpf = self.bpf_per_reset().unwrap_or(0.0);
        self.spread(|trial| {
            let shown = trial.told.as_ref()?.shown?;
            per(trial.cpu? + bpf * trial.resets as f64, shown)
        })
    }

    /// Seconds of CPU a reset that was made, whoever they are charged to: what the whole system was busier than without a tool.
    pub fn busy_per_reset(&self, free: &Self) -> Option<Spread> {
        let busy = |course: &Self| course.spread(|trial| per(trial.busy, trial.resets));
        let (with, without) = (busy(self)?, busy(free)?);
        Spread::of(with.values.iter().zip(&without.values).map(|(a, b)| a - b))
    }
}

impl Trial {
    /// See [`Course::speed`].
    fn speed(&self, workload: &Workload) -> f64 {
        use super::workload::Act;
        let number = match workload.act {
            Act::Connect | Act::Exchange | Act::Reset => self.done,
            Act::Flood | Act::RandomFlood => self.resets,
        };
        number as f64 / self.seconds
    }
}

/// `None` of none.
pub fn per(seconds: f64, number: u64) -> Option<f64> {
    (number > 0).then(|| seconds / number as f64)
}

/// All tools on one workload, in turns; then one more turn that the kernel counts.
pub fn courses(
    bench: &Bench,
    lab: &Lab,
    workload: Workload,
    tools: &[Tool],
) -> Result<Vec<Course>> {
    let name = |tool: Option<&Tool>| tool.map_or(NONE, |tool| tool.name).to_owned();
    let all: Vec<Option<&Tool>> = std::iter::once(None)
        .chain(tools.iter().map(Some))
        .collect();
    let mut courses: Vec<Course> = all
        .iter()
        .map(|tool| Course {
            workload,
            tool: name(*tool),
            ours: tool.is_some_and(Tool::is_ours),
            line_each: tool.is_some_and(|tool| tool.line_each),
            trials: Vec::new(),
            counted: None,
            not_measured: tool.and_then(Tool::missing),
        })
        .collect();
    // The same for all, so that the whole system is looked at for the same time.
    let still = tools
        .iter()
        .map(|tool| tool.patience)
        .max()
        .unwrap_or_default();
    let counting = bench.plan.quick.then(|| count_bpf(bench)).transpose()?;
    for round in 0..bench.plan.rounds {
        for (tool, course) in all.iter().zip(&mut courses) {
            if course.not_measured.is_some() {
                continue;
            }
            eprintln!(
                "  {}, {}, round {}",
                workload.name(),
                course.tool,
                round + 1
            );
            match trial(bench, lab, workload, *tool, still) {
                Ok(trial) => course.trials.push(trial),
                // A tool that does not run here leaves the others to be measured; without one it is our failure.
                Err(error) if tool.is_some_and(|tool| !tool.is_ours()) => {
                    eprintln!("  not measured: {error:#}");
                    course.trials.clear();
                    course.not_measured = Some(format!("{error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
    }
    drop(counting);
    for (tool, course) in all.iter().zip(&mut courses) {
        let Some(tool) = tool else { continue };
        if bench.plan.quick {
            // The only round was counted.
            course.counted = course.trials.first().cloned().filter(|_| tool.has_programs);
            continue;
        }
        if course.not_measured.is_none() && tool.has_programs {
            eprintln!("  {}, {}, BPF run time", workload.name(), course.tool);
            let _counting = count_bpf(bench)?;
            course.counted = Some(trial(bench, lab, workload, Some(tool), still)?);
        }
    }
    Ok(courses)
}

/// The kernel counts BPF run times as long as this lives.
pub fn count_bpf(bench: &Bench) -> Result<Running> {
    let mut command = std::process::Command::new(&bench.programs.load);
    command.args(["load", "count-bpf"]);
    // Neither bound to this process by a signal nor in reach of Ctrl-C: it has something to put back.
    command.process_group(0);
    let mut counting = Running::start_bare(command, Speaks::Out)?;
    counting.await_line("ready")?;
    Ok(counting)
}

fn trial(
    bench: &Bench,
    lab: &Lab,
    workload: Workload,
    tool: Option<&Tool>,
    still: Duration,
) -> Result<Trial> {
    let running = tool
        .map(|tool| tool.start(bench, lab, workload))
        .transpose()?;
    let before = running.as_ref().map(|running| {
        // What belongs to the start.
        running.settle(AFTER_START);
        (running.cpu(), running.bpf())
    });
    let resets = lab.resets()?;
    let (begin, idle) = (Instant::now(), idle()?);
    let ran = workload.run(&bench.programs, lab, bench.plan.lasts)?;
    if let Some(running) = &running {
        running.settle(still);
    } else {
        thread::sleep(still);
    }
    let busy = busy_since(begin, idle)?;
    let mut trial = Trial {
        seconds: ran.seconds,
        done: ran.done,
        resets: lab.resets()? - resets,
        busy,
        ..Trial::default()
    };
    if let (Some(tool), Some(running), Some((cpu, bpf))) = (tool, running, before) {
        let after = running.bpf();
        trial.cpu = Some(running.cpu().saturating_sub(cpu).as_secs_f64());
        trial.bpf = Some(after.run_time_since(&bpf) as f64 / 1e9);
        trial.bpf_runs = Some(after.runs_since(&bpf));
        trial.resident = Some(running.resident());
        trial.told = Some(tool.end(running)?);
    }
    Ok(trial)
}

/// Seconds that each CPU was idle since the start of the system. Kept from clock to clock, while busy times are often
/// guessed by ticks.
fn idle() -> Result<Vec<f64>> {
    let stats = KernelStats::current().context("read /proc/stat")?;
    let ticks = procfs::ticks_per_second() as f64;
    let idle = |cpu: &procfs::CpuTime| {
        let all = cpu.idle + cpu.iowait.unwrap_or(0) + cpu.steal.unwrap_or(0);
        all as f64 / ticks
    };
    Ok(stats.cpu_time.iter().map(idle).collect())
}

fn busy_since(begin: Instant, before: Vec<f64>) -> Result<f64> {
    let passed = begin.elapsed().as_secs_f64();
    let after = idle()?;
    let busy = after
        .iter()
        .zip(&before)
        .map(|(after, before)| passed - (after - before));
    Ok(busy.sum::<f64>().max(0.0))
}
