//! Metrics over HTTP, at `/metrics`. Values are collected for a scrape only.
//!
//! There are few connections at once, each for one request and a few seconds, so clients cannot hold much memory. A new one takes the
//! place of the oldest that has not sent its request, so slow clients do not keep out others.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::debug;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// Connections at once.
const MOST_CONNECTIONS: usize = 32;
/// Time before a connection that takes the place of another is accepted: what is spent on clients that come back at once.
const PULSE: Duration = Duration::from_millis(1);
/// Maximum duration of a connection.
const LONGEST: Duration = Duration::from_secs(10);
/// Time limit for the head of a request.
const LONGEST_HEAD: Duration = Duration::from_secs(2);
/// Wait after a failed accept: descriptors may be short.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest request head, bytes.
const LARGEST_HEAD: usize = 16 << 10;
const PATH: &str = "/metrics";
const TEXT: &str = "text/plain; charset=utf-8";

/// Why metrics cannot be served. Each message names the address and ends with the next step.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error(
        "{0}: address already in use; use another port for --metrics, or find the owner with `ss -ltnp`"
    )]
    InUse(SocketAddr),
    /// This host does not have the address.
    #[error("{0}: not a local address; use one of `ip address` for --metrics")]
    NotOurs(SocketAddr),
    /// The port needs a right.
    #[error("{0}: permission denied; use a --metrics port of 1024 or higher, or run as root")]
    NotPermitted(SocketAddr),
    #[error("{address}: {error}; use another address for --metrics")]
    Failed {
        address: SocketAddr,
        error: io::Error,
    },
}

/// A request that waits for the metrics.
#[derive(Debug)]
pub struct Scrape(oneshot::Sender<String>);

impl Scrape {
    /// Sends them; the client may have gone.
    pub fn answer(self, text: String) {
        let _ = self.0.send(text);
    }
}

/// A server at work, until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    scrapes: mpsc::Receiver<Scrape>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens. Needs a tokio runtime around it, with I/O and time.
    pub async fn start(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => ServeError::InUse(address),
            io::ErrorKind::AddrNotAvailable => ServeError::NotOurs(address),
            io::ErrorKind::PermissionDenied => ServeError::NotPermitted(address),
            _ => ServeError::Failed { address, error },
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (sender, scrapes) = mpsc::channel(MOST_CONNECTIONS);
        let task = tokio::spawn(accept(listener, sender));
        Ok(Self {
            address,
            scrapes,
            task,
        })
    }

    /// The listening address, with the port chosen by the kernel for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next scrape. Never ends by itself; dropping the future loses nothing.
    pub async fn next(&mut self) -> Scrape {
        match self.scrapes.recv().await {
            Some(scrape) => scrape,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection.
struct Client {
    task: AbortHandle,
    has_asked: Arc<AtomicBool>,
}

async fn accept(listener: TcpListener, scrapes: mpsc::Sender<Scrape>) {
    // Oldest first.
    let mut clients: VecDeque<Client> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.retain(|client| !client.task.is_finished());
                if clients.len() >= MOST_CONNECTIONS {
                    make_place(&mut clients);
                    tokio::time::sleep(PULSE).await;
                }
                let has_asked = Arc::<AtomicBool>::default();
                let served = serve(stream, scrapes.clone(), Arc::clone(&has_asked));
                let task = tokio::spawn(async move {
                    if tokio::time::timeout(LONGEST, served).await.is_err() {
                        debug!("metrics connection timed out");
                    }
                });
                let task = task.abort_handle();
                clients.push_back(Client { task, has_asked });
            }
            Err(error) => {
                debug!("cannot accept a metrics connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Ends the oldest connection without a request, else the oldest.
fn make_place(clients: &mut VecDeque<Client>) {
    let has_asked = |client: &Client| client.has_asked.load(Ordering::Relaxed);
    let oldest = clients.iter().position(|client| !has_asked(client));
    if let Some(client) = clients.remove(oldest.unwrap_or(0)) {
        client.task.abort();
    }
}

async fn serve(stream: TcpStream, scrapes: mpsc::Sender<Scrape>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        respond(request, &scrapes)
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!("metrics connection failed: {error}");
    }
}

/// hyper omits the body for HEAD.
async fn respond(
    request: Request<Incoming>,
    scrapes: &mpsc::Sender<Scrape>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != PATH {
        let hint = format!("metrics are at {PATH}\n");
        return Ok(text(StatusCode::NOT_FOUND, CONTENT_TYPE, TEXT, hint));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = String::new();
        return Ok(text(
            StatusCode::METHOD_NOT_ALLOWED,
            ALLOW,
            "GET, HEAD",
            refused,
        ));
    }
    let (sender, answer) = oneshot::channel();
    // Both fail only at the end of the trace.
    let asked = scrapes.send(Scrape(sender)).await;
    let answer = match asked {
        Ok(()) => answer.await.ok(),
        Err(_) => None,
    };
    Ok(match answer {
        Some(metrics) => text(StatusCode::OK, CONTENT_TYPE, super::CONTENT_TYPE, metrics),
        None => {
            let ended = "the trace has ended\n".to_owned();
            text(StatusCode::SERVICE_UNAVAILABLE, CONTENT_TYPE, TEXT, ended)
        }
    })
}

fn text(
    status: StatusCode,
    header: HeaderName,
    value: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let value = hyper::header::HeaderValue::from_static(value);
    response.headers_mut().insert(header, value);
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use tokio::sync::Semaphore;

    use super::*;

    async fn started() -> Server {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Server::start(any).await.unwrap()
    }

    /// What comes back until the server closes.
    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A server that has seen enough may reset.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn serving(mut server: Server) {
        loop {
            server.next().await.answer("m 1\n".to_owned());
        }
    }

    #[tokio::test]
    async fn get_and_head_are_answered_and_nothing_else() {
        let server = started().await;
        let address = server.address();
        let task = tokio::spawn(serving(server));
        let host = "host: x\r\n\r\n";
        for (line, status, body) in [
            ("GET /metrics HTTP/1.1", "200", "m 1\n"),
            ("GET /metrics?x=y HTTP/1.1", "200", "m 1\n"),
            ("GET /metrics HTTP/1.0", "200", "m 1\n"),
            ("HEAD /metrics HTTP/1.1", "200", ""),
            ("POST /metrics HTTP/1.1", "405", ""),
            ("GET / HTTP/1.1", "404", "metrics are at /metrics\n"),
        ] {
            let answer = ask(address, format!("{line}\r\n{host}").as_bytes()).await;
            let (head, received) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!(" {status} ")), "{line}: {head}");
            assert_eq!(received, body, "{line}");
            if status == "200" {
                assert!(head.contains("text/plain; version=0.0.4"), "{head}");
            }
        }
        task.abort();
    }

    #[tokio::test]
    async fn garbage_and_huge_heads_end_their_own_connection_only() {
        let server = started().await;
        let address = server.address();
        let task = tokio::spawn(serving(server));
        let huge = format!(
            "GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n",
            "y".repeat(1 << 20)
        );
        for request in [
            &b"\x16\x03\x01\0\xff\r\n\r\n"[..],
            b"GET\r\n\r\n",
            huge.as_bytes(),
        ] {
            let answer = ask(address, request).await;
            assert!(!answer.contains(" 200 "), "{answer}");
        }
        let answer = ask(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.ends_with("m 1\n"), "{answer}");
        task.abort();
    }

    #[tokio::test]
    async fn idle_connections_hold_up_a_scrape_only_briefly() {
        let server = started().await;
        let address = server.address();
        let task = tokio::spawn(serving(server));
        let mut idle = Vec::new();
        for number in 0..MOST_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HT").await.unwrap();
            }
            idle.push(stream);
        }
        let scrape = ask(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
        let answer = tokio::time::timeout(LONGEST / 2, scrape).await.unwrap();
        assert!(answer.ends_with("m 1\n"), "{answer}");
        task.abort();
    }

    #[tokio::test]
    async fn a_scrape_is_answered_while_slow_clients_drip_and_come_back() {
        /// Sends a head byte by byte, and again once it is cut off.
        async fn drip(address: SocketAddr, connected: Arc<Semaphore>) {
            loop {
                let Ok(mut stream) = TcpStream::connect(address).await else {
                    continue;
                };
                connected.add_permits(1);
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        let server = started().await;
        let address = server.address();
        let task = tokio::spawn(serving(server));
        let connected = Arc::new(Semaphore::new(0));
        let clients = (0..200).map(|_| tokio::spawn(drip(address, Arc::clone(&connected))));
        let slow: Vec<_> = clients.collect();
        // Some were cut off and have come back.
        connected.acquire_many(300).await.unwrap().forget();
        for _ in 0..5 {
            let begun = std::time::Instant::now();
            let scrape = ask(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
            let answer = tokio::time::timeout(LONGEST, scrape).await.unwrap();
            println!("answered after {:?}", begun.elapsed());
            assert!(answer.ends_with("m 1\n"), "{answer}");
            assert!(begun.elapsed() < LONGEST_HEAD, "{:?}", begun.elapsed());
        }
        slow.iter().for_each(tokio::task::JoinHandle::abort);
        task.abort();
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_had_is_refused_with_a_next_step() {
        let server = started().await;
        let taken = Server::start(server.address()).await.unwrap_err();
        assert!(matches!(taken, ServeError::InUse(_)), "{taken}");
        let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
        let foreign = Server::start(foreign).await.unwrap_err();
        assert!(matches!(foreign, ServeError::NotOurs(_)), "{foreign}");
    }

    #[tokio::test]
    async fn a_dropped_server_listens_no_more() {
        let server = started().await;
        let address = server.address();
        drop(server);
        tokio::task::yield_now().await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
