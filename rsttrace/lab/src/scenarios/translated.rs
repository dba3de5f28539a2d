//! Fixture for connections through a load balancer that translates addresses and has no sockets: what happens to them after
//! it has expired them.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Instant;

use super::chain::TIMEOUT;
use super::pair::Pair;
use super::site::Site;
use super::{Hop, confirm};
use crate::StageError;
use crate::lab::{Lab, Place};
use crate::record::{Cause, IdleMode, Origin, Role};
use crate::segment::{Pattern, Segment};
use crate::truth::Truth;

/// A connection through the router, both ends capturing.
pub struct Translated {
    pub pair: Pair,
    /// The address that the client connects to.
    pub front: SocketAddr,
    /// When the silence began.
    pub silent_since: Instant,
}

impl Translated {
    /// Connects to `front`, behind which the server listens on `service`.
    pub fn open(
        lab: &mut Lab,
        site: Site,
        front: SocketAddrV4,
        service: SocketAddrV4,
    ) -> Result<Self, StageError> {
        let mut pair = Pair::open_through(lab, site.client.into(), front.into(), service.into())?;
        let silent_since = Instant::now();
        pair.client.capture()?;
        pair.server.capture()?;
        Ok(Self {
            pair,
            front: front.into(),
            silent_since,
        })
    }

    /// The client writes; its segment is not translated, and the balancer's own TCP answers. `received` is the truth at the
    /// client. The truths at the client and at the balancer.
    pub fn answered_by_balancer(
        &mut self,
        lab: &Lab,
        received: impl FnOnce(&Segment) -> Truth,
    ) -> Result<[Truth; 2], StageError> {
        let Self { pair, front, .. } = self;
        pair.client.send(pair.at_client, 50)?;
        let seen = pair.client.reset(*front, pair.at_client.local)?;
        confirm("TTL of the RST", seen.ttl, 64)?;
        let error = pair.client_error("ECONNRESET")?;
        pair.confirm_server_end_lives()?;
        let received = received(&seen)
            .names(&pair.client, &[Role::Owner])
            .because(
                "the balancer's own TCP answered in the service's name; the server's end lives",
            )
            .peer_saw(error);
        let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
        let sent = Truth::sent(lab, Place::Router, &seen, origin, cause)
            .because(
                "after the balancer's timeout the segment was not translated: no socket for it",
            )
            .lost_connection()
            .at_timeout(IdleMode::LateRst, Some(TIMEOUT));
        Ok([received, sent])
    }

    /// The server writes; its segment reaches the client untranslated, and the client, which has no connection with that
    /// address, resets. The truths at the server and at the client.
    pub fn answered_by_peer(
        &mut self,
        lab: &Lab,
        really: &'static str,
    ) -> Result<[Truth; 2], StageError> {
        let pair = &mut self.pair;
        pair.server.send(pair.at_server, 50)?;
        let (client, server) = (pair.at_client.local, pair.listener.local);
        let seen = pair.server.reset(client, server)?;
        confirm("TTL of the RST", seen.ttl, 63)?;
        let error = pair.server.confirm_error(pair.at_server, "ECONNRESET")?;
        pair.client.segment(Pattern::data(server, client))?;
        pair.confirm_client_end_lives()?;
        let received = pair
            .server_truth(lab, &seen)
            .because(
                "the client's kernel sent it: the push came from an address it has no connection with",
            )
            .but_really(really)
            .peer_saw(error);
        let (origin, cause) = (Origin::LocalKernel, Cause::HalfOpen);
        let sent = Truth::sent(lab, Place::Client, &seen, origin, cause)
            .because(
                "a segment from the server's own address, with which the client has no connection",
            )
            .lost_connection();
        Ok([received, sent])
    }
}

/// The truth at an end: a device on the path had expired the connection.
pub fn expired_on_path(lab: &Lab, place: Place, seen: &Segment) -> Truth {
    Truth::received(lab, place, seen, Origin::Middlebox, Cause::IdleTimeout)
        .lost_connection()
        .at_timeout(IdleMode::LateRst, Some(TIMEOUT))
}

/// A hop that forgets connections of this network after [`TIMEOUT`].
pub const fn hop(name: &'static str, network: &'static str) -> Hop {
    Hop {
        name,
        network,
        port: None,
        timeout: TIMEOUT,
        mode: IdleMode::LateRst,
        transparent: true,
    }
}
