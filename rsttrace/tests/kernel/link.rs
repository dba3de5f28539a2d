//! The lab's link of two namespaces, under `rsttrace watch`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rsttrace_lab::link;

use super::{LIMIT, Namespace, Watch};

/// Clients' end and servers' end.
pub struct Link {
    /// Connects and floods.
    pub near: Namespace,
    /// Listens.
    pub far: Namespace,
}

pub const NEAR: Ipv4Addr = link::NEAR.address;
pub const FAR: Ipv4Addr = link::FAR.address;
pub const NEAR_TOO: Ipv4Addr = link::NEAR.second_address;
pub const FAR_TOO: Ipv4Addr = link::FAR.second_address;

impl Link {
    pub fn new() -> Self {
        let link = link::Link::new().unwrap();
        Self {
            near: link.near.into(),
            far: link.far.into(),
        }
    }

    /// Their inode numbers, the near end's first.
    pub fn inodes(&self) -> [u32; 2] {
        [self.near.inode(), self.far.inode()]
    }

    /// Starts it and waits until it sees both ends.
    pub fn watch(&self, arguments: &[&str]) -> Watch {
        let watch = Watch::start_unready(arguments);
        for (namespace, end) in [(&self.near, link::NEAR), (&self.far, link::FAR)] {
            namespace.enter(|| watch.await_classifiers(end.interface));
        }
        watch
    }

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
