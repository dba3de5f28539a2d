//! Options of `rsttrace replay`.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::show::{ShowArgs, ShowOptions};
use crate::config;
use crate::silence::candidates::Hop;

const AFTER_HELP: &str = "\
Replaying a recording with the release that wrote it gives the same output, byte for byte, on any
machine. Filters and output formats are those of `rsttrace watch`.

Exit codes:
  0       success, also if the recording is truncated (rsttrace was killed, or the disk was full);
          a warning says so, and resets that were still being correlated are not shown
  1       the recording is damaged (records before the damage are shown), or this release cannot
          read it
  2 to 4  as for `rsttrace --help`

Examples:
  rsttrace replay resets.rst
  rsttrace replay resets.rst -o json --severity fault
  ssh web1 cat resets.rst | rsttrace replay -";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct ReplayArgs {
    /// Recording written by `rsttrace record` or `rsttrace watch --record`; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Log more on standard error; repeat for more (-vv). The summary of a trace then has all counts
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    show: ShowArgs,

    /// Print a line for every reset; by default the table groups similar resets
    #[arg(long, help_heading = "Output")]
    every: bool,

    /// Configuration file with the devices on the path [default: those configured at the time of recording]
    #[arg(long, value_name = "FILE", help_heading = "Analysis")]
    config: Option<PathBuf>,
}

/// Validated options of `replay`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayOptions {
    /// Recording; absent: standard input.
    pub file: Option<PathBuf>,
    pub show: ShowOptions,
    /// Devices on the path; absent: those configured at the time of recording.
    pub hops: Option<Vec<Hop>>,
    /// How many times `-v` was given.
    pub verbosity: u8,
}

impl ReplayArgs {
    /// Validates the arguments and loads the configuration file.
    pub(super) fn check(self) -> Result<ReplayOptions, Failure> {
        let hops = match &self.config {
            Some(file) => Some(config::load(Some(file))?.hops),
            None => None,
        };
        Ok(ReplayOptions {
            file: (self.file.as_os_str() != "-").then_some(self.file),
            show: self.show.check(self.every, self.verbose),
            hops,
            verbosity: self.verbose,
        })
    }
}
