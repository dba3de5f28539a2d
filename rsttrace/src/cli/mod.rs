//! The command line: what clap parses becomes a checked [`Request`].

mod color;
pub mod config;
mod configured;
mod demo;
mod doctor;
pub mod explain;
mod expression;
mod failure;
pub mod generate;
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
mod version;
mod watch;
mod when;

use std::ffi::OsString;
use std::io::Write as _;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

pub use color::ColorChoice;
pub use demo::DemoOptions;
pub use doctor::DoctorOptions;
pub use failure::{ExitCode, Failure};
pub use history::{HistoryFormat, HistoryOptions};
pub use interrupt::{Interrupt, ReloadRequest, SummaryRequest};
pub use output::OutputFile;
pub use pcap::PcapOptions;
pub use probe::{ListenOptions, ProbeOptions};
pub use replay::ReplayOptions;
pub use report::ReportOptions;
pub use shared::{OutputFormat, TcMode, TracerOptions, Transport, WatchFormat};
pub use show::{Of, ShowOptions};
pub use trace::TraceOptions;
pub use watch::{MetricsOptions, StoreOptions, WatchOptions};
pub use when::When;

use crate::diagnostics::Stderr;
use crate::verdict::advice::Situation;

const AFTER_HELP: &str = "\
Filters:
  Values of one filter are alternatives; separate them with commas or repeat the option. A reset
  must match every filter that is given. Each filter has a --not-... form, which takes precedence:
  --not-port 22, --not-cause port_closed, and so on. A record that lacks the value never
  matches.

Configuration:
  rsttrace reads /etc/rsttrace/config.toml, then /etc/rsttrace/config.d/*.toml, or only the file
  given with --config. `rsttrace config check` checks them, `rsttrace config show` prints them.
  Describe your own load balancers and NAT devices there. A reset at the idle timeout of such a device is reported with its name:
    [[hop]]
    name = \"edge balancer\"
    address = \"10.0.3.0/24\"
    port = 443
    timeout = \"300s\"
    mode = \"fin_at_expiry\"
    kind = \"terminating\"
  address: remote addresses of connections through the device, as this host sees them
  port:    service port (optional)
  mode:    what the device does when the timeout expires. fin_at_expiry: close the connection;
           rst_at_expiry: reset it; late_rst: drop its state and reset on the next packet
  kind:    terminating (a proxy) or transparent (addresses are preserved); optional
  To keep a history on every run:
    [store]
    file = \"/var/lib/rsttrace/history.db\"
    keep = \"7d\"
    keep-size = \"256MiB\"
  Options of `rsttrace watch`, by their long names; those on the command line take precedence:
    [watch]
    noise = true
    metrics = \"127.0.0.1:9464\"
    not-port = [22, \"8000-8999\"]

Exit codes:
  0  success, also when the reader of standard output exits
  1  failure; demo: a case was explained incorrectly; doctor: there are warnings; watch, record: the
     recording is incomplete; replay: the recording is damaged
  2  invalid arguments or configuration
  3  not permitted: run as root, or with the capability named in the message
  4  kernel not supported: the message says what is missing

Examples:
  rsttrace                                     explain every reset from now on
  rsttrace 'host 10.0.0.1 and port 443'        only these resets, in the words of tcpdump
  rsttrace --process nginx --not-port 9100     only resets of nginx, except on port 9100
  rsttrace --severity fault -o json            only lost connections, as JSON Lines
  rsttrace --duration 20s --noise              show everything for 20 seconds, then the summary
  rsttrace --address 10.0.3.0/24 --count 1     wait for one reset from or to that network
  rsttrace record resets.rst --duration 10m    record ten minutes for later analysis
  rsttrace replay resets.rst --port 443        analyze the recording, only one port
  rsttrace --store                             keep a history for `rsttrace history`
  rsttrace history --since 2h                  show the last two hours of the history
  rsttrace demo                                check that tracing works on this kernel
  rsttrace doctor                              check hooks, timeouts and keepalive on this host
  rsttrace probe lb.example.org:443            measure the idle timeout of a path
  rsttrace pcap client.pcap server.pcap        compare captures taken at both ends
  rsttrace report                              write an HTML report of the history
  rsttrace explain keep-alive-race             print the page named at the end of a line";

/// Explain TCP resets: who sent each RST and why, which process held the socket, and what to change
///
/// Without a command, rsttrace runs `watch`: it prints one line per reset to standard output until Ctrl-C, then a summary to
/// standard error. Requires root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
#[derive(Debug, Parser)]
#[command(
    name = "rsttrace",
    version,
    long_version = version::long(),
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_long_help = AFTER_HELP,
    after_help = "Use `--help` for causes, configuration, exit codes and examples."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    watch: watch::WatchArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Explain resets as they happen (default)
    #[command(after_long_help = AFTER_HELP)]
    Watch(Box<watch::WatchArgs>),
    /// Stage every kind of reset in private network namespaces and check the explanations
    Demo(demo::DemoArgs),
    /// Check this host: kernel hooks, timeouts and sockets without keepalive
    Doctor(doctor::DoctorArgs),
    /// Measure the idle timeout of a network path
    Probe(Box<probe::ProbeArgs>),
    /// Explain the resets in packet captures, or compare captures of the same connections
    Pcap(Box<pcap::PcapArgs>),
    /// Record kernel events to a file for `replay`
    Record(Box<record::RecordArgs>),
    /// Analyze a recording: same records, on any machine, without root
    Replay(Box<replay::ReplayArgs>),
    /// Query the history written by `rsttrace watch --store`
    History(Box<history::HistoryArgs>),
    /// Write an HTML report: findings, charts and a table of records
    Report(report::ReportArgs),
    /// Check or show the configuration
    Config(config::ConfigArgs),
    /// Explain a common situation: what it looks like, what to change first, how to verify it
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of the JSON output
    Schema {
        /// Record type
        #[arg(value_enum, default_value_t)]
        kind: schema::Kind,
    },
    /// Print completions for a shell
    Completions {
        /// Shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print a man page
    Man(generate::ManArgs),
}

/// A command with its validated options.
#[derive(Debug)]
pub enum Request {
    /// `watch`, or `record`.
    Watch(Box<WatchOptions>),
    /// `replay`.
    Replay(Box<ReplayOptions>),
    /// `demo`.
    Demo(DemoOptions),
    /// `doctor`.
    Doctor(DoctorOptions),
    /// `probe`.
    Probe(ProbeOptions),
    /// `probe --listen`.
    Listen(ListenOptions),
    /// `pcap`.
    Pcap(Box<PcapOptions>),
    /// `history`.
    History(Box<HistoryOptions>),
    /// `report`.
    Report(ReportOptions),
    /// `config`.
    Config(config::ConfigArgs),
    /// `explain`; absent: the list of situations.
    Explain(Option<Situation>),
    /// `schema`.
    Schema(schema::Kind),
    /// `completions`.
    Completions(Shell),
    /// `man`; absent: the page of rsttrace itself.
    Man(Option<String>),
}

/// Parses this process's command line. Help, version and clap's own errors are printed here and end the process.
pub fn parse() -> Result<Request, Failure> {
    let line: Vec<OsString> = std::env::args_os().collect();
    let matches = Cli::command().get_matches_from(&line);
    check(&matches, &line)
}

/// Like [`parse`], for a given command line; the first argument is the program's name.
pub fn parse_from(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Request, Failure> {
    let line: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let matches = Cli::command().try_get_matches_from(&line).map_err(usage)?;
    check(&matches, &line)
}

fn usage(error: clap::Error) -> Failure {
    Failure::Usage(error.to_string())
}

fn check(matches: &ArgMatches, line: &[OsString]) -> Result<Request, Failure> {
    let cli = Cli::from_arg_matches(matches).map_err(usage)?;
    // Options before a command are none of that command.
    let after = |words| line.get(words..).unwrap_or_default();
    Ok(match cli.command {
        None => Request::Watch(Box::new(configured::watch(cli.watch, matches, after(1))?)),
        Some(Command::Watch(args)) => {
            let given = matches.subcommand_matches("watch").unwrap_or(matches);
            Request::Watch(Box::new(configured::watch(*args, given, after(2))?))
        }
        Some(Command::Record(args)) => Request::Watch(Box::new(args.check()?)),
        Some(Command::Replay(args)) => Request::Replay(Box::new(args.check()?)),
        Some(Command::Demo(args)) => Request::Demo(args.check()?),
        Some(Command::Doctor(args)) => Request::Doctor(args.into()),
        Some(Command::Probe(args)) => args.check()?,
        Some(Command::Pcap(args)) => Request::Pcap(Box::new(args.check()?)),
        Some(Command::History(args)) => Request::History(Box::new(args.check()?)),
        Some(Command::Report(args)) => Request::Report(args.check()?),
        Some(Command::Config(args)) => Request::Config(args.check()?),
        Some(Command::Explain(args)) => Request::Explain(args.situation()),
        Some(Command::Schema { kind }) => Request::Schema(kind),
        Some(Command::Completions { shell }) => Request::Completions(shell),
        Some(Command::Man(args)) => Request::Man(args.check()?),
    })
}

/// Sends diagnostics to standard error; RUST_LOG overrides `-v`.
pub fn start_log(verbosity: u8) {
    start_log_from("warn", verbosity);
}

/// The same without warnings, for a command whose output contains them.
pub fn start_quiet_log(verbosity: u8) {
    start_log_from("error", verbosity);
}

fn start_log_from(least: &str, verbosity: u8) {
    let level = match verbosity {
        0 => least,
        1 => "info",
        // The library that loads the programs logs each relocation.
        2 => "debug,aya=warn,aya_obj=warn",
        _ => "trace",
    };
    let env = env_logger::Env::default().default_filter_or(level);
    let mut builder = env_logger::Builder::new();
    builder.target(env_logger::Target::Pipe(Box::new(Stderr)));
    if ColorChoice::Auto.for_stderr() {
        builder.write_style(env_logger::WriteStyle::Always);
    }
    if verbosity == 0 {
        builder.format(|out, record| {
            let level = record.level().as_str().to_ascii_lowercase();
            writeln!(out, "rsttrace: {level}: {}", record.args())
        });
    }
    // A second start (tests) keeps the first logger.
    let _ = builder.parse_env(env).try_init();
}

/// Prints a message to standard error; a closed one is no failure.
pub fn say(message: std::fmt::Arguments<'_>) {
    let _ = writeln!(Stderr, "rsttrace: {message}");
}

/// Prints the error to standard error; a closed standard error is ignored.
pub fn report(failure: &Failure) {
    let _ = writeln!(Stderr, "rsttrace: {failure}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
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
