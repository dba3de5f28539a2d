//! How does tracing start: what is checked, loaded, attached, in which order, and what is given up when it fails?

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use aya::maps::Array;
use aya::programs::{BtfTracePoint, Iter, Program, ProgramError, ProgramType, SchedClassifier};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader, TestRun, TestRunOptions};
use log::{debug, warn};
use rsttrace_common::knobs::{self, Offsets, names};
use zerocopy::IntoBytes;

use super::btf::{self, Btf};
use super::clock;
use super::counters::{self, CounterMap, Counters, ProgramStats};
use super::events::{self, EventReader, Transport};
use super::hooks::{Attachment, Fact, HookState, Hooks, Row, TABLE, Way};
use super::interfaces::{InterfaceOptions, Interfaces, Names, Programs, Scope};
use super::preflight::{self, HOOKS_ADVICE, StartError};
use super::sys;

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/rsttrace.bpf.o"));

/// How to trace.
#[derive(Clone, Debug)]
pub struct Options {
    /// How events travel.
    pub transport: Transport,
    /// Bytes of the ring, or of the perf buffers of all CPUs together; rounded up to a power of two. The ring counts
    /// twice in the process's resident memory, as the kernel maps it twice in a row.
    pub buffer_bytes: u32,
    /// How long events may wait so that one wake-up fetches many.
    pub batching_delay: Duration,
    /// Closed connections remembered.
    pub tombstones: u32,
    /// Flows whose TTL is remembered.
    pub baselines: u32,
    /// Remember who holds the sockets that are open already.
    pub seed: bool,
    /// Where classifiers go; `None`: nowhere.
    pub interfaces: Option<InterfaceOptions>,
    /// Log the probes' rare paths.
    pub debug: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: Transport::Ring,
            buffer_bytes: 4 << 20,
            batching_delay: Duration::from_millis(20),
            tombstones: 16_384,
            baselines: 16_384,
            seed: true,
            interfaces: Some(InterfaceOptions::default()),
            debug: false,
        }
    }
}

/// The probes at work. All is detached when it is dropped, which takes as long as the kernel takes to detach.
pub struct Tracer {
    // Fields are dropped in this order: classifiers first, tracepoints with `ebpf`.
    interfaces: Option<Interfaces>,
    ebpf: Ebpf,
    reader: Option<EventReader>,
    counters: CounterMap,
    hooks: Hooks,
    reasons: Vec<(u32, String)>,
    hz: Option<u32>,
    warnings: Vec<String>,
    debug: bool,
}

impl Tracer {
    /// Checks rights and kernel, loads the programs, attaches what the kernel grants. What it refuses is recorded in
    /// [`Tracer::hooks`]; an error only if no reset would be seen at all. Needs no async runtime. Events flow from
    /// here on, so the reader should be read soon.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        preflight::check()?;
        let mut warnings = Vec::new();
        if let Err(error) = sys::raise_memlock() {
            debug!("RLIMIT_MEMLOCK not raised: {error}; only kernels before 5.11 need it");
        }
        let kernel = KernelFacts::read()?;
        let mut ebpf = load(options, &kernel)?;
        let failed = StartError::Failed;
        let counters = CounterMap::take(&mut ebpf).map_err(failed)?;
        let cpus = aya::util::online_cpus().map_or(1, |cpus| cpus.len().max(1));
        let perf_bytes = options.buffer_bytes as usize / cpus;
        let reader = EventReader::new(
            &mut ebpf,
            options.transport,
            perf_bytes,
            options.batching_delay,
        )
        .map_err(failed)?;

        let types = AyaBtf::from_sys_fs().map_err(|error| preflight::no_btf(chain(&error)))?;
        let mut attached = Attached::default();
        for row in TABLE {
            let state = attached.row(&mut ebpf, &types, row, &kernel, options);
            attached.hooks.note(row.fact, state);
        }
        drop(types);
        let Attached {
            mut hooks,
            programs,
            hz,
        } = attached;
        let interfaces = match (&options.interfaces, programs) {
            (Some(wanted), Some(programs)) => match Interfaces::start(wanted.clone(), programs) {
                Ok(interfaces) => Some(interfaces),
                Err(error) => {
                    hooks.refuse(
                        Fact::Packets,
                        &format!("cannot attach classifiers: {error}"),
                    );
                    hooks.refuse(Fact::TunnelPackets, "see the row above");
                    None
                }
            },
            _ => None,
        };
        sys::trim_heap();
        if !hooks.is_useful() {
            let missing = hooks.refusals().collect::<Vec<_>>().join("; ");
            return Err(StartError::NotSupported {
                missing,
                advice: HOOKS_ADVICE,
            });
        }
        warnings.extend(hooks.refusals());
        let KernelFacts { reasons, .. } = kernel;
        Ok(Self {
            interfaces,
            ebpf,
            reader: Some(reader),
            counters,
            hooks,
            reasons,
            hz,
            warnings,
            debug: options.debug,
        })
    }

    /// The events; `None` the second time.
    pub fn take_events(&mut self) -> Option<EventReader> {
        self.reader.take()
    }

    /// Which facts can be had here, and why not the others.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// What a user should be told about this start, one line each: the hooks refused.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The running kernel's `enum sk_rst_reason` without its prefix; empty before 6.10.
    pub fn reasons(&self) -> &[(u32, String)] {
        &self.reasons
    }

    /// Jiffies a second; `None` if it could not be found out, so that jiffies mean nothing.
    pub fn hz(&self) -> Option<u32> {
        self.hz
    }

    /// Names of interfaces and namespaces, kept up to date; `None` without classifiers.
    pub fn names(&self) -> Option<Names> {
        self.interfaces.as_ref().map(Interfaces::names)
    }

    /// What the probes counted; `None` if the map cannot be read.
    pub fn counters(&self) -> Option<Counters> {
        self.counters.read()
    }

    /// Misses and costs of each program. What a tracepoint missed no counter saw: resets sent = `sent_seen` + missed.
    pub fn programs(&self) -> Vec<ProgramStats> {
        counters::programs(&self.ebpf)
    }

    /// Takes every hook off; the counters and the events that are in the buffers stay. For the end of a trace: from here
    /// on what was counted and what was handed over must agree.
    pub fn stop(&mut self) {
        self.interfaces = None;
        for (name, program) in self.ebpf.programs_mut() {
            let unloaded = match program {
                Program::BtfTracePoint(program) => program.unload(),
                Program::SchedClassifier(program) => program.unload(),
                Program::Iter(program) => program.unload(),
                // The object has no others.
                _ => Ok(()),
            };
            if let Err(error) = unloaded {
                debug!("{name} was not loaded: {error}");
            }
        }
    }

    /// What the probes log; `None` unless started with `debug`, and the second time.
    pub fn take_debug_log(&mut self) -> Option<DebugLog> {
        if !self.debug {
            return None;
        }
        match aya_log::EbpfLogger::init(&mut self.ebpf) {
            Ok(logger) => Some(DebugLog(logger)),
            Err(error) => {
                debug!("the probes log nothing: {error}");
                None
            }
        }
    }
}

/// The probes' log, passed on to the `log` crate.
pub struct DebugLog(aya_log::EbpfLogger<&'static dyn log::Log>);

impl DebugLog {
    /// Passes on what comes, for ever or until the log cannot be read. Must be called inside a tokio runtime.
    pub async fn pass_on(mut self) -> std::io::Result<()> {
        loop {
            sys::watch(self.0.as_fd())?.readable().await.map(drop)?;
            self.0.flush();
        }
    }
}

/// What the kernel's type information says; read once, kept without the types.
struct KernelFacts {
    offsets: Offsets,
    reasons: Vec<(u32, String)>,
    /// Parameters of the prototypes that [`TABLE`] asks for.
    parameters: Vec<(&'static str, Option<usize>)>,
}

impl KernelFacts {
    fn read() -> Result<Self, StartError> {
        let bytes = btf::read(Path::new(btf::VMLINUX))
            .map_err(|error| preflight::no_btf(error.to_string()))?;
        let mut types = Btf::parse(&bytes).map_err(|error| preflight::no_btf(error.to_string()))?;
        let parameters = TABLE
            .iter()
            .flat_map(|row| row.ways)
            .filter_map(|way| match way.attachment {
                Attachment::Tracepoint { name, .. } => {
                    Some((name, types.parameters(&format!("btf_trace_{name}"))))
                }
                Attachment::Classifier | Attachment::Iterator(_) | Attachment::TestRun => None,
            })
            .collect();
        Ok(Self {
            offsets: Offsets::resolve(|structure, path| types.resolve(structure, path)),
            reasons: types.enumerators("sk_rst_reason", "SK_RST_REASON_"),
            parameters,
        })
    }

    fn parameters(&self, tracepoint: &str) -> Option<usize> {
        self.parameters
            .iter()
            .find(|(name, _)| *name == tracepoint)
            .and_then(|(_, count)| *count)
    }
}

/// Creates the maps and sets the globals; nothing runs yet.
fn load(options: &Options, kernel: &KernelFacts) -> Result<Ebpf, StartError> {
    let transport = match options.transport {
        Transport::Ring => knobs::TRANSPORT_RING,
        Transport::Perf => knobs::TRANSPORT_PERF,
    };
    // bpf_get_netns_cookie came to classifiers in 6.15; asked for by trying, as distributions backport.
    let helper = is_helper_supported(
        ProgramType::SchedClassifier,
        BpfHelper::BPF_FUNC_get_netns_cookie,
    );
    let helper = u32::from(helper.unwrap_or(false));
    let debug = u32::from(options.debug);
    let own_only = options
        .interfaces
        .as_ref()
        .is_some_and(|wanted| wanted.scope == Scope::Own);
    let cookie = if own_only {
        super::netns::own_cookie().unwrap_or(0)
    } else {
        0
    };

    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global(names::OFFSETS, kernel.offsets.as_bytes(), true)
        .override_global(names::TRANSPORT, &transport, true)
        .override_global(names::NETNS_COOKIE_HELPER, &helper, false)
        .override_global(names::NETNS_COOKIE, &cookie, false)
        .override_global(names::DEBUG, &debug, false)
        .map_max_entries("TOMBSTONES", options.tombstones.max(1))
        .map_max_entries("BASELINES", options.baselines.max(1));
    // The transport not used gets the least that the kernel takes: a page of ring, or a slot.
    match options.transport {
        Transport::Ring => loader
            .map_max_entries(events::RING, options.buffer_bytes.max(4096))
            .map_max_entries(events::PERF, 1),
        Transport::Perf => loader.map_max_entries(events::RING, 4096),
    };
    if !options.debug {
        loader.map_max_entries("AYA_LOGS", 4096);
    }
    loader.load(OBJECT).map_err(|error| {
        let text = chain(&error);
        if text.contains("Operation not permitted") {
            StartError::NotPermitted {
                missing: vec![format!(
                    "CAP_BPF (or a security module forbids BPF: {text})"
                )],
            }
        } else {
            StartError::Failed(text)
        }
    })
}

#[derive(Default)]
struct Attached {
    hooks: Hooks,
    /// Copies of the classifiers' descriptors.
    programs: Option<Programs>,
    hz: Option<u32>,
}

impl Attached {
    /// Tries the ways to a fact until one works.
    fn row(
        &mut self,
        ebpf: &mut Ebpf,
        types: &AyaBtf,
        row: &Row,
        kernel: &KernelFacts,
        options: &Options,
    ) -> HookState {
        let is_off = match row.fact {
            Fact::Packets | Fact::TunnelPackets => options.interfaces.is_none(),
            Fact::OlderSockets => !options.seed || !self.hooks.is_active(Fact::Ownership),
            Fact::Ownership | Fact::ResetSent | Fact::ResetReceived | Fact::Clock => false,
        };
        if is_off {
            return HookState::Off;
        }
        let mut why = "no way to it".to_owned();
        for way in row.ways {
            match self.attach(ebpf, types, row.fact, way, kernel) {
                Ok(()) => {
                    return HookState::Active {
                        programs: way.programs,
                    };
                }
                Err(error) => {
                    debug!("{:?} by {:?}: {error}", row.fact, way.programs);
                    why = short(&error);
                }
            }
        }
        warn!("{:?}: {why}; {}", row.fact, row.costs);
        HookState::Refused {
            why,
            costs: row.costs,
        }
    }

    fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        types: &AyaBtf,
        fact: Fact,
        way: &Way,
        kernel: &KernelFacts,
    ) -> Result<(), String> {
        match (way.attachment, way.programs) {
            (Attachment::Tracepoint { name, parameters }, [program]) => {
                let actual = kernel
                    .parameters(name)
                    .ok_or_else(|| format!("this kernel has no tracepoint {name}"))?;
                if let Some(expected) = parameters.filter(|expected| *expected != actual) {
                    return Err(format!(
                        "{name} has {actual} parameters here, not {expected}"
                    ));
                }
                let program: &mut BtfTracePoint = get(ebpf, program)?;
                program.load(name, types).map_err(|e| chain(&e))?;
                program.attach().map_err(|e| chain(&e)).map(drop)
            }
            (Attachment::Classifier, [ingress, egress]) => {
                let pair = [
                    load_classifier(ebpf, ingress)?,
                    load_classifier(ebpf, egress)?,
                ];
                let programs = self.programs.get_or_insert_default();
                match fact {
                    Fact::TunnelPackets => programs.l3 = Some(pair),
                    _ => programs.l2 = Some(pair),
                }
                Ok(())
            }
            (Attachment::Iterator(kind), [program]) => {
                run_iterator(get(ebpf, program)?, kind, types)
            }
            (Attachment::TestRun, [program]) => {
                self.hz = measure_rate(ebpf, program)?;
                self.hz
                    .map(drop)
                    .ok_or_else(|| "jiffies fit no rate that kernels are built with".to_owned())
            }
            _ => Err("the table names a wrong number of programs".to_owned()),
        }
    }
}

fn get<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| format!("the eBPF object has no program {name}"))?;
    program.try_into().map_err(|error| chain(&error))
}

fn load_classifier(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, String> {
    let program: &mut SchedClassifier = get(ebpf, name)?;
    program.load().map_err(|e| chain(&e))?;
    let fd = program.fd().map_err(|e| chain(&e))?;
    fd.as_fd().try_clone_to_owned().map_err(|e| e.to_string())
}

/// Runs an iterator to its end and takes it out of the kernel again.
fn run_iterator(program: &mut Iter, kind: &str, types: &AyaBtf) -> Result<(), String> {
    program.load(kind, types).map_err(|e| chain(&e))?;
    let link = program.attach().map_err(|e| chain(&e))?;
    let link = program.take_link(link).map_err(|e| chain(&e))?;
    let mut file = link.into_file().map_err(|e| chain(&e))?;
    let result = std::io::copy(&mut file, &mut std::io::sink())
        .map_err(|e| format!("reading the iterator: {e}"));
    let _ = program.unload();
    result.map(drop)
}

fn measure_rate(ebpf: &mut Ebpf, name: &str) -> Result<Option<u32>, String> {
    let program: &mut SchedClassifier = get(ebpf, name)?;
    program.load().map_err(|e| chain(&e))?;
    let first = sample(ebpf, name)?;
    let rate = match clock::rate(first) {
        Some(rate) => Some(rate),
        None => {
            std::thread::sleep(clock::SECOND_SAMPLE_AFTER);
            clock::rate_between(first, sample(ebpf, name)?)
        }
    };
    let program: &mut SchedClassifier = get(ebpf, name)?;
    let _ = program.unload();
    Ok(rate)
}

fn sample(ebpf: &mut Ebpf, name: &str) -> Result<clock::Sample, String> {
    let program: &mut SchedClassifier = get(ebpf, name)?;
    // The kernel takes no frame shorter than an Ethernet header.
    let frame = [0u8; 64];
    let options = TestRunOptions {
        data_in: Some(&frame),
        ..TestRunOptions::new()
    };
    program.test_run(options).map_err(|e| chain(&e))?;
    let map = ebpf
        .map("CLOCK")
        .ok_or("the eBPF object has no map CLOCK")?;
    let map: Array<_, [u64; 2]> = map.try_into().map_err(|e| chain(&e))?;
    let [jiffies, monotonic_ns] = map.get(&0, 0).map_err(|e| chain(&e))?;
    Ok(clock::Sample {
        jiffies,
        monotonic_ns,
    })
}

/// An error with all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// A verifier's log can have thousands of lines; what it objects to is near the end.
fn short(error: &str) -> String {
    let lines: Vec<_> = error
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    match lines.as_slice() {
        [first, .., objection, last] if lines.len() > 3 => {
            format!("{first} … {objection} … {last}")
        }
        _ => lines.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_log_is_cut_to_what_it_objects_to() {
        assert_eq!(short("EPERM"), "EPERM");
        assert_eq!(
            short("load failed:\n0: r1\n1: r2\nR3 invalid mem access\nprocessed 3 insns"),
            "load failed: … R3 invalid mem access … processed 3 insns"
        );
    }
}
