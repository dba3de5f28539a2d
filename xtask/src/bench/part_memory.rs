//! How much memory does tracing take, with how many sockets open?

use std::{thread, time::Instant};

use anyhow::{Context as _, Result};
use nix::sys::{
    resource::{Resource, getrlimit},
    signal::Signal,
};
use procfs::{Current as _, Meminfo};

use super::{
    Bench, Programs,
    fdinfo::SOCKET_STORAGE,
    lab::{self, Lab},
    process::{End, Running, Speaks},
    report::Memory,
};

/// Bytes that two open sockets take, with what belongs to them: more than that, so that no machine is driven into want.
const PAIR: u64 = 16 << 10;
/// Descriptors that a process needs for itself.
const SPARE: u64 = 50;

/// Measures.
pub fn measure(bench: &Bench) -> Result<Vec<Memory>> {
    // Away from what the machine's own namespace does with connections.
    let lab = Lab::new(&bench.programs)?;
    let sizes = bench.plan.sockets.iter();
    sizes
        .map(|number| with_sockets(bench, &lab, *number))
        .collect()
}

fn with_sockets(bench: &Bench, lab: &Lab, wanted: usize) -> Result<Memory> {
    let pairs = affordable(wanted / 2)?;
    eprintln!("  {} open sockets", pairs * 2);
    let holders = open(&bench.programs, lab, pairs)?;
    let before = unreclaimable()?;
    let begin = Instant::now();
    let mut tracer = Running::start(&bench.rsttrace(&["watch"]), Speaks::Err)?;
    let ready = tracer.await_line("tracing resets")? - begin;
    thread::sleep(bench.plan.rest);
    let held = tracer.bpf();
    let memory = Memory {
        wanted,
        sockets: pairs * 2,
        after: begin.elapsed().as_secs_f64(),
        ready: ready.as_secs_f64(),
        resident: tracer.resident(),
        maps: held.maps.values().map(|map| map.memory).sum(),
        programs: held.programs.values().map(|program| program.memory).sum(),
        socket_value: held
            .maps
            .values()
            .filter(|map| map.kind == SOCKET_STORAGE)
            .map(|map| map.value_size)
            .sum(),
        kernel_growth: unreclaimable()? - before,
    };
    tracer.end(End::Signal(Signal::SIGINT))?;
    for holder in holders {
        holder.end(End::Input)?;
    }
    Ok(memory)
}

/// No more than half of what the machine has left.
fn affordable(pairs: usize) -> Result<usize> {
    let memory = Meminfo::current().context("read /proc/meminfo")?;
    let available = memory.mem_available.unwrap_or(memory.mem_free);
    Ok(pairs.min(usize::try_from(available / 2 / PAIR)?))
}

/// In as many processes as their limit of descriptors needs.
fn open(programs: &Programs, lab: &Lab, pairs: usize) -> Result<Vec<Running>> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of descriptors")?;
    // An address has some 64,000 ports.
    let each = usize::try_from((hard.saturating_sub(SPARE)) / 2)?.clamp(1, 25_000);
    let mut holders: Vec<Running> = Vec::new();
    let mut left = pairs;
    while left > 0 {
        let number = left.min(each);
        let at = holders.len();
        let mut command = lab.command(lab::End::Client, &programs.load);
        let address = format!("127.1.{}.{}", at / 250, at % 250 + 1);
        command.args(["load", "sockets", &address, "--pairs", &number.to_string()]);
        let mut holder = Running::start(&command, Speaks::Out)?;
        holder.await_line("ready")?;
        holders.push(holder);
        left -= number;
    }
    Ok(holders)
}

/// Bytes of the kernel's that cannot be given back: slabs, and memory of CPUs.
fn unreclaimable() -> Result<i64> {
    let memory = Meminfo::current().context("read /proc/meminfo")?;
    let bytes = memory.s_unreclaim.unwrap_or(0) + memory.per_cpu.unwrap_or(0);
    Ok(bytes.cast_signed())
}
