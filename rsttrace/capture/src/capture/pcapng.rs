//! pcapng parser. <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html>
//!
//! Blocks that describe no packet, section or interface are passed over unread, however long they are.

use pcap_parser::pcapng::{
    InterfaceDescriptionBlock, OptionCode, PcapNGOption, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_option_be, parse_option_le, parse_sectionheaderblock,
};
use pcap_parser::{
    CB_MAGIC, DCB_MAGIC, EPB_MAGIC, IDB_MAGIC, PcapError, SHB_MAGIC, SJE_MAGIC, SPB_MAGIC,
};

use super::{
    LinkType, TimeResolution, Way,
    dissect::{Frame, Skipped},
    info::Interface,
    input::Input,
    reader::{LARGEST_FRAME, Stop},
    time,
};

/// Reads block by block.
#[derive(Default)]
pub(super) struct Frames {
    big_endian: bool,
    /// Number of the section's first interface.
    first_interface: usize,
}

/// What a block of the file says.
enum Block {
    Packet(Packet),
    Other,
}

/// A packet, by number of its section's interface.
struct Packet {
    interface: usize,
    /// In units of the interface.
    ticks: Option<u64>,
    wire_len: u32,
    /// Bytes of the block before it, and its own.
    at: usize,
    len: usize,
    way: Option<Way>,
}

impl Frames {
    /// The next frame, consumed. Interfaces that come before it are added.
    pub fn next(
        &mut self,
        input: &mut Input,
        interfaces: &mut Vec<Interface>,
    ) -> Result<Frame, Stop> {
        loop {
            let (kind, len) = self.header(input)?;
            match kind {
                SHB_MAGIC | IDB_MAGIC | EPB_MAGIC | SPB_MAGIC | OPB_MAGIC => {}
                _ => {
                    self.pass_over(input, len)?;
                    if FRAMES_OF_OTHERS.contains(&kind) {
                        return Ok(foreign());
                    }
                    continue;
                }
            }
            if len > LARGEST_BLOCK {
                return Err(Stop::TooLong(len));
            }
            let len = len as usize;
            let block = input.need(len)?;
            let trailer = block.last_chunk().copied().unwrap_or_default();
            if self.u32(trailer) as usize != len {
                return Err(Stop::Corrupt);
            }
            if let Block::Packet(packet) = self.block(kind, block, interfaces)? {
                let bytes = input.consume(len);
                let start = bytes.start + packet.at;
                let end = start + packet.len;
                return Ok(self.frame(&packet, interfaces, start..end));
            }
            input.consume(len);
        }
    }

    /// Type and length of the next block. A section's first says in which byte order the others are.
    fn header(&mut self, input: &mut Input) -> Result<(u32, u32), Stop> {
        let header = input.need_or_end(SHORTEST_BLOCK)?.ok_or(Stop::End)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *header else {
            return Err(Stop::Corrupt);
        };
        let (kind, len, magic) = ([a, b, c, d], [e, f, g, h], [i, j, k, l]);
        if u32::from_le_bytes(kind) == SHB_MAGIC {
            self.big_endian = match u32::from_le_bytes(magic) {
                BYTE_ORDER => false,
                SWAPPED => true,
                _ => return Err(Stop::Corrupt),
            };
        }
        let len = self.u32(len);
        if (len as usize) < SHORTEST_BLOCK {
            return Err(Stop::Corrupt);
        }
        Ok((self.u32(kind), len))
    }

    fn pass_over(&self, input: &mut Input, len: u32) -> Result<(), Stop> {
        input.skip(u64::from(len).saturating_sub(TRAILER as u64))?;
        let trailer = input.need(TRAILER)?.first_chunk().copied();
        if self.u32(trailer.unwrap_or_default()) != len {
            return Err(Stop::Corrupt);
        }
        input.consume(TRAILER);
        Ok(())
    }

    /// Takes in what a whole block says.
    fn block(
        &mut self,
        kind: u32,
        block: &[u8],
        interfaces: &mut Vec<Interface>,
    ) -> Result<Block, Stop> {
        match kind {
            SHB_MAGIC => {
                let (_, section) = parse_sectionheaderblock(block).map_err(|_| Stop::Corrupt)?;
                if section.major_version != VERSION {
                    return Err(Stop::Version(section.major_version));
                }
                self.first_interface = interfaces.len();
                Ok(Block::Other)
            }
            IDB_MAGIC => {
                if interfaces.len() >= MOST_INTERFACES {
                    return Err(Stop::Interfaces);
                }
                let parse = if self.big_endian {
                    parse_interfacedescriptionblock_be
                } else {
                    parse_interfacedescriptionblock_le
                };
                let (_, described) = parse(block).map_err(|_| Stop::Corrupt)?;
                interfaces.push(self.interface(&described));
                Ok(Block::Other)
            }
            SPB_MAGIC => self.simple_packet(block, interfaces).map(Block::Packet),
            _ => self.enhanced_packet(kind, block).map(Block::Packet),
        }
    }

    /// Of the Enhanced Packet Block, or the obsolete Packet Block, which numbers interfaces with 16 bits and counts drops.
    fn enhanced_packet(&self, kind: u32, block: &[u8]) -> Result<Packet, Stop> {
        let header: &[u8; PACKET_AT] = block.first_chunk().ok_or(Stop::Corrupt)?;
        let word = |at: usize| {
            let bytes = header.get(at..).and_then(<[u8]>::first_chunk);
            self.u32(bytes.copied().unwrap_or_default())
        };
        let interface = match kind {
            EPB_MAGIC => word(8),
            _ => self.u16([header[8], header[9]]).into(),
        };
        let ticks = u64::from(word(12)) << 32 | u64::from(word(16));
        let (captured, wire_len) = (word(20), word(24));
        if captured > LARGEST_FRAME {
            return Err(Stop::TooLong(captured));
        }
        let len = captured as usize;
        let options = PACKET_AT + len.next_multiple_of(4);
        let end = block.len() - TRAILER;
        if PACKET_AT + len > end {
            return Err(Stop::Corrupt);
        }
        Ok(Packet {
            interface: interface as usize,
            ticks: Some(ticks),
            wire_len,
            at: PACKET_AT,
            len,
            way: self.way(block.get(options..end).unwrap_or_default()),
        })
    }

    /// Of the section's first interface, as long as its limit and the block allow.
    fn simple_packet(&self, block: &[u8], interfaces: &[Interface]) -> Result<Packet, Stop> {
        let [_, _, _, _, _, _, _, _, a, b, c, d, rest @ ..] = block else {
            return Err(Stop::Corrupt);
        };
        let wire_len = self.u32([*a, *b, *c, *d]);
        let limit = interfaces
            .get(self.first_interface)
            .and_then(|interface| interface.snaplen);
        let captured = limit.map_or(wire_len, |limit| limit.min(wire_len));
        let there = rest.len().checked_sub(TRAILER).ok_or(Stop::Corrupt)?;
        Ok(Packet {
            interface: 0,
            ticks: None,
            wire_len,
            at: SIMPLE_PACKET_AT,
            len: there.min(captured as usize),
            way: None,
        })
    }

    fn frame(
        &self,
        packet: &Packet,
        interfaces: &[Interface],
        bytes: std::ops::Range<usize>,
    ) -> Frame {
        let number = self.first_interface.saturating_add(packet.interface);
        let interface = interfaces.get(number);
        Frame {
            time: packet.ticks.zip(interface).map(|(ticks, interface)| {
                time::instant(ticks, interface.resolution, interface.time_offset)
            }),
            interface: u32::try_from(number).unwrap_or(u32::MAX),
            link_type: interface
                .map(|interface| interface.link_type)
                .ok_or(Skipped::Malformed),
            way: packet.way,
            wire_len: packet.wire_len,
            bytes,
        }
    }

    fn interface(&self, described: &InterfaceDescriptionBlock<'_>) -> Interface {
        let mut interface = Interface {
            name: None,
            link_type: LinkType(u16::try_from(described.linktype.0).unwrap_or(u16::MAX)),
            snaplen: Some(described.snaplen).filter(|len| *len != 0),
            resolution: TimeResolution::MICROSECONDS,
            time_offset: 0,
        };
        for option in &described.options {
            let Ok(value) = option.as_bytes() else {
                continue;
            };
            match option.code {
                OptionCode::EndOfOpt => break,
                OptionCode::IfName => interface.name = name(value),
                OptionCode::IfTsresol => {
                    if let [byte] = *value {
                        interface.resolution = TimeResolution::of_option(byte);
                    }
                }
                OptionCode::IfTsoffset => {
                    if let Ok(bytes) = value.try_into() {
                        interface.time_offset = if self.big_endian {
                            i64::from_be_bytes(bytes)
                        } else {
                            i64::from_le_bytes(bytes)
                        };
                    }
                }
                _ => {}
            }
        }
        interface
    }

    /// By the option `epb_flags`, or `pack_flags`: its lowest two bits.
    fn way(&self, mut options: &[u8]) -> Option<Way> {
        while !options.is_empty() {
            let (rest, option) = self.option(options)?;
            match (option.code, option.as_bytes()) {
                (OptionCode::EndOfOpt, _) => return None,
                (FLAGS, Ok(&[a, b, c, d])) => {
                    return match self.u32([a, b, c, d]) & 0b11 {
                        1 => Some(Way::In),
                        2 => Some(Way::Out),
                        _ => None,
                    };
                }
                _ => options = rest,
            }
        }
        None
    }

    fn option<'a>(&self, options: &'a [u8]) -> Option<(&'a [u8], PcapNGOption<'a>)> {
        if self.big_endian {
            parse_option_be::<PcapError<&[u8]>>(options).ok()
        } else {
            parse_option_le::<PcapError<&[u8]>>(options).ok()
        }
    }

    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    fn u16(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }
}

/// A frame that Wireshark counts, and that is no packet.
fn foreign() -> Frame {
    Frame {
        time: None,
        interface: 0,
        link_type: Err(Skipped::NotTcp),
        way: None,
        wire_len: 0,
        bytes: 0..0,
    }
}

/// As much of a name as is kept.
fn name(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..bytes.len().min(LONGEST_NAME))?;
    let name = String::from_utf8_lossy(bytes);
    let name = name.trim_end_matches(['\0', char::REPLACEMENT_CHARACTER]);
    (!name.is_empty()).then(|| name.to_owned())
}

const VERSION: u16 = 1;
const BYTE_ORDER: u32 = pcap_parser::BOM_MAGIC;
const SWAPPED: u32 = BYTE_ORDER.swap_bytes();
/// The obsolete Packet Block.
const OPB_MAGIC: u32 = 2;
/// Blocks that Wireshark gives a frame number to, and that are no packets: entries of systemd's journal, custom blocks (which may be
/// copied or not), and Sysdig's events.
const FRAMES_OF_OTHERS: [u32; 9] = [
    SJE_MAGIC, CB_MAGIC, DCB_MAGIC, 0x204, 0x208, 0x216, 0x217, 0x221, 0x222,
];
/// Type, length, and the length again.
const SHORTEST_BLOCK: usize = 12;
const TRAILER: usize = 4;
/// Bytes of a block before its packet.
const PACKET_AT: usize = 28;
const SIMPLE_PACKET_AT: usize = 12;
/// A packet, its header and some options: comments may have 64 KiB each.
const LARGEST_BLOCK: u32 = LARGEST_FRAME + (1 << 20);
/// More are not kept in memory.
const MOST_INTERFACES: usize = 1 << 16;
const LONGEST_NAME: usize = 64;
/// `epb_flags`, `pack_flags`.
const FLAGS: OptionCode = OptionCode(2);
