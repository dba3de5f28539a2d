//! Scenarios in which listening, accepting and serving are different processes.

use std::time::Duration;

use super::pair::Pair;
use super::timeouts::{PROBE_SOON, black_hole};
use super::{Armed, SHORT, Scenario, Staged, confirm};
use crate::StageError;
use crate::actor::protocol::{Answer, Command, SocketId, SocketOption, TcpState};
use crate::actor::{Actor, Process, Socket};
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Origin, Role};
use crate::truth::Truth;

/// A forking server: the child has the connection, its parent has accepted it.
pub const FORKED: Scenario = scenario(
    "forked-worker",
    "reset on a connection that a forked child has and its parent accepted",
    &["shared-with-child", "prefork-master"],
    |lab, version| reset_by_client(forked(lab, version)?),
);

pub const FORKED_GONE: Scenario = scenario(
    "forked-worker-gone",
    "the same, and the child closes its socket at once",
    &["forked-worker"],
    |lab, version| reset_by_client_and_closed(forked(lab, version)?),
);

/// The closer is certain: it runs in the child's context.
pub const FORKED_LINGER_ZERO: Scenario = scenario(
    "forked-worker-linger-zero",
    "close() with SO_LINGER of 0 seconds by a forked child",
    &["linger-zero", "worker-closes"],
    |lab, version| linger_zero(forked(lab, version)?),
);

pub const WORKER: Scenario = scenario(
    "prefork-worker",
    "reset on a connection of one of three workers with a common listener",
    &["prefork-master", "reuseport"],
    |lab, version| reset_by_client(worker(lab, version)?),
);

pub const WORKER_GONE: Scenario = scenario(
    "prefork-worker-gone",
    "the same, and the worker closes its socket at once",
    &["prefork-worker"],
    |lab, version| reset_by_client_and_closed(worker(lab, version)?),
);

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

pub const HANDED_ON: Scenario = scenario(
    "handed-on",
    "reset on a connection handed over to another process (SCM_RIGHTS)",
    &["prefork-master"],
    |lab, version| reset_by_client(handed_on(lab, version)?),
);

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

/// The same, but the socket is closed at once: only its listener shows where it belonged.
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
        twins,
        open,
        ..SHORT
    }
}

/// A connection to the server of a pair, and the process that has the server's end.
struct Held {
    pair: Pair,
    hands: Hands,
}

/// Who has a connection.
enum Hands {
    /// The process that listens.
    Server,
    /// A child of it.
    Child(Process),
    /// It and a child of it.
    Both(Process),
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

    /// A request and an answer, by the process that has the connection.
    fn talking(mut self) -> Result<Self, StageError> {
        self.pair.client.send(self.pair.at_client, 120)?;
        let read = self.ask(|socket| Command::Receive(socket, 120))?;
        confirm("request", read, Answer::Number(120))?;
        self.ask(|socket| Command::Send(socket, "x".repeat(300)))?;
        self.pair.client.receive(self.pair.at_client, 300)?;
        Ok(self)
    }

    fn confirm_error(&mut self, meant: &str) -> Result<(), StageError> {
        let error = self.ask(Command::AwaitError)?;
        confirm("error at the server", error, Answer::Text(meant.to_owned()))
    }

    fn named(&self, truth: Truth, roles: &[Role]) -> Truth {
        match &self.hands {
            Hands::Server => truth.names(&self.pair.server, roles),
            Hands::Child(child) => truth.names(child, roles),
            // The parent has accepted it; which of them would have used it is not known.
            Hands::Both(child) => truth
                .names(&self.pair.server, roles)
                .names(child, roles)
                .only_as_guess(),
            Hands::Other(actor, _) => truth.names(actor, roles),
        }
    }
}

impl From<Held> for Vec<Actor> {
    fn from(mut held: Held) -> Self {
        if let Hands::Other(actor, _) = held.hands {
            held.pair.further.push(actor);
        }
        held.pair.into()
    }
}

/// accept(), fork(), and the parent closes its copy.
fn forked(lab: &mut Lab, version: IpVersion) -> Result<Held, StageError> {
    let mut pair = Pair::open(lab, version)?;
    let child = pair.server.fork(WORKER_NAME)?;
    pair.server.close(pair.at_server)?;
    let close = Command::Close(pair.listener.id);
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
        pair.at_server = pair.server.accept_in_worker(child, pair.listener)?;
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
        let at_client = client.connect(None, service)?;
        match second.accept_within(listener, PATIENCE) {
            Ok(at_server) => {
                let pair = Pair {
                    client,
                    // With another name, since the right pid alone would prove little.
                    server: second,
                    listener,
                    at_client,
                    at_server,
                    further: vec![first],
                };
                let hands = Hands::Server;
                return Held { pair, hands }.talking();
            }
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
        let close = Command::CloseAtError(pair.at_server.id);
        let error = if let Hands::Child(child) = &held.hands {
            pair.server.begin_in_worker(child, close)?;
            abort(lab, pair)?;
            pair.server.answer_of_worker(child)?
        } else {
            pair.server.begin(&close)?;
            abort(lab, pair)?;
            pair.server.finish(&close)?
        };
        let meant = Answer::Text("ECONNRESET".to_owned());
        confirm("error at the server", error, meant)?;
        staged_reset(lab, held, true)
    })
}

fn abort(lab: &mut Lab, pair: &mut Pair) -> Result<(), StageError> {
    lab.capture(Place::Server)?;
    // Without an unanswered request nobody would lose anything.
    pair.client.send(pair.at_client, 50)?;
    pair.client.close_with_linger_zero(pair.at_client)
}

/// The truth at the server first, then that at the client. If the socket is gone, its listener may stand for its workers.
fn staged_reset(lab: &mut Lab, held: Held, gone: bool) -> Result<Staged, StageError> {
    let seen = held.pair.reset_by_client(lab, Place::Server)?;
    let peer = Origin::Peer;
    let received = Truth::received(lab, Place::Server, &seen, peer, Cause::ResetByPeer)
        .because("the client sent a request and closed with SO_LINGER 0")
        .lost_connection();
    let mut received = held.named(received, &[Role::Owner]);
    if gone {
        received = received
            .names(&held.pair.server, &[Role::Owner])
            .only_as_guess();
    }
    let own = Origin::LocalProcess;
    let sent = Truth::sent(lab, Place::Client, &seen, own, Cause::LingerZero)
        .because("SO_LINGER 0, then close()")
        .done_by(&held.pair.client, "close()")
        .names(&held.pair.client, &[Role::Closer])
        .lost_connection();
    Staged::active([received, sent], held)
}

/// Whoever has the connection closes it with SO_LINGER 0.
fn linger_zero(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        lab.capture(Place::Server)?;
        held.ask(|socket| Command::Set(socket, SocketOption::Linger(0)))?;
        held.ask(Command::Close)?;
        let who = (Origin::LocalProcess, Cause::LingerZero);
        let [sent, received] = held.pair.ended_by_server(lab, who, "ECONNRESET")?;
        let sent = sent.because("SO_LINGER 0, then close() by the child that had the connection");
        Staged::active([held.named(sent, &[Role::Closer]), received], held)
    })
}

fn keepalive(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        lab.firewall(Place::Client, &black_hole(held.pair.listener.local.port()))?;
        lab.capture(Place::Server)?;
        held.ask(|socket| Command::Set(socket, PROBE_SOON))?;
        held.confirm_error("ETIMEDOUT")?;
        let seen = held.pair.reset_by_server(lab, Place::Server)?;
        // If it stayed open, it would provoke a second reset of the same flow when its process ends.
        held.pair.client.vanish(held.pair.at_client)?;
        let own = Origin::LocalKernel;
        let truth = Truth::sent(lab, Place::Server, &seen, own, Cause::KeepaliveTimeout)
            .because("the client was cut off; the worker's probe found no answer")
            .lost_connection();
        let truth = held.named(truth, &[Role::Owner]);
        Staged::active([truth], held)
    })
}

fn data_after_close(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        held.ask(Command::Close)?;
        held.pair.await_server_end(lab, TcpState::FinWait2, true)?;
        let roles = [Role::Closer, Role::FormerOwner];
        let condition = "the worker had closed with all read; the client wrote 50 bytes";
        answered(lab, held, condition, &roles)
    })
}

fn data_after_shutdown(mut held: Held) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        held.ask(Command::ShutdownBoth)?;
        held.ask(|socket| Command::AwaitState(socket, TcpState::FinWait2))?;
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
    // The 50 bytes are lost.
    let who = (Origin::LocalKernel, Cause::DataAfterClose);
    let [sent, received] = held.pair.ended_by_server(lab, who, "EPIPE")?;
    let sent = held.named(sent.because(condition), roles);
    Staged::passive([sent, received], held)
}

const WORKER_NAME: &str = "rt-worker";
/// Each connection comes to the second listener with a chance of one half.
const ATTEMPTS: usize = 20;
/// How long a connection may take to get into a queue.
const PATIENCE: Duration = Duration::from_millis(50);
