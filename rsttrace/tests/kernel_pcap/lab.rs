//! Connections captured at several places: client, balancer and server, each in its own namespace.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rsttrace::capture::Reader;
use rsttrace::compare::{self, Comparison, Digest};
use rsttrace::event::TcpFlags;

use crate::kernel::{LIMIT, Namespace, eventually, run};

/// The service's address, which the balancer has.
pub const VIP: &str = "198.51.100.2:80";
/// The server itself.
pub const SERVER: &str = "203.0.113.3:8080";
/// Where it listens for what is not balanced.
pub const ASIDE: &str = "203.0.113.3:9000";

/// Forges resets to both ends of what carries the word `KILL`. Argument: the TTL of what it makes for the server and the client.
const FORGER: &str = r#"
import socket, struct, sys
def checksum(data):
    if len(data) % 2: data += b'\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total > 0xffff: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
def reset(source, destination, ports, seq, ttl):
    tcp = struct.pack('!HHIIBBHHH', *ports, seq, 0, 0x50, 4, 0, 0, 0)
    tcp = tcp[:16] + struct.pack('!H', checksum(source + destination + struct.pack('!HH', 6, 20) + tcp)) + tcp[18:]
    header = struct.pack('!BBHHHBBH', 0x45, 0, 40, 7, 0, ttl, 6, 0) + source + destination
    raw.sendto(header + tcp, (socket.inet_ntoa(destination), 0))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
wire.bind((sys.argv[1], 0x0800))
print('ready', flush=True)
while True:
    packet, where = wire.recvfrom(65536)
    if where[2] == socket.PACKET_OUTGOING or b'KILL' not in packet: continue
    header = (packet[0] & 15) * 4
    ports = struct.unpack('!HH', packet[header:header + 4])
    seq, ack = struct.unpack('!II', packet[header + 4:header + 12])
    data = len(packet) - header - (packet[header + 12] >> 4) * 4
    reset(packet[12:16], packet[16:20], ports, seq + data & 0xffffffff, int(sys.argv[2]))
    reset(packet[16:20], packet[12:16], ports[::-1], ack, int(sys.argv[3]))
"#;

/// Client – (router) – balancer – server.
pub struct Lab {
    pub client: Namespace,
    pub router: Option<Namespace>,
    pub balancer: Namespace,
    pub server: Namespace,
    pub folder: tempfile::TempDir,
}

impl Lab {
    /// Makes it, with a router between client and balancer or without.
    pub fn new(with_router: bool) -> Self {
        let lab = Self {
            client: Namespace::new(),
            router: with_router.then(Namespace::new),
            balancer: Namespace::new(),
            server: Namespace::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        let (client, balancer, server) = (&lab.client, &lab.balancer, &lab.server);
        match &lab.router {
            None => {
                wire(
                    client,
                    ("c0", "192.0.2.1/24"),
                    balancer,
                    ("bc", "192.0.2.254/24"),
                );
                route(client, "default", "192.0.2.254");
            }
            Some(router) => {
                wire(
                    client,
                    ("c0", "192.0.2.1/24"),
                    router,
                    ("rc", "192.0.2.254/24"),
                );
                wire(
                    router,
                    ("rb", "10.9.0.1/24"),
                    balancer,
                    ("bc", "10.9.0.254/24"),
                );
                route(client, "default", "192.0.2.254");
                route(router, "default", "10.9.0.254");
                route(balancer, "192.0.2.0/24", "10.9.0.1");
                forwards(router);
            }
        }
        wire(
            server,
            ("s0", "203.0.113.3/24"),
            balancer,
            ("bs", "203.0.113.254/24"),
        );
        route(server, "default", "203.0.113.254");
        balancer.enter(|| run("ip", &["address", "add", "198.51.100.2/32", "dev", "lo"]));
        forwards(balancer);
        lab
    }

    /// A transparent balancer: rewrites the destination. Established connections are forgotten after two silent seconds.
    /// `more`: further chains.
    pub fn translate(&self, more: &str) {
        let rules = format!(
            "table ip t {{
              ct timeout tmo {{ protocol tcp; l3proto ip; policy = {{ established: 2, close: 1 }} ; }}
              chain tmo {{ type filter hook prerouting priority -150; tcp dport 80 ct timeout set \"tmo\"; }}
              chain pre {{ type nat hook prerouting priority dstnat; ip daddr 198.51.100.2 tcp dport 80 dnat to 203.0.113.3:8080; }}
              {more}
            }}"
        );
        self.balancer.enter(|| {
            // Unknown connections are not picked up again.
            run("nft", &[&rules]);
            fs::write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "0").unwrap();
        });
    }

    /// Adds rules at the balancer.
    pub fn filter(&self, rules: &str) {
        self.balancer.enter(|| run("nft", &[rules]));
    }

    /// Where the server listens.
    pub fn listen(&self) -> TcpListener {
        self.server.enter(|| TcpListener::bind(SERVER).unwrap())
    }

    /// A client's connection through the balancer, and the server's end of it; a word has gone each way.
    pub fn connect(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let mut near = self.client.enter(|| {
            let vip: SocketAddr = VIP.parse().unwrap();
            TcpStream::connect_timeout(&vip, LIMIT).unwrap()
        });
        let (mut far, _) = listener.accept().unwrap();
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.set_nodelay(true).unwrap();
        }
        say(
            &mut near,
            &mut far,
            b"a question that only this client asks",
        );
        say(&mut far, &mut near, b"and the answer to it");
        (near, far)
    }

    /// Forges resets at the router, with these TTLs toward server and client.
    pub fn forge(&self, ttls: [u8; 2]) -> Started {
        let [server, client] = ttls.map(|ttl| ttl.to_string());
        self.router.as_ref().unwrap().enter(|| {
            let mut command = Command::new("python3");
            command.args(["-c", FORGER, "rc", &server, &client]);
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            output.read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            Started(child)
        })
    }

    /// Captures at all places, in files of these names: at one interface and at all of them.
    pub fn capture(&self) -> Captures {
        let at = |namespace: &Namespace, interface: &str, name: &str| {
            let path = self.folder.path().join(format!("{name}.pcap"));
            (path.clone(), namespace.enter(|| capture(interface, &path)))
        };
        Captures {
            running: vec![
                at(&self.client, "c0", "client"),
                at(&self.client, "any", "client-any"),
                at(&self.balancer, "bc", "balancer-front"),
                at(&self.balancer, "bs", "balancer-back"),
                at(&self.balancer, "any", "balancer"),
                at(&self.server, "s0", "server"),
                at(&self.server, "any", "server-any"),
            ],
        }
    }

    /// Waits until the balancer has forgotten every connection that it translated.
    pub fn await_forgotten(&self) {
        eventually("no connection is tracked", || {
            let tracked = self
                .balancer
                .enter(|| run("conntrack", &["-L", "-p", "tcp", "--dport", "80"]));
            tracked.is_empty().then_some(())
        });
    }

    /// Something that has nothing to do with it, so that every capture goes on for a while.
    pub fn go_on(&self) {
        // That while is a part of the scene.
        std::thread::sleep(Duration::from_millis(300));
        let aside: SocketAddr = ASIDE.parse().unwrap();
        let listener = self.server.enter(|| TcpListener::bind(aside).unwrap());
        let mut near = self
            .client
            .enter(|| TcpStream::connect_timeout(&aside, LIMIT).unwrap());
        let (mut far, _) = listener.accept().unwrap();
        say(&mut near, &mut far, b"something else");
        drop(near);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        drop(far);
    }

    /// Path of a capture.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pcap"))
    }

    /// The capture again, its clock ahead by so many seconds, under another name.
    pub fn shift(&self, name: &str, seconds: &str, shifted: &str) {
        let [from, to] = [name, shifted].map(|name| self.path(name).display().to_string());
        run("editcap", &["-t", seconds, "-F", "pcap", &from, &to]);
    }

    /// What these captures say together.
    pub fn compare(&self, names: &[&str]) -> Comparison {
        let digests = names.iter().map(|name| digest(&self.path(name), name));
        compare::compare(digests.collect(), &[])
    }
}

/// Reads a capture.
pub fn digest(path: &Path, name: &str) -> Digest {
    let mut reader = Reader::open(path).unwrap();
    let mut digest = Digest::new(name);
    while let Some(segment) = reader.next().unwrap() {
        digest.see(&segment);
    }
    digest.ended(&reader.counts());
    digest
}

/// Sends, and waits until it is there.
pub fn say(from: &mut TcpStream, to: &mut TcpStream, words: &[u8]) {
    from.write_all(words).unwrap();
    let mut came = vec![0; words.len()];
    to.read_exact(&mut came).unwrap();
    assert_eq!(came, words);
}

/// Captures being made.
pub struct Captures {
    running: Vec<(PathBuf, Started)>,
}

impl Captures {
    /// Ends them once they have the last segment of [`Lab::go_on`], and waits until all is written.
    pub fn end(self) {
        let aside: SocketAddr = ASIDE.parse().unwrap();
        for (path, mut capture) in self.running {
            eventually(&format!("the last segment in {}", path.display()), || {
                let mut reader = Reader::open(&path).ok()?;
                while let Ok(Some(segment)) = reader.next() {
                    if segment.source == aside && segment.flags.has(TcpFlags::FIN) {
                        return Some(());
                    }
                }
                None
            });
            let pid = Pid::from_raw(capture.0.id().cast_signed());
            kill(pid, Signal::SIGINT).unwrap();
            capture.0.wait().unwrap();
        }
    }
}

/// A program, killed when dropped.
pub struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn capture(interface: &str, path: &Path) -> Started {
    let mut command = Command::new("tcpdump");
    command.args([
        "-Z",
        "root",
        "--immediate-mode",
        // Immediate mode has room for as many packets as the longest fit into the buffer: eight by default.
        "-s",
        "4096",
        "-B",
        "8192",
        "-U",
        "-n",
        "-i",
        interface,
        "-w",
    ]);
    command.arg(path).arg("tcp");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = |line: String| line.contains("listening on");
    assert!(lines.by_ref().map_while(Result::ok).any(listens));
    // Read on, or it would stop where its last words fit nowhere.
    std::thread::spawn(move || lines.count());
    Started(child)
}

fn wire(a: &Namespace, of_a: (&str, &str), b: &Namespace, of_b: (&str, &str)) {
    a.enter(|| {
        let ends = [
            "link",
            "add",
            of_a.0,
            "type",
            "veth",
            "peer",
            "name",
            of_b.0,
            "netns",
            b.name(),
        ];
        run("ip", &ends);
    });
    for (namespace, (interface, address)) in [(a, of_a), (b, of_b)] {
        namespace.enter(|| {
            run("ip", &["address", "add", address, "dev", interface]);
            run("ip", &["link", "set", interface, "up"]);
        });
    }
}

fn route(namespace: &Namespace, to: &str, via: &str) {
    namespace.enter(|| run("ip", &["route", "add", to, "via", via]));
}

fn forwards(namespace: &Namespace) {
    namespace.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
}
