//! SIGHUP under a service manager: the configuration is read again, and what a running trace can change is changed.

use log::warn;
use tokio::task::JoinHandle;

use super::history_writer::Storing;
use super::session::Session;
use crate::cli::{
    self, Failure, MetricsOptions, Request, ShowOptions, StoreOptions, TraceOptions, TracerOptions,
    WatchOptions,
};
use crate::filter::{Filter, Terms};
use crate::sink::Reporter;

/// Reading of the configuration, on a thread of its own: the files may be large, or on a disk that hangs.
#[derive(Default)]
pub struct Reading(Option<JoinHandle<Result<Request, Failure>>>);

impl Reading {
    /// Reads the configuration for this process's command line.
    pub fn start(&mut self) {
        let read = || cli::parse_from(std::env::args_os());
        self.0 = Some(tokio::task::spawn_blocking(read));
    }

    pub fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the configuration once it is read; never if nothing is being read. Cancel-safe.
    pub async fn done(&mut self) -> Result<Request, Failure> {
        let Some(task) = &mut self.0 else {
            return std::future::pending().await;
        };
        let read = task.await;
        self.0 = None;
        read.unwrap_or_else(|error| Err(anyhow::Error::from(error).into()))
    }
}

/// Applies the configuration. An invalid one changes nothing.
pub fn reload(
    read: Result<Request, Failure>,
    running: &mut WatchOptions,
    session: &mut Session,
    reporter: &mut Reporter,
    storing: &Storing,
) {
    let wanted = match read {
        Ok(Request::Watch(wanted)) => *wanted,
        // The command line is the same.
        Ok(_) => return,
        Err(failure) => {
            warn!("the configuration was not reloaded and stays as before: {failure}");
            return;
        }
    };
    let has_new_hops = wanted.trace.hops != running.trace.hops;
    let limits = |options: &WatchOptions| options.store.as_ref().map(|store| store.limits);
    let old_limits = limits(running);
    let pending = take_over(running, wanted);
    if has_new_hops && running.record.is_none() {
        session.set_hops(running.trace.hops.clone());
    }
    if let Some(new) = limits(running).filter(|new| Some(*new) != old_limits) {
        storing.set_limits(new);
    }
    reporter.select(running.show.filter.clone(), running.show.shown());
    cli::say(format_args!("the configuration was reloaded"));
    if !pending.is_empty() {
        warn!("not applied until a restart: {}", pending.join(", "));
    }
}

/// Takes over what a running trace can change; returns the names of the other options that differ.
fn take_over(running: &mut WatchOptions, wanted: WatchOptions) -> Vec<&'static str> {
    let WatchOptions {
        show,
        duration,
        trace,
        metrics,
        record,
        store,
    } = wanted;
    let ShowOptions {
        output,
        color,
        noise,
        every,
        // As `verbose`.
        detailed_summary: _,
        utc,
        pcapng,
        count,
        filter,
    } = show;
    let TraceOptions {
        details,
        hops,
        interfaces,
        loopback,
        buffer,
        tracer,
    } = trace;
    let TracerOptions {
        transport,
        tc,
        debug_probes,
        empty_probes,
        owner_slots,
        verbosity,
    } = tracer;
    let MetricsOptions {
        address,
        is_configured: _,
        file,
    } = metrics;
    let old = &*running;
    let has_new_rate = details != old.trace.details && every == old.show.every;
    let has_new_hops = hops != old.trace.hops && old.record.is_some();
    let store_file = |store: &Option<StoreOptions>| store.as_ref().map(|it| it.file.clone());
    let has_new_store = store_file(&store) != store_file(&old.store);
    let differences = [
        ("output", output != old.show.output),
        ("color", color != old.show.color),
        ("every", every != old.show.every),
        ("details", has_new_rate),
        ("utc", utc != old.show.utc),
        ("pcapng", pcapng != old.show.pcapng),
        ("count", count != old.show.count),
        ("duration", duration != old.duration),
        // It also limits where classifiers are attached.
        ("netns", filter.only.netns != old.show.filter.only.netns),
        ("metrics", address != old.metrics.address),
        ("metrics-file", file != old.metrics.file),
        ("record", record != old.record),
        ("[store] or its file", has_new_store),
        ("interface", interfaces != old.trace.interfaces),
        ("no-loopback", loopback != old.trace.loopback),
        ("buffer", buffer != old.trace.buffer),
        ("transport", transport != old.trace.tracer.transport),
        ("tc", tc != old.trace.tracer.tc),
        (
            "debug-probes",
            debug_probes != old.trace.tracer.debug_probes,
        ),
        (
            "empty-probes",
            empty_probes != old.trace.tracer.empty_probes,
        ),
        ("owner-slots", owner_slots != old.trace.tracer.owner_slots),
        ("verbose", verbosity != old.trace.tracer.verbosity),
        // The recording has those of its start.
        ("[[hop]] of a recording", has_new_hops),
    ];
    if running.record.is_none() {
        running.trace.hops = hops;
    }
    if !has_new_store && let (Some(old), Some(new)) = (&mut running.store, store) {
        old.limits = new.limits;
    }
    running.show.noise = noise;
    let netns = std::mem::take(&mut running.show.filter.only.netns);
    running.show.filter = Filter {
        only: Terms {
            netns,
            ..filter.only
        },
        ..filter
    };
    let pending = differences.into_iter().filter(|(_, differs)| *differs);
    pending.map(|(name, _)| name).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn options(table: &str) -> WatchOptions {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), table).unwrap();
        let line = ["rsttrace", "--config", file.path().to_str().unwrap()];
        match cli::parse_from(line).unwrap() {
            Request::Watch(options) => *options,
            other => panic!("watch expected, not {other:?}"),
        }
    }

    const HOP: &str =
        "[[hop]]\nname = 'edge'\naddress = '10.0.3.7'\ntimeout = '5min'\nmode = 'late_rst'\n";

    #[test]
    fn filters_noise_and_devices_change_at_once() {
        let mut running = options("[watch]\nnoise = true\nport = 80\n");
        let table = format!("{HOP}[watch]\nport = [443]\nnot-unit = 'nginx'\nseverity = 'fault'\n");
        let wanted = options(&table);
        assert_eq!(take_over(&mut running, wanted.clone()), [""; 0]);
        assert_eq!(running, wanted);
        // And back.
        let store = "[store]\nkeep = '1d'\nkeep-size = '8MiB'\n";
        running.store = options("[store]\n").store;
        let wanted = options(store);
        assert_eq!(take_over(&mut running, wanted.clone()), [""; 0]);
        assert_eq!(running, wanted);
    }

    #[test]
    fn what_needs_a_restart_is_named_and_does_not_change() {
        for (table, names) in [
            ("every = true", &["every"][..]),
            ("details = 5", &["details"]),
            ("netns = 4026531840", &["netns"]),
            ("output = 'json'\nutc = true", &["output", "utc"]),
            ("color = 'never'\ncount = 3", &["color", "count"]),
            ("duration = '1h'", &["duration"]),
            ("metrics = '127.0.0.1:9464'", &["metrics"]),
            (
                "metrics-file = '/x'\nrecord = '/y'",
                &["metrics-file", "record"],
            ),
            ("pcapng = '/x'", &["pcapng"]),
            (
                "buffer = '8MiB'\ninterface = 'lo'",
                &["interface", "buffer"],
            ),
            ("no-loopback = true\ntc = 'clsact'", &["no-loopback", "tc"]),
            ("transport = 'perf'\nverbose = 1", &["transport", "verbose"]),
            ("debug-probes = true", &["debug-probes"]),
            (
                "empty-probes = true\nowner-slots = 1",
                &["empty-probes", "owner-slots"],
            ),
            ("[store]", &["[store] or its file"]),
        ] {
            let mut running = options("");
            let wanted = options(&format!("[watch]\n{table}"));
            assert_eq!(take_over(&mut running, wanted), names, "{table}");
            assert_eq!(running, options(""), "{table}");
        }
    }

    #[test]
    fn a_recording_keeps_the_devices_of_its_start() {
        let mut running = options("[watch]\nrecord = '/x'\n");
        let wanted = options(&format!("[watch]\nrecord = '/x'\n{HOP}"));
        let pending = take_over(&mut running, wanted);
        assert_eq!(pending, ["[[hop]] of a recording"]);
        assert!(running.trace.hops.is_empty());
    }
}
