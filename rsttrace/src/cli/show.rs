//! Output options shared by `watch`, `replay` and `pcap`, and the reporter built from them.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use jiff::tz::TimeZone;

use super::ColorChoice;
use super::selection::{ExceptArgs, OnlyArgs, filter};
use super::shared::{Format, OutputArgs, OutputFormat, WatchFormat};
use super::{Failure, OutputFile};
use crate::background::Background;
use crate::diagnostics::Stderr;
use crate::filter::{Expression, Filter};
use crate::sink::{
    JOURNAL, Journal, Journald, Json, Machine, Null, Packets, Pcapng, Reporter, Shown, Sink, Table,
    TableOptions, Tee, Width,
};
use crate::terminal::{self, Palette};
use crate::values;

#[derive(Debug, Args)]
pub(super) struct ShowArgs<F: Format = OutputFormat> {
    #[command(flatten)]
    output: OutputArgs<F>,

    /// Also show resets with no impact (noise); by default they are only counted. Implied by --cause, --class and --severity noise
    #[arg(long, help_heading = "Output")]
    noise: bool,

    /// Show times in the table as UTC instead of local time. JSON always uses UTC
    #[arg(long, help_heading = "Output")]
    utc: bool,

    /// Also write the resets shown as packets to a pcapng file for Wireshark, with the verdict as packet comment. The mode
    /// of the file is 0600
    #[arg(short = 'w', long, value_name = "FILE", help_heading = "Output")]
    pcapng: Option<PathBuf>,

    /// Overwrite existing output files
    #[arg(long, help_heading = "Output")]
    pub(super) force: bool,

    /// Stop after showing this many resets
    #[arg(short, long, value_name = "N", help_heading = "Stop conditions", value_parser = values::at_least_one)]
    count: Option<u64>,

    #[command(flatten)]
    only: OnlyArgs,

    #[command(flatten)]
    except: ExceptArgs,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShowOptions<F = OutputFormat> {
    /// Format of the output; absent: nothing is printed.
    pub output: Option<F>,
    pub color: ColorChoice,
    pub noise: bool,
    /// Whether similar resets get a line each instead of being grouped.
    pub every: bool,
    /// Whether the summary has all counts.
    pub detailed_summary: bool,
    /// Whether times in the table are UTC.
    pub utc: bool,
    /// Pcapng file for the resets shown.
    pub pcapng: Option<OutputFile>,
    /// Number of shown records after which the command ends.
    pub count: Option<u64>,
    pub filter: Filter,
}

impl<F: Format> ShowArgs<F> {
    /// Whether an output file was requested.
    pub(super) fn writes(&self) -> bool {
        self.pcapng.is_some()
    }

    pub(super) fn check(self, every: bool, verbosity: u8) -> ShowOptions<F> {
        let filter = filter(self.only, self.except);
        ShowOptions {
            output: Some(self.output.format()),
            color: self.output.color,
            noise: self.noise || filter.asks_for_noise(),
            every,
            detailed_summary: verbosity > 0,
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

/// The source of the records.
#[derive(Default)]
pub struct Of<'a> {
    /// Machine where the resets happened.
    pub machine: Machine,
    /// Standard output of a live trace, which writing must not block.
    pub live: Option<&'a Background>,
    /// Other files that this command reads or writes.
    pub others: &'a [PathBuf],
}

/// Output buffer in bytes.
const OUT_BUFFER: usize = 64 << 10;

impl<F: Format> ShowOptions<F> {
    /// Narrows the filter down.
    pub(super) fn add_expression(&mut self, expression: Expression) {
        self.filter.expression = Some(expression);
        self.noise |= self.filter.asks_for_noise();
    }

    /// Whether a live trace has a status line.
    pub fn shows_status(&self) -> bool {
        self.output.map(F::into) == Some(WatchFormat::Table) && terminal::can_overwrite()
    }

    /// Which of the records that pass the filter are shown.
    pub fn shown(&self) -> Shown {
        match (self.noise, self.every) {
            (true, _) => Shown::Noise,
            (false, true) => Shown::Resets,
            (false, false) => Shown::Incidents,
        }
    }

    /// Builds the reporter: records go to standard output or the journal and, if requested, to a pcapng file; the summary goes to standard
    /// error. Fails if the pcapng file cannot be created.
    pub fn reporter(&self, of: &Of<'_>) -> Result<Reporter, Failure> {
        let out: Box<dyn Write + Send> = match of.live {
            Some(background) => Box::new(background.lines()),
            None => Box::new(BufWriter::with_capacity(OUT_BUFFER, io::stdout())),
        };
        let aside = Stderr;
        let sink: Box<dyn Sink + Send> = match self.output.map(F::into) {
            None => Box::new(Null::new(aside)),
            Some(WatchFormat::Json) => Box::new(Json::new(out, aside)),
            Some(WatchFormat::Journald) => {
                let dropped = of.live.map(Background::drop_counter).unwrap_or_default();
                let journal = Journal::start(Path::new(JOURNAL), dropped).with_context(|| {
                    format!("cannot connect to the journal at {JOURNAL}; use `-o table` or `-o json` where systemd-journald does not run")
                })?;
                Box::new(Journald::new(journal, aside, self.every))
            }
            Some(WatchFormat::Table) => {
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
                    status: of.live.is_some() && self.shows_status(),
                };
                Box::new(Table::new(terminal::text(out), aside, options))
            }
        };
        let sink = match &self.pcapng {
            None => sink,
            Some(to) if to.path.as_os_str() == "-" => {
                return Err(Failure::Usage(
                    "--pcapng -: standard output has the records; use a file or a named pipe"
                        .to_owned(),
                ));
            }
            Some(to) => {
                let others = of.others.iter().map(PathBuf::as_path);
                to.check_apart(others.chain([Path::new("/dev/stdout")]))?;
                let name = to.path.display().to_string();
                let doing = || format!("cannot write {name}");
                let file = to.create()?;
                let file = Pcapng::begin(file, &name, of.machine.clone()).with_context(doing)?;
                let packets = match of.live {
                    Some(_) => Packets::behind(file, name.clone()).with_context(doing)?,
                    None => Packets::Here(Box::new(file)),
                };
                Box::new(Tee::new(sink, packets, Stderr))
            }
        };
        let filter = self.filter.clone();
        Ok(Reporter::new(sink, filter, self.shown(), self.count)
            .with_details(self.detailed_summary))
    }
}
