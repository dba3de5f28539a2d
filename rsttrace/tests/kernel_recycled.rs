//! Owners of connections that stay open while the kernel recycles the addresses of sockets, and process ids, for many short ones.
//!
//! `RSTTRACE_SHORT_CONNECTIONS=1000000 RSTTRACE_LONG_CONNECTIONS=1000` makes it a stress test of minutes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use kernel::{LIMIT, Watch, abort, private_namespace};
use nix::sys::signal::Signal;
use serde_json::Value;

const CLIENTS: usize = 10;
const PORT: u16 = 7100;
/// Address of the server, and port of the client.
type Ends = (String, u16);

/// What the clock of a handshake and of this test may differ by, in seconds.
const TOLERANCE: f64 = 0.25;

/// Opens connections, each to an address of its own, says these with its ports, and keeps them.
const CLIENT: &str = "
import socket, sys
port, first, count = map(int, sys.argv[1:])
to = [f'127.0.{n // 250 + 1}.{n % 250 + 1}' for n in range(first, first + count)]
kept = [socket.create_connection((address, port)) for address in to]
print(*[f'{it.getpeername()[0]} {it.getsockname()[1]}' for it in kept], sep=',', flush=True)
sys.stdin.read()
";

/// Opens and closes connections for ever, each hundred of them in a process of its own, and says a line for so many.
const SHORT: &str = "
import os, socket, sys
at = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=64)
each, done = int(sys.argv[2]), 0
while True:
    child = os.fork()
    if child == 0:
        for _ in range(100):
            client = socket.create_connection(at.getsockname())
            server, _ = at.accept()
            client.close()
            server.close()
        os._exit(0)
    os.waitpid(child, 0)
    done += 100
    if done % each == 0:
        print(done, flush=True)
";

fn count(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |count| count.parse().unwrap())
}

#[test]
#[ignore = "needs root"]
fn an_open_connection_keeps_its_owner_while_addresses_are_recycled() {
    private_namespace(|| {
        let long = count("RSTTRACE_LONG_CONNECTIONS", 200);
        let short = count("RSTTRACE_SHORT_CONNECTIONS", 80_000);
        let watch = Watch::start(&["--every", "--noise"]);
        let listener = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
        let mut clients = Vec::new();
        let mut open: Vec<(TcpStream, Instant)> = Vec::new();
        let mut owner: BTreeMap<Ends, u32> = BTreeMap::new();
        for client in 0..CLIENTS {
            let each = long / CLIENTS;
            let mut client = python(CLIENT, &[PORT.into(), client * each, each]);
            for _ in 0..each {
                open.push((listener.accept().unwrap().0, Instant::now()));
            }
            let mut ends = String::new();
            BufReader::new(client.0.stdout.take().unwrap())
                .read_line(&mut ends)
                .unwrap();
            let pid = client.0.id();
            owner.extend(ends.trim().split(',').map(|ends| {
                let (address, port) = ends.split_once(' ').unwrap();
                ((address.to_owned(), port.parse().unwrap()), pid)
            }));
            clients.push(client);
        }
        assert_eq!(owner.len(), open.len());
        let ages = reset_each(open, short);
        watch.await_lines(ages.len() * 2);
        let ended = watch.end(Signal::SIGINT);
        let records = ended.records();
        for (ends, age) in &ages {
            let (address, port) = ends;
            let of = |direction: &str, server: &str, client: &str| {
                let found = records.iter().find(|it| {
                    it["direction"] == direction
                        && it[server]["address"] == *address
                        && it[client]["port"] == *port
                });
                found.unwrap_or_else(|| panic!("no {direction} reset of {ends:?}"))
            };
            let sent = of("sent", "local", "remote");
            let received = of("received", "remote", "local");
            assert_eq!(sent["process"]["pid"], std::process::id(), "{sent}");
            assert_eq!(received["process"]["pid"], owner[ends], "{received}");
            // Nothing else is known of its address, and its handshake was overwritten.
            assert_eq!(received["packet"]["expected_ttl"], 64, "{received}");
            for record in [sent, received] {
                has_age(record, *age);
            }
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_socket_whose_slot_was_taken_has_no_owner_rather_than_a_wrong_one() {
    const SLOTS: usize = 32;
    const OPEN: usize = 8 * SLOTS;
    private_namespace(|| {
        let watch = Watch::start(&["--every", "--noise", "--owner-slots", &SLOTS.to_string()]);
        let listener = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
        let mut client = python(CLIENT, &[PORT.into(), 0, OPEN]);
        let begun = Instant::now();
        let open: Vec<TcpStream> = (0..OPEN).map(|_| listener.accept().unwrap().0).collect();
        let connected = begun.elapsed().as_secs_f64();
        let port = |stream: &TcpStream| stream.peer_addr().unwrap().port();
        let ports: Vec<u16> = open.iter().map(port).collect();
        open.into_iter().for_each(abort);
        let took = begun.elapsed().as_secs_f64();
        watch.await_lines(OPEN * 2);
        let ended = watch.end(Signal::SIGINT);
        let records = ended.records();
        let mut remembered = 0;
        for port in ports {
            let of = |direction: &str, client: &str| {
                let is_it =
                    |it: &&Value| it["direction"] == direction && it[client]["port"] == port;
                records
                    .iter()
                    .find(is_it)
                    .unwrap_or_else(|| panic!("no {direction} reset of {port}"))
            };
            // A process that closes is named by its own context.
            let sent = of("sent", "remote");
            assert_eq!(sent["process"]["pid"], std::process::id(), "{sent}");
            let received = of("received", "local");
            let process = &received["process"];
            assert!(
                process.is_null() || process["pid"] == client.0.id(),
                "{received}"
            );
            for record in [sent, received] {
                if let Some(age) = record["socket"]["age"].as_f64() {
                    assert!(
                        (took - connected - TOLERANCE..took + TOLERANCE).contains(&age),
                        "{record}"
                    );
                    remembered += 1;
                }
            }
        }
        assert!(
            (1..=SLOTS).contains(&remembered),
            "{remembered} of {OPEN} sockets remembered"
        );
        let evicted = format!("socket owner table evictions (capacity {SLOTS}): ");
        assert!(ended.stderr.contains(&evicted), "{}", ended.stderr);
        client.0.kill().unwrap();
    });
}

/// The record of another connection would have another age.
fn has_age(record: &Value, age: f64) {
    let known = record["socket"]["age"]
        .as_f64()
        .unwrap_or_else(|| panic!("no age: {record}"));
    assert!((known - age).abs() < TOLERANCE, "{age} s old: {record}");
}

/// Resets the connections one by one among so many short ones, half of which come before: their ends, and how old they
/// became, in seconds.
fn reset_each(open: Vec<(TcpStream, Instant)>, short: usize) -> Vec<(Ends, f64)> {
    // In whole processes.
    let each = (short / 2 / open.len()).next_multiple_of(100);
    let (sender, made) = mpsc::channel();
    let mut churning = Vec::new();
    for port in [PORT + 1, PORT + 2] {
        let mut process = python(SHORT, &[port.into(), each]);
        let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        churning.push(process);
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    let made = || made.recv_timeout(LIMIT).unwrap();
    for _ in 0..short / 2 / each {
        made();
    }
    let reset = open.into_iter().map(|(stream, since)| {
        made();
        let ends = (
            stream.local_addr().unwrap().ip().to_string(),
            stream.peer_addr().unwrap().port(),
        );
        let age = since.elapsed().as_secs_f64();
        abort(stream);
        (ends, age)
    });
    reset.collect()
}

/// Killed when dropped.
struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn python(script: &str, arguments: &[usize]) -> Python {
    let mut command = Command::new("python3");
    command.args(["-c", script]);
    command.args(arguments.iter().map(ToString::to_string));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Python(command.spawn().unwrap())
}
