//! Where do floods run: two namespaces with a veth pair between them, and two networks on it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use super::{LIMIT, Namespace, Watch, netns_inode, run};

/// Clients' end and servers' end.
pub struct Link {
    /// Connects and floods.
    pub near: Namespace,
    /// Listens.
    pub far: Namespace,
}

/// Addresses of the near end, and what the far end has in the same networks.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
/// As above.
pub const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 2);
/// The second network.
pub const NEAR_TOO: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 1);
/// As above.
pub const FAR_TOO: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 2);

const NEAR_INTERFACE: &str = "near";
const FAR_INTERFACE: &str = "far";

impl Link {
    /// Makes both. Answers to sources that do not exist go to the near end, and no further.
    pub fn new() -> Self {
        let link = Self {
            near: Namespace::new(),
            far: Namespace::new(),
        };
        for namespace in [&link.near, &link.far] {
            namespace.enter(|| {
                // So that the sums do not depend on how often it is retransmitted.
                for (name, value) in [
                    ("conf/all/rp_filter", "0"),
                    ("conf/default/rp_filter", "0"),
                    ("ip_forward", "0"),
                    ("ip_local_port_range", "20000 60999"),
                ] {
                    std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value).unwrap();
                }
            });
        }
        link.near.enter(|| {
            let far = link.far.name();
            let ends = [
                "link",
                "add",
                NEAR_INTERFACE,
                "type",
                "veth",
                "peer",
                "name",
            ];
            run("ip", &[&ends[..], &[FAR_INTERFACE, "netns", far]].concat());
        });
        for (namespace, interface, addresses) in [
            (&link.near, NEAR_INTERFACE, [NEAR, NEAR_TOO]),
            (&link.far, FAR_INTERFACE, [FAR, FAR_TOO]),
        ] {
            namespace.enter(|| {
                for address in addresses {
                    let address = format!("{address}/24");
                    run("ip", &["address", "add", &address, "dev", interface]);
                }
                run("ip", &["link", "set", interface, "up"]);
            });
        }
        let near = NEAR.to_string();
        link.far
            .enter(|| run("ip", &["route", "add", "default", "via", &near]));
        link
    }

    /// Their inode numbers, the near end's first.
    pub fn inodes(&self) -> [u32; 2] {
        [&self.near, &self.far].map(|namespace| namespace.enter(netns_inode))
    }

    /// Starts it and waits until it sees both ends.
    pub fn watch(&self, arguments: &[&str]) -> Watch {
        let watch = Watch::start_unready(arguments);
        self.near.enter(|| watch.await_classifiers(NEAR_INTERFACE));
        self.far.enter(|| watch.await_classifiers(FAR_INTERFACE));
        watch
    }

    /// A listener of the far end.
    pub fn listen(&self, at: SocketAddr) -> TcpListener {
        self.far.enter(|| TcpListener::bind(at).unwrap())
    }
}

/// Both ends of a connection to a listener elsewhere, the client's first, from this address in the calling thread's
/// namespace.
pub fn connected_from(from: SocketAddr, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    client.bind(&from.into()).unwrap();
    let to = listener.local_addr().unwrap();
    client.connect(&to.into()).unwrap();
    let client = TcpStream::from(client);
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_read_timeout(Some(LIMIT)).unwrap();
    }
    (client, server)
}
