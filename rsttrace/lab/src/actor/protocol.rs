//! Protocol between the demo and its actors.
//!
//! One JSON object a line in each direction, each command answered by exactly one answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::segment::Segment;

/// Names a socket inside one actor.
pub type SocketId = u32;

/// What an actor should do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Listen {
        address: SocketAddr,
        backlog: i32,
        /// With SO_REUSEPORT: other processes may listen there, too.
        shared: bool,
    },
    /// Connects, and waits until the connection is established or refused.
    Connect(Option<SocketAddr>, SocketAddr),
    /// Starts to connect without waiting.
    StartConnect(Option<SocketAddr>, SocketAddr),
    /// Takes one connection from a listener's queue, within so many milliseconds.
    Accept(SocketId, u64),
    Send(SocketId, String),
    /// Reads until so many bytes were read, the end of the stream, or an error.
    Receive(SocketId, usize),
    /// Waits until so many bytes are unread in the receive queue.
    AwaitUnread(SocketId, usize),
    /// Waits until the socket is in this TCP state.
    AwaitState(SocketId, TcpState),
    /// Waits until the socket has a pending error, and answers with its name.
    AwaitError(SocketId),
    Set(SocketId, SocketOption),
    /// Shuts down the writing direction.
    ShutdownWrite(SocketId),
    /// Shuts down both directions.
    ShutdownBoth(SocketId),
    /// Closes the socket with close(2).
    Close(SocketId),
    /// Forks a child with this name that has copies of all sockets and obeys commands. Answers with its pid.
    Fork(String),
    /// Passes a command to the child with this pid, and does not wait for its answer.
    BeginInChild(u32, Box<Command>),
    AnswerOfChild(u32),
    /// Waits until the socket has a pending error, closes it at once, and answers with the error's name.
    CloseAtError(SocketId),
    /// Opens a mailbox for sockets.
    OpenMailbox,
    /// Puts a socket into the mailbox of a process (SCM_RIGHTS) and closes the own copy.
    HandOn(SocketId, u32),
    /// Takes a socket out of the own mailbox.
    TakeHanded,
    /// connect(2) with AF_UNSPEC.
    Disconnect(SocketId),
    /// Closes under TCP_REPAIR: the connection ends without a packet.
    Vanish(SocketId),
    /// The next sequence numbers of a connected socket.
    Sequence(SocketId),
    /// Ends the process with exit(2), its sockets as they are.
    Exit(i32),
    /// Sends a crafted segment through a raw socket.
    Inject(Segment),
    /// Starts a thread that sends crafted segments after so many milliseconds.
    InjectLater(Vec<Segment>, u64),
    /// Becomes another program, and is not an actor then: answered only if that fails.
    Become {
        program: String,
        arguments: Vec<String>,
        configuration: String,
        /// Where its standard error goes.
        complaints: PathBuf,
    },
    /// SOCK_DESTROY by sock_diag, as `ss -K` does: local and remote address.
    Destroy(SocketAddr, SocketAddr),
}

/// Socket options that scenarios use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketOption {
    /// SO_LINGER with this many seconds.
    Linger(u64),
    /// TCP_LINGER2, in seconds; negative means: reset instead of FIN_WAIT2.
    Linger2(i32),
    /// SO_KEEPALIVE with idle time, interval (seconds) and number of probes.
    KeepAlive {
        idle: u64,
        interval: u64,
        probes: u32,
    },
    NoDelay,
    /// TCP_USER_TIMEOUT in milliseconds.
    UserTimeout(u64),
    /// IP_TTL or IPV6_UNICAST_HOPS.
    Ttl(u32),
}

/// States of a TCP connection, with the kernel's numbers (include/net/tcp_states.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum TcpState {
    Established = 1,
    SynReceived = 3,
    FinWait2 = 5,
    Close = 7,
    CloseWait = 8,
    Listen = 10,
}

/// What an actor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    Socket(Socket),
    /// Bytes sent or received, or a pid.
    Number(u64),
    Sequence(Sequence),
    /// The name of an error.
    Text(String),
    /// It failed: the errno's name ("ECONNRESET") and what was tried.
    Failed {
        errno: String,
        what: String,
    },
}

/// A socket of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its number in the actor.
    pub id: SocketId,
    pub local: SocketAddr,
    /// The other end; absent for a listener.
    pub remote: Option<SocketAddr>,
}

/// The next sequence numbers of a connected socket, and how far away its peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Of the next byte to be sent.
    pub send: u32,
    /// Of the next byte to be received.
    pub receive: u32,
    /// The smoothed round-trip time.
    pub rtt: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_the_line() {
        for command in [
            Command::Connect(None, "[fd03::3]:80".parse().unwrap()),
            Command::Set(3, SocketOption::Linger2(-1)),
            Command::OpenMailbox,
            Command::BeginInChild(7, Box::new(Command::AwaitState(1, TcpState::FinWait2))),
            Command::Send(2, "two\nlines".to_owned()),
        ] {
            let line = serde_json::to_string(&command).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Command>(&line).unwrap(), command);
        }
    }
}
