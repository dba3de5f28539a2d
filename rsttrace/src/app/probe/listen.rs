//! `rsttrace probe --listen`: the responder, which keeps connections silent and writes first when a probe asks for it.
//!
//! It opens no connection, sends fixed messages only, and only to those who greet it with the protocol of
//! [`crate::probe::protocol`]. Connections, sessions, connections of a session and its life are limited.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Span, Words, acknowledged, attend, keep_open, write_first};
use super::lines::{Incoming, Lines, close, write};
use super::runtime;
use crate::cli::{Failure, Interrupt, ListenOptions};
use crate::probe::protocol::{Invalid, Message, Order};
use crate::probe::{Direction, End, OtherEnd};
use crate::words::span;

/// Serves probes until Ctrl-C or the end of the given duration.
pub fn listen(options: &ListenOptions) -> Result<(), Failure> {
    rsttrace_sys::raise_file_limit();
    runtime()?.block_on(serve(options))
}

async fn serve(options: &ListenOptions) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let listener = bind(options).await?;
    say(&format!(
        "listening on {} until Ctrl-C, at most {}",
        listener.local_addr()?,
        span(options.duration)
    ))?;
    let responder = Arc::new(Responder::default());
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // Ends all connections when dropped.
    let mut tasks = JoinSet::new();
    let end = sleep(options.duration);
    let mut end = std::pin::pin!(end);
    let mut interrupted = std::pin::pin!(interrupt.wait());
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    // Out of files: those that end make room.
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = tasks.join_next() => continue,
            () = &mut end => break,
            () = &mut interrupted => break,
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let responder = Arc::clone(&responder);
                tasks.spawn(async move {
                    let _place = place;
                    responder.meet(stream, peer).await;
                });
            }
            Err(_) => log::info!("{peer}: closed: {MOST_CONNECTIONS} connections are open"),
        }
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    say(&format!(
        "probes: {}, their connections: {}, unknown clients closed: {}",
        count(&responder.served),
        count(&responder.ordered),
        count(&responder.unknown)
    ))
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = crate::terminal::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

async fn bind(options: &ListenOptions) -> Result<TcpListener, Failure> {
    let port = options.port;
    let bound = match options.address {
        Some(address) => TcpListener::bind((address, port)).await,
        // Also for IPv4, unless net.ipv6.bindv6only is set.
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            bound => bound,
        },
    };
    let place = match options.address {
        Some(address) => SocketAddr::from((address, port)).to_string(),
        None => format!("port {port}"),
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::Failed(anyhow!(
            "cannot listen on {place}: in use (see `ss -ltnp`); choose another port, or stop the service there"
        )),
        io::ErrorKind::PermissionDenied => Failure::NotPermitted(format!(
            "cannot listen on {place}: ports below 1024 require root or CAP_NET_BIND_SERVICE; choose a higher port"
        )),
        io::ErrorKind::AddrNotAvailable => Failure::Failed(anyhow!(
            "cannot listen on {place}: not an address of this host; see `ip address`"
        )),
        _ => Failure::Failed(anyhow!("cannot listen on {place}: {error}; choose another port")),
    })
}

/// What the connections share.
#[derive(Default)]
struct Responder {
    sessions: Mutex<HashMap<u64, Open>>,
    served: AtomicUsize,
    ordered: AtomicUsize,
    unknown: AtomicUsize,
}

/// A session in progress.
struct Open {
    reports: mpsc::UnboundedSender<Message>,
    /// Fails when the session is over.
    over: watch::Receiver<()>,
    /// Its connections so far.
    connections: usize,
}

impl Responder {
    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Open>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn meet(&self, stream: TcpStream, peer: SocketAddr) {
        let mut lines = Lines::default();
        let greeting = timeout(greeting_limit(), lines.next(&stream)).await;
        let why = match greeting {
            Ok(Ok(Incoming::Message(Message::Hello))) => {
                return self.session(stream, lines, peer).await;
            }
            Ok(Ok(Incoming::Message(Message::Order(order)))) => {
                return self.connection(stream, order).await;
            }
            Ok(Ok(Incoming::Invalid(Invalid::Version))) => {
                answer(&stream, &Message::Unsupported).await;
                "a probe of another version"
            }
            Ok(Ok(Incoming::Message(_) | Incoming::Invalid(Invalid::Foreign))) => "not a probe",
            Ok(Ok(Incoming::End) | Err(_)) => {
                log::debug!("{peer}: left without a greeting");
                return;
            }
            Err(_) => "no greeting",
        };
        self.unknown.fetch_add(1, Ordering::Relaxed);
        log::info!("{peer}: closed: {why}");
        close(stream).await;
    }

    /// The control connection of a probe.
    async fn session(&self, stream: TcpStream, mut lines: Lines, peer: SocketAddr) {
        // Dropped at the end of the session, which ends its connections.
        let (_alive, over) = watch::channel(());
        let (reports, mut reported) = mpsc::unbounded_channel();
        let id = random();
        let open = Open {
            reports,
            over,
            connections: 0,
        };
        {
            let mut sessions = self.sessions();
            if sessions.len() < MOST_SESSIONS {
                sessions.insert(id, open);
            }
        }
        if !self.sessions().contains_key(&id) {
            log::info!("{peer}: refused: {MOST_SESSIONS} probes are running");
            answer(&stream, &Message::Refused).await;
            return close(stream).await;
        }
        log::info!("{peer}: probe begins");
        let _listed = Listed { of: self, id };
        if write(&stream, &Message::Session(id)).await.is_err() {
            return;
        }
        self.served.fetch_add(1, Ordering::Relaxed);
        let begin = Instant::now();
        let mut heard = Instant::now();
        loop {
            let message = tokio::select! {
                // An answer tells the probe that it has all earlier reports.
                biased;
                Some(report) = reported.recv() => report,
                incoming = timeout(SESSION_LIMIT.saturating_sub(heard.elapsed()), lines.next(&stream)) => match incoming {
                    Ok(Ok(Incoming::Message(alive @ Message::Alive(_)))) => {
                        heard = Instant::now();
                        alive
                    }
                    Ok(Ok(Incoming::Message(_) | Incoming::Invalid(_) | Incoming::End) | Err(_)) | Err(_) => break,
                },
            };
            // One that does not read is gone, too.
            match timeout(SESSION_LIMIT, write(&stream, &message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        log::info!("{peer}: probe ends after {}", span(begin.elapsed()));
    }

    /// Another connection of a probe.
    async fn connection(&self, stream: TcpStream, order: Order) {
        let known = match self.sessions().get_mut(&order.session) {
            Some(open) if open.connections < MOST_OF_SESSION => {
                open.connections += 1;
                Some((open.reports.clone(), open.over.clone()))
            }
            Some(_) | None => None,
        };
        let Some((reports, mut over)) = known else {
            answer(&stream, &Message::Refused).await;
            return close(stream).await;
        };
        self.ordered.fetch_add(1, Ordering::Relaxed);
        let report = |message| {
            // The session may be over.
            let _ = reports.send(message);
        };
        tokio::select! {
            () = obey(stream, order, report) => {}
            _ = over.changed() => {}
        }
    }
}

/// From once to twice [`GREETING_LIMIT`]: if all silent clients were closed after the same time, a probe that does not greet
/// (`--one-way`) would take it for an idle timeout.
fn greeting_limit() -> Duration {
    GREETING_LIMIT + GREETING_LIMIT.mul_f64((random() % 1000) as f64 / 1000.0)
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Does what the probe asked for on this connection.
async fn obey(stream: TcpStream, order: Order, report: impl Fn(Message)) {
    let number = order.number;
    if write(&stream, &Message::Ready).await.is_err() {
        return;
    }
    match order.direction {
        Direction::ToServer => {
            let saw = attend(&stream).await;
            if let Some(saw) = saw {
                report(Message::Saw { number, saw });
            }
            if saw != Some(OtherEnd::Message) {
                keep_open(&stream).await;
            }
        }
        Direction::ToClient => {
            let begin = acknowledged(&stream).await;
            let silence = Span {
                start: Instant::now(),
                opened: Duration::ZERO,
                silence: order.silence,
            };
            let (end, quiet, heard) = match begin {
                Ok(()) => {
                    let outcome = write_first(&stream, &silence, &Words::Ping, &|_| {}).await;
                    (outcome.end, outcome.quiet, outcome.heard)
                }
                Err(error) => (End::Failed(error.to_string()), Duration::ZERO, 0),
            };
            let survived = matches!(end, End::Survived(_));
            report(Message::Result {
                number,
                end,
                quiet,
                heard: u8::try_from(heard).unwrap_or(u8::MAX),
            });
            if !survived {
                keep_open(&stream).await;
            }
        }
    }
}

/// Removes a session at its end.
struct Listed<'a> {
    of: &'a Responder,
    id: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.of.sessions().remove(&self.id);
    }
}

/// A client that is gone needs no answer.
async fn answer(stream: &TcpStream, message: &Message) {
    let _ = write(stream, message).await;
}

/// Two directions of the largest probe, and those who do not belong here.
const MOST_CONNECTIONS: usize = 1200;
/// Probes at the same time.
const MOST_SESSIONS: usize = 8;
/// Connections of one probe: both rounds in both directions.
const MOST_OF_SESSION: usize = 1100;
/// For the first message of a client.
const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// A probe that says nothing for so long is gone.
const SESSION_LIMIT: Duration = Duration::from_secs(30);
