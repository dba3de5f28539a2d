//! Detection of file formats.

use crate::recording;

/// What a file holds, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records as `rsttrace watch -o json` prints them; also what is empty.
    Lines,
    Recording,
    /// Packets: pcap or pcapng, perhaps compressed.
    Capture,
    /// A store of records.
    Store,
}

const PACKED: [&[u8]; 2] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd]];

/// It is compressed by gzip or zstd, as captures may be.
pub fn is_packed(head: &[u8]) -> bool {
    PACKED.iter().any(|magic| head.starts_with(magic))
}

/// What the first bytes say; at least a KiB of them, unless the file is shorter. `None`: nothing that is known here.
pub fn sniff(head: &[u8]) -> Option<Kind> {
    const CAPTURES: &[&[u8]] = &[
        &[0x0a, 0x0d, 0x0d, 0x0a],
        &[0xa1, 0xb2, 0xc3, 0xd4],
        &[0xd4, 0xc3, 0xb2, 0xa1],
        &[0xa1, 0xb2, 0x3c, 0x4d],
        &[0x4d, 0x3c, 0xb2, 0xa1],
    ];
    if is_packed(head) || CAPTURES.iter().any(|magic| head.starts_with(magic)) {
        return Some(Kind::Capture);
    }
    if head.starts_with(&recording::MAGIC) {
        return Some(Kind::Recording);
    }
    if head.starts_with(b"SQLite format 3\0") {
        return Some(Kind::Store);
    }
    let text = head.trim_ascii_start();
    match text.first() {
        None => Some(Kind::Lines),
        Some(_) if head.contains(&0) => None,
        Some(_) => Some(Kind::Lines),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        for (head, kind) in [
            (&b"{\"schema\":\"rsttrace.reset.v1\""[..], Some(Kind::Lines)),
            (b"", Some(Kind::Lines)),
            (b"RSTTRACE\x02\0\x03\0", Some(Kind::Recording)),
            (b"\x0a\x0d\x0d\x0a\x1c\0\0\0", Some(Kind::Capture)),
            (b"\xd4\xc3\xb2\xa1", Some(Kind::Capture)),
            (b"SQLite format 3\0", Some(Kind::Store)),
            (b"\x7fELF\0\0", None),
        ] {
            assert_eq!(sniff(head), kind, "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = sniff(&bytes);
        }
    }
}
