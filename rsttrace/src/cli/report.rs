//! Options of `rsttrace report`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;

use super::Failure;
use super::when::{When, WhenArgs};
use crate::config;
use crate::silence::candidates::Hop;

const AFTER_HELP: &str = "\
The report is a single HTML file without external resources. It lists the findings, most severe
first, with recommendations; charts of resets over time and of idle times; diagrams of the paths;
and a table of the records (the 5,000 most severe if there are more).

The report contains IP addresses, ports and process names.

Examples:
  rsttrace report --since 2d                   the last two days of the history
  rsttrace report trace.pcapng -O trace.html   a packet capture
  rsttrace report resets.rst                   a recording (`rsttrace record`)
  rsttrace -o json > resets.jsonl              JSON Lines: stop with Ctrl-C, then
  rsttrace report - -O - < resets.jsonl > page.html

Exit codes:
  0  the report was written, also if it has no findings
  1  failure
  2  invalid arguments, or the file format is not supported
  3  not permitted to read the input or write the report";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct ReportArgs {
    /// History, recording, packet capture, or JSON Lines of `rsttrace watch -o json`; `-` reads standard input [default: the
    /// history in /etc/rsttrace/config.toml, else /var/lib/rsttrace/history.db]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    when: WhenArgs,

    /// HTML file to write; `-` writes to standard output. An existing report is replaced
    #[arg(short = 'O', long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,

    /// Addresses of the capturing host [default: derived from TTLs and packet directions]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    local: Vec<IpAddr>,

    /// Overwrite an existing file that is not a report
    #[arg(long)]
    force: bool,
}

/// Validated options of `report`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportOptions {
    /// Input file; `-`: standard input.
    pub file: PathBuf,
    /// No input was named: `file` is the default path of the history.
    pub is_history: bool,
    /// HTML file; `-`: standard output.
    pub out: PathBuf,
    /// Addresses of the capturing host; empty: not given.
    pub local: Vec<IpAddr>,
    /// Whether to overwrite files that are not reports.
    pub force: bool,
    /// Time range of the records.
    pub when: When,
    /// Devices on the path from the configuration file; used for captures only.
    pub hops: Vec<Hop>,
}

impl ReportArgs {
    /// Validates the arguments and loads the configuration file.
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
