//! Fixture for scenarios with a real load balancer: client and server that have exchanged data through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use super::pair::talk;
use super::site::Site;
use super::{confirm, confirm_silence};
use crate::StageError;
use crate::actor::protocol::TcpState;
use crate::actor::{Actor, CONFIGURATION, Socket};
use crate::lab::{Lab, Place};
use crate::record::{Cause, IdleMode, Origin, Role};
use crate::segment::{Flags, Pattern, Segment};
use crate::truth::Truth;

/// The idle timeout that balancers are given; conntrack's at the router is the same.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// A balancer as a program.
pub struct Balancer {
    program: &'static str,
    arguments: &'static [&'static str],
    configuration: String,
    /// What not every build of it supports.
    needs: &'static str,
}

/// Where a balancer listens, where it sends connections, and from which address.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub front: SocketAddr,
    pub server: SocketAddr,
    pub back: Ipv4Addr,
}

/// HAProxy in TCP mode with [`TIMEOUT`] on both sides and further settings.
pub fn haproxy(ends: Ends, settings: &str) -> Balancer {
    haproxy_with(ends, TIMEOUT, settings)
}

/// The same with a timeout that is not reached.
pub fn patient_haproxy(ends: Ends, settings: &str) -> Balancer {
    haproxy_with(ends, Duration::from_secs(120), settings)
}

fn haproxy_with(ends: Ends, timeout: Duration, settings: &str) -> Balancer {
    let Ends {
        front,
        server,
        back,
    } = ends;
    let timeout = timeout.as_millis();
    Balancer {
        program: "haproxy",
        arguments: &["-db", "-f", CONFIGURATION],
        needs: "pass TCP on",
        configuration: format!(
            "
global
    maxconn 100
    nbthread 1
defaults
    mode tcp
    timeout connect {timeout}
    timeout client {timeout}
    timeout server {timeout}
    {settings}
listen demo
    bind {front}
    server demo {server} source {back}
"
        ),
    }
}

/// nginx, passing on TCP, with [`TIMEOUT`].
pub fn nginx_stream(ends: Ends) -> Balancer {
    nginx_stream_with(ends, TIMEOUT)
}

/// The same with a timeout that is not reached.
pub fn patient_nginx(ends: Ends) -> Balancer {
    nginx_stream_with(ends, Duration::from_secs(120))
}

fn nginx_stream_with(ends: Ends, timeout: Duration) -> Balancer {
    let Ends {
        front,
        server,
        back,
    } = ends;
    let timeout = timeout.as_millis();
    nginx(
        "load its stream module",
        format!(
            "
stream {{
    server {{
        listen {front};
        proxy_pass {server};
        proxy_bind {back};
        proxy_timeout {timeout}ms;
    }}
}}
"
        ),
    )
}

/// nginx that waits for a request's body for [`TIMEOUT`] between two pieces of it and then resets.
pub fn nginx_http(front: SocketAddr) -> Balancer {
    let timeout = TIMEOUT.as_millis();
    nginx(
        "serve HTTP",
        format!(
            "
http {{
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    client_body_timeout {timeout}ms;
    reset_timedout_connection on;
    server {{
        listen {front};
        location / {{ proxy_pass http://{front}; }}
    }}
}}
"
        ),
    )
}

/// One process: it ends with the demo, which a worker would not.
fn nginx(needs: &'static str, rest: String) -> Balancer {
    Balancer {
        program: "nginx",
        arguments: &["-c", CONFIGURATION, "-e", "stderr"],
        needs,
        configuration: format!(
            "
include /etc/nginx/modules-enabled/*stream*.conf;
daemon off;
master_process off;
user root;
pid /tmp/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
{rest}"
        ),
    }
}

impl Balancer {
    /// Starts it at the router and waits until it listens.
    pub fn start(self, lab: &mut Lab, front: SocketAddr) -> Result<Actor, StageError> {
        let mut balancer = lab.actor(Place::Router, "rt-balancer")?;
        balancer.become_program(self.program, self.arguments, &self.configuration)?;
        let unspecified = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let entry = lab.entry(Place::Router, front, unspecified)?;
            if entry.is_some_and(|entry| entry.state == TcpState::Listen as u8) {
                return Ok(balancer);
            }
            if Instant::now() > deadline {
                let why = format!("{} did not listen within {START_LIMIT:?}", self.program);
                return Err(StageError::Failed(why));
            }
            if let Some(said) = balancer.last_words()? {
                let Self { program, needs, .. } = self;
                return Err(StageError::NotStaged(format!(
                    "{program} ended at its start; it has to be able to {needs}; it said: {said}"
                )));
            }
            thread::sleep(LOOK);
        }
    }
}

/// Half of what the lab's tcp_fin_timeout is.
const HALF_CLOSED: Duration = Duration::from_secs(30);
/// Between two looks whether it listens.
const LOOK: Duration = Duration::from_millis(10);
/// Far longer than any of them takes.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A connection through a balancer at the router: two legs and three processes.
pub struct Chain {
    pub client: Actor,
    pub balancer: Actor,
    pub server: Actor,
    pub front: SocketAddr,
    pub at_client: Socket,
    pub at_server: Socket,
    /// When the silence began.
    pub silent_since: Instant,
}

impl Chain {
    /// Connects through a balancer, exchanges data, and captures at both ends.
    pub fn open(
        lab: &mut Lab,
        site: u8,
        balancer: impl FnOnce(Ends) -> Balancer,
    ) -> Result<Self, StageError> {
        let site = Site::new(lab, site)?;
        let ends = Ends {
            front: SocketAddr::new(site.front.into(), lab.port()),
            server: SocketAddr::new(site.server.into(), lab.port()),
            back: site.back,
        };
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(ends.server, 8)?;
        let balancer = balancer(ends).start(lab, ends.front)?;
        let at_client = client.connect_from(site.client.into(), ends.front)?;
        let at_server = server.accept(listener)?;
        let mut chain = Self {
            client,
            balancer,
            server,
            front: ends.front,
            at_client,
            at_server,
            silent_since: Instant::now(),
        };
        chain.client.capture()?;
        chain.server.capture()?;
        chain.talk()?;
        Ok(chain)
    }

    /// A request and an answer, after which the silence begins.
    pub fn talk(&mut self) -> Result<(), StageError> {
        talk(
            (&mut self.client, self.at_client),
            (&mut self.server, self.at_server),
        )?;
        self.silent_since = Instant::now();
        Ok(())
    }

    /// The balancer's end of the server's leg.
    pub fn back(&self) -> Result<SocketAddr, StageError> {
        let back = self.at_server.remote;
        back.ok_or_else(|| StageError::Failed("the server's socket has no peer".to_owned()))
    }

    /// The FIN that the client gets at the timeout, as captured there.
    pub fn fin_to_client(&mut self) -> Result<Segment, StageError> {
        let (front, client) = (self.front, self.at_client.local);
        let last = self.client.segment(Pattern::data(front, client))?;
        let fin = self
            .client
            .segment(Pattern::with(Flags::FIN, front, client))?;
        confirm_silence(&last, &fin, TIMEOUT).map(|()| fin)
    }

    /// The FIN that the server gets at the timeout, as captured there.
    pub fn fin_to_server(&mut self) -> Result<Segment, StageError> {
        let last = self.last_to_back()?;
        let fin = Pattern::with(Flags::FIN, self.back()?, self.at_server.local);
        let fin = self.server.segment(fin)?;
        confirm_silence(&last, &fin, TIMEOUT).map(|()| fin)
    }

    /// The RST that the server gets at the timeout, as captured there.
    pub fn reset_to_server_at_timeout(&mut self) -> Result<Segment, StageError> {
        let last = self.last_to_back()?;
        let reset = self.reset_to_server()?;
        confirm_silence(&last, &reset, TIMEOUT).map(|()| reset)
    }

    /// The last data on the server's leg.
    fn last_to_back(&mut self) -> Result<Segment, StageError> {
        let last = Pattern::data(self.at_server.local, self.back()?);
        self.server.segment(last)
    }

    /// Fails the staging if the balancer's half of the connection may be gone by now, as on a machine that was busy with other
    /// scenarios: its kernel keeps it for a minute (tcp_fin_timeout).
    pub fn confirm_half_closed(&self) -> Result<(), StageError> {
        let since_fin = self.silent_since.elapsed().saturating_sub(TIMEOUT);
        confirm("soon after the FIN", since_fin < HALF_CLOSED, true)
    }

    /// The RST that the client gets, as captured there.
    pub fn reset_to_client(&mut self) -> Result<Segment, StageError> {
        self.client.reset(self.front, self.at_client.local)
    }

    /// The RST that the server gets, as captured there.
    pub fn reset_to_server(&mut self) -> Result<Segment, StageError> {
        let back = self.back()?;
        self.server.reset(back, self.at_server.local)
    }

    /// The truth at the server: the timeout of the balancer, its peer.
    pub fn server_lost(&self, lab: &Lab, seen: &Segment, mode: IdleMode) -> Truth {
        impatient(lab, Place::Server, seen, mode).names(&self.server, &[Role::Owner])
    }

    /// The truth at the client: the timeout of the balancer, its peer.
    pub fn client_lost(&self, lab: &Lab, seen: &Segment, mode: IdleMode) -> Truth {
        impatient(lab, Place::Client, seen, mode).names(&self.client, &[Role::Owner])
    }

    /// The truth on the balancer's host.
    pub fn balancer_sent(
        &self,
        lab: &Lab,
        seen: &Segment,
        origin: Origin,
        cause: Cause,
        mode: IdleMode,
    ) -> Truth {
        let roles = match origin {
            Origin::LocalProcess => vec![Role::Closer],
            _ => vec![Role::Closer, Role::FormerOwner],
        };
        Truth::sent(lab, Place::Router, seen, origin, cause)
            .names(&self.balancer, &roles)
            .lost_connection()
            .at_timeout(mode, Some(TIMEOUT))
    }
}

impl From<Chain> for Vec<Actor> {
    fn from(chain: Chain) -> Self {
        vec![chain.client, chain.balancer, chain.server]
    }
}

pub fn impatient(lab: &Lab, place: Place, seen: &Segment, mode: IdleMode) -> Truth {
    Truth::received(lab, place, seen, Origin::Peer, Cause::IdleTimeout)
        .because("the balancer, which is the peer of this leg, gave the silent connection up")
        .lost_connection()
        .at_timeout(mode, Some(TIMEOUT))
}
