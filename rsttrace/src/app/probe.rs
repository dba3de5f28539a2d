//! `rsttrace probe`: opens the connections that the plan asks for and follows them until enough is known.

mod connection;
mod progress;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::connection::{Change, Plan, Words, follow};
use self::progress::Progress;
use super::runtime;
use crate::cli::{Failure, Interrupt, OutputFormat, ProbeOptions};
use crate::host::clock::hostname;
use crate::probe::plan::{Planned, confirming_round, first_round, second_round};
use crate::probe::{Bounds, Heading, Next, Report, Results, State, Target, Trial, next, render};
use crate::record::Endpoint;
use crate::terminal::stdout_width;

/// Probes, and prints what came of it.
pub fn probe(options: &ProbeOptions) -> Result<(), Failure> {
    let runtime = runtime()?;
    let report = runtime.block_on(run(options));
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    print(&report?, options.output)
}

fn print(report: &Report, format: OutputFormat) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match format {
        OutputFormat::Table => out.write_all(render(report, stdout_width()).as_bytes())?,
        OutputFormat::Json => {
            serde_json::to_writer(&mut out, report).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(())
}

async fn run(options: &ProbeOptions) -> Result<Report, Failure> {
    let mut interrupt = Interrupt::new()?;
    let time = jiff::Timestamp::now();
    let first = tokio::select! {
        first = reach(&options.target) => first?,
        () = interrupt.wait() => return Err(Failure::Failed(anyhow!(
            "interrupted before the first connection was established; run the probe again"
        ))),
    };
    let address = first.1;
    let mut probe = Probe::new(address, Words::from(options.send.clone()));
    let plan = first_round(
        options.min,
        options.max,
        options.connections,
        options.speech(),
    );
    probe.begin(plan, Some(first.0));
    let interrupted = probe.watch(options, &mut interrupt).await;
    let took = probe.start.elapsed();
    let heading = Heading {
        time: time.to_string(),
        host: hostname(),
        target: options.target.clone(),
        address: Endpoint {
            address: address.ip().to_canonical(),
            port: address.port(),
        },
        speech: options.speech(),
        silences: Bounds {
            min: options.min.as_secs_f64(),
            max: options.max.as_secs_f64(),
        },
    };
    Ok(Report::new(
        heading,
        Results {
            took,
            interrupted,
            to_server: probe.trials,
            to_client: None,
            remarks: Vec::new(),
        },
    ))
}

/// All connections of a probe.
struct Probe {
    address: SocketAddr,
    words: Words,
    start: Instant,
    trials: Vec<Trial>,
    /// Ends all connections when dropped.
    tasks: JoinSet<()>,
    changes: mpsc::UnboundedReceiver<(usize, Change)>,
    reporter: mpsc::UnboundedSender<(usize, Change)>,
}

impl Probe {
    fn new(address: SocketAddr, words: Words) -> Self {
        let (reporter, changes) = mpsc::unbounded_channel();
        Self {
            address,
            words,
            start: Instant::now(),
            trials: Vec::new(),
            tasks: JoinSet::new(),
            changes,
            reporter,
        }
    }

    /// Opens a round of connections from now on; the first of them may be open already.
    fn begin(&mut self, round: Vec<Planned>, mut open: Option<TcpStream>) {
        let begin = Instant::now();
        for planned in round {
            let index = self.trials.len();
            let plan = Plan {
                address: self.address,
                start: self.start,
                open_at: begin + planned.delay,
                silence: planned.trial.silence,
                words: self.words.clone(),
            };
            self.trials.push(planned.trial);
            let reporter = self.reporter.clone();
            let tell = move |change| {
                // Nobody listens any more once enough is known.
                let _ = reporter.send((index, change));
            };
            self.tasks.spawn(follow(plan, open.take(), tell));
        }
    }

    /// Until enough is known; whether the user ended it before.
    async fn watch(&mut self, options: &ProbeOptions, interrupt: &mut Interrupt) -> bool {
        let progress = Progress::new(options.max);
        let mut tick = interval(Duration::from_millis(50));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interrupted = std::pin::pin!(interrupt.wait());
        loop {
            tokio::select! {
                Some((index, change)) = self.changes.recv() => self.apply(index, change),
                _ = tick.tick() => progress.show(&self.trials, self.start.elapsed()),
                () = &mut interrupted => break true,
            }
            // Whatever came at once is judged at once.
            while let Ok((index, change)) = self.changes.try_recv() {
                self.apply(index, change);
            }
            match next(&self.trials, self.start.elapsed()) {
                Next::Wait => {}
                Next::Refine { survived, lost } => {
                    self.begin(second_round(survived, lost, options.connections), None);
                }
                Next::Confirm { timeout } => {
                    self.begin(confirming_round(timeout, options.connections), None);
                }
                Next::Enough => break false,
            }
        }
    }

    fn apply(&mut self, index: usize, change: Change) {
        let Some(trial) = self.trials.get_mut(index) else {
            return;
        };
        match change {
            Change::Opened(at) => {
                trial.opened = Some(at);
                trial.state = State::Silent { since: at };
            }
            Change::State(state) => trial.state = state,
        }
    }
}

/// Finds an address that accepts connections; the connection is the first of the probe.
async fn reach(target: &Target) -> Result<(TcpStream, SocketAddr), Failure> {
    let Target { host, port } = target;
    let found = tokio::net::lookup_host((host.as_str(), *port)).await;
    let addresses: Vec<_> = match found {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            return Err(Failure::Failed(anyhow!(
                "cannot resolve {host}: {error}; check the name, or use an IP address"
            )));
        }
    };
    let mut last = None;
    for &address in &addresses {
        match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = Some((address, error)),
            Err(_) => last = Some((address, io::ErrorKind::TimedOut.into())),
        }
    }
    let Some((address, error)) = last else {
        return Err(Failure::Failed(anyhow!(
            "{host} has no IP address; check the name, or use an IP address"
        )));
    };
    let place = if addresses.len() > 1 {
        format!(
            "{host}:{port} (none of {} addresses, last {address})",
            addresses.len()
        )
    } else {
        address.to_string()
    };
    Err(Failure::Failed(match error.kind() {
        io::ErrorKind::ConnectionRefused => anyhow!(
            "{place} refused the connection; check the port, and check for a listener with `ss -ltn` on the server"
        ),
        io::ErrorKind::TimedOut => anyhow!(
            "{place} did not answer within {} s; check the address, the route and firewall rules",
            CONNECT_LIMIT.as_secs()
        ),
        io::ErrorKind::ConnectionReset => anyhow!(
            "{place} reset the connection during the handshake; check the server for overload (accept queue)"
        ),
        _ => anyhow!(
            "cannot reach {place}: {error}; check the route with `ip route get {}`",
            address.ip()
        ),
    }))
}

/// For the handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
