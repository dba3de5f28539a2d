//! `rsttrace watch`: traces until told to stop.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

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
    let mut reporter = options.reporter();
    let end = options
        .duration
        .map(|duration| tokio::time::Instant::now() + duration);
    let mut interrupted = std::pin::pin!(interrupt.wait());
    loop {
        let tick = reporter.deadline().map(tokio::time::Instant::from_std);
        let enough = tokio::select! {
            outputs = session.next() => report(&mut reporter, outputs?)?,
            () = sleep_until(tick) => ControlFlow::Continue(()),
            () = sleep_until(end) => ControlFlow::Break(()),
            () = &mut interrupted => ControlFlow::Break(()),
        };
        reporter.tick(Instant::now())?;
        reporter.flush()?;
        if enough.is_break() {
            break;
        }
    }
    let Finished {
        outputs, totals, ..
    } = session.finish();
    // What is left counts, but not beyond --count.
    let _ = report(&mut reporter, outputs)?;
    reporter.finish(totals)?;
    Ok(())
}

fn report(
    reporter: &mut Reporter,
    outputs: impl IntoIterator<Item = Output>,
) -> Result<ControlFlow<()>, Failure> {
    let now = Instant::now();
    for output in outputs {
        match output {
            Output::Reset(record) => {
                if reporter.record(now, &record)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Output::TimedOut(dead) => reporter.timed_out(now, &dead)?,
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn scope(inodes: &[u32]) -> Scope {
    if inodes.is_empty() {
        Scope::All
    } else {
        Scope::Only(inodes.iter().map(|&inode| Selector::Inode(inode)).collect())
    }
}
