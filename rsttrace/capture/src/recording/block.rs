//! Layout of a block.
//!
//! | bytes | |
//! |---|---|
//! | 4 | [`MARK`] |
//! | 4 | its number, from 0 on |
//! | 4 | how many bytes its contents take in the file |
//! | 4 | how many they are when they are unpacked |
//! | 4 | CRC-32 of the contents as they are in the file |
//! | 4 | CRC-32 of the twenty bytes above |
//! | | the contents, compressed by Zstandard |

use std::io;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, LittleEndian, U32, Unaligned};

/// How each begins.
pub const MARK: [u8; 4] = *b"BLOC";
/// Bytes before the contents.
pub const HEADER: usize = size_of::<Header>();
/// The most bytes that contents are when they are unpacked; packed they may be a little more.
pub const MOST: usize = 4 << 20;

/// What stands before the contents.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    mark: [u8; 4],
    number: U32<LittleEndian>,
    packed: U32<LittleEndian>,
    plain: U32<LittleEndian>,
    contents_crc: U32<LittleEndian>,
    header_crc: U32<LittleEndian>,
}

impl Header {
    /// For these contents, packed, of so many bytes.
    pub fn new(number: u32, packed: &[u8], plain: usize) -> io::Result<Self> {
        let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
        let mut header = Self {
            mark: MARK,
            number: number.into(),
            packed: length(packed.len())?.into(),
            plain: length(plain)?.into(),
            contents_crc: crc32fast::hash(packed).into(),
            header_crc: 0.into(),
        };
        header.header_crc = header.own_crc().into();
        Ok(header)
    }

    /// The header in these bytes, if it is one of block `number`; else how it is damaged.
    pub fn read(bytes: &[u8; HEADER], number: u32) -> Result<Self, &'static str> {
        let header = Self::read_from_bytes(bytes).map_err(|_| "missing block header")?;
        if header.mark != MARK || header.header_crc.get() != header.own_crc() {
            return Err("no block starts here");
        }
        if header.number.get() != number {
            return Err("block number out of sequence");
        }
        if header.plain() > MOST || header.packed() > zstd::zstd_safe::compress_bound(MOST) {
            return Err("block size out of range");
        }
        Ok(header)
    }

    /// Bytes of the contents in the file.
    pub fn packed(&self) -> usize {
        self.packed.get() as usize
    }

    /// Bytes of the contents when they are unpacked.
    pub fn plain(&self) -> usize {
        self.plain.get() as usize
    }

    /// Whether these are the contents.
    pub fn fits(&self, packed: &[u8]) -> bool {
        crc32fast::hash(packed) == self.contents_crc.get()
    }

    fn own_crc(&self) -> u32 {
        let bytes = self.as_bytes();
        crc32fast::hash(bytes.get(..HEADER - 4).unwrap_or_default())
    }
}
