//! What did the user ask for? The command line as clap reads it becomes a checked [`Request`].

mod color;
mod demo;
mod doctor;
mod failure;
mod history;
mod interrupt;
mod output;
mod pcap;
mod probe;
mod record;
mod replay;
mod report;
pub mod schema;
mod selection;
mod shared;
mod show;
mod trace;
mod watch;
mod when;

use std::ffi::OsString;
use std::io::Write as _;

use clap::{Parser, Subcommand};

pub use color::ColorChoice;
pub use demo::DemoOptions;
pub use doctor::DoctorOptions;
pub use failure::{ExitCode, Failure};
pub use history::{HistoryFormat, HistoryOptions};
pub use interrupt::Interrupt;
pub use output::OutputFile;
pub use pcap::PcapOptions;
pub use probe::ProbeOptions;
pub use replay::ReplayOptions;
pub use report::ReportOptions;
pub use shared::{OutputFormat, TcMode, TracerOptions, Transport};
pub use show::{Of, ShowOptions};
pub use trace::TraceOptions;
pub use watch::{MetricsOptions, StoreOptions, WatchOptions};
pub use when::When;

const AFTER_HELP: &str = "\
Filters:
  Values of one filter are alternatives, separated by commas or given by repetition. Different
  filters narrow each other down. Each has a twin that leaves out and wins: --not-port 22,
  --not-cause port_closed, and so on. What is not known of a reset matches no filter.

Configuration:
  Name your own balancers and NAT devices in /etc/rsttrace/config.toml, or in the file of --config,
  and a reset at their idle timeout is called by their name. For each one:
    [[hop]]
    name = \"edge balancer\"
    address = \"10.0.3.0/24\"
    port = 443
    timeout = \"300s\"
    mode = \"fin_at_expiry\"
    kind = \"terminating\"
  address: the other ends of the connections that pass it, as this host sees them
  port:    the service's port; optional
  mode:    fin_at_expiry: it closes; rst_at_expiry: it resets; late_rst: it forgets, and
           whoever speaks next is reset
  kind:    terminating: a proxy; transparent: packets keep their addresses; optional
  And keep a history with every run:
    [store]
    file = \"/var/lib/rsttrace/history.db\"
    keep = \"7d\"
    keep-size = \"256MiB\"

Exit codes:
  0  done, also when the reader of the output went away
  1  failed; demo: a case was explained wrongly; doctor: something is wrong; record: not all
     could be recorded; replay: the recording is damaged
  2  the command line, or the configuration file, makes no sense
  3  not permitted: run as root, or with the capability that the message names
  4  not supported by this kernel; the message says what is missing

Examples:
  rsttrace                                     every reset from now on, explained
  rsttrace --process nginx --not-port 9100     those of nginx, without port 9100
  rsttrace --severity fault -o json            lost connections, one JSON object a line
  rsttrace --duration 20s --noise              20 seconds of everything, then the summary
  rsttrace --address 10.0.3.0/24 --count 1     wait for one from or to that network
  rsttrace record resets.rst --duration 10m    keep ten minutes, to look at them elsewhere
  rsttrace replay resets.rst --port 443        the same records again, those of one port
  rsttrace --store                             keep everything, for `rsttrace history`
  rsttrace history --since 2h                  what was kept of the last two hours
  rsttrace demo                                proof that it works on this kernel
  rsttrace doctor                              hooks, timeouts and keepalive of this host
  rsttrace probe lb.example.org:443            how long a connection there may be idle
  rsttrace pcap client.pcap server.pcap        who sent it, from captures of both ends
  rsttrace report                              a page about what --store kept";

/// Who sent this TCP RST? Explains each reset: who, why, which process, what to change.
///
/// Without a command it watches: one line a reset on standard output until Ctrl-C, a summary on standard error at the
/// end. Needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
#[derive(Debug, Parser)]
#[command(
    name = "rsttrace",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_long_help = AFTER_HELP,
    after_help = "`--help` says more: causes, exit codes, examples."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    watch: watch::WatchArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Explain resets as they happen (the default)
    #[command(after_long_help = AFTER_HELP)]
    Watch(Box<watch::WatchArgs>),
    /// Stage every kind of reset in private network namespaces and check the explanations
    Demo(demo::DemoArgs),
    /// Check this host: hooks, timeouts, sockets without keepalive, and what to change
    Doctor(doctor::DoctorArgs),
    /// Find the idle timeout of a path: many connections, different silences
    Probe(Box<probe::ProbeArgs>),
    /// Judge the resets of packet captures; several of the same connections are compared
    Pcap(Box<pcap::PcapArgs>),
    /// Keep what the kernel says in a file, to be judged again
    Record(Box<record::RecordArgs>),
    /// Judge a recording again: the same records, without root and without that kernel
    Replay(Box<replay::ReplayArgs>),
    /// Ask what happened before: the records that `rsttrace watch --store` kept
    History(Box<history::HistoryArgs>),
    /// Write a page about a trace: findings, plots, all records
    Report(report::ReportArgs),
    /// Print the JSON Schema of the records that `--output json` writes
    Schema {
        /// Which ones
        #[arg(value_enum, default_value_t)]
        kind: schema::Kind,
    },
}

/// A command with its options, checked.
#[derive(Debug)]
pub enum Request {
    /// Explain resets as they happen, or record them.
    Watch(Box<WatchOptions>),
    /// Judge a recording again.
    Replay(Box<ReplayOptions>),
    /// Stage resets and check the explanations.
    Demo(DemoOptions),
    /// Check this host.
    Doctor(DoctorOptions),
    /// Find the idle timeout of a path.
    Probe(ProbeOptions),
    /// Judge captures.
    Pcap(Box<PcapOptions>),
    /// Ask what happened before.
    History(Box<HistoryOptions>),
    /// Write a page about a trace.
    Report(ReportOptions),
    /// Print the schema.
    Schema(schema::Kind),
}

/// Reads this process's command line. Help, version and what clap finds wrong are printed here and end the process.
pub fn parse() -> Result<Request, Failure> {
    check(Cli::parse())
}

/// As [`parse`], for a given command line; the first argument is the program's name.
pub fn parse_from(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Request, Failure> {
    let cli = Cli::try_parse_from(arguments).map_err(|error| Failure::Usage(error.to_string()))?;
    check(cli)
}

fn check(cli: Cli) -> Result<Request, Failure> {
    Ok(match cli.command {
        None => Request::Watch(Box::new(cli.watch.check()?)),
        Some(Command::Watch(args)) => Request::Watch(Box::new(args.check()?)),
        Some(Command::Record(args)) => Request::Watch(Box::new(args.check()?)),
        Some(Command::Replay(args)) => Request::Replay(Box::new(args.check()?)),
        Some(Command::Demo(args)) => Request::Demo(args.check()?),
        Some(Command::Doctor(args)) => Request::Doctor(args.into()),
        Some(Command::Probe(args)) => Request::Probe(args.check()?),
        Some(Command::Pcap(args)) => Request::Pcap(Box::new(args.check()?)),
        Some(Command::History(args)) => Request::History(Box::new(args.check()?)),
        Some(Command::Report(args)) => Request::Report(args.check()?),
        Some(Command::Schema { kind }) => Request::Schema(kind),
    })
}

/// Diagnostics go to standard error; RUST_LOG overrules `-v`.
pub fn start_log(verbosity: u8) {
    start_log_from("warn", verbosity);
}

/// The same, for a command that says in its output what would be warned of.
pub fn start_quiet_log(verbosity: u8) {
    start_log_from("error", verbosity);
}

fn start_log_from(least: &str, verbosity: u8) {
    let level = match verbosity {
        0 => least,
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let env = env_logger::Env::default().default_filter_or(level);
    // A second start (tests) keeps the first logger.
    let _ = env_logger::Builder::from_env(env).try_init();
}

/// Tells the user why the command ended early. A closed standard error is nobody's concern.
pub fn report(failure: &Failure) {
    let _ = writeln!(std::io::stderr(), "rsttrace: {failure}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn watch_is_the_default_and_its_options_need_no_name() {
        let named = parse_from(["rsttrace", "watch", "--duration", "20s", "-o", "json"]);
        let Ok(Request::Watch(named)) = named else {
            panic!("watch expected");
        };
        let bare = parse_from(["rsttrace", "--duration", "20s", "-o", "json"]);
        let Ok(Request::Watch(bare)) = bare else {
            panic!("watch expected");
        };
        assert_eq!(named, bare);
    }

    #[test]
    fn options_of_watch_do_not_leak_into_other_commands() {
        assert!(parse_from(["rsttrace", "--noise", "schema"]).is_err());
    }
}
