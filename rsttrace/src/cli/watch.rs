//! Options of `rsttrace watch`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::shared::WatchFormat;
use super::show::{ShowArgs, ShowOptions};
use super::trace::{DescribeArgs, TraceArgs, TraceOptions};
use super::{Failure, OutputFile, expression};
use crate::config::{Config, ConfigError, StoreConfig};
use crate::store::Limits;
use crate::values;

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Filter as in tcpdump, over resets: 'host 10.0.0.1 and port 443', 'src net 10.0.0.0/8 and not comm nginx'. Words: host, net, port,
    /// portrange, src, dst, ip, ip6, comm, pid, unit, container, pod, netns, cause, class, severity, direction, failure, and, or, not
    #[arg(value_name = "EXPRESSION", conflicts_with = "filter")]
    expression: Vec<String>,

    /// Accepted as in tcpdump: rsttrace never resolves names
    #[arg(short, hide = true, action = clap::ArgAction::Count)]
    numeric: u8,

    #[command(flatten)]
    show: ShowArgs<WatchFormat>,

    #[command(flatten)]
    describe: DescribeArgs,

    /// Stop after this time: 500ms, 20s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Stop conditions")]
    duration: Option<Duration>,

    /// Serve Prometheus metrics at http://ADDRESS:PORT/metrics, for example 127.0.0.1:9464. Filters do not apply. There is
    /// no authentication
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = values::listen_address, help_heading = "Metrics")]
    metrics: Option<SocketAddr>,

    /// Write the metrics to this file every 15 seconds and on exit, for the textfile collector of node_exporter (the name must
    /// end in .prom there)
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    metrics_file: Option<PathBuf>,

    /// Record all events to this file for `rsttrace replay`. Filters do not apply. The file contains command lines; its mode
    /// is 0600
    #[arg(long, value_name = "FILE", help_heading = "Recording")]
    record: Option<PathBuf>,

    /// Keep a history of all records, including noise, for `rsttrace history`. Filters do not apply. FILE defaults to the one in
    /// the configuration file, else /var/lib/rsttrace/history.db. A [store] section in the configuration file enables the
    /// history on every run
    #[arg(long, value_name = "FILE", num_args = 0..=1, help_heading = "History")]
    store: Option<Option<PathBuf>>,

    /// Retention time of the history [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = values::age, help_heading = "History")]
    keep: Option<Duration>,

    /// Maximum size of the history, all files together; old noise is deleted first, faults last [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::store_bytes, help_heading = "History")]
    keep_size: Option<u64>,

    #[command(flatten)]
    trace: TraceArgs,
}

/// Validated options of `watch` and `record`.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchOptions {
    /// Output; `only.netns` of its filter also limits where classifiers are attached.
    pub show: ShowOptions<WatchFormat>,
    /// Time after which the trace ends.
    pub duration: Option<Duration>,
    pub trace: TraceOptions,
    pub metrics: MetricsOptions,
    pub record: Option<OutputFile>,
    /// History; absent: none is kept.
    pub store: Option<StoreOptions>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    pub file: PathBuf,
    pub limits: Limits,
    /// Requested on the command line, so failing to open it is an error. Otherwise the configuration file asks for it, and
    /// another process may already write it.
    pub required: bool,
}

/// Metrics exporters; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsOptions {
    /// HTTP listen address.
    pub address: Option<SocketAddr>,
    /// The address is from the configuration file, so another `watch` on this host may already serve it.
    pub is_configured: bool,
    /// Textfile for node_exporter.
    pub file: Option<PathBuf>,
}

impl WatchArgs {
    /// Loads the configuration, which may contain further options.
    pub(super) fn load_config(&self) -> Result<Config, ConfigError> {
        self.trace.load_config()
    }

    /// Validates the arguments and adds the devices and the history of the configuration.
    pub(super) fn check(self, config: &Config) -> Result<WatchOptions, Failure> {
        let every = self.describe.every;
        let trace = self.trace.check(&self.describe, config.hops.clone())?;
        let store = store(self.store, self.keep, self.keep_size, config.store.clone())?;
        let force = self.show.force;
        if force && self.record.is_none() && !self.show.writes() {
            return Err(Failure::Usage(
                "--force has no effect without --record or --pcapng; add one of them, or remove --force".to_owned(),
            ));
        }
        let mut show = self.show.check(every, trace.tracer.verbosity);
        if !self.expression.is_empty() {
            let expression = expression::parse(&self.expression.join(" "));
            show.add_expression(expression.map_err(Failure::Usage)?);
        }
        Ok(WatchOptions {
            show,
            duration: self.duration,
            trace,
            metrics: MetricsOptions {
                address: self.metrics,
                is_configured: false,
                file: self.metrics_file,
            },
            record: self.record.map(|path| OutputFile { path, force }),
            store,
        })
    }
}

/// Combines the command line with the configuration file; the command line takes precedence.
fn store(
    named: Option<Option<PathBuf>>,
    keep: Option<Duration>,
    keep_size: Option<u64>,
    config: Option<StoreConfig>,
) -> Result<Option<StoreOptions>, Failure> {
    let required = named.is_some();
    if !required && config.is_none() {
        return if keep.is_some() || keep_size.is_some() {
            Err(Failure::Usage(
                "--keep and --keep-size have no effect without a history; add --store".to_owned(),
            ))
        } else {
            Ok(None)
        };
    }
    let config = config.unwrap_or_default();
    Ok(Some(StoreOptions {
        file: named.flatten().unwrap_or(config.file),
        limits: Limits {
            age: keep.unwrap_or(config.limits.age),
            bytes: keep_size.unwrap_or(config.limits.bytes),
        },
        required,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::{Request, parse_from};
    use crate::record::Cause;

    fn watch(arguments: &str) -> Result<WatchOptions, Failure> {
        let arguments = ["rsttrace"].into_iter().chain(arguments.split_whitespace());
        match parse_from(arguments)? {
            Request::Watch(options) => Ok(*options),
            other => panic!("watch expected, not {other:?}"),
        }
    }

    #[test]
    fn filters_take_lists_and_repetitions() {
        let options = watch("--port 80,443 --port 8000-8999 --not-process sshd,22").unwrap();
        assert_eq!(options.show.filter.only.ports.len(), 3);
        assert_eq!(options.show.filter.except.processes.len(), 2);
    }

    #[test]
    fn every_filter_has_its_twin() {
        use clap::CommandFactory as _;
        let command = crate::cli::Cli::command();
        let names: Vec<_> = command
            .get_arguments()
            .filter_map(|argument| argument.get_long())
            .collect();
        let twins = names.iter().filter_map(|name| name.strip_prefix("not-"));
        assert_eq!(twins.clone().count(), 12);
        for name in twins {
            assert!(names.contains(&name), "--not-{name} without --{name}");
        }
    }

    #[test]
    fn naming_a_kind_of_noise_shows_it() {
        assert!(!watch("").unwrap().show.noise);
        assert!(!watch("--severity fault").unwrap().show.noise);
        assert!(watch("--severity noise").unwrap().show.noise);
        let options = watch("--cause stray_ack").unwrap();
        assert!(options.show.noise);
        assert_eq!(options.show.filter.only.causes, [Cause::StrayAck]);
        assert!(watch("--class health_check").unwrap().show.noise);
        assert!(!watch("--not-class port_scan").unwrap().show.noise);
    }

    #[test]
    fn the_configuration_file_names_hops() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hops.toml");
        let config = format!("--config {}", file.display());
        let failure = watch(&config).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)), "{failure}");
        std::fs::write(
            &file,
            "[[hop]]\nname = 'edge'\naddress = '10.0.3.7'\ntimeout = '5min'\nmode = 'late_rst'\n",
        )
        .unwrap();
        assert_eq!(watch(&config).unwrap().trace.hops[0].name, "edge");
    }

    #[test]
    fn a_history_is_kept_if_either_says_so_and_the_command_line_wins() {
        assert_eq!(watch("").unwrap().store, None);
        let store = watch("--store").unwrap().store.unwrap();
        assert_eq!(store.file, Path::new(crate::store::DEFAULT_PATH));
        assert!(store.required);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "[store]\nfile = '/srv/h.db'\nkeep = '1d'\n").unwrap();
        let config = format!("--config {}", file.display());
        let store = watch(&config).unwrap().store.unwrap();
        assert_eq!(store.file, Path::new("/srv/h.db"));
        assert!(!store.required);
        let store = watch(&format!("{config} --store x.db --keep-size 8MiB"))
            .unwrap()
            .store
            .unwrap();
        assert_eq!(store.file, Path::new("x.db"));
        assert_eq!(
            (store.limits.age.as_secs(), store.limits.bytes),
            (86_400, 8 << 20)
        );
        let store = watch(&format!("{config} --store --keep 2d"))
            .unwrap()
            .store
            .unwrap();
        assert_eq!(store.file, Path::new("/srv/h.db"));
        assert_eq!(store.limits.age.as_secs(), 2 * 86_400);
    }

    #[test]
    fn the_option_of_tcpdump_may_be_repeated() {
        for line in ["-n", "-nn", "-nnv", "-n -n"] {
            let line = ["rsttrace", "watch", "--no-config"]
                .into_iter()
                .chain(line.split(' '));
            assert!(parse_from(line.clone()).is_ok(), "{line:?}");
        }
    }

    #[test]
    fn contradictions_and_zeros_are_turned_away() {
        for wrong in [
            "--interface lo --no-loopback",
            "--count 0",
            "--duration 0s",
            "--buffer 3MiB",
            "--cause bad_luck",
            "--port 70000",
        ] {
            let failure = watch(wrong).unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{wrong}");
        }
    }
}
