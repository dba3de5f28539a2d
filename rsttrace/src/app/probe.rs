//! `rsttrace probe`: opens the connections of the plan and follows them until enough is known.

mod connection;
mod control;
mod lines;
mod listen;
mod progress;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::connection::{Change, Plan, Words, follow};
use self::control::{Fence, Search, Session, keep, search};
pub use self::listen::listen;
use self::progress::Progress;
use super::runtime;
use crate::cli::{Failure, Interrupt, OutputFormat, ProbeOptions};
use crate::host::clock::hostname;
use crate::probe::plan::{Planned, confirming_round, first_round, second_round};
use crate::probe::protocol::{Number, Order};
use crate::probe::{
    Bounds, Direction, End, Heading, Next, OtherEnd, Report, Results, Speech, State, Target, Trial,
    next, render,
};
use crate::record::Endpoint;
use crate::terminal::{self, stdout_width};

/// Probes, and prints the result.
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
        OutputFormat::Table => {
            terminal::text(&mut out).write_all(render(report, stdout_width()).as_bytes())?
        }
        OutputFormat::Json => {
            serde_json::to_writer(&mut out, report).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(())
}

async fn run(options: &ProbeOptions) -> Result<Report, Failure> {
    // The largest probe holds more connections than the usual soft limit allows.
    rsttrace_sys::raise_file_limit();
    let mut interrupt = Interrupt::new()?;
    let time = jiff::Timestamp::now();
    let first = tokio::select! {
        first = reach(&options.target) => first?,
        () = interrupt.wait() => return Err(Failure::Failed(anyhow!(
            "interrupted before the first connection was established; run the probe again"
        ))),
    };
    let address = first.1;
    let mut searching = JoinSet::new();
    if options.looks_for_responder() {
        searching.spawn(search(address));
    }
    let mut probe = Probe::new(address, Words::from(options.send.clone()));
    probe.start_round_one(options, Some(first.0));
    let mut remarks = Vec::new();
    let interrupted = loop {
        match probe.watch(options, &mut interrupt, &mut searching).await {
            Watched::Enough => break false,
            Watched::Interrupted => break true,
            Watched::Found(Search::Other) => {}
            Watched::Found(Search::Unusable(why)) => remarks.push(why.to_owned()),
            Watched::Found(Search::Found(session)) => {
                // Those without an order would be closed by the responder.
                probe = Probe::with_responder(address, session);
                probe.start_round_one(options, None);
            }
            Watched::Lost(why) => {
                let after = crate::probe::seconds(probe.start.elapsed());
                probe.disregard_last_moment();
                remarks.push(format!(
                    "the responder ended after {after} ({why}); start it again, with a longer --duration if that was over"
                ));
                break false;
            }
        }
    };
    probe.settle().await;
    let speech = match &probe.responder {
        Some(_) => Speech::Message,
        None => options.speech(),
    };
    let heading = Heading {
        time: time.to_string(),
        host: hostname(),
        target: options.target.clone(),
        address: Endpoint {
            address: address.ip().to_canonical(),
            port: address.port(),
        },
        speech,
        silences: Bounds {
            min: options.min.as_secs_f64(),
            max: options.max.as_secs_f64(),
        },
    };
    let results = Results {
        took: probe.start.elapsed(),
        interrupted,
        to_server: probe.to_server.trials,
        to_client: probe.to_client.map(|side| side.trials),
        remarks,
    };
    Ok(Report::new(heading, results))
}

/// Connections that test one direction.
#[derive(Default)]
struct Side {
    trials: Vec<Trial>,
    /// Whether enough is known.
    settled: bool,
}

/// The session with a responder.
struct Responder {
    session: u64,
    fences: mpsc::UnboundedSender<Fence>,
}

/// Why the probe stops watching.
enum Watched {
    Enough,
    Interrupted,
    /// What listens there is known.
    Found(Search),
    /// The session with the responder is over, and why.
    Lost(String),
}

type Told = (Direction, usize, Change);

/// All connections of a probe.
struct Probe {
    address: SocketAddr,
    words: Words,
    start: Instant,
    to_server: Side,
    /// Absent without a responder.
    to_client: Option<Side>,
    responder: Option<Responder>,
    /// Ends all connections when dropped.
    tasks: JoinSet<()>,
    /// The control connection of the session, if there is one.
    control: JoinSet<String>,
    changes: mpsc::UnboundedReceiver<Told>,
    reporter: mpsc::UnboundedSender<Told>,
}

impl Probe {
    fn new(address: SocketAddr, words: Words) -> Self {
        let (reporter, changes) = mpsc::unbounded_channel();
        Self {
            address,
            words,
            start: Instant::now(),
            to_server: Side::default(),
            to_client: None,
            responder: None,
            tasks: JoinSet::new(),
            control: JoinSet::new(),
            changes,
            reporter,
        }
    }

    fn with_responder(address: SocketAddr, session: Session) -> Self {
        let mut probe = Self::new(address, Words::Ping);
        let (fences, asked) = mpsc::unbounded_channel();
        probe.to_client = Some(Side::default());
        probe.responder = Some(Responder {
            session: session.id,
            fences,
        });
        let reporter = probe.reporter.clone();
        let tell = move |direction, number, change| {
            // The receiver is dropped once enough is known.
            let _ = reporter.send((direction, number, change));
        };
        probe.control.spawn(keep(session, probe.start, asked, tell));
        probe
    }

    /// The directions that are tested.
    fn directions(&self) -> impl Iterator<Item = Direction> + use<> {
        let to_client = self.to_client.as_ref().map(|_| Direction::ToClient);
        std::iter::once(Direction::ToServer).chain(to_client)
    }

    fn side(&mut self, direction: Direction) -> Option<&mut Side> {
        match direction {
            Direction::ToServer => Some(&mut self.to_server),
            Direction::ToClient => self.to_client.as_mut(),
        }
    }

    fn trials(&self) -> impl Iterator<Item = &Trial> + Clone {
        let to_client = self.to_client.iter().flat_map(|side| &side.trials);
        self.to_server.trials.iter().chain(to_client)
    }

    /// Opens the first round in each direction; one connection may be open already.
    fn start_round_one(&mut self, options: &ProbeOptions, mut open: Option<TcpStream>) {
        let speech = match &self.responder {
            Some(_) => Speech::Message,
            None => options.speech(),
        };
        for direction in self.directions() {
            let round = first_round(options.min, options.max, options.connections, speech);
            self.begin(direction, round, open.take());
        }
    }

    /// Opens a round of connections from now on; the first of them may be open already.
    fn begin(&mut self, direction: Direction, round: Vec<Planned>, mut open: Option<TcpStream>) {
        let begin = Instant::now();
        let session = self.responder.as_ref().map(|responder| responder.session);
        for planned in round {
            let silence = planned.trial.silence;
            let Some(side) = self.side(direction) else {
                return;
            };
            let index = side.trials.len();
            side.trials.push(planned.trial);
            let plan = Plan {
                address: self.address,
                start: self.start,
                open_at: begin + planned.delay,
                silence,
                words: self.words.clone(),
                order: session.map(|session| Order {
                    session,
                    // Both rounds are far smaller.
                    number: Number::try_from(index).unwrap_or(Number::MAX),
                    direction,
                    silence,
                }),
            };
            let reporter = self.reporter.clone();
            let tell = move |change| {
                // The receiver is dropped once enough is known.
                let _ = reporter.send((direction, index, change));
            };
            self.tasks.spawn(follow(plan, open.take(), tell));
        }
    }

    /// Until enough is known, or something else ends it.
    async fn watch(
        &mut self,
        options: &ProbeOptions,
        interrupt: &mut Interrupt,
        searching: &mut JoinSet<Search>,
    ) -> Watched {
        let progress = Progress::new(options.max);
        let mut tick = interval(Duration::from_millis(50));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interrupted = std::pin::pin!(interrupt.wait());
        loop {
            let event = tokio::select! {
                Some(told) = self.changes.recv() => {
                    self.apply(told);
                    None
                }
                _ = tick.tick() => {
                    progress.show(self.trials(), self.start.elapsed());
                    None
                }
                Some(Ok(found)) = searching.join_next() => Some(Watched::Found(found)),
                Some(Ok(why)) = self.control.join_next() => Some(Watched::Lost(why)),
                () = &mut interrupted => Some(Watched::Interrupted),
            };
            // Whatever came at once is judged at once.
            while let Ok(told) = self.changes.try_recv() {
                self.apply(told);
            }
            if let Some(event) = event {
                return event;
            }
            if self.decide(options) {
                return Watched::Enough;
            }
        }
    }

    /// Opens what is still needed; whether nothing is.
    fn decide(&mut self, options: &ProbeOptions) -> bool {
        let now = self.start.elapsed();
        for direction in self.directions() {
            let Some(side) = self.side(direction).filter(|side| !side.settled) else {
                continue;
            };
            let round = match next(&side.trials, now) {
                Next::Wait => continue,
                Next::Refine { survived, lost } => {
                    second_round(survived, lost, options.connections)
                }
                Next::Confirm { timeout } => confirming_round(timeout, options.connections),
                Next::Enough => {
                    side.settled = true;
                    continue;
                }
            };
            self.begin(direction, round, None);
        }
        let to_client = self.to_client.as_ref();
        self.to_server.settled && to_client.is_none_or(|side| side.settled)
    }

    fn apply(&mut self, (direction, index, change): Told) {
        let Some(side) = self.side(direction) else {
            return;
        };
        let settled = side.settled;
        let Some(trial) = side.trials.get_mut(index) else {
            return;
        };
        match change {
            Change::OtherEnd(saw) => trial.other_end = Some(saw),
            // The direction is decided, or the responder has told the end already.
            Change::Opened(_) | Change::State(_) if settled || trial.outcome().is_some() => {}
            Change::Opened(at) => {
                trial.opened = Some(at);
                trial.state = State::Silent { since: at };
            }
            Change::State(state) => trial.state = state,
        }
    }

    /// With a responder: waits for its last reports. What neither end saw, did not happen.
    async fn settle(&mut self) {
        let Some(responder) = &self.responder else {
            return;
        };
        let (fence, passed) = oneshot::channel();
        // Fails if the session is over.
        let asked = responder.fences.send(fence).is_ok();
        let passed = asked && matches!(timeout(CONNECT_LIMIT, passed).await, Ok(Ok(())));
        while let Ok(told) = self.changes.try_recv() {
            self.apply(told);
        }
        let to_server = self.to_server.trials.iter_mut().filter(|_| passed);
        let to_client = self.to_client.iter_mut().flat_map(|side| &mut side.trials);
        for trial in to_server.chain(to_client) {
            let is_over = |trial: &Trial| trial.opened.is_some() && trial.outcome().is_some();
            if is_over(trial) {
                trial.other_end.get_or_insert(OtherEnd::Open);
            }
        }
    }

    /// The end of the responder ended its connections, too.
    fn disregard_last_moment(&mut self) {
        let now = self.start.elapsed();
        let to_client = self.to_client.iter_mut().flat_map(|side| &mut side.trials);
        for trial in self.to_server.trials.iter_mut().chain(to_client) {
            let State::Over(outcome) = &mut trial.state else {
                continue;
            };
            let ended = match outcome.end {
                End::FinInSilence | End::RstInSilence | End::NotOpened(_) => true,
                End::Survived(_)
                | End::FinOnPacket
                | End::RstOnPacket
                | End::NoAnswer
                | End::Failed(_)
                | End::Unfinished => false,
            };
            if ended && outcome.at + LAST_MOMENT >= now {
                outcome.end = End::Unfinished;
            }
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
/// Within it, ends of connections belong to the end of the responder.
const LAST_MOMENT: Duration = Duration::from_secs(1);
