//! `rsttrace doctor`: tries the hooks, and checks this host's settings and sockets.

mod show;

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::anyhow;

use super::session;
use crate::cli::{self, DoctorOptions, Failure, OutputFormat, TracerOptions};
use crate::doctor::{Hook, Inspection, Report, Severity, Tracing, Verified, judge, known_timeouts};
use crate::host::{clock, environment, facts, net_counters, settings, sockets};
use crate::kernel::{
    HookState, InterfaceOptions, Options, Scope, StartError, Tracer, Transport, Way, has_btf,
};

/// For a check that reads no events, a small ring will do.
const BUFFER_BYTES: u32 = 256 << 10;
/// How long to wait for classifiers on interfaces that are there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks this host and shows what was found.
pub fn doctor(options: &DoctorOptions) -> Result<(), Failure> {
    // First the sockets: what the check itself opens is not among them.
    let sockets = sockets::of_this_namespace().map_err(|error| error.to_string());
    let inspection = Inspection {
        tracing: try_hooks(&options.tracer),
        kernel: facts::kernel_release(),
        has_own_pids: facts::foreign_pid_namespace().is_some(),
        has_btf: has_btf(),
        environment: environment::of_this_host(),
        settings: settings::of_this_namespace(),
        tracked: settings::tracked_connections(),
        counters: net_counters::of_this_namespace(),
        sockets,
        idle_from: options.idle_from,
    };
    if let (true, Tracing::NotPermitted(why)) = (inspection.is_empty(), &inspection.tracing) {
        let message = format!("cannot check this host: {why}");
        return Err(Failure::NotPermitted(message));
    }
    let findings = judge(&inspection, known_timeouts());
    let host = clock::hostname();
    match options.output {
        OutputFormat::Table => show::table(
            host.as_deref(),
            &inspection,
            &findings,
            options.color.for_stdout(),
        )?,
        OutputFormat::Json => {
            let report = Report::new(host.as_deref(), facts::own_netns(), &inspection, &findings);
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    let is_wrong = |severity| severity == Severity::Warning;
    match findings.iter().filter(|it| is_wrong(it.severity)).count() {
        0 => Ok(()),
        1 => Err(Failure::Failed(anyhow!(
            "1 warning; the finding says what to change"
        ))),
        wrong => Err(Failure::Failed(anyhow!(
            "{wrong} warnings; each finding says what to change"
        ))),
    }
}

/// Attaches everything as `watch` would, on the interfaces of this namespace, and takes it off again.
fn try_hooks(options: &TracerOptions) -> Tracing {
    let started = Tracer::start(&Options {
        transport: match options.transport {
            cli::Transport::Ring => Transport::Ring,
            cli::Transport::Perf => Transport::Perf,
        },
        buffer_bytes: BUFFER_BYTES,
        interfaces: Some(InterfaceOptions {
            mode: session::tc_mode(options.tc),
            scope: Scope::Own,
            patience: PATIENCE,
            ..InterfaceOptions::default()
        }),
        debug: options.debug_probes,
        empty: options.empty_probes,
        ..Options::default()
    });
    let tracer = match started {
        Ok(tracer) => tracer,
        Err(error) => {
            let message = error.to_string();
            return match error {
                StartError::NotPermitted { .. } => Tracing::NotPermitted(message),
                StartError::NotSupported { .. } => Tracing::NotSupported(message),
                StartError::TooFewFiles { .. } | StartError::Failed(_) => Tracing::Failed(message),
            };
        }
    };
    let hooks = tracer.hooks().iter().map(|(fact, state)| {
        let (way, refused) = match state {
            HookState::Active(way) => (Some(*way), None),
            HookState::Refused { why, .. } => (None, Some(why.clone())),
            HookState::Off => (None, Some("switched off".to_owned())),
        };
        Hook {
            fact: fact.name(),
            way: way.map(|way| way.name),
            programs: way.map(Way::names).unwrap_or_default(),
            costs: way.map_or(Some(fact.costs()), |way| way.costs),
            refused,
            extra: fact.is_extra(),
        }
    });
    let finished = tracer.finished_programs().iter().cloned();
    let mut programs: Vec<_> = tracer.programs().into_iter().chain(finished).collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    let programs = programs.into_iter().map(|program| Verified {
        name: program.name,
        verified_instructions: program.verified_instructions,
        run_time_ns: program.run_time_ns,
        runs: program.runs,
        missed: program.missed.unwrap_or(0),
    });
    Tracing::Tried {
        hooks: hooks.collect(),
        programs: programs.collect(),
        interfaces: tracer
            .names()
            .map_or_else(Vec::new, |names| names.problems().1),
    }
}
