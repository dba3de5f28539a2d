//! `rsttrace report`: from what is the page made, and where does it go?

use std::path::PathBuf;

use clap::Args;

const AFTER_HELP: &str = "\
The page needs nothing but itself: no network, no other file. It says in sentences what was found,
worst first, with what to change; shows when resets came, after how long a silence, and which way
they went; and holds a table of the records (the worst 5,000, if there are more).

Whoever reads the page sees addresses, ports and names of processes.

Examples:
  rsttrace -o json > resets.jsonl       collect; Ctrl-C ends it
  rsttrace report resets.jsonl          writes report.html
  rsttrace report - -O - < resets.jsonl > page.html";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct ReportArgs {
    /// What `rsttrace watch -o json` wrote; `-`: standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The page to write; `-`: to standard output. One that is there is replaced
    #[arg(short = 'O', long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

/// Options of `report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// Where records come from; `-`: standard input.
    pub file: PathBuf,
    /// Where the page goes; `-`: standard output.
    pub out: PathBuf,
}

impl From<ReportArgs> for ReportOptions {
    fn from(args: ReportArgs) -> Self {
        Self {
            file: args.file,
            out: args.out,
        }
    }
}
