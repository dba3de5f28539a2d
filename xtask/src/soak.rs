//! `cargo xtask soak`: memory and counts of the tracer during minutes of floods.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rsttrace_lab::Link;

use crate::{
    bench::{
        self, Programs,
        process::{Running, Speaks},
        totals::{self, Total},
        workload::{Act, Place, Workload},
    },
    command,
};

/// Run the tracer through minutes of floods, and check its memory and its counts
///
/// Fails if memory grows or is not released, or if resets are neither described, suppressed nor lost. Creates its own network
/// namespaces and removes them.
#[derive(clap::Args)]
pub struct Args {
    /// Run time in minutes; 1 checks that it works
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
}

/// What each phase adds to the steady traffic, per second (0: full rate). All phases run in turn, again and again.
const PHASES: [(&str, Option<(Act, u64)>); 7] = [
    ("steady traffic alone", None),
    ("linger-0 closes, 1 k/s", Some((Act::Reset, 1_000))),
    ("linger-0 closes, 10 k/s", Some((Act::Reset, 10_000))),
    ("linger-0 closes, full rate", Some((Act::Reset, 0))),
    ("SYN flood, one /24, 10 k/s", Some((Act::Flood, 10_000))),
    ("SYN flood, one /24, full rate", Some((Act::Flood, 0))),
    ("SYN flood, random sources", Some((Act::RandomFlood, 0))),
];
/// Every quarter of the time has each phase equally often, or quarters would not compare.
const QUARTERS: u32 = 4;
/// Maximum length of a phase, if there is time for several rounds.
const LONGEST: Duration = Duration::from_secs(15);
/// Requests per second, all the time.
const STEADY: u64 = 200;
/// Without any load, at the end.
const REST: Duration = Duration::from_secs(8);

const MB: f64 = 1e6;
/// By how much memory may grow from the second quarter to the last: a part of it, or MB.
const GROWTH: (f64, f64) = (0.1, 2.0);
/// MB that may be held at the end more than before the first flood.
const HELD: f64 = 6.0;

/// What the tracer used in one phase.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    seconds: f64,
    /// Seconds of CPU.
    cpu: f64,
    /// Peak of the resident memory.
    megabytes: f64,
}

struct Soak {
    totals: Vec<Total>,
    /// Resets counted by the kernel in the namespaces of the load.
    kernel: u64,
    /// Rounds of all phases, one after the other.
    phases: Vec<Usage>,
    /// MB resident before the first flood and after the last one.
    at_rest: [f64; 2],
}

pub fn run(args: &Args) -> Result<()> {
    if !command::is_root() {
        bail!("tracing needs root: run `sudo -E cargo xtask soak`");
    }
    let programs = Programs::build()?;
    let link = Link::new().context("make network namespaces")?;
    let mut watch = Command::new(&programs.rsttrace);
    watch.args(["watch", "-v", "-o", "json"]);
    let mut tracer = Running::start(&watch, Speaks::Err)?;
    tracer.await_line("tracing resets")?;
    let before = (bench::resets(&link)?, tracer.resident());
    let lasts = Duration::from_secs(60) * args.minutes;
    let phases = load(&programs, &link, &tracer, lasts)?;
    thread::sleep(REST);
    let at_rest = [before.1, tracer.resident()].map(|bytes| bytes as f64 / MB);
    let kernel = bench::resets(&link)? - before.0;
    let output = tracer.end()?;
    let soak = Soak {
        totals: totals::read(&output),
        kernel,
        phases,
        at_rest,
    };
    soak.print();
    let mut wrong = soak.wrong();
    if output.contains("does not add up") {
        wrong.push("the summary says that it does not add up".to_owned());
    }
    if !wrong.is_empty() {
        bail!("{}\n{output}", wrong.join("; "));
    }
    Ok(())
}

fn load(programs: &Programs, link: &Link, tracer: &Running, lasts: Duration) -> Result<Vec<Usage>> {
    let each = (PHASES.len() as u32) * QUARTERS;
    let rounds = lasts.as_secs_f64() / (LONGEST * each).as_secs_f64();
    let rounds = QUARTERS * rounds.ceil().max(1.0) as u32;
    let phase_lasts = lasts / (PHASES.len() as u32 * rounds);
    let workload = |act, rate| Workload {
        act,
        place: Place::Veth,
        rate,
    };
    let steady = workload(Act::Exchange, STEADY).command(programs, link, lasts);
    let mut steady = Running::start(&steady, Speaks::Out)?;
    let mut phases = Vec::new();
    for round in 0..rounds {
        eprintln!("round {}, {phase_lasts:?} per phase", round + 1);
        for (_, load) in PHASES {
            tracer.forget_peak()?;
            let (begin, cpu) = (Instant::now(), tracer.cpu());
            if let Some((act, rate)) = load {
                workload(act, rate).run(programs, link, phase_lasts)?;
            }
            thread::sleep(phase_lasts.saturating_sub(begin.elapsed()));
            phases.push(Usage {
                seconds: begin.elapsed().as_secs_f64(),
                cpu: (tracer.cpu() - cpu).as_secs_f64(),
                megabytes: tracer.peak() as f64 / MB,
            });
        }
    }
    steady.await_line("done")?;
    Ok(phases)
}

impl Soak {
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
        // Other processes of this machine may have sent some, too.
        let seen = totals::sent(&self.totals).seen;
        require(
            seen >= self.kernel,
            format!("{seen} resets seen, {} counted by the kernel", self.kernel),
        );
        let [second, last] = [1, 3].map(|quarter| self.peak_in(quarter));
        require(
            last <= second + (second * GROWTH.0).max(GROWTH.1),
            format!("memory grows: {second:.1} MB to {last:.1} MB"),
        );
        let [before, after] = self.at_rest;
        require(
            after <= before + HELD,
            format!(
                "memory is not released: {before:.1} MB before the load, {after:.1} MB after it"
            ),
        );
        wrong
    }

    fn peak_in(&self, quarter: usize) -> f64 {
        let each = self.phases.len() / QUARTERS as usize;
        let part = self.phases.iter().skip(quarter * each).take(each);
        part.map(|usage| usage.megabytes).fold(0.0, f64::max)
    }

    fn print(&self) {
        for (number, (name, _)) in PHASES.iter().enumerate() {
            let mut sum = Usage::default();
            for usage in self.phases.iter().skip(number).step_by(PHASES.len()) {
                sum.seconds += usage.seconds;
                sum.cpu += usage.cpu;
                sum.megabytes = sum.megabytes.max(usage.megabytes);
            }
            let (seconds, megabytes) = (sum.seconds, sum.megabytes);
            let cpu = 100.0 * sum.cpu / seconds.max(0.001);
            println!("{name:<32} {seconds:>5.0} s  CPU {cpu:>5.1} %  peak {megabytes:>5.1} MB");
        }
        let sent = totals::sent(&self.totals);
        println!(
            "{} resets counted by the kernel for the load; {} seen = {} detailed + {} suppressed + {} lost",
            self.kernel, sent.seen, sent.detailed, sent.suppressed, sent.lost
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(peak: impl Fn(usize) -> f64, at_end: f64, summary: &str) -> Vec<String> {
        let usage = |number| Usage {
            megabytes: peak(number),
            ..Usage::default()
        };
        let soak = Soak {
            totals: totals::read(summary),
            kernel: 50,
            phases: (0..28).map(usage).collect(),
            at_rest: [20.0, at_end],
        };
        soak.wrong()
    }

    #[test]
    fn growth_memory_not_released_and_missing_resets_are_wrong() {
        let good = "kernel, sent: 50 = 10 detailed + 40 suppressed + 0 lost\n";
        assert_eq!(wrong(|_| 20.0, 25.0, good), Vec::<String>::new());
        let grows = wrong(|at| 20.0 + at as f64 * 0.2, 25.0, good);
        assert!(grows.len() == 1 && grows[0].starts_with("memory grows"));
        let kept = wrong(|_| 20.0, 40.0, good);
        assert!(kept.len() == 1 && kept[0].starts_with("memory is not released"));
        let short = good.replace("40", "39");
        let short = wrong(|_| 1.0, 1.0, &short);
        assert!(short.len() == 1 && short[0].starts_with("sent: 50 seen, 49"));
        let missing = good.replace("50 = 10", "49 = 9");
        assert_eq!(wrong(|_| 1.0, 1.0, &missing).len(), 1);
    }
}
