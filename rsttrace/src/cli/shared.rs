//! Which options do several commands have in common?

use clap::{Args, ValueEnum};

use super::ColorChoice;

/// What goes to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Lines for people.
    #[default]
    Table,
    /// One JSON object a line; `rsttrace schema` describes those of `watch`.
    Json,
}

/// How events come out of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// BPF ring buffer.
    #[default]
    Ring,
    /// Perf event array, one buffer a CPU.
    Perf,
}

/// How classifiers are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TcMode {
    /// TCX where the kernel has it, else clsact.
    #[default]
    Auto,
    /// TCX links only.
    Tcx,
    /// The clsact qdisc, also where TCX would work.
    Clsact,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub(super) struct TracerArgs {
    /// How events come out of the kernel
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    transport: Transport,

    /// How classifiers are attached to interfaces
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    tc: TcMode,

    /// Log what the probes meet on their rare paths (slower)
    #[arg(long)]
    debug_probes: bool,

    /// Say more about what the tool does, on standard error; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// How to trace, whatever for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracerOptions {
    /// How events come out of the kernel.
    pub transport: Transport,
    /// How classifiers are attached.
    pub tc: TcMode,
    /// Log the probes' rare paths.
    pub debug_probes: bool,
    /// How many times `-v` was given.
    pub verbosity: u8,
}

impl From<TracerArgs> for TracerOptions {
    fn from(args: TracerArgs) -> Self {
        Self {
            transport: args.transport,
            tc: args.tc,
            debug_probes: args.debug_probes,
            verbosity: args.verbose,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Lines for people, or one JSON object a line
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: OutputFormat,

    /// Colours: on a terminal, always, never; NO_COLOR is heeded
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub color: ColorChoice,
}
