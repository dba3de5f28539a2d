//! Attaches each row of the table of hooks, and records the result.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::Array;
use aya::programs::{BtfTracePoint, FEntry, FExit, Iter, KProbe, SchedClassifier};
use aya::{TestRun, TestRunOptions};
use log::{debug, warn};

use super::clock;
use super::counters::{self, ProgramStats};
use super::hooks::{self, Attachment, Fact, HookState, Hooks, Row, TABLE, Way};
use super::interfaces::Programs;
use super::object::{KernelFacts, Object, chain};
use super::sys;
use super::tracer::Options;

/// The results of the table.
#[derive(Default)]
pub struct Attached {
    pub hooks: Hooks,
    /// Copies of the classifiers' descriptors; not attached yet.
    pub programs: Programs,
    /// Jiffies a second.
    pub hz: Option<u32>,
    /// Programs that have done their work and are out of the kernel again.
    pub finished: Vec<ProgramStats>,
}

fn is_off(fact: Fact, options: &Options) -> bool {
    match fact {
        Fact::Packets | Fact::TunnelPackets => options.interfaces.is_none(),
        Fact::OlderSockets => !options.seed,
        _ => false,
    }
}

/// Has the kernel verify what [`all`] will most likely attach: of each fact the first way that fits.
pub fn verify(object: &mut Object, kernel: &KernelFacts, options: &Options) {
    let rows = TABLE.iter().filter(|row| !is_off(row.fact, options));
    let ways: Vec<_> = rows
        .filter_map(|row| row.ways.iter().find(|way| kernel.fits(way).is_ok()))
        .collect();
    object.verify_ahead(&ways);
}

/// Tries every row in order.
pub fn all(object: &mut Object, kernel: &KernelFacts, options: &Options) -> Attached {
    let mut attached = Attached::default();
    for row in TABLE {
        let state = if is_off(row.fact, options) {
            HookState::Off
        } else {
            attached.row(object, kernel, row)
        };
        attached.hooks.note(row.fact, state);
    }
    attached
}

impl Attached {
    /// Tries the ways to a fact until one works.
    fn row(&mut self, object: &mut Object, kernel: &KernelFacts, row: &'static Row) -> HookState {
        let mut why = "not available".to_owned();
        for way in row.ways {
            match kernel
                .fits(way)
                .and_then(|()| self.attach(object, row.fact, way))
            {
                Ok(()) => return HookState::Active(way),
                Err(error) => {
                    debug!("{} by {}: {error}", row.fact.name(), way.name);
                    why = short(&error);
                }
            }
        }
        if row.extra {
            debug!("{}: {why}; {}", row.fact.name(), row.costs);
        } else {
            warn!("{}: {why}; {}", row.fact.name(), row.costs);
        }
        HookState::Refused {
            why,
            costs: row.costs,
        }
    }

    /// Attaches all the programs of a way, or none.
    fn attach(&mut self, object: &mut Object, fact: Fact, way: &Way) -> Result<(), String> {
        if let [ingress, egress] = way.programs
            && ingress.attachment == Attachment::Classifier
        {
            let pair = [
                classifier(object, ingress.name)?,
                classifier(object, egress.name)?,
            ];
            match fact {
                Fact::TunnelPackets => self.programs.l3 = Some(pair),
                _ => self.programs.l2 = Some(pair),
            }
            return Ok(());
        }
        for (index, program) in way.programs.iter().enumerate() {
            if let Err(error) = self.attach_one(object, program) {
                for attached in way.programs.iter().take(index) {
                    object.unload(attached.name);
                }
                return Err(format!("{}: {error}", program.name));
            }
        }
        Ok(())
    }

    fn attach_one(&mut self, object: &mut Object, program: &hooks::Program) -> Result<(), String> {
        let hooks::Program { name, attachment } = *program;
        // They would attach, and never fire.
        if !attachment.functions().is_empty() && !sys::functions_can_be_hooked() {
            return Err("kernel.ftrace_enabled is 0".to_owned());
        }
        match attachment {
            Attachment::Tracepoint(_) => {
                let program: &mut BtfTracePoint = object.program(name, attachment)?;
                program.attach().map_err(|error| chain(&error)).map(drop)
            }
            Attachment::Entry(_) => {
                let program: &mut FEntry = object.program(name, attachment)?;
                program.attach().map_err(|error| chain(&error)).map(drop)
            }
            Attachment::Exit(_) => {
                let program: &mut FExit = object.program(name, attachment)?;
                program.attach().map_err(|error| chain(&error)).map(drop)
            }
            Attachment::Probe(functions) => {
                let program: &mut KProbe = object.program(name, attachment)?;
                for function in functions {
                    if let Err(error) = program.attach(function, 0) {
                        let _ = program.unload();
                        return Err(chain(&error));
                    }
                }
                Ok(())
            }
            Attachment::Iterator(_) => {
                let program: &mut Iter = object.program(name, attachment)?;
                let result = run_iterator(program);
                self.note_finished(name, program.fd().ok().map(AsFd::as_fd));
                let _ = program.unload();
                result
            }
            Attachment::TestRun => {
                self.hz = rate(object, name)?;
                let program: &mut SchedClassifier = object.program(name, attachment)?;
                self.note_finished(name, program.fd().ok().map(AsFd::as_fd));
                let _ = program.unload();
                self.hz
                    .map(drop)
                    .ok_or_else(|| "measured tick matches no kernel HZ value".to_owned())
            }
            Attachment::Shared if self.hooks.has_program(name) => Ok(()),
            Attachment::Shared => Err(format!("{name} is not attached")),
            Attachment::Classifier => Err("the table names a wrong number of programs".to_owned()),
        }
    }

    /// The last statistics of a program before it is unloaded.
    fn note_finished(&mut self, name: &str, program: Option<BorrowedFd<'_>>) {
        let stats = program.and_then(|program| counters::program_stats(name, program));
        self.finished.extend(stats);
    }
}

/// A descriptor of a classifier, verified.
pub(super) fn classifier(object: &mut Object, name: &str) -> Result<OwnedFd, String> {
    let program: &mut SchedClassifier = object.program(name, Attachment::Classifier)?;
    let fd = program.fd().map_err(|error| chain(&error))?;
    fd.as_fd()
        .try_clone_to_owned()
        .map_err(|error| error.to_string())
}

/// Runs an iterator to its end.
fn run_iterator(program: &mut Iter) -> Result<(), String> {
    let link = program.attach().map_err(|error| chain(&error))?;
    let link = program.take_link(link).map_err(|error| chain(&error))?;
    let mut file = link.into_file().map_err(|error| chain(&error))?;
    std::io::copy(&mut file, &mut std::io::sink())
        .map(drop)
        .map_err(|error| format!("cannot read the iterator: {error}"))
}

fn rate(object: &mut Object, name: &str) -> Result<Option<u32>, String> {
    let first = sample(object, name)?;
    let rate = match clock::rate(first) {
        Some(rate) => Some(rate),
        None => {
            std::thread::sleep(clock::SECOND_SAMPLE_AFTER);
            clock::rate_between(first, sample(object, name)?)
        }
    };
    Ok(rate)
}

fn sample(object: &mut Object, name: &str) -> Result<clock::Sample, String> {
    let program: &mut SchedClassifier = object.program(name, Attachment::TestRun)?;
    // The kernel takes no frame shorter than an Ethernet header.
    let frame = [0u8; 64];
    let options = TestRunOptions {
        data_in: Some(&frame),
        ..TestRunOptions::new()
    };
    program.test_run(options).map_err(|error| chain(&error))?;
    let map = object
        .ebpf
        .map("CLOCK")
        .ok_or("the eBPF object has no map CLOCK")?;
    let map: Array<_, [u64; 2]> = map.try_into().map_err(|error| chain(&error))?;
    let [jiffies, monotonic_ns] = map.get(&0, 0).map_err(|error| chain(&error))?;
    Ok(clock::Sample {
        jiffies,
        monotonic_ns,
    })
}

/// A verifier's log can have thousands of lines; what it objects to is the last but for its statistics.
fn short(error: &str) -> String {
    const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
    let mut lines = error
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word)));
    let first = lines.next().unwrap_or_default();
    let first = first.split(". Verifier output:").next().unwrap_or(first);
    match lines.next_back() {
        Some(objection) => format!("{first}: {objection}"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_log_is_cut_to_what_it_objects_to() {
        assert_eq!(short("EPERM"), "EPERM");
        assert_eq!(
            short(
                "load failed. Verifier output: 0: r0\n0: r1\n1: r2\nR3 invalid mem access\nstack depth 8\nprocessed 3 insns"
            ),
            "load failed: R3 invalid mem access"
        );
    }
}
