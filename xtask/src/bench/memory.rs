//! Memory of the tracer and of the kernel, by number of open sockets.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit};
use procfs::{Current as _, Meminfo};
use rsttrace_lab::Namespace;

use super::{
    Bench, DEFAULT, Rows,
    fdinfo::SOCKET_STORAGE,
    process::{Running, Speaks},
    workload::inside,
};

/// Bytes for two open sockets and what belongs to them, estimated high so that no machine runs out of memory.
const PAIR: u64 = 16 << 10;
/// Descriptors that a process needs for other purposes.
const SPARE: u64 = 50;

pub fn measure(bench: &Bench, rows: &mut Rows) -> Result<()> {
    let (sizes, rest): (&[usize], _) = if bench.quick {
        (&[0, 10_000], Duration::from_secs(1))
    } else {
        (&[0, 100_000, 1_000_000], Duration::from_secs(10))
    };
    // The machine's own namespace may track connections.
    let namespace = Namespace::new().context("make a network namespace")?;
    for wanted in sizes {
        let pairs = affordable(wanted / 2)?;
        let case = format!("{} open sockets", pairs * 2);
        eprintln!("  {case}");
        let holders = open(bench, &namespace, pairs)?;
        let before = unreclaimable()?;
        let (tracer, ready) = bench.subject(DEFAULT).start()?;
        thread::sleep(rest);
        let held = tracer.bpf();
        let storage = held.maps.values();
        let storage = storage.filter(|map| map.kind == SOCKET_STORAGE);
        let storage = storage.map(|map| map.value_size);
        let maps = held.maps.values().map(|map| map.memory);
        let programs = held.programs.values().map(|program| program.memory);
        let kernel = unreclaimable()? - before;
        for (measure, value) in [
            ("ms to hooks attached", ready.as_secs_f64() * 1e3),
            ("MB resident", tracer.resident() as f64 / 1e6),
            ("MB of maps", maps.sum::<u64>() as f64 / 1e6),
            ("MB of programs", programs.sum::<u64>() as f64 / 1e6),
            ("bytes per socket", storage.sum::<u64>() as f64),
            ("MB of kernel memory", kernel as f64 / 1e6),
        ] {
            rows.add(&case, bench.subject(DEFAULT), measure, [value]);
        }
        tracer.end()?;
        drop(holders);
    }
    Ok(())
}

/// Limited to half of the available memory.
fn affordable(pairs: usize) -> Result<usize> {
    let memory = Meminfo::current().context("read /proc/meminfo")?;
    let available = memory.mem_available.unwrap_or(memory.mem_free);
    Ok(pairs.min(usize::try_from(available / 2 / PAIR)?))
}

/// In as many processes as the limit of descriptors requires.
fn open(bench: &Bench, namespace: &Namespace, pairs: usize) -> Result<Vec<Running>> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of descriptors")?;
    // An address has some 64,000 ports.
    let each = usize::try_from((hard.saturating_sub(SPARE)) / 2)?.clamp(1, 25_000);
    let mut holders: Vec<Running> = Vec::new();
    let mut left = pairs;
    while left > 0 {
        let number = left.min(each);
        let at = holders.len();
        let mut command = inside(namespace, &bench.programs);
        let address = format!("127.1.{}.{}", at / 250, at % 250 + 1);
        command.args(["sockets", &address, "--pairs", &number.to_string()]);
        let mut holder = Running::start(&command, Speaks::Out)?;
        holder.await_line("ready")?;
        holders.push(holder);
        left -= number;
    }
    Ok(holders)
}

/// Bytes of kernel memory that cannot be reclaimed: slabs and per-CPU memory.
fn unreclaimable() -> Result<i64> {
    let memory = Meminfo::current().context("read /proc/meminfo")?;
    let bytes = memory.s_unreclaim.unwrap_or(0) + memory.per_cpu.unwrap_or(0);
    Ok(bytes.cast_signed())
}
