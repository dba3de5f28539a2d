//! What do storms of resets cost, under rsttrace and under other tools?

use anyhow::Result;

use super::{
    Bench,
    lab::Lab,
    tool::{DEFAULT, DEFAULT_PERF, EVERY, EVERY_JSON, EVERY_PERF, PEERS, TCPDUMP, Tool},
    trial::{Course, courses},
    workload::{Act, Place, Workload},
};

const FULL_LO: Workload = Workload::full(Act::Reset, Place::Lo);
const FULL_VETH: Workload = Workload::full(Act::Reset, Place::Veth);
const PACED_LO: Workload = Workload::paced(Act::Reset, Place::Lo);
const PACED_VETH: Workload = Workload::paced(Act::Reset, Place::Veth);
const FLOOD: Workload = Workload::full(Act::Flood, Place::Veth);
const RANDOM_FLOOD: Workload = Workload::full(Act::RandomFlood, Place::Veth);

/// rsttrace in all storms.
pub fn storm(bench: &Bench) -> Result<Vec<Course>> {
    let workloads: &[Workload] = if bench.plan.quick {
        &[FULL_VETH, FLOOD]
    } else {
        &[
            FULL_LO,
            FULL_VETH,
            PACED_LO,
            PACED_VETH,
            FLOOD,
            RANDOM_FLOOD,
        ]
    };
    let tools: &[Tool] = if bench.plan.quick {
        &[DEFAULT, EVERY]
    } else {
        &[DEFAULT, EVERY_JSON, EVERY]
    };
    measure(bench, workloads, tools)
}

/// Others beside it.
pub fn peers(bench: &Bench) -> Result<Vec<Course>> {
    let workloads: &[Workload] = if bench.plan.quick {
        &[PACED_VETH]
    } else {
        &[PACED_VETH, FULL_VETH]
    };
    let mut tools = vec![DEFAULT, EVERY];
    // One that captures and one with BPF programs show whether it works.
    let wanted = |peer: &Tool| !bench.plan.quick || [TCPDUMP, "bpftrace"].contains(&peer.name);
    tools.extend(PEERS.into_iter().filter(wanted));
    measure(bench, workloads, &tools)
}

/// Both ways of events.
pub fn transports(bench: &Bench) -> Result<Vec<Course>> {
    let workloads: &[Workload] = if bench.plan.quick {
        &[PACED_VETH]
    } else {
        &[PACED_VETH, FULL_VETH, FLOOD]
    };
    let tools: &[Tool] = if bench.plan.quick {
        &[DEFAULT, DEFAULT_PERF]
    } else {
        &[DEFAULT, DEFAULT_PERF, EVERY, EVERY_PERF]
    };
    measure(bench, workloads, tools)
}

fn measure(bench: &Bench, workloads: &[Workload], tools: &[Tool]) -> Result<Vec<Course>> {
    let lab = Lab::new(&bench.programs)?;
    let mut all = Vec::new();
    for workload in workloads {
        all.extend(courses(bench, &lab, *workload, tools)?);
    }
    Ok(all)
}
