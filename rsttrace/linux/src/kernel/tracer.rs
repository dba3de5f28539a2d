//! Start and stop of tracing: checks, loading, attaching.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use aya::Ebpf;
use log::debug;
use procfs::{Current as _, Meminfo};
use rsttrace_common::handshake::TRANSLATION_SLOTS;
use rsttrace_common::knobs;
use rsttrace_common::socket::Ownership;

use super::counters::{self, CounterMap, Counters, ProgramStats};
use super::events::{EventReader, Transport};
use super::flood::FloodMaps;
use super::handshakes::HandshakeMaps;
use super::hooks::{Fact, Hooks};
use super::interfaces::{InterfaceOptions, Interfaces, Names};
use super::object::{self, KernelFacts, Object};
use super::preflight::{self, HOOKS_ADVICE, StartError};
use super::sys;
use super::tracing_programs::{self, Attached};

#[derive(Clone, Debug)]
pub struct Options {
    pub transport: Transport,
    /// Bytes of the ring, or of the perf buffers of all CPUs together; rounded up to a power of two. The ring counts
    /// twice in the process's resident memory, as the kernel maps it twice in a row.
    pub buffer_bytes: u32,
    /// How long events may wait so that one wake-up fetches many.
    pub batching_delay: Duration,
    /// Between resets of one class, port and network that are described, once there were a hundred of them; wider levels
    /// follow from it, see `rsttrace_common::flood`. `None`: each is described.
    pub detail_interval: Option<Duration>,
    /// Closed connections remembered; rounded up to a power of two. 176 bytes of kernel memory each.
    pub tombstones: u32,
    /// Flows whose TTL is remembered; rounded up to a power of two. 32 bytes of kernel memory each.
    pub baselines: u32,
    /// Open sockets whose owner is remembered; rounded up to a power of two. 128 bytes of kernel memory each.
    pub owners: u32,
    /// Remember who holds the sockets that are open already.
    pub seed: bool,
    /// Where classifiers go; `None`: nowhere.
    pub interfaces: Option<InterfaceOptions>,
    /// Log the probes' rare paths.
    pub debug: bool,
    /// Attach programs that return at once: nothing is traced, and what their calls alone cost can be measured.
    pub empty: bool,
}

/// Twenty a second.
pub const DETAIL_INTERVAL: Duration = Duration::from_millis(50);

/// For this many bytes of the machine's memory: at most a thousandth of it (but 2 MiB at least, 128 MiB at most), 128 bytes each.
fn owners_for(memory: u64) -> u32 {
    let slots = memory / 1_000 / size_of::<Ownership>() as u64;
    let slots = u32::try_from(slots)
        .unwrap_or(u32::MAX)
        .clamp(16_384, 1 << 20);
    // The table has a power of two.
    1 << slots.ilog2()
}

/// Bytes of memory; 0 if that cannot be read.
fn memory() -> u64 {
    Meminfo::current().map_or(0, |memory| memory.mem_total)
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: Transport::Ring,
            buffer_bytes: 4 << 20,
            batching_delay: Duration::from_millis(20),
            detail_interval: Some(DETAIL_INTERVAL),
            tombstones: knobs::DEFAULT_SLOTS * 2,
            baselines: knobs::DEFAULT_SLOTS * 2,
            owners: owners_for(memory()),
            seed: true,
            interfaces: Some(InterfaceOptions::default()),
            debug: false,
            empty: false,
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
    flood: FloodMaps,
    handshakes: Option<HandshakeMaps>,
    hooks: Hooks,
    finished: Vec<ProgramStats>,
    reasons: Vec<(u32, String)>,
    hz: Option<u32>,
    debug: bool,
    slots: Slots,
}

/// Entries that the kernel side's tables have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Connections that closed.
    pub tombstones: u32,
    /// Listeners that closed.
    pub listeners: u32,
    /// Flows whose TTL is remembered.
    pub baselines: u32,
    /// Handshakes that this host translated.
    pub translations: u32,
    /// Open sockets whose owner is remembered.
    pub owners: u32,
}

/// The probes, accepted by the kernel; none is attached.
pub struct Prepared {
    kernel: KernelFacts,
    object: Object,
    counters: CounterMap,
    flood: FloodMaps,
    handshakes: HandshakeMaps,
    options: Options,
}

impl Prepared {
    /// Checks rights and kernel, loads the programs and has them verified: most of the time of a start.
    pub fn new(options: &Options) -> Result<Self, StartError> {
        // A classifier is a descriptor.
        rsttrace_sys::raise_file_limit();
        preflight::check()?;
        if let Err(error) = sys::raise_memlock() {
            debug!("cannot raise RLIMIT_MEMLOCK: {error}; required before Linux 5.11 only");
        }
        sys::keep_heap_small();
        let (kernel, mut object) = Object::load(options)?;
        let counters = CounterMap::take(&mut object.ebpf).map_err(StartError::Failed)?;
        let flood = FloodMaps::take(&mut object.ebpf).map_err(StartError::Failed)?;
        let handshakes = HandshakeMaps::take(&mut object.ebpf).map_err(StartError::Failed)?;
        tracing_programs::verify(&mut object, &kernel, options);
        Ok(Self {
            kernel,
            object,
            counters,
            flood,
            handshakes,
            options: options.clone(),
        })
    }

    /// A classifier by its name in the object, to measure it without attaching it. An error if the kernel refused it.
    pub fn classifier(&mut self, name: &str) -> Result<OwnedFd, String> {
        tracing_programs::classifier(&mut self.object, name)
    }

    /// Attaches what the kernel grants. What it refuses is recorded in [`Tracer::hooks`]; an error only if no reset would
    /// be seen at all. Needs no async runtime. Events flow from here on, so the reader should be read soon.
    pub fn attach(self) -> Result<Tracer, StartError> {
        let Self {
            kernel,
            mut object,
            counters,
            flood,
            handshakes,
            options,
        } = self;
        // Perf buffers have to be there before the first event; the kernel has the ring already.
        let reader = |ebpf: &mut Ebpf| EventReader::new(ebpf, &options).map_err(StartError::Failed);
        let buffers = match options.transport {
            Transport::Ring => None,
            Transport::Perf => Some(reader(&mut object.ebpf)?),
        };
        let Attached {
            mut hooks,
            programs,
            hz,
            finished,
        } = tracing_programs::all(&mut object, &kernel, &options);
        let slots = Slots {
            tombstones: object::slots(options.tombstones),
            listeners: knobs::LISTENER_SLOTS,
            baselines: object::slots(options.baselines),
            translations: TRANSLATION_SLOTS,
            owners: object::slots(options.owners),
        };
        let Object {
            mut ebpf, types, ..
        } = object;
        // Before the ring is mapped, which counts as resident at once, and twice.
        drop(types);
        sys::trim_heap();
        let reader = match buffers {
            Some(buffers) => buffers,
            None => reader(&mut ebpf)?,
        };
        let interfaces = match &options.interfaces {
            Some(wanted)
                if hooks.is_active(Fact::Packets) || hooks.is_active(Fact::TunnelPackets) =>
            {
                let started = Interfaces::start(wanted.clone(), programs);
                started
                    .inspect_err(|error| hooks.refuse_packets(&error.to_string()))
                    .ok()
            }
            _ => None,
        };
        if !hooks.is_useful() {
            let missing = hooks.refusals().collect::<Vec<_>>().join("; ");
            return Err(StartError::NotSupported {
                missing,
                advice: HOOKS_ADVICE,
            });
        }
        Ok(Tracer {
            interfaces,
            ebpf,
            reader: Some(reader),
            counters,
            flood,
            handshakes: Some(handshakes),
            hooks,
            finished,
            reasons: kernel.reasons,
            hz,
            debug: options.debug,
            slots,
        })
    }
}

impl Tracer {
    /// Prepares and attaches, see [`Prepared`].
    pub fn start(options: &Options) -> Result<Self, StartError> {
        Prepared::new(options)?.attach()
    }

    /// The events; `None` the second time.
    pub fn take_events(&mut self) -> Option<EventReader> {
        self.reader.take()
    }

    /// The memory of handshakes; `None` the second time.
    pub fn take_handshakes(&mut self) -> Option<HandshakeMaps> {
        self.handshakes.take()
    }

    /// Which facts can be had here, and why not the others.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
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

    /// What the probes counted and did not describe.
    pub fn flood(&self) -> &FloodMaps {
        &self.flood
    }

    /// The same, to be read on from where it was read last.
    pub fn flood_mut(&mut self) -> &mut FloodMaps {
        &mut self.flood
    }

    /// Misses and costs of each program that is loaded. What a tracepoint missed no counter saw: resets sent =
    /// `sent_seen` + missed.
    pub fn programs(&self) -> Vec<ProgramStats> {
        counters::programs(&self.ebpf)
    }

    /// Runs of tracing programs that the kernel skipped: events that no counter saw.
    pub fn missed(&self) -> u64 {
        counters::missed(&self.ebpf)
    }

    /// How large the kernel side's tables are.
    pub fn slots(&self) -> Slots {
        self.slots
    }

    /// Programs that were needed at the start only, as they were then.
    pub fn finished_programs(&self) -> &[ProgramStats] {
        &self.finished
    }

    /// Takes every hook off; the counters and the events that are in the buffers stay. For the end of a trace: from here
    /// on what was counted and what was handed over must agree.
    pub fn stop(&mut self) {
        self.interfaces = None;
        for (name, program) in self.ebpf.programs_mut() {
            let unloaded = object::unload(program);
            if let Err(error) = unloaded {
                debug!("cannot load {name}: {error}");
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
                debug!("no log from the eBPF programs: {error}");
                None
            }
        }
    }
}

/// The probes' log, passed on to the `log` crate.
pub struct DebugLog(aya_log::EbpfLogger<&'static dyn log::Log>);

impl DebugLog {
    /// Passes on the messages until the log cannot be read. Must be called inside a tokio runtime.
    pub async fn pass_on(mut self) -> std::io::Result<()> {
        loop {
            sys::watch(self.0.as_fd())?.readable().await.map(drop)?;
            self.0.flush();
        }
    }
}
