//! Options shared by several commands: output format, color, tracer.

use clap::{Args, ValueEnum};

use super::ColorChoice;

/// Format of standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Human-readable table.
    #[default]
    Table,
    /// JSON Lines; `rsttrace schema` prints the schema of the records.
    Json,
}

/// Format of the output of a live trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WatchFormat {
    /// Human-readable table.
    #[default]
    Table,
    /// JSON Lines; `rsttrace schema` prints the schema of the records.
    Json,
    /// Entries of the systemd journal with fields.
    Journald,
}

impl From<OutputFormat> for WatchFormat {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Table => Self::Table,
            OutputFormat::Json => Self::Json,
        }
    }
}

/// The formats that a command has.
pub trait Format: ValueEnum + Copy + Default + Into<WatchFormat> + Send + Sync + 'static {
    const JSON: Self;
}

impl Format for OutputFormat {
    const JSON: Self = Self::Json;
}

impl Format for WatchFormat {
    const JSON: Self = Self::Json;
}

/// Transport of events from kernel to user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// BPF ring buffer.
    #[default]
    Ring,
    /// Perf event array, one buffer per CPU.
    Perf,
}

/// Attach type of TC classifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TcMode {
    /// TCX if the kernel supports it (6.6), else clsact.
    #[default]
    Auto,
    /// TCX links only.
    Tcx,
    /// The clsact qdisc, even if TCX is supported.
    Clsact,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub(super) struct TracerArgs {
    /// Transport of events from kernel to user space
    #[arg(long, value_enum, value_name = "TRANSPORT", default_value_t)]
    transport: Transport,

    /// How to attach TC classifiers
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    tc: TcMode,

    /// Log from the eBPF programs (slower)
    #[arg(long)]
    debug_probes: bool,

    /// Attach eBPF programs that do nothing, to measure what their calls alone cost
    #[arg(long, hide = true)]
    empty_probes: bool,

    /// Sockets whose owners are recorded, instead of a number that fits the memory
    #[arg(long, hide = true, value_name = "N")]
    owner_slots: Option<u32>,

    /// Log more on standard error; repeat for more (-vv). The summary of a trace then has all counts
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Validated tracer options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracerOptions {
    pub transport: Transport,
    pub tc: TcMode,
    /// Whether the eBPF programs log.
    pub debug_probes: bool,
    /// Whether the eBPF programs do nothing.
    pub empty_probes: bool,
    /// Sockets whose owners are recorded. `None`: as many as fit the memory.
    pub owner_slots: Option<u32>,
    /// How many times `-v` was given.
    pub verbosity: u8,
}

impl From<TracerArgs> for TracerOptions {
    fn from(args: TracerArgs) -> Self {
        Self {
            transport: args.transport,
            tc: args.tc,
            debug_probes: args.debug_probes,
            empty_probes: args.empty_probes,
            owner_slots: args.owner_slots,
            verbosity: args.verbose,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs<F: Format = OutputFormat> {
    /// Output format
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: F,

    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,

    /// When to use color. NO_COLOR is honored
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub color: ColorChoice,
}

impl<F: Format> OutputArgs<F> {
    pub fn format(&self) -> F {
        if self.json { F::JSON } else { self.output }
    }
}
