//! `rsttrace watch`: traces until told to stop.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::monitoring::Monitoring;
use super::recorder::RecordTo;
use super::session::{Finished, Session, SessionOptions};
use super::storing::Storing;
use super::{runtime, sleep_until};
use crate::cli::{Failure, Interrupt, WatchOptions};
use crate::host::facts::kernel_release;
use crate::judge::Sight;
use crate::kernel::{InterfaceOptions, Scope, Selector};
use crate::pipeline::Output;
use crate::sink::text::{bytes, count};
use crate::sink::{Machine, Reporter};
use crate::vitals::Vitals;

/// How long the start waits for classifiers on interfaces that are there; resets are traced meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Traces until the duration or the count is reached, a signal comes, or nobody reads any more.
pub fn watch(options: WatchOptions) -> Result<(), Failure> {
    runtime()?.block_on(run(options))
}

async fn run(options: WatchOptions) -> Result<(), Failure> {
    // Before the hooks: a signal during the start must take them off, too.
    let mut interrupt = Interrupt::new()?;
    let monitoring = Monitoring::start(&options.metrics).await?;
    // Before rights are given up: the file may be where only root may write.
    let reporter = options.show.reporter(Machine {
        kernel: kernel_release(),
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
        sight: Sight::Host,
        hops: trace.hops.clone(),
        detail_interval: trace.detail_interval(),
        record: options.record.clone().map(RecordTo::File),
    })?;
    eprintln!("rsttrace: {}; Ctrl-C ends it", session.describe());
    if !trace.hops.is_empty() {
        let names: Vec<&str> = trace.hops.iter().map(|hop| hop.name.as_str()).collect();
        eprintln!("rsttrace: configured hops: {}", names.join(", "));
    }
    for place in monitoring.describe() {
        eprintln!("rsttrace: {place}");
    }
    if let Some(place) = storing.describe() {
        eprintln!("rsttrace: {place}");
    }
    let mut outlets = Outlets {
        reporter,
        monitoring,
        storing,
    };
    let followed = follow(&options, &mut session, &mut outlets, &mut interrupt).await;
    let Finished {
        outputs,
        mut totals,
        recorded,
    } = session.finish();
    let ended = match followed {
        // What is left counts, but not beyond --count.
        Ok(()) => outlets.show(outputs).map(drop),
        Err(failure) => {
            outputs.into_iter().for_each(|output| outlets.note(output));
            Err(failure)
        }
    };
    let Outlets {
        reporter,
        mut monitoring,
        storing,
    } = outlets;
    storing.finish(&mut totals);
    // Also if nobody reads the records any more.
    if let Some(vitals) = &totals.vitals {
        monitoring.rewrite(vitals);
    }
    ended?;
    reporter.finish(totals)?;
    if let (Some(recorded), Some(to)) = (recorded, &options.record) {
        let written = recorded.written;
        eprintln!(
            "rsttrace: {} events, {}, recorded to {}",
            count(written.events),
            bytes(written.bytes),
            to.path.display()
        );
        if recorded.missed > 0 {
            return Err(anyhow::anyhow!(
                "{} events could not be recorded; make room, or name a file elsewhere",
                count(recorded.missed)
            )
            .into());
        }
    }
    Ok(())
}

/// Shows what comes until it is enough.
async fn follow(
    options: &WatchOptions,
    session: &mut Session,
    outlets: &mut Outlets,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let end = options
        .duration
        .map(|duration| tokio::time::Instant::now() + duration);
    let mut interrupted = std::pin::pin!(interrupt.wait());
    loop {
        let tick = outlets
            .reporter
            .deadline()
            .map(tokio::time::Instant::from_std);
        let mut wanted = None;
        let enough = tokio::select! {
            outputs = session.next() => outlets.show(outputs?)?,
            it = outlets.monitoring.wanted() => {
                wanted = Some(it);
                ControlFlow::Continue(())
            }
            () = sleep_until(tick) => ControlFlow::Continue(()),
            () = sleep_until(end) => ControlFlow::Break(()),
            () = &mut interrupted => ControlFlow::Break(()),
        };
        if let Some(wanted) = wanted {
            let vitals = Vitals {
                store: outlets.storing.vitals(),
                ..session.vitals()
            };
            outlets.monitoring.give(wanted, &vitals);
        }
        outlets.reporter.tick(Instant::now())?;
        outlets.reporter.flush()?;
        if enough.is_break() {
            return Ok(());
        }
    }
}

/// Who is told what was judged.
struct Outlets {
    reporter: Reporter,
    monitoring: Monitoring,
    storing: Storing,
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
        Scope::Only(inodes.iter().map(|&inode| Selector::Inode(inode)).collect())
    }
}
