//! Start of an actor.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};
use std::sync::mpsc;
use std::thread;

use super::SUBCOMMAND;
use super::handle::Actor;
use crate::StageError;

/// Starts actors from one thread that lives as long as the demo: the kernel ends a child with the THREAD
/// that started it.
#[derive(Debug)]
pub struct Spawner {
    orders: mpsc::Sender<(Program, mpsc::Sender<io::Result<Child>>)>,
    executable: PathBuf,
}

impl Spawner {
    /// A spawner that starts `executable`.
    pub fn new(executable: PathBuf) -> Result<Self, StageError> {
        let (orders, inbox) = mpsc::channel::<(Program, mpsc::Sender<_>)>();
        thread::Builder::new()
            .name("demo-spawner".to_owned())
            .spawn(move || {
                for (mut program, reply) in inbox {
                    // The one who ordered may have given up; then the child ends with its pipes.
                    let _ = reply.send(program.spawn());
                }
            })?;
        Ok(Self { orders, executable })
    }

    /// Starts an actor in the namespace of a process.
    pub fn spawn(&self, name: &str, netns_of: u32) -> Result<Actor, StageError> {
        let mut program = holder(&self.executable, name);
        program.args(["--parent", &std::process::id().to_string()]);
        program.args(["--netns-of", &netns_of.to_string()]);
        program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (reply, answer) = mpsc::channel();
        let gone = || StageError::Failed("the thread that starts processes is gone".to_owned());
        self.orders.send((program, reply)).map_err(|_| gone())?;
        let child = answer.recv().map_err(|_| gone())??;
        Actor::greet(name, child)
    }
}

/// A process with this name that stays in the namespace where it starts, and ends with its standard input.
pub fn holder(executable: &Path, name: &str) -> Program {
    let mut program = Program::new(executable);
    program.arg(SUBCOMMAND).args(["--name", name]);
    program
}
