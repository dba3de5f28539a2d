//! Handle of an actor: commands, and termination.

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
use super::protocol::{Answer, Command, SocketId, SocketOption, TcpState};
use crate::StageError;
use crate::segment::{Pattern, Segment};

/// A socket of an actor, seen from the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Its number in the actor.
    pub id: SocketId,
    pub local: SocketAddr,
    /// The other end; absent for a listener.
    pub remote: Option<SocketAddr>,
}

/// A child of an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forked {
    pub pid: u32,
    /// The name it gave itself.
    pub name: String,
}

/// The next sequence numbers of a connected socket, and how far away its peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// Of the next byte to be sent.
    pub send: u32,
    /// Of the next byte to be received.
    pub receive: u32,
    /// The smoothed round-trip time.
    pub rtt: Duration,
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
}

impl Actor {
    /// Takes over a process that was just started, once it says that it is where it belongs.
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
        };
        actor.answer(&"start")?;
        Ok(actor)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The name it gave itself (comm).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells it one command and waits for the answer; a refusal is an error.
    pub fn ask(&mut self, command: Command) -> Result<Answer, StageError> {
        self.tell(&command)?;
        self.answer(&command)
    }

    /// Tells it one command and does not wait.
    pub fn begin(&mut self, command: &Command) -> Result<(), StageError> {
        self.tell(command)
    }

    /// Its answer to a command that it was told to begin.
    pub fn finish(&mut self, command: &Command) -> Result<Answer, StageError> {
        self.answer(command)
    }

    fn tell(&mut self, command: &Command) -> Result<(), StageError> {
        let mut line = serde_json::to_vec(command).map_err(|error| self.failed(&error))?;
        line.push(b'\n');
        let Some(input) = &mut self.input else {
            return Err(self.failed(&"it has ended"));
        };
        let written = input.write_all(&line);
        written.map_err(|error| self.failed(&error))
    }

    fn answer(&mut self, to: &dyn std::fmt::Debug) -> Result<Answer, StageError> {
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

    fn socket(&mut self, command: Command) -> Result<Socket, StageError> {
        match self.ask(command)? {
            Answer::Socket { id, local, remote } => Ok(Socket { id, local, remote }),
            other => Err(self.failed(&format!("unexpected answer {other:?}"))),
        }
    }

    fn number(&mut self, command: Command) -> Result<u64, StageError> {
        match self.ask(command)? {
            Answer::Number { value } => Ok(value),
            other => Err(self.failed(&format!("unexpected answer {other:?}"))),
        }
    }

    /// Opens a listening socket.
    pub fn listen(&mut self, address: SocketAddr, backlog: i32) -> Result<Socket, StageError> {
        self.socket(Command::Listen {
            address,
            backlog,
            shared: false,
        })
    }

    /// Opens a listening socket beside which other processes may have theirs.
    pub fn listen_shared(&mut self, address: SocketAddr) -> Result<Socket, StageError> {
        self.socket(Command::Listen {
            address,
            backlog: 8,
            shared: true,
        })
    }

    /// Connects and waits until it is done.
    pub fn connect(&mut self, to: SocketAddr) -> Result<Socket, StageError> {
        self.socket(Command::Connect {
            from: None,
            to,
            timeout_ms: LIMIT_MS,
        })
    }

    /// The same from a given address, with any port.
    pub fn connect_from(&mut self, from: IpAddr, to: SocketAddr) -> Result<Socket, StageError> {
        self.socket(Command::Connect {
            from: Some(SocketAddr::new(from, 0)),
            to,
            timeout_ms: LIMIT_MS,
        })
    }

    /// Starts to connect, from a given address if one is given, and does not wait.
    pub fn start_connect(
        &mut self,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> Result<Socket, StageError> {
        self.socket(Command::StartConnect { from, to })
    }

    /// Takes a connection from the listener's queue.
    pub fn accept(&mut self, listener: Socket) -> Result<Socket, StageError> {
        self.socket(Command::Accept {
            socket: listener.id,
            timeout_ms: LIMIT_MS,
        })
    }

    /// Writes so many bytes.
    pub fn send(&mut self, socket: Socket, bytes: usize) -> Result<u64, StageError> {
        self.number(Command::Send {
            socket: socket.id,
            bytes,
        })
    }

    pub fn send_text(&mut self, socket: Socket, text: &str) -> Result<u64, StageError> {
        self.number(Command::SendText {
            socket: socket.id,
            text: text.to_owned(),
        })
    }

    /// Reads so many bytes, fewer at the end of the stream.
    pub fn receive(&mut self, socket: Socket, bytes: usize) -> Result<u64, StageError> {
        self.number(Command::Receive {
            socket: socket.id,
            bytes,
            timeout_ms: LIMIT_MS,
        })
    }

    /// Waits until so many bytes lie unread.
    pub fn await_unread(&mut self, socket: Socket, bytes: usize) -> Result<u64, StageError> {
        self.number(Command::AwaitUnread {
            socket: socket.id,
            bytes,
            timeout_ms: LIMIT_MS,
        })
    }

    /// Waits until the socket is in a state.
    pub fn await_state(&mut self, socket: Socket, state: TcpState) -> Result<(), StageError> {
        self.ask(Command::AwaitState {
            socket: socket.id,
            state,
            timeout_ms: LIMIT_MS,
        })
        .map(drop)
    }

    /// Waits for the socket's pending error; its name.
    pub fn await_error(&mut self, socket: Socket) -> Result<String, StageError> {
        match self.ask(Command::AwaitError {
            socket: socket.id,
            timeout_ms: LIMIT_MS,
        })? {
            Answer::Text { text } => Ok(text),
            other => Err(self.failed(&format!("unexpected answer {other:?}"))),
        }
    }

    /// Sets a socket option.
    pub fn set(&mut self, socket: Socket, option: SocketOption) -> Result<(), StageError> {
        self.ask(Command::Set {
            socket: socket.id,
            option,
        })
        .map(drop)
    }

    /// close(2)
    pub fn close(&mut self, socket: Socket) -> Result<(), StageError> {
        self.ask(Command::Close { socket: socket.id }).map(drop)
    }

    /// Hands the socket to a child with this name, which closes it; the child's pid.
    pub fn fork_to_close(&mut self, socket: Socket, name: &str) -> Result<u32, StageError> {
        let pid = self.number(Command::ForkToClose {
            socket: socket.id,
            name: name.to_owned(),
        })?;
        u32::try_from(pid).map_err(|error| self.failed(&error))
    }

    /// Forks a worker with copies of all sockets, under the same numbers.
    pub fn fork(&mut self, name: &str) -> Result<Forked, StageError> {
        let name = name.to_owned();
        let pid = self.number(Command::Fork { name: name.clone() })?;
        let pid = u32::try_from(pid).map_err(|error| self.failed(&error))?;
        Ok(Forked { pid, name })
    }

    /// Has a worker do something; a refusal is an error.
    pub fn ask_worker(&mut self, worker: &Forked, command: Command) -> Result<Answer, StageError> {
        self.tell_worker(worker, command)?;
        self.hear_worker(worker)
    }

    /// Has a worker begin with something.
    pub fn tell_worker(&mut self, worker: &Forked, command: Command) -> Result<(), StageError> {
        let (child, command) = (worker.pid, Box::new(command));
        self.ask(Command::TellChild { child, command }).map(drop)
    }

    /// A worker's answer.
    pub fn hear_worker(&mut self, worker: &Forked) -> Result<Answer, StageError> {
        self.ask(Command::HearChild { child: worker.pid })
    }

    /// Hands a socket to another process and keeps no copy; the other's socket.
    pub fn hand_on(&mut self, socket: Socket, to: &mut Self) -> Result<Socket, StageError> {
        to.ask(Command::OpenMailbox)?;
        self.ask(Command::HandOn {
            socket: socket.id,
            to: to.pid(),
        })?;
        to.socket(Command::TakeHanded)
    }

    /// shutdown(2), of the writing direction or of both.
    pub fn shutdown(&mut self, socket: Socket, both: bool) -> Result<(), StageError> {
        self.ask(Command::Shutdown {
            socket: socket.id,
            both,
        })
        .map(drop)
    }

    /// Makes the connection vanish without a packet.
    pub fn vanish(&mut self, socket: Socket) -> Result<(), StageError> {
        self.ask(Command::Vanish { socket: socket.id }).map(drop)
    }

    /// The next sequence numbers of a connection.
    pub fn sequence(&mut self, socket: Socket) -> Result<Sequence, StageError> {
        match self.ask(Command::Sequence { socket: socket.id })? {
            Answer::Sequence {
                send,
                receive,
                rtt_us,
            } => Ok(Sequence {
                send,
                receive,
                rtt: Duration::from_micros(rtt_us.into()),
            }),
            other => Err(self.failed(&format!("unexpected answer {other:?}"))),
        }
    }

    /// Captures TCP segments of the actor's namespace from now on.
    pub fn capture(&mut self) -> Result<(), StageError> {
        self.ask(Command::Capture)
            .map_err(|error| error.lacking(&["EAFNOSUPPORT"], "no packet sockets"))
            .map(drop)
    }

    /// The next captured segment that fits.
    pub fn segment(&mut self, pattern: Pattern) -> Result<Segment, StageError> {
        match self.ask(Command::AwaitSegment {
            pattern,
            timeout_ms: LIMIT_MS,
        })? {
            Answer::Segment { segment } => Ok(segment),
            other => Err(self.failed(&format!("unexpected answer {other:?}"))),
        }
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
        self.tell(&Command::Become {
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

    /// Runs a program to its end in the actor's namespace; what it complained about unless it succeeded.
    pub fn run(&mut self, program: &str, arguments: &[&str]) -> Result<Option<String>, StageError> {
        let command = Command::Run {
            program: program.to_owned(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        };
        let answer = self.ask(command).map_err(|error| match error {
            StageError::Refused { errno, .. } if errno == "ENOENT" => {
                StageError::NotStaged(format!("{program} is not installed"))
            }
            other => other,
        })?;
        match answer {
            Answer::Ran { complaint } => Ok(complaint),
            other => Err(self.failed(&format!("unexpected answer {other:?}"))),
        }
    }

    /// What the process has said on standard error, if it has ended.
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

    /// A kernel counter of the actor's namespace.
    pub fn counter(&mut self, name: &str) -> Result<u64, StageError> {
        self.number(Command::Counter {
            name: name.to_owned(),
        })
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

    /// Has the process end by itself with exit(code), and waits for that.
    pub fn exit(&mut self, code: i32) -> Result<(), StageError> {
        self.tell(&Command::Exit { code })?;
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

/// Far longer than anything takes; only a failed staging waits so long.
const LIMIT_MS: u64 = 3000;
