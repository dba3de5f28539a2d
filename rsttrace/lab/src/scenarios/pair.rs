//! Fixture of most scenarios: a client and a server that have exchanged data.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Armed, Staged, confirm};
use crate::StageError;
use crate::actor::protocol::TcpState;
use crate::actor::{Actor, Socket};
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Origin, Role};
use crate::segment::Segment;
use crate::truth::Truth;

/// An established connection with its two processes.
pub struct Pair {
    pub client: Actor,
    pub server: Actor,
    pub listener: Socket,
    pub at_client: Socket,
    pub at_server: Socket,
    /// Processes to be kept alive.
    pub further: Vec<Actor>,
}

impl Pair {
    /// Connects, and exchanges data.
    pub fn open(lab: &mut Lab, version: IpVersion) -> Result<Self, StageError> {
        Self::connecting(lab, version)?.talking()
    }

    /// Connects to a server that has not accepted yet: its end is still the listener.
    pub fn connecting(lab: &mut Lab, version: IpVersion) -> Result<Self, StageError> {
        let service = lab.service(version);
        Self::connect(lab, service, None, service)
    }

    /// Like [`Self::open`] over IPv4, with a server that listens on [::].
    pub fn open_dual_stack(lab: &mut Lab) -> Result<Self, StageError> {
        let service = lab.service(IpVersion::V4);
        let everywhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), service.port());
        let mut pair = Self::connect(lab, everywhere, None, service)?.talking()?;
        pair.listener.local = service;
        Ok(pair)
    }

    /// Like [`Self::open`] from a given address, through a balancer.
    pub fn open_through(
        lab: &mut Lab,
        from: IpAddr,
        front: SocketAddr,
        service: SocketAddr,
    ) -> Result<Self, StageError> {
        let from = SocketAddr::new(from, 0);
        Self::connect(lab, service, Some(from), front)?.talking()
    }

    /// The same where the router itself accepts.
    pub fn open_through_proxy(
        lab: &mut Lab,
        from: IpAddr,
        to: SocketAddr,
        proxy: SocketAddr,
    ) -> Result<Self, StageError> {
        let mut server = lab.actor(Place::Router, "rt-proxy")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(proxy, 8)?;
        let at_client = client.connect_from(from, to)?;
        Self::of(client, server, listener, at_client).talking()
    }

    fn connect(
        lab: &mut Lab,
        service: SocketAddr,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> Result<Self, StageError> {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(service, 8)?;
        let at_client = client.connect(from, to)?;
        Ok(Self::of(client, server, listener, at_client))
    }

    /// Not accepted yet.
    fn of(client: Actor, server: Actor, listener: Socket, at_client: Socket) -> Self {
        Self {
            client,
            server,
            listener,
            at_client,
            at_server: listener,
            further: Vec::new(),
        }
    }

    fn talking(mut self) -> Result<Self, StageError> {
        self.accept()?;
        self.talk()?;
        Ok(self)
    }

    /// The server itself accepts.
    pub fn accept(&mut self) -> Result<(), StageError> {
        self.at_server = self.server.accept(self.listener)?;
        Ok(())
    }

    /// A request and an answer, all read and acknowledged.
    pub fn talk(&mut self) -> Result<(), StageError> {
        talk(
            (&mut self.client, self.at_client),
            (&mut self.server, self.at_server),
        )
    }

    /// Leaves bytes unread in the server's socket.
    pub fn leave_unread(&mut self, bytes: usize) -> Result<(), StageError> {
        self.client.send(self.at_client, bytes)?;
        self.server.await_unread(self.at_server, bytes)
    }

    /// The RST from the server to the client, as captured at a place.
    pub fn reset_by_server(&self, lab: &mut Lab, place: Place) -> Result<Segment, StageError> {
        lab.reset(place, self.listener.local, self.at_client.local)
    }

    /// The RST from the client to the server, as captured at a place.
    pub fn reset_by_client(&self, lab: &mut Lab, place: Place) -> Result<Segment, StageError> {
        lab.reset(place, self.at_client.local, self.listener.local)
    }

    /// The truths at the server and at the client about a RST from the server that ended the connection, as captured at the
    /// server. `error` is what the client sees of it.
    pub fn ended_by_server(
        &mut self,
        lab: &mut Lab,
        (origin, cause): (Origin, Cause),
        error: &str,
    ) -> Result<[Truth; 2], StageError> {
        let seen = self.reset_by_server(lab, Place::Server)?;
        let error = self.client.confirm_error(self.at_client, error)?;
        let received = self.client_truth(lab, &seen);
        let sent = Truth::sent(lab, Place::Server, &seen, origin, cause)
            .lost_connection()
            .peer_saw(error);
        Ok([sent, received])
    }

    /// The same where the server's process ended it by itself.
    pub fn closed_by_server(
        &mut self,
        lab: &mut Lab,
        cause: Cause,
        condition: &'static str,
        did: &'static str,
    ) -> Result<[Truth; 2], StageError> {
        let [sent, received] =
            self.ended_by_server(lab, (Origin::LocalProcess, cause), "ECONNRESET")?;
        let sent = sent
            .because(condition)
            .done_by(&self.server, did)
            .names(&self.server, &[Role::Closer]);
        Ok([sent, received])
    }

    /// The truth at the client about a RST that its peer, the server, has sent it.
    pub fn client_truth(&self, lab: &Lab, seen: &Segment) -> Truth {
        Truth::received(lab, Place::Client, seen, Origin::Peer, Cause::ResetByPeer)
            .because("the server's end sent it")
            .names(&self.client, &[Role::Owner])
            .lost_connection()
    }

    /// The truth at the server about a RST that its peer, the client, has sent it.
    pub fn server_truth(&self, lab: &Lab, seen: &Segment) -> Truth {
        Truth::received(lab, Place::Server, seen, Origin::Peer, Cause::ResetByPeer)
            .because("the client's end sent it")
            .names(&self.server, &[Role::Owner])
            .lost_connection()
    }

    /// Waits until the server's end is in this state, also without a descriptor.
    pub fn await_server_end(
        &self,
        lab: &Lab,
        state: TcpState,
        minisock: bool,
    ) -> Result<(), StageError> {
        let ends = (self.listener.local, self.at_client.local);
        lab.await_entry(Place::Server, ends, state, minisock)
    }

    /// Confirms that the server's kernel has no socket for the connection.
    pub fn confirm_server_end_gone(&self, lab: &Lab) -> Result<(), StageError> {
        let entry = lab.entry(Place::Server, self.listener.local, self.at_client.local)?;
        confirm("the server's end", entry, None)
    }

    /// Confirms that the server knows nothing of the reset, then makes its end vanish: left open, it would provoke
    /// a second reset of the same flow when its process ends.
    pub fn confirm_server_end_lives(&mut self) -> Result<(), StageError> {
        self.server
            .await_state(self.at_server, TcpState::Established)?;
        self.server.vanish(self.at_server)
    }

    /// The same of the client.
    pub fn confirm_client_end_lives(&mut self) -> Result<(), StageError> {
        self.client
            .await_state(self.at_client, TcpState::Established)?;
        self.client.vanish(self.at_client)
    }

    /// Confirms the error at the client, and returns its name.
    pub fn client_error(&mut self, meant: &str) -> Result<String, StageError> {
        self.client.confirm_error(self.at_client, meant)
    }
}

impl From<Pair> for Vec<Actor> {
    fn from(pair: Pair) -> Self {
        let mut actors = pair.further;
        actors.extend([pair.client, pair.server]);
        actors
    }
}

/// Provokes a reset of a connection that is opened beforehand.
pub fn on_pair(
    lab: &mut Lab,
    version: IpVersion,
    provoke: impl FnOnce(&mut Lab, Pair) -> Result<Staged, StageError> + Send + 'static,
) -> Result<Armed, StageError> {
    let pair = Pair::open(lab, version)?;
    Armed::new(move |lab| provoke(lab, pair))
}

/// A request and an answer, all read and acknowledged.
pub fn talk(
    (client, at_client): (&mut Actor, Socket),
    (server, at_server): (&mut Actor, Socket),
) -> Result<(), StageError> {
    client.send(at_client, 120)?;
    server.receive(at_server, 120)?;
    server.send(at_server, 300)?;
    client.receive(at_client, 300)
}
