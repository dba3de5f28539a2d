//! What did really go over the wire, as a packet socket in the namespace saw it?

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::demo::segment::{Pattern, Segment};
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
        let mut frame = [0_u8; 2048];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::ETIMEDOUT.into());
            }
            self.socket.set_read_timeout(Some(left.max(SHORTEST)))?;
            let length = match self.socket.read(&mut frame) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            match frame.get(..length).and_then(Segment::from_frame) {
                Some(segment) if pattern.fits(&segment) => return Ok(segment),
                Some(segment) => self.passed_over.push(segment),
                None => {}
            }
        }
    }
}

const BUFFER_BYTES: i32 = 8 << 20;
const SHORTEST: Duration = Duration::from_millis(1);
