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
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, TsResolution};
use socket2::Socket;

use super::capture::{self, Packet};
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
    file: PcapWriter<BufWriter<File>>,
}

impl Tap {
    /// In the calling thread's namespace.
    fn open(file: &Path) -> io::Result<Self> {
        let header = PcapHeader {
            snaplen: (SNAPLEN + COOKED) as u32,
            datalink: DataLink::LINUX_SLL2,
            ts_resolution: TsResolution::NanoSecond,
            ..PcapHeader::default()
        };
        let file = BufWriter::new(File::create(file)?);
        let file = PcapWriter::with_header(file, header).map_err(io::Error::other)?;
        let socket = capture::open()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, file })
    }

    fn run(mut self, enough: &AtomicBool) -> io::Result<()> {
        loop {
            // Read before the socket: packets that came until then are in its queue.
            let last = enough.load(Ordering::Acquire);
            let mut bytes = [0; SNAPLEN];
            match capture::receive(self.socket.as_fd(), &mut bytes) {
                Ok(packet) => self.write(&packet, &bytes)?,
                Err(Errno::EAGAIN) if last => return self.file.into_writer().flush(),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes a packet to the file, with a Linux cooked capture v2 header.
    fn write(&mut self, packet: &Packet, bytes: &[u8]) -> io::Result<()> {
        let (Some(time), Some(from)) = (packet.time, packet.link) else {
            return Ok(());
        };
        // libpcap, too, takes a packet of the loopback device once, when it comes in.
        let is_loopback = from.hatype() == libc::ARPHRD_LOOPBACK;
        if is_loopback && from.pkttype() == libc::PACKET_OUTGOING {
            return Ok(());
        }
        let interface = u32::try_from(from.ifindex()).unwrap_or_default();
        let mut data = Vec::with_capacity(COOKED + SNAPLEN);
        data.extend(from.protocol().to_ne_bytes());
        data.extend([0; 2]);
        data.extend(interface.to_be_bytes());
        data.extend(from.hatype().to_be_bytes());
        data.extend([from.pkttype(), 6]);
        data.extend(from.addr().unwrap_or_default());
        data.extend([0; 2]);
        data.extend(bytes.get(..packet.length).unwrap_or(bytes));
        let length = u32::try_from(packet.length + COOKED).unwrap_or(u32::MAX);
        let written = self
            .file
            .write_packet(&PcapPacket::new_owned(time, length, data));
        written.map(drop).map_err(io::Error::other)
    }
}

/// Bytes of the cooked header.
const COOKED: usize = 20;
/// Headers, with options and a tunnel around them.
const SNAPLEN: usize = 128;
/// How long to wait for a packet before checking whether to end.
const PATIENCE: Duration = Duration::from_millis(50);
