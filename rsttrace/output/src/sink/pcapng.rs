//! Resets as a packet capture for Wireshark; the verdict is the comment of the packet.
//!
//! Frames are raw IP (link type 101), one interface block for each interface name. What is pending is written as a
//! whole; where that fails (a full disk) the file is cut back to its last whole block, so that it stays readable.

mod comment;
mod segment;

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};

use jiff::Timestamp;
use log::warn;
use pcap_parser::pcapng::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, OptionCode, PcapNGOption, SectionHeaderBlock,
};
use pcap_parser::{Linktype, ToVec};

use crate::hash::HashMap;
use crate::record::{Direction, Record, Word};
use crate::words::count;

/// Bytes in the buffer at which it is written.
const PENDING: usize = 256 << 10;
/// Interfaces of one section; further names share the one without a name.
const MOST_INTERFACES: usize = 4_096;
/// Longer ones, in bytes, no kernel has.
const LONGEST_NAME: usize = 64;
/// Nanoseconds, as a power of ten.
const NANOSECONDS: u8 = 9;
/// No frame is cut.
const NO_LIMIT: u32 = 0;
/// The section ends at the next one, or at the end of the file.
const UNKNOWN_LENGTH: i64 = -1;
/// `epb_flags`.
const FLAGS: OptionCode = OptionCode(2);

/// Where blocks are written.
pub trait Place: Write {
    /// Truncates to `length` bytes; writing continues there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Place for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(drop)
    }
}

/// The outcomes of the resets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Frames in the file, those that still wait included.
    pub frames: u64,
    /// Resets whose sequence or acknowledgment number is not known: there is no segment to write.
    pub unknown: u64,
    /// Frames that could not be written.
    pub lost: u64,
}

impl Written {
    /// As a sentence about the file.
    pub fn describe(&self, name: &str) -> String {
        let Self {
            frames,
            unknown,
            lost,
        } = *self;
        let mut text = format!("{name}: {} resets written as packets", count(frames));
        if unknown > 0 {
            text.push_str(&format!(
                "; {} skipped (sequence numbers unknown)",
                count(unknown)
            ));
        }
        if lost > 0 {
            text.push_str(&format!("; {} could not be written", count(lost)));
        }
        text
    }
}

/// Writes resets with their verdicts.
pub struct Pcapng<P: Place> {
    place: P,
    name: String,
    /// What made the section: `x86_64`, `Linux 6.18.5`.
    machine: Machine,
    /// Blocks that wait.
    pending: Vec<u8>,
    /// Numbers of interfaces in this section by name; `None`: the one without.
    interfaces: HashMap<Option<Word>, u32>,
    /// Frames that wait.
    waiting: u64,
    /// Bytes that are in the file for good.
    length: u64,
    /// It could not be cut back to its last whole block: nothing is written any more.
    closed: bool,
    warned: bool,
    written: Written,
}

/// Where the resets happened, as the section's header says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `uname -r`; absent if not known, or of several hosts.
    pub kernel: Option<String>,
}

impl<P: Place> Pcapng<P> {
    /// Writes to an empty `place`. The header is written at once, because Wireshark waits for it.
    pub fn begin(place: P, name: &str, machine: Machine) -> io::Result<Self> {
        let mut new = Self::new(place, name, machine);
        new.put()?;
        Ok(new)
    }

    /// Writes to an empty `place`, called `name` in warnings. The header comes with the first flush.
    pub fn new(place: P, name: &str, machine: Machine) -> Self {
        Self {
            place,
            name: name.to_owned(),
            pending: section(&machine),
            machine,
            interfaces: HashMap::default(),
            waiting: 0,
            length: 0,
            closed: false,
            warned: false,
            written: Written::default(),
        }
    }

    /// A reset. Errors are logged once and counted; the trace continues without the file.
    pub fn record(&mut self, record: &Record) {
        if self.closed {
            self.written.lost += 1;
            return;
        }
        let Some(segment) = segment::rebuild(record) else {
            self.written.unknown += 1;
            return;
        };
        let Some(time) = since_epoch(&record.time) else {
            self.written.unknown += 1;
            return;
        };
        if self.append(record, time, &segment) {
            self.waiting += 1;
            self.written.frames += 1;
        } else {
            self.written.lost += 1;
        }
        if self.pending.len() >= PENDING {
            self.flush();
        }
    }

    /// Writes what waits: after each batch of events, so that a reader of the growing file is never far behind.
    pub fn flush(&mut self) {
        if let Err(error) = self.put() {
            self.give_up_waiting(&error);
        }
    }

    /// The outcomes of the resets.
    pub fn written(&self) -> Written {
        self.written
    }

    /// The same as a sentence.
    pub fn describe(&self) -> String {
        self.written.describe(&self.name)
    }

    /// Whether the library took it; memory has room for it.
    fn append(&mut self, record: &Record, time: u64, segment: &[u8]) -> bool {
        let Some(interface) = self.interface(record.interface.as_ref()) else {
            return false;
        };
        let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
        let options = [
            option(OptionCode::Comment, comment::comment(record).as_bytes()),
            option(FLAGS, &direction(record).to_le_bytes()),
        ];
        push(
            &mut self.pending,
            EnhancedPacketBlock {
                block_type: 0,
                block_len1: 0,
                if_id: interface,
                ts_high: (time >> 32) as u32,
                ts_low: time as u32,
                caplen: length,
                origlen: length,
                data: segment,
                options: options.into(),
                block_len2: 0,
            },
        )
    }

    /// The number of an interface, which is described first if it is new.
    fn interface(&mut self, name: Option<&Word>) -> Option<u32> {
        let name = name.filter(|name| {
            let has_room = self.interfaces.len() < MOST_INTERFACES
                || self.interfaces.contains_key(&Some((*name).clone()));
            has_room && name.len() <= LONGEST_NAME
        });
        if let Some(&number) = self.interfaces.get(&name.cloned()) {
            return Some(number);
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        let called = match name {
            Some(name) => option(OptionCode::IfName, comment::line(name).as_bytes()),
            None => option(OptionCode::IfDescription, b"unknown interface"),
        };
        let is_described = push(
            &mut self.pending,
            InterfaceDescriptionBlock {
                block_type: 0,
                block_len1: 0,
                linktype: Linktype::RAW,
                reserved: 0,
                snaplen: NO_LIMIT,
                options: vec![called, option(OptionCode::IfTsresol, &[NANOSECONDS])],
                block_len2: 0,
                if_tsresol: NANOSECONDS,
                if_tsoffset: 0,
            },
        );
        is_described.then(|| {
            self.interfaces.insert(name.cloned(), number);
            number
        })
    }

    fn put(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.place.write_all(&self.pending)?;
        self.place.flush()?;
        self.length += self.pending.len() as u64;
        self.pending.clear();
        self.waiting = 0;
        Ok(())
    }

    /// What waited is lost; the file ends with its last whole block, or ends for good.
    fn give_up_waiting(&mut self, error: &io::Error) {
        if !self.warned {
            warn!(
                "{}: {error}; no further resets are written there; tracing continues",
                self.name
            );
        }
        self.warned = true;
        self.written.frames -= self.waiting;
        self.written.lost += self.waiting;
        self.waiting = 0;
        self.closed = self.place.cut(self.length).is_err();
        // Its interfaces may not have been written: the next reset begins a new section.
        self.pending = section(&self.machine);
        self.interfaces = HashMap::default();
        if self.closed {
            self.pending.clear();
        }
    }
}

impl<P: Place> Drop for Pcapng<P> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A section's header, in memory.
fn section(machine: &Machine) -> Vec<u8> {
    let mut options = vec![option(
        OptionCode::ShbHardware,
        std::env::consts::ARCH.as_bytes(),
    )];
    if let Some(kernel) = &machine.kernel {
        let system = format!("Linux {}", comment::line(kernel));
        options.push(option(OptionCode::ShbOs, system.as_bytes()));
    }
    options.push(option(
        OptionCode::ShbUserAppl,
        concat!("rsttrace ", env!("CARGO_PKG_VERSION")).as_bytes(),
    ));
    let mut section = Vec::new();
    push(
        &mut section,
        SectionHeaderBlock {
            block_type: 0,
            block_len1: 0,
            bom: 0,
            major_version: 0,
            minor_version: 0,
            section_len: UNKNOWN_LENGTH,
            options,
            block_len2: 0,
        },
    );
    section
}

/// Appends a block; the library fills in its type and lengths. Whether it did.
fn push(out: &mut Vec<u8>, mut block: impl ToVec) -> bool {
    block
        .to_vec()
        .is_ok_and(|bytes| out.write_all(&bytes).is_ok())
}

/// An option is at most 65,535 bytes long.
fn option(code: OptionCode, value: &[u8]) -> PcapNGOption<'static> {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    PcapNGOption {
        code,
        len,
        value: value[..len.into()].to_vec().into(),
    }
}

/// Nanoseconds since 1970; `None` for what is no time, or before that.
fn since_epoch(time: &str) -> Option<u64> {
    let nanos = time.parse::<Timestamp>().ok()?.as_nanosecond();
    u64::try_from(nanos).ok()
}

/// The two lowest bits of a frame's flags: 1 inbound, 2 outbound, 0 not known.
fn direction(record: &Record) -> u32 {
    match record.direction {
        Direction::Sent | Direction::Forwarded => 2,
        Direction::Received => 1,
        Direction::Observed if record.netns.is_none() => 0,
        Direction::Observed if record.left_local() => 2,
        Direction::Observed => 1,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    /// A disk of some size.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn of(size: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), size))))
        }
        fn resize(&self, size: usize) {
            self.0.lock().unwrap().1 = size;
        }
        fn bytes(&self) -> Vec<u8> {
            self.0.lock().unwrap().0.clone()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let room = disk.1 - disk.0.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let part = bytes.len().min(room);
            disk.0.extend_from_slice(&bytes[..part]);
            Ok(part)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Place for Disk {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            let mut disk = self.0.lock().unwrap();
            disk.0.truncate(usize::try_from(length).unwrap());
            Ok(())
        }
    }

    fn record(name: &str) -> Record {
        let path = format!(
            "{}/../tests/data/records/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn blocks(bytes: &[u8]) -> Vec<Block<'static>> {
        let mut reader = PcapNgReader::new(bytes).unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block() {
            blocks.push(block.unwrap().into_owned());
        }
        blocks
    }

    fn frames(blocks: &[Block<'_>]) -> usize {
        blocks
            .iter()
            .filter(|block| matches!(block, Block::EnhancedPacket(_)))
            .count()
    }

    #[test]
    fn a_frame_has_its_time_its_way_and_the_verdict() {
        let disk = Disk::of(1 << 20);
        let mut file = Pcapng::new(disk.clone(), "x", Machine::default());
        file.record(&record("idle_timeout_middlebox"));
        file.flush();
        let blocks = blocks(&disk.bytes());
        let Block::EnhancedPacket(frame) = &blocks[1] else {
            panic!("{blocks:?}");
        };
        assert_eq!(frame.timestamp, Duration::new(1_767_614_621, 201_344_518));
        assert_eq!(frame.options[1], EnhancedPacketOption::Flags(1));
        let EnhancedPacketOption::Comment(comment) = &frame.options[0] else {
            panic!("{frame:?}");
        };
        assert!(comment.starts_with("idle for 300.0 s; RST arrived 0.4 ms after our next write"));
        assert!(comment.contains("\nmiddlebox idle_timeout likely"));
    }

    #[test]
    fn each_interface_is_described_once() {
        let disk = Disk::of(1 << 20);
        let mut file = Pcapng::new(disk.clone(), "x", Machine::default());
        let mut other = record("port_closed");
        other.interface = Some("wg0".into());
        for record in [&record("port_closed"), &other, &record("port_closed")] {
            file.record(record);
        }
        file.flush();
        let blocks = blocks(&disk.bytes());
        assert_eq!((frames(&blocks), blocks.len()), (3, 5), "{blocks:?}");
    }

    #[test]
    fn without_numbers_there_is_no_frame_and_that_is_said() {
        let mut file = Pcapng::new(Disk::of(1 << 20), "x.pcapng", Machine::default());
        file.record(&record("unknown_minimal"));
        assert_eq!(file.written().unknown, 1);
        assert!(file.describe().contains("1 skipped"), "{}", file.describe());
    }

    #[test]
    fn a_full_disk_costs_frames_and_never_the_file() {
        let disk = Disk::of(1_000);
        let mut file = Pcapng::new(disk.clone(), "x", Machine::default());
        for _ in 0..8 {
            file.record(&record("close_with_unread_data"));
            file.flush();
        }
        let full = file.written();
        assert!(full.lost > 0 && full.frames > 0, "{full:?}");
        assert_eq!(frames(&blocks(&disk.bytes())) as u64, full.frames);
        disk.resize(1 << 20);
        file.record(&record("close_with_unread_data"));
        file.flush();
        assert_eq!(frames(&blocks(&disk.bytes())) as u64, full.frames + 1);
    }

    #[test]
    fn what_waits_is_written_at_the_end() {
        let disk = Disk::of(1 << 20);
        let mut file = Pcapng::new(disk.clone(), "x", Machine::default());
        file.record(&record("port_closed"));
        drop(file);
        assert_eq!(frames(&blocks(&disk.bytes())), 1);
    }
}
