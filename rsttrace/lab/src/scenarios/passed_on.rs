//! A relay that resets one connection because another one ended, and processes that look like one.
//!
//! The relay is an actor, so that the time between the two ends is known.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::site::Site;
use super::{Armed, LONG, Scenario, Staged};
use crate::StageError;
use crate::actor::{Actor, Socket};
use crate::lab::{Lab, Place};
use crate::record::{Cause, Origin, Role};
use crate::segment::Segment;
use crate::truth::Truth;

/// Client and server with a relay at the router between them.
struct Relay {
    client: Actor,
    relay: Actor,
    server: Actor,
    site: Site,
    front: Socket,
    /// Where the server listens, or would.
    service: SocketAddr,
}

impl Relay {
    fn open(lab: &mut Lab, site: u8) -> Result<Self, StageError> {
        let site = Site::new(lab, site)?;
        let service = SocketAddr::new(site.server.into(), lab.port());
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let mut relay = lab.actor(Place::Router, "rt-relay")?;
        let server = lab.actor(Place::Server, "rt-server")?;
        let front = relay.listen(SocketAddr::new(site.front.into(), lab.port()), 8)?;
        client.capture()?;
        relay.capture()?;
        Ok(Self {
            client,
            relay,
            server,
            site,
            front,
            service,
        })
    }

    /// A client connects and sends so many bytes: its end, and the relay's.
    fn request(&mut self, bytes: usize) -> Result<[Socket; 2], StageError> {
        let client = self.site.client.into();
        let at_client = self.client.connect_from(client, self.front.local)?;
        let at_front = self.relay.accept(self.front)?;
        self.client.send(at_client, bytes)?;
        self.relay.receive(at_front, bytes)?;
        Ok([at_client, at_front])
    }

    /// The relay connects to the server: its end, and the server's.
    fn reach(&mut self, listener: Socket) -> Result<[Socket; 2], StageError> {
        let back = self.site.back.into();
        let at_back = self.relay.connect_from(back, listener.local)?;
        Ok([at_back, self.server.accept(listener)?])
    }

    /// The relay resets a client: the RST, and the truths at the relay's host and at the client.
    fn drop_client(
        &mut self,
        lab: &Lab,
        [at_client, at_front]: [Socket; 2],
        (origin, cause): (Origin, Cause),
        why: &'static str,
    ) -> Result<[Truth; 2], StageError> {
        self.relay.close_with_linger_zero(at_front)?;
        let seen = self.client.reset(at_front.local, at_client.local)?;
        let error = self.client.confirm_error(at_client, "ECONNRESET")?;
        let received = Truth::received(lab, Place::Client, &seen, Origin::Peer, Cause::ResetByPeer)
            .because("the relay, the peer, sent it")
            .names(&self.client, &[Role::Owner])
            .lost_connection();
        let sent = self
            .relay_sent(lab, &seen, origin, cause, why)
            .peer_saw(error);
        Ok([sent, received])
    }

    /// The truth about a RST of the relay.
    fn relay_sent(
        &self,
        lab: &Lab,
        seen: &Segment,
        origin: Origin,
        cause: Cause,
        why: &'static str,
    ) -> Truth {
        let sent = Truth::sent(lab, Place::Router, seen, origin, cause)
            .because(why)
            .done_by(&self.relay, "close()")
            .names(&self.relay, &[Role::Closer])
            .lost_connection();
        if cause == Cause::Propagated {
            sent.linked()
        } else {
            sent
        }
    }

    /// The relay's connect is refused: the socket of it.
    fn be_refused(&mut self) -> Result<Socket, StageError> {
        let from = SocketAddr::new(self.site.back.into(), 0);
        let socket = self.relay.start_connect(Some(from), self.service)?;
        self.relay.confirm_error(socket, "ECONNREFUSED")?;
        Ok(socket)
    }

    /// The truth about that.
    fn refusal(&mut self, lab: &Lab, socket: Socket) -> Result<Truth, StageError> {
        let seen = self.relay.reset(self.service, socket.local)?;
        let refused = Cause::ConnectionRefused;
        Ok(
            Truth::received(lab, Place::Router, &seen, Origin::Peer, refused)
                .because("nobody listens at the server")
                .names(&self.relay, &[Role::Owner]),
        )
    }
}

impl From<Relay> for Vec<Actor> {
    fn from(relay: Relay) -> Self {
        vec![relay.client, relay.relay, relay.server]
    }
}

pub const REFUSED: Scenario = Scenario {
    name: "relay-backend-refuses",
    title: "a relay's connect is refused, and it resets its client at once",
    twins: &["relay-two-clients", "linger-zero"],
    open: |lab, _| refused(lab, 61, Duration::ZERO),
    ..LONG
};

pub const REFUSED_LATE: Scenario = Scenario {
    name: "relay-backend-refuses-late",
    title: "a relay's connect is refused, and it resets its client 300 ms later",
    twins: &["relay-two-clients", "linger-zero"],
    open: |lab, _| refused(lab, 62, LATE),
    ..LONG
};

fn refused(lab: &mut Lab, site: u8, late: Duration) -> Result<Armed, StageError> {
    let mut relay = Relay::open(lab, site)?;
    Armed::step_due(Instant::now(), move |lab| {
        // A relay connects as soon as it has accepted.
        let client = relay.request(REQUEST)?;
        let refused = relay.be_refused()?;
        let drop_client = move |lab: &mut Lab| {
            let why =
                "the relay closed with SO_LINGER 0, because the server had refused its connect";
            let who = (Origin::Peer, Cause::Propagated);
            let [sent, received] = relay.drop_client(lab, client, who, why)?;
            let mut refusal = relay.refusal(lab, refused)?;
            // Only what comes at once is known when the refusal is reported.
            if late.is_zero() {
                refusal = refusal.linked().lost_connection();
            }
            Staged::mixed([refusal, sent, received], relay)
        };
        if late.is_zero() {
            // No other scenario may come between the two.
            let staged = drop_client(lab)?;
            return Armed::new(move |_| Ok(staged));
        }
        Armed::due(Instant::now() + late, drop_client)
    })
}

/// The look-alike: which of two clients the connect was for is not known.
pub const TWO_CLIENTS: Scenario = Scenario {
    name: "relay-two-clients",
    title: "a process resets two clients at once, after a connect of it was refused",
    twins: &["relay-backend-refuses"],
    open: |lab, _| {
        let mut relay = Relay::open(lab, 63)?;
        let clients = [relay.request(REQUEST)?, relay.request(REQUEST)?];
        Armed::new(move |lab| {
            let refused = relay.be_refused()?;
            let mut truths = Vec::new();
            for client in clients {
                let who = (Origin::LocalProcess, Cause::LingerZero);
                let why = "the process closed all its clients with SO_LINGER 0";
                truths.extend(relay.drop_client(lab, client, who, why)?);
            }
            truths.insert(0, relay.refusal(lab, refused)?);
            Staged::mixed(truths, relay)
        })
    },
    ..LONG
};

pub const NOTICED_LATE: Scenario = Scenario {
    name: "relay-notices-late",
    title: "the client resets; a relay that rewrites headers resets the server 300 ms later",
    twins: &["relay-unrelated", "proxy-passes-on"],
    open: |lab, _| {
        let mut relay = Relay::open(lab, 64)?;
        let listener = relay.server.listen(relay.service, 8)?;
        let client = relay.request(REQUEST)?;
        let server = relay.reach(listener)?;
        client_leaves(relay, client, server, REWRITTEN, |relay, lab, seen| {
            let why = "the relay closed with SO_LINGER 0 when it noticed that the client had gone";
            relay.relay_sent(lab, seen, Origin::Peer, Cause::Propagated, why)
        })
    },
    ..LONG
};

/// The look-alike: the connection to the server is older than that of the client, and carried other bytes.
pub const UNRELATED: Scenario = Scenario {
    name: "relay-unrelated",
    title: "the client resets; 300 ms later the process resets a connection that has nothing to do with it",
    twins: &["relay-notices-late"],
    open: |lab, _| {
        let mut relay = Relay::open(lab, 65)?;
        let listener = relay.server.listen(relay.service, 8)?;
        let server = relay.reach(listener)?;
        let client = relay.request(REQUEST)?;
        client_leaves(relay, client, server, OTHER, |relay, lab, seen| {
            let why = "the process closed another connection with SO_LINGER 0, by its own decision";
            relay.relay_sent(lab, seen, Origin::LocalProcess, Cause::LingerZero, why)
        })
    },
    ..LONG
};

/// The client resets after a part of the answer, and the relay its connection with the server later.
fn client_leaves(
    mut relay: Relay,
    [at_client, at_front]: [Socket; 2],
    [at_back, at_server]: [Socket; 2],
    to_server: usize,
    sent: impl FnOnce(&Relay, &Lab, &Segment) -> Truth + Send + 'static,
) -> Result<Armed, StageError> {
    relay.relay.send(at_back, to_server)?;
    relay.server.receive(at_server, to_server)?;
    relay.server.send(at_server, ANSWER)?;
    relay.relay.receive(at_back, ANSWER)?;
    relay.relay.send(at_front, PART)?;
    relay.client.receive(at_client, PART)?;
    Armed::step_due(Instant::now(), move |lab| {
        // With a request under way its leaving is a loss.
        relay.client.send(at_client, 1)?;
        relay.relay.receive(at_front, 1)?;
        relay.client.close_with_linger_zero(at_client)?;
        let first = relay.relay.reset(at_client.local, at_front.local)?;
        relay.relay.confirm_error(at_front, "ECONNRESET")?;
        let left = Truth::received(lab, Place::Router, &first, Origin::Peer, Cause::ResetByPeer)
            .because("the client closed with SO_LINGER 0")
            .names(&relay.relay, &[Role::Owner])
            .lost_connection();
        Armed::due(Instant::now() + LATE, move |lab| {
            relay.relay.close_with_linger_zero(at_back)?;
            let second = relay.relay.reset(at_back.local, at_server.local)?;
            let error = relay.server.confirm_error(at_server, "ECONNRESET")?;
            let sent = sent(&relay, lab, &second).peer_saw(error);
            Staged::active([left, sent], relay)
        })
    })
}

/// When a relay notices that looks only now and then.
const LATE: Duration = Duration::from_millis(300);
/// Bytes of a request, and of the same with further headers.
const REQUEST: usize = 50;
const REWRITTEN: usize = 90;
/// Bytes of another protocol.
const OTHER: usize = 5;
/// Bytes of an answer, and what of it has reached the client.
const ANSWER: usize = 3_000;
const PART: usize = 2_000;
