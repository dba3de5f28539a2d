//! Which records go to standard output, and in which form? What `watch` and `replay` have in common.

use std::io::{self, BufWriter};
use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;

use super::Failure;
use super::shared::{OutputArgs, OutputFormat};
use crate::filter::Filter;
use crate::record::Severity;
use crate::sink::{
    Beside, Json, Machine, Pcapng, Reporter, Silent, Sink, Table, TableOptions, Width,
};
use crate::terminal::{ColorChoice, Palette};

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    output: OutputArgs,

    /// Show resets that cost nobody anything; else they are only counted. Asking for a cause, or for severity noise,
    /// shows them too
    #[arg(long, help_heading = "Output")]
    noise: bool,

    /// Times of the table in UTC; else in local time. JSON is always UTC
    #[arg(long, help_heading = "Output")]
    utc: bool,

    /// Write the resets that are shown as packets, too, each with its verdict as a comment, for Wireshark. A file that
    /// is there is replaced
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pcapng: Option<PathBuf>,
}

/// What goes to standard output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShowOptions {
    /// In which form; absent: nothing does.
    pub output: Option<OutputFormat>,
    /// When to colour it.
    pub color: ColorChoice,
    /// Show noise.
    pub noise: bool,
    /// Group nothing.
    pub every: bool,
    /// Times of the table in UTC.
    pub utc: bool,
    /// Where shown resets are written as packets.
    pub pcapng: Option<PathBuf>,
    /// End after this many shown records.
    pub count: Option<u64>,
    /// Which records are wanted.
    pub filter: Filter,
}

impl ShowArgs {
    /// What the arguments mean together.
    pub(super) fn check(self, filter: Filter, every: bool, count: Option<u64>) -> ShowOptions {
        // Whoever names a kind of noise wants to see it.
        let named =
            !filter.only.causes.is_empty() || filter.only.severities.contains(&Severity::Noise);
        ShowOptions {
            output: Some(self.output.output),
            color: self.output.color,
            noise: self.noise || named,
            every,
            utc: self.utc,
            pcapng: self.pcapng,
            count,
            filter,
        }
    }
}

/// Bytes of lines handed to the reader at once in a storm.
const OUT_BUFFER: usize = 64 << 10;

impl ShowOptions {
    /// Where records go: to standard output in the form asked for and, if one is, to a capture, which is of `machine`; the
    /// summary to standard error. Fails if that capture cannot be made.
    pub fn reporter(&self, machine: Machine) -> Result<Reporter, Failure> {
        let (out, aside) = (
            BufWriter::with_capacity(OUT_BUFFER, io::stdout()),
            io::stderr(),
        );
        let sink: Box<dyn Sink + Send> = match self.output {
            None => Box::new(Silent::new(aside)),
            Some(OutputFormat::Json) => Box::new(Json::new(out, aside)),
            Some(OutputFormat::Table) => {
                let options = TableOptions {
                    width: Width::Terminal,
                    palette: Palette {
                        colors: self.color.for_stdout(),
                    },
                    zone: if self.utc {
                        TimeZone::UTC
                    } else {
                        TimeZone::system()
                    },
                    every: self.every,
                };
                Box::new(Table::new(out, aside, options))
            }
        };
        let sink = match &self.pcapng {
            None => sink,
            Some(file) => {
                let file = Pcapng::create(file, machine)
                    .map_err(|error| Failure::Usage(error.to_string()))?;
                Box::new(Beside::new(sink, file, io::stderr()))
            }
        };
        let filter = self.filter.clone();
        Ok(Reporter::new(sink, filter, self.noise, self.count))
    }
}
