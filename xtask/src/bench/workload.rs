//! The traffic that is measured, and its results.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use rsttrace_lab::{Link, Namespace, link::FAR};
use serde::Deserialize;

use super::Programs;
use crate::command;

/// What happens again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A connection is opened, accepted and closed.
    Connect,
    /// The same, with a request and a response before.
    Exchange,
    /// A connection is opened, accepted and reset by linger 0.
    Reset,
    /// A SYN from one network to a closed port.
    Flood,
    /// A SYN from anywhere to a closed port.
    RandomFlood,
}

/// Between which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In one namespace.
    Lo,
    /// Between two.
    Veth,
}

/// Traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What.
    pub act: Act,
    /// Where.
    pub place: Place,
    /// So many a second; 0: as many as possible.
    pub rate: u64,
}

impl Workload {
    /// As many as possible.
    pub const fn full(act: Act, place: Place) -> Self {
        Self {
            act,
            place,
            rate: 0,
        }
    }

    /// Some load that any machine can carry.
    pub const fn paced(act: Act, place: Place) -> Self {
        Self {
            act,
            place,
            rate: 10_000,
        }
    }

    /// For tables.
    pub fn name(&self) -> String {
        let act = match self.act {
            Act::Connect => "connect and close",
            Act::Exchange => "request and response",
            Act::Reset => "linger-0 closes",
            Act::Flood => "SYN flood, one /24",
            Act::RandomFlood => "SYN flood, random sources",
        };
        let place = match self.place {
            Place::Lo => "lo",
            Place::Veth => "veth",
        };
        let rate = match self.rate {
            0 => "full rate".to_owned(),
            rate => format!("{} k/s", rate / 1000),
        };
        format!("{act}, {place}, {rate}")
    }

    /// Runs it for so long.
    pub fn run(&self, programs: &Programs, link: &Link, lasts: Duration) -> Result<Ran> {
        let report = command::output(&mut self.command(programs, link, lasts))?;
        serde_json::from_str(&report).with_context(|| format!("not understood: {report}"))
    }

    /// What runs it for so long.
    pub fn command(&self, programs: &Programs, link: &Link, lasts: Duration) -> Command {
        let mut command = inside(&link.near, programs);
        match self.act {
            Act::Connect | Act::Exchange | Act::Reset => {
                let (address, listens_in) = match self.place {
                    Place::Lo => (Ipv4Addr::LOCALHOST, &link.near),
                    Place::Veth => (FAR.address, &link.far),
                };
                command.args(["connect", &address.to_string()]);
                command.args(["--listen-in", &listens_in.pid().to_string()]);
                let close = if self.act == Act::Reset {
                    "reset"
                } else {
                    "fin"
                };
                command.args(["--close", close]);
                if self.act == Act::Exchange {
                    command.arg("--exchange");
                }
            }
            Act::Flood => drop(command.args(["flood", "--sources", "fixed"])),
            Act::RandomFlood => drop(command.args(["flood", "--sources", "random"])),
        }
        command.args(["--rate", &self.rate.to_string()]);
        command.args(["--seconds", &lasts.as_secs_f64().to_string()]);
        command
    }
}

/// `xtask load` in a network namespace; its process id is that of the program.
pub fn inside(namespace: &Namespace, programs: &Programs) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.path().display()));
    command.arg("--").arg(&programs.load).arg("load");
    command
}

/// What a workload reports.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Ran {
    /// Connections, or SYNs.
    pub done: u64,
    /// It took so long.
    pub seconds: f64,
}
