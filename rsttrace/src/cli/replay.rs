//! `rsttrace replay`: which recording is judged again, and what of it is shown?

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::show::{ShowArgs, ShowOptions};
use crate::config;
use crate::idle::candidates::Hop;

const AFTER_HELP: &str = "\
The same recording gives the same records, byte for byte, on any machine, with the release that
recorded it. Filters and forms are those of `rsttrace watch`.

Exit codes:
  0       done, also where the recording ends before the trace did (its recorder was killed, or
          its disk was full): a warning says so, and what was not over by then is not judged
  1       it is damaged (what comes before the damage is shown), or this release cannot read it
  2 to 4  as for `rsttrace --help`

Examples:
  rsttrace replay resets.rst
  rsttrace replay resets.rst -o json --severity fault
  ssh web1 cat resets.rst | rsttrace replay -";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct ReplayArgs {
    /// What `rsttrace record` or `rsttrace watch --record` wrote; `-`: standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Say more about what the tool does, on standard error; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    show: ShowArgs,

    /// A line for each reset; else the table counts further resets of the same kind
    #[arg(long, help_heading = "Output")]
    every: bool,

    /// File that names the balancers on the path and their idle timeouts; else those that were configured when it was
    /// recorded
    #[arg(long, value_name = "FILE", help_heading = "Judging")]
    config: Option<PathBuf>,
}

/// Options of `replay`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayOptions {
    /// The recording; absent: standard input.
    pub file: Option<PathBuf>,
    /// What of it goes to standard output.
    pub show: ShowOptions,
    /// Devices on the path instead of those that were configured when it was recorded.
    pub hops: Option<Vec<Hop>>,
    /// How many times `-v` was given.
    pub verbosity: u8,
}

impl ReplayArgs {
    /// What the arguments mean together.
    pub(super) fn check(self) -> Result<ReplayOptions, Failure> {
        let hops = match &self.config {
            Some(file) => Some(config::load(Some(file))?.hops),
            None => None,
        };
        Ok(ReplayOptions {
            file: (self.file.as_os_str() != "-").then_some(self.file),
            show: self.show.check(self.every),
            hops,
            verbosity: self.verbose,
        })
    }
}
