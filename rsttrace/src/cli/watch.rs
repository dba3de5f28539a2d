//! `rsttrace watch`: which resets are shown, for how long, in which form?

use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;

use super::selection::{ExceptArgs, OnlyArgs, filter};
use super::shared::{OutputArgs, OutputFormat, TracerArgs, TracerOptions};
use super::{Failure, values};
use crate::config::{self, ConfigError};
use crate::filter::Filter;
use crate::host::facts::kernel_release;
use crate::idle::candidates::Hop;
use crate::record::Severity;
use crate::sink::{Beside, Json, Machine, Pcapng, Reporter, Sink, Table, TableOptions, Width};
use crate::terminal::{ColorChoice, Palette};

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    output: OutputArgs,

    /// Show resets that cost nobody anything; else they are only counted. Asking for a cause, or for severity noise,
    /// shows them too
    #[arg(long, help_heading = "Output")]
    noise: bool,

    /// Describe each reset, whatever that costs; else floods are described by samples and counted, and the table counts
    /// further resets of the same kind
    #[arg(long, help_heading = "Output", conflicts_with = "details")]
    every: bool,

    /// Describe at most this many resets a second of one kind, port and remote network, once there were a hundred; wider
    /// floods get four or eight times as many. The others are counted
    #[arg(
        long,
        value_name = "N",
        help_heading = "Output",
        value_parser = clap::value_parser!(u32).range(1..=10_000),
        default_value = "20"
    )]
    details: u32,

    /// Times of the table in UTC; else in local time. JSON is always UTC
    #[arg(long, help_heading = "Output")]
    utc: bool,

    /// Write the resets that are shown as packets, too, each with its verdict as a comment, for Wireshark. A file that
    /// is there is replaced
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pcapng: Option<PathBuf>,

    /// End after this long: 500ms, 20s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Until when")]
    duration: Option<Duration>,

    /// End after this many resets were shown
    #[arg(long, value_name = "N", help_heading = "Until when", value_parser = values::at_least_one)]
    count: Option<u64>,

    #[command(flatten)]
    only: OnlyArgs,

    #[command(flatten)]
    except: ExceptArgs,

    /// File that names the balancers on the path and their idle timeouts; else /etc/rsttrace/config.toml, if it exists
    #[arg(long, value_name = "FILE", help_heading = "Judging")]
    config: Option<PathBuf>,

    /// Serve metrics over HTTP at ADDRESS:PORT/metrics, as 127.0.0.1:9464. They count everything, whatever the filters
    /// show. Whoever reaches the port may read them
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = values::listen_address, help_heading = "Metrics")]
    metrics: Option<SocketAddr>,

    /// Rewrite this file with the same metrics every 15 seconds and at the end, for node_exporter's textfile collector,
    /// which reads names that end in .prom
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    metrics_file: Option<PathBuf>,

    #[command(flatten)]
    tracer: TracerArgs,

    /// Attach classifiers to this interface only; else to every one, also those that appear later
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::word, help_heading = "Tracing")]
    interface: Vec<String>,

    /// Attach no classifiers to loopback devices
    #[arg(long, help_heading = "Tracing")]
    no_loopback: bool,

    /// Size of the ring between kernel and tool: a power of two, as 4MiB
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = values::ring_bytes,
        default_value = "4MiB",
        help_heading = "Tracing"
    )]
    buffer: u32,
}

/// Options of `watch`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchOptions {
    /// What goes to standard output.
    pub output: OutputFormat,
    /// When to colour it.
    pub color: ColorChoice,
    /// Show noise.
    pub noise: bool,
    /// Group nothing, and have each reset described.
    pub every: bool,
    /// Unless `every`: resets a second of one kind, port and network that are described.
    pub details: u32,
    /// Times of the table in UTC.
    pub utc: bool,
    /// Where shown resets are written as packets.
    pub pcapng: Option<PathBuf>,
    /// End after this long.
    pub duration: Option<Duration>,
    /// End after this many shown records.
    pub count: Option<u64>,
    /// Which records are wanted; `filter.only.netns` also limits where classifiers are attached.
    pub filter: Filter,
    /// The devices on the path that the configuration file names; empty: none, or there is no file.
    pub hops: Vec<Hop>,
    /// Interfaces for classifiers; empty: all.
    pub interfaces: Vec<String>,
    /// Classifiers on loopback devices too.
    pub loopback: bool,
    /// Ring size, bytes: a power of two.
    pub buffer: u32,
    /// Where metrics go.
    pub metrics: MetricsOptions,
    /// How to trace.
    pub tracer: TracerOptions,
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
        let filter = filter(self.only, self.except);
        if self.no_loopback && self.interface.iter().any(|name| name == "lo") {
            return Err(Failure::Usage(
                "--interface lo and --no-loopback contradict each other; leave one of them out"
                    .to_owned(),
            ));
        }
        // Whoever names a kind of noise wants to see it.
        let named =
            !filter.only.causes.is_empty() || filter.only.severities.contains(&Severity::Noise);
        let config = config::load(self.config.as_deref())?;
        Ok(WatchOptions {
            output: self.output.output,
            color: self.output.color,
            noise: self.noise || named,
            every: self.every,
            details: self.details,
            utc: self.utc,
            pcapng: self.pcapng,
            duration: self.duration,
            count: self.count,
            filter,
            hops: config.hops,
            interfaces: self.interface,
            loopback: !self.no_loopback,
            buffer: self.buffer,
            metrics: MetricsOptions {
                address: self.metrics,
                file: self.metrics_file,
            },
            tracer: self.tracer.into(),
        })
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::NotPermitted(_) => Self::NotPermitted(error.to_string()),
            _ => Self::Usage(error.to_string()),
        }
    }
}

/// Bytes of lines handed to the reader at once in a storm.
const OUT_BUFFER: usize = 64 << 10;

impl WatchOptions {
    /// Time between resets of one kind, port and network that are described; `None`: each is.
    pub fn detail_interval(&self) -> Option<Duration> {
        (!self.every).then(|| Duration::from_secs(1) / self.details.max(1))
    }

    /// Where records go: to standard output in the form asked for and, if one is, to a capture; the summary to standard
    /// error. Fails if that capture cannot be made.
    pub fn reporter(&self) -> Result<Reporter, Failure> {
        let (out, aside) = (
            BufWriter::with_capacity(OUT_BUFFER, io::stdout()),
            io::stderr(),
        );
        let sink: Box<dyn Sink + Send> = match self.output {
            OutputFormat::Json => Box::new(Json::new(out, aside)),
            OutputFormat::Table => {
                let options = TableOptions {
                    width: Width::Terminal,
                    palette: Palette {
                        colors: self.color.for_stdout(),
                    },
                    zone: if self.utc {
                        TimeZone::UTC
                    } else {
                        TimeZone::system()
                    },
                    every: self.every,
                };
                Box::new(Table::new(out, aside, options))
            }
        };
        let sink = match &self.pcapng {
            None => sink,
            Some(file) => {
                let machine = Machine {
                    kernel: kernel_release(),
                };
                let file = Pcapng::create(file, machine)
                    .map_err(|error| Failure::Usage(error.to_string()))?;
                Box::new(Beside::new(sink, file, io::stderr()))
            }
        };
        let filter = self.filter.clone();
        Ok(Reporter::new(sink, filter, self.noise, self.count))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
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
        assert_eq!(options.filter.only.ports.len(), 3);
        assert_eq!(options.filter.except.processes.len(), 2);
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
        assert!(!watch("").unwrap().noise);
        assert!(!watch("--severity fault").unwrap().noise);
        assert!(watch("--severity noise").unwrap().noise);
        let options = watch("--cause stray_ack").unwrap();
        assert!(options.noise);
        assert_eq!(options.filter.only.causes, [Cause::StrayAck]);
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
        assert_eq!(watch(&config).unwrap().hops[0].name, "edge");
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
