//! Options of `rsttrace record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::show::ShowOptions;
use super::trace::{DescribeArgs, TraceArgs};
use super::{Failure, MetricsOptions, OutputFile, WatchOptions};
use crate::filter::{Filter, Terms};
use crate::values;

const AFTER_HELP: &str = "\
A recording contains the kernel events and the host facts (processes, settings) at that time,
including command lines. Its mode is 0600. It is flushed at least once per second, so at most one
second is lost if rsttrace is killed. `rsttrace replay FILE` needs no privileges, runs on any
machine, and prints exactly what `rsttrace watch` would have printed.

Exit codes:
  as for `rsttrace --help`

Examples:
  sudo rsttrace record resets.rst --duration 10m
  sudo rsttrace watch --record resets.rst
  rsttrace replay resets.rst --port 443";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct RecordArgs {
    /// Recording file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Overwrite an existing file
    #[arg(long)]
    force: bool,

    /// Stop after this time: 500ms, 20s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Stop conditions")]
    duration: Option<Duration>,

    /// Stop after this many resets
    #[arg(long, value_name = "N", help_heading = "Stop conditions", value_parser = values::at_least_one)]
    count: Option<u64>,

    #[command(flatten)]
    describe: DescribeArgs,

    /// Attach TC classifiers in this network namespace only (inode number, name under /run/netns, or path), and count only
    /// its resets. Tracepoint events of other namespaces are recorded, too
    #[arg(long, value_name = "NETNS", value_delimiter = ',', value_parser = values::netns, help_heading = "Tracing")]
    netns: Vec<u32>,

    #[command(flatten)]
    trace: TraceArgs,
}

impl RecordArgs {
    /// Validates the arguments: `record` is a `watch` without output.
    pub(super) fn check(self) -> Result<WatchOptions, Failure> {
        let hops = self.trace.load_config()?.hops;
        let filter = Filter {
            only: Terms {
                netns: self.netns,
                ..Terms::default()
            },
            ..Filter::default()
        };
        let trace = self.trace.check(&self.describe, hops)?;
        Ok(WatchOptions {
            show: ShowOptions {
                count: self.count,
                noise: true,
                detailed_summary: trace.tracer.verbosity > 0,
                filter,
                ..ShowOptions::default()
            },
            duration: self.duration,
            trace,
            store: None,
            metrics: MetricsOptions::default(),
            record: Some(OutputFile {
                path: self.file,
                force: self.force,
            }),
        })
    }
}
