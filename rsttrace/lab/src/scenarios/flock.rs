//! Fixture for many connections between one client and one server.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Armed;
use super::pair::talk;
use super::site::direct;
use crate::StageError;
use crate::actor::protocol::{Command, SocketOption};
use crate::actor::{Actor, Socket};
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Origin, Role};
use crate::segment::{Flags, Pattern, Segment};
use crate::truth::Truth;

/// Two processes and their connections.
pub struct Flock {
    pub client: Actor,
    pub server: Actor,
    pub flows: Vec<Flow>,
    /// Processes to be kept alive.
    pub further: Vec<Actor>,
    listener: Socket,
    from: IpAddr,
}

#[derive(Debug, Clone, Copy)]
pub struct Flow {
    pub at_client: Socket,
    pub at_server: Socket,
    /// When its last data was sent.
    pub silent_since: Instant,
}

impl Flock {
    /// The two processes at a site of their own, capturing.
    pub fn open(lab: &mut Lab, site: u8, version: IpVersion) -> Result<Self, StageError> {
        Self::open_with(lab, site, version, &[])
    }

    /// The same with options on the listener, which its connections inherit.
    pub fn open_with(
        lab: &mut Lab,
        site: u8,
        version: IpVersion,
        options: &[SocketOption],
    ) -> Result<Self, StageError> {
        let (from, to) = direct(lab, site, version)?;
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(SocketAddr::new(to, lab.port()), 8)?;
        for &option in options {
            server.set(listener, option)?;
        }
        server.capture()?;
        client.capture()?;
        Ok(Self {
            client,
            server,
            flows: Vec::new(),
            further: Vec::new(),
            listener,
            from,
        })
    }

    /// Opens one more connection and exchanges data.
    pub fn grow(&mut self) -> Result<Flow, StageError> {
        let at_client = self.client.connect_from(self.from, self.listener.local)?;
        let at_server = self.server.accept(self.listener)?;
        talk((&mut self.client, at_client), (&mut self.server, at_server))?;
        let silent_since = Instant::now();
        let flow = Flow {
            at_client,
            at_server,
            silent_since,
        };
        self.flows.push(flow);
        Ok(flow)
    }

    /// Opens 8 connections, each 400 ms after the one before, with bytes that the server does not read; then calls `then`.
    pub fn grow_in_turn(
        self,
        unread: usize,
        then: impl FnOnce(Self, Instant) -> Result<Armed, StageError> + Send + 'static,
    ) -> Result<Armed, StageError> {
        self.grow_from(Instant::now(), unread, then)
    }

    fn grow_from(
        mut self,
        due: Instant,
        unread: usize,
        then: impl FnOnce(Self, Instant) -> Result<Armed, StageError> + Send + 'static,
    ) -> Result<Armed, StageError> {
        Armed::step_due(due, move |_| {
            let flow = self.grow()?;
            if unread > 0 {
                self.client.send(flow.at_client, unread)?;
                self.server.await_unread(flow.at_server, unread)?;
            }
            let next = Instant::now() + Duration::from_millis(400);
            if self.flows.len() < 8 {
                return self.grow_from(next, unread, then);
            }
            then(self, next)
        })
    }

    /// RSTs that both ends of a connection will take for the other's.
    pub fn forge(&mut self, flow: Flow, look: Look) -> Result<[Segment; 2], StageError> {
        Ok([
            forge(&mut self.client, flow.at_client, look)?,
            forge(&mut self.server, flow.at_server, look)?,
        ])
    }

    /// The request, with which the silence begins but for a millisecond, as captured at the client.
    pub fn request(&mut self, flow: Flow) -> Result<Segment, StageError> {
        let (client, server) = (flow.at_client.local, flow.at_server.local);
        self.client.segment(Pattern::data(client, server))
    }

    /// The server's end vanishes without a packet.
    pub fn server_vanishes(&mut self, flow: Flow) -> Result<(), StageError> {
        self.server.vanish(flow.at_server)
    }

    pub fn stop_listening(&mut self) -> Result<(), StageError> {
        self.server.close(self.listener)
    }

    /// The RST that the client gets, as captured there.
    pub fn reset_to_client(&mut self, flow: Flow) -> Result<Segment, StageError> {
        self.client
            .reset(flow.at_server.local, flow.at_client.local)
    }

    /// The RST that the server gets, as captured there.
    pub fn reset_to_server(&mut self, flow: Flow) -> Result<Segment, StageError> {
        self.server
            .reset(flow.at_client.local, flow.at_server.local)
    }

    /// The truths at the client and at the server about a RST from the server that ended a connection, as captured at the
    /// client. `error` is what the client sees of it.
    pub fn ended_by_server(
        &mut self,
        lab: &Lab,
        flow: Flow,
        (origin, cause): (Origin, Cause),
        error: &str,
    ) -> Result<[Truth; 2], StageError> {
        let seen = self.reset_to_client(flow)?;
        let error = self.client.confirm_error(flow.at_client, error)?;
        let received = self
            .client_lost(lab, &seen, Origin::Peer, Cause::ResetByPeer)
            .peer_saw(error);
        let sent = Truth::sent(lab, Place::Server, &seen, origin, cause).lost_connection();
        Ok([received, sent])
    }

    pub fn client_lost(&self, lab: &Lab, seen: &Segment, origin: Origin, cause: Cause) -> Truth {
        Truth::received(lab, Place::Client, seen, origin, cause)
            .names(&self.client, &[Role::Owner])
            .lost_connection()
    }

    pub fn server_lost(&self, lab: &Lab, seen: &Segment, origin: Origin, cause: Cause) -> Truth {
        Truth::received(lab, Place::Server, seen, origin, cause)
            .names(&self.server, &[Role::Owner])
            .lost_connection()
    }
}

impl From<Flock> for Vec<Actor> {
    fn from(flock: Flock) -> Self {
        let mut actors = flock.further;
        actors.extend([flock.client, flock.server]);
        actors
    }
}

/// Fields of a forged RST where it arrives, besides addresses and sequence numbers.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The TTL it arrives with: the router is the last hop.
    pub ttl: u8,
    /// Whether it has an acknowledgement and a window, as one that the peer's process causes.
    pub active: bool,
}

/// A RST with the exact numbers that this end expects from its peer.
pub fn forge(actor: &mut Actor, socket: Socket, look: Look) -> Result<Segment, StageError> {
    let peer = socket
        .remote
        .ok_or_else(|| StageError::Failed("a socket to forge for has no peer".to_owned()))?;
    let expected = actor.sequence(socket)?;
    let flags = if look.active {
        Flags::RST_ACK
    } else {
        Flags::RST
    };
    let last = actor.segment(Pattern::data(peer, socket.local))?;
    let mut segment = Segment::new(peer, socket.local, flags).numbered(
        expected.receive,
        if look.active { expected.send } else { 0 },
    );
    segment.ttl = look.ttl;
    if look.active {
        segment.window = last.window;
        // Linux counts its packets on a connection; there may be one after the last with data.
        segment.ip_id = last.ip_id.map(|id| id.wrapping_add(2));
    }
    Ok(segment)
}

/// Makes the process send these segments after a while.
pub fn inject_later(
    injector: &mut Actor,
    segments: Vec<Segment>,
    after: Duration,
) -> Result<(), StageError> {
    let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    injector
        .ask(Command::InjectLater(segments, after))
        .map(drop)
}
