//! Packet capture of all interfaces at each place, to files.
//!
//! As `tcpdump -i any -s 128 -w FILE` writes them, but begun before this returns and ended after all that was sent has been
//! read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::LinkAddr;
use socket2::{Socket, Type};

use super::capture;
use super::error::StageError;
use super::lab::{Lab, Place};

/// Running captures.
#[derive(Debug)]
pub struct Taps {
    threads: Vec<JoinHandle<io::Result<()>>>,
    enough: Arc<AtomicBool>,
}

impl Taps {
    /// Captures in all places of the lab from now on.
    pub fn start(lab: &Lab, folder: &Path) -> Result<Self, StageError> {
        let mut taps = Self {
            threads: Vec::new(),
            enough: Arc::default(),
        };
        for place in [Place::Client, Place::Router, Place::Server] {
            let file = folder.join(file_name(place));
            let failed = |error| StageError::Failed(format!("capture at {place:?}: {error}"));
            let tap = lab.namespace(place).enter(|| Tap::open(&file));
            let tap = tap.flatten().map_err(failed)?;
            let enough = Arc::clone(&taps.enough);
            taps.threads.push(thread::spawn(move || tap.run(&enough)));
        }
        Ok(taps)
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
    /// In the calling thread's namespace.
    fn open(file: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(file)?);
        file.write_all(&file_header())?;
        let socket = capture::open(Type::DGRAM)?;
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

    /// Writes the next packet to the file.
    fn packet(&mut self) -> nix::Result<()> {
        let mut bytes = [0_u8; SNAPLEN];
        let packet = capture::receive(self.socket.as_fd(), &mut bytes)?;
        let (Some(time), Some(from)) = (packet.time, packet.link) else {
            return Ok(());
        };
        let length = packet.length;
        let is_loopback = from.hatype() == libc::ARPHRD_LOOPBACK;
        // libpcap, too, takes a packet of the loopback device once, when it comes in.
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
/// How long to wait for a packet before checking whether to end.
const PATIENCE: Duration = Duration::from_millis(50);
