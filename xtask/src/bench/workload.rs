//! The measured traffic.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use rsttrace_lab::{Link, Namespace, link::FAR};
use serde::Deserialize;

use super::Programs;
use crate::command;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Lo,
    /// Between two namespaces.
    Veth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    pub act: Act,
    pub place: Place,
    /// Per second; 0: full rate.
    pub rate: u64,
}

impl Workload {
    pub fn name(&self) -> String {
        let act = match self.act {
            Act::Connect => "connect and close",
            Act::Exchange => "request and response",
            Act::Reset => "linger-0 closes",
            Act::Flood => "SYN flood, one /24",
            Act::RandomFlood => "SYN flood, random sources",
        };
        let place = format!("{:?}", self.place).to_lowercase();
        let rate = match self.rate {
            0 => "full rate".to_owned(),
            rate => format!("{} k/s", rate / 1000),
        };
        format!("{act}, {place}, {rate}")
    }

    pub fn run(&self, programs: &Programs, link: &Link, lasts: Duration) -> Result<Ran> {
        let report = command::output(&mut self.command(programs, link, lasts))?;
        serde_json::from_str(&report).with_context(|| format!("read `{report}`"))
    }

    pub fn command(&self, programs: &Programs, link: &Link, lasts: Duration) -> Command {
        let mut command = inside(&link.near, programs);
        let (load, how): (_, &[_]) = match self.act {
            Act::Connect => ("connect", &["--close", "fin"]),
            Act::Exchange => ("connect", &["--close", "fin", "--exchange"]),
            Act::Reset => ("connect", &["--close", "reset"]),
            Act::Flood => ("flood", &["--sources", "fixed"]),
            Act::RandomFlood => ("flood", &["--sources", "random"]),
        };
        command.arg(load).args(how);
        if load == "connect" {
            let (address, listens_in) = match self.place {
                Place::Lo => (Ipv4Addr::LOCALHOST, &link.near),
                Place::Veth => (FAR.address, &link.far),
            };
            command.arg(address.to_string());
            command.args(["--listen-in", &listens_in.pid().to_string()]);
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

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Ran {
    /// Connections, or SYNs.
    pub done: u64,
    pub seconds: f64,
}
