//! `rsttrace history`: which of the kept records, and in which form?

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::ColorChoice;
use super::Failure;
use super::selection::{ExceptArgs, OnlyArgs, filter};
use super::when::WhenArgs;
use crate::config;
use crate::record::Severity;
use crate::store::Query;
use crate::values;

const AFTER_HELP: &str = "\
Records are kept by `rsttrace watch --store`, or by every `rsttrace watch` if the configuration
file has [store]. They can be asked for while that runs.

With -o json each line is what `rsttrace watch -o json` wrote, byte for byte. With -o csv the
first line names the columns; later versions may add some behind the last. A value that is not
known is empty, and values are written as they are: a spreadsheet may take some for formulas.

Exit codes:
  0  done, also when nothing was found
  1  no history is kept there, or it is damaged
  2  the command line makes no sense, or the file is no history
  3  not permitted to read it

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

    /// The newest N resets only
    #[arg(long, value_name = "N", value_parser = values::at_least_one, help_heading = "When")]
    limit: Option<u64>,

    /// Lines for people, one JSON object a line, or comma-separated values
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Output"
    )]
    output: HistoryFormat,

    /// Instead of records: how long connections had been silent before they were reset, with the timeouts that fit
    #[arg(long, conflicts_with = "output", help_heading = "Output")]
    histogram: bool,

    /// Colours: on a terminal, always, never; NO_COLOR is heeded
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        help_heading = "Output"
    )]
    color: ColorChoice,

    /// Show resets that cost nobody anything, too. Asking for a cause, or for severity noise, shows them as well
    #[arg(long, help_heading = "Output")]
    noise: bool,

    /// Times given and shown are UTC; else local. JSON and CSV always show UTC
    #[arg(long, help_heading = "Output")]
    utc: bool,

    /// The history; else the one that /etc/rsttrace/config.toml names, else /var/lib/rsttrace/history.db
    #[arg(long, value_name = "FILE", help_heading = "History")]
    store: Option<PathBuf>,

    /// Address or network of the other end
    #[arg(long, value_name = "IP", value_delimiter = ',', value_parser = values::network, help_heading = "Filters")]
    peer: Vec<IpNet>,

    #[command(flatten)]
    only: OnlyArgs,

    #[command(flatten)]
    except: ExceptArgs,
}

/// What goes to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HistoryFormat {
    /// Lines for people.
    #[default]
    Table,
    /// The lines that `watch -o json` wrote.
    Json,
    /// Comma-separated values.
    Csv,
}

/// Options of `history`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryOptions {
    /// The file.
    pub file: PathBuf,
    /// What is asked.
    pub query: Query,
    /// What goes to standard output.
    pub output: HistoryFormat,
    /// Silences instead of records.
    pub histogram: bool,
    /// When to colour it.
    pub color: ColorChoice,
    /// Zone of the times that are shown to people.
    pub zone: TimeZone,
}

impl HistoryArgs {
    /// What the arguments mean together.
    pub(super) fn check(self) -> Result<HistoryOptions, Failure> {
        let zone = if self.utc {
            TimeZone::UTC
        } else {
            TimeZone::system()
        };
        let when = self.when.check(&zone)?;
        let filter = filter(self.only, self.except);
        let named =
            !filter.only.causes.is_empty() || filter.only.severities.contains(&Severity::Noise);
        let file = match self.store {
            Some(file) => file,
            None => config::load(None)?.store.unwrap_or_default().file,
        };
        Ok(HistoryOptions {
            file,
            query: Query {
                since: when.since,
                until: when.until,
                filter,
                peers: self.peer,
                noise: self.noise || named,
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
