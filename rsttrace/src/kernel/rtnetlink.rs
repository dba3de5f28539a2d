//! rtnetlink requests and notifications for interfaces and filters.
//!
//! Only the few attributes that are needed are looked at, so that a kernel's new ones cannot break the reading.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{bind, connect, send, socket};

use super::sys;

/// Largest datagram the kernel sends for a dump (net/netlink/af_netlink.c).
pub const DATAGRAM: usize = 32 * 1024;
const HEADER_LEN: usize = 16;
const IFINFO_LEN: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NEW_NETNSID: u16 = 45;
/// `1 << (RTNLGRP_LINK - 1)`
const RTMGRP_LINK: u32 = 1;
/// `1 << (RTNLGRP_NSID - 1)`
const RTMGRP_NSID: u32 = 1 << 27;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
/// The top bits of an attribute's type are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A request under construction.
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// `header` is the fixed part that the kind of message begins with.
    pub fn new(kind: u16, flags: i32, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        put(&mut bytes, 4, &kind.to_ne_bytes());
        put(
            &mut bytes,
            6,
            &((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes(),
        );
        bytes.extend_from_slice(header);
        Self { bytes }
    }

    /// All interfaces, without their statistics.
    pub fn links() -> Self {
        Self::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; IFINFO_LEN])
            .attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
    }

    /// Adds an attribute; `value` may be attributes itself.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        push_attribute(&mut self.bytes, kind, value);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        put(&mut self.bytes, 0, &len.to_ne_bytes());
        put(&mut self.bytes, 8, &sequence.to_ne_bytes());
        self.bytes
    }
}

/// Appends an attribute, padded to words of 4 bytes.
pub fn push_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(slot) = bytes.get_mut(at..at + value.len()) {
        slot.copy_from_slice(value);
    }
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `RTM_` or `NLMSG_` constant.
    pub kind: u16,
    /// `NLM_F_` flags.
    pub flags: u16,
    /// That of the request, 0 for notifications.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages of a datagram, up to the first that is damaged.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(bytes, 0)? as usize;
        let body = bytes.get(HEADER_LEN..len)?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            body,
        };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The attributes in `bytes`, up to the first that is damaged.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = u16_at(bytes, 0)? as usize;
        let value = bytes.get(4..len)?;
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// Text of an attribute, without its NUL.
pub fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or(value)).into_owned()
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
    /// Packets can pass.
    pub is_up: bool,
    /// It is on its way into another namespace.
    pub moves: bool,
}

/// Reads `RTM_NEWLINK` and `RTM_DELLINK`. `None` for damaged ones and for a bridge's notes about its ports, which
/// come as links of another family.
pub fn link(body: &[u8]) -> Option<Link> {
    if *body.first()? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let mut link = Link {
        ifindex: u32_at(body, 4)?,
        link_type: u16_at(body, 2)?,
        name: String::new(),
        is_up: u32_at(body, 8)? & libc::IFF_UP as u32 != 0,
        moves: false,
    };
    for (kind, value) in attributes(body.get(IFINFO_LEN..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
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

    /// Sends a request and waits until it is done.
    pub fn request(&mut self, request: Request) -> io::Result<()> {
        self.ask(request, |_, _| {})
    }

    /// Sends a request and gives each answer's kind and body to `each` until it is done.
    pub fn ask(&mut self, mut request: Request, each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let flags = u16_at(&request.bytes, 6).unwrap_or(0) | libc::NLM_F_ACK as u16;
        put(&mut request.bytes, 6, &flags.to_ne_bytes());
        self.exchange(request, each).map(drop)
    }

    /// Sends a request for a dump and gives each answer's kind and body to `each`. `Ok(false)`: things changed
    /// meanwhile, the dump may have holes.
    pub fn dump(&mut self, request: Request, each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        self.exchange(request, each)
    }

    fn exchange(&mut self, request: Request, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        send(
            self.socket.as_raw_fd(),
            &request.finish(self.sequence),
            MsgFlags::empty(),
        )?;
        let mut is_whole = true;
        loop {
            let (len, _) = sys::receive(self.socket.as_fd(), &mut self.buffer, 0)?;
            let datagram = self
                .buffer
                .get(..len)
                .ok_or_else(|| io::Error::other("a netlink answer was cut off"))?;
            for message in messages(datagram).filter(|message| message.sequence == self.sequence) {
                is_whole &= i32::from(message.flags) & libc::NLM_F_DUMP_INTR == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(is_whole),
                    libc::NLMSG_ERROR => {
                        // struct nlmsgerr: a negative errno, 0 for success.
                        return match u32_at(message.body, 0).map(|code| code as i32) {
                            Some(0) => Ok(is_whole),
                            Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                            None => Err(io::Error::other("a netlink answer was damaged")),
                        };
                    }
                    _ => each(message.kind, message.body),
                }
            }
        }
    }
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
    /// It went.
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
                        if let Some(notice) = notice(message) {
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

fn notice(message: Message<'_>) -> Option<Notice> {
    match message.kind {
        libc::RTM_NEWLINK => link(message.body).map(Notice::Link),
        libc::RTM_DELLINK => link(message.body).map(Notice::Gone),
        libc::RTM_DELNSID => namespace_id(message.body).map(Notice::NamespaceGone),
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
    let fd = namespace.as_raw_fd().to_ne_bytes();
    let request = Request::new(libc::RTM_NEWNSID, 0, &[0; 4])
        .attribute(NETNSA_NSID, &wanted.to_ne_bytes())
        .attribute(NETNSA_FD, &fd);
    match connection.request(request) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        result => return result.map(|()| wanted),
    }
    let mut id = None;
    let request = Request::new(libc::RTM_GETNSID, 0, &[0; 4]).attribute(NETNSA_FD, &fd);
    connection.ask(request, |_, body| id = id.or_else(|| namespace_id(body)))?;
    id.filter(|id| *id >= 0)
        .ok_or_else(|| io::Error::other("the kernel returned no id"))
}

/// Reads `RTM_NEWNSID` and `RTM_DELNSID`.
fn namespace_id(body: &[u8]) -> Option<i32> {
    let (_, value) = attributes(body.get(4..)?).find(|(kind, _)| *kind == NETNSA_NSID)?;
    u32_at(value, 0).map(|id| id as i32)
}

fn open(groups: u32, flags: SockFlag) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkRoute,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// Reads a native-order number, `None` beyond the end.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// Reads a native-order number, `None` beyond the end.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn new_link(family: u8) -> Vec<u8> {
        let mut header = [0; IFINFO_LEN];
        header[0] = family;
        header[2..4].copy_from_slice(&772u16.to_ne_bytes());
        header[4..8].copy_from_slice(&7u32.to_ne_bytes());
        header[8..12].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        Request::new(libc::RTM_NEWLINK, 0, &header)
            .attribute(IFLA_IFNAME, b"lo\0")
            .attribute(1 << 15 | 9, &[1])
            .finish(5)
    }

    #[test]
    fn a_link_is_read_back() {
        let bytes = [new_link(0), new_link(libc::AF_BRIDGE as u8)].concat();
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(
            (all.len(), all[0].kind, all[0].sequence),
            (2, libc::RTM_NEWLINK, 5)
        );
        let expected = Link {
            ifindex: 7,
            link_type: 772,
            name: "lo".to_owned(),
            is_up: true,
            moves: false,
        };
        assert_eq!(link(all[0].body), Some(expected));
        assert_eq!(link(all[1].body), None);
    }

    #[test]
    fn this_namespace_has_a_loopback_interface() {
        let mut names = Vec::new();
        let whole =
            Connection::open()
                .expect("well formed")
                .dump(Request::links(), |kind, body| {
                    assert_eq!(kind, libc::RTM_NEWLINK);
                    names.push(link(body).expect("well formed"));
                });
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
            let link_bytes = new_link(0);
            bytes.splice(0..0, link_bytes.into_iter().take(cut));
            for message in messages(&bytes) {
                let _ = link(message.body);
                let _ = attributes(message.body).count();
            }
        }
    }
}
