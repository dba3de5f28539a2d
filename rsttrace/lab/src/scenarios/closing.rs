//! Resets caused by the way in which a process ends a connection.

use super::pair::{Pair, on_pair};
use super::{Armed, Family, SHORT, Scenario, Staged};
use crate::StageError;
use crate::actor::protocol::{Command, SocketOption, TcpState};
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Origin, Role};
use crate::segment::{Flags, Pattern, Segment};
use crate::truth::Truth;

pub const LINGER_ZERO: Scenario = Scenario {
    name: "linger-zero",
    title: "close() with SO_LINGER of 0 seconds",
    family: Family::Both,
    twins: &["linger-five-unread", "disconnect"],
    open: |lab, version| on_pair(lab, version, close_with_linger_zero),
    ..SHORT
};

/// The server's end closes that way.
pub fn close_with_linger_zero(lab: &mut Lab, pair: Pair) -> Result<Staged, StageError> {
    close_with_linger_zero_under(lab, pair, "SO_LINGER 0, then close()")
}

fn close_with_linger_zero_under(
    lab: &mut Lab,
    mut pair: Pair,
    condition: &'static str,
) -> Result<Staged, StageError> {
    lab.capture(Place::Server)?;
    pair.server.close_with_linger_zero(pair.at_server)?;
    let truths = pair.closed_by_server(lab, Cause::LingerZero, condition, "close()")?;
    Staged::active(truths, pair)
}

/// The same on a dual-stack listener: an IPv6 socket whose addresses are IPv4.
pub const LINGER_ZERO_MAPPED: Scenario = Scenario {
    name: "linger-zero-mapped",
    title: "linger 0 on an IPv6 socket that serves an IPv4 client",
    twins: &["linger-zero"],
    open: |lab, _| {
        let pair = Pair::open_dual_stack(lab)?;
        let condition = "SO_LINGER 0, then close(), on a socket with v4-mapped addresses";
        Armed::new(move |lab| close_with_linger_zero_under(lab, pair, condition))
    },
    ..SHORT
};

/// The process that accepted has handed the connection to a child and is not the one that resets it.
pub const WORKER_CLOSES: Scenario = Scenario {
    name: "worker-closes",
    title: "a forked worker closes what its parent accepted",
    twins: &["close-unread"],
    open: |lab, version| {
        on_unread(lab, version, |lab, mut pair| {
            lab.capture(Place::Server)?;
            let worker = counted(lab, "TCPAbortOnClose", |_| {
                let worker = pair.server.fork("rt-worker")?;
                pair.server.close(pair.at_server)?;
                let close = Command::Close(pair.at_server.id);
                pair.server.ask_worker(&worker, close)?;
                Ok(worker)
            })?;
            let who = (Origin::LocalProcess, Cause::CloseWithUnreadData);
            let [sent, received] = pair.ended_by_server(lab, who, "ECONNRESET")?;
            let sent = sent
                .because("accepted by the parent, closed by the child with 100 bytes unread")
                .done_by(&worker, "close()")
                .names(&worker, &[Role::Closer])
                .with_unread(UNREAD as u64);
            Staged::active([sent, received], pair)
        })
    },
    ..SHORT
};

pub const CLOSE_UNREAD: Scenario = Scenario {
    name: "close-unread",
    title: "close() with 100 bytes unread",
    family: Family::Both,
    twins: &["data-after-close-fin-wait2", "killed-unread"],
    open: |lab, version| on_unread(lab, version, close_unread),
    ..SHORT
};

/// Provokes a reset of a connection with bytes unread at the server.
fn on_unread(
    lab: &mut Lab,
    version: IpVersion,
    provoke: impl FnOnce(&mut Lab, Pair) -> Result<Staged, StageError> + Send + 'static,
) -> Result<Armed, StageError> {
    let mut pair = Pair::open(lab, version)?;
    pair.leave_unread(UNREAD)?;
    Armed::new(move |lab| provoke(lab, pair))
}

/// The server's end closes with bytes unread.
pub fn close_unread(lab: &mut Lab, pair: Pair) -> Result<Staged, StageError> {
    close_unread_because(lab, pair, "100 bytes unread, then close()")
}

fn close_unread_because(
    lab: &mut Lab,
    pair: Pair,
    condition: &'static str,
) -> Result<Staged, StageError> {
    let cause = Cause::CloseWithUnreadData;
    end_unread(lab, pair, cause, (condition, "close()"), |pair| {
        pair.server.close(pair.at_server)
    })
}

/// The server's process ends the connection in a way that discards what is unread.
fn end_unread(
    lab: &mut Lab,
    mut pair: Pair,
    cause: Cause,
    (condition, did): (&'static str, &'static str),
    end: impl FnOnce(&mut Pair) -> Result<(), StageError>,
) -> Result<Staged, StageError> {
    lab.capture(Place::Server)?;
    counted(lab, "TCPAbortOnClose", |_| end(&mut pair))?;
    let [sent, received] = pair.closed_by_server(lab, cause, condition, did)?;
    Staged::active([sent.with_unread(UNREAD as u64), received], pair)
}

/// The server turns an upload away while segments of it are in flight: its kernel answers each.
pub const ABORTED_UPLOAD: Scenario = Scenario {
    name: "aborted-upload",
    title: "close() with 100 bytes unread while 8 more segments are in flight",
    family: Family::Both,
    twins: &["close-unread", "half-open"],
    open: |lab, version| {
        let mut network = lab.actor(Place::Router, "rt-network")?;
        on_unread(lab, version, move |lab, mut pair| {
            let at_client = pair.client.sequence(pair.at_client)?;
            let (client, server) = (pair.at_client.local, pair.listener.local);
            let mut staged = close_unread(lab, pair)?;
            for n in 0..IN_FLIGHT {
                let mut segment = Segment::new(client, server, Flags::ACK)
                    .numbered(at_client.send.wrapping_add(n * 100), at_client.receive);
                segment.payload = 100;
                network.ask(Command::Inject(segment))?;
                lab.reset(Place::Server, server, client)?;
            }
            if let Some(truth) = staged.truths.first_mut() {
                truth.further = IN_FLIGHT as usize;
            }
            Ok(staged)
        })
    },
    ..SHORT
};

/// Segments that arrive when the connection has gone.
const IN_FLIGHT: u32 = 8;

/// The look-alike of linger 0: linger is set, but what resets is the unread data.
pub const LINGER_FIVE_UNREAD: Scenario = Scenario {
    name: "linger-five-unread",
    title: "close() with unread data, SO_LINGER of 5 seconds set",
    twins: &["linger-zero"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        pair.server.set(pair.at_server, SocketOption::Linger(5))?;
        pair.leave_unread(UNREAD)?;
        Armed::new(move |lab| {
            close_unread_because(lab, pair, "SO_LINGER 5 and 100 bytes unread, then close()")
        })
    },
    ..SHORT
};

pub const KILLED_UNREAD: Scenario = Scenario {
    name: "killed-unread",
    title: "killed (SIGKILL) with 100 bytes unread",
    family: Family::Both,
    twins: &["exit-unread", "close-unread"],
    open: |lab, version| {
        on_unread(lab, version, |lab, pair| {
            let why = (
                "100 bytes unread, then killed by SIGKILL",
                "died of SIGKILL",
            );
            end_unread(lab, pair, Cause::KilledWithUnreadData, why, |pair| {
                pair.server.kill()
            })
        })
    },
    ..SHORT
};

/// The look-alike of being killed: the process calls exit().
pub const EXIT_UNREAD: Scenario = Scenario {
    name: "exit-unread",
    title: "exit(0) with 100 bytes unread",
    twins: &["killed-unread"],
    open: |lab, version| {
        on_unread(lab, version, |lab, pair| {
            let why = (
                "100 bytes unread, then exit(0), nobody killed it",
                "exit(0)",
            );
            end_unread(lab, pair, Cause::CloseWithUnreadData, why, |pair| {
                pair.server.exit(0)
            })
        })
    },
    ..SHORT
};

pub const LINGER2: Scenario = Scenario {
    name: "linger2",
    title: "close() in FIN_WAIT2 with TCP_LINGER2 of -1",
    family: Family::Both,
    twins: &["linger-zero", "data-after-close-fin-wait2"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            pair.server.set(pair.at_server, SocketOption::Linger2(-1))?;
            pair.server.ask(Command::ShutdownWrite(pair.at_server.id))?;
            pair.server
                .await_state(pair.at_server, TcpState::FinWait2)?;
            lab.capture(Place::Server)?;
            counted(lab, "TCPAbortOnLinger", |_| {
                pair.server.close(pair.at_server)
            })?;
            let who = (Origin::LocalProcess, Cause::Linger2);
            // In CLOSE_WAIT a reset is a broken pipe. The client could still write.
            let [sent, received] = pair.ended_by_server(lab, who, "EPIPE")?;
            let sent = sent
                .because("TCP_LINGER2 -1, shutdown(SHUT_WR), FIN acknowledged, then close()")
                .done_by(&pair.server, "close()")
                .names(&pair.server, &[Role::Closer]);
            Staged::active([sent, received], pair)
        })
    },
    ..SHORT
};

pub const DISCONNECT: Scenario = Scenario {
    name: "disconnect",
    title: "connect(AF_UNSPEC) on a live connection",
    family: Family::Both,
    twins: &["socket-destroyed", "linger-zero"],
    open: |lab, version| {
        on_pair(lab, version, |lab, mut pair| {
            lab.capture(Place::Server)?;
            pair.server.ask(Command::Disconnect(pair.at_server.id))?;
            let (condition, did) = ("connect(2) with AF_UNSPEC", "connect(AF_UNSPEC)");
            let truths = pair.closed_by_server(lab, Cause::Disconnect, condition, did)?;
            Staged::active(truths, pair)
        })
    },
    ..SHORT
};

pub const SOCKET_DESTROYED: Scenario = Scenario {
    name: "socket-destroyed",
    title: "socket destroyed by another process, as by ss -K",
    family: Family::Both,
    twins: &["disconnect", "close-unread"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        let mut killer = lab.actor(Place::Server, "rt-killer")?;
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            let (local, remote) = (pair.listener.local, pair.at_client.local);
            let destroyed = killer.ask(Command::Destroy(local, remote));
            destroyed.map_err(|error| {
                let what = "this kernel cannot destroy sockets";
                error.lacking(&["EOPNOTSUPP", "ENOENT"], what)
            })?;
            let who = (Origin::LocalProcess, Cause::SocketDestroyed);
            let [sent, received] = pair.ended_by_server(lab, who, "ECONNRESET")?;
            pair.server.confirm_error(pair.at_server, "ECONNABORTED")?;
            let sent = sent
                .because("SOCK_DESTROY by another process; the owner saw ECONNABORTED")
                .done_by(&killer, "SOCK_DESTROY")
                .names(&killer, &[Role::Closer]);
            pair.further.push(killer);
            Staged::active([sent, received], pair)
        })
    },
    ..SHORT
};

pub const LISTENER_CLOSED: Scenario = Scenario {
    name: "listener-closed",
    title: "the listener closed with two connections not accepted",
    family: Family::Both,
    twins: &["close-unread", "accept-overflow"],
    open: open_listener_closed,
    ..SHORT
};

fn open_listener_closed(lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
    let mut server = lab.actor(Place::Server, "rt-server")?;
    let mut client = lab.actor(Place::Client, "rt-client")?;
    let listener = server.listen(lab.service(version), 8)?;
    let waiting = [
        client.connect(None, listener.local)?,
        client.connect(None, listener.local)?,
    ];
    for socket in waiting {
        // The client's view is not enough: the last ACK of the handshake may still be under way.
        let ends = (listener.local, socket.local);
        lab.await_entry(Place::Server, ends, TcpState::Established, false)?;
    }
    Armed::new(move |lab| {
        lab.capture(Place::Server)?;
        server.close(listener)?;
        let mut truths = Vec::new();
        for socket in waiting {
            let error = client.confirm_error(socket, "ECONNRESET")?;
            // Which of the two is reset first is up to the kernel.
            let seen = lab.segment(Place::Server, Pattern::reset(listener.local, None))?;
            let cause = Cause::ListenerClosed;
            truths.push(
                Truth::sent(lab, Place::Server, &seen, Origin::LocalProcess, cause)
                    .because("the listening socket closed, the connection never accepted")
                    .done_by(&server, "close() of the listener")
                    .names(&server, &[Role::Closer, Role::Listener])
                    .lost_connection()
                    .peer_saw(error),
            );
        }
        Staged::active(truths, [client, server])
    })
}

/// Does something and confirms that the server's kernel counted it once under this name.
fn counted<T>(
    lab: &mut Lab,
    counter: &str,
    act: impl FnOnce(&mut Lab) -> Result<T, StageError>,
) -> Result<T, StageError> {
    lab.counted((Place::Server, counter, 1), act)
}

/// Bytes that are unread.
pub const UNREAD: usize = 100;
