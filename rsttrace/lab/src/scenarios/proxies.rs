//! Idle timeouts of real proxies, as packaged by Debian.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::chain::{
    Chain, TIMEOUT, haproxy, nginx_http, nginx_stream, patient_haproxy, patient_nginx,
};
use super::flock::Flock;
use super::site::Site;
use super::timeouts::black_hole;
use super::{ALONE, Armed, Hop, LONG, Scenario, Staged, confirm_silence};
use crate::StageError;
use crate::actor::protocol::TcpState;
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, IdleMode, Origin, Role};
use crate::segment::Pattern;
use crate::truth::{Hidden, Truth};

/// As an operator would configure it: without that, a balancer's 3 s cannot be distinguished from an application's.
const fn hop(name: &'static str, network: &'static str, mode: IdleMode) -> Hop {
    Hop {
        name,
        network,
        port: None,
        timeout: TIMEOUT,
        mode,
        transparent: false,
    }
}

/// What HAProxy does to the server: a FIN and at once a RST.
pub const HAPROXY_SERVER: Scenario = Scenario {
    name: "haproxy-timeout-server",
    title: "HAProxy's timeout as seen by the server",
    can_predate: true,
    hops: &[hop("haproxy-11", "203.0.113.111/32", IdleMode::FinAtExpiry)],
    twins: &["haproxy-timeout-client", "slow-application"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 11, |ends| haproxy(ends, ""))?;
        Armed::due(soon_after(&chain), move |lab| {
            chain.fin_to_server()?;
            let seen = chain.reset_to_server()?;
            let error = chain.server.await_error(chain.at_server)?;
            let mode = IdleMode::FinAtExpiry;
            let received = chain.server_lost(lab, &seen, mode).peer_saw(error);
            let sent = chain
                .balancer_sent(lab, &seen, Origin::LocalProcess, Cause::LingerZero, mode)
                .because("HAProxy's timeout: shutdown(), then close() with SO_LINGER 0")
                .done_by(&chain.balancer, "close()");
            Staged::active([received, sent], chain)
        })
    },
    ..LONG
};

/// What HAProxy does to the client: a FIN, and a RST when the client writes later.
pub const HAPROXY_CLIENT: Scenario = Scenario {
    name: "haproxy-timeout-client",
    title: "HAProxy's timeout: the client writes after the FIN",
    can_predate: true,
    hops: &[hop("haproxy-12", "198.51.100.12/32", IdleMode::FinAtExpiry)],
    twins: &["haproxy-timeout-server", "data-after-close-time-wait"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 12, |ends| haproxy(ends, ""))?;
        Armed::due(soon_after(&chain) + LATER, move |lab| {
            chain.fin_to_client()?;
            chain.confirm_half_closed()?;
            chain.client.send(chain.at_client, 50)?;
            let seen = chain.reset_to_client()?;
            let error = chain.client.confirm_error(chain.at_client, "EPIPE")?;
            let mode = IdleMode::FinAtExpiry;
            let received = chain.client_lost(lab, &seen, mode).peer_saw(error);
            let sent = chain
                .balancer_sent(lab, &seen, Origin::LocalKernel, Cause::DataAfterClose, mode)
                .because(
                    "HAProxy's timeout closed the connection; the client wrote a second later",
                );
            Staged::passive([received, sent], chain)
        })
    },
    ..LONG
};

pub const HAPROXY_NOLINGER: Scenario = Scenario {
    name: "haproxy-timeout-nolinger",
    title: "HAProxy's timeout with option nolinger",
    hops: &[
        hop(
            "haproxy-13 to servers",
            "203.0.113.113/32",
            IdleMode::RstAtExpiry,
        ),
        hop(
            "haproxy-13 to clients",
            "198.51.100.13/32",
            IdleMode::FinAtExpiry,
        ),
    ],
    twins: &["haproxy-timeout-server", "linger-zero"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 13, |ends| haproxy(ends, "option nolinger"))?;
        Armed::due(soon_after(&chain), move |lab| {
            let at_server = chain.reset_to_server_at_timeout()?;
            // 30 microseconds before the RST, and only on this leg.
            chain.fin_to_client()?;
            let at_client = chain.reset_to_client()?;
            let error = chain.server.confirm_error(chain.at_server, "ECONNRESET")?;
            let (origin, cause) = (Origin::LocalProcess, Cause::LingerZero);
            let sent = |seen, mode| {
                chain
                    .balancer_sent(lab, seen, origin, cause, mode)
                    .because("HAProxy's timeout: close() with SO_LINGER 0")
                    .done_by(&chain.balancer, "close()")
            };
            let (at_once, after_fin) = (IdleMode::RstAtExpiry, IdleMode::FinAtExpiry);
            let truths = vec![
                chain.server_lost(lab, &at_server, at_once).peer_saw(error),
                sent(&at_server, at_once),
                chain.client_lost(lab, &at_client, after_fin),
                sent(&at_client, after_fin),
            ];
            Staged::active(truths, chain)
        })
    },
    ..LONG
};

pub const NGINX_STREAM: Scenario = Scenario {
    name: "nginx-stream-timeout",
    title: "nginx's proxy_timeout: the server writes after the FIN",
    can_predate: true,
    hops: &[hop("nginx-14", "203.0.113.114/32", IdleMode::FinAtExpiry)],
    twins: &["haproxy-timeout-client", "data-after-close-fin-wait2"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 14, nginx_stream)?;
        Armed::due(soon_after(&chain) + LATER, move |lab| {
            chain.fin_to_server()?;
            chain.confirm_half_closed()?;
            chain.server.send(chain.at_server, 50)?;
            let seen = chain.reset_to_server()?;
            let error = chain.server.confirm_error(chain.at_server, "EPIPE")?;
            let mode = IdleMode::FinAtExpiry;
            let received = chain.server_lost(lab, &seen, mode).peer_saw(error);
            let sent = chain
                .balancer_sent(lab, &seen, Origin::LocalKernel, Cause::DataAfterClose, mode)
                .because("nginx's proxy_timeout closed both ends; the server wrote a second later");
            Staged::passive([received, sent], chain)
        })
    },
    ..LONG
};

/// nginx resets a client whose request does not come.
pub const NGINX_RESET: Scenario = Scenario {
    name: "nginx-reset-timedout",
    title: "nginx's reset_timedout_connection: the rest of a request never comes",
    hops: &[hop("nginx-15", "198.51.100.15/32", IdleMode::RstAtExpiry)],
    twins: &["nginx-stream-timeout", "linger-zero"],
    open: open_nginx_reset,
    ..LONG
};

fn open_nginx_reset(lab: &mut Lab, _: IpVersion) -> Result<Armed, StageError> {
    let site = Site::new(lab, 15)?;
    let front = SocketAddr::new(site.front.into(), lab.port());
    let server = nginx_http(front).start(lab, front)?;
    let mut client = lab.actor(Place::Client, "rt-client")?;
    client.capture()?;
    let at_client = client.connect_from(site.client.into(), front)?;
    client.send_text(at_client, HALF_A_REQUEST)?;
    Armed::due(Instant::now() + TIMEOUT + SLACK, move |lab| {
        let half = client.segment(Pattern::data(at_client.local, front))?;
        let seen = client.reset(front, at_client.local)?;
        confirm_silence(&half, &seen, TIMEOUT)?;
        let error = client.confirm_error(at_client, "ECONNRESET")?;
        let (origin, cause) = (Origin::LocalProcess, Cause::LingerZero);
        let sent = Truth::sent(lab, Place::Router, &seen, origin, cause)
            .because("nginx got half a request; at client_body_timeout it closed with SO_LINGER 0")
            .done_by(&server, "close()")
            .names(&server, &[Role::Closer])
            .lost_connection()
            .at_timeout(IdleMode::RstAtExpiry, Some(TIMEOUT))
            .peer_saw(error);
        let received = Truth::received(lab, Place::Client, &seen, Origin::Peer, Cause::IdleTimeout)
            .because("nginx, the peer, gave up waiting for the rest of the request")
            .names(&client, &[Role::Owner])
            .lost_connection()
            .at_timeout(IdleMode::RstAtExpiry, Some(TIMEOUT));
        Staged::active([received, sent], [client, server])
    })
}

/// What a TLS server does at its timeout: a close_notify, and a FIN with it or behind it.
pub const TLS_GOODBYE: Scenario = Scenario {
    name: "tls-goodbye-at-timeout",
    title: "a server's timeout behind TLS: close_notify, FIN; the client writes later",
    hops: &[hop("tls-55", "203.0.113.55/32", IdleMode::FinAtExpiry)],
    twins: &["haproxy-timeout-client", "data-after-close-time-wait"],
    open: |lab, version| says_and_closes(lab, version, 55, (TIMEOUT, CLOSE_NOTIFY), true),
    ..ALONE
};

/// Bytes of a close_notify in TLS 1.3, with its record.
const CLOSE_NOTIFY: usize = 24;

/// What a database does at its timeout.
pub const LAST_WORDS: Scenario = Scenario {
    name: "last-words-at-timeout",
    title: "a database's timeout: an error message, FIN; the client writes later",
    hops: &[Hop {
        timeout: LONG_TIMEOUT,
        ..hop("database-56", "203.0.113.56/32", IdleMode::FinAtExpiry)
    }],
    twins: &["tls-goodbye-at-timeout", "slow-answer"],
    open: |lab, version| says_and_closes(lab, version, 56, (LONG_TIMEOUT, ERROR_MESSAGE), true),
    ..ALONE
};

/// The look-alike: the message is an answer that took some time.
pub const SLOW_ANSWER: Scenario = Scenario {
    name: "slow-answer",
    title: "a server answers after 3 s and closes; the client writes later",
    hops: &[hop("slow-57", "203.0.113.57/32", IdleMode::FinAtExpiry)],
    twins: &["last-words-at-timeout"],
    open: |lab, version| says_and_closes(lab, version, 57, (TIMEOUT, ERROR_MESSAGE), false),
    ..ALONE
};

/// Bytes of an error message of PostgreSQL.
const ERROR_MESSAGE: usize = 120;
const LONG_TIMEOUT: Duration = Duration::from_secs(12);

/// After a silence the server says something and closes; the client writes later.
fn says_and_closes(
    lab: &mut Lab,
    version: IpVersion,
    site: u8,
    (silence, bytes): (Duration, usize),
    is_timeout: bool,
) -> Result<Armed, StageError> {
    let mut flock = Flock::open(lab, site, version)?;
    let flow = flock.grow()?;
    Armed::due(flow.silent_since + silence, move |lab| {
        flock.server.send(flow.at_server, bytes)?;
        flock.server.close(flow.at_server)?;
        flock
            .client
            .await_state(flow.at_client, TcpState::CloseWait)?;
        flock.client.send(flow.at_client, 50)?;
        let seen = flock.reset_to_client(flow)?;
        let error = flock.client.await_error(flow.at_client)?;
        let cause = match is_timeout {
            true => Cause::IdleTimeout,
            false => Cause::ResetByPeer,
        };
        let received = Truth::received(lab, Place::Client, &seen, Origin::Peer, cause)
            .because("the server said something and closed")
            .names(&flock.client, &[Role::Owner])
            .lost_connection()
            .peer_saw(error);
        let received = match is_timeout {
            true => received
                .at_timeout(IdleMode::FinAtExpiry, Some(silence))
                .hidden(Hidden::Process),
            false => received.without_timer(),
        };
        let (origin, cause) = (Origin::LocalKernel, Cause::DataAfterClose);
        let sent = Truth::sent(lab, Place::Server, &seen, origin, cause)
            .because("the server said something and closed; the client wrote 50 bytes")
            .names(&flock.server, &[Role::Closer, Role::FormerOwner])
            .lost_connection();
        Staged::passive([received, sent], flock)
    })
}

/// The client's FIN makes HAProxy close the other leg, which has been silent for as long as a timeout.
pub const CLIENT_LEAVES: Scenario = Scenario {
    name: "proxy-client-leaves",
    title: "the client closes after 2 s of silence; HAProxy resets the server (option nolinger)",
    twins: &["haproxy-timeout-nolinger", "proxy-passes-on"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 16, |ends| patient_haproxy(ends, "option nolinger"))?;
        Armed::due(chain.silent_since + SILENCE, move |lab| {
            chain.client.close(chain.at_client)?;
            let condition = "the client closed; HAProxy closed the other leg with SO_LINGER 0";
            let who = (Origin::LocalProcess, Cause::LingerZero);
            let mut staged = other_leg(lab, chain, who, condition)?;
            for truth in &mut staged.truths {
                truth.unused = true;
            }
            Ok(staged)
        })
    },
    ..LONG
};

/// The client's FIN makes nginx close the other leg with a FIN; nothing but the configuration says that it was no timeout.
pub const NGINX_CLIENT_LEAVES: Scenario = Scenario {
    name: "nginx-client-leaves",
    title: "the client closes after 3 s of silence, and so nginx closes the other leg; the server writes",
    twins: &["nginx-stream-timeout", "proxy-client-leaves"],
    open: |lab, _| {
        let mut chain = Chain::open(lab, 18, patient_nginx)?;
        Armed::step_due(chain.silent_since + TIMEOUT, move |_| {
            chain.client.close(chain.at_client)?;
            chain.fin_to_server()?;
            Armed::due(Instant::now() + LATER, move |lab| {
                chain.server.send(chain.at_server, 50)?;
                let seen = chain.reset_to_server()?;
                let error = chain.server.confirm_error(chain.at_server, "EPIPE")?;
                let (origin, cause) = (Origin::Peer, Cause::ResetByPeer);
                let received = Truth::received(lab, Place::Server, &seen, origin, cause)
                    .because("nginx, the peer, had closed because its client had")
                    .names(&chain.server, &[Role::Owner])
                    .lost_connection()
                    .without_timer()
                    .peer_saw(error);
                let (origin, cause) = (Origin::LocalKernel, Cause::DataAfterClose);
                let sent = Truth::sent(lab, Place::Router, &seen, origin, cause)
                    .because("the client closed, and so did nginx; the server wrote a second later")
                    .names(&chain.balancer, &[Role::Closer, Role::FormerOwner])
                    .lost_connection()
                    .without_timer();
                Staged::passive([received, sent], chain)
            })
        })
    },
    ..LONG
};

/// Keepalive finds the client dead, and HAProxy closes the other leg.
pub const CLIENT_DIES: Scenario = Scenario {
    name: "proxy-client-dies",
    title: "HAProxy's keepalive finds the client dead; it resets the server (option nolinger)",
    twins: &["haproxy-timeout-nolinger", "keepalive-timeout"],
    open: |lab, _| {
        let settings = "option nolinger
    option clitcpka
    clitcpka-idle 1s
    clitcpka-intvl 1s
    clitcpka-cnt 1";
        let mut chain = Chain::open(lab, 17, |ends| patient_haproxy(ends, settings))?;
        Armed::new(move |lab| {
            lab.firewall(Place::Client, &black_hole(chain.front.port()))?;
            chain.server.confirm_error(chain.at_server, "ECONNRESET")?;
            lab.open_firewall(Place::Client)?;
            // Its end is still open, and would provoke a reset later.
            chain.client.vanish(chain.at_client)?;
            other_leg(
                lab,
                chain,
                (Origin::LocalKernel, Cause::Propagated),
                "the client did not answer keepalive; HAProxy closed the other leg with SO_LINGER 0",
            )
        })
    },
    ..ALONE
};

/// HAProxy resets the server's leg because of the client's.
fn other_leg(
    lab: &mut Lab,
    mut chain: Chain,
    (made_by, why): (Origin, Cause),
    condition: &'static str,
) -> Result<Staged, StageError> {
    let seen = chain.reset_to_server()?;
    let (origin, cause) = (Origin::Peer, Cause::ResetByPeer);
    let received = Truth::received(lab, Place::Server, &seen, origin, cause)
        .because("HAProxy, the peer, sent it")
        .names(&chain.server, &[Role::Owner])
        .lost_connection()
        .without_timer();
    let sent = Truth::sent(lab, Place::Router, &seen, made_by, why)
        .because(condition)
        .done_by(&chain.balancer, "close()")
        .names(&chain.balancer, &[Role::Closer])
        .lost_connection()
        .without_timer();
    Staged::active([received, sent], chain)
}

/// When the balancer's timer has surely fired.
fn soon_after(chain: &Chain) -> Instant {
    chain.silent_since + TIMEOUT + SLACK
}

const HALF_A_REQUEST: &str =
    "POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 100\r\n\r\nthe first 26 bytes of it..";
/// A silence that a timer could have ended.
const SILENCE: Duration = Duration::from_secs(2);
/// For timers that are a little late.
const SLACK: Duration = Duration::from_millis(200);
/// How long after the FIN the other end writes.
const LATER: Duration = Duration::from_secs(1);
