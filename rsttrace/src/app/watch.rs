//! `rsttrace watch`: traces until it is stopped.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::warn;

use super::history_writer::Storing;
use super::metrics_export::Monitoring;
use super::recorder::{RecordTo, Recorded};
use super::reload::{Reading, reload};
use super::service::Service;
use super::session::{Finished, Session, SessionOptions};
use super::{runtime, sleep_until};
use crate::background::Background;
use crate::cli::{
    Failure, Interrupt, Of, OutputFile, ReloadRequest, SummaryRequest, WatchOptions, say,
};
use crate::diagnostics::{self, Stderr};
use crate::host::facts::kernel_release;
use crate::kernel::{InterfaceOptions, Scope, privileges};
use crate::record::Output;
use crate::self_stats::Vitals;
use crate::sink::{Machine, Reporter};
use crate::store;
use crate::text::size;
use crate::words::count;

/// How long the start waits for classifiers on interfaces that are there; resets are traced meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Interval of the status line on a terminal.
const STATUS: Duration = Duration::from_secs(1);

/// In the summary.
const DROPPED: &str = "lines of output dropped because the reader was too slow";

/// Traces until the duration or the count is reached, a signal arrives, or the reader of the output has gone.
pub fn watch(options: WatchOptions) -> Result<(), Failure> {
    privileges::keep_for_start();
    runtime()?.block_on(run(options))
}

async fn run(options: WatchOptions) -> Result<(), Failure> {
    diagnostics::start(options.show.shows_status())?;
    let stdout = Background::start("rsttrace-stdout", &io::stdout())?;
    // Before the hooks: a signal during the start must take them off, too.
    let mut interrupt = Interrupt::new()?;
    let mut summary_request = SummaryRequest::new()?;
    let service = Service::from_environment();
    // Without a service manager the terminal is gone.
    let mut reload_request = match service.is_managed() {
        true => interrupt.reload_on_hangup(),
        false => ReloadRequest::default(),
    };
    let monitoring = Monitoring::start(&options.metrics).await?;
    // Before rights are given up: the file may be where only root may write.
    let others = others(&options)?;
    let reporter = options.show.reporter(&Of {
        machine: Machine {
            kernel: kernel_release(),
        },
        live: Some(&stdout),
        others: &others,
    })?;
    let storing = Storing::start(options.store.as_ref())?;
    let trace = &options.trace;
    let mut session = Session::start(SessionOptions {
        tracer: trace.tracer.clone(),
        buffer_bytes: trace.buffer,
        interfaces: InterfaceOptions {
            scope: scope(&options.show.filter.only.netns),
            names: trace.interfaces.clone(),
            loopback: trace.loopback,
            patience: PATIENCE,
            ..InterfaceOptions::default()
        },
        hops: trace.hops.clone(),
        detail_interval: trace.detail_interval(),
        record: options.record.clone().map(RecordTo::File),
    })?;
    privileges::keep_for_tracing(options.metrics.file.is_some());
    say(format_args!("{}; press Ctrl-C to stop", session.describe()));
    if !trace.hops.is_empty() {
        let names: Vec<&str> = trace.hops.iter().map(|hop| hop.name.as_str()).collect();
        say(format_args!("configured hops: {}", names.join(", ")));
    }
    for place in monitoring.describe() {
        say(format_args!("{place}"));
    }
    if let Some(place) = storing.describe() {
        say(format_args!("{place}"));
    }
    let mut outlets = Outlets {
        reporter,
        monitoring,
        storing,
        stdout,
        dropped: 0,
        service,
    };
    let signals = (&mut interrupt, &mut summary_request, &mut reload_request);
    let followed = follow(&options, &mut session, &mut outlets, signals).await;
    outlets.service.stopping();
    let stopped = session.stop();
    // No hook is left, and a disk or a reader may keep the rest waiting.
    if let Err(error) = interrupt.release().await {
        warn!("a second Ctrl-C does not end rsttrace at once: {error}; use SIGKILL if it hangs");
    }
    let Finished {
        outputs,
        mut totals,
        recorded,
    } = stopped.finish();
    let ended = match followed {
        // What is left counts, but not beyond --count.
        Ok(()) => outlets.show(outputs).map(drop),
        Err(failure) => {
            outputs.into_iter().for_each(|output| outlets.note(output));
            Err(failure)
        }
    };
    // Also after an error: the journal may have a queue.
    let drained = outlets.reporter.end();
    let ended = ended.map(|()| drained);
    let written = outlets.stdout.finish();
    let Outlets {
        reporter,
        mut monitoring,
        storing,
        ..
    } = outlets;
    storing.finish(&mut totals);
    let dropped = written.as_ref().map_or(0, |dropped| *dropped);
    totals.shortfalls.push((DROPPED.to_owned(), dropped));
    if let Some(vitals) = &mut totals.vitals {
        vitals.lines_dropped = Some(dropped);
        // Also if the reader of the output has gone.
        monitoring.rewrite(vitals);
    }
    let shown = ended.and_then(|shown| {
        let finished = reporter.finish(totals);
        Ok(shown.and(written).and(finished)?)
    });
    // Whether or not anybody reads the records any more.
    let missed = match (recorded, &options.record) {
        (Some(recorded), Some(to)) => report(&recorded, to),
        _ => Ok(()),
    };
    match shown {
        // A reader that has gone is no failure; missing events are one.
        Err(failure) if failure.is_closed_pipe() => missed.and(Err(failure)),
        Err(failure) => {
            if let Err(missed) = missed {
                crate::cli::report(&missed);
            }
            Err(failure)
        }
        Ok(()) => missed,
    }
}

/// Reports the result of a recording. Fails if events are missing in it.
fn report(recorded: &Recorded, to: &OutputFile) -> Result<(), Failure> {
    let Recorded {
        written, missed, ..
    } = recorded;
    say(format_args!(
        "{} events, {}, recorded to {}",
        count(written.events),
        size(written.bytes),
        to.path.display()
    ));
    match missed {
        0 => Ok(()),
        missed => Err(anyhow::anyhow!(
            "{} events are missing from the recording; free disk space, or record to another disk",
            count(*missed)
        )
        .into()),
    }
}

/// The files to write. Fails if one is used twice.
fn others(options: &WatchOptions) -> Result<Vec<PathBuf>, Failure> {
    let mut others: Vec<PathBuf> = options.metrics.file.iter().cloned().collect();
    if let Some(store) = &options.store {
        others.extend(store::files(&store.file));
    }
    if let Some(record) = &options.record {
        record.check()?;
        record.check_apart(others.iter().map(PathBuf::as_path))?;
        others.push(record.path.clone());
    }
    Ok(others)
}

/// Shows what comes until it is enough.
async fn follow(
    options: &WatchOptions,
    session: &mut Session,
    outlets: &mut Outlets,
    (interrupt, summary_request, reload_request): (
        &mut Interrupt,
        &mut SummaryRequest,
        &mut ReloadRequest,
    ),
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut running = options.clone();
    let mut reading = Reading::default();
    let end = options
        .duration
        .map(|duration| tokio::time::Instant::now() + duration);
    let mut next_status = options.show.shows_status().then(Instant::now);
    let mut interrupted = std::pin::pin!(interrupt.wait());
    loop {
        outlets.service.tick(Instant::now(), || {
            outlets.reporter.headline(begun.elapsed())
        });
        let deadlines = [
            outlets.reporter.deadline(),
            outlets.service.deadline(),
            next_status,
        ];
        let tick = deadlines.into_iter().flatten().min();
        let tick = tick.map(tokio::time::Instant::from_std);
        let mut wanted = None;
        let (mut is_asked, mut read) = (false, None);
        let enough = tokio::select! {
            outputs = session.next() => outlets.show(outputs?)?,
            it = outlets.monitoring.wanted() => {
                wanted = Some(it);
                ControlFlow::Continue(())
            }
            () = sleep_until(tick) => ControlFlow::Continue(()),
            () = summary_request.wait() => {
                is_asked = true;
                ControlFlow::Continue(())
            }
            () = reload_request.wait(), if !reading.is_running() => {
                reading.start();
                ControlFlow::Continue(())
            }
            it = reading.done() => {
                read = Some(it);
                ControlFlow::Continue(())
            }
            () = sleep_until(end) => ControlFlow::Break(()),
            () = &mut interrupted => ControlFlow::Break(()),
            // Flushing says why.
            () = outlets.stdout.failed() => ControlFlow::Continue(()),
        };
        if let Some(wanted) = wanted {
            let vitals = Vitals {
                store: outlets.storing.vitals(),
                lines_dropped: Some(outlets.stdout.dropped()),
                ..session.vitals()
            };
            outlets.monitoring.give(wanted, &vitals);
        }
        outlets.reporter.tick(Instant::now())?;
        if next_status.is_some_and(|next| next <= Instant::now()) {
            let lost = session.vitals().events.iter().map(|it| it.lost).sum();
            outlets.reporter.status(begun.elapsed(), lost)?;
            next_status = Some(Instant::now() + STATUS);
        }
        outlets.reporter.flush()?;
        outlets.look_for_drops();
        if let Some(read) = read {
            outlets.service.reloading(Instant::now());
            reload(
                read,
                &mut running,
                session,
                &mut outlets.reporter,
                &outlets.storing,
            );
        }
        if is_asked {
            let summary = outlets.reporter.so_far(session.so_far());
            // A closed standard error is no failure.
            let _ = Stderr.write_all(summary.as_bytes());
        }
        if enough.is_break() {
            return Ok(());
        }
    }
}

/// The destinations of records.
struct Outlets {
    reporter: Reporter,
    monitoring: Monitoring,
    storing: Storing,
    stdout: Background,
    /// Lines of output that were dropped, as far as it was said.
    dropped: u64,
    service: Service,
}

impl Outlets {
    /// Shows what is wanted until it is enough; what is not shown was judged all the same.
    fn show(
        &mut self,
        outputs: impl IntoIterator<Item = Output>,
    ) -> Result<ControlFlow<()>, Failure> {
        let now = Instant::now();
        let mut shown = Ok(ControlFlow::Continue(()));
        for output in outputs {
            if matches!(shown, Ok(ControlFlow::Continue(()))) {
                shown = self.reporter.output(now, &output);
            }
            self.note(output);
        }
        Ok(shown?)
    }

    /// Warns when lines were dropped for the first time.
    fn look_for_drops(&mut self) {
        let before = std::mem::replace(&mut self.dropped, self.stdout.dropped());
        if before == 0 && self.dropped > 0 {
            warn!(
                "the reader of the output is too slow; lines are dropped and counted, tracing continues"
            );
        }
    }

    /// Counts and keeps one.
    fn note(&mut self, output: Output) {
        self.monitoring.note(&output);
        self.storing.offer(output);
    }
}

fn scope(inodes: &[u32]) -> Scope {
    if inodes.is_empty() {
        Scope::All
    } else {
        Scope::Only(inodes.to_vec())
    }
}
