//! Options of `rsttrace history`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::ColorChoice;
use super::Failure;
use super::selection::{ExceptArgs, OnlyArgs, filter};
use super::when::WhenArgs;
use crate::config;
use crate::store::Query;
use crate::values;

const AFTER_HELP: &str = "\
The history is written by `rsttrace watch --store`, or by every `rsttrace watch` if the
configuration file has a [store] section. It can be queried while rsttrace is running.

With -o json each line is identical to the line that `rsttrace watch -o json` wrote. With -o csv
the first line is a header; later versions may append columns. Unknown values are empty. Control
characters are escaped, and values that a spreadsheet would compute begin with an apostrophe.

Exit codes:
  0  success, also if no record matches
  1  the history does not exist or is damaged
  2  invalid arguments, or the file is not a history
  3  not permitted to read the file

Examples:
  rsttrace history --since 2h --severity fault
  rsttrace history --since \"2026-01-05 12:00\" --until \"2026-01-05 13:00\" --peer 10.0.3.0/24
  rsttrace history --cause idle_timeout --process nginx -o csv > idle.csv
  rsttrace history --histogram --since 7d";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    when: WhenArgs,

    /// Show only the newest N resets
    #[arg(long, value_name = "N", value_parser = values::at_least_one, help_heading = "Time range")]
    limit: Option<u64>,

    /// Human-readable table, JSON Lines, or CSV
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Output"
    )]
    output: HistoryFormat,

    /// Show a histogram of idle times before resets, with matching timeouts, instead of records
    #[arg(long, conflicts_with = "output", help_heading = "Output")]
    histogram: bool,

    /// When to use color. NO_COLOR is honored
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        help_heading = "Output"
    )]
    color: ColorChoice,

    /// Also show resets with no impact (noise). Implied by --cause, --class and --severity noise
    #[arg(long, help_heading = "Output")]
    noise: bool,

    /// Read and show times as UTC instead of local time. JSON and CSV always use UTC
    #[arg(long, help_heading = "Output")]
    utc: bool,

    /// History file [default: the one in /etc/rsttrace/config.toml, else /var/lib/rsttrace/history.db]
    #[arg(long, value_name = "FILE", help_heading = "History")]
    store: Option<PathBuf>,

    /// Address or network of the remote end
    #[arg(long, value_name = "IP", value_delimiter = ',', value_parser = values::network, help_heading = "Filters")]
    peer: Vec<IpNet>,

    #[command(flatten)]
    only: OnlyArgs,

    #[command(flatten)]
    except: ExceptArgs,
}

/// Format of standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HistoryFormat {
    /// Human-readable table.
    #[default]
    Table,
    /// JSON Lines, as written by `watch -o json`.
    Json,
    /// Comma-separated values with a header line.
    Csv,
}

/// Validated options of `history`.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryOptions {
    pub file: PathBuf,
    pub query: Query,
    pub output: HistoryFormat,
    /// Whether to show a histogram of idle times instead of records.
    pub histogram: bool,
    pub color: ColorChoice,
    /// Time zone of the table.
    pub zone: TimeZone,
}

impl HistoryArgs {
    /// Validates the arguments; loads the configuration file if it names the history.
    pub(super) fn check(self) -> Result<HistoryOptions, Failure> {
        let zone = if self.utc {
            TimeZone::UTC
        } else {
            TimeZone::system()
        };
        let when = self.when.check(&zone)?;
        let filter = filter(self.only, self.except);
        let file = match self.store {
            Some(file) => file,
            None => config::load(None)?.store.unwrap_or_default().file,
        };
        Ok(HistoryOptions {
            file,
            query: Query {
                since: when.since,
                until: when.until,
                noise: self.noise || filter.asks_for_noise(),
                filter,
                peers: self.peer,
                quiet: self.histogram,
                newest: self.limit,
            },
            output: self.output,
            histogram: self.histogram,
            color: self.color,
            zone,
        })
    }
}
