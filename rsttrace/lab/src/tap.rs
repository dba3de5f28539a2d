//! Packet capture of all interfaces at each place, to files.
//!
//! As `tcpdump -i any -s 128 -w FILE` writes them, but begun before this returns and ended after all that was sent has been
//! read.

use std::fs::File;
use std::io::{self, BufWriter, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::error::StageError;
use super::lab::{Lab, Place};
use crate::sys;

/// Captures that run.
#[derive(Debug)]
pub struct Taps {
    threads: Vec<JoinHandle<io::Result<()>>>,
    enough: Arc<AtomicBool>,
}

impl Taps {
    /// Captures in all places of the lab from now on.
    pub fn start(lab: &Lab, folder: &Path) -> Result<Self, StageError> {
        let enough = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for place in [Place::Client, Place::Router, Place::Server] {
            let namespace = format!("/proc/{}/ns/net", lab.pid(place));
            let file = folder.join(file_name(place));
            let (ready, is_ready) = mpsc::channel();
            let enough = Arc::clone(&enough);
            threads.push(std::thread::spawn(move || {
                let tap = Tap::open(&namespace.into(), &file)?;
                // Without one who waits nothing is to be captured.
                let _ = ready.send(());
                tap.run(&enough)
            }));
            if is_ready.recv().is_err() {
                let error = threads.pop().map(JoinHandle::join);
                let why = match error {
                    Some(Ok(Err(error))) => error.to_string(),
                    _ => "its thread ended".to_owned(),
                };
                return Err(StageError::Failed(format!("capture at {place:?}: {why}")));
            }
        }
        Ok(Self { threads, enough })
    }

    /// Ends the captures once all that was sent so far is in the files.
    pub fn finish(mut self) -> io::Result<()> {
        self.enough.store(true, Ordering::Release);
        for thread in std::mem::take(&mut self.threads) {
            match thread.join() {
                Ok(ended) => ended?,
                Err(_) => return Err(io::Error::other("a thread that captures ended")),
            }
        }
        Ok(())
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Release);
    }
}

/// The capture of a place: `client.pcap`.
pub fn file_name(place: Place) -> String {
    format!("{place:?}.pcap").to_lowercase()
}

struct Tap {
    socket: Socket,
    file: BufWriter<File>,
}

impl Tap {
    /// Enters the namespace with the calling thread.
    fn open(namespace: &PathBuf, file: &Path) -> io::Result<Self> {
        setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
        let mut file = BufWriter::new(File::create(file)?);
        file.write_all(&file_header())?;
        let every_protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
        let protocol = Some(Protocol::from(every_protocol));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, protocol)?;
        let (level, on) = (libc::SOL_SOCKET, 1);
        sys::set_socket_option(socket.as_fd(), level, libc::SO_RCVBUFFORCE, BUFFER_BYTES)?;
        sys::set_socket_option(socket.as_fd(), level, libc::SO_TIMESTAMPNS, on)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, file })
    }

    fn run(mut self, enough: &AtomicBool) -> io::Result<()> {
        loop {
            // Asked before reading: what came until then is in the queue.
            let last = enough.load(Ordering::Acquire);
            match self.packet() {
                Ok(()) => {}
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if last => return self.file.flush(),
                Err(Errno::EAGAIN) => self.file.flush()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes the next packet down.
    fn packet(&mut self) -> nix::Result<()> {
        let mut bytes = [0_u8; SNAPLEN];
        let mut into = [IoSliceMut::new(&mut bytes)];
        let mut control = nix::cmsg_space!(TimeSpec);
        let fd = self.socket.as_raw_fd();
        let got = recvmsg::<LinkAddr>(fd, &mut into, Some(&mut control), MsgFlags::MSG_TRUNC)?;
        let time = got.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let (Some(time), Some(from)) = (time, got.address) else {
            return Ok(());
        };
        let length = got.bytes;
        let is_loopback = from.hatype() == libc::ARPHRD_LOOPBACK;
        // What leaves by the loopback device comes in by it: libpcap takes it once, too.
        if is_loopback && from.pkttype() == libc::PACKET_OUTGOING {
            return Ok(());
        }
        let kept = bytes.get(..length).unwrap_or(&bytes);
        let written = self.write(time, &from, length, kept);
        written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    fn write(
        &mut self,
        time: Duration,
        from: &LinkAddr,
        length: usize,
        kept: &[u8],
    ) -> io::Result<()> {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let number = |length: usize| u32::try_from(length + COOKED).unwrap_or(u32::MAX);
        for word in [
            seconds,
            time.subsec_nanos(),
            number(kept.len()),
            number(length),
        ] {
            self.file.write_all(&word.to_le_bytes())?;
        }
        // Linux cooked capture v2 (LINKTYPE_LINUX_SLL2).
        self.file.write_all(&from.protocol().to_ne_bytes())?;
        self.file.write_all(&[0; 2])?;
        let interface = u32::try_from(from.ifindex()).unwrap_or_default();
        self.file.write_all(&interface.to_be_bytes())?;
        self.file.write_all(&from.hatype().to_be_bytes())?;
        self.file.write_all(&[from.pkttype(), 6])?;
        self.file.write_all(&from.addr().unwrap_or_default())?;
        self.file.write_all(&[0; 2])?;
        self.file.write_all(kept)
    }
}

/// pcap with nanoseconds, little-endian.
fn file_header() -> Vec<u8> {
    let mut header = Vec::with_capacity(24);
    header.extend_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
    header.extend_from_slice(&2_u16.to_le_bytes());
    header.extend_from_slice(&4_u16.to_le_bytes());
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(&(SNAPLEN as u32 + COOKED as u32).to_le_bytes());
    header.extend_from_slice(&LINKTYPE_LINUX_SLL2.to_le_bytes());
    header
}

const LINKTYPE_LINUX_SLL2: u32 = 276;
/// Bytes of such a link-layer header.
const COOKED: usize = 20;
/// Headers, with options and a tunnel around them.
const SNAPLEN: usize = 128;
const BUFFER_BYTES: i32 = 16 << 20;
/// How long nothing may come before it is asked whether it is enough.
const PATIENCE: Duration = Duration::from_millis(50);
