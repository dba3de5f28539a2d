//! `rsttrace doctor`: from when on is a connection idle, and how is the check shown?

use std::time::Duration;

use clap::Args;

use super::ColorChoice;
use super::shared::{OutputArgs, OutputFormat, TracerArgs, TracerOptions};
use crate::values;

const AFTER_HELP: &str = "\
The hooks are attached as `rsttrace watch` attaches them, to the interfaces of this network
namespace, and taken off again. Settings and sockets are those of this network namespace;
`nsenter --net=FILE rsttrace doctor` checks another one. Nothing is changed.

Findings:
  warning  wrong: a hook that was refused; two settings of this host that contradict each other,
           or one that contradicts the cloud the host runs in
  advice   may be wanted as it is: sockets without keepalive, settings that contradict devices
           which may not be on the way, hooks that this user may not try
  ok       as it should be

Exit codes:
  0       no warning, whatever was advised
  1       a warning
  3       nothing at all could be checked
  2, 4    as for `rsttrace --help`; a kernel that cannot be traced is a warning here

Examples:
  sudo rsttrace doctor
  rsttrace doctor --idle 10m -o json | jq '.findings[] | select(.severity != \"ok\")'";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct DoctorArgs {
    /// Connections without data for this long count as idle
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s")]
    idle: Duration,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    tracer: TracerArgs,
}

/// Options of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorOptions {
    /// Connections without data for this long count as idle.
    pub idle_from: Duration,
    /// What goes to standard output.
    pub output: OutputFormat,
    /// When to colour it.
    pub color: ColorChoice,
    /// How to attach the hooks.
    pub tracer: TracerOptions,
}

impl From<DoctorArgs> for DoctorOptions {
    fn from(args: DoctorArgs) -> Self {
        Self {
            idle_from: args.idle,
            output: args.output.output,
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
