//! Which records go to standard output, and in which form? What `watch` and `replay` have in common.

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use jiff::tz::TimeZone;

use super::ColorChoice;
use super::selection::{ExceptArgs, OnlyArgs, filter};
use super::shared::{OutputArgs, OutputFormat};
use super::{Failure, OutputFile};
use crate::filter::Filter;
use crate::record::Severity;
use crate::sink::{
    Beside, Json, Machine, Packets, Pcapng, Reporter, Silent, Sink, Table, TableOptions, Width,
};
use crate::terminal::Palette;
use crate::values;

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

    /// Write the resets that are shown as packets, too, each with its verdict as a comment, for Wireshark. Only this
    /// user may read the file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pcapng: Option<PathBuf>,

    /// Overwrite files that are to be written
    #[arg(long, help_heading = "Output")]
    pub(super) force: bool,

    /// End after this many resets were shown
    #[arg(long, value_name = "N", help_heading = "Until when", value_parser = values::at_least_one)]
    count: Option<u64>,

    #[command(flatten)]
    only: OnlyArgs,

    #[command(flatten)]
    except: ExceptArgs,
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
    pub pcapng: Option<OutputFile>,
    /// End after this many shown records.
    pub count: Option<u64>,
    /// Which records are wanted.
    pub filter: Filter,
}

impl ShowArgs {
    /// Whether a file is to be written.
    pub(super) fn writes(&self) -> bool {
        self.pcapng.is_some()
    }

    /// What the arguments mean together.
    pub(super) fn check(self, every: bool) -> ShowOptions {
        let filter = filter(self.only, self.except);
        // Whoever names a kind of noise wants to see it.
        let named =
            !filter.only.causes.is_empty() || filter.only.severities.contains(&Severity::Noise);
        ShowOptions {
            output: Some(self.output.output),
            color: self.output.color,
            noise: self.noise || named,
            every,
            utc: self.utc,
            pcapng: self.pcapng.map(|path| OutputFile {
                path,
                force: self.force,
            }),
            count: self.count,
            filter,
        }
    }
}

/// What records are of.
#[derive(Debug, Default)]
pub struct Of<'a> {
    /// Where the resets happened.
    pub machine: Machine,
    /// They happen now: nothing that is written may hold the trace up.
    pub is_live: bool,
    /// Files that are read or written, too.
    pub others: &'a [PathBuf],
}

/// Bytes of lines handed to the reader at once in a storm.
const OUT_BUFFER: usize = 64 << 10;

impl ShowOptions {
    /// Where records go: to standard output in the form asked for and, if one is, to a capture; the summary to standard error.
    /// Fails if that capture cannot be made.
    pub fn reporter(&self, of: &Of<'_>) -> Result<Reporter, Failure> {
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
            Some(to) => {
                let others = of.others.iter().map(PathBuf::as_path);
                to.check_apart(others.chain([Path::new("/dev/stdout")]))?;
                let name = to.path.display().to_string();
                let doing = || format!("write to {name}");
                let file = to.create()?;
                let file = Pcapng::begin(file, &name, of.machine.clone()).with_context(doing)?;
                let packets = match of.is_live {
                    true => Packets::behind(file, name.clone()).with_context(doing)?,
                    false => Packets::Here(Box::new(file)),
                };
                Box::new(Beside::new(sink, packets, io::stderr()))
            }
        };
        let filter = self.filter.clone();
        Ok(Reporter::new(sink, filter, self.noise, self.count))
    }
}
