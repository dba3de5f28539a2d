//! Options of `rsttrace demo`.

use std::path::PathBuf;

use clap::Args;

use super::ColorChoice;
use super::Failure;
use super::shared::{OutputArgs, OutputFormat, TracerArgs, TracerOptions};
use crate::values;

const AFTER_HELP: &str = "\
Each case is judged twice: with the events of one network namespace, as on a separate host, and
with those of the whole host, as in `rsttrace watch`. It is right only if both explanations are.

The demo runs in private namespaces: it changes nothing outside them and leaves nothing behind.
A case whose prerequisites are missing on this machine (nft, a kernel module) is listed as \"not
staged\" with the reason. It never counts as right.

Exit codes:
  0       all staged cases were explained correctly
  1       a staged case was explained incorrectly or as unknown, or --require was not met
  2 to 4  as for `rsttrace --help`

Examples:
  rsttrace demo
  rsttrace demo --all
  rsttrace demo --list
  rsttrace demo --only linger-zero,port-closed -o json";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct DemoArgs {
    /// List the cases and exit
    #[arg(long)]
    list: bool,

    /// Also run the long cases, which wait for idle timeouts (about one minute in total)
    #[arg(long, conflicts_with = "only")]
    all: bool,

    /// Run only these cases; see `--list` for the names
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., value_parser = values::word)]
    only: Vec<String>,

    /// Fail if fewer than N cases could be staged, or if a socket that should predate the tracer does not
    #[arg(long, value_name = "N", conflicts_with = "list")]
    require: Option<usize>,

    /// Write packet captures of each namespace, and the staged truth, to this directory
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "list",
        hide_short_help = true
    )]
    captures: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    tracer: TracerArgs,
}

/// Validated options of `demo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// Whether to list the cases instead of running them.
    pub list: bool,
    /// Whether to run the long cases, too.
    pub all: bool,
    /// Names of the cases to run, not yet checked; empty: all of the suite.
    pub only: Vec<String>,
    /// Minimum number of staged cases.
    pub require: Option<usize>,
    /// Directory for packet captures; absent: none are written.
    pub captures: Option<PathBuf>,
    pub output: OutputFormat,
    pub color: ColorChoice,
    pub tracer: TracerOptions,
}

impl DemoArgs {
    pub(super) fn check(self) -> Result<DemoOptions, Failure> {
        if let Some(required) = self.require
            && !self.only.is_empty()
            && self.only.len() < required
        {
            return Err(Failure::Usage(format!(
                "--require {required} exceeds the {} cases of --only; name more cases or lower --require",
                self.only.len()
            )));
        }
        Ok(DemoOptions {
            list: self.list,
            all: self.all,
            only: self.only,
            require: self.require,
            captures: self.captures,
            output: self.output.format(),
            color: self.output.color,
            tracer: self.tracer.into(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use crate::cli::{Request, parse_from};

    #[test]
    fn cases_are_named_with_commas_spaces_or_repetition() {
        for line in [
            "rsttrace demo --only a,b",
            "rsttrace demo --only a b",
            "rsttrace demo --only a --only b",
        ] {
            let Ok(Request::Demo(options)) = parse_from(line.split(' ')) else {
                panic!("demo expected");
            };
            assert_eq!(options.only, ["a", "b"]);
        }
    }

    #[test]
    fn a_requirement_that_cannot_be_met_is_turned_away() {
        assert!(parse_from("rsttrace demo --only a --require 2".split(' ')).is_err());
        assert!(parse_from("rsttrace demo --list --require 2".split(' ')).is_err());
    }
}
