//! Scenarios in which listening, accepting and serving are different processes.

use super::pair::Pair;
use super::timeouts::black_hole;
use super::{Armed, Family, Scenario, Staged, Suite, confirm};
use crate::StageError;
use crate::actor::protocol::{Answer, Command, SocketId, SocketOption, TcpState};
use crate::actor::{Actor, Forked, Socket};
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Form, Origin, Role};
use crate::truth::Truth;

/// A forking server: the child has the connection, its parent has accepted it.
pub const FORKED: Scenario = scenario(
    "forked-worker",
    "reset on a connection that a forked child has and its parent accepted",
    &["shared-with-child", "prefork-master"],
    |lab, version| reset_by_client(forked(lab, version)?),
);

/// The same, but the child is quick to close what was reset.
pub const FORKED_GONE: Scenario = scenario(
    "forked-worker-gone",
    "the same, and the child closes its socket at once",
    &["forked-worker"],
    |lab, version| reset_by_client_and_closed(forked(lab, version)?),
);

/// What runs in the child's context is certain.
pub const FORKED_LINGER_ZERO: Scenario = scenario(
    "forked-worker-linger-zero",
    "close() with SO_LINGER of 0 seconds by a forked child",
    &["linger-zero", "worker-closes"],
    |lab, version| linger_zero(forked(lab, version)?),
);

/// Several children accept from one listener.
pub const WORKER: Scenario = scenario(
    "prefork-worker",
    "reset on a connection of one of three workers with a common listener",
    &["prefork-master", "reuseport"],
    |lab, version| reset_by_client(worker(lab, version)?),
);

/// The same, but the worker is quick to close what was reset.
pub const WORKER_GONE: Scenario = scenario(
    "prefork-worker-gone",
    "the same, and the worker closes its socket at once",
    &["prefork-worker"],
    |lab, version| reset_by_client_and_closed(worker(lab, version)?),
);

/// A timer ends the connection of a worker.
pub const WORKER_KEEPALIVE: Scenario = scenario(
    "prefork-worker-keepalive",
    "keepalive probes of a worker without an answer",
    &["keepalive-timeout"],
    |lab, version| keepalive(worker(lab, version)?),
);

/// The kernel answers for a connection that a worker has closed.
pub const WORKER_CLOSED: Scenario = scenario(
    "prefork-worker-closed",
    "data after close() by one of three workers",
    &["data-after-close-time-wait"],
    |lab, version| data_after_close(worker(lab, version)?),
);

/// The look-alike: there are workers, but their master has the connection.
pub const MASTER: Scenario = scenario(
    "prefork-master",
    "reset on a connection that the master of three workers has itself",
    &["prefork-worker"],
    |lab, version| {
        let mut held = prefork(lab, version)?;
        held.pair.accept()?;
        held.hands = Hands::Server;
        reset_by_client(held.talking()?)
    },
);

/// Parent and child have it at once.
pub const SHARED: Scenario = scenario(
    "shared-with-child",
    "reset on a connection that a parent and its child both have",
    &["forked-worker"],
    |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        let child = pair.server.fork(WORKER_NAME)?;
        let hands = Hands::Both(child);
        reset_by_client(Held { pair, hands })
    },
);

/// Over a Unix socket to a process that is no child.
pub const HANDED_ON: Scenario = scenario(
    "handed-on",
    "reset on a connection handed over to another process (SCM_RIGHTS)",
    &["prefork-master"],
    |lab, version| reset_by_client(handed_on(lab, version)?),
);

/// The same; the receiver shuts it down and gets data.
pub const HANDED_ON_SHUTDOWN: Scenario = scenario(
    "handed-on-shutdown",
    "data after shutdown(SHUT_RDWR) by the process it was handed to",
    &["data-after-shutdown"],
    |lab, version| data_after_shutdown(handed_on(lab, version)?),
);

/// Two processes listen on one port, each for itself.
pub const REUSEPORT: Scenario = scenario(
    "reuseport",
    "reset on a connection of the second of two listeners on one port (SO_REUSEPORT)",
    &["prefork-worker"],
    |lab, version| reset_by_client(reuseport(lab, version)?),
);

/// The same, but the socket is closed at once: only the listener that it came from can tell.
pub const REUSEPORT_GONE: Scenario = scenario(
    "reuseport-gone",
    "the same, and the process closes its socket at once",
    &["reuseport"],
    |lab, version| reset_by_client_and_closed(reuseport(lab, version)?),
);

const fn scenario(
    name: &'static str,
    title: &'static str,
    twins: &'static [&'static str],
    open: fn(&mut Lab, IpVersion) -> Result<Armed, StageError>,
) -> Scenario {
    Scenario {
        name,
        title,
        family: Family::V4,
        can_predate: true,
        suite: Suite::Short,
        hops: &[],
        twins,
        open,
    }
}

/// A connection to the server of a pair and whoever has the server's end.
struct Held {
    pair: Pair,
    hands: Hands,
}

/// Who has a connection.
enum Hands {
    /// The process that listens.
    Server,
    /// A child of it.
    Child(Forked),
    /// It and a child of it.
    Both(Forked),
    /// Another process, under this number. The first has accepted the connection, and has it no more.
    Other(Actor, Socket),
}

impl Held {
    fn ask(&mut self, command: impl FnOnce(SocketId) -> Command) -> Result<Answer, StageError> {
        let pair = &mut self.pair;
        match &mut self.hands {
            Hands::Server | Hands::Both(_) => pair.server.ask(command(pair.at_server.id)),
            Hands::Child(child) => pair.server.ask_worker(child, command(pair.at_server.id)),
            Hands::Other(actor, socket) => actor.ask(command(socket.id)),
        }
    }

    /// A request and an answer, by whoever has the connection.
    fn talking(mut self) -> Result<Self, StageError> {
        self.pair.client.send(self.pair.at_client, 120)?;
        let read = self.ask(|socket| Command::Receive {
            socket,
            bytes: 120,
            timeout_ms: LIMIT_MS,
        })?;
        confirm("request", read, Answer::Number { value: 120 })?;
        self.ask(|socket| Command::Send { socket, bytes: 300 })?;
        let read = self.pair.client.receive(self.pair.at_client, 300)?;
        confirm("answer", read, 300)?;
        Ok(self)
    }

    fn confirm_error(&mut self, meant: &str) -> Result<(), StageError> {
        let timeout_ms = LIMIT_MS;
        let error = self.ask(|socket| Command::AwaitError { socket, timeout_ms })?;
        let text = meant.to_owned();
        confirm("error at the server", error, Answer::Text { text })
    }

    /// Names whoever has the connection.
    fn named(&self, truth: Truth, roles: &[Role]) -> Truth {
        match &self.hands {
            Hands::Server => truth.names(&self.pair.server, roles),
            Hands::Child(child) => truth.names_child(child.pid, &child.name, roles),
            // The parent has accepted it; which of them would have used it is not known.
            Hands::Both(child) => truth
                .names(&self.pair.server, roles)
                .names_child(child.pid, &child.name, roles)
                .only_as_guess(),
            Hands::Other(actor, _) => truth.names(actor, roles),
        }
    }

    fn into_actors(self) -> Vec<Actor> {
        let mut actors = self.pair.into_actors();
        if let Hands::Other(actor, _) = self.hands {
            actors.push(actor);
        }
        actors
    }
}

/// accept(), fork(), and the parent closes its copy.
fn forked(lab: &mut Lab, version: IpVersion) -> Result<Held, StageError> {
    let mut pair = Pair::open(lab, version)?;
    let child = pair.server.fork(WORKER_NAME)?;
    pair.server.close(pair.at_server)?;
    let listener = pair.listener.id;
    let close = Command::Close { socket: listener };
    pair.server.ask_worker(&child, close)?;
    let hands = Hands::Child(child);
    Held { pair, hands }.talking()
}

/// listen(), and three times fork(); one of the children, which accept in turn, is the one to be.
fn prefork(lab: &mut Lab, version: IpVersion) -> Result<Held, StageError> {
    let mut pair = Pair::connecting(lab, version)?;
    pair.server.fork(WORKER_NAME)?;
    let child = pair.server.fork(WORKER_NAME)?;
    pair.server.fork(WORKER_NAME)?;
    let hands = Hands::Child(child);
    Ok(Held { pair, hands })
}

fn worker(lab: &mut Lab, version: IpVersion) -> Result<Held, StageError> {
    let Held { mut pair, hands } = prefork(lab, version)?;
    if let Hands::Child(child) = &hands {
        let accept = Command::Accept {
            socket: pair.listener.id,
            timeout_ms: LIMIT_MS,
        };
        let accepted = pair.server.ask_worker(child, accept)?;
        let Answer::Socket { id, local, remote } = accepted else {
            return Err(StageError::Failed(format!("accepted {accepted:?}")));
        };
        pair.at_server = Socket { id, local, remote };
    }
    Held { pair, hands }.talking()
}

fn handed_on(lab: &mut Lab, version: IpVersion) -> Result<Held, StageError> {
    let mut pair = Pair::open(lab, version)?;
    let mut receiver = lab.actor(Place::Server, "rt-receiver")?;
    let socket = pair.server.hand_on(pair.at_server, &mut receiver)?;
    let hands = Hands::Other(receiver, socket);
    Held { pair, hands }.talking()
}

/// The second listener must get a connection; which of them gets it is the kernel's choice, by the client's port.
fn reuseport(lab: &mut Lab, version: IpVersion) -> Result<Held, StageError> {
    let service = lab.service(version);
    let mut first = lab.actor(Place::Server, "rt-server")?;
    let mut second = lab.actor(Place::Server, "rt-second")?;
    let mut client = lab.actor(Place::Client, "rt-client")?;
    first.listen_shared(service)?;
    let listener = second.listen_shared(service)?;
    for _ in 0..ATTEMPTS {
        let at_client = client.connect(service)?;
        let accept = Command::Accept {
            socket: listener.id,
            timeout_ms: 50,
        };
        match second.ask(accept) {
            Ok(Answer::Socket { id, local, remote }) => {
                let pair = Pair {
                    client,
                    // Of another name, since the right pid alone would tell little.
                    server: second,
                    listener,
                    at_client,
                    at_server: Socket { id, local, remote },
                    further: vec![first],
                };
                let hands = Hands::Server;
                return Held { pair, hands }.talking();
            }
            Ok(other) => return Err(StageError::Failed(format!("accepted {other:?}"))),
            // It waits at the first one, and never ends.
            Err(_) => client.vanish(at_client)?,
        }
    }
    let why = format!("none of {ATTEMPTS} connections came to the second listener");
    Err(StageError::Failed(why))
}

/// The client resets an idle connection.
fn reset_by_client(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        abort(lab, &mut held.pair)?;
        held.confirm_error("ECONNRESET")?;
        staged_reset(lab, held, false)
    })
}

/// The same, and the socket is gone before anybody can look for it.
fn reset_by_client_and_closed(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        let pair = &mut held.pair;
        let close = Command::CloseAtError {
            socket: pair.at_server.id,
            timeout_ms: LIMIT_MS,
        };
        let error = if let Hands::Child(child) = &held.hands {
            pair.server.tell_worker(child, close)?;
            abort(lab, pair)?;
            pair.server.hear_worker(child)?
        } else {
            pair.server.begin(&close)?;
            abort(lab, pair)?;
            pair.server.finish(&close)?
        };
        let text = "ECONNRESET".to_owned();
        confirm("error at the server", error, Answer::Text { text })?;
        staged_reset(lab, held, true)
    })
}

fn abort(lab: &mut Lab, pair: &mut Pair) -> Result<(), StageError> {
    lab.capture(Place::Server)?;
    pair.client.set(pair.at_client, SocketOption::Linger(0))?;
    pair.client.close(pair.at_client)
}

/// The truth at the server first, then that at the client. If the socket is gone, its listener may stand for its workers.
fn staged_reset(lab: &mut Lab, held: Held, gone: bool) -> Result<Staged, StageError> {
    let seen = held.pair.reset_by_client(lab, Place::Server)?;
    let peer = Origin::Peer;
    let received = Truth::received(lab, Place::Server, seen.clone(), peer, Cause::ResetByPeer)
        .because("the client closed with SO_LINGER 0; the server's end was idle")
        .lost_connection();
    let mut received = held.named(received, &[Role::Owner]);
    if gone {
        received = received
            .names(&held.pair.server, &[Role::Owner])
            .only_as_guess();
    }
    let own = Origin::LocalProcess;
    let sent = Truth::sent(lab, Place::Client, seen, own, Cause::LingerZero)
        .because("SO_LINGER 0, then close()")
        .done_by(&held.pair.client, "close()")
        .names(&held.pair.client, &[Role::Closer])
        .lost_connection();
    let truths = vec![received, sent];
    Staged::new(Some(Form::Active), truths, held.into_actors())
}

/// Whoever has the connection closes it with SO_LINGER 0.
fn linger_zero(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        lab.capture(Place::Server)?;
        held.ask(|socket| Command::Set {
            socket,
            option: SocketOption::Linger(0),
        })?;
        held.ask(|socket| Command::Close { socket })?;
        let seen = held.pair.reset_by_server(lab, Place::Server)?;
        let error = held.pair.client_error("ECONNRESET")?;
        let own = Origin::LocalProcess;
        let truth = Truth::sent(lab, Place::Server, seen.clone(), own, Cause::LingerZero)
            .because("SO_LINGER 0, then close() by the child that had the connection")
            .lost_connection()
            .peer_saw(error);
        let truth = held.named(truth, &[Role::Closer]);
        let truths = vec![truth, held.pair.client_truth(lab, &seen)];
        Staged::new(Some(Form::Active), truths, held.into_actors())
    })
}

fn keepalive(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        lab.firewall(Place::Client, &black_hole(held.pair.listener.local.port()))?;
        lab.capture(Place::Server)?;
        held.ask(|socket| Command::Set {
            socket,
            option: SocketOption::KeepAlive {
                idle: 1,
                interval: 1,
                probes: 1,
            },
        })?;
        held.confirm_error("ETIMEDOUT")?;
        let seen = held.pair.reset_by_server(lab, Place::Server)?;
        // Else its end, still open, would provoke a second reset of the same flow at its own end.
        held.pair.client.vanish(held.pair.at_client)?;
        let own = Origin::LocalKernel;
        let truth = Truth::sent(lab, Place::Server, seen, own, Cause::KeepaliveTimeout)
            .because("the client was cut off; the worker's probe found no answer")
            .lost_connection();
        let truth = held.named(truth, &[Role::Owner]);
        Staged::new(Some(Form::Active), vec![truth], held.into_actors())
    })
}

fn data_after_close(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        held.ask(|socket| Command::Close { socket })?;
        held.pair.await_server_end(lab, TcpState::FinWait2, true)?;
        let roles = [Role::Closer, Role::FormerOwner];
        let condition = "the worker had closed with all read; the client wrote 50 bytes";
        answered(lab, held, condition, &roles)
    })
}

fn data_after_shutdown(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        held.ask(|socket| Command::Shutdown { socket, both: true })?;
        held.ask(|socket| Command::AwaitState {
            socket,
            state: TcpState::FinWait2,
            timeout_ms: LIMIT_MS,
        })?;
        let roles = [Role::Closer, Role::Owner];
        let condition = "the receiver had shut both directions down; the client wrote 50 bytes";
        answered(lab, held, condition, &roles)
    })
}

fn answered(
    lab: &mut Lab,
    mut held: Held,
    condition: &'static str,
    roles: &[Role],
) -> Result<Staged, StageError> {
    lab.capture(Place::Server)?;
    held.pair.client.send(held.pair.at_client, 50)?;
    let seen = held.pair.reset_by_server(lab, Place::Server)?;
    let error = held.pair.client_error("EPIPE")?;
    let own = Origin::LocalKernel;
    let truth = Truth::sent(lab, Place::Server, seen.clone(), own, Cause::DataAfterClose)
        .because(condition)
        // The 50 bytes.
        .lost_connection()
        .peer_saw(error);
    let truth = held.named(truth, roles);
    let truths = vec![truth, held.pair.client_truth(lab, &seen)];
    Staged::new(Some(Form::Passive), truths, held.into_actors())
}

const WORKER_NAME: &str = "rt-worker";
/// Each connection comes to the second listener with a chance of one half.
const ATTEMPTS: usize = 20;
/// Far longer than anything takes; only a failed staging waits so long.
const LIMIT_MS: u64 = 3000;
