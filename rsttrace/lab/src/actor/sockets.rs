//! Socket operations of an actor.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::protocol::{self, Answer, Sequence, SocketId, SocketOption, TcpState};
use crate::error::error_name;
use crate::sys;
use crate::wait::{LIMIT, poll, poll_for};

/// The sockets of an actor by their numbers.
#[derive(Default)]
pub struct Sockets {
    open: HashMap<SocketId, Socket>,
    last: SocketId,
}

impl Sockets {
    pub fn listen(
        &mut self,
        address: SocketAddr,
        backlog: i32,
        shared: bool,
    ) -> io::Result<Answer> {
        let socket = tcp(address)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        self.keep(socket)
    }

    pub fn connect(&mut self, from: Option<SocketAddr>, to: SocketAddr) -> io::Result<Answer> {
        let socket = bound(from, to)?;
        socket.connect_timeout(&to.into(), LIMIT)?;
        self.keep(socket)
    }

    pub fn start_connect(
        &mut self,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> io::Result<Answer> {
        let socket = bound(from, to)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => self.keep(socket),
        }
    }

    pub fn accept(&mut self, id: SocketId, limit: Duration) -> io::Result<Answer> {
        let listener = self.get(id)?;
        listener.set_nonblocking(true)?;
        let accepted = poll_for(limit, || match listener.accept() {
            Ok((socket, _)) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        });
        accepted.and_then(|socket| self.keep(socket))
    }

    pub fn send(&mut self, id: SocketId, bytes: &[u8]) -> io::Result<Answer> {
        let sent = self.get(id)?.send_with_flags(bytes, libc::MSG_NOSIGNAL)?;
        Ok(Answer::Number(sent as u64))
    }

    pub fn receive(&mut self, id: SocketId, bytes: usize) -> io::Result<Answer> {
        let mut socket = self.get(id)?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(LIMIT))?;
        let mut buffer = vec![0; bytes];
        let mut read = 0;
        while read < bytes {
            match socket.read(&mut buffer[read..])? {
                0 => break,
                more => read += more,
            }
        }
        Ok(Answer::Number(read as u64))
    }

    pub fn await_unread(&mut self, id: SocketId, bytes: usize) -> io::Result<Answer> {
        let socket = self.get(id)?;
        let unread = poll(|| {
            let unread = sys::unread_bytes(socket.as_fd())?;
            Ok((unread >= bytes).then_some(unread))
        })?;
        Ok(Answer::Number(unread as u64))
    }

    pub fn await_state(&mut self, id: SocketId, state: TcpState) -> io::Result<Answer> {
        let socket = self.get(id)?;
        poll(|| {
            let now = sys::tcp_state(socket.as_fd())?;
            Ok((now == state as u8).then_some(()))
        })?;
        Ok(Answer::Done)
    }

    pub fn await_error(&mut self, id: SocketId) -> io::Result<Answer> {
        let socket = self.get(id)?;
        let error = poll(|| socket.take_error())?;
        Ok(Answer::Text(error_name(&error)))
    }

    pub fn set(&mut self, id: SocketId, option: SocketOption) -> io::Result<Answer> {
        let socket = self.get(id)?;
        match option {
            SocketOption::Linger(seconds) => {
                socket.set_linger(Some(Duration::from_secs(seconds)))?;
            }
            SocketOption::Linger2(seconds) => sys::set_socket_option(
                socket.as_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_LINGER2,
                seconds,
            )?,
            SocketOption::KeepAlive {
                idle,
                interval,
                probes,
            } => socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(Duration::from_secs(idle))
                    .with_interval(Duration::from_secs(interval))
                    .with_retries(probes),
            )?,
            SocketOption::NoDelay => socket.set_tcp_nodelay(true)?,
            SocketOption::UserTimeout(milliseconds) => {
                socket.set_tcp_user_timeout(Some(Duration::from_millis(milliseconds)))?;
            }
            SocketOption::Ttl(hops) if socket.domain()? == Domain::IPV4 => {
                socket.set_ttl_v4(hops)?;
            }
            SocketOption::Ttl(hops) => socket.set_unicast_hops_v6(hops)?,
        }
        Ok(Answer::Done)
    }

    pub fn shutdown(&mut self, id: SocketId, how: Shutdown) -> io::Result<Answer> {
        self.get(id)?.shutdown(how)?;
        Ok(Answer::Done)
    }

    pub fn close(&mut self, id: SocketId) -> io::Result<Answer> {
        let socket = self.open.remove(&id).ok_or(Errno::EBADF)?;
        drop(socket);
        Ok(Answer::Done)
    }

    pub fn descriptor(&self, id: SocketId) -> io::Result<BorrowedFd<'_>> {
        self.get(id).map(AsFd::as_fd)
    }

    pub fn adopt(&mut self, descriptor: OwnedFd) -> io::Result<Answer> {
        self.keep(descriptor.into())
    }

    pub fn disconnect(&mut self, id: SocketId) -> io::Result<Answer> {
        sys::disconnect(self.get(id)?.as_fd())?;
        Ok(Answer::Done)
    }

    pub fn vanish(&mut self, id: SocketId) -> io::Result<Answer> {
        let socket = self.open.remove(&id).ok_or(Errno::EBADF)?;
        set_tcp(&socket, libc::TCP_REPAIR, REPAIR_ON)?;
        drop(socket);
        Ok(Answer::Done)
    }

    pub fn sequence(&mut self, id: SocketId) -> io::Result<Answer> {
        let socket = self.get(id)?;
        set_tcp(socket, libc::TCP_REPAIR, REPAIR_ON)?;
        let numbers = queue_sequence(socket, SEND_QUEUE)
            .and_then(|send| Ok((send, queue_sequence(socket, RECEIVE_QUEUE)?)));
        set_tcp(socket, libc::TCP_REPAIR, REPAIR_OFF_WITHOUT_PROBE)?;
        let (send, receive) = numbers?;
        let rtt = sys::tcp_info(socket.as_fd())?.rtt_us;
        Ok(Answer::Sequence(Sequence {
            send,
            receive,
            rtt: Duration::from_micros(rtt.into()),
        }))
    }

    fn get(&self, id: SocketId) -> io::Result<&Socket> {
        self.open.get(&id).ok_or_else(|| Errno::EBADF.into())
    }

    fn keep(&mut self, socket: Socket) -> io::Result<Answer> {
        let local = inet(&socket.local_addr()?)?;
        let remote = socket
            .peer_addr()
            .ok()
            .and_then(|address| address.as_socket());
        self.last += 1;
        self.open.insert(self.last, socket);
        Ok(Answer::Socket(protocol::Socket {
            id: self.last,
            local,
            remote,
        }))
    }
}

fn tcp(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
}

fn bound(from: Option<SocketAddr>, to: SocketAddr) -> io::Result<Socket> {
    let socket = tcp(to)?;
    if let Some(from) = from {
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
    }
    Ok(socket)
}

fn inet(address: &SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| Errno::EAFNOSUPPORT.into())
}

fn set_tcp(socket: &Socket, name: i32, value: i32) -> io::Result<()> {
    sys::set_socket_option(socket.as_fd(), libc::IPPROTO_TCP, name, value)
}

fn queue_sequence(socket: &Socket, queue: i32) -> io::Result<u32> {
    set_tcp(socket, libc::TCP_REPAIR_QUEUE, queue)?;
    let number = sys::socket_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ)?;
    Ok(number.cast_unsigned())
}

// include/uapi/linux/tcp.h
const REPAIR_ON: i32 = 1;
const REPAIR_OFF_WITHOUT_PROBE: i32 = -1;
const RECEIVE_QUEUE: i32 = 1;
const SEND_QUEUE: i32 = 2;
