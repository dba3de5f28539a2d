//! TCP header, possibly truncated.

use etherparse::{TcpHeader, TcpHeaderSlice};

use super::TcpOptions;
use crate::event::TcpFlags;

/// A header, and where its payload begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tcp {
    pub source_port: u16,
    pub destination_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: TcpFlags,
    pub window: u16,
    pub options: TcpOptions,
    /// Of the whole header in bytes, captured or not.
    pub header_len: usize,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTcp {
    /// Less than its fixed part is there.
    Short,
    /// Its length is less than its fixed part.
    Malformed,
}

impl Tcp {
    /// Reads the header at the beginning of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self, NoTcp> {
        let mut fixed: [u8; TcpHeader::MIN_LEN] = *bytes.first_chunk().ok_or(NoTcp::Short)?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < TcpHeader::MIN_LEN {
            return Err(NoTcp::Malformed);
        }
        // The options may be cut off: the same header without them is whole.
        fixed[12] = 5 << 4;
        let header = TcpHeaderSlice::from_slice(&fixed).map_err(|_| NoTcp::Malformed)?;
        let end = header_len.min(bytes.len());
        let mut options = options(bytes.get(TcpHeader::MIN_LEN..end).unwrap_or_default());
        options.cut = end < header_len;
        Ok(Self {
            source_port: header.source_port(),
            destination_port: header.destination_port(),
            seq: header.sequence_number(),
            ack: header.acknowledgment_number(),
            flags: TcpFlags(fixed[13]),
            window: header.window_size(),
            options,
            header_len,
        })
    }
}

/// Steps over options that it does not know; what is malformed ends the list, as it does in Linux (`tcp_parse_options`).
fn options(mut rest: &[u8]) -> TcpOptions {
    let mut found = TcpOptions::default();
    loop {
        rest = match *rest {
            [] | [END, ..] => return found,
            [NOP, ref after @ ..] => after,
            [TIMESTAMPS, 10, a, b, c, d, e, f, g, h, ref after @ ..] => {
                found.any = true;
                found.timestamps = Some((
                    u32::from_be_bytes([a, b, c, d]),
                    u32::from_be_bytes([e, f, g, h]),
                ));
                after
            }
            [WINDOW_SCALE, 3, shift, ref after @ ..] => {
                found.any = true;
                found.window_scale = Some(shift);
                after
            }
            [_, length, ..] if length >= 2 => {
                found.any = true;
                rest.get(usize::from(length)..).unwrap_or_default()
            }
            _ => {
                found.any = true;
                return found;
            }
        };
    }
}

const END: u8 = 0;
const NOP: u8 = 1;
const WINDOW_SCALE: u8 = 3;
const TIMESTAMPS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_syn_are_read() {
        let syn = [
            2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 1, 2, 0, 0, 0, 3, 1, 3, 3, 7,
        ];
        let found = options(&syn);
        assert_eq!(found.timestamps, Some((0x102, 3)));
        assert_eq!(found.window_scale, Some(7));
        assert!(found.any);
    }

    #[test]
    fn padding_is_no_option() {
        assert_eq!(options(&[1, 1, 1, 0, 9, 9]), TcpOptions::default());
    }

    #[test]
    fn what_has_no_name_is_stepped_over() {
        let mptcp = [30, 4, 0x50, 1, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(options(&mptcp).timestamps, Some((1, 2)));
    }

    #[test]
    fn malformed_options_end_the_list() {
        for malformed in [&[8, 0][..], &[8, 1, 8, 10], &[2], &[3, 200, 1], &[8, 10, 1]] {
            let found = options(malformed);
            assert_eq!(found.timestamps, None, "{malformed:?}");
            assert!(found.any);
        }
    }

    #[test]
    fn a_header_whose_options_are_cut_off_says_so() {
        let mut header = [0; 24];
        header[12] = 8 << 4;
        header[20..].copy_from_slice(&[1, 1, 8, 10]);
        let tcp = Tcp::read(&header).unwrap();
        assert!(tcp.options.cut && tcp.options.any);
        assert_eq!(tcp.header_len, 32);
        assert_eq!(Tcp::read(&header[..19]), Err(NoTcp::Short));
        header[12] = 4 << 4;
        assert_eq!(Tcp::read(&header), Err(NoTcp::Malformed));
    }
}
