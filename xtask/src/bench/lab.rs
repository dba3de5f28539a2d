//! Where the traffic is: two network namespaces with a veth pair between them. They belong to processes and end with them.

use std::process::Command;

use anyhow::{Context as _, Result};
use procfs::process::Process;

use super::{
    Programs,
    process::{Running, Speaks},
};
use crate::command;

/// The pair.
pub struct Lab {
    client: Running,
    server: Running,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Connects and floods.
    Client,
    /// Listens.
    Server,
}

impl End {
    /// Its interface.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Client => "near",
            Self::Server => "far",
        }
    }

    /// Address of its interface.
    pub fn address(self) -> &'static str {
        match self {
            Self::Client => "10.99.0.1",
            Self::Server => "10.99.0.2",
        }
    }

    /// Link address of its interface.
    pub fn mac(self) -> &'static str {
        match self {
            Self::Client => "02:00:00:00:63:01",
            Self::Server => "02:00:00:00:63:02",
        }
    }
}

/// Ports and TIME_WAIT sockets would run out in a loop; what is above the limit is closed at once.
const SETTINGS: [(&str, &str); 5] = [
    ("net/ipv4/tcp_max_tw_buckets", "4096"),
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/tcp_fin_timeout", "5"),
];

impl Lab {
    /// Makes both.
    pub fn new(programs: &Programs) -> Result<Self> {
        let hold = || -> Result<Running> {
            let mut unshare = Command::new("unshare");
            unshare
                .arg("--net")
                .arg(&programs.load)
                .args(["load", "hold"]);
            let mut holder = Running::start(&unshare, Speaks::Out)?;
            holder.await_line("ready")?;
            Ok(holder)
        };
        let lab = Self {
            client: hold()?,
            server: hold()?,
        };
        for end in [End::Client, End::Server] {
            lab.shell(end, "ip link set lo up")?;
            for (setting, value) in SETTINGS {
                lab.shell(end, &format!("echo '{value}' >/proc/sys/{setting}"))?;
            }
        }
        let (near, far) = (End::Client, End::Server);
        lab.shell(
            near,
            &format!(
                "ip link add {} address {} type veth peer name {} address {} netns {}",
                near.interface(),
                near.mac(),
                far.interface(),
                far.mac(),
                lab.server.pid()
            ),
        )?;
        for end in [near, far] {
            let (interface, address) = (end.interface(), end.address());
            lab.shell(end, &format!("ip address add {address}/24 dev {interface}"))?;
            lab.shell(end, &format!("ip link set {interface} up"))?;
        }
        // Answers to sources that do not exist go back, and no further.
        lab.shell(far, &format!("ip route add default via {}", near.address()))?;
        Ok(lab)
    }

    fn process(&self, end: End) -> &Running {
        match end {
            End::Client => &self.client,
            End::Server => &self.server,
        }
    }

    /// The file that leads to it.
    pub fn path(&self, end: End) -> String {
        format!("/proc/{}/ns/net", self.process(end).pid())
    }

    /// To run a program there; its process id is that of the program.
    pub fn command(&self, end: End, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path(end)))
            .arg("--")
            .arg(program);
        command
    }

    fn shell(&self, end: End, script: &str) -> Result<()> {
        command::output(self.command(end, "sh").args(["-c", script])).map(drop)
    }

    /// Resets sent in both, as the kernel counts them.
    pub fn resets(&self) -> Result<u64> {
        let sent = |end| -> Result<u64> {
            let process = Process::new(self.process(end).pid().cast_signed())?;
            let counters = process.snmp().context("read the counters of a namespace")?;
            Ok(counters.tcp_out_rsts)
        };
        Ok(sent(End::Client)? + sent(End::Server)?)
    }
}
