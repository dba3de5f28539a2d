//! The measured traffic.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{
    Programs,
    lab::{End, Lab},
};
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

    pub fn run(&self, programs: &Programs, lab: &Lab, lasts: Duration) -> Result<Ran> {
        let report = command::output(&mut self.command(programs, lab, lasts))?;
        serde_json::from_str(&report).with_context(|| format!("read `{report}`"))
    }

    pub fn command(&self, programs: &Programs, lab: &Lab, lasts: Duration) -> Command {
        let mut command: Command = lab.command(End::Client, &programs.load);
        command.arg("load");
        let target = match self.place {
            Place::Lo => "127.0.0.1",
            Place::Veth => End::Server.address(),
        };
        let (load, how): (_, &[_]) = match self.act {
            Act::Connect => ("connect", &["--close", "fin"]),
            Act::Exchange => ("connect", &["--close", "fin", "--exchange"]),
            Act::Reset => ("connect", &["--close", "reset"]),
            Act::Flood => ("flood", &["--sources", "fixed"]),
            Act::RandomFlood => ("flood", &["--sources", "random"]),
        };
        command.arg(load).args(how);
        if load == "flood" {
            command.args(["--interface", End::Client.interface()]);
            command.args(["--from", End::Client.mac(), "--to", End::Server.mac()]);
            command.args(["--address", target, "--port", "9"]);
        } else {
            command.arg(target);
            if self.place == Place::Veth {
                command.args(["--listen-in", &lab.path(End::Server)]);
            }
        }
        command.args(["--rate", &self.rate.to_string()]);
        command.args(["--seconds", &lasts.as_secs_f64().to_string()]);
        command
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Ran {
    /// Connections, or SYNs.
    pub done: u64,
    pub seconds: f64,
}
