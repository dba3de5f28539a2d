//! Identification of files that are not captures.

use std::fmt;

use crate::recording::MAGIC;

/// What the first bytes of a file look like that is neither pcap nor pcapng. Shown, it ends with what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Nothing is in it.
    Empty,
    /// Only the beginning of a file header is.
    CutShort,
    /// What `rsttrace record` writes.
    Recording,
    /// What `rsttrace watch --store` keeps.
    History,
    /// Something in JSON.
    Json,
    /// Text: perhaps packets, printed.
    Text,
    /// A capture that other tools can convert; its format.
    OtherCapture(&'static str),
    /// Compressed in a way that is not read here; the program that unpacks it.
    Compressed(&'static str),
    /// None of these; the first bytes, as many as there are of 4.
    Unknown([u8; 4]),
}

impl Looks {
    /// By the first bytes, as many as are at hand.
    pub(super) fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        let known = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic));
        if let Some((_, looks)) = known {
            return *looks;
        }
        if is_text(bytes) {
            let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
            return match first {
                Some(b'{' | b'[') => Self::Json,
                _ => Self::Text,
            };
        }
        let mut first = [0; 4];
        for (to, from) in first.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self::Unknown(first)
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "the file is empty; check whether the capture is still running, or failed",
            ),
            Self::CutShort => f.write_str("the file header is truncated; capture again, or copy the file again"),
            Self::Recording => f.write_str("it is a recording of rsttrace; use `rsttrace replay`"),
            Self::History => f.write_str(
                "it is a history of rsttrace; use `rsttrace history --store FILE`",
            ),
            Self::Json => f.write_str("it looks like JSON; use a capture written by `tcpdump -w FILE`"),
            Self::Text => f.write_str(
                "it looks like text; write packets with `tcpdump -w FILE`, or convert a hex dump with `text2pcap`",
            ),
            Self::OtherCapture(format) => {
                write!(f, "it looks like {format}; convert it with `editcap -F pcapng OLD NEW`")
            }
            Self::Compressed(program) => write!(
                f,
                "it is compressed with {program}; use `{program} -dc FILE | rsttrace pcap -`"
            ),
            Self::Unknown([a, b, c, d]) => write!(
                f,
                "unknown format (first bytes {a:02x} {b:02x} {c:02x} {d:02x}); if `capinfos FILE` can read it, convert it with \
                 `editcap -F pcapng OLD NEW`"
            ),
        }
    }
}

const KNOWN: [(&[u8], Looks); 18] = [
    (&MAGIC, Looks::Recording),
    (b"SQLite format 3\0", Looks::History),
    (b"snoop\0\0\0", Looks::OtherCapture("a snoop capture")),
    (
        b"GMBU",
        Looks::OtherCapture("a Microsoft Network Monitor capture"),
    ),
    (
        b"RTSS",
        Looks::OtherCapture("a Microsoft Network Monitor capture"),
    ),
    (b"XCP\0", Looks::OtherCapture("a NetXRay capture")),
    (b"TRSNIFF data", Looks::OtherCapture("a Sniffer capture")),
    (b"btsnoop\0", Looks::OtherCapture("a Bluetooth capture")),
    (
        &[0xa1, 0xe2, 0xcb, 0x12],
        Looks::OtherCapture("a vendor-specific pcap variant"),
    ),
    (
        &[0x12, 0xcb, 0xe2, 0xa1],
        Looks::OtherCapture("a vendor-specific pcap variant"),
    ),
    (
        &[0xa1, 0xb2, 0xcd, 0x34],
        Looks::OtherCapture("a vendor-specific pcap variant"),
    ),
    (
        &[0x0b, 0xad, 0xf0, 0x0d],
        Looks::OtherCapture("a capture of a mainframe or switch"),
    ),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Looks::Compressed("xz")),
    (b"BZh", Looks::Compressed("bzip2")),
    (&[0x04, 0x22, 0x4d, 0x18], Looks::Compressed("lz4")),
    (b"PK\x03\x04", Looks::Compressed("unzip")),
    (&[0x1f, 0x8b], Looks::Compressed("gzip")),
    (&[0x28, 0xb5, 0x2f, 0xfd], Looks::Compressed("zstd")),
];

fn is_text(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Cut within a character.
        Err(error) if error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(whole).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text
        .chars()
        .any(|char| char.is_control() && !char.is_whitespace() && char != '\u{1b}')
        && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_looks_like_is_told() {
        for (bytes, looks) in [
            (&b""[..], Looks::Empty),
            (b"RSTTRACE\x02\0", Looks::Recording),
            (b"SQLite format 3\0\x10", Looks::History),
            (b"{\"schema\":", Looks::Json),
            (b"\n[1]", Looks::Json),
            (b"12:00:01.5 IP 10.0.0.1.80 > \xc2", Looks::Text),
            (b"BZh91AY", Looks::Compressed("bzip2")),
            (b"\x7fELF\x02", Looks::Unknown(*b"\x7fELF")),
            (b"\x01", Looks::Unknown([1, 0, 0, 0])),
            (b"\xff\xfe\xfd", Looks::Unknown([0xff, 0xfe, 0xfd, 0])),
        ] {
            assert_eq!(Looks::of(bytes), looks, "{bytes:?}");
        }
    }

    #[test]
    fn each_ends_with_a_next_step() {
        for looks in KNOWN.iter().map(|(_, looks)| *looks).chain([
            Looks::Empty,
            Looks::CutShort,
            Looks::Json,
            Looks::Text,
        ]) {
            assert!(looks.to_string().contains("; "), "{looks}");
        }
    }
}
