//! The `rsttrace` command: parse, run, exit code.

use std::process::ExitCode;

use rsttrace::app;
use rsttrace::cli::{self, Failure, Request};

fn main() -> ExitCode {
    match run() {
        Ok(()) => cli::ExitCode::Done.into(),
        Err(failure) if failure.is_closed_pipe() => cli::ExitCode::Done.into(),
        Err(failure) => {
            cli::report(&failure);
            failure.exit_code().into()
        }
    }
}

fn run() -> Result<(), Failure> {
    match cli::parse()? {
        Request::Watch(options) => {
            cli::start_log(options.tracer.verbosity);
            app::watch(*options)
        }
        Request::Demo(options) => {
            cli::start_log(options.tracer.verbosity);
            app::demo(options)
        }
        Request::Schema => cli::schema::print(),
    }
}
