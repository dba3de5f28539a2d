//! The TCP segment in a packet's first bytes.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpNumber, LaxIpSlice, TcpHeader, TcpHeaderSlice, TcpOptionElement, TcpOptionReadError,
    TcpOptionsIterator,
};

use super::DecodeError;
use crate::event::TcpFlags;

/// What the headers of a packet say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dissected {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub flags: TcpFlags,
    /// By the IP header's length, which link-layer padding does not change.
    pub payload_len: u32,
    pub ttl: u8,
    /// IPv4 only.
    pub ip_id: Option<u16>,
    /// IPv4 only.
    pub dont_fragment: Option<bool>,
    pub timestamps: Option<(u32, u32)>,
    pub has_options: bool,
}

/// Reads `snap`, a packet from its IP header on, maybe cut off. `tcp_offset` is where the kernel side found the TCP
/// header: needed where extension headers reach beyond what etherparse follows.
pub(super) fn dissect(snap: &[u8], tcp_offset: usize) -> Result<Dissected, DecodeError> {
    let (ip, stopped) = LaxIpSlice::from_slice(snap).map_err(|_| DecodeError::NoIpHeader)?;
    let network = Network::of(&ip);
    let payload = ip.payload();
    let found =
        stopped.is_none() && payload.ip_number == IpNumber::TCP && !payload.payload.is_empty();
    let start = if found {
        network.headers_len
    } else {
        tcp_offset
    };
    let tcp = Tcp::read(snap.get(start..).ok_or(DecodeError::NoTcpHeader)?)?;
    let (timestamps, has_options) = options(tcp.options);
    Ok(Dissected {
        source: SocketAddr::new(network.source, tcp.source_port),
        destination: SocketAddr::new(network.destination, tcp.destination_port),
        seq: tcp.seq,
        ack: tcp.ack,
        window: tcp.window,
        flags: tcp.flags,
        payload_len: u32::try_from(network.total_len.saturating_sub(start + tcp.header_len))
            .unwrap_or(0),
        ttl: network.ttl,
        ip_id: network.ip_id,
        dont_fragment: network.dont_fragment,
        timestamps,
        has_options,
    })
}

struct Network {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    ip_id: Option<u16>,
    dont_fragment: Option<bool>,
    /// IP header and extensions.
    headers_len: usize,
    /// The whole packet by the IP header.
    total_len: usize,
}

impl Network {
    fn of(ip: &LaxIpSlice<'_>) -> Self {
        match ip {
            LaxIpSlice::Ipv4(ip) => {
                let header = ip.header();
                Self {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    ttl: header.ttl(),
                    ip_id: Some(header.identification()),
                    dont_fragment: Some(header.dont_fragment()),
                    headers_len: header.slice().len()
                        + ip.extensions().auth.map_or(0, |auth| auth.slice().len()),
                    total_len: header.total_len().into(),
                }
            }
            LaxIpSlice::Ipv6(ip) => {
                let header = ip.header();
                Self {
                    source: IpAddr::from(header.source_addr()).to_canonical(),
                    destination: IpAddr::from(header.destination_addr()).to_canonical(),
                    ttl: header.hop_limit(),
                    ip_id: None,
                    dont_fragment: None,
                    headers_len: header.slice().len() + ip.extensions().slice().len(),
                    total_len: header.slice().len() + usize::from(header.payload_length()),
                }
            }
        }
    }
}

struct Tcp<'a> {
    source_port: u16,
    destination_port: u16,
    seq: u32,
    ack: u32,
    window: u16,
    flags: TcpFlags,
    header_len: usize,
    /// As far as they are there.
    options: &'a [u8],
}

impl<'a> Tcp<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if let Ok(header) = TcpHeaderSlice::from_slice(bytes) {
            let options = bytes
                .get(TcpHeader::MIN_LEN..header.slice().len())
                .unwrap_or_default();
            return Ok(Self::of(&header, header.slice().len(), options));
        }
        // The options are cut off: the same header without them is whole.
        let mut fixed: [u8; TcpHeader::MIN_LEN] =
            *bytes.first_chunk().ok_or(DecodeError::NoTcpHeader)?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < TcpHeader::MIN_LEN {
            return Err(DecodeError::NoTcpHeader);
        }
        fixed[12] = 5 << 4;
        let header = TcpHeaderSlice::from_slice(&fixed).map_err(|_| DecodeError::NoTcpHeader)?;
        let options = bytes.get(TcpHeader::MIN_LEN..).unwrap_or_default();
        Ok(Self::of(&header, header_len, options))
    }

    fn of(header: &TcpHeaderSlice<'_>, header_len: usize, options: &'a [u8]) -> Self {
        Self {
            source_port: header.source_port(),
            destination_port: header.destination_port(),
            seq: header.sequence_number(),
            ack: header.acknowledgment_number(),
            window: header.window_size(),
            flags: TcpFlags(header.slice().get(13).copied().unwrap_or(0)),
            header_len,
            options,
        }
    }
}

/// The timestamps option, and whether there is anything but padding. Options that etherparse has no name for (MD5,
/// MPTCP) are stepped over; what is malformed ends the list, as it does in the kernel.
fn options(mut rest: &[u8]) -> (Option<(u32, u32)>, bool) {
    let mut timestamps = None;
    let mut any = false;
    loop {
        let mut iterator = TcpOptionsIterator::from_slice(rest);
        let next = iterator.next();
        rest = match next {
            None => return (timestamps, any),
            Some(Ok(TcpOptionElement::Noop)) => iterator.rest(),
            Some(Ok(option)) => {
                any = true;
                if let TcpOptionElement::Timestamp(value, echo) = option {
                    timestamps = Some((value, echo));
                }
                iterator.rest()
            }
            Some(Err(TcpOptionReadError::UnknownId(_))) => {
                any = true;
                let length = rest.get(1).copied().unwrap_or(0);
                match rest.get(usize::from(length.max(2))..) {
                    Some(after) if length >= 2 => after,
                    _ => return (timestamps, any),
                }
            }
            Some(Err(_)) => return (timestamps, true),
        };
    }
}
