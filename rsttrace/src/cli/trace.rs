//! How is traced? What `watch` and `record` have in common.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::shared::{TracerArgs, TracerOptions};
use crate::config::{self, Config, ConfigError};
use crate::idle::candidates::Hop;
use crate::values;

#[derive(Debug, Args)]
pub(super) struct DescribeArgs {
    /// Describe each reset, whatever that costs; else floods are described by samples and counted, and the table counts
    /// further resets of the same kind
    #[arg(long, help_heading = "Output", conflicts_with = "details")]
    pub every: bool,

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
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// File that names the balancers on the path and their idle timeouts; else /etc/rsttrace/config.toml, if it exists
    #[arg(long, value_name = "FILE", help_heading = "Judging")]
    config: Option<PathBuf>,

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

/// How to trace, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// Resets a second of one kind, port and network that are described; absent: each is.
    pub details: Option<u32>,
    /// The devices on the path that the configuration file names; empty: none, or there is no file.
    pub hops: Vec<Hop>,
    /// Interfaces for classifiers; empty: all.
    pub interfaces: Vec<String>,
    /// Classifiers on loopback devices too.
    pub loopback: bool,
    /// Ring size, bytes: a power of two.
    pub buffer: u32,
    /// How events come out of the kernel.
    pub tracer: TracerOptions,
}

impl TraceArgs {
    /// What the arguments mean together, and the rest of the configuration file.
    pub(super) fn check(self, describe: &DescribeArgs) -> Result<(TraceOptions, Config), Failure> {
        if self.no_loopback && self.interface.iter().any(|name| name == "lo") {
            return Err(Failure::Usage(
                "--interface lo and --no-loopback contradict each other; leave one of them out"
                    .to_owned(),
            ));
        }
        let config = config::load(self.config.as_deref())?;
        let options = TraceOptions {
            details: (!describe.every).then_some(describe.details),
            hops: config.hops.clone(),
            interfaces: self.interface,
            loopback: !self.no_loopback,
            buffer: self.buffer,
            tracer: self.tracer.into(),
        };
        Ok((options, config))
    }
}

impl TraceOptions {
    /// Time between resets of one kind, port and network that are described; `None`: each is.
    pub fn detail_interval(&self) -> Option<Duration> {
        self.details
            .map(|details| Duration::from_secs(1) / details.max(1))
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
