//! State of a running trace for metrics and the summary.

use std::time::Duration;

use rsttrace_common::flood;
use rsttrace_common::header::{
    KIND_RESET_RECEIVED, KIND_RESET_SENT_BY_LISTENER, KIND_RESET_SENT_STATELESS,
};

use super::{Session, kernel_totals};
use crate::decode::Decoder;
use crate::host::self_usage;
use crate::kernel::{Counters, ProgramStats, Slots};
use crate::self_stats::KernelTotal;
use crate::self_stats::{
    HookVitals, KernelResets, ProgramCost, ProgramVitals, Shortfalls, TableVitals, Vitals,
};

impl Session {
    /// How it is doing now. Reads a file of /proc for each program and two for this process, and the map of counters.
    pub fn vitals(&self) -> Vitals {
        let counters = self.tracer.counters();
        self.vitals_of(counters.as_ref(), &self.tracer.programs(), self.unwatched())
    }

    /// The same, if the programs were asked before.
    pub(super) fn vitals_of(
        &self,
        counters: Option<&Counters>,
        programs: &[ProgramStats],
        unwatched: Option<u64>,
    ) -> Vitals {
        let counted = self.intake.engine.stats().counted;
        let events = counters.map_or_else(Vec::new, |counters| {
            let mut events = kernel_totals(counters, &counted, programs);
            events.push(KernelTotal {
                name: "failed".to_owned(),
                seen: counters.failed_seen,
                detailed: counted.failed,
                suppressed: counters.failed_suppressed,
                lost: counters.failed_lost,
            });
            events
        });
        let mut tables = kernel_tables(self.tracer.slots(), counters);
        tables.extend(self.intake.tables());
        Vitals {
            events,
            resets: self.kernel_resets(),
            shortfalls: Shortfalls {
                without_owner: counters
                    .map(|counters| counters.owner_evicted + counters.listener_lost),
                unwatched,
                ..self.intake.shortfalls()
            },
            programs: program_vitals(programs),
            buffer: self.events.vitals(),
            tables,
            hooks: self
                .tracer
                .hooks()
                .iter()
                .map(|(fact, _)| HookVitals {
                    fact: fact.name(),
                    way: self.tracer.hooks().way(fact).map(|way| way.name),
                })
                .collect(),
            process: self_usage::process(),
            store: None,
            lines_dropped: None,
        }
    }

    fn kernel_resets(&self) -> Vec<KernelResets> {
        let classes = self.tracer.flood().classes().unwrap_or_default();
        let named = classes.iter().filter_map(|total| {
            let class = flood::class_at(total.class)?;
            let (hook, socket) = match (class.kind, class.marked) {
                (KIND_RESET_RECEIVED, _) => ("tcp_receive_reset", "connection"),
                (KIND_RESET_SENT_BY_LISTENER, _) => ("tcp_send_reset", "listener"),
                (KIND_RESET_SENT_STATELESS, true) => ("tcp_send_reset", "nothing_for_syn"),
                (KIND_RESET_SENT_STATELESS, false) => ("tcp_send_reset", "nothing"),
                _ => ("tcp_send_reset", "connection"),
            };
            let reason = self.intake.engine.reason(class.reason);
            let state = || Decoder::state(class.state).map(|state| state.name().to_owned());
            Some(KernelResets {
                hook,
                socket,
                reason: reason.or_else(state).unwrap_or_else(|| "none".to_owned()),
                detailed: total.seen - total.suppressed.min(total.seen),
                suppressed: total.suppressed,
            })
        });
        named.collect()
    }

    /// Interfaces and namespaces without classifiers now; absent where none are attached at all.
    pub(super) fn unwatched(&self) -> Option<u64> {
        self.tracer.names().map(|names| names.problems().0)
    }
}

/// A listener's record and a connection's are counted as one kind when they are overwritten.
fn kernel_tables(slots: Slots, counters: Option<&Counters>) -> Vec<TableVitals> {
    let table = |name, capacity: u32, evictions| TableVitals {
        name,
        entries: None,
        capacity: Some(capacity.into()),
        evictions,
    };
    let mut tables = vec![
        table(
            "tombstones",
            slots.tombstones,
            counters.map(|it| it.tombstone_evicted),
        ),
        table("listeners", slots.listeners, None),
        table("owners", slots.owners, counters.map(|it| it.owner_evicted)),
        table(
            "baselines",
            slots.baselines,
            counters.map(|it| it.baseline_evicted),
        ),
        table(
            "translations",
            slots.translations,
            counters.map(|it| it.translation_evicted),
        ),
    ];
    tables.push(table("buckets", flood::BUCKETS, None));
    tables.push(table("decisions", flood::DECISIONS, None));
    tables
}

/// Where not a single program ran, the kernel does not count.
fn program_vitals(programs: &[ProgramStats]) -> Vec<ProgramVitals> {
    let counts = programs.iter().any(|program| program.runs > 0);
    programs
        .iter()
        .map(|program| ProgramVitals {
            name: program.name.clone(),
            cost: counts.then(|| ProgramCost {
                time: Duration::from_nanos(program.run_time_ns),
                runs: program.runs,
            }),
            missed: program.missed,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_statistics_of_the_kernel_no_program_is_said_to_cost_nothing() {
        let idle = ProgramStats {
            name: "idle".to_owned(),
            missed: Some(0),
            ..ProgramStats::default()
        };
        let vitals = program_vitals(std::slice::from_ref(&idle));
        assert!(vitals.iter().all(|program| program.cost.is_none()));
        let busy = ProgramStats {
            name: "busy".to_owned(),
            runs: 2,
            run_time_ns: 700,
            ..ProgramStats::default()
        };
        let vitals = program_vitals(&[busy, idle]);
        let runs: Vec<_> = vitals.iter().filter_map(|program| program.cost).collect();
        assert_eq!(runs.len(), 2);
        assert_eq!((runs[0].runs, runs[1].runs), (2, 0));
        assert_eq!((vitals[0].missed, vitals[1].missed), (None, Some(0)));
    }
}
