//! pcap parser. <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>

use pcap_parser::nom::IResult;
use pcap_parser::{LegacyPcapBlock, PcapError, PcapHeader};

use super::{
    LinkType, TimeResolution,
    dissect::Frame,
    info::Interface,
    input::Input,
    reader::{LARGEST_FRAME, Stop},
    time,
};

/// Reads frame by frame.
pub(super) struct Frames {
    parse: Parse,
    big_endian: bool,
    /// Bytes before each frame.
    header_len: usize,
    resolution: TimeResolution,
    link_type: LinkType,
}

type Parse = for<'a> fn(&'a [u8]) -> IResult<&'a [u8], LegacyPcapBlock<'a>, PcapError<&'a [u8]>>;

/// Bytes of the file header.
pub(super) const HEADER: usize = 24;
const VERSION: u16 = 2;

/// Why a file header is not taken.
pub(super) enum Refused {
    Version(u16),
    Unknown,
}

impl Frames {
    /// By the file header.
    pub fn new(header: &[u8]) -> Result<(Self, Interface), Refused> {
        let (_, header) = pcap_parser::parse_pcap_header(header).map_err(|_| Refused::Unknown)?;
        if header.version_major != VERSION {
            return Err(Refused::Version(header.version_major));
        }
        let interface = interface(&header);
        let big_endian = header.is_bigendian();
        let (parse, header_len): (Parse, usize) = if header.is_modified_format() {
            (pcap_parser::parse_pcap_frame_modified, 24)
        } else if big_endian {
            (pcap_parser::parse_pcap_frame_be, 16)
        } else {
            (pcap_parser::parse_pcap_frame, 16)
        };
        let frames = Self {
            parse,
            big_endian,
            header_len,
            resolution: interface.resolution,
            link_type: interface.link_type,
        };
        Ok((frames, interface))
    }

    /// The next frame, consumed.
    pub fn next(&mut self, input: &mut Input) -> Result<Frame, Stop> {
        let header = input.need_or_end(self.header_len)?.ok_or(Stop::End)?;
        let captured = header.get(8..12).unwrap_or_default();
        let captured = captured.first_chunk().copied().unwrap_or_default();
        let captured = if self.big_endian {
            u32::from_be_bytes(captured)
        } else {
            u32::from_le_bytes(captured)
        };
        if captured > LARGEST_FRAME {
            return Err(Stop::TooLong(captured));
        }
        let len = self.header_len + captured as usize;
        let (_, block) = (self.parse)(input.need(len)?).map_err(|_| Stop::Corrupt)?;
        let per_second = if self.resolution == TimeResolution::NANOSECONDS {
            1_000_000_000
        } else {
            1_000_000
        };
        // Some writers let the fraction run beyond a second.
        let ticks = u64::from(block.ts_sec) * per_second + u64::from(block.ts_usec);
        let (wire_len, captured) = (block.origlen, block.data.len());
        let mut bytes = input.consume(len);
        bytes.start = bytes.end - captured;
        Ok(Frame {
            time: Some(time::instant(ticks, self.resolution, 0)),
            interface: 0,
            link_type: Ok(self.link_type),
            way: None,
            wire_len,
            bytes,
        })
    }
}

fn interface(header: &PcapHeader) -> Interface {
    // The upper half says whether frames end with a checksum: IP's own length leaves that out anyway.
    let [low, high, _, _] = header.network.0.to_le_bytes();
    Interface {
        name: None,
        link_type: LinkType(u16::from_le_bytes([low, high])),
        snaplen: Some(header.snaplen).filter(|len| *len != 0),
        resolution: if header.is_nanosecond_precision() {
            TimeResolution::NANOSECONDS
        } else {
            TimeResolution::MICROSECONDS
        },
        time_offset: 0,
    }
}
