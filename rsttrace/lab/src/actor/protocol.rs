//! Protocol between the demo and its actors.
//!
//! One JSON object a line in each direction, each command answered by exactly one answer.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::net::nft::Rule;
use crate::segment::{Pattern, Segment};

/// Names a socket inside one actor.
pub type SocketId = u32;

/// One thing an actor is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Opens a listening socket.
    Listen {
        address: SocketAddr,
        backlog: i32,
        /// With SO_REUSEPORT: other processes may listen there, too.
        shared: bool,
    },
    /// Connects, and waits until the connection is established or refused.
    Connect {
        from: Option<SocketAddr>,
        to: SocketAddr,
        timeout_ms: u64,
    },
    /// Starts to connect without waiting.
    StartConnect {
        from: Option<SocketAddr>,
        to: SocketAddr,
    },
    /// Takes one connection from a listener's queue.
    Accept {
        socket: SocketId,
        timeout_ms: u64,
    },
    /// Writes `bytes` bytes.
    Send {
        socket: SocketId,
        bytes: usize,
    },
    SendText {
        socket: SocketId,
        text: String,
    },
    /// Reads until `bytes` bytes were read, the end of the stream, or an error.
    Receive {
        socket: SocketId,
        bytes: usize,
        timeout_ms: u64,
    },
    /// Waits until `bytes` bytes lie unread in the receive queue.
    AwaitUnread {
        socket: SocketId,
        bytes: usize,
        timeout_ms: u64,
    },
    /// Waits until the socket is in this TCP state.
    AwaitState {
        socket: SocketId,
        state: TcpState,
        timeout_ms: u64,
    },
    /// Waits until the socket has a pending error, and answers with its name.
    AwaitError {
        socket: SocketId,
        timeout_ms: u64,
    },
    /// Sets one socket option.
    Set {
        socket: SocketId,
        option: SocketOption,
    },
    /// Shuts down both directions, or only the writing one.
    Shutdown {
        socket: SocketId,
        both: bool,
    },
    /// Closes the socket with close(2).
    Close {
        socket: SocketId,
    },
    /// Forks a child that calls itself `name`, closes the own copy of the socket, and has the child close
    /// the last one. Answers with the child's pid.
    ForkToClose {
        socket: SocketId,
        name: String,
    },
    /// Forks a child that calls itself `name`, has copies of all sockets and does what it is told. Answers with its
    /// pid.
    Fork {
        name: String,
    },
    /// Has a child do something, and does not wait for it.
    TellChild {
        child: u32,
        command: Box<Command>,
    },
    /// Waits for a child's answer.
    HearChild {
        child: u32,
    },
    /// Waits until the socket has a pending error, closes it at once, and answers with the error's name.
    CloseAtError {
        socket: SocketId,
        timeout_ms: u64,
    },
    /// Opens a mailbox for sockets.
    OpenMailbox,
    /// Puts a socket into the mailbox of a process (SCM_RIGHTS) and closes the own copy.
    HandOn {
        socket: SocketId,
        to: u32,
    },
    /// Takes a socket out of the own mailbox.
    TakeHanded,
    /// connect(2) with AF_UNSPEC.
    Disconnect {
        socket: SocketId,
    },
    /// Closes under TCP_REPAIR: the connection is gone and no packet says so.
    Vanish {
        socket: SocketId,
    },
    /// The next sequence numbers of a connected socket.
    Sequence {
        socket: SocketId,
    },
    /// Ends the process with exit(2), its sockets as they are.
    Exit {
        code: i32,
    },
    /// Sends a crafted segment through a raw socket.
    Inject {
        segment: Segment,
    },
    /// Has a thread send crafted segments after a while, and does not wait.
    InjectLater {
        segments: Vec<Segment>,
        after_ms: u64,
    },
    /// Becomes another program, which is no actor any more: answered only if that fails.
    Become {
        program: String,
        arguments: Vec<String>,
        configuration: String,
        /// Where its standard error goes.
        complaints: PathBuf,
    },
    /// Runs a program to its end, in this namespace.
    Run {
        program: String,
        arguments: Vec<String>,
    },
    /// SOCK_DESTROY by sock_diag, as `ss -K` does.
    Destroy {
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// Starts to capture TCP segments of this namespace; an earlier capture ends.
    Capture,
    /// Waits for a captured segment that fits; the first that was not answered with yet.
    AwaitSegment {
        pattern: Pattern,
        timeout_ms: u64,
    },
    /// What the kernel's table says of a connection (also without a descriptor: orphans, TIME_WAIT).
    Entry {
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// Waits until the connection is in the table as described, or not in it at all (`None`).
    AwaitEntry {
        local: SocketAddr,
        remote: SocketAddr,
        entry: Option<Entry>,
        timeout_ms: u64,
    },
    /// A counter of /proc/net/netstat or /proc/net/snmp, such as "TCPAbortOnClose".
    Counter {
        name: String,
    },
    /// Writes a network sysctl and answers with the value it had.
    Sysctl {
        name: String,
        value: String,
    },
    /// Makes a firewall table with these rules.
    Firewall {
        table: String,
        rules: Vec<Rule>,
    },
    /// Removes a firewall table.
    FirewallOff {
        table: String,
    },
    /// Makes a veth pair whose other end is put into the namespace of a process.
    Veth {
        name: String,
        peer: String,
        peer_pid: u32,
    },
    /// Sets a link up.
    LinkUp {
        name: String,
    },
    /// Gives an interface an address.
    Address {
        name: String,
        address: IpAddr,
        prefix: u8,
    },
    /// Sets the default route.
    DefaultRoute {
        gateway: IpAddr,
    },
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
    /// TCP_NODELAY
    NoDelay,
    /// TCP_USER_TIMEOUT in milliseconds.
    UserTimeout(u64),
    /// IP_TTL or IPV6_UNICAST_HOPS.
    Ttl(u32),
}

/// States of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names of RFC 9293")]
pub enum TcpState {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl TcpState {
    /// The kernel's number for the state (include/net/tcp_states.h).
    pub fn from_kernel(number: u8) -> Option<Self> {
        use TcpState::*;
        let known = [
            Established,
            SynSent,
            SynReceived,
            FinWait1,
            FinWait2,
            TimeWait,
            Close,
            CloseWait,
            LastAck,
            Listen,
            Closing,
        ];
        let index = usize::from(number).checked_sub(1)?;
        // NEW_SYN_RECV (12) is what a request socket shows; for the outside it is SYN_RECEIVED.
        known
            .get(index)
            .copied()
            .or((number == 12).then_some(SynReceived))
    }
}

/// A row of the kernel's connection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The state; a TIME_WAIT minisock that stands for FIN_WAIT2 shows as `FinWait2`.
    pub state: TcpState,
    /// Whether the connection is a TIME_WAIT minisock, whatever its state says.
    pub minisock: bool,
}

/// What an actor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Done, nothing more to say.
    Done,
    /// A socket; `remote` is absent for a listener.
    Socket {
        id: SocketId,
        local: SocketAddr,
        remote: Option<SocketAddr>,
    },
    /// A number: bytes sent or received, or a counter.
    Number {
        value: u64,
    },
    /// Next sequence numbers: to be sent, to be received.
    Sequence {
        send: u32,
        receive: u32,
        rtt_us: u32,
    },
    Segment {
        segment: Segment,
    },
    /// A row of the connection table, or that there is none.
    Entry {
        entry: Option<Entry>,
    },
    /// A text: the name of an error, the old value of a sysctl.
    Text {
        text: String,
    },
    /// A program has run; what it complained about unless it succeeded.
    Ran {
        complaint: Option<String>,
    },
    /// It failed: the errno's name ("ECONNRESET") and what was tried.
    Failed {
        errno: String,
        what: String,
    },
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_the_line() {
        let commands = [
            Command::Connect {
                from: None,
                to: "[fd03::3]:80".parse().unwrap(),
                timeout_ms: 5,
            },
            Command::Set {
                socket: 3,
                option: SocketOption::Linger2(-1),
            },
            Command::Capture,
            Command::AwaitEntry {
                local: "192.0.2.1:1".parse().unwrap(),
                remote: "192.0.2.1:2".parse().unwrap(),
                entry: Some(Entry {
                    state: TcpState::FinWait2,
                    minisock: true,
                }),
                timeout_ms: 9,
            },
        ];
        for command in commands {
            let line = serde_json::to_string(&command).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Command>(&line).unwrap(), command);
        }
    }

    #[test]
    fn an_answer_survives_the_line() {
        let answer = Answer::Failed {
            errno: "ECONNRESET".into(),
            what: "receive".into(),
        };
        let line = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
    }

    #[test]
    fn kernel_state_numbers_have_names() {
        assert_eq!(TcpState::from_kernel(1), Some(TcpState::Established));
        assert_eq!(TcpState::from_kernel(11), Some(TcpState::Closing));
        assert_eq!(TcpState::from_kernel(12), Some(TcpState::SynReceived));
        assert_eq!(TcpState::from_kernel(0), None);
        assert_eq!(TcpState::from_kernel(99), None);
    }
}
