//! Preparation of the eBPF object for the running kernel, and loading through the verifier.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aya::maps::{Map, MapError};
use aya::programs::{Program, ProgramError};
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader, Endianness};
use log::debug;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::chroot;
use rsttrace_common::knobs::{
    self, ABSENT, HELPER_FILE_SOCKET, HELPER_SOCKET_COOKIE, HELPER_SOCKET_STORAGE,
    HELPER_TYPED_TASK, Offsets, names,
};
use zerocopy::IntoBytes;

use super::btf::{self, Btf, BtfError, Questions};
use super::events::{self, Transport};
use super::hooks::{self, Attachment, Need, TABLE, Way};
use super::preflight::{self, StartError};
use super::sys;
use super::tracer::Options;
use crate::host::facts::foreign_pid_namespace;

/// The least type information of the running kernel that answers all that is ever asked: for tests.
pub fn extract_types() -> Result<Vec<u8>, BtfError> {
    let all = btf::read(Path::new(btf::VMLINUX))?;
    let extract = KernelFacts::extract(&all)?;
    if KernelFacts::of(&extract)? != KernelFacts::of(&all)? {
        return Err(BtfError::Extract);
    }
    Ok(extract)
}

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/rsttrace.bpf.o"));

/// What the kernel's type information says; read once, kept without the types.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// Where members are.
    pub offsets: Offsets,
    /// `enum sk_rst_reason`.
    pub reasons: Vec<(u32, String)>,
    /// The `HELPER_` flags.
    pub helpers: u32,
    /// Parameters of the tracepoints that [`TABLE`] asks for.
    tracepoints: HashMap<&'static str, usize>,
    /// Parameters of the functions that [`TABLE`] asks for.
    functions: HashMap<&'static str, usize>,
}

/// The kernel's own functions behind helpers that not every kernel lends to tracing programs.
const HELPERS: [(&str, u32); 4] = [
    ("bpf_sk_storage_get_tracing", HELPER_SOCKET_STORAGE),
    ("bpf_get_socket_ptr_cookie", HELPER_SOCKET_COOKIE),
    ("bpf_get_current_task_btf", HELPER_TYPED_TASK),
    ("bpf_sock_from_file", HELPER_FILE_SOCKET),
];

/// Name of the enumeration of reasons.
const REASONS: &str = "sk_rst_reason";

fn programs() -> impl Iterator<Item = &'static hooks::Program> {
    let ways = TABLE.iter().flat_map(|row| row.ways);
    ways.flat_map(|way| way.programs)
}

/// Those that are hooked.
fn tracepoints() -> impl Iterator<Item = &'static str> {
    programs().filter_map(|program| match program.attachment {
        Attachment::Tracepoint(name) => Some(name),
        _ => None,
    })
}

/// The typedef of a tracepoint's prototype.
fn prototype(tracepoint: &str) -> String {
    format!("btf_trace_{tracepoint}")
}

/// Those that are hooked or called.
fn functions() -> Vec<&'static str> {
    let hooked = programs().flat_map(|program| program.attachment.functions());
    let called = HELPERS.iter().map(|(function, _)| function);
    called.chain(hooked).copied().collect()
}

/// All that [`KernelFacts::of`] asks.
fn with_questions<T>(ask: impl FnOnce(&Questions) -> T) -> T {
    let members: Vec<_> = Offsets::MEMBERS
        .iter()
        .map(|(_, structure, path)| (*structure, *path))
        .collect();
    let prototypes: BTreeSet<_> = tracepoints().map(prototype).collect();
    let prototypes: Vec<_> = prototypes.iter().map(String::as_str).collect();
    let functions: BTreeSet<_> = functions().into_iter().collect();
    let functions: Vec<_> = functions.into_iter().collect();
    ask(&Questions {
        members: &members,
        enumerations: &[REASONS],
        prototypes: &prototypes,
        functions: &functions,
    })
}

impl KernelFacts {
    /// Of the running kernel, and its types as aya wants them: those only by whose ids programs are attached, since it
    /// copies all of them and looks through them again for each program.
    fn read() -> Result<(Self, AyaBtf), StartError> {
        // All types are given back before aya copies those few.
        let (mut facts, skeleton) =
            Self::read_all().map_err(|it| preflight::no_btf(it.to_string()))?;
        if !sys::has_netns_cookies() {
            facts.offsets.net_cookie = ABSENT;
        }
        let types = AyaBtf::parse(&skeleton, Endianness::default())
            .map_err(|error| preflight::no_btf(chain(&error)))?;
        Ok((facts, types))
    }

    /// With [`Btf::skeleton`] of what programs are attached by.
    fn read_all() -> Result<(Self, Vec<u8>), BtfError> {
        let bytes = btf::read(Path::new(btf::VMLINUX))?;
        let mut types = Btf::parse(&bytes)?;
        let iterators = programs().filter_map(|program| match program.attachment {
            Attachment::Iterator(kind) => Some(format!("bpf_iter_{kind}")),
            _ => None,
        });
        let typedefs: HashSet<_> = tracepoints().map(prototype).collect();
        let functions: HashSet<_> = functions()
            .into_iter()
            .map(str::to_owned)
            .chain(iterators)
            .collect();
        Ok((
            Self::of_types(&mut types),
            types.skeleton(&typedefs, &functions),
        ))
    }

    /// Of a kernel's type information.
    pub fn of(btf: &[u8]) -> Result<Self, BtfError> {
        Btf::parse(btf).map(|mut types| Self::of_types(&mut types))
    }

    fn of_types(types: &mut Btf) -> Self {
        let tracepoints = tracepoints()
            .filter_map(|name| Some((name, types.parameters(&prototype(name))?)))
            .collect();
        let functions = types.functions(&functions());
        let granted = HELPERS
            .iter()
            .filter(|(function, _)| functions.contains_key(function));
        Self {
            offsets: Offsets::resolve(|structure, path| types.resolve(structure, path)),
            reasons: types.enumerators(REASONS, "SK_RST_REASON_"),
            helpers: granted.fold(0, |flags, (_, flag)| flags | flag),
            tracepoints,
            functions,
        }
    }

    /// The least BTF of which [`Self::of`] says the same.
    pub fn extract(btf: &[u8]) -> Result<Vec<u8>, BtfError> {
        let types = Btf::parse(btf)?;
        Ok(with_questions(|questions| types.extract(questions)))
    }

    /// Whether this kernel has what a way was written for; why not.
    pub fn fits(&self, way: &Way) -> Result<(), String> {
        for program in way.programs {
            if let Attachment::Tracepoint(name) = program.attachment
                && !self.tracepoints.contains_key(name)
            {
                return Err(format!("no tracepoint {name} in this kernel"));
            }
            if matches!(program.attachment, Attachment::Probe(_)) && !cfg!(target_arch = "x86_64") {
                return Err("kprobes are supported on x86_64 only".to_owned());
            }
            for function in program.attachment.functions() {
                if !self.functions.contains_key(function) {
                    return Err(format!("no function {function} in this kernel"));
                }
            }
        }
        way.needs.iter().try_for_each(|need| self.has(need))
    }

    fn has(&self, need: &Need) -> Result<(), String> {
        let counted = |name: &str, actual: Option<&usize>, expected: usize| match actual {
            Some(actual) if *actual == expected => Ok(()),
            Some(actual) => Err(format!(
                "{name} has {actual} parameters in this kernel, expected {expected}"
            )),
            None => Err(format!("no {name} in this kernel")),
        };
        match *need {
            Need::TracepointParameters(name, count) => {
                counted(name, self.tracepoints.get(name), count)
            }
            Need::Parameters(name, count) => counted(name, self.functions.get(name), count),
            Need::Function(name) if self.functions.contains_key(name) => Ok(()),
            Need::Function(name) => Err(format!("no {name} in this kernel")),
            Need::Reason(name) if self.reasons.iter().any(|(_, known)| known == name) => Ok(()),
            Need::Reason(name) => Err(format!("no reset reason {name} in this kernel")),
        }
    }
}

/// The object with its maps made and its globals set. Nothing runs yet.
pub struct Object {
    pub ebpf: Ebpf,
    /// The kernel's types as aya wants them.
    pub types: AyaBtf,
    /// The results of the programs verified ahead.
    verified: HashMap<String, Result<(), String>>,
}

impl Object {
    /// Reads the kernel's types, makes maps and sets globals.
    pub fn load(options: &Options) -> Result<(KernelFacts, Self), StartError> {
        let loader = loader()?;
        let (kernel, types) = KernelFacts::read()?;
        let ebpf = load(loader, options, &kernel)?;
        let object = Self {
            ebpf,
            types,
            verified: HashMap::new(),
        };
        Ok((kernel, object))
    }

    /// Has the kernel verify what `ways` need, on as many CPUs as there are: that is most of the time of a start.
    pub fn verify_ahead(&mut self, ways: &[&'static Way]) {
        let Self {
            ebpf,
            types,
            verified,
        } = self;
        let wanted: Vec<_> = ways.iter().flat_map(|way| way.programs).collect();
        let mut jobs: Vec<_> = ebpf
            .programs_mut()
            .filter_map(|(name, program)| {
                let order = wanted.iter().position(|wanted| wanted.name == name)?;
                let attachment = wanted.get(order)?.attachment;
                Some((order, name.to_owned(), program, attachment))
            })
            .collect();
        // The longest first, as near as that is known: ownership and resets head the table.
        jobs.sort_by_key(|(order, ..)| Reverse(*order));
        let workers = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(4)
            .min(jobs.len());
        let (jobs, done) = (Mutex::new(jobs), Mutex::new(HashMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let Some((_, name, program, attachment)) = job else {
                            return;
                        };
                        let result = verify(program, attachment, types);
                        done.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(name, result);
                    }
                });
            }
        });
        verified.extend(done.into_inner().unwrap_or_else(PoisonError::into_inner));
    }

    /// Unloads a program, so that a later way may verify and attach it again.
    pub fn unload(&mut self, name: &str) {
        self.verified.remove(name);
        if let Some(Err(error)) = self.ebpf.program_mut(name).map(unload) {
            debug!("cannot load {name}: {error}");
        }
    }

    /// A program as its kind, verified: ahead or now.
    pub fn program<'a, P>(
        &'a mut self,
        name: &str,
        attachment: Attachment,
    ) -> Result<&'a mut P, String>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| format!("the eBPF object has no program {name}"))?;
        match self.verified.get(name) {
            Some(result) => result.clone()?,
            None => {
                let result = verify(program, attachment, &self.types);
                self.verified.insert(name.to_owned(), result.clone());
                result?;
            }
        }
        program.try_into().map_err(|error| chain(&error))
    }
}

/// Takes a program of any kind out of the kernel, with its links.
pub fn unload(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::BtfTracePoint(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::Iter(program) => program.unload(),
        Program::SchedClassifier(program) => program.unload(),
        // The object has no others.
        _ => Ok(()),
    }
}

fn verify(program: &mut Program, attachment: Attachment, types: &AyaBtf) -> Result<(), String> {
    let result = match (program, attachment) {
        (Program::BtfTracePoint(program), Attachment::Tracepoint(name)) => {
            program.load(name, types)
        }
        (Program::FEntry(program), Attachment::Entry(function)) => program.load(function, types),
        (Program::FExit(program), Attachment::Exit(function)) => program.load(function, types),
        (Program::KProbe(program), Attachment::Probe(_)) => program.load(),
        (Program::Iter(program), Attachment::Iterator(kind)) => program.load(kind, types),
        (Program::SchedClassifier(program), Attachment::Classifier | Attachment::TestRun) => {
            program.load()
        }
        _ => {
            return Err(
                "the eBPF object has a program of this name, but of another kind".to_owned(),
            );
        }
    };
    result.map_err(|error| chain(&error))
}

/// A loader without the kernel's types, of which the object needs none. aya has each loader read and parse all of them: most of the
/// memory of a start. It does without where there is no such file. Without CAP_SYS_CHROOT they are read, and given back at once.
fn loader() -> Result<EbpfLoader<'static>, StartError> {
    let make = || {
        if let Err(error) = hide_types() {
            debug!("cannot hide the kernel's types from the loader: {error}; it reads all of them");
        }
        let mut loader = EbpfLoader::new();
        // The object has no relocations against the kernel's types.
        loader.btf(None);
        loader
    };
    let failed = |why: &dyn std::fmt::Display| {
        StartError::Failed(format!(
            "cannot start a thread to load the eBPF object: {why}; raise the limit of threads or memory"
        ))
    };
    std::thread::Builder::new()
        .spawn(make)
        .map_err(|error| failed(&error))?
        .join()
        .map_err(|_| failed(&"it ended early"))
}

/// From here on this thread, and no other, has a root directory without /sys.
fn hide_types() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_FS)?;
    chroot("/sys/kernel/btf")
}

fn load(
    loader: EbpfLoader<'static>,
    options: &Options,
    kernel: &KernelFacts,
) -> Result<Ebpf, StartError> {
    let transport = match options.transport {
        Transport::Ring => knobs::TRANSPORT_RING,
        Transport::Perf => knobs::TRANSPORT_PERF,
    };
    let (debug, empty) = (u32::from(options.debug), u32::from(options.empty));
    let detail_interval = options.detail_interval.map_or(0, |interval| {
        u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)
    });
    let (tombstones, baselines) = (slots(options.tombstones), slots(options.baselines));
    let owners = slots(options.owners);
    let pid_namespace = foreign_pid_namespace().unwrap_or(0);
    let mut loader: EbpfLoader<'_> = loader;
    loader
        .override_global(names::OFFSETS, kernel.offsets.as_bytes(), true)
        .override_global(names::TRANSPORT, &transport, true)
        .override_global(names::HELPERS, &kernel.helpers, true)
        .override_global(names::DETAIL_INTERVAL_NS, &detail_interval, true)
        .override_global(names::DEBUG, &debug, false)
        .override_global(names::EMPTY, &empty, true)
        .override_global(names::PID_NAMESPACE, &pid_namespace, true)
        .override_global(names::TOMBSTONE_SLOTS, &tombstones, true)
        .override_global(names::BASELINE_SLOTS, &baselines, true)
        .override_global(names::OWNER_SLOTS, &owners, true)
        .map_max_entries("OWNERS", owners)
        .map_max_entries("TOMBSTONES", tombstones)
        .map_max_entries("TOMBSTONE_HASHES", tombstones / 2)
        .map_max_entries("BASELINES", baselines)
        .map_max_entries("BASELINE_HASHES", baselines / 2);
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
            let missing = format!("CAP_BPF (or a security module forbids BPF: {text})");
            StartError::NotPermitted {
                missing: vec![missing],
            }
        } else {
            StartError::Failed(text)
        }
    })
}

/// Takes a map out of the object, so that it outlives it.
pub(super) fn take_map<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &str,
) -> Result<T, String> {
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| format!("the eBPF object has no map {name}"))?;
    T::try_from(map).map_err(|error| format!("map {name}: {error}"))
}

/// The size of a slot table for this many entries.
pub fn slots(wanted: u32) -> u32 {
    wanted.checked_next_power_of_two().unwrap_or(1 << 31).max(2)
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
