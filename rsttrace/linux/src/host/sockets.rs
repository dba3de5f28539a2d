//! TCP sockets of this network namespace: listeners, connections, keepalive and owners.
//!
//! The list comes from sock_diag, as `ss` has it; it says of connections whether the keepalive timer runs. Of
//! listeners it does not: their option is read from a copy of the descriptor, where that is permitted.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
    Parseable,
};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags, Timer,
};
use netlink_packet_sock_diag::{SOCK_DIAG_BY_FAMILY, SockDiagMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::sockets::{AcceptQueue, Connection, Listener, Program, Sockets};
use crate::sys;

/// All that listen or are established. An error where the kernel has no sock_diag for TCP.
pub fn of_this_namespace() -> io::Result<Sockets> {
    let mut found = Vec::new();
    for (family, id) in [
        (libc::AF_INET, SocketId::new_v4()),
        (libc::AF_INET6, SocketId::new_v6()),
    ] {
        let states = StateFlags::ESTABLISHED | StateFlags::LISTEN;
        found.extend(dump(request(family as u8, id, states))?);
    }
    let holders = holders(&found.iter().map(|socket| socket.inode).collect());
    let mut sockets = Sockets::default();
    for socket in found {
        let has = holders.get(&socket.inode).map_or(&[][..], Vec::as_slice);
        let programs = has.iter().map(|held| held.program.clone()).collect();
        if socket.listens {
            sockets.listeners.push(Listener {
                local: socket.local,
                keepalive: has.iter().find_map(|held| held.keepalive(socket.inode)),
                queue: socket.queue,
                holders: programs,
            });
        } else {
            sockets.connections.push(Connection {
                local: socket.local,
                remote: socket.remote,
                keepalive: socket.next_probe.is_some(),
                next_probe: socket.next_probe,
                quiet: socket.quiet,
                silent: socket.silent,
                holders: programs,
            });
        }
    }
    Ok(sockets)
}

/// Those that listen: address, inode and accept queue.
pub(super) fn listeners_of_this_namespace() -> io::Result<Vec<(SocketAddr, u64, AcceptQueue)>> {
    let mut found = Vec::new();
    for (family, id) in [
        (libc::AF_INET, SocketId::new_v4()),
        (libc::AF_INET6, SocketId::new_v6()),
    ] {
        found.extend(dump(request(family as u8, id, StateFlags::LISTEN))?);
    }
    let found = found.into_iter();
    Ok(found.map(|it| (it.local, it.inode, it.queue)).collect())
}

/// What sock_diag says of one.
#[derive(Debug, PartialEq)]
struct Found {
    local: SocketAddr,
    remote: SocketAddr,
    inode: u64,
    listens: bool,
    /// Means nothing for connections.
    queue: AcceptQueue,
    /// Until its keepalive timer fires. Absent without one, and while another timer is shown in its place (data or
    /// probes on their way).
    next_probe: Option<Duration>,
    /// Absent for listeners, and while something is on its way.
    quiet: Option<Duration>,
    /// The same for answers to probes, too.
    silent: Option<Duration>,
}

/// `TCP_LISTEN` of include/net/tcp_states.h.
const LISTEN: u8 = 10;

fn dump(request: Vec<u8>) -> io::Result<Vec<Found>> {
    /// Larger than any datagram of a dump, which the kernel limits to 32 KiB.
    const DATAGRAM: usize = 1 << 16;
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
    socket.send(&request, 0)?;
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(DATAGRAM);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        if buffer.is_empty() || read(&buffer, &mut found)? {
            return Ok(found);
        }
    }
}

fn request(family: u8, socket_id: SocketId, states: StateFlags) -> Vec<u8> {
    let request = InetRequest {
        family,
        protocol: libc::IPPROTO_TCP as u8,
        extensions: ExtensionFlags::INFO | ExtensionFlags::SKMEMINFO,
        states,
        socket_id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Takes in one datagram; whether it was the last.
fn read(mut datagram: &[u8], found: &mut Vec<Found>) -> io::Result<bool> {
    const HEADER: usize = 16;
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    while let Some((header, _)) = datagram.split_at_checked(HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = datagram.get(HEADER..length).unwrap_or_default();
        match (kind, body) {
            (SOCK_DIAG_BY_FAMILY, body) => found.extend(socket(body)),
            (ERROR, &[a, b, c, d, ..]) => {
                let code = i32::from_ne_bytes([a, b, c, d]);
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            (DONE | ERROR, _) => return Ok(true),
            _ => {}
        }
        match datagram.get(length.max(HEADER).next_multiple_of(4)..) {
            Some(rest) => datagram = rest,
            None => break,
        }
    }
    Ok(false)
}

/// `SK_MEMINFO_DROPS` of the 32-bit words in it (include/uapi/linux/sock_diag.h): `sk_drops`.
const DROPS: usize = 8;

fn drops(memory: &[u8]) -> Option<u32> {
    let bytes = memory.get(DROPS * 4..DROPS * 4 + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// `struct inet_diag_msg` with its attributes; absent if it cannot be understood.
fn socket(body: &[u8]) -> Option<Found> {
    /// Size of `struct inet_diag_msg`.
    const FIXED: usize = 72;
    const INET_DIAG_INFO: u16 = 2;
    const INET_DIAG_SKMEMINFO: u16 = 7;
    let (fixed, attributes) = body.split_at_checked(FIXED)?;
    let header = InetResponseHeader::parse(fixed).ok()?;
    let id = &header.socket_id;
    let address = |address: std::net::IpAddr, port| SocketAddr::new(address.to_canonical(), port);
    let listens = header.state == LISTEN;
    let at_rest = matches!(header.timer, None | Some(Timer::KeepAlive(_)));
    let attribute = |kind| {
        let mut all = NlasIterator::new(attributes).filter_map(Result::ok);
        all.find(|attribute| attribute.kind() == kind)
    };
    let info = attribute(INET_DIAG_INFO);
    let memory = attribute(INET_DIAG_SKMEMINFO).filter(|_| listens);
    let rest = info.filter(|_| !listens && at_rest);
    Some(Found {
        local: address(id.source_address, id.source_port),
        remote: address(id.destination_address, id.destination_port),
        inode: header.inode.into(),
        listens,
        queue: AcceptQueue {
            length: header.recv_queue,
            limit: header.send_queue,
            dropped: memory.and_then(|memory| drops(memory.value())),
        },
        next_probe: match header.timer {
            Some(Timer::KeepAlive(left)) => Some(left),
            _ => None,
        },
        quiet: rest.as_ref().and_then(|info| quiet(info.value())),
        silent: rest.as_ref().and_then(|info| silent(info.value())),
    })
}

/// `tcpi_last_data_sent`, `tcpi_last_data_recv` and `tcpi_last_ack_recv` of `struct tcp_info`.
const SENT: usize = 44;
const RECEIVED: usize = 52;
const ACKNOWLEDGED: usize = 56;

/// Since data was last sent or received: `tcpi_last_data_sent` and `tcpi_last_data_recv` of `struct tcp_info`,
/// milliseconds. Absent if the kernel's struct is shorter.
fn quiet(info: &[u8]) -> Option<Duration> {
    Some(milliseconds(info, SENT)?.min(milliseconds(info, RECEIVED)?))
}

/// The same, and since the last answer to a probe.
fn silent(info: &[u8]) -> Option<Duration> {
    Some(quiet(info)?.min(milliseconds(info, ACKNOWLEDGED)?))
}

fn milliseconds(info: &[u8], at: usize) -> Option<Duration> {
    let bytes = info.get(at..at + 4)?.try_into().ok()?;
    Some(Duration::from_millis(u32::from_ne_bytes(bytes).into()))
}

/// A process that has a socket, and by which descriptor.
#[derive(Debug)]
struct Held {
    program: Program,
    fd: RawFd,
}

impl Held {
    /// SO_KEEPALIVE of the socket, if this process may be asked for it and still has it.
    fn keepalive(&self, inode: u64) -> Option<bool> {
        let process = sys::open_process(self.program.pid).ok()?;
        let copy = File::from(sys::copy_descriptor(process.as_fd(), self.fd).ok()?);
        if copy.metadata().ok()?.ino() != inode {
            return None;
        }
        let value = sys::socket_option(copy.as_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE);
        value.ok().map(|value| value != 0)
    }
}

/// Who has these sockets, by inode; in the order of process ids. Processes that are not ours to see have none. One
/// walk over all descriptors of all processes.
fn holders(inodes: &HashSet<u64>) -> HashMap<u64, Vec<Held>> {
    let mut found: HashMap<u64, Vec<Held>> = HashMap::new();
    if inodes.is_empty() {
        return found;
    }
    let mut pids: Vec<u32> = names(fs::read_dir("/proc"));
    pids.sort_unstable();
    for pid in pids {
        let mut comm = None;
        let directory = format!("/proc/{pid}/fd");
        for fd in names::<RawFd>(fs::read_dir(&directory)) {
            let Ok(target) = fs::read_link(format!("{directory}/{fd}")) else {
                continue;
            };
            let Some(inode) = target.to_str().and_then(socket_inode) else {
                continue;
            };
            if !inodes.contains(&inode) {
                continue;
            }
            let comm = comm.get_or_insert_with(|| {
                let name = fs::read(format!("/proc/{pid}/comm"));
                let name = name.unwrap_or_default();
                String::from_utf8_lossy(&name).trim_end().to_owned()
            });
            let holders = found.entry(inode).or_default();
            // A process may have it twice.
            if holders.last().is_none_or(|last| last.program.pid != pid) {
                let comm = comm.clone();
                let program = Program { pid, comm };
                holders.push(Held { program, fd });
            }
        }
    }
    found
}

/// The entries of a directory that are numbers.
fn names<T: std::str::FromStr>(directory: io::Result<fs::ReadDir>) -> Vec<T> {
    let entries = directory.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// `socket:[12345]`
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn our_own_sockets_are_found_with_their_settings_and_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        let socket = socket2::SockRef::from(&server);
        socket.set_keepalive(true).unwrap();
        let sockets = of_this_namespace().unwrap();
        let us = std::process::id();
        let is_ours = |programs: &[Program]| programs.iter().any(|program| program.pid == us);
        let found = sockets.listeners.iter().find(|it| it.local == address);
        let found = found.unwrap();
        // A test that forks shares it for a moment, so ours is one of the holders.
        assert!(is_ours(&found.holders));
        assert_ne!(found.keepalive, Some(true));
        let end = |local: SocketAddr| {
            let mut all = sockets.connections.iter();
            all.find(|it| it.local == local && it.remote != local)
        };
        let of_client = end(client.local_addr().unwrap()).unwrap();
        assert!(!of_client.keepalive && is_ours(&of_client.holders));
        assert!(of_client.quiet.unwrap() < Duration::from_secs(60));
        let of_server = sockets
            .connections
            .iter()
            .find(|it| it.local == address && it.remote == client.local_addr().unwrap());
        assert!(of_server.unwrap().keepalive);
    }

    #[test]
    fn a_refusal_and_the_end_are_understood_and_a_cut_answer_is_nothing() {
        let message = |kind: u16, body: &[u8]| {
            let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
            bytes
        };
        let mut found = Vec::new();
        let refused = read(&message(2, &(-2_i32).to_ne_bytes()), &mut found).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(2));
        assert!(read(&message(3, &[0; 4]), &mut found).unwrap());
        assert!(!read(&message(20, &[2; 40]), &mut found).unwrap());
        for length in 0..40 {
            let _ = read(&message(20, &[0xff; 100])[..length], &mut found);
        }
        assert_eq!(found, []);
    }

    #[test]
    fn a_short_tcp_info_has_no_idle_time() {
        let mut info = [0_u8; 60];
        info[44..48].copy_from_slice(&7000_u32.to_ne_bytes());
        info[52..56].copy_from_slice(&5000_u32.to_ne_bytes());
        assert_eq!(quiet(&info), Some(Duration::from_secs(5)));
        assert_eq!(quiet(&info[..54]), None);
    }

    #[test]
    fn only_sockets_have_an_inode_in_their_link() {
        assert_eq!(socket_inode("socket:[12]"), Some(12));
        assert_eq!(socket_inode("pipe:[12]"), None);
        assert_eq!(socket_inode("socket:[x]"), None);
    }
}
