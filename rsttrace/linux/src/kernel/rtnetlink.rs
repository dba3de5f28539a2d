//! rtnetlink requests and notifications: interfaces, ids of network namespaces, filters.
//!
//! Requests are messages of netlink-packet-route. Of an answer only the attributes that are needed are parsed, each by
//! itself: one that a future kernel adds or changes hides neither the others nor the interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{
    Emitable as _, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlaBuffer,
    NlasIterator, Parseable as _,
};
use netlink_packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkMessage,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidHeader, NsidMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::{AddressFamily as Family, NetlinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{MsgFlags, bind, connect, send, socket};

use super::sys;

/// Largest datagram the kernel sends for a dump (net/netlink/af_netlink.c).
const DATAGRAM: usize = 32 * 1024;
const IFLA_IFNAME: u16 = 3;
const IFLA_NEW_NETNSID: u16 = 45;
/// `1 << (RTNLGRP_LINK - 1)`
const RTMGRP_LINK: u32 = 1;
/// `1 << (RTNLGRP_NSID - 1)`
const RTMGRP_NSID: u32 = 1 << 27;

/// A request for all interfaces, without their statistics.
pub fn links() -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    RouteNetlinkMessage::GetLink(message)
}

/// The messages of a datagram, up to the first that is damaged.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let len = message.length() as usize;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The attributes behind a message's header of `header_len` bytes, or within an attribute; up to the first that is damaged.
pub fn attributes(body: &[u8], header_len: usize) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(body.get(header_len..).unwrap_or(&[])).map_while(|attribute| {
        attribute
            .inspect_err(|error| log::debug!("a damaged netlink attribute: {error}"))
            .ok()
    })
}

/// Text of an attribute, without its NUL.
pub fn text(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or(value);
    String::from_utf8_lossy(text).into_owned()
}

/// What a message says of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index in its namespace.
    pub ifindex: u32,
    /// Link type, an `ARPHRD_` constant.
    pub link_type: u16,
    /// Empty if the message does not say.
    pub name: String,
    pub is_up: bool,
    /// It is on its way into another namespace.
    pub moves: bool,
}

/// Reads `RTM_NEWLINK` and `RTM_DELLINK`. `None` for damaged ones and for a bridge's notes about its ports, which
/// come as links of another family.
pub fn link(body: &[u8]) -> Option<Link> {
    let header = LinkHeader::parse(body)
        .inspect_err(|error| log::debug!("an interface left out: {error}"))
        .ok()?;
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut link = Link {
        ifindex: header.index,
        link_type: header.link_layer_type.into(),
        name: String::new(),
        is_up: header.flags.contains(LinkFlags::Up),
        moves: false,
    };
    for attribute in attributes(body, header.buffer_len()) {
        match attribute.kind() {
            // By hand: it need not be UTF-8.
            IFLA_IFNAME => link.name = text(attribute.value()),
            IFLA_NEW_NETNSID => link.moves = true,
            _ => {}
        }
    }
    Some(link)
}

/// A socket for requests, in the network namespace that the thread was in when it was made.
pub struct Connection {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens it; answers that take longer than a few seconds are an error.
    pub fn open() -> io::Result<Self> {
        let socket = open(0, SockFlag::empty())?;
        socket2::SockRef::from(&socket).set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Cookie of its namespace, `None` before 5.14.
    pub fn netns_cookie(&self) -> Option<u64> {
        sys::netns_cookie(self.socket.as_fd()).ok()
    }

    /// Sends a request and waits until it is done. `flags`: additional `NLM_F_` flags.
    pub fn request(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(request, flags, |_| {})
    }

    /// Sends a request and gives the body of each answer to `each` until it is done.
    pub fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.exchange(request, flags | NLM_F_ACK, each).map(drop)
    }

    /// Sends a request for a dump and gives the body of each answer to `each`. `Ok(false)`: things changed
    /// meanwhile, the dump may have holes.
    pub fn dump(
        &mut self,
        request: RouteNetlinkMessage,
        each: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        self.exchange(request, NLM_F_DUMP, each)
    }

    fn exchange(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let request = serialized(request, NLM_F_REQUEST | flags, self.sequence);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut is_whole = true;
        loop {
            let (len, _) = sys::receive(self.socket.as_fd(), &mut self.buffer, 0)?;
            let datagram = self
                .buffer
                .get(..len)
                .ok_or_else(|| io::Error::other("a netlink answer was cut off"))?;
            for message in messages(datagram) {
                if message.sequence_number() != self.sequence {
                    continue;
                }
                is_whole &= message.flags() & NLM_F_DUMP_INTR == 0;
                match message.message_type() {
                    NLMSG_DONE => return Ok(is_whole),
                    NLMSG_ERROR => {
                        let outcome = ErrorBuffer::new_checked(message.payload())
                            .map_err(io::Error::other)?;
                        return match outcome.code() {
                            None => Ok(is_whole),
                            Some(code) => {
                                Err(io::Error::from_raw_os_error(code.get().saturating_neg()))
                            }
                        };
                    }
                    _ => each(message.payload()),
                }
            }
        }
    }
}

fn serialized(request: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Told of what happens to interfaces, in its own namespace or in all that were announced to it.
pub struct Listener {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What a [`Listener`] heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An interface came up, changed or was renamed.
    Link(Link),
    Gone(Link),
    /// The namespace with this id ended.
    NamespaceGone(i32),
    /// More happened than the socket could hold: look again.
    Missed,
}

impl Listener {
    /// Opens it in the calling thread's namespace. `everywhere`: also hears of other namespaces that have an id there
    /// (needs CAP_NET_BROADCAST).
    pub fn open(everywhere: bool) -> io::Result<Self> {
        let socket = open(RTMGRP_LINK | RTMGRP_NSID, SockFlag::SOCK_NONBLOCK)?;
        // The default holds some hundred notices; a burst of new containers makes more.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20);
        if everywhere {
            sys::listen_everywhere(socket.as_fd())?;
        }
        Ok(Self {
            socket,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Gives everything that is there to `each`, with the id of the namespace it comes from; `None`: its own.
    pub fn drain(&mut self, mut each: impl FnMut(Option<i32>, Notice)) {
        loop {
            match sys::receive(self.socket.as_fd(), &mut self.buffer, libc::MSG_DONTWAIT) {
                Ok((len, namespace)) => {
                    let Some(datagram) = self.buffer.get(..len) else {
                        each(None, Notice::Missed);
                        continue;
                    };
                    for message in messages(datagram) {
                        if let Some(notice) = notice(&message) {
                            each(namespace, notice);
                        }
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    each(None, Notice::Missed)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn notice(message: &NetlinkBuffer<&[u8]>) -> Option<Notice> {
    let body = message.payload();
    match message.message_type() {
        libc::RTM_NEWLINK => link(body).map(Notice::Link),
        libc::RTM_DELLINK => link(body).map(Notice::Gone),
        libc::RTM_DELNSID => namespace_id(body).map(Notice::NamespaceGone),
        _ => None,
    }
}

/// Gives the namespace behind a descriptor an id in the connection's namespace, so that a listener there hears of it;
/// the id it has, if it has one already. The id goes with either namespace and keeps neither alive.
pub fn announce(
    connection: &mut Connection,
    namespace: BorrowedFd<'_>,
    wanted: i32,
) -> io::Result<i32> {
    let fd = NsidAttribute::Fd(namespace.as_raw_fd() as u32);
    let message = |attributes| {
        let mut message = NsidMessage::default();
        message.attributes = attributes;
        message
    };
    let request = message(vec![NsidAttribute::Id(wanted), fd.clone()]);
    match connection.request(RouteNetlinkMessage::NewNsId(request), 0) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        result => return result.map(|()| wanted),
    }
    let mut id = None;
    let request = RouteNetlinkMessage::GetNsId(message(vec![fd]));
    connection.ask(request, 0, |body| id = id.or_else(|| namespace_id(body)))?;
    id.filter(|id| *id >= 0)
        .ok_or_else(|| io::Error::other("the kernel returned no id"))
}

/// Reads `RTM_NEWNSID` and `RTM_DELNSID`.
fn namespace_id(body: &[u8]) -> Option<i32> {
    let header = NsidHeader::parse(body).ok()?;
    attributes(body, header.buffer_len()).find_map(|attribute| {
        match NsidAttribute::parse(&attribute) {
            Ok(NsidAttribute::Id(id)) => Some(id),
            _ => None,
        }
    })
}

fn open(groups: u32, flags: SockFlag) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    let socket = socket(
        Family::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkRoute,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;
    use proptest::prelude::*;

    use super::*;

    /// An interface with an attribute that a future kernel may have, or may have changed: damaged where this kernel has it.
    fn new_link(family: AddressFamily) -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.header.interface_family = family;
        message.header.link_layer_type = libc::ARPHRD_LOOPBACK.into();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::Other(DefaultNla::new(4, vec![1])),
            LinkAttribute::Other(DefaultNla::new(1 << 15 | 0x3000, vec![1, 2, 3])),
            LinkAttribute::IfName("lo".to_owned()),
        ];
        serialized(RouteNetlinkMessage::NewLink(message), 0, 5)
    }

    #[test]
    fn a_link_is_read_back_whatever_else_it_has() {
        let bytes = [
            new_link(AddressFamily::Unspec),
            new_link(AddressFamily::Bridge),
        ]
        .concat();
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].message_type(), libc::RTM_NEWLINK);
        assert_eq!(all[0].sequence_number(), 5);
        // The library's own parser refuses the message.
        assert!(LinkMessage::parse(all[0].payload()).is_err());
        let expected = Link {
            ifindex: 7,
            link_type: 772,
            name: "lo".to_owned(),
            is_up: true,
            moves: false,
        };
        assert_eq!(link(all[0].payload()), Some(expected));
        assert_eq!(link(all[1].payload()), None);
    }

    #[test]
    fn this_namespace_has_a_loopback_interface() {
        let mut names = Vec::new();
        let whole = Connection::open()
            .expect("well formed")
            .dump(links(), |body| names.push(link(body).expect("well formed")));
        assert!(whole.is_ok());
        assert!(
            names
                .iter()
                .any(|link| link.name == "lo" && link.link_type == libc::ARPHRD_LOOPBACK)
        );
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_to_an_end(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..120) {
            let link_bytes = new_link(AddressFamily::Unspec);
            bytes.splice(0..0, link_bytes.into_iter().take(cut));
            for message in messages(&bytes) {
                let _ = notice(&message);
                let _ = link(message.payload());
                let _ = namespace_id(message.payload());
            }
        }
    }
}
