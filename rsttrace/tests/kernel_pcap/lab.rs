//! Connections captured at several places: client, balancer and server, each in its own namespace.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rsttrace::capture::Reader;
use rsttrace::compare::{self, Comparison, Digest};
use rsttrace::event::TcpFlags;
use rsttrace_lab::{Capture, Flags, Injector, Pattern, Segment};

use crate::kernel::{LIMIT, Namespace, Route, Started, connect, eventually, run};

/// The service's address, which the balancer has.
pub const VIP: &str = "198.51.100.2:80";
/// The server itself.
pub const SERVER: &str = "203.0.113.3:8080";
/// Where it listens for what is not balanced.
pub const ASIDE: &str = "203.0.113.3:9000";

/// Client – (router) – balancer – server.
pub struct Lab {
    client: Namespace,
    router: Option<Namespace>,
    pub balancer: Namespace,
    pub server: Namespace,
    folder: tempfile::TempDir,
}

impl Lab {
    /// With a router between client and balancer, or without.
    pub fn new(with_router: bool) -> Self {
        let Route {
            client,
            router: balancer,
            server,
        } = Route::new();
        let mut lab = Self {
            client,
            router: None,
            balancer,
            server,
            folder: tempfile::tempdir().unwrap(),
        };
        if with_router {
            lab.insert_router();
        }
        lab
    }

    /// Another client, one hop further away, takes the place of the first.
    fn insert_router(&mut self) {
        let (client, router) = (Namespace::new(), Namespace::new());
        self.balancer.enter(|| run("ip", &["link", "del", "bc"]));
        connect(
            (&client, "c0", "192.0.2.1/24"),
            (&router, "rc", "192.0.2.254/24"),
        );
        connect(
            (&router, "rb", "10.9.0.1/24"),
            (&self.balancer, "bc", "10.9.0.254/24"),
        );
        for (namespace, to, gateway) in [
            (&client, "0.0.0.0/0", "192.0.2.254"),
            (&router, "0.0.0.0/0", "10.9.0.254"),
            (&self.balancer, "192.0.2.0/24", "10.9.0.1"),
        ] {
            let (to, gateway) = (to.parse().unwrap(), gateway.parse().unwrap());
            namespace.add_route(to, gateway).unwrap();
        }
        router.set("ipv4/ip_forward", "1");
        self.client = client;
        self.router = Some(router);
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
        self.filter(&rules);
        // Unknown connections are not picked up again.
        self.balancer.set("netfilter/nf_conntrack_tcp_loose", "0");
    }

    /// Adds rules at the balancer.
    pub fn filter(&self, rules: &str) {
        self.balancer.enter(|| run("nft", &[rules]));
    }

    /// Where the server listens.
    pub fn listen(&self) -> TcpListener {
        self.server.enter(|| TcpListener::bind(SERVER).unwrap())
    }

    /// A client's connection through the balancer, and the server's end of it; data has gone each way.
    pub fn connect(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let (mut near, mut far) = self.connect_to(VIP, listener);
        say(
            &mut near,
            &mut far,
            b"a question that only this client asks",
        );
        say(&mut far, &mut near, b"and the answer to it");
        (near, far)
    }

    fn connect_to(&self, address: &str, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let address: SocketAddr = address.parse().unwrap();
        let near = self
            .client
            .enter(|| TcpStream::connect_timeout(&address, LIMIT).unwrap());
        let (far, _) = listener.accept().unwrap();
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.set_nodelay(true).unwrap();
        }
        (near, far)
    }

    /// At the client's next data, the router sends a RST with these TTLs to the server and to the client.
    pub fn forge_at_data(&self, near: &mut TcpStream, [to_server, to_client]: [u8; 2]) {
        let (client, service) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
        let router = self.router.as_ref().unwrap();
        let mut capture = router.enter(|| Capture::start().unwrap());
        let last = "the client's last data";
        near.write_all(last.as_bytes()).unwrap();
        let data = loop {
            let data = capture.wait(&Pattern::data(client, service)).unwrap();
            if data.payload == last.len() {
                break data;
            }
        };
        let after = data.seq.wrapping_add(data.payload as u32);
        let reset = |from, to, ttl, seq| Segment {
            ttl,
            ..Segment::new(from, to, Flags::RST).numbered(seq, 0)
        };
        router.enter(|| {
            let injector = Injector::new(client).unwrap();
            for segment in [
                reset(client, service, to_server, after),
                reset(service, client, to_client, data.ack),
            ] {
                injector.send(&segment).unwrap();
            }
        });
    }

    /// Captures at all places, in files of these names: at one interface and at all of them.
    pub fn capture(&self) -> Captures {
        let at = |namespace: &Namespace, interface: &str, name: &str| {
            let path = self.path(name);
            (path.clone(), namespace.enter(|| capture(interface, &path)))
        };
        Captures(vec![
            at(&self.client, "c0", "client"),
            at(&self.client, "any", "client-any"),
            at(&self.balancer, "bc", "balancer-front"),
            at(&self.balancer, "bs", "balancer-back"),
            at(&self.balancer, "any", "balancer"),
            at(&self.server, "s0", "server"),
            at(&self.server, "any", "server-any"),
        ])
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

    /// Waits until the server's host has sent this many resets.
    pub fn await_resets_of_server(&self, number: u64) {
        eventually("resets of the server's host", || {
            (self.server.counter("OutRsts").unwrap() >= number).then_some(())
        });
    }

    /// A connection that has nothing to do with the others, so that every capture goes on for a while.
    pub fn go_on(&self) {
        // That while is a part of the scene.
        std::thread::sleep(Duration::from_millis(300));
        let listener = self.server.enter(|| TcpListener::bind(ASIDE).unwrap());
        let (mut near, mut far) = self.connect_to(ASIDE, &listener);
        say(&mut near, &mut far, b"something else");
        drop(near);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
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

    /// What these captures show together.
    pub fn compare(&self, names: &[&str]) -> Comparison {
        let digests = names.iter().map(|name| digest(&self.path(name), name));
        compare::compare(digests.collect(), &[])
    }
}

fn digest(path: &Path, name: &str) -> Digest {
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

/// Running captures and their files.
pub struct Captures(Vec<(PathBuf, Started)>);

impl Captures {
    /// Ends them once they have the last segment of [`Lab::go_on`], and waits until all is written.
    pub fn end(self) {
        let aside: SocketAddr = ASIDE.parse().unwrap();
        for (path, mut capture) in self.0 {
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

fn capture(interface: &str, path: &Path) -> Started {
    // Immediate mode has room for as many packets as the longest fit into the buffer: eight by default.
    let options = "-Z root --immediate-mode -s 4096 -B 8192 -U -n";
    let mut command = Command::new("tcpdump");
    command
        .args(options.split(' '))
        .args(["-i", interface, "-w"]);
    command.arg(path).arg("tcp");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = |line: String| line.contains("listening on");
    assert!(lines.by_ref().map_while(Result::ok).any(listens));
    // It blocks if its last lines are not read.
    std::thread::spawn(move || lines.count());
    Started(child)
}
