//! Packet socket capture in the namespace of an actor.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::segment::{Pattern, Segment};
use crate::sys;

/// A running capture of all interfaces of this namespace, in both directions.
pub struct Capture {
    socket: Socket,
    /// Seen while something else was waited for.
    passed_over: Vec<Segment>,
}

impl Capture {
    /// Captures from now on.
    pub fn start() -> io::Result<Self> {
        let every_protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
        let socket = Socket::new(
            Domain::PACKET,
            Type::RAW,
            Some(Protocol::from(every_protocol)),
        )?;
        // A capture may wait for seconds while others stage theirs in the same namespace.
        sys::set_socket_option(
            socket.as_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            BUFFER_BYTES,
        )?;
        sys::set_socket_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        Ok(Self {
            socket,
            passed_over: Vec::new(),
        })
    }

    /// The first segment that fits and was not told of yet; ETIMEDOUT if none comes in time.
    pub fn wait(&mut self, pattern: &Pattern, limit: Duration) -> io::Result<Segment> {
        let seen = |segment: &Segment| pattern.fits(segment);
        if let Some(index) = self.passed_over.iter().position(seen) {
            return Ok(self.passed_over.remove(index));
        }
        let end = Instant::now() + limit;
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

    /// The next frame; `None` if it is no TCP segment.
    fn read(&self) -> nix::Result<Option<Segment>> {
        let mut frame = [0_u8; 2048];
        let mut into = [IoSliceMut::new(&mut frame)];
        let mut control = nix::cmsg_space!(TimeSpec);
        let fd = self.socket.as_raw_fd();
        let received = recvmsg::<()>(fd, &mut into, Some(&mut control), MsgFlags::empty())?;
        let captured = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let length = received.bytes;
        let segment = frame.get(..length).and_then(Segment::from_frame);
        Ok(segment.map(|segment| Segment {
            captured,
            ..segment
        }))
    }
}

const BUFFER_BYTES: i32 = 8 << 20;
const SHORTEST: Duration = Duration::from_millis(1);
