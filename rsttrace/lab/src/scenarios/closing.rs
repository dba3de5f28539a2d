//! Resets caused by the way in which a process ends a connection.

use super::pair::Pair;
use super::{Armed, Family, Scenario, Staged, Suite, confirm};
use crate::StageError;
use crate::actor::protocol::{Command, Entry, SocketOption, TcpState};
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Form, Origin, Role};
use crate::segment::{Flags, Pattern, Segment};
use crate::truth::Truth;

/// SO_LINGER {1,0} and close().
pub const LINGER_ZERO: Scenario = Scenario {
    name: "linger-zero",
    title: "close() with SO_LINGER of 0 seconds",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["linger-five-unread", "disconnect"],
    open: |lab, version| {
        let pair = Pair::open(lab, version)?;
        Armed::new(move |lab| close_with_linger_zero(lab, pair))
    },
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
    pair.server.set(pair.at_server, SocketOption::Linger(0))?;
    pair.server.close(pair.at_server)?;
    let end = End {
        cause: Cause::LingerZero,
        condition,
    };
    end.by_server(lab, pair, "close()", None)
}

/// The same on a dual-stack listener: an IPv6 socket whose addresses are IPv4.
pub const LINGER_ZERO_MAPPED: Scenario = Scenario {
    name: "linger-zero-mapped",
    title: "linger 0 on an IPv6 socket that serves an IPv4 client",
    family: Family::V4,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["linger-zero"],
    open: |lab, _| {
        let pair = Pair::open_dual_stack(lab)?;
        let condition = "SO_LINGER 0, then close(), on a socket with v4-mapped addresses";
        Armed::new(move |lab| close_with_linger_zero_under(lab, pair, condition))
    },
};

/// The process that accepted has handed the connection to a child and is not the one that resets it.
pub const WORKER_CLOSES: Scenario = Scenario {
    name: "worker-closes",
    title: "a forked worker closes what its parent accepted",
    family: Family::V4,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["close-unread"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        pair.leave_unread(UNREAD)?;
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            let before = lab.node(Place::Server).counter("TCPAbortOnClose")?;
            let worker = pair.server.fork_to_close(pair.at_server, WORKER)?;
            let seen = pair.reset_by_server(lab, Place::Server)?;
            let after = lab.node(Place::Server).counter("TCPAbortOnClose")?;
            confirm("TCPAbortOnClose", after - before, 1)?;
            let error = pair.client_error("ECONNRESET")?;
            let cause = Cause::CloseWithUnreadData;
            let truth = Truth::sent(
                lab,
                Place::Server,
                seen.clone(),
                Origin::LocalProcess,
                cause,
            )
            .because("accepted by the parent, closed by the child with 100 bytes unread")
            .done_by_child(worker, WORKER, "close()")
            .lost_connection()
            .with_unread(UNREAD as u64)
            .peer_saw(error);
            let received = pair.client_truth(lab, &seen);
            Staged::new(
                Some(Form::Active),
                vec![truth, received],
                pair.into_actors(),
            )
        })
    },
};

/// close() with data unread.
pub const CLOSE_UNREAD: Scenario = Scenario {
    name: "close-unread",
    title: "close() with 100 bytes unread",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["data-after-close-fin-wait2", "killed-unread"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        pair.leave_unread(UNREAD)?;
        Armed::new(move |lab| close_unread(lab, pair))
    },
};

/// The server's end closes with what lies unread there.
pub fn close_unread(lab: &mut Lab, pair: Pair) -> Result<Staged, StageError> {
    close_unread_because(lab, pair, "100 bytes unread, then close()")
}

fn close_unread_because(
    lab: &mut Lab,
    mut pair: Pair,
    condition: &'static str,
) -> Result<Staged, StageError> {
    lab.capture(Place::Server)?;
    counted(lab, "TCPAbortOnClose", |_| {
        pair.server.close(pair.at_server)
    })?;
    let end = End {
        cause: Cause::CloseWithUnreadData,
        condition,
    };
    end.by_server(lab, pair, "close()", Some(UNREAD as u64))
}

/// The server turns an upload away while segments of it are in flight: its kernel answers each.
pub const ABORTED_UPLOAD: Scenario = Scenario {
    name: "aborted-upload",
    title: "close() with 100 bytes unread while 8 more segments are in flight",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["close-unread", "half-open"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        let mut network = lab.actor(Place::Router, "rt-network")?;
        pair.leave_unread(UNREAD)?;
        Armed::new(move |lab| {
            let at_client = pair.client.sequence(pair.at_client)?;
            let (client, server) = (pair.at_client.local, pair.listener.local);
            let mut staged = close_unread(lab, pair)?;
            for n in 0..IN_FLIGHT {
                let mut segment = Segment::new(client, server, Flags::ACK)
                    .numbered(at_client.send.wrapping_add(n * 100), at_client.receive);
                segment.payload = 100;
                network.ask(Command::Inject { segment })?;
                lab.reset(Place::Server, server, client)?;
            }
            if let Some(truth) = staged.truths.first_mut() {
                truth.further = IN_FLIGHT as usize;
            }
            Ok(staged)
        })
    },
};

/// Segments that arrive when the connection has gone.
const IN_FLIGHT: u32 = 8;

/// The look-alike of linger 0: linger is set, but what resets is the unread data.
pub const LINGER_FIVE_UNREAD: Scenario = Scenario {
    name: "linger-five-unread",
    title: "close() with unread data, SO_LINGER of 5 seconds set",
    family: Family::V4,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["linger-zero"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        pair.server.set(pair.at_server, SocketOption::Linger(5))?;
        pair.leave_unread(UNREAD)?;
        Armed::new(move |lab| {
            close_unread_because(lab, pair, "SO_LINGER 5 and 100 bytes unread, then close()")
        })
    },
};

/// SIGKILL with data unread.
pub const KILLED_UNREAD: Scenario = Scenario {
    name: "killed-unread",
    title: "killed (SIGKILL) with 100 bytes unread",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["exit-unread", "close-unread"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        pair.leave_unread(UNREAD)?;
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            counted(lab, "TCPAbortOnClose", |_| pair.server.kill())?;
            let end = End {
                cause: Cause::KilledWithUnreadData,
                condition: "100 bytes unread, then killed by SIGKILL",
            };
            end.by_server(lab, pair, "died of SIGKILL", Some(UNREAD as u64))
        })
    },
};

/// The look-alike of being killed: the process ends by its own will.
pub const EXIT_UNREAD: Scenario = Scenario {
    name: "exit-unread",
    title: "exit(0) with 100 bytes unread",
    family: Family::V4,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["killed-unread"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        pair.leave_unread(UNREAD)?;
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            counted(lab, "TCPAbortOnClose", |_| pair.server.exit(0))?;
            let end = End {
                cause: Cause::CloseWithUnreadData,
                condition: "100 bytes unread, then exit(0), nobody killed it",
            };
            end.by_server(lab, pair, "exit(0)", Some(UNREAD as u64))
        })
    },
};

/// TCP_LINGER2 < 0.
pub const LINGER2: Scenario = Scenario {
    name: "linger2",
    title: "close() in FIN_WAIT2 with TCP_LINGER2 of -1",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["linger-zero", "data-after-close-fin-wait2"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        Armed::new(move |lab| {
            pair.server.set(pair.at_server, SocketOption::Linger2(-1))?;
            pair.server.shutdown(pair.at_server, false)?;
            pair.server
                .await_state(pair.at_server, TcpState::FinWait2)?;
            lab.capture(Place::Server)?;
            counted(lab, "TCPAbortOnLinger", |_| {
                pair.server.close(pair.at_server)
            })?;
            let seen = pair.reset_by_server(lab, Place::Server)?;
            // In CLOSE_WAIT a reset is a broken pipe.
            let error = pair.client_error("EPIPE")?;
            let truth = Truth::sent(
                lab,
                Place::Server,
                seen.clone(),
                Origin::LocalProcess,
                Cause::Linger2,
            )
            .because("TCP_LINGER2 -1, shutdown(SHUT_WR), FIN acknowledged, then close()")
            .done_by(&pair.server, "close()")
            .names(&pair.server, &[Role::Closer])
            // The client could still write.
            .lost_connection()
            .peer_saw(error);
            let received = pair.client_truth(lab, &seen);
            Staged::new(
                Some(Form::Active),
                vec![truth, received],
                pair.into_actors(),
            )
        })
    },
};

/// connect(2) with AF_UNSPEC.
pub const DISCONNECT: Scenario = Scenario {
    name: "disconnect",
    title: "connect(AF_UNSPEC) on a live connection",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["socket-destroyed", "linger-zero"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            pair.server.ask(Command::Disconnect {
                socket: pair.at_server.id,
            })?;
            let end = End {
                cause: Cause::Disconnect,
                condition: "connect(2) with AF_UNSPEC",
            };
            end.by_server(lab, pair, "connect(AF_UNSPEC)", None)
        })
    },
};

/// SOCK_DESTROY by another process, as `ss -K` does it.
pub const SOCKET_DESTROYED: Scenario = Scenario {
    name: "socket-destroyed",
    title: "socket destroyed by another process, as by ss -K",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["disconnect", "close-unread"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        let mut killer = lab.actor(Place::Server, "rt-killer")?;
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            let (local, remote) = (pair.listener.local, pair.at_client.local);
            killer
                .ask(Command::Destroy { local, remote })
                .map_err(|error| {
                    error.lacking(
                        &["EOPNOTSUPP", "ENOENT"],
                        "this kernel cannot destroy sockets",
                    )
                })?;
            let seen = pair.reset_by_server(lab, Place::Server)?;
            let error = pair.client_error("ECONNRESET")?;
            let owner = pair.server.await_error(pair.at_server)?;
            confirm("error at the owner", owner.as_str(), "ECONNABORTED")?;
            let truth = Truth::sent(
                lab,
                Place::Server,
                seen.clone(),
                Origin::LocalProcess,
                Cause::SocketDestroyed,
            )
            .because("SOCK_DESTROY by another process; the owner saw ECONNABORTED")
            .done_by(&killer, "SOCK_DESTROY")
            .names(&killer, &[Role::Closer])
            .lost_connection()
            .peer_saw(error);
            let received = pair.client_truth(lab, &seen);
            let mut actors = pair.into_actors();
            actors.push(killer);
            Staged::new(Some(Form::Active), vec![truth, received], actors)
        })
    },
};

/// A listener goes away with connections that nobody accepted.
pub const LISTENER_CLOSED: Scenario = Scenario {
    name: "listener-closed",
    title: "the listener closed with two connections not accepted",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["close-unread", "accept-overflow"],
    open: open_listener_closed,
};

fn open_listener_closed(lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
    let mut server = lab.actor(Place::Server, "rt-server")?;
    let mut client = lab.actor(Place::Client, "rt-client")?;
    let listener = server.listen(lab.service(version), 8)?;
    let waiting = [
        client.connect(listener.local)?,
        client.connect(listener.local)?,
    ];
    for socket in waiting {
        // The client's view is not enough: the last ACK of the handshake may still be under way.
        let (local, remote) = (listener.local, socket.local);
        let entry = Some(Entry {
            state: TcpState::Established,
            minisock: false,
        });
        let command = Command::AwaitEntry {
            local,
            remote,
            entry,
            timeout_ms: 3000,
        };
        lab.node(Place::Server).ask(command)?;
    }
    Armed::new(move |lab| {
        lab.capture(Place::Server)?;
        server.close(listener)?;
        let mut truths = Vec::new();
        for socket in waiting {
            let error = client.await_error(socket)?;
            confirm("error at the client", error.as_str(), "ECONNRESET")?;
            // Which of the two is reset first is the kernel's affair.
            let seen = lab.segment(Place::Server, Pattern::reset(listener.local, None))?;
            let cause = Cause::ListenerClosed;
            truths.push(
                Truth::sent(lab, Place::Server, seen, Origin::LocalProcess, cause)
                    .because("the listening socket closed, the connection never accepted")
                    .done_by(&server, "close() of the listener")
                    .names(&server, &[Role::Closer, Role::Listener])
                    .lost_connection()
                    .peer_saw("ECONNRESET".to_owned()),
            );
        }
        Staged::new(Some(Form::Active), truths, vec![client, server])
    })
}

/// A connection that the server's process ended by itself.
struct End {
    cause: Cause,
    condition: &'static str,
}

impl End {
    fn by_server(
        self,
        lab: &mut Lab,
        mut pair: Pair,
        did: &'static str,
        unread: Option<u64>,
    ) -> Result<Staged, StageError> {
        let seen: Segment = pair.reset_by_server(lab, Place::Server)?;
        let error = pair.client_error("ECONNRESET")?;
        let mut truth = Truth::sent(
            lab,
            Place::Server,
            seen.clone(),
            Origin::LocalProcess,
            self.cause,
        )
        .because(self.condition)
        .done_by(&pair.server, did)
        .names(&pair.server, &[Role::Closer])
        .lost_connection()
        .peer_saw(error);
        truth.unread = unread;
        let received = pair.client_truth(lab, &seen);
        Staged::new(
            Some(Form::Active),
            vec![truth, received],
            pair.into_actors(),
        )
    }
}

/// Does something and confirms that the server's kernel counted it once under this name.
fn counted(
    lab: &mut Lab,
    counter: &str,
    act: impl FnOnce(&mut Lab) -> Result<(), StageError>,
) -> Result<(), StageError> {
    let before = lab.node(Place::Server).counter(counter)?;
    act(lab)?;
    let after = lab.node(Place::Server).counter(counter)?;
    confirm(counter, after - before, 1)
}

/// What lies unread.
pub const UNREAD: usize = 100;
const WORKER: &str = "rt-worker";
