//! Workers of an actor: forked processes, and forwarding of commands.

use std::ffi::CString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::exit;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::protocol::{Answer, Command};
use crate::sys;

/// A child, seen from its parent.
pub struct Child {
    line: BufReader<UnixStream>,
}

/// Which of the two one is after a fork.
pub enum Forked {
    /// The child, with the line its orders come by.
    Child(UnixStream),
    /// The parent: the child's pid and the child.
    Parent(u32, Child),
}

/// Forks a child that calls itself `name` and ends with its parent.
pub fn fork(name: &str) -> io::Result<Forked> {
    let name = CString::new(name)?;
    let (here, there) = UnixStream::pair()?;
    if let Some(pid) = sys::fork()? {
        let line = BufReader::new(here);
        return Ok(Forked::Parent(pid, Child { line }));
    }
    // The child must never answer in its parent's place; without a name it is not recognized.
    if prctl::set_name(&name).is_err() || prctl::set_pdeathsig(Signal::SIGKILL).is_err() {
        exit(1);
    }
    Ok(Forked::Child(there))
}

/// The whole life of a child.
pub fn live(orders: &UnixStream, mut obey: impl FnMut(Command) -> Answer) -> ! {
    for line in BufReader::new(orders).lines() {
        let Some(command) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else {
            break;
        };
        if write_line(orders, &obey(command)).is_err() {
            break;
        }
    }
    exit(0)
}

impl Child {
    /// Passes a command on.
    pub fn send(&mut self, command: &Command) -> io::Result<Answer> {
        write_line(self.line.get_ref(), command).map(|()| Answer::Done)
    }

    /// Its answer to the first order not answered yet.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        match self.line.read_line(&mut line)? {
            0 => Err(Errno::ECHILD.into()),
            _ => Ok(serde_json::from_str(&line)?),
        }
    }
}

fn write_line(mut stream: &UnixStream, what: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line)
}
