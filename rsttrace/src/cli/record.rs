//! `rsttrace record`: what is recorded, for how long, into which file?

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::show::ShowOptions;
use super::trace::{DescribeArgs, TraceArgs};
use super::{Failure, MetricsOptions, OutputFile, WatchOptions};
use crate::filter::{Filter, Terms};
use crate::values;

const AFTER_HELP: &str = "\
The file holds what the kernel said and what the host knew then, command lines of processes
included: only this user may read it. It is written at least once a second, so a recorder that is
killed loses no more. `rsttrace replay FILE` needs no rights and no kernel, and prints the very
records that `rsttrace watch` would have printed.

Exit codes:
  as for `rsttrace --help`

Examples:
  sudo rsttrace record resets.rst --duration 10m
  sudo rsttrace watch --record resets.rst
  rsttrace replay resets.rst --port 443";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct RecordArgs {
    /// Where it goes
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Overwrite the file
    #[arg(long)]
    force: bool,

    /// End after this long: 500ms, 20s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Until when")]
    duration: Option<Duration>,

    /// End after this many resets were explained
    #[arg(long, value_name = "N", help_heading = "Until when", value_parser = values::at_least_one)]
    count: Option<u64>,

    #[command(flatten)]
    describe: DescribeArgs,

    /// Attach classifiers in this network namespace only (inode, name under /run/netns, or path), and count its resets
    /// alone; what the tracepoints see elsewhere is recorded all the same
    #[arg(long, value_name = "NETNS", value_delimiter = ',', value_parser = values::netns, help_heading = "Tracing")]
    netns: Vec<u32>,

    #[command(flatten)]
    trace: TraceArgs,
}

impl RecordArgs {
    /// What the arguments mean together: to watch and show nothing.
    pub(super) fn check(self) -> Result<WatchOptions, Failure> {
        let filter = Filter {
            only: Terms {
                netns: self.netns,
                ..Terms::default()
            },
            ..Filter::default()
        };
        Ok(WatchOptions {
            show: ShowOptions {
                count: self.count,
                noise: true,
                filter,
                ..ShowOptions::default()
            },
            duration: self.duration,
            trace: self.trace.check(&self.describe)?.0,
            store: None,
            metrics: MetricsOptions::default(),
            record: Some(OutputFile {
                path: self.file,
                force: self.force,
            }),
        })
    }
}
