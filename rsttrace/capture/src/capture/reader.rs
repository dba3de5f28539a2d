//! Reader of the TCP segments in a capture, from a file or a pipe.

use std::cmp::Reverse;
use std::io::{self, Read};
use std::path::Path;

use super::{
    CaptureError, CaptureInfo, Format, Looks, ReadCounts, Segment,
    dissect::{self, Frame, Skipped},
    info::Compression,
    input::{Input, Lack},
    layer::Unread,
    pcap, pcapng,
};
use crate::words::{count, things};

/// Reads a capture from its beginning to its end, and gives what is TCP.
///
/// pcap and pcapng, plain, by gzip or by zstd, all told by their first bytes. Memory is bounded, whatever the file claims: some
/// MiB, and for zstd as much as it was compressed with (up to 128 MiB). A pipe may be live: each packet is given as soon as it
/// has come.
///
/// ```no_run
/// # fn main() -> Result<(), rsttrace_capture::capture::CaptureError> {
/// let mut reader = rsttrace_capture::capture::Reader::open("trace.pcapng.gz")?;
/// while let Some(segment) = reader.next()? {
///     println!("{} {} → {}", segment.frame, segment.source, segment.destination);
/// }
/// if let Some(why) = reader.ended_early() {
///     eprintln!("warning: {why}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    input: Input,
    frames: Frames,
    info: CaptureInfo,
    counts: ReadCounts,
    /// Frames by what of them is not read.
    unread: Vec<(Unread, u64)>,
    ended: Option<Ended>,
}

enum Frames {
    Pcap(pcap::Frames),
    Pcapng(pcapng::Frames),
}

/// How a capture has ended.
enum Ended {
    Whole,
    Early(String),
}

/// Why there is no further frame.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file is over.
    End,
    /// It is over within a frame or block, damaged or unreadable.
    Lack(Lack),
    /// A frame or block claims to be as long.
    TooLong(u32),
    /// Lengths that contradict each other.
    Corrupt,
    /// A section of a version that is not known.
    Version(u16),
    /// More interfaces than are kept.
    Interfaces,
}

impl From<Lack> for Stop {
    fn from(lack: Lack) -> Self {
        Self::Lack(lack)
    }
}

/// Of a frame in bytes: no packet is as long, not even one that the network card puts together (512 KiB), and tcpdump keeps no more
/// than 256 KiB of it.
pub(super) const LARGEST_FRAME: u32 = 1 << 20;

/// Kinds of what is not read that are told apart.
const MOST_UNREAD: usize = 64;

/// What `-` is called.
const STANDARD_INPUT: &str = "standard input";

impl Reader {
    /// Opens a file, or standard input for `-`, and waits for the file header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        let path = path.as_ref();
        if path.as_os_str() == "-" {
            return Self::named(STANDARD_INPUT.to_owned(), io::stdin());
        }
        let name = path.display().to_string();
        match rsttrace_sys::Input::open(path) {
            Ok(file) => Self::named(name, file),
            Err(source) => Err(CaptureError::Open { name, source }),
        }
    }

    /// Reads from anything; [`CaptureInfo::name`] is "capture". It is read in large pieces: buffer nothing before.
    pub fn new(source: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        Self::named("capture".to_owned(), source)
    }

    fn named(name: String, source: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let mut input = match Input::new(source) {
            Ok(input) => input,
            Err(source) => return Err(CaptureError::Open { name, source }),
        };
        let mut info = CaptureInfo {
            name,
            format: Format::Pcap,
            compression: input.compression(),
            interfaces: Vec::new(),
        };
        let frames = frames(&mut input, &mut info)?;
        Ok(Self {
            input,
            frames,
            info,
            counts: ReadCounts::default(),
            unread: Vec::new(),
            ended: None,
        })
    }

    /// The next TCP segment; `None` at the end, and from then on. An error is one of reading, never of what a file holds:
    /// where that is damaged, the capture ends, and [`Self::ended_early`] says why.
    #[allow(
        clippy::should_implement_trait,
        reason = "what it gives borrows the buffer, which Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Segment<'_>>, CaptureError> {
        let (segment, payload) = loop {
            let Some(frame) = self.frame()? else {
                return Ok(None);
            };
            self.counts.frames += 1;
            let bytes = self.input.bytes(frame.bytes.clone());
            match dissect::dissect(&frame, bytes) {
                Ok((segment, payload)) => {
                    self.counts.segments += 1;
                    self.counts.untimed += u64::from(frame.time.is_none());
                    let start = frame.bytes.start;
                    break (segment, start + payload.start..start + payload.end);
                }
                Err(skipped) => self.skip(skipped),
            }
        };
        Ok(Some(Segment {
            frame: self.counts.frames,
            payload: self.input.bytes(payload),
            ..segment
        }))
    }

    /// What the capture says of itself, as far as it has been read.
    pub fn info(&self) -> &CaptureInfo {
        &self.info
    }

    /// How much has been read, and what it was.
    pub fn counts(&self) -> ReadCounts {
        ReadCounts {
            bytes: self.input.taken(),
            ..self.counts
        }
    }

    /// Frames that may carry TCP and are not analyzed, by reason ("EtherType 0x88e5 (MACsec)"); the most frequent first. All of them
    /// together are those of [`Self::counts`].
    pub fn not_analyzed(&self) -> Vec<(String, u64)> {
        let counts = &self.counts;
        let named = self
            .unread
            .iter()
            .map(|(what, frames)| (what.to_string(), *frames));
        let kinds: u64 = self.unread.iter().map(|(_, frames)| frames).sum();
        let others = [
            ("truncated before the end of the TCP header", counts.cut),
            ("fragments without TCP header", counts.fragments),
            ("malformed", counts.malformed),
            (
                "other protocols that may carry TCP",
                (counts.unread + counts.link_types).saturating_sub(kinds),
            ),
        ];
        let others = others
            .into_iter()
            .map(|(reason, frames)| (reason.to_owned(), frames));
        let mut all: Vec<_> = named
            .chain(others)
            .filter(|(_, frames)| *frames > 0)
            .collect();
        all.sort_by_key(|(_, frames)| Reverse(*frames));
        all
    }

    /// Why a capture in which no TCP was found may have none, in a sentence that ends with what to do; `None` if there was.
    pub fn without_tcp(&self) -> Option<String> {
        let (counts, name) = (&self.counts, &self.info.name);
        if counts.segments > 0 {
            return None;
        }
        let frames = things(counts.frames, "packet");
        let mut reasons = self.not_analyzed().into_iter();
        Some(if counts.frames == 0 {
            format!(
                "{name} has no packets; check the interface and the filter that it was captured with"
            )
        } else if counts.cut * 2 > counts.frames - counts.not_tcp {
            format!(
                "no TCP header in the {frames} of {name}: {} are truncated before its end; capture with a larger \
                 snapshot length (`tcpdump -s 128`)",
                count(counts.cut)
            )
        } else if let Some((most, of_it)) = reasons.next() {
            let others: u64 = reasons.map(|(_, frames)| frames).sum();
            let others = match others {
                0 => String::new(),
                others => format!(", {} for other reasons", count(others)),
            };
            format!(
                "no TCP found in the {frames} of {name}; not analyzed: {} ({most}){others}; capture where packets have none \
                 of these headers around them",
                count(of_it)
            )
        } else {
            format!(
                "no TCP in the {frames} of {name}; check the interface and the filter that it was captured with"
            )
        })
    }

    /// Why the capture ended before the file was whole, in a sentence that ends with what to do; `None` until the end, and if all is
    /// well. What came before that place was given.
    pub fn ended_early(&self) -> Option<&str> {
        match &self.ended {
            Some(Ended::Early(why)) => Some(why),
            Some(Ended::Whole) | None => None,
        }
    }

    fn frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let next = match &mut self.frames {
            Frames::Pcap(frames) => frames.next(&mut self.input),
            Frames::Pcapng(frames) => frames.next(&mut self.input, &mut self.info.interfaces),
        };
        match next {
            Ok(frame) => Ok(Some(frame)),
            Err(Stop::Lack(Lack::Io(source))) => {
                self.ended = Some(Ended::Whole);
                let name = self.info.name.clone();
                Err(CaptureError::Read { name, source })
            }
            Err(stop) => {
                self.ended = Some(match self.reason(&stop) {
                    None => Ended::Whole,
                    Some(why) => Ended::Early(why),
                });
                Ok(None)
            }
        }
    }

    fn reason(&self, stop: &Stop) -> Option<String> {
        let name = &self.info.name;
        let frames = self.counts.frames;
        let keep = "use `editcap OLD NEW` to keep the complete packets";
        Some(match stop {
            Stop::End => return None,
            Stop::Lack(Lack::End | Lack::Io(_)) => format!(
                "{name} is truncated after {frames} complete packets: the capture was interrupted or is still running; capture again, or {keep}"
            ),
            Stop::Lack(Lack::Damaged(compression, error)) => format!(
                "cannot decompress {name} ({compression}: {error}) after {frames} packets; copy the file again, or keep the complete part: \
                 `{} -dc OLD | editcap - NEW`",
                program(*compression)
            ),
            Stop::TooLong(length) => format!(
                "{name} is damaged after {frames} packets: invalid packet length {length}; {keep}"
            ),
            Stop::Corrupt => {
                format!("{name} is damaged after {frames} packets: inconsistent lengths; {keep}")
            }
            Stop::Version(version) => format!(
                "{name} has a section with unsupported pcapng version {version} after {frames} packets; convert it with \
                 `editcap -F pcapng OLD NEW`"
            ),
            Stop::Interfaces => {
                format!("{name} has too many interfaces after {frames} packets; {keep}")
            }
        })
    }

    fn skip(&mut self, skipped: Skipped) {
        let counter = match skipped {
            Skipped::NotTcp => &mut self.counts.not_tcp,
            Skipped::Unread(what) => {
                self.note_unread(what);
                if matches!(what, Unread::LinkType(_)) {
                    &mut self.counts.link_types
                } else {
                    &mut self.counts.unread
                }
            }
            Skipped::Fragment => &mut self.counts.fragments,
            Skipped::Cut => &mut self.counts.cut,
            Skipped::Malformed => &mut self.counts.malformed,
        };
        *counter += 1;
    }

    fn note_unread(&mut self, what: Unread) {
        if let Some((_, frames)) = self.unread.iter_mut().find(|(known, _)| *known == what) {
            *frames += 1;
        } else if self.unread.len() < MOST_UNREAD {
            self.unread.push((what, 1));
        }
    }
}

/// By the file header, which is consumed if it is pcap's. A section header of pcapng is a block like others.
fn frames(input: &mut Input, info: &mut CaptureInfo) -> Result<Frames, CaptureError> {
    let name = || info.name.clone();
    let magic = match input.need(MAGIC) {
        Ok(magic) => magic.first_chunk().copied().unwrap_or_default(),
        Err(Lack::End) => {
            let looks = Looks::of(input.available());
            return Err(CaptureError::NotACapture {
                name: name(),
                looks,
            });
        }
        Err(lack) => return Err(unreadable(name(), lack)),
    };
    let unlike = |input: &mut Input| {
        // A little more tells more, but nobody is waited for.
        let _ = input.available().len() >= TELLING || input.need(TELLING).is_ok();
        Looks::of(input.available())
    };
    if magic == SECTION_HEADER {
        info.format = Format::Pcapng;
        return Ok(Frames::Pcapng(pcapng::Frames::default()));
    }
    if !PCAP.contains(&magic) {
        let looks = unlike(input);
        return Err(CaptureError::NotACapture {
            name: name(),
            looks,
        });
    }
    let header = input
        .need(pcap::HEADER)
        .map_err(|lack| unreadable(name(), lack))?;
    let (frames, interface) = pcap::Frames::new(header).map_err(|refused| match refused {
        pcap::Refused::Version(version) => CaptureError::Version {
            name: name(),
            format: "pcap",
            version,
        },
        pcap::Refused::Unknown => CaptureError::NotACapture {
            name: name(),
            looks: Looks::Unknown(magic),
        },
    })?;
    if !interface.link_type.is_supported() {
        return Err(CaptureError::LinkType {
            name: name(),
            link_type: interface.link_type,
        });
    }
    input.consume(pcap::HEADER);
    info.interfaces.push(interface);
    Ok(Frames::Pcap(frames))
}

fn unreadable(name: String, lack: Lack) -> CaptureError {
    match lack {
        Lack::Io(source) => CaptureError::Read { name, source },
        Lack::Damaged(compression, source) => CaptureError::Unpack {
            name,
            compression,
            source,
        },
        Lack::End => CaptureError::NotACapture {
            name,
            looks: Looks::CutShort,
        },
    }
}

fn program(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

const MAGIC: usize = 4;
const SECTION_HEADER: [u8; MAGIC] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Microseconds, nanoseconds, and Kuznetzov's, whose frames have a longer header.
const PCAP: [[u8; MAGIC]; 5] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x34, 0xcd, 0xb2, 0xa1],
];
/// Bytes that tell what a file is which is no capture.
const TELLING: usize = 64;
