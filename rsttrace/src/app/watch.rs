//! `rsttrace watch`: traces until told to stop.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::monitoring::Monitoring;
use super::session::{Finished, Session, SessionOptions, Sight};
use super::{runtime, sleep_until};
use crate::cli::{Failure, Interrupt, WatchOptions};
use crate::kernel::{InterfaceOptions, Scope, Selector};
use crate::pipeline::Output;
use crate::sink::Reporter;

/// How long the start waits for classifiers on interfaces that are there; resets are traced meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Traces until the duration or the count is reached, a signal comes, or nobody reads any more.
pub fn watch(options: WatchOptions) -> Result<(), Failure> {
    runtime()?.block_on(run(options))
}

async fn run(options: WatchOptions) -> Result<(), Failure> {
    // Before the hooks: a signal during the start must take them off, too.
    let mut interrupt = Interrupt::new()?;
    let mut monitoring = Monitoring::start(&options.metrics).await?;
    // Before rights are given up: the file may be where only root may write.
    let mut reporter = options.reporter()?;
    let mut session = Session::start(SessionOptions {
        tracer: options.tracer.clone(),
        buffer_bytes: options.buffer,
        interfaces: InterfaceOptions {
            scope: scope(&options.filter.only.netns),
            names: options.interfaces.clone(),
            loopback: options.loopback,
            patience: PATIENCE,
            ..InterfaceOptions::default()
        },
        sight: Sight::Host,
        hops: options.hops.clone(),
        detail_interval: options.detail_interval(),
        record: false,
    })?;
    eprintln!("rsttrace: {}; Ctrl-C ends it", session.describe());
    if !options.hops.is_empty() {
        let names: Vec<&str> = options.hops.iter().map(|hop| hop.name.as_str()).collect();
        eprintln!("rsttrace: configured hops: {}", names.join(", "));
    }
    for place in monitoring.describe() {
        eprintln!("rsttrace: {place}");
    }
    let followed = follow(
        &options,
        &mut session,
        &mut reporter,
        &mut monitoring,
        &mut interrupt,
    )
    .await;
    let Finished {
        outputs, totals, ..
    } = session.finish();
    let ended = match followed {
        // What is left counts, but not beyond --count.
        Ok(()) => report(&mut reporter, &mut monitoring, outputs).map(drop),
        Err(failure) => {
            outputs.iter().for_each(|output| monitoring.note(output));
            Err(failure)
        }
    };
    // Also if nobody reads the records any more.
    if let Some(vitals) = &totals.vitals {
        monitoring.rewrite(vitals);
    }
    ended?;
    reporter.finish(totals)?;
    Ok(())
}

/// Shows what comes until it is enough.
async fn follow(
    options: &WatchOptions,
    session: &mut Session,
    reporter: &mut Reporter,
    monitoring: &mut Monitoring,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let end = options
        .duration
        .map(|duration| tokio::time::Instant::now() + duration);
    let mut interrupted = std::pin::pin!(interrupt.wait());
    loop {
        let tick = reporter.deadline().map(tokio::time::Instant::from_std);
        let mut wanted = None;
        let enough = tokio::select! {
            outputs = session.next() => report(reporter, monitoring, outputs?)?,
            it = monitoring.wanted() => {
                wanted = Some(it);
                ControlFlow::Continue(())
            }
            () = sleep_until(tick) => ControlFlow::Continue(()),
            () = sleep_until(end) => ControlFlow::Break(()),
            () = &mut interrupted => ControlFlow::Break(()),
        };
        if let Some(wanted) = wanted {
            monitoring.give(wanted, &session.vitals());
        }
        reporter.tick(Instant::now())?;
        reporter.flush()?;
        if enough.is_break() {
            return Ok(());
        }
    }
}

fn report(
    reporter: &mut Reporter,
    monitoring: &mut Monitoring,
    outputs: impl IntoIterator<Item = Output>,
) -> Result<ControlFlow<()>, Failure> {
    let now = Instant::now();
    let mut outputs = outputs.into_iter();
    let mut shown = Ok(ControlFlow::Continue(()));
    for output in &mut outputs {
        monitoring.note(&output);
        shown = match output {
            Output::Reset(record) => reporter.record(now, &record),
            Output::TimedOut(dead) => reporter
                .timed_out(now, &dead)
                .map(|()| ControlFlow::Continue(())),
            Output::Suppressed(sum) => reporter
                .suppressed(now, &sum)
                .map(|()| ControlFlow::Continue(())),
        };
        if !matches!(shown, Ok(ControlFlow::Continue(()))) {
            break;
        }
    }
    // What is not shown any more was judged all the same.
    outputs.for_each(|output| monitoring.note(&output));
    Ok(shown?)
}

fn scope(inodes: &[u32]) -> Scope {
    if inodes.is_empty() {
        Scope::All
    } else {
        Scope::Only(inodes.iter().map(|&inode| Selector::Inode(inode)).collect())
    }
}
