//! `rsttrace pcap`: which captures are judged, and what of them is shown?

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::show::{ShowArgs, ShowOptions};
use crate::config;
use crate::idle::candidates::Hop;

const AFTER_HELP: &str = "\
A capture shows what went over the wire, not who did it: a process is never named, and what only the
kernel of the sending host knows (unread data, SO_LINGER, a packet filter) stays open. Who sent a
reset is told by TTLs, round trips, numbers, silences, and what came afterwards.

Several captures of the same connections (client, balancer, server; address translation and clocks
that differ do not matter) are compared: which of them saw a reset leave, and which only saw it come.

Files that one capture was written to in turn (`tcpdump -C`, `-G`, `-W`) are put together first:
`mergecap -w all.pcap trace.pcap0 trace.pcap1`.

With several, --count is of connections.

Captures need whole connections, headers suffice: `tcpdump -i any -s 128 -w FILE tcp`.

Exit codes:
  0       done, also where a capture ends in the middle of a packet or is damaged: a warning and the
          summary say so
  1       a capture could not be read to its end
  2       the command line makes no sense, there is no such file, or it is no capture
  3, 4    as for `rsttrace --help`

Examples:
  rsttrace pcap trace.pcapng
  rsttrace pcap client.pcap balancer.pcap server.pcap
  tcpdump -i any -s 128 -U -w - tcp | rsttrace pcap -";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct PcapArgs {
    /// Captures: pcap or pcapng, plain or compressed by gzip or zstd; `-`: standard input, which may be live
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Addresses of the capturing host; else it is told from TTLs and what the file says
    #[arg(
        long,
        value_name = "IP",
        value_delimiter = ',',
        help_heading = "Judging"
    )]
    local: Vec<IpAddr>,

    #[command(flatten)]
    show: ShowArgs,

    /// A line for each reset; else the table counts further resets of the same kind
    #[arg(long, help_heading = "Output")]
    every: bool,

    /// File that names the balancers on the path and their idle timeouts; else /etc/rsttrace/config.toml, if it exists
    #[arg(long, value_name = "FILE", help_heading = "Judging")]
    config: Option<PathBuf>,

    /// Say more about what the tool does, on standard error; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Options of `pcap`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct PcapOptions {
    /// The captures, at least one; `-`: standard input.
    pub files: Vec<PathBuf>,
    /// Addresses of the capturing host; empty: not told.
    pub local: Vec<IpAddr>,
    /// What goes to standard output.
    pub show: ShowOptions,
    /// The devices on the path that the configuration file names; empty: none, or there is no file.
    pub hops: Vec<Hop>,
    /// How many times `-v` was given.
    pub verbosity: u8,
}

impl PcapArgs {
    /// What the arguments mean together.
    pub(super) fn check(self) -> Result<PcapOptions, Failure> {
        let is_input = |file: &&PathBuf| file.as_os_str() == "-";
        if self.files.iter().filter(is_input).count() > 1 {
            return Err(Failure::Usage(
                "standard input (-) can be read only once; name each capture once".to_owned(),
            ));
        }
        if self.files.len() > 1 && !self.local.is_empty() {
            return Err(Failure::Usage(
                "--local is for one capture; with several, what they show tells which host is which"
                    .to_owned(),
            ));
        }
        let show = self.show.check(self.every);
        let only = &show.filter.only;
        let of_a_host = [
            ("--process", only.processes.is_empty()),
            ("--unit", only.units.is_empty()),
            ("--container", only.containers.is_empty()),
            ("--pod", only.pods.is_empty()),
            ("--netns", only.netns.is_empty()),
        ];
        if let Some((option, _)) = of_a_host.iter().find(|(_, is_absent)| !is_absent) {
            return Err(Failure::Usage(format!(
                "{option}: a capture tells nothing of that; choose by --port, --address or --cause, or run `rsttrace` on the host itself"
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
