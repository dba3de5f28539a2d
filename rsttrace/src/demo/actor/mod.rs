//! What is an actor? A process of its own in one of the demo's network namespaces, which does what it
//! is told: so every reset of the demo has a real process, with its own pid and name, behind it.

mod capture;
mod handle;
mod kernel_state;
pub mod protocol;
mod serve;
mod sockets;

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, Write};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

pub use handle::{Actor, Socket, Spawner};

/// The hidden subcommand that the demo starts itself with.
pub const SUBCOMMAND: &str = "demo-actor";

/// Arguments of the hidden subcommand.
#[derive(Debug, Clone, clap::Args)]
pub struct ActorArgs {
    /// The name the process gives itself (at most 15 bytes)
    #[arg(long)]
    pub name: String,
    /// The process to end with
    #[arg(long)]
    pub parent: i32,
    /// Enter the network namespace of this process, instead of making a new one
    #[arg(long)]
    pub netns_of: Option<u32>,
}

/// The whole life of an actor: enter the namespace, then one command a line from standard input.
pub fn actor_main(args: &ActorArgs) -> Result<()> {
    let name = CString::new(args.name.as_str()).context("name of the actor")?;
    prctl::set_name(&name).context("name the process")?;
    prctl::set_pdeathsig(Signal::SIGKILL).context("end with the demo")?;
    if getppid().as_raw() != args.parent {
        bail!("the demo is gone");
    }
    match args.netns_of {
        None => unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?,
        Some(pid) => {
            let path = format!("/proc/{pid}/ns/net");
            let netns = File::open(&path).with_context(|| format!("open {path}"))?;
            setns(netns, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))?;
        }
    }
    let mut server = serve::Server::default();
    let mut output = std::io::stdout().lock();
    // The greeting says that the namespace is entered.
    writeln!(
        output,
        "{}",
        serde_json::to_string(&protocol::Answer::Done)?
    )?;
    for line in std::io::stdin().lock().lines() {
        let command = serde_json::from_str(&line?).context("read a command")?;
        let answer = server.obey(command);
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
    }
    Ok(())
}
