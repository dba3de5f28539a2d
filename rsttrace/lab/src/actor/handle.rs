//! Handle of an actor: commands, and termination.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::in_a_line;
use super::protocol::{Answer, Command, Sequence, Socket, SocketId, SocketOption, TcpState};
use crate::StageError;
use crate::capture::Capture;
use crate::lab::{next_segment, no_packet_sockets};
use crate::namespace;
use crate::scenarios::confirm;
use crate::segment::{Pattern, Segment};
use crate::wait::LIMIT;

/// An actor or a worker of it: pid and comm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub name: String,
}

impl From<&Actor> for Process {
    fn from(actor: &Actor) -> Self {
        Self {
            pid: actor.pid(),
            name: actor.name.clone(),
        }
    }
}

impl From<&Process> for Process {
    fn from(process: &Process) -> Self {
        process.clone()
    }
}

/// A running actor; dropping it kills the process.
#[derive(Debug)]
pub struct Actor {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Standard error of the program that it has become.
    complaints: Option<File>,
    capture: Option<Capture>,
}

impl Actor {
    /// Takes over a process that was just started, once it reports that it is in its namespace.
    pub(super) fn greet(name: &str, mut child: Child) -> Result<Self, StageError> {
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(StageError::Failed(format!("{name} has no pipes")));
        };
        let mut actor = Self {
            name: name.to_owned(),
            child,
            input: Some(input),
            output: BufReader::new(output),
            complaints: None,
            capture: None,
        };
        actor.finish(&"start")?;
        Ok(actor)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a command and waits for the answer; a refusal is an error.
    pub fn ask(&mut self, command: Command) -> Result<Answer, StageError> {
        self.begin(&command)?;
        self.finish(&command)
    }

    /// Sends a command and does not wait.
    pub fn begin(&mut self, command: &Command) -> Result<(), StageError> {
        let mut line = serde_json::to_vec(command).map_err(|error| self.failed(&error))?;
        line.push(b'\n');
        let Some(input) = &mut self.input else {
            return Err(self.failed(&"it has ended"));
        };
        let written = input.write_all(&line);
        written.map_err(|error| self.failed(&error))
    }

    /// The answer to a command that was begun.
    pub fn finish(&mut self, to: &dyn Debug) -> Result<Answer, StageError> {
        let mut line = String::new();
        let read = self
            .output
            .read_line(&mut line)
            .map_err(|error| self.failed(&error))?;
        if read == 0 {
            return Err(self.failed(&format!("it ended at {to:?}")));
        }
        match serde_json::from_str(&line).map_err(|error| self.failed(&error))? {
            Answer::Failed { errno, what } => Err(StageError::Refused {
                actor: self.name.clone(),
                errno,
                what,
            }),
            answer => Ok(answer),
        }
    }

    fn failed(&self, what: &dyn std::fmt::Display) -> StageError {
        StageError::Failed(format!("{}: {what}", self.name))
    }

    fn unexpected<T>(&self, answer: &Answer) -> Result<T, StageError> {
        Err(self.failed(&format!("unexpected answer {answer:?}")))
    }

    fn done(&mut self, command: Command) -> Result<(), StageError> {
        self.ask(command).map(drop)
    }

    fn socket(&mut self, command: Command) -> Result<Socket, StageError> {
        match self.ask(command)? {
            Answer::Socket(socket) => Ok(socket),
            other => self.unexpected(&other),
        }
    }

    fn number(&mut self, command: Command) -> Result<u64, StageError> {
        match self.ask(command)? {
            Answer::Number(value) => Ok(value),
            other => self.unexpected(&other),
        }
    }

    pub fn listen(&mut self, address: SocketAddr, backlog: i32) -> Result<Socket, StageError> {
        self.socket(Command::Listen {
            address,
            backlog,
            shared: false,
        })
    }

    /// Opens a listening socket on an address that other processes may listen on, too.
    pub fn listen_shared(&mut self, address: SocketAddr) -> Result<Socket, StageError> {
        self.socket(Command::Listen {
            address,
            backlog: 8,
            shared: true,
        })
    }

    /// Connects, from a given address if one is given, and waits until it is done.
    pub fn connect(
        &mut self,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> Result<Socket, StageError> {
        self.socket(Command::Connect(from, to))
    }

    /// Connects from a given address, with any port.
    pub fn connect_from(&mut self, from: IpAddr, to: SocketAddr) -> Result<Socket, StageError> {
        self.connect(Some(SocketAddr::new(from, 0)), to)
    }

    /// Starts to connect, from a given address if one is given, and does not wait.
    pub fn start_connect(
        &mut self,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> Result<Socket, StageError> {
        self.socket(Command::StartConnect(from, to))
    }

    pub fn accept(&mut self, listener: Socket) -> Result<Socket, StageError> {
        self.accept_within(listener, LIMIT)
    }

    pub fn accept_within(
        &mut self,
        listener: Socket,
        limit: Duration,
    ) -> Result<Socket, StageError> {
        self.socket(accept(listener.id, limit))
    }

    /// Writes so many bytes.
    pub fn send(&mut self, socket: Socket, bytes: usize) -> Result<u64, StageError> {
        self.send_text(socket, &"x".repeat(bytes))
    }

    pub fn send_text(&mut self, socket: Socket, text: &str) -> Result<u64, StageError> {
        self.number(Command::Send(socket.id, text.to_owned()))
    }

    /// Reads so many bytes.
    pub fn receive(&mut self, socket: Socket, bytes: usize) -> Result<(), StageError> {
        let read = self.number(Command::Receive(socket.id, bytes))?;
        confirm("bytes read", read, bytes as u64)
    }

    /// Waits until so many bytes are unread.
    pub fn await_unread(&mut self, socket: Socket, bytes: usize) -> Result<(), StageError> {
        self.done(Command::AwaitUnread(socket.id, bytes))
    }

    /// Waits until the socket is in a state.
    pub fn await_state(&mut self, socket: Socket, state: TcpState) -> Result<(), StageError> {
        self.done(Command::AwaitState(socket.id, state))
    }

    /// Waits for the socket's pending error; its name.
    pub fn await_error(&mut self, socket: Socket) -> Result<String, StageError> {
        match self.ask(Command::AwaitError(socket.id))? {
            Answer::Text(text) => Ok(text),
            other => self.unexpected(&other),
        }
    }

    /// Waits for the socket's pending error, and confirms its name.
    pub fn confirm_error(&mut self, socket: Socket, meant: &str) -> Result<String, StageError> {
        let error = self.await_error(socket)?;
        confirm(&format!("error at {}", self.name), error.as_str(), meant)?;
        Ok(error)
    }

    pub fn set(&mut self, socket: Socket, option: SocketOption) -> Result<(), StageError> {
        self.done(Command::Set(socket.id, option))
    }

    /// close(2)
    pub fn close(&mut self, socket: Socket) -> Result<(), StageError> {
        self.done(Command::Close(socket.id))
    }

    /// close(2) with SO_LINGER {1, 0}
    pub fn close_with_linger_zero(&mut self, socket: Socket) -> Result<(), StageError> {
        self.set(socket, SocketOption::Linger(0))?;
        self.close(socket)
    }

    /// Forks a worker with copies of all sockets, under the same numbers.
    pub fn fork(&mut self, name: &str) -> Result<Process, StageError> {
        let name = name.to_owned();
        let pid = self.number(Command::Fork(name.clone()))?;
        let pid = u32::try_from(pid).map_err(|error| self.failed(&error))?;
        Ok(Process { pid, name })
    }

    /// Sends a worker a command and waits for the answer; a refusal is an error.
    pub fn ask_worker(&mut self, worker: &Process, command: Command) -> Result<Answer, StageError> {
        self.begin_in_worker(worker, command)?;
        self.answer_of_worker(worker)
    }

    /// Sends a worker a command and does not wait.
    pub fn begin_in_worker(
        &mut self,
        worker: &Process,
        command: Command,
    ) -> Result<(), StageError> {
        self.done(Command::BeginInChild(worker.pid, Box::new(command)))
    }

    pub fn answer_of_worker(&mut self, worker: &Process) -> Result<Answer, StageError> {
        self.ask(Command::AnswerOfChild(worker.pid))
    }

    /// Makes a worker take a connection from a listener's queue.
    pub fn accept_in_worker(
        &mut self,
        worker: &Process,
        listener: Socket,
    ) -> Result<Socket, StageError> {
        match self.ask_worker(worker, accept(listener.id, LIMIT))? {
            Answer::Socket(socket) => Ok(socket),
            other => self.unexpected(&other),
        }
    }

    /// Hands a socket to another process and keeps no copy; the other's socket.
    pub fn hand_on(&mut self, socket: Socket, to: &mut Self) -> Result<Socket, StageError> {
        to.done(Command::OpenMailbox)?;
        self.done(Command::HandOn(socket.id, to.pid()))?;
        to.socket(Command::TakeHanded)
    }

    /// Makes the connection vanish without a packet.
    pub fn vanish(&mut self, socket: Socket) -> Result<(), StageError> {
        self.done(Command::Vanish(socket.id))
    }

    /// The next sequence numbers of a connection.
    pub fn sequence(&mut self, socket: Socket) -> Result<Sequence, StageError> {
        match self.ask(Command::Sequence(socket.id))? {
            Answer::Sequence(sequence) => Ok(sequence),
            other => self.unexpected(&other),
        }
    }

    /// Captures TCP segments of the actor's namespace from now on; an earlier capture ends.
    pub fn capture(&mut self) -> Result<(), StageError> {
        let capture = namespace::enter_that_of(self.pid(), Capture::start).flatten();
        let capture = capture.map_err(|error| StageError::refused(&self.name, &error, "capture"));
        self.capture = Some(capture.map_err(no_packet_sockets)?);
        Ok(())
    }

    /// The next captured segment that fits.
    pub fn segment(&mut self, pattern: Pattern) -> Result<Segment, StageError> {
        next_segment(&mut self.capture, &self.name, &pattern)
    }

    /// The next captured RST on this way.
    pub fn reset(&mut self, from: SocketAddr, to: SocketAddr) -> Result<Segment, StageError> {
        self.segment(Pattern::reset(from, Some(to)))
    }

    /// Becomes another program, with the same process id.
    pub fn become_program(
        &mut self,
        program: &str,
        arguments: &[&str],
        configuration: &str,
    ) -> Result<(), StageError> {
        let complaints =
            memfd_create(c"complaints", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?;
        let complaints = self.complaints.insert(complaints.into());
        let path = format!("/proc/{}/fd/{}", std::process::id(), complaints.as_raw_fd());
        self.begin(&Command::Become {
            program: program.to_owned(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            configuration: configuration.to_owned(),
            complaints: path.into(),
        })?;
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .map_err(|error| self.failed(&error))?;
        if line.is_empty() {
            // The kernel calls the process after the program.
            self.name = program.to_owned();
            return Ok(());
        }
        match serde_json::from_str(&line).map_err(|error| self.failed(&error))? {
            Answer::Failed { errno, .. } if errno == "ENOENT" => {
                Err(StageError::NotStaged(format!("{program} is not installed")))
            }
            other => Err(self.failed(&format!("{other:?}"))),
        }
    }

    /// Standard error of the program that it has become, if it has ended.
    pub fn last_words(&mut self) -> Result<Option<String>, StageError> {
        if self.child.try_wait()?.is_none() {
            return Ok(None);
        }
        let mut said = Vec::new();
        if let Some(complaints) = &mut self.complaints {
            complaints.rewind()?;
            complaints.read_to_end(&mut said)?;
        }
        Ok(Some(in_a_line(&said)))
    }

    /// Kills the process with SIGKILL and waits for its end.
    pub fn kill(&mut self) -> Result<(), StageError> {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, Signal::SIGKILL).map_err(|error| self.failed(&error))?;
        self.input = None;
        let status = self.child.wait()?;
        match status.signal() {
            Some(_) => Ok(()),
            None => Err(self.failed(&format!("{status} instead of a signal"))),
        }
    }

    /// Makes the process end by itself with exit(code), and waits for that.
    pub fn exit(&mut self, code: i32) -> Result<(), StageError> {
        self.begin(&Command::Exit(code))?;
        let status = self.child.wait()?;
        match status.code() {
            Some(found) if found == code => Ok(()),
            _ => Err(self.failed(&format!("{status} instead of exit code {code}"))),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.input = None;
        // Both fail only if the process has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accept(listener: SocketId, limit: Duration) -> Command {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Command::Accept(listener, limit)
}
