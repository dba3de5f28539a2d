//! `rsttrace report`: from what is the page made, and where does it go?

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;

use super::Failure;
use super::when::{When, WhenArgs};
use crate::config;
use crate::idle::candidates::Hop;

const AFTER_HELP: &str = "\
The page needs nothing but itself: no network, no other file. It says in sentences what was found,
worst first, with what to change; shows when resets came, after how long a silence, and which way
they went; and holds a table of the records (the worst 5,000, if there are more).

Whoever reads the page sees addresses, ports and names of processes.

Examples:
  rsttrace report --since 2d                   what `rsttrace watch --store` kept of two days
  rsttrace report trace.pcapng -O trace.html   the resets of a capture
  rsttrace report resets.rst                   of a recording (`rsttrace record`)
  rsttrace -o json > resets.jsonl              of what was traced; Ctrl-C ends it
  rsttrace report - -O - < resets.jsonl > page.html

Exit codes:
  0  the page is written, also if nothing was found
  1  failed
  2  the command line makes no sense, or the file is no trace
  3  not permitted to read the file, or to write the page";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct ReportArgs {
    /// A history, a recording, a packet capture, or what `rsttrace watch -o json` wrote; `-`: standard input. Without it: the
    /// history that /etc/rsttrace/config.toml names, else /var/lib/rsttrace/history.db
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    when: WhenArgs,

    /// The page to write; `-`: to standard output. A page of rsttrace that is there is replaced
    #[arg(short = 'O', long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,

    /// Addresses of the capturing host; else it is told from TTLs and what the capture says
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    local: Vec<IpAddr>,

    /// Replace what is there, whatever it is
    #[arg(long)]
    force: bool,
}

/// Options of `report`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportOptions {
    /// Where records come from; `-`: standard input.
    pub file: PathBuf,
    /// Nobody named it: it is where a history is kept, if one is.
    pub is_history: bool,
    /// Where the page goes; `-`: standard output.
    pub out: PathBuf,
    /// Addresses of the host that made the capture; empty: not told.
    pub local: Vec<IpAddr>,
    /// Whatever is there is replaced.
    pub force: bool,
    /// Records of which time.
    pub when: When,
    /// The devices on the path that the configuration file names: for captures.
    pub hops: Vec<Hop>,
}

impl ReportArgs {
    /// What the arguments mean together.
    pub(super) fn check(self) -> Result<ReportOptions, Failure> {
        let config = config::load(None)?;
        Ok(ReportOptions {
            is_history: self.file.is_none(),
            file: self
                .file
                .unwrap_or_else(|| config.store.unwrap_or_default().file),
            out: self.out,
            local: self.local,
            force: self.force,
            when: self.when.check(&TimeZone::system())?,
            hops: config.hops,
        })
    }
}
