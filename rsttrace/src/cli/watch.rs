//! `rsttrace watch`: which resets are shown, for how long, in which form, and where else do they go?

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::show::{ShowArgs, ShowOptions};
use super::trace::{DescribeArgs, TraceArgs, TraceOptions};
use super::{Failure, OutputFile};
use crate::config::StoreConfig;
use crate::store::Limits;
use crate::values;

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    show: ShowArgs,

    #[command(flatten)]
    describe: DescribeArgs,

    /// End after this long: 500ms, 20s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Until when")]
    duration: Option<Duration>,

    /// Serve metrics over HTTP at ADDRESS:PORT/metrics, as 127.0.0.1:9464. They count everything, whatever the filters
    /// show. Whoever reaches the port may read them
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = values::listen_address, help_heading = "Metrics")]
    metrics: Option<SocketAddr>,

    /// Rewrite this file with the same metrics every 15 seconds and at the end, for node_exporter's textfile collector,
    /// which reads names that end in .prom
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    metrics_file: Option<PathBuf>,

    /// Record into this file all that is traced, whatever the filters show: `rsttrace replay` shows it again. It holds
    /// command lines, and only this user may read it
    #[arg(long, value_name = "FILE", help_heading = "Recording")]
    record: Option<PathBuf>,

    /// Keep everything that is explained in this file, noise too, whatever the filters show: `rsttrace history` asks it. Without
    /// FILE: the one that the configuration file names, else /var/lib/rsttrace/history.db. Also kept if the configuration file
    /// has [store]
    #[arg(long, value_name = "FILE", num_args = 0..=1, help_heading = "History")]
    store: Option<Option<PathBuf>>,

    /// Keep records this long [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = values::age, help_heading = "History")]
    keep: Option<Duration>,

    /// Keep at most so much: the oldest records go when all files of the history reach this size [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::store_bytes, help_heading = "History")]
    keep_size: Option<u64>,

    #[command(flatten)]
    trace: TraceArgs,
}

/// Options of `watch`, and of `record`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchOptions {
    /// What goes to standard output; absent: nothing. `only.netns` of its filter also limits where classifiers are attached.
    pub show: ShowOptions,
    /// End after this long.
    pub duration: Option<Duration>,
    /// How to trace.
    pub trace: TraceOptions,
    /// Where metrics go.
    pub metrics: MetricsOptions,
    /// Where all that is traced is recorded.
    pub record: Option<OutputFile>,
    /// Where everything is kept; absent: nowhere.
    pub store: Option<StoreOptions>,
}

/// Where everything is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The file.
    pub file: PathBuf,
    /// How much.
    pub limits: Limits,
    /// The command line asks for it; else the configuration file does, and another process may be at it already.
    pub required: bool,
}

/// Where metrics go; nowhere by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsOptions {
    /// Where they are served over HTTP.
    pub address: Option<SocketAddr>,
    /// The file that is rewritten with them.
    pub file: Option<PathBuf>,
}

impl WatchArgs {
    /// What the arguments mean together.
    pub(super) fn check(self) -> Result<WatchOptions, Failure> {
        let every = self.describe.every;
        let (trace, config) = self.trace.check(&self.describe)?;
        let store = store(self.store, self.keep, self.keep_size, config.store)?;
        let force = self.show.force;
        if force && self.record.is_none() && !self.show.writes() {
            return Err(Failure::Usage(
                "--force is of the files of --record and --pcapng; say one of them, too".to_owned(),
            ));
        }
        Ok(WatchOptions {
            show: self.show.check(every),
            duration: self.duration,
            trace,
            metrics: MetricsOptions {
                address: self.metrics,
                file: self.metrics_file,
            },
            record: self.record.map(|path| OutputFile { path, force }),
            store,
        })
    }
}

/// What the command line and the configuration file say of the history together.
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
                "--keep and --keep-size are of a history that is kept; say --store, too".to_owned(),
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
        assert_eq!(twins.clone().count(), 10);
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
