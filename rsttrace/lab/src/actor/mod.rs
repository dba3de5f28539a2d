//! Actors: processes in the network namespaces of the demo, controlled by it. Every reset of the demo
//! has a real process with its own PID and name.

mod child;
mod handle;
mod mailbox;
mod program;
pub mod protocol;
mod serve;
mod sockets;
mod spawner;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead, Write};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

pub use handle::{Actor, Process};
pub use program::{CONFIGURATION, run_program};
use protocol::Answer;
pub use protocol::Socket;
pub use spawner::{Spawner, holder};

use crate::error::error_name;

/// The hidden subcommand that the demo starts itself with.
pub const SUBCOMMAND: &str = "demo-actor";

/// Arguments of the hidden subcommand.
#[derive(Debug, Clone, clap::Args)]
pub struct ActorArgs {
    /// The name the process gives itself (at most 15 bytes)
    #[arg(long)]
    pub name: String,
    /// Enter the network namespace of this process
    #[arg(long, requires = "parent")]
    pub netns_of: Option<u32>,
    /// The process to end with
    #[arg(long, requires = "netns_of")]
    pub parent: Option<i32>,
}

/// The whole life of an actor: enter the namespace, then one command a line from standard input.
pub fn actor_main(args: &ActorArgs) -> Result<()> {
    let mut output = io::stdout().lock();
    // The first line says whether the namespace is entered.
    let greeting = match enter(args) {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed {
            errno: error_name(&error),
            what: "entering its network namespace".to_owned(),
        },
    };
    writeln!(output, "{}", serde_json::to_string(&greeting)?)?;
    let mut server = serve::Server::default();
    for line in io::stdin().lock().lines() {
        let command = serde_json::from_str(&line?).context("read a command")?;
        let answer = server.obey(command);
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
    }
    Ok(())
}

fn enter(args: &ActorArgs) -> io::Result<()> {
    prctl::set_name(&CString::new(args.name.as_str())?)?;
    // Who holds a new namespace is in it already, and ends with its standard input.
    if let (Some(parent), Some(pid)) = (args.parent, args.netns_of) {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid().as_raw() != parent {
            return Err(Errno::ESRCH.into());
        }
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
    }
    Ok(())
}
