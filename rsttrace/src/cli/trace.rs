//! Tracing options shared by `watch` and `record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::shared::{TracerArgs, TracerOptions};
use crate::config::{self, Config, ConfigError};
use crate::silence::candidates::Hop;
use crate::values;

#[derive(Debug, Args)]
pub(super) struct DescribeArgs {
    /// Report every reset individually, with all records of its incident. By default floods are sampled, and the table
    /// groups similar resets. Uses more CPU
    #[arg(long, help_heading = "Output", conflicts_with = "details")]
    pub every: bool,

    /// Rate limit for detailed records, per second, for each kind of reset, port and remote network (burst 100). Further
    /// resets are only counted. Wider floods get 4 to 8 times this limit
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
    /// Configuration file [default: /etc/rsttrace/config.toml and /etc/rsttrace/config.d/*.toml]
    #[arg(long, value_name = "FILE", help_heading = "Analysis")]
    config: Option<PathBuf>,

    /// Read no configuration file
    #[arg(long, conflicts_with = "config", help_heading = "Analysis")]
    no_config: bool,

    #[command(flatten)]
    tracer: TracerArgs,

    /// Attach TC classifiers to this interface only; `any`: to all [default: all interfaces, including new ones]
    #[arg(short, long, value_name = "NAME", value_delimiter = ',', value_parser = values::word, help_heading = "Tracing")]
    interface: Vec<String>,

    /// Do not attach TC classifiers to loopback interfaces
    #[arg(long, help_heading = "Tracing")]
    no_loopback: bool,

    /// Size of the event buffer between kernel and user space; a power of two
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = values::ring_bytes,
        default_value = "4MiB",
        help_heading = "Tracing"
    )]
    buffer: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// Detailed records per second for each kind of reset, port and network; absent: no limit.
    pub details: Option<u32>,
    /// Devices on the path from the configuration file; empty without one.
    pub hops: Vec<Hop>,
    /// Interfaces for TC classifiers; empty: all.
    pub interfaces: Vec<String>,
    /// Whether loopback interfaces get TC classifiers.
    pub loopback: bool,
    /// Buffer size in bytes: a power of two.
    pub buffer: u32,
    pub tracer: TracerOptions,
}

impl TraceArgs {
    /// Loads the configuration.
    pub(super) fn load_config(&self) -> Result<Config, ConfigError> {
        if self.no_config {
            return Ok(Config::default());
        }
        config::load(self.config.as_deref())
    }

    /// Validates the arguments; the devices on the path are from the configuration.
    pub(super) fn check(
        self,
        describe: &DescribeArgs,
        hops: Vec<Hop>,
    ) -> Result<TraceOptions, Failure> {
        if self.no_loopback && self.interface.iter().any(|name| name == "lo") {
            return Err(Failure::Usage(
                "--interface lo and --no-loopback contradict each other; remove one of them"
                    .to_owned(),
            ));
        }
        Ok(TraceOptions {
            details: (!describe.every).then_some(describe.details),
            hops,
            // As in tcpdump.
            interfaces: match self.interface.iter().any(|name| name == "any") {
                true => Vec::new(),
                false => self.interface,
            },
            loopback: !self.no_loopback,
            buffer: self.buffer,
            tracer: self.tracer.into(),
        })
    }
}

impl TraceOptions {
    /// Refill interval of the rate limit for detailed records; `None`: no limit.
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
