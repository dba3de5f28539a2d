//! The `rsttrace` command: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use rsttrace::cli::{self, Failure, Request};
use rsttrace::{app, demo, diagnostics};

/// The hidden subcommand's line: its name and its arguments.
#[derive(Parser)]
struct DemoActor {
    _subcommand: String,
    #[command(flatten)]
    args: demo::ActorArgs,
}

fn main() -> ExitCode {
    let code = match run() {
        Ok(()) => cli::ExitCode::Done.into(),
        Err(failure) if failure.is_closed_pipe() => cli::ExitCode::Done.into(),
        Err(failure) => {
            cli::report(&failure);
            failure.exit_code().into()
        }
    };
    diagnostics::finish();
    code
}

fn run() -> Result<(), Failure> {
    // The processes that the demo stages with are this program, too.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == demo::SUBCOMMAND)
    {
        return Ok(demo::actor_main(&DemoActor::parse().args)?);
    }
    match cli::parse()? {
        Request::Watch(options) => {
            cli::start_log(options.trace.tracer.verbosity);
            app::watch(*options)
        }
        Request::Replay(options) => {
            cli::start_log(options.verbosity);
            app::replay(&options)
        }
        Request::Demo(options) => {
            cli::start_log(options.tracer.verbosity);
            app::demo(options)
        }
        Request::Doctor(options) => {
            cli::start_quiet_log(options.tracer.verbosity);
            app::doctor(&options)
        }
        Request::Probe(options) => {
            cli::start_log(0);
            app::probe(&options)
        }
        Request::Listen(options) => {
            cli::start_log(options.verbosity);
            app::listen(&options)
        }
        Request::Pcap(options) => {
            cli::start_log(options.verbosity);
            app::pcap(&options)
        }
        Request::History(options) => {
            cli::start_log(0);
            app::history(&options)
        }
        Request::Report(options) => {
            cli::start_log(0);
            app::report(&options)
        }
        Request::Config(args) => cli::config::run(&args),
        Request::Explain(situation) => cli::explain::print(situation),
        Request::Schema(kind) => cli::schema::print(kind),
        Request::Completions(shell) => cli::generate::completions(shell),
        Request::Man(command) => cli::generate::man(command.as_deref()),
    }
}
