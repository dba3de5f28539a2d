//! `rsttrace demo`: which cases are staged, and how many must be right?

use std::path::PathBuf;

use clap::Args;

use super::ColorChoice;
use super::Failure;
use super::shared::{OutputArgs, OutputFormat, TracerArgs, TracerOptions};
use crate::values;

const AFTER_HELP: &str = "\
Each case is judged twice: with the events of one network namespace, as if it were a host of its
own, and with those of the whole host, as `rsttrace watch` judges. It is right only if both are.

Nothing outside the private namespaces is touched, and nothing stays behind. What a case needs
and this machine lacks (nft, a kernel module) is shown as not staged, with the reason; it never
counts as right.

Exit codes:
  0       no staged case was explained wrongly or as unknown
  1       one was, or --require was not met
  2 to 4  as for `rsttrace --help`

Examples:
  rsttrace demo
  rsttrace demo --all
  rsttrace demo --list
  rsttrace demo --only linger-zero,port-closed -o json";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct DemoArgs {
    /// List the cases, stage none
    #[arg(long)]
    list: bool,

    /// Stage the long cases, too: they wait out idle timeouts, about a minute in all
    #[arg(long, conflicts_with = "only")]
    all: bool,

    /// Stage these cases only; `--list` names them
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., value_parser = values::word)]
    only: Vec<String>,

    /// Fail if fewer than this many cases could be staged, or one was to have a socket older than the tracer and has not
    #[arg(long, value_name = "N", conflicts_with = "list")]
    require: Option<usize>,

    /// Keep captures of all that went over the wires of each namespace, and what was staged there, in this folder
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

/// Options of `demo`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// List the cases, stage none.
    pub list: bool,
    /// The long cases, too.
    pub all: bool,
    /// Names of the cases; empty: all of the suite. Not checked against the list of cases.
    pub only: Vec<String>,
    /// Fail if fewer were staged.
    pub require: Option<usize>,
    /// Where captures of the staging go; absent: none are made.
    pub captures: Option<PathBuf>,
    /// What goes to standard output.
    pub output: OutputFormat,
    /// When to colour it.
    pub color: ColorChoice,
    /// How to trace.
    pub tracer: TracerOptions,
}

impl DemoArgs {
    /// What the arguments mean together.
    pub(super) fn check(self) -> Result<DemoOptions, Failure> {
        if let Some(required) = self.require
            && !self.only.is_empty()
            && self.only.len() < required
        {
            return Err(Failure::Usage(format!(
                "--require {required} cannot be met by the {} cases of --only; name more or lower it",
                self.only.len()
            )));
        }
        Ok(DemoOptions {
            list: self.list,
            all: self.all,
            only: self.only,
            require: self.require,
            captures: self.captures,
            output: self.output.output,
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
