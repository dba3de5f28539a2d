//! Is the right process named when real servers lose connections: nginx and HAProxy as Debian ships them, and a few lines
//! of Python that fork, share a listener or a port, or hand connections on?
//!
//! Truth comes from the servers: nginx logs which worker served which port, the others say who they are. The test itself
//! is the bystander: it is running whenever the kernel answers its segments.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use kernel::{LIMIT, Server, Watch, abort, eventually, private_namespace, tcp_table};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// nginx: patient, its workers have listeners of their own.
const PATIENT: u16 = 8080;
/// nginx: closes idle connections soon.
const HASTY: u16 = 8081;

const NGINX: &str = "
daemon off;
worker_processes 3;
pid nginx.pid;
error_log stderr;
events { worker_connections 64; }
http {
    log_format who '$remote_port $pid';
    access_log who.log who;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    lingering_close off;
    server {
        listen 127.0.0.1:8080 reuseport;
        keepalive_timeout 60s;
        location / { return 200 'served'; }
    }
    server {
        listen 127.0.0.1:8081;
        keepalive_timeout 200ms;
        location / { return 200 'served'; }
    }
}
";

/// HAProxy: its backend is down.
const DOWN: u16 = 8090;
/// HAProxy: its backend is this test, at [`BACKEND`].
const UP: u16 = 8091;
/// HAProxy: the same, and it closes idle connections soon.
const IMPATIENT: u16 = 8092;
/// Where this test serves.
const BACKEND: u16 = 8099;
/// Where nobody listens.
const NOBODY: u16 = 8098;

const HAPROXY: &str = "
global
    nbthread 2
defaults
    mode tcp
    retries 0
    timeout connect 5s
    timeout client 5s
    timeout server 5s
listen down
    bind 127.0.0.1:8090
    server s 127.0.0.1:8098
listen up
    bind 127.0.0.1:8091
    server s 127.0.0.1:8099
listen impatient
    bind 127.0.0.1:8092
    timeout client 200ms
    timeout server 200ms
    server s 127.0.0.1:8099
";

/// Where the servers in Python listen.
const SCRIPT: u16 = 8070;

/// The process that has a connection sends its pid and that of the process whose listener it came from, then does what it receives.
const WORKERS: &str = r#"
import os, signal, socket, sys, time

mode, port = sys.argv[1], int(sys.argv[2])
os.setpgid(0, 0)
signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
held = []

def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if mode == 'reuseport':
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(('127.0.0.1', port))
    listener.listen(64)
    return listener

def serve(connection, listening):
    connection.sendall(b'%d %d\n' % (os.getpid(), listening))
    told = connection.recv(16)
    if told == b'hold':
        connection.sendall(b'!')
        held.append(connection)
        return
    if told == b'quick':
        connection.sendall(b'!')
        try:
            connection.recv(1)
        except OSError:
            pass
    if told == b'unread':
        connection.sendall(b'!')
        connection.recv(1, socket.MSG_PEEK)
    connection.close()

def accept(listener, listening):
    while True:
        serve(listener.accept()[0], listening)

def worker(work, *arguments):
    if os.fork() == 0:
        work(*arguments)

def wait():
    while True:
        signal.pause()

# Whoever closes last is the closer: the one that serves waits until the other has closed.
def forked(connection, listener, line, other):
    listener.close()
    other.close()
    line.recv(1)
    serve(connection, os.getppid())
    if not held:
        os._exit(0)
    wait()

def receive(line, listening):
    while True:
        _, files, _, _ = socket.recv_fds(line, 1, 1)
        line.recv(1)
        serve(socket.socket(fileno=files[0]), listening)

if mode == 'fork':
    listener = listen()
    while True:
        connection = listener.accept()[0]
        line, other = socket.socketpair()
        worker(forked, connection, listener, line, other)
        connection.close()
        other.sendall(b'!')
elif mode == 'prefork':
    listener, listening = listen(), os.getpid()
    for _ in range(3):
        worker(accept, listener, listening)
elif mode == 'reuseport':
    for _ in range(3):
        worker(lambda: accept(listen(), os.getpid()))
elif mode == 'hand_on':
    # Neither is the other's child.
    line, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    def hand_on():
        listener = listen()
        other.sendall(b'%d' % os.getpid())
        while True:
            connection = listener.accept()[0]
            socket.send_fds(other, [b'!'], [connection.fileno()])
            connection.close()
            other.sendall(b'!')
    worker(hand_on)
    worker(lambda: receive(line, int(line.recv(16))))
wait()
"#;

/// Which was there first: the tool then learns of listeners in different ways.
#[derive(Clone, Copy, PartialEq)]
enum First {
    Tool,
    Server,
}

fn nginx() -> Server {
    let directory = ["-p", ".", "-c", "conf", "-e", "stderr"];
    let server = Server::start("nginx", &directory, NGINX, &[PATIENT, HASTY]);
    eventually("all workers", || {
        (children(&server).len() == 3).then_some(())
    });
    server
}

fn haproxy() -> Server {
    let foreground = ["-db", "-f", "conf"];
    Server::start("haproxy", &foreground, HAPROXY, &[DOWN, UP, IMPATIENT])
}

/// A server in Python with this way to have workers, once younger than the tool and once older.
fn with_workers(mode: &'static str) {
    private_namespace(move || {
        let noise = ["--noise"];
        let port = SCRIPT.to_string();
        let start = || Server::start("python3", &["conf", mode, &port], WORKERS, &[SCRIPT]);
        let watch = Watch::own_namespace(&noise);
        let server = start();
        workers_are_named(&watch);
        drop((watch, server));
        // Older than the tool.
        let _server = start();
        workers_are_named(&Watch::own_namespace(&noise));
    });
}

fn children(server: &Server) -> Vec<u32> {
    let parent = server.pid().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            let after_name = stat.rsplit_once(')')?.1;
            (after_name.split_whitespace().nth(1)? == parent).then_some(pid)
        })
        .collect()
}

/// The nginx worker that served this client.
fn worker_of(nginx: &Server, client: SocketAddr) -> u32 {
    let port = format!("{} ", client.port());
    let worker = eventually("the access log", || {
        let log = fs::read_to_string(nginx.directory().join("who.log")).ok()?;
        let line = log.lines().find_map(|line| line.strip_prefix(&port))?;
        line.parse().ok()
    });
    assert!(children(nginx).contains(&worker));
    worker
}

/// No process has this end of the connection any more.
fn is_orphan(local: SocketAddr, remote: SocketAddr) -> bool {
    let loopback = "0100007F";
    let ends = format!(
        " {loopback}:{:04X} {loopback}:{:04X} ",
        local.port(),
        remote.port()
    );
    // The inode is the tenth column.
    tcp_table()
        .lines()
        .filter(|line| line.contains(&ends))
        .any(|line| line.split_whitespace().nth(9) == Some("0"))
}

fn with(first: First, server: fn() -> Server, test: fn(&Watch, &Server)) {
    private_namespace(move || {
        let noise = ["--noise"];
        if first == First::Server {
            let server = server();
            test(&Watch::own_namespace(&noise), &server);
        } else {
            let watch = Watch::own_namespace(&noise);
            test(&watch, &server());
        }
    });
}

fn client(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn ends(stream: &TcpStream) -> (SocketAddr, SocketAddr) {
    (stream.local_addr().unwrap(), stream.peer_addr().unwrap())
}

/// Asks nginx for a page on a connection that is kept.
fn get(stream: &mut TcpStream) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"served") {
        let mut bytes = [0; 512];
        let length = stream.read(&mut bytes).unwrap();
        assert!(length > 0, "{answer:?}");
        answer.extend_from_slice(&bytes[..length]);
    }
}

/// The record of one end of the connection: the end at `local`.
fn record_of(watch: &Watch, direction: &str, local: SocketAddr, remote: SocketAddr) -> Value {
    let is = |end: &Value, address: SocketAddr| {
        end["port"] == address.port() && end["address"] == address.ip().to_string()
    };
    watch.await_record(&format!("{direction} {local} {remote}"), move |record| {
        record["direction"] == direction
            && is(&record["local"], local)
            && is(&record["remote"], remote)
    })
}

/// Both ends of the reset of a client's connection: sent, received.
fn both_ends(watch: &Watch, sender: SocketAddr, receiver: SocketAddr) -> (Value, Value) {
    let sent = record_of(watch, "sent", sender, receiver);
    let received = record_of(watch, "received", receiver, sender);
    assert_eq!(sent["link"]["id"], received["link"]["id"]);
    (sent, received)
}

/// A listener's master may stand for its workers, if the record says so.
fn assert_worker(record: &Value, nginx: &Server, worker: u32) {
    let process = &record["process"];
    let pid = process["pid"].as_u64().unwrap_or_default();
    let is_master = pid == u64::from(nginx.pid()) && process["quality"] == "inherited";
    assert!(
        pid == u64::from(worker) || is_master,
        "not worker {worker} of {}: {record:#}",
        nginx.pid()
    );
    assert_eq!(process["comm"], "nginx", "{record:#}");
}

fn assert_process(record: &Value, pid: u32) {
    assert_eq!(record["process"]["pid"], pid, "{record:#}");
}

fn nginx_is_named(watch: &Watch, nginx: &Server) {
    let own = std::process::id();

    // Clients abort, each served by one of the workers.
    for _ in 0..6 {
        let mut stream = client(PATIENT);
        let (here, there) = ends(&stream);
        get(&mut stream);
        let worker = worker_of(nginx, here);
        abort(stream);
        let (sent, received) = both_ends(watch, here, there);
        assert_eq!(sent["verdict"]["cause"], "linger_zero");
        assert_process(&sent, own);
        assert_eq!(received["verdict"]["cause"], "reset_by_peer");
        assert_worker(&received, nginx, worker);
    }

    // One that is kept from closing its socket is found.
    for port in [PATIENT, HASTY] {
        let mut stream = client(port);
        let (here, there) = ends(&stream);
        get(&mut stream);
        let worker = worker_of(nginx, here);
        let pid = Pid::from_raw(worker.cast_signed());
        kill(pid, Signal::SIGSTOP).unwrap();
        abort(stream);
        let (_, received) = both_ends(watch, here, there);
        kill(pid, Signal::SIGCONT).unwrap();
        assert_process(&received, worker);
        assert_eq!(received["process"]["role"], "owner", "{received:#}");
    }

    // It refuses a long request line before it has read all of it.
    let mut stream = client(PATIENT);
    let (here, there) = ends(&stream);
    let mut request = b"GET /".to_vec();
    request.resize(20_000, b'x');
    stream.write_all(&request).unwrap();
    let (sent, received) = both_ends(watch, there, here);
    assert_eq!(sent["verdict"]["cause"], "close_with_unread_data");
    // Who closes is known for certain, whatever the listener was.
    assert_process(&sent, worker_of(nginx, here));
    assert_eq!(sent["process"]["role"], "closer");
    assert_eq!(sent["process"]["quality"], "certain");
    assert_process(&received, own);

    // It closes an idle connection, and only then the client goes on.
    let mut stream = client(HASTY);
    let (here, there) = ends(&stream);
    get(&mut stream);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    eventually("closed", || is_orphan(there, here).then_some(()));
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let (sent, received) = both_ends(watch, there, here);
    assert_eq!(sent["verdict"]["cause"], "data_after_close", "{sent:#}");
    // The close is what was seen of it.
    assert_process(&sent, worker_of(nginx, here));
    assert_process(&received, own);
}

/// A connection, the pid of its holder and that of its listener's process. The holder does what it was sent.
fn served(told: &[u8]) -> (TcpStream, u32, u32) {
    let mut stream = client(SCRIPT);
    let mut line = String::new();
    while !line.ends_with('\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0].into());
    }
    let (holder, listening) = line.trim().split_once(' ').unwrap();
    let pids = (holder.parse().unwrap(), listening.parse().unwrap());
    stream.write_all(told).unwrap();
    if told != b"close" {
        stream.read_exact(&mut [0]).unwrap();
    }
    (stream, pids.0, pids.1)
}

fn quality_of(record: &Value) -> &str {
    record["process"]["quality"].as_str().unwrap_or_default()
}

fn workers_are_named(watch: &Watch) {
    for _ in 0..4 {
        // Still open when it is looked for.
        let (stream, holder, _) = served(b"hold");
        let (here, there) = ends(&stream);
        abort(stream);
        let (_, received) = both_ends(watch, here, there);
        assert_process(&received, holder);
        assert_eq!(received["process"]["role"], "owner", "{received:#}");
        assert_ne!(quality_of(&received), "inherited", "{received:#}");

        // Closed at once: the listener's process may stand for the holder, if that is said.
        let (stream, holder, listening) = served(b"quick");
        let (here, there) = ends(&stream);
        abort(stream);
        let (_, received) = both_ends(watch, here, there);
        let named = received["process"]["pid"].as_u64();
        let guessed = named == Some(listening.into()) && quality_of(&received) == "inherited";
        assert!(named == Some(holder.into()) || guessed, "{received:#}");

        // In the holder's own context.
        let (mut stream, holder, _) = served(b"unread");
        let (here, there) = ends(&stream);
        stream.write_all(b"never read").unwrap();
        let (sent, _) = both_ends(watch, there, here);
        assert_eq!(sent["verdict"]["cause"], "close_with_unread_data");
        assert_process(&sent, holder);
        assert_eq!(quality_of(&sent), "certain", "{sent:#}");

        // After it had closed.
        let (mut stream, holder, _) = served(b"close");
        let (here, there) = ends(&stream);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        eventually("closed", || is_orphan(there, here).then_some(()));
        stream.write_all(b"too late").unwrap();
        let (sent, _) = both_ends(watch, there, here);
        assert_eq!(sent["verdict"]["cause"], "data_after_close", "{sent:#}");
        assert_process(&sent, holder);
        assert_eq!(quality_of(&sent), "recorded", "{sent:#}");
    }
}

fn haproxy_is_named(watch: &Watch, haproxy: &Server) {
    let own = std::process::id();
    let backend = TcpListener::bind(("127.0.0.1", BACKEND)).unwrap();

    // Its backend is down.
    let mut stream = client(DOWN);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let received = watch.await_record("refused by the backend", |record| {
        record["direction"] == "received" && record["remote"]["port"] == NOBODY
    });
    assert_eq!(received["verdict"]["cause"], "connection_refused");
    assert_process(&received, haproxy.pid());
    let sent = watch.await_record("the refusal", |record| {
        record["direction"] == "sent" && record["local"]["port"] == NOBODY
    });
    assert_eq!(sent["verdict"]["cause"], "port_closed");
    assert_eq!(sent.get("process"), None, "{sent:#}");

    // A client aborts.
    let stream = client(UP);
    let (here, there) = ends(&stream);
    let (_behind, _) = backend.accept().unwrap();
    abort(stream);
    let (sent, received) = both_ends(watch, here, there);
    assert_process(&sent, own);
    assert_process(&received, haproxy.pid());

    // Its backend closes without reading the request.
    let mut stream = client(UP);
    stream.write_all(b"never read").unwrap();
    let (behind, proxy) = backend.accept().unwrap();
    eventually("the request", || {
        (behind.peek(&mut [0; 64]).unwrap() == 10).then_some(())
    });
    let at = behind.local_addr().unwrap();
    drop(behind);
    let (sent, received) = both_ends(watch, at, proxy);
    assert_eq!(sent["verdict"]["cause"], "close_with_unread_data");
    assert_process(&sent, own);
    assert_eq!(sent["process"]["quality"], "certain");
    assert_process(&received, haproxy.pid());

    // It closes an idle connection, and only then the client goes on.
    let mut stream = client(IMPATIENT);
    let (here, there) = ends(&stream);
    let (_behind, _) = backend.accept().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    // It says so before it closes.
    eventually("closed", || is_orphan(there, here).then_some(()));
    stream.write_all(b"too late").unwrap();
    let (sent, received) = both_ends(watch, there, here);
    assert_eq!(sent["verdict"]["cause"], "data_after_close", "{sent:#}");
    assert_process(&sent, haproxy.pid());
    assert_process(&received, own);
}

#[test]
#[ignore = "needs root"]
fn nginx_workers_started_after_the_tool_are_named() {
    with(First::Tool, nginx, nginx_is_named);
}

#[test]
#[ignore = "needs root"]
fn nginx_workers_older_than_the_tool_are_named() {
    with(First::Server, nginx, nginx_is_named);
}

#[test]
#[ignore = "needs root"]
fn children_that_a_server_forks_for_each_connection_are_named() {
    with_workers("fork");
}

#[test]
#[ignore = "needs root"]
fn workers_with_a_common_listener_are_named() {
    with_workers("prefork");
}

#[test]
#[ignore = "needs root"]
fn listeners_with_a_common_port_are_distinguished() {
    with_workers("reuseport");
}

#[test]
#[ignore = "needs root"]
fn the_process_that_was_handed_a_connection_is_named() {
    with_workers("hand_on");
}

#[test]
#[ignore = "needs root"]
fn haproxy_started_after_the_tool_is_named() {
    with(First::Tool, haproxy, haproxy_is_named);
}

#[test]
#[ignore = "needs root"]
fn haproxy_older_than_the_tool_is_named() {
    with(First::Server, haproxy, haproxy_is_named);
}
