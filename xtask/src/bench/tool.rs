//! Which tools are held against each other: how each is started, when it is ready, what it tells at its end?

use std::{path::Path, process::Command, time::Duration};

use super::{
    Bench,
    lab::{self, Lab},
    process::{End, Running, Speaks},
    told::{self, Told},
    workload::{Place, Workload},
};
use crate::command;
use anyhow::Result;
use nix::sys::signal::Signal;

/// A tool.
#[derive(Clone, Copy)]
pub struct Tool {
    /// For tables.
    pub name: &'static str,
    /// What Debian calls it; empty: ours.
    pub package: &'static str,
    /// The file that has to be there.
    program: &'static str,
    /// Whether it has BPF programs whose run time the kernel can count.
    pub has_programs: bool,
    /// Whether it prints a line for each reset.
    pub line_each: bool,
    /// How long what came may lie before it looks at it.
    pub patience: Duration,
    /// Its arguments; `IF` is the interface.
    arguments: &'static [&'static str],
    ready: Ready,
    read: fn(&str) -> Told,
}

#[derive(Clone, Copy)]
enum Ready {
    /// A line with this on standard error.
    Says(&'static str),
    /// So many BPF programs are at tracepoints.
    Tracepoints(usize),
}

/// A record waits for a quarter of a second at most.
const OUR_PATIENCE: Duration = Duration::from_millis(400);
/// libpcap's block of packets is handed over after a second.
const PATIENCE: Duration = Duration::from_millis(1200);

const OURS: Tool = Tool {
    name: "rsttrace",
    package: "",
    program: "",
    has_programs: true,
    line_each: false,
    patience: OUR_PATIENCE,
    arguments: &["watch"],
    ready: Ready::Says("tracing resets"),
    read: told::summary,
};

/// As it is started without any option.
pub const DEFAULT: Tool = OURS;
/// A record each, as JSON.
pub const EVERY_JSON: Tool = Tool {
    name: "rsttrace --every -o json",
    line_each: true,
    arguments: &["watch", "--every", "--noise", "-o", "json"],
    ..OURS
};
/// A record each, as a line for people.
pub const EVERY: Tool = Tool {
    name: "rsttrace --every",
    line_each: true,
    arguments: &["watch", "--every", "--noise"],
    ..OURS
};
/// The same over perf event arrays.
pub const EVERY_PERF: Tool = Tool {
    name: "rsttrace --every --transport perf",
    line_each: true,
    arguments: &["watch", "--every", "--noise", "--transport", "perf"],
    ..OURS
};
/// Without any other option over perf event arrays.
pub const DEFAULT_PERF: Tool = Tool {
    name: "rsttrace --transport perf",
    arguments: &["watch", "--transport", "perf"],
    ..OURS
};

/// The one to beat.
pub const TCPDUMP: &str = "tcpdump";

/// As people run them to see resets.
pub const PEERS: [Tool; 7] = [
    Tool {
        name: TCPDUMP,
        package: "tcpdump",
        program: "tcpdump",
        has_programs: false,
        line_each: true,
        patience: PATIENCE,
        arguments: &["-nn", "-i", "IF", "tcp[tcpflags] & tcp-rst != 0"],
        ready: Ready::Says("listening on"),
        read: told::tcpdump,
    },
    Tool {
        name: "tcpdump -l",
        package: "tcpdump",
        program: "tcpdump",
        has_programs: false,
        line_each: true,
        patience: PATIENCE,
        arguments: &["-l", "-nn", "-i", "IF", "tcp[tcpflags] & tcp-rst != 0"],
        ready: Ready::Says("listening on"),
        read: told::tcpdump,
    },
    Tool {
        name: "bpftrace",
        package: "bpftrace",
        program: "bpftrace",
        has_programs: true,
        line_each: true,
        patience: PATIENCE,
        arguments: &[
            "-e",
            r#"tracepoint:tcp:tcp_send_reset { printf("%d %s sent, state %d\n", pid, comm, args->state); }
               tracepoint:tcp:tcp_receive_reset { printf("%d %s received %s:%d %s:%d\n", pid, comm, ntop(args->saddr), args->sport, ntop(args->daddr), args->dport); }"#,
        ],
        ready: Ready::Tracepoints(2),
        read: told::losses,
    },
    Tool {
        name: "tshark",
        package: "tshark",
        program: "tshark",
        has_programs: false,
        line_each: true,
        patience: PATIENCE,
        arguments: &[
            "-n",
            "-i",
            "IF",
            "-f",
            "tcp[tcpflags] & tcp-rst != 0",
            "-Y",
            "tcp.flags.reset==1",
        ],
        ready: Ready::Says("Capturing on"),
        read: told::tshark,
    },
    Tool {
        name: "scapy",
        package: "python3-scapy",
        program: "/usr/lib/python3/dist-packages/scapy",
        has_programs: false,
        line_each: true,
        patience: PATIENCE,
        arguments: &["-c", SCAPY, "IF"],
        ready: Ready::Says("ready"),
        read: told::tshark,
    },
    Tool {
        name: "tcpstates",
        package: "libbpf-tools",
        program: "tcpstates",
        has_programs: true,
        line_each: false,
        patience: PATIENCE,
        arguments: &[],
        ready: Ready::Tracepoints(1),
        read: told::losses,
    },
    Tool {
        name: "tcpstates-bpfcc",
        package: "bpfcc-tools",
        program: "tcpstates-bpfcc",
        has_programs: true,
        line_each: false,
        patience: PATIENCE,
        arguments: &[],
        ready: Ready::Tracepoints(1),
        read: told::losses,
    },
];

/// Prints a line for each, and how many at the end.
const SCAPY: &str = r#"
import sys
from scapy.all import sniff, conf
count = 0
def show(packet):
    global count
    count += 1
    print(packet.summary())
try:
    sniff(iface=sys.argv[1], filter="tcp[tcpflags] & tcp-rst != 0", prn=show, store=False,
          started_callback=lambda: print("ready", file=sys.stderr, flush=True))
finally:
    print(count, "packets captured", file=sys.stderr)
"#;

impl Tool {
    /// Whether it is rsttrace.
    pub fn is_ours(&self) -> bool {
        self.package.is_empty()
    }

    /// Why it cannot be measured.
    pub fn missing(&self) -> Option<String> {
        let found = self.is_ours()
            || Path::new(self.program).is_absolute() && Path::new(self.program).exists()
            || command::find_in_path(self.program).is_some();
        (!found).then(|| format!("not installed: `apt-get install {}`", self.package))
    }

    /// Starts it and waits until it would see a reset.
    pub fn start(&self, bench: &Bench, lab: &Lab, workload: Workload) -> Result<Running> {
        let interface = match workload.place {
            Place::Lo => "lo",
            Place::Veth => lab::End::Client.interface(),
        };
        let arguments = self
            .arguments
            .iter()
            .map(|word| if *word == "IF" { interface } else { word });
        let mut tool = if self.is_ours() {
            Command::new(&bench.programs.rsttrace)
        } else {
            let mut tool = lab.command(lab::End::Client, "unshare");
            // Tools look for tracefs where it often is not mounted; a mount of their own leaves the machine as it is.
            tool.args(["--mount", "sh", "-c", MOUNTED, "sh"]);
            // Debian's, whatever else of this name there is.
            tool.arg(if Path::new(self.program).is_absolute() {
                "/usr/bin/python3"
            } else {
                self.program
            });
            tool
        };
        let mut running = Running::start(tool.args(arguments), Speaks::Err)?.named(self.name);
        match self.ready {
            Ready::Says(part) => {
                running.await_line(part)?;
            }
            Ready::Tracepoints(number) => {
                running.await_that("hook at a tracepoint", |pid| tracepoints(pid) >= number)?;
            }
        }
        Ok(running)
    }

    /// Ends it.
    pub fn end(&self, running: Running) -> Result<Told> {
        let said = running.end(End::Signal(Signal::SIGINT))?;
        Ok((self.read)(&said))
    }
}

const MOUNTED: &str = "\
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
exec \"$@\"";

/// How many BPF programs a process has at tracepoints.
fn tracepoints(pid: u32) -> usize {
    let listed = command::output(Command::new("bpftool").args(["perf", "show", "-j"]));
    let listed = listed
        .ok()
        .and_then(|text| serde_json::from_str::<Vec<serde_json::Value>>(&text).ok());
    let own = |entry: &&serde_json::Value| entry["pid"] == pid && entry["fd_type"] == "tracepoint";
    listed.unwrap_or_default().iter().filter(own).count()
}

/// What Debian has of all of it.
pub fn packages() -> Vec<&'static str> {
    let mut names: Vec<_> = PEERS.iter().map(|tool| tool.package).collect();
    names.extend([
        "bpftool",
        "iperf3",
        "iproute2",
        "nginx-light",
        "util-linux",
        "wrk",
    ]);
    names.sort_unstable();
    names.dedup();
    names
}
