//! Start of an actor.

use std::path::PathBuf;
use std::process::{Child, Command as Program, Stdio};
use std::sync::mpsc;
use std::thread;

use super::handle::Actor;
use super::{ActorArgs, SUBCOMMAND};
use crate::StageError;

/// Starts actors from one thread that lives as long as the demo: the kernel ends a child with the THREAD
/// that started it.
#[derive(Debug)]
pub struct Spawner {
    orders: mpsc::Sender<(ActorArgs, mpsc::Sender<std::io::Result<Child>>)>,
}

impl Spawner {
    /// A spawner that starts `executable`.
    pub fn new(executable: PathBuf) -> Result<Self, StageError> {
        let (orders, inbox) = mpsc::channel::<(ActorArgs, mpsc::Sender<_>)>();
        thread::Builder::new()
            .name("demo-spawner".to_owned())
            .spawn(move || {
                for (args, reply) in inbox {
                    // The one who ordered may have given up; then the child ends with its pipes.
                    let _ = reply.send(start(&executable, &args));
                }
            })?;
        Ok(Self { orders })
    }

    /// Starts an actor, in a namespace of its own or in that of the process `netns_of`.
    pub fn spawn(&self, name: &str, netns_of: Option<u32>) -> Result<Actor, StageError> {
        let parent = std::process::id().cast_signed();
        let args = ActorArgs {
            name: name.to_owned(),
            parent,
            netns_of,
        };
        let (reply, answer) = mpsc::channel();
        let gone = || StageError::Failed("the thread that starts processes is gone".to_owned());
        self.orders.send((args, reply)).map_err(|_| gone())?;
        let child = answer.recv().map_err(|_| gone())??;
        Actor::greet(name, child)
    }
}

fn start(executable: &PathBuf, args: &ActorArgs) -> std::io::Result<Child> {
    let mut program = Program::new(executable);
    program.arg(SUBCOMMAND).args(["--name", &args.name]);
    program.args(["--parent", &args.parent.to_string()]);
    if let Some(pid) = args.netns_of {
        program.args(["--netns-of", &pid.to_string()]);
    }
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}
