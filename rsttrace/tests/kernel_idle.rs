//! Are connections through a balancer explained when they die of silence: client, HAProxy, three servers, one watch?
//!
//! The test is the client; the servers are programs of their own that keep their connections open whatever comes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kernel::{LIMIT, Watch, eventually, private_namespace};
use serde_json::Value;

const FRONT: u16 = 8100;
const SERVERS: [u16; 3] = [8101, 8102, 8103];

const HAPROXY: &str = "
defaults
    mode tcp
    timeout connect 2s
    timeout client 2s
    timeout server 2s
listen front
    bind 127.0.0.1:8100
    balance roundrobin
    server a 127.0.0.1:8101
    server b 127.0.0.1:8102
    server c 127.0.0.1:8103
";

const CONFIGURATION: &str = r#"
    [[hop]]
    name = "front balancer"
    address = "127.0.0.1"
    timeout = "2s"
    mode = "fin_at_expiry"
"#;

/// Answers each connection once and never closes it.
const SERVER: &str = "
import socket, sys, time
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
kept = []
while True:
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100).upper())
    kept.append(connection)
";

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{name} is not installed: {error}")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connected(port: u16) -> TcpStream {
    eventually(&format!("port {port}"), || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    })
}

#[test]
#[ignore = "needs root"]
fn every_end_names_the_balancers_timeout() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let haproxy = file("haproxy.cfg", HAPROXY);
        let configuration = file("config.toml", CONFIGURATION);
        let watch = Watch::own_namespace(&["--noise", "--config", &configuration]);
        let servers = SERVERS.map(|port| {
            let program = Program::start("python3", &["-c", SERVER, &port.to_string()]);
            (port, program)
        });
        for (port, _) in &servers {
            // Until it listens; this connection has to say something to be left alone.
            connected(*port).write_all(b"x").unwrap();
        }
        let balancer = Program::start("haproxy", &["-db", "-f", &haproxy]);
        let clients: Vec<TcpStream> = (0..SERVERS.len())
            .map(|_| {
                let mut stream = connected(FRONT);
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                stream.write_all(b"hello").unwrap();
                let mut answer = [0; 5];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"HELLO");
                stream
            })
            .collect();

        // Each server hears of it.
        for (port, server) in &servers {
            let received = watch.await_record(&format!("reset at {port}"), |record| {
                record["direction"] == "received"
                    && record["local"]["port"] == *port
                    && record["verdict"]["cause"] == "idle_timeout"
            });
            assert_eq!(received["verdict"]["origin"], "peer", "{received:#}");
            assert_eq!(received["process"]["pid"], server.0.id(), "{received:#}");
            assert_timeout(&received);
            assert!(
                received["verdict"]["summary"]
                    .as_str()
                    .is_some_and(|summary| summary.contains("front balancer")),
                "{received:#}"
            );
            // The balancer's own end of the same reset.
            let sent = watch.await_record("its sender", |record| {
                record["direction"] == "sent" && record["link"]["id"] == received["link"]["id"]
            });
            assert_eq!(sent["process"]["pid"], balancer.0.id(), "{sent:#}");
            assert_eq!(sent["verdict"]["origin"], "local_process", "{sent:#}");
            assert_timeout(&sent);
        }
        // The clients hear the end of the stream, and the reset when they go on.
        for mut client in clients {
            let here: SocketAddr = client.local_addr().unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            client.write_all(b"again").unwrap();
            let received = watch.await_record("reset at the client", |record| {
                record["direction"] == "received" && record["local"]["port"] == here.port()
            });
            assert_eq!(received["verdict"]["cause"], "idle_timeout", "{received:#}");
            assert_eq!(received["process"]["pid"], std::process::id());
            assert_timeout(&received);
        }
    });
}

/// The silence is the balancer's timeout, to within 5 %, and ended with its FIN.
fn assert_timeout(record: &Value) {
    let idle = &record["idle"];
    assert_eq!(idle["mode"], "fin_at_expiry", "{record:#}");
    let quiet = Duration::from_secs_f64(idle["quiet_before"].as_f64().unwrap());
    let off = quiet.abs_diff(Duration::from_secs(2));
    assert!(off < Duration::from_millis(100), "{quiet:?} {record:#}");
}
