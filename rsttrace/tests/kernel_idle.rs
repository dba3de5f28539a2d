//! Idle connections through a balancer: client, HAProxy, three servers, one trace.
//!
//! The test is the client; the servers are programs of their own that keep their connections open whatever comes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kernel::{LIMIT, Server, Watch, private_namespace};
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

#[test]
#[ignore = "needs root"]
fn every_end_names_the_balancers_timeout() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("config.toml");
        fs::write(&configuration, CONFIGURATION).unwrap();
        let configuration = configuration.to_str().unwrap();
        let watch = Watch::own_namespace(&["--noise", "--config", configuration]);
        let servers = SERVERS.map(|port| {
            let arguments = ["conf", &port.to_string()];
            (port, Server::start("python3", &arguments, SERVER, &[port]))
        });
        let balancer = Server::start("haproxy", &["-db", "-f", "conf"], HAPROXY, &[FRONT]);
        let clients: Vec<TcpStream> = (0..SERVERS.len())
            .map(|_| {
                let mut stream = TcpStream::connect(("127.0.0.1", FRONT)).unwrap();
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
            assert_eq!(received["process"]["pid"], server.pid(), "{received:#}");
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
            assert_eq!(sent["process"]["pid"], balancer.pid(), "{sent:#}");
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
