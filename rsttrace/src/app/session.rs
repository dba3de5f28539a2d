//! A trace from start to end: reading, judging and counting events.

mod self_stats;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use log::{info, warn};

use super::intake::Intake;
use super::own_sockets::OwnSockets;
use super::recorder::{RecordTo, Recorded, Recorder};
use super::sleep_until;
use crate::cli::{self, Failure, TracerOptions};
use crate::decode::KernelFacts;
use crate::doctor::containers;
use crate::engine::{Config, Counted, Engine, Input};
use crate::event::{Coverage, NetnsCookie};
use crate::flood::{self, Suppressed};
use crate::host::full::{Full, FullTables, Place};
use crate::host::{Enricher, NetnsNames, clock, facts};
use crate::kernel::{
    Counters, EventReader, Fact, InterfaceOptions, Names, Namespace, Options, Prepared,
    ProgramStats, Slots, TcMode, Tracer, Transport,
};
use crate::record::Output;
use crate::recording::{End, Head};
use crate::self_stats::KernelTotal;
use crate::self_stats::Shortfalls;
use crate::silence::candidates::Hop;
use crate::summary::Totals;
use crate::words::count;

/// Events handled before anything else gets a turn.
const BATCH: usize = 4_096;
/// After this many events there is memory to release once it is quiet.
const MANY: usize = 10_000;
/// Minimum interval of checks for losses while events arrive.
const LOSS_INTERVAL: Duration = Duration::from_millis(20);
/// Stands in for the kernel's tick where it could not be measured; jiffies are then wrong by a known factor at most, so
/// the user is warned.
const FALLBACK_HZ: u32 = 250;

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How events travel and classifiers attach.
    pub tracer: TracerOptions,
    /// Bytes for events in the kernel.
    pub buffer_bytes: u32,
    pub interfaces: InterfaceOptions,
    /// Devices around this host, from its configuration.
    pub hops: Vec<Hop>,
    /// Time between resets of one kind, port and network that are described when there are many; `None`: each is.
    pub detail_interval: Option<Duration>,
    /// Record all inputs of the engine.
    pub record: Option<RecordTo>,
}

/// A session without hooks.
pub struct Stopped {
    session: Session,
    programs: Vec<ProgramStats>,
    unwatched: Option<u64>,
}

/// What is left of a session.
pub struct Finished {
    /// What was still to be judged.
    pub outputs: Vec<Output>,
    pub totals: Totals,
    /// The result of the recording, if there is one.
    pub recorded: Option<Recorded>,
}

pub struct Session {
    tracer: Tracer,
    events: EventReader,
    intake: Intake<NamesOf>,
    own: OwnSockets,
    /// Absent if its thread could not be started.
    full: Option<FullTables>,
    begun: Instant,
    losses: Losses,
    /// Events since memory was given back.
    since_rest: usize,
    refused: u64,
    /// When the kernel's buckets are read next; absent while nothing happens.
    flood_due: Option<Instant>,
    /// Events arrived since they were read.
    flood_read: bool,
    interfaces: InterfaceOptions,
}

/// A trace whose programs the kernel has accepted, and nothing more.
pub struct PreparedSession {
    probes: Prepared,
    options: SessionOptions,
}

impl PreparedSession {
    /// Loads the programs. Blocks for as long as the kernel verifies them.
    pub fn new(options: SessionOptions) -> Result<Self, Failure> {
        if let Some(RecordTo::File(file)) = &options.record {
            file.check()?;
        }
        let usual = Options::default();
        let probes = Prepared::new(&Options {
            transport: match options.tracer.transport {
                cli::Transport::Ring => Transport::Ring,
                cli::Transport::Perf => Transport::Perf,
            },
            buffer_bytes: options.buffer_bytes,
            interfaces: Some(InterfaceOptions {
                mode: tc_mode(options.tracer.tc),
                ..options.interfaces.clone()
            }),
            detail_interval: options.detail_interval,
            debug: options.tracer.debug_probes,
            empty: options.tracer.empty_probes,
            owners: options.tracer.owner_slots.unwrap_or(usual.owners),
            ..usual
        })?;
        Ok(Self { probes, options })
    }

    /// Attaches the hooks. Needs a runtime around it.
    pub fn start(self) -> Result<Session, Failure> {
        let Self { probes, options } = self;
        let mut tracer = probes.attach()?;
        for warning in tracer.hooks().refusals() {
            warn!("{warning}");
        }
        if facts::foreign_pid_namespace().is_some() {
            warn!("{}; {}", containers::COST, containers::ADVICE);
        }
        for fallback in tracer
            .hooks()
            .missing_extras()
            .chain(tracer.hooks().lesser())
        {
            info!("{fallback}");
        }
        if let Some(log) = tracer.take_debug_log() {
            tokio::spawn(async move {
                if let Err(error) = log.pass_on().await {
                    warn!("cannot read the log of the eBPF programs: {error}");
                }
            });
        }
        let events = tracer.take_events().context("the tracer has no events")?;
        let hooks = tracer.hooks();
        // A named interface may not exist: then the absence of an observation proves nothing.
        let unwatched = tc_mode(options.tracer.tc) == TcMode::Tcx
            && tracer.names().is_some_and(|names| {
                let (count, _) = names.problems();
                if count > 0 {
                    warn!("TCX requires Linux 6.6; where it is missing, --tc auto uses clsact");
                }
                count > 0
            });
        let coverage = Coverage {
            sent: hooks.is_active(Fact::ResetSent),
            // A kprobe may be skipped without a count, so its silence proves nothing.
            sent_stateless: hooks
                .way(Fact::StatelessResetSent)
                .is_some_and(|way| way.name != "kprobe"),
            received: hooks.is_active(Fact::ResetReceived),
            // On chosen interfaces only, what was not seen may have passed by another one.
            packets: hooks.is_active(Fact::Packets)
                && !unwatched
                && options.interfaces.names.is_empty()
                && options.interfaces.loopback,
            lifecycle: hooks.is_active(Fact::Ownership),
        };
        let hz = tracer.hz().unwrap_or_else(|| {
            warn!("cannot measure the kernel tick (HZ); idle times assume {FALLBACK_HZ} Hz");
            FALLBACK_HZ
        });
        let host = facts::host_facts(
            clock::boottime().context("cannot read the clock")?,
            coverage,
        )?;
        let names = NamesOf(tracer.names());
        let own = names.own();
        let full = FullTables::start(places(tracer.names()));
        let full = full.inspect_err(|error| warn!("cannot watch accept queues: {error}"));
        let kernel = KernelFacts {
            hz,
            reasons: tracer.reasons().to_vec(),
        };
        let config = Config {
            kernel,
            host,
            hops: options.hops,
            floods: options.detail_interval.is_some(),
        };
        let recorder = match &options.record {
            Some(to) => {
                let release = facts::kernel_release().unwrap_or_default();
                Some(Recorder::new(to, &Head::new(release, config.clone()))?)
            }
            None => None,
        };
        let mut enricher = Enricher::new(names, own);
        if let Some(handshakes) = tracer.take_handshakes() {
            enricher.remember(Box::new(handshakes));
        }
        Ok(Session {
            intake: Intake::new(Engine::new(config), enricher, recorder),
            own: OwnSockets::default(),
            tracer,
            events,
            full: full.ok(),
            begun: Instant::now(),
            losses: Losses::default(),
            since_rest: MANY,
            refused: 0,
            flood_due: None,
            flood_read: false,
            interfaces: options.interfaces.clone(),
        })
    }
}

impl Session {
    /// Loads the programs and attaches the hooks. Needs a runtime around it.
    pub fn start(options: SessionOptions) -> Result<Self, Failure> {
        PreparedSession::new(options)?.start()
    }

    /// What is traced, as a sentence: for the user to know that it has begun.
    pub fn describe(&self) -> String {
        let chosen = &self.interfaces.names;
        let mut interfaces = Vec::new();
        let mut namespaces = 0;
        if let Some(names) = self.tracer.names() {
            for namespace in names.namespaces() {
                namespaces += 1;
                interfaces.extend(
                    names
                        .interfaces(namespace.inode)
                        .into_iter()
                        .map(|(_, name)| name),
                );
            }
        }
        interfaces.retain(|name| {
            (chosen.is_empty() || chosen.contains(name))
                && (self.interfaces.loopback || name != "lo")
        });
        for missing in chosen.iter().filter(|name| !interfaces.contains(name)) {
            warn!(
                "no interface is called {missing}; it is traced once it exists (`ip link` lists those that do)"
            );
        }
        let plural = |count: usize, what: &str| {
            format!("{count} {what}{}", if count == 1 { "" } else { "s" })
        };
        format!(
            "tracing resets on {} in {}",
            plural(interfaces.len(), "interface"),
            plural(namespaces, "network namespace")
        )
    }

    /// Waits for whatever comes next and gives what is ready, perhaps nothing. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<impl Iterator<Item = Output>, Failure> {
        let due = self.intake.engine.deadline().and_then(|deadline| {
            let now = clock::boottime().ok()?;
            Some(tokio::time::Instant::now() + deadline.since(now))
        });
        let Self {
            events,
            intake,
            tracer,
            losses,
            full: looker,
            ..
        } = self;
        let mut seen = None;
        let flush_due = intake.flush_due();
        let flood_due = self.flood_due.map(tokio::time::Instant::from_std);
        let mut take = |bytes: &[u8]| intake.event(bytes, |intake| losses.read(tracer, intake));
        let mut read = tokio::select! {
            read = events.next(BATCH, &mut take) => read.context("cannot read events")?,
            Some(found) = next_full(looker) => {
                seen = Some(found);
                0
            }
            () = sleep_until(due) => 0,
            () = sleep_until(flood_due) => 0,
            () = sleep_until(flush_due) => 0,
        };
        // This thread may have been off its CPU for long: what happened until now is read before anything is judged.
        let now = clock::boottime().context("cannot read the clock")?;
        let more = events.drain(BATCH, take);
        read += more;
        losses.read(tracer, intake);
        if let Some(found) = seen {
            intake.full(found);
        }
        self.look_for_floods(read > 0)?;
        // With a backlog its own events make the resets due: they are older than the clock says.
        if more < BATCH {
            self.intake.advance(now);
        }
        self.since_rest = self.since_rest.saturating_add(read);
        if read == 0 && self.since_rest >= MANY && self.intake.engine.deadline().is_none() {
            self.since_rest = 0;
            self.intake.rest();
        }
        self.intake.flush();
        Ok(std::iter::from_fn(|| self.poll_output()))
    }

    /// Replaces the devices on the path. A trace that is recorded must keep those of its start.
    pub fn set_hops(&mut self, hops: Vec<Hop>) {
        self.intake.engine.set_hops(hops);
    }

    fn poll_output(&mut self) -> Option<Output> {
        let mut output = self.intake.engine.poll_output()?;
        self.own.mark(&mut output);
        Some(output)
    }

    /// The trace so far.
    pub fn so_far(&self) -> Totals {
        Totals {
            duration: self.begun.elapsed(),
            is_running: true,
            lessons: self.intake.engine.learned_timeouts(),
            vitals: Some(self.vitals()),
            ..Totals::default()
        }
    }

    /// Takes the hooks off.
    pub fn stop(mut self) -> Stopped {
        // Unloaded programs have no statistics.
        let programs = self.tracer.programs();
        for found in self.full.take().map_or_else(Vec::new, FullTables::finish) {
            self.intake.full(found);
        }
        let unwatched = self.unwatched();
        self.tracer.stop();
        Stopped {
            session: self,
            programs,
            unwatched,
        }
    }

    /// Takes the hooks off and judges what is left.
    pub fn finish(self) -> Finished {
        self.stop().finish()
    }

    /// Suppressed resets wake no thread: after events the buckets are read once more, and then as long as they
    /// refuse.
    fn look_for_floods(&mut self, has_read: bool) -> Result<(), Failure> {
        let now = Instant::now();
        self.flood_read |= has_read;
        match self.flood_due {
            None if has_read => {
                // A bucket refuses only after it let some through.
                let began = clock::boottime().context("cannot read the clock")?;
                self.intake.flood_rests(began.before(flood::INTERVAL));
                self.flood_due = Some(now + flood::INTERVAL);
            }
            Some(due) if now >= due => {
                let refused = self.tracer.counters().map_or(0, |counters| {
                    counters.sent_suppressed
                        + counters.received_suppressed_alone
                        + counters.packet_suppressed_alone
                });
                let has_grown = std::mem::replace(&mut self.refused, refused) != refused;
                let boottime = clock::boottime().context("cannot read the clock")?;
                let buckets = if has_grown {
                    self.tracer.flood_mut().refused()
                } else {
                    Vec::new()
                };
                let is_pending = self.intake.refused(boottime, buckets, false);
                let has_read = std::mem::take(&mut self.flood_read);
                self.flood_due =
                    (has_grown || has_read || is_pending).then_some(now + flood::INTERVAL);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Stopped {
    /// Judges what is left; nothing is seen any more, so the sums must agree.
    pub fn finish(self) -> Finished {
        let Self {
            mut session,
            programs,
            unwatched,
        } = self;
        let Session {
            events,
            intake,
            tracer,
            losses,
            ..
        } = &mut session;
        let skipped = programs.iter().filter_map(|program| program.missed).sum();
        let mut take = |bytes: &[u8]| intake.event(bytes, |intake| losses.read(tracer, intake));
        while events.drain(BATCH, &mut take) > 0 {}
        if let Some(counters) = tracer.counters() {
            losses.note(&counters, skipped, intake);
        }
        let now = clock::boottime().unwrap_or_else(|_| session.intake.engine.newest());
        let refused = session.tracer.flood_mut().refused();
        session.intake.refused(now, refused, true);
        session.intake.push(Input::Finish);
        let counters = session.tracer.counters().unwrap_or_default();
        let kernel = kernel_totals(&counters, &session.intake.engine.stats().counted, &programs);
        let mut shortfalls = own_shortfalls(&session.intake.shortfalls());
        shortfalls.extend(kernel_shortfalls(&counters, session.tracer.slots()));
        shortfalls.push((
            "missed socket state changes".to_owned(),
            missed_by(&programs, "inet_sock_set_state"),
        ));
        shortfalls.push((
            "missed calls of hooked functions".to_owned(),
            ["fentry_", "fexit_", "kprobe_"]
                .map(|hook| missed_by(&programs, hook))
                .into_iter()
                .sum(),
        ));
        if let Some(unwatched) = unwatched {
            shortfalls.push((
                "interfaces or namespaces without classifiers".to_owned(),
                unwatched,
            ));
        }
        let vitals = session.vitals_of(Some(&counters), &programs, unwatched);
        let mut end = End {
            duration: session.begun.elapsed(),
            kernel,
            shortfalls,
        };
        let recorded = session.intake.end_recording(&end);
        end.shortfalls.push((
            "events missing from the recording".to_owned(),
            recorded.as_ref().map_or(0, |recorded| recorded.missed),
        ));
        Finished {
            outputs: std::iter::from_fn(|| session.poll_output()).collect(),
            totals: Totals {
                captures: None,
                duration: end.duration,
                kernel: end.kernel,
                shortfalls: end.shortfalls,
                is_cut_off: false,
                is_enough: false,
                is_running: false,
                lessons: session.intake.engine.learned_timeouts(),
                vitals: Some(vitals),
            },
            recorded,
        }
    }
}

/// What was lost or suppressed up to now.
#[derive(Default)]
struct Losses {
    read: Option<Instant>,
    lost: u64,
    suppressed: Suppressed,
}

impl Losses {
    /// Reads the counters and hands in what has been added: before resets are judged, as a verdict may rest on an event that did not
    /// come.
    fn read(&mut self, tracer: &Tracer, intake: &mut Intake<NamesOf>) {
        let now = Instant::now();
        let is_new = |read: Instant| now.duration_since(read) < LOSS_INTERVAL;
        if !self.read.is_some_and(is_new)
            && let Some(counters) = tracer.counters()
        {
            self.read = Some(now);
            self.note(&counters, tracer.missed(), intake);
        }
    }

    /// `missed`: runs of programs that the kernel has skipped.
    fn note(&mut self, counters: &Counters, missed: u64, intake: &mut Intake<NamesOf>) {
        let suppressed = Suppressed {
            sent: counters.sent_suppressed,
            received_alone: counters.received_suppressed_alone + counters.decided_anew,
            packets_alone: counters.packet_suppressed_alone + counters.decided_anew,
        };
        let before = std::mem::replace(&mut self.suppressed, suppressed);
        intake.note_suppressed(suppressed.since(before));
        let lost = counters.sent_lost + counters.received_lost + counters.packet_lost + missed;
        if lost > self.lost {
            intake.push(Input::Lost(lost - self.lost));
            self.lost = lost;
        }
    }
}

/// The outcomes of the resets that the kernel side saw.
fn kernel_totals(
    counters: &Counters,
    counted: &Counted,
    programs: &[ProgramStats],
) -> Vec<KernelTotal> {
    let total = |name: &str, seen, detailed, suppressed, lost, missed: u64| KernelTotal {
        name: name.to_owned(),
        seen: seen + missed,
        detailed,
        suppressed,
        lost: lost + missed,
    };
    vec![
        total(
            "sent",
            counters.sent_seen,
            counted.sent,
            counters.sent_suppressed,
            counters.sent_lost,
            missed_by(programs, "tcp_send_reset"),
        ),
        total(
            "received",
            counters.received_seen,
            counted.received,
            counters.received_suppressed,
            counters.received_lost,
            missed_by(programs, "tcp_receive_reset"),
        ),
        total(
            "on the wire",
            counters.packet_seen,
            counted.packets,
            counters.packet_suppressed,
            counters.packet_lost,
            missed_by(programs, "tc_"),
        ),
    ]
}

/// Times the kernel skipped programs of this hook.
fn missed_by(programs: &[ProgramStats], hook: &str) -> u64 {
    programs
        .iter()
        .filter(|stats| stats.name.starts_with(hook))
        .filter_map(|stats| stats.missed)
        .sum()
}

pub(super) fn tc_mode(mode: cli::TcMode) -> TcMode {
    match mode {
        cli::TcMode::Auto => TcMode::Auto,
        cli::TcMode::Tcx => TcMode::Tcx,
        cli::TcMode::Clsact => TcMode::Clsact,
    }
}

/// What could not be done on this side of the ring.
fn own_shortfalls(shortfalls: &Shortfalls) -> Vec<(String, u64)> {
    [
        ("undecodable events", shortfalls.undecodable),
        (
            "resets finalized before the correlation window closed",
            shortfalls.judged_early,
        ),
        ("ambiguous observations", shortfalls.ambiguous),
        ("socket owner lookups skipped", shortfalls.holders_not_asked),
        (
            "conntrack and route lookups skipped",
            shortfalls.network_not_asked,
        ),
    ]
    .map(|(name, number)| (name.to_owned(), number))
    .into()
}

/// What the probes could not keep.
fn kernel_shortfalls(counters: &Counters, slots: Slots) -> Vec<(String, u64)> {
    vec![
        (
            format!(
                "socket owner table evictions (capacity {})",
                count(slots.owners.into())
            ),
            counters.owner_evicted,
        ),
        (
            "listeners without recorded owner".to_owned(),
            counters.listener_lost,
        ),
        (
            format!(
                "closed-connection table evictions (capacity {})",
                count(slots.tombstones.into())
            ),
            counters.tombstone_evicted,
        ),
        (
            format!(
                "TTL table evictions (capacity {})",
                count(slots.baselines.into())
            ),
            counters.baseline_evicted,
        ),
        (
            format!(
                "NAT table evictions (capacity {})",
                count(slots.translations.into())
            ),
            counters.translation_evicted,
        ),
        (
            "connection failures without details".to_owned(),
            counters.failed_lost + counters.failed_suppressed,
        ),
    ]
}

/// The next queue or table that is full.
async fn next_full(full: &mut Option<FullTables>) -> Option<Full> {
    full.as_mut()?.next().await
}

/// The namespaces to look at: those that classifiers are in, else this process's own.
fn places(names: Option<Names>) -> impl Fn() -> Vec<Place> + Send + 'static {
    move || match &names {
        Some(names) => {
            let namespaces = names.namespaces().into_iter();
            let place = |namespace: Namespace| {
                let cookie = namespace.cookie?;
                let path = match namespace.is_own {
                    true => None,
                    false => Some(names.way(cookie)?.0),
                };
                Some(Place {
                    netns: NetnsCookie(cookie),
                    inode: namespace.inode,
                    path,
                })
            };
            namespaces.filter_map(place).collect()
        }
        None => vec![Place {
            netns: NetnsCookie(0),
            inode: 0,
            path: None,
        }],
    }
}

/// The kernel edge's names, for the host edge.
struct NamesOf(Option<Names>);

impl NamesOf {
    fn own(&self) -> Option<NetnsCookie> {
        let namespaces = self.0.as_ref()?.namespaces();
        let own = namespaces.iter().find(|namespace| namespace.is_own)?;
        own.cookie.map(NetnsCookie)
    }
}

impl NetnsNames for NamesOf {
    fn inode(&self, netns: NetnsCookie) -> Option<u32> {
        self.0.as_ref()?.inode(netns.0)
    }

    fn interface(&self, netns: NetnsCookie, ifindex: u32) -> Option<String> {
        self.0.as_ref()?.interface(netns.0, ifindex)
    }

    fn way(&self, netns: NetnsCookie) -> Option<(PathBuf, u32)> {
        self.0.as_ref()?.way(netns.0)
    }
}
