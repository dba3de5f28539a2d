//! Options of `rsttrace pcap`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::show::{ShowArgs, ShowOptions};
use crate::config;
use crate::silence::candidates::Hop;

const AFTER_HELP: &str = "\
A capture contains packets only. It identifies neither processes nor causes known only to the kernel of
the sending host (unread data, SO_LINGER, a packet filter). rsttrace derives the sender of a
reset from TTLs, round-trip times, sequence numbers, idle times and the packets that follow.

With several files, rsttrace compares captures of the same connections, for example from client,
load balancer and server: it finds where each reset originated. NAT and clock offsets are handled.
--count then counts connections.

Merge the files of a rotated capture (`tcpdump -C`, `-G`, `-W`) first:
`mergecap -w all.pcap trace.pcap0 trace.pcap1`.

Capture complete connections; headers are enough: `tcpdump -i any -s 128 -w FILE tcp`.

Exit codes:
  0       success, also if a capture is truncated or damaged; a warning and the summary say so
  1       a capture could not be read to the end
  2       invalid arguments, or the file does not exist or is not a capture
  3, 4    as for `rsttrace --help`

Examples:
  rsttrace pcap trace.pcapng
  rsttrace pcap client.pcap balancer.pcap server.pcap
  tcpdump -i any -s 128 -U -w - tcp | rsttrace pcap -";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct PcapArgs {
    /// Capture files: pcap or pcapng, optionally compressed with gzip or zstd; `-` reads standard input, also live
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Addresses of the capturing host [default: derived from TTLs and packet directions]
    #[arg(
        long,
        value_name = "IP",
        value_delimiter = ',',
        help_heading = "Analysis"
    )]
    local: Vec<IpAddr>,

    #[command(flatten)]
    show: ShowArgs,

    /// Print a line for every reset; by default the table groups similar resets
    #[arg(long, help_heading = "Output")]
    every: bool,

    /// Configuration file [default: /etc/rsttrace/config.toml and /etc/rsttrace/config.d/*.toml]
    #[arg(long, value_name = "FILE", help_heading = "Analysis")]
    config: Option<PathBuf>,

    /// Log more on standard error; repeat for more (-vv). The summary of a trace then has all counts
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Validated options of `pcap`.
#[derive(Clone, Debug, PartialEq)]
pub struct PcapOptions {
    /// Capture files, at least one; `-`: standard input.
    pub files: Vec<PathBuf>,
    /// Addresses of the capturing host; empty: not given.
    pub local: Vec<IpAddr>,
    pub show: ShowOptions,
    /// Devices on the path from the configuration file; empty without one.
    pub hops: Vec<Hop>,
    /// How many times `-v` was given.
    pub verbosity: u8,
}

impl PcapArgs {
    /// Validates the arguments and loads the configuration file.
    pub(super) fn check(self) -> Result<PcapOptions, Failure> {
        let is_input = |file: &&PathBuf| file.as_os_str() == "-";
        if self.files.iter().filter(is_input).count() > 1 {
            return Err(Failure::Usage(
                "standard input (-) can be read only once; use it for one capture".to_owned(),
            ));
        }
        if self.files.len() > 1 && !self.local.is_empty() {
            return Err(Failure::Usage(
                "--local works with a single capture only; remove it, rsttrace finds the position of each capture"
                    .to_owned(),
            ));
        }
        let show = self.show.check(self.every, self.verbose);
        let only = &show.filter.only;
        let of_a_host = [
            ("--process", only.processes.is_empty()),
            ("--unit", only.units.is_empty()),
            ("--container", only.containers.is_empty()),
            ("--pod", only.pods.is_empty()),
            ("--netns", only.netns.is_empty()),
            ("--failure", only.failures.is_empty()),
        ];
        if let Some((option, _)) = of_a_host.iter().find(|(_, is_absent)| !is_absent) {
            return Err(Failure::Usage(format!(
                "{option}: captures do not contain this; use --port, --address or --cause, or run `rsttrace` on the host itself"
            )));
        }
        Ok(PcapOptions {
            files: self.files,
            local: self.local,
            show,
            hops: config::load(self.config.as_deref())?.hops,
            verbosity: self.verbose,
        })
    }
}
