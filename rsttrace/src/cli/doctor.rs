//! Options of `rsttrace doctor`.

use std::time::Duration;

use clap::Args;

use super::ColorChoice;
use super::shared::{OutputArgs, OutputFormat, TracerArgs, TracerOptions};
use crate::values;

const AFTER_HELP: &str = "\
The doctor attaches the kernel hooks in the same way as `rsttrace watch` and detaches them again.
It checks the current network namespace; use `nsenter --net=FILE rsttrace doctor` for another
one. It changes no settings.

Findings:
  warning  a problem: a kernel hook is unavailable, or a setting of this host conflicts with
           another one or with the cloud network
  advice   a recommendation that may not apply: sockets without keepalive, settings that conflict
           with devices that may not be on the path, hooks that this user may not attach
  ok       no problem found

Exit codes:
  0       no warnings
  1       at least one warning
  3       not permitted to check anything
  2, 4    as for `rsttrace --help`; an unsupported kernel is a warning here

Examples:
  sudo rsttrace doctor
  rsttrace doctor --idle 10m -o json | jq '.findings[] | select(.severity != \"ok\")'";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct DoctorArgs {
    /// Treat connections without data for this long as idle
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "60s")]
    idle: Duration,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    tracer: TracerArgs,
}

/// Options of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorOptions {
    /// Time without data after which a connection counts as idle.
    pub idle_from: Duration,
    pub output: OutputFormat,
    pub color: ColorChoice,
    pub tracer: TracerOptions,
}

impl From<DoctorArgs> for DoctorOptions {
    fn from(args: DoctorArgs) -> Self {
        Self {
            idle_from: args.idle,
            output: args.output.format(),
            color: args.output.color,
            tracer: args.tracer.into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::time::Duration;

    use crate::cli::{Request, parse_from};

    #[test]
    fn a_connection_is_idle_after_a_minute_or_as_long_as_given() {
        for (line, seconds) in [
            ("rsttrace doctor", 60),
            ("rsttrace doctor --idle 10m -o json", 600),
        ] {
            let Ok(Request::Doctor(options)) = parse_from(line.split(' ')) else {
                panic!("doctor expected");
            };
            assert_eq!(options.idle_from, Duration::from_secs(seconds));
        }
        assert!(parse_from("rsttrace doctor --idle 10".split(' ')).is_err());
    }
}
