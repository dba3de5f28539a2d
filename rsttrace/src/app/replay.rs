//! `rsttrace replay`: judges a recording again.

use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;

use anyhow::Context as _;
use log::{info, warn};

use super::own_sockets::OwnSockets;
use super::playback::Playback;
use crate::cli::{Failure, Of, ReplayOptions};
use crate::engine::{Engine, Input};
use crate::recording::{End, Reader, RecordingError};
use crate::self_stats::KernelTotal;
use crate::sink::{Machine, Reporter};
use crate::summary::Totals;
use crate::sys;
use crate::text::escape;
use crate::words::count;

/// Prints what a recording gives, as far as it can be read.
pub fn replay(options: &ReplayOptions) -> Result<(), Failure> {
    let (from, name) = open(options)?;
    let in_file = |error: RecordingError| Failure::from(anyhow::anyhow!("{name}: {error}"));
    let mut reader = Reader::new(from).map_err(in_file)?;
    let head = reader.head();
    info!(
        "{name}: recorded by rsttrace {} on Linux {}",
        escape(&head.program),
        escape(&head.kernel)
    );
    let mut premises = head.premises.clone();
    if let Some(hops) = &options.hops {
        premises.hops.clone_from(hops);
    }
    let mut clock = Playback::default();
    let mut engine = Engine::new(premises);
    let from = options.file.clone().unwrap_or_else(|| "/dev/stdin".into());
    let mut reporter = options.show.reporter(&Of {
        machine: Machine {
            kernel: Some(escape(&reader.head().kernel).into_owned()),
        },
        live: None,
        others: &[from],
    })?;
    let ended = follow(&mut reader, &mut engine, &mut reporter, &mut clock)?;
    let mut totals = totals(reader.end(), &clock, &engine);
    if let Ok(ControlFlow::Break(())) = ended {
        totals.is_cut_off = false;
        totals.is_enough = true;
    }
    reporter.finish(totals)?;
    match ended {
        Ok(_) => Ok(()),
        Err(error @ RecordingError::Cut { .. }) => {
            warn!("{name}: {error}; {}", not_judged(&engine));
            Ok(())
        }
        Err(error @ RecordingError::Damaged { .. }) => {
            let message = format!(
                "{name}: {error}; {}; copy the file again from its source",
                not_judged(&engine)
            );
            Err(Failure::Failed(anyhow::anyhow!(message)))
        }
        Err(error) => Err(in_file(error)),
    }
}

/// The bytes, and what to call them.
fn open(options: &ReplayOptions) -> Result<(Box<dyn Read>, String), Failure> {
    let Some(path) = &options.file else {
        return Ok((Box::new(io::stdin().lock()), "standard input".to_owned()));
    };
    let name = path.display().to_string();
    match sys::Input::open(path) {
        Ok(file) => Ok((Box::new(BufReader::new(file)), name)),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => Failure::Usage(format!(
                "{name}: no such file; create one with `rsttrace record {name}`"
            )),
            io::ErrorKind::PermissionDenied => Failure::NotPermitted(format!(
                "{name}: permission denied; run as the user who recorded it"
            )),
            io::ErrorKind::TimedOut => Failure::Usage(format!("{name}: {error}")),
            _ => Failure::Failed(anyhow::Error::new(error).context(name)),
        }),
    }
}

/// Shows what the inputs give; the inner result is how the recording ends, or that enough was shown before that.
fn follow(
    reader: &mut Reader<Box<dyn Read>>,
    engine: &mut Engine,
    reporter: &mut Reporter,
    clock: &mut Playback,
) -> Result<Result<ControlFlow<()>, RecordingError>, Failure> {
    let started = reader.head().premises.host.started;
    let mut own = OwnSockets::default();
    loop {
        match reader.input() {
            Ok(Some(input)) => {
                if let Input::Advance(now) | Input::FloodRests(now) | Input::Refused { now, .. } =
                    &input
                {
                    clock.reach(now.since(started));
                }
                engine.push(input);
            }
            Ok(None) => return Ok(Ok(ControlFlow::Continue(()))),
            Err(error) => return Ok(Err(error)),
        }
        clock.reach(engine.newest().since(started));
        let now = clock.now();
        while let Some(mut output) = engine.poll_output() {
            own.mark(&mut output);
            if let ControlFlow::Break(()) = reporter
                .output(now, &output)
                .context("cannot write the output")?
            {
                return Ok(Ok(ControlFlow::Break(())));
            }
        }
        if reporter.deadline().is_some_and(|due| due <= now) {
            reporter.tick(now).context("cannot write the output")?;
        }
    }
}

fn not_judged(engine: &Engine) -> String {
    match engine.open() {
        0 => "all complete resets are shown".to_owned(),
        1 => "1 incomplete reset is not shown".to_owned(),
        open => format!("{} incomplete resets are not shown", count(open as u64)),
    }
}

/// Limits that were reached while recording; names in a file of somebody else are not trusted.
fn totals(end: Option<&End>, clock: &Playback, engine: &Engine) -> Totals {
    let cut_off = End {
        duration: clock.elapsed(),
        ..End::default()
    };
    let End {
        duration,
        kernel,
        shortfalls,
    } = end.unwrap_or(&cut_off);
    let escaped = |name: &str| escape(name).into_owned();
    Totals {
        captures: None,
        duration: *duration,
        kernel: kernel
            .iter()
            .map(|total| KernelTotal {
                name: escaped(&total.name),
                ..*total
            })
            .collect(),
        shortfalls: shortfalls
            .iter()
            .map(|(name, number)| (escaped(name), *number))
            .collect(),
        is_cut_off: end.is_none(),
        is_enough: false,
        is_running: false,
        lessons: engine.learned_timeouts(),
        vitals: None,
    }
}
