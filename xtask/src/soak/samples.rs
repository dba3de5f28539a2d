//! What a process takes, second by second.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use procfs::process::Process;
use serde::Serialize;

use super::census::{self, Census};

/// A look at it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the first one.
    pub at: f64,
    /// Which phase of the load it was.
    pub phase: usize,
    /// Bytes resident.
    pub resident: u64,
    /// Seconds of CPU since its start.
    pub cpu: f64,
    /// Context switches since its start.
    pub switches: u64,
}

/// Looks each second until it is told to stop.
#[derive(Default)]
pub struct Sampler {
    /// The phase of the load, to be set by whoever makes it.
    pub phase: AtomicUsize,
    stop: AtomicBool,
    samples: Mutex<Vec<Sample>>,
    namespaces: Mutex<Census>,
}

/// Between looks.
const SECOND: Duration = Duration::from_secs(1);
/// Namespaces are looked for every so many looks: that is work, too.
const CENSUS: usize = 5;
/// How long a stop may take.
const STEP: Duration = Duration::from_millis(50);

impl Sampler {
    /// Looks; `Err` when the process is gone.
    pub fn run(&self, pid: u32) -> Result<()> {
        let begin = Instant::now();
        for number in 0_u32.. {
            let due = begin + SECOND * number;
            while Instant::now() < due {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                thread::sleep(STEP);
            }
            let phase = self.phase.load(Ordering::Relaxed);
            let sample = look(pid, phase, begin).context("the tracer is gone")?;
            let mut samples = lock(&self.samples);
            samples.push(sample);
            if samples.len().is_multiple_of(CENSUS) {
                drop(samples);
                lock(&self.namespaces).extend(census::take());
            }
        }
        Ok(())
    }

    /// No more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What was seen: the samples, and every namespace there was.
    pub fn into_seen(self) -> (Vec<Sample>, Census) {
        let samples = self.samples.into_inner();
        let namespaces = self.namespaces.into_inner();
        (
            samples.unwrap_or_else(PoisonError::into_inner),
            namespaces.unwrap_or_else(PoisonError::into_inner),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(pid: u32, phase: usize, begin: Instant) -> Result<Sample> {
    let process = Process::new(pid.cast_signed())?;
    let mut sample = Sample {
        at: begin.elapsed().as_secs_f64(),
        phase,
        resident: process.status()?.vmrss.context("no memory")? * 1024,
        cpu: 0.0,
        switches: 0,
    };
    for task in process.tasks()?.flatten() {
        let (Ok(times), Ok(status)) = (task.schedstat(), task.status()) else {
            continue;
        };
        sample.cpu += times.sum_exec_runtime as f64 / 1e9;
        sample.switches += status.voluntary_ctxt_switches.unwrap_or(0)
            + status.nonvoluntary_ctxt_switches.unwrap_or(0);
    }
    Ok(sample)
}
