//! Packet capture of all interfaces of the calling thread's network namespace, in both directions.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::segment::{Pattern, Segment};
use crate::sys;
use crate::wait::LIMIT;

/// A running capture of TCP segments.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    /// Captured while waiting for another segment.
    passed_over: Vec<Segment>,
}

impl Capture {
    /// Captures from now on.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            socket: open()?,
            passed_over: Vec::new(),
        })
    }

    /// The first segment that fits and was not returned yet; ETIMEDOUT if none comes in time.
    pub fn wait(&mut self, pattern: &Pattern) -> io::Result<Segment> {
        let seen = |segment: &Segment| pattern.fits(segment);
        if let Some(index) = self.passed_over.iter().position(seen) {
            return Ok(self.passed_over.remove(index));
        }
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::ETIMEDOUT.into());
            }
            self.socket.set_read_timeout(Some(left.max(SHORTEST)))?;
            match self.read() {
                Ok(Some(segment)) if pattern.fits(&segment) => return Ok(segment),
                Ok(Some(segment)) => self.passed_over.push(segment),
                Ok(None) | Err(Errno::EAGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next packet; `None` if it is not a TCP segment.
    fn read(&self) -> nix::Result<Option<Segment>> {
        let mut bytes = [0_u8; 2048];
        let packet = receive(self.socket.as_fd(), &mut bytes)?;
        let kept = packet.length.min(bytes.len());
        let segment = bytes.get(..kept).and_then(Segment::from_packet);
        Ok(segment.map(|segment| Segment {
            captured: packet.time,
            ..segment
        }))
    }
}

/// A received packet, besides its bytes.
pub struct Packet {
    /// As sent; the buffer may have held less.
    pub length: usize,
    /// When it arrived, since the epoch.
    pub time: Option<Duration>,
    /// Interface and direction, of packet sockets.
    pub link: Option<LinkAddr>,
}

/// Opens a packet socket for all interfaces of this namespace, with arrival times. It gives packets without link-layer header.
pub fn open() -> io::Result<Socket> {
    let every_protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
    let protocol = Some(Protocol::from(every_protocol));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, protocol)?;
    // Seconds of other scenarios in the same namespace may come before the segment that is waited for.
    sys::set_socket_option(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        BUFFER_BYTES,
    )?;
    stamp_arrivals(socket.as_fd())?;
    await_stamps()?;
    Ok(socket)
}

pub fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> nix::Result<Packet> {
    let mut into = [IoSliceMut::new(into)];
    let mut control = nix::cmsg_space!(TimeSpec);
    let fd = socket.as_raw_fd();
    let received = recvmsg::<LinkAddr>(fd, &mut into, Some(&mut control), MsgFlags::MSG_TRUNC)?;
    let time = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    });
    Ok(Packet {
        length: received.bytes,
        time,
        link: received.address,
    })
}

fn stamp_arrivals(socket: BorrowedFd<'_>) -> io::Result<()> {
    sys::set_socket_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Waits until packets are stamped when they arrive. The kernel begins with that some time after the first socket of the
/// machine has asked for it (net_enable_timestamp() leaves it to a workqueue); until then a packet gets the time at which it is
/// read (__sock_recv_timestamp()).
fn await_stamps() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    stamp_arrivals(socket.as_fd())?;
    socket.set_read_timeout(Some(STAMPS_LIMIT))?;
    let begun = Instant::now();
    while begun.elapsed() < STAMPS_LIMIT {
        // It is there when this returns.
        socket.send_to(&[0], socket.local_addr()?)?;
        let arrived_by = SystemTime::now();
        while SystemTime::now() <= arrived_by {}
        let stamp = receive(socket.as_fd(), &mut [0])?.time;
        let arrived_by = arrived_by.duration_since(UNIX_EPOCH).unwrap_or_default();
        if stamp.is_some_and(|stamp| stamp <= arrived_by) {
            return Ok(());
        }
    }
    Err(Errno::ETIMEDOUT.into())
}

/// Far longer than it takes.
const STAMPS_LIMIT: Duration = Duration::from_secs(5);
const BUFFER_BYTES: i32 = 16 << 20;
const SHORTEST: Duration = Duration::from_millis(1);
