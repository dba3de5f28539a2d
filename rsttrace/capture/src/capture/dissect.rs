//! TCP segment of a frame, below its link layer and tunnels.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use etherparse::{IpNumber, LaxIpSlice, err, ip_number};

use super::{
    CaptureTime, LinkType, Overlay, Segment, Way,
    layer::{Header, Layer, Network, ReadHeader, Unread},
    tcp::{NoTcp, Tcp},
};

/// Why a frame gives no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// It carries something else.
    NotTcp,
    /// It may carry TCP, in something that is not read.
    Unread(Unread),
    /// A fragment of a packet without the TCP header.
    Fragment,
    /// The capture holds less than the TCP header.
    Cut,
    /// Its headers contradict themselves or the length that it had on the wire.
    Malformed,
}

/// What a file says of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Absent where the file gives none.
    pub time: Option<CaptureTime>,
    /// Number in the file.
    pub interface: u32,
    /// Or why it has none.
    pub link_type: Result<LinkType, Skipped>,
    pub way: Option<Way>,
    /// Bytes on the wire.
    pub wire_len: u32,
    /// Where its bytes are in the input's buffer.
    pub bytes: Range<usize>,
}

/// The segment but for its time and number, and where its payload is in `bytes`. The innermost TCP header counts.
pub(super) fn dissect(
    frame: &Frame,
    bytes: &[u8],
) -> Result<(Segment<'static>, Range<usize>), Skipped> {
    let wire_len = usize::try_from(frame.wire_len).unwrap_or(usize::MAX);
    let mut walk = Walk {
        bytes,
        at: 0,
        end: bytes.len(),
        wire_end: wire_len.max(bytes.len()),
        overlay: Overlay::default(),
        ends: None,
        source_mac: None,
        way: frame.way,
        interface: None,
        short: if bytes.len() < wire_len {
            Skipped::Cut
        } else {
            Skipped::Malformed
        },
    };
    let mut layer = frame.link_type?.layer();
    for _ in 0..DEEPEST {
        layer = match layer {
            Layer::Header(read) => walk.header(read)?,
            Layer::Ip => {
                let ip = walk.ip()?;
                if ip.protocol == ip_number::TCP {
                    return walk.segment(frame, &ip);
                }
                walk.ends = Some((ip.source, ip.destination));
                Layer::of_ip_protocol(ip.protocol.0)
            }
            Layer::NotTcp => return Err(Skipped::NotTcp),
            Layer::Unread(what) => return Err(Skipped::Unread(what)),
        };
    }
    Err(Skipped::Unread(Unread::TooDeep))
}

/// Headers before the TCP header, at most: nobody nests as many, and a forged frame may.
const DEEPEST: usize = 32;

/// How far a frame has been understood.
struct Walk<'a> {
    bytes: &'a [u8],
    /// Where the next header begins.
    at: usize,
    /// Where the captured bytes end that belong to the packet.
    end: usize,
    /// Where the packet ended on the wire.
    wire_end: usize,
    overlay: Overlay,
    /// Source and destination of the last IP header.
    ends: Option<(IpAddr, IpAddr)>,
    /// Of the outermost frame that was not put around a copy.
    source_mac: Option<[u8; 6]>,
    way: Option<Way>,
    interface: Option<u32>,
    /// What a frame is that ends within a header.
    short: Skipped,
}

/// What an IP header says of the packet behind it.
struct Ip {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    id: Option<u16>,
    dont_fragment: Option<bool>,
    protocol: IpNumber,
}

impl Walk<'_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }

    /// Goes behind any other header.
    fn header(&mut self, read: ReadHeader) -> Result<Layer, Skipped> {
        let Header {
            len,
            next,
            network,
            source_mac,
            way,
            interface,
        } = read(self.rest()).ok_or(self.short)?;
        self.overlay = match network {
            Network::Same => self.overlay,
            Network::Vlan(id) => self.overlay.in_vlan(id),
            Network::Session(id) => self.overlay.in_session(id),
            Network::Vni(kind, id) => self.overlay.in_vni(kind, id),
            Network::Key(key) => self.overlay.in_key(key),
            Network::Ends => self.ends.map_or(self.overlay, |(source, destination)| {
                self.overlay.between(source, destination)
            }),
            Network::Mirrored => {
                (self.source_mac, self.way) = (None, None);
                Overlay::default()
            }
        };
        self.source_mac = self.source_mac.or(source_mac);
        self.way = way.or(self.way);
        self.interface = interface.or(self.interface);
        self.at += len;
        Ok(next)
    }

    /// Goes behind IP header and extension headers.
    fn ip(&mut self) -> Result<Ip, Skipped> {
        let (slice, stopped) =
            LaxIpSlice::from_slice(self.rest()).map_err(|error| match error {
                err::ip::LaxHeaderSliceError::Len(_) => self.short,
                err::ip::LaxHeaderSliceError::Content(_) => Skipped::Malformed,
            })?;
        let protocol = slice.payload_ip_number();
        // 0 where the network card was to cut the packet up, and where it is larger than the field can say (BIG TCP).
        let (ip, headers_len, packet_len, is_first) = match &slice {
            LaxIpSlice::Ipv4(ip) => {
                let header = ip.header();
                let auth = ip.extensions().auth.map_or(0, |auth| auth.slice().len());
                let described = Ip {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    ttl: header.ttl(),
                    id: Some(header.identification()),
                    dont_fragment: Some(header.dont_fragment()),
                    protocol,
                };
                let total = usize::from(header.total_len());
                let is_first = header.fragments_offset().value() == 0;
                (described, header.slice().len() + auth, total, is_first)
            }
            LaxIpSlice::Ipv6(ip) => {
                let header = ip.header();
                let extensions = ip.extensions();
                let described = Ip {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    ttl: header.hop_limit(),
                    id: None,
                    dont_fragment: None,
                    protocol,
                };
                let total = match header.payload_length() {
                    0 => 0,
                    payload => header.slice().len() + usize::from(payload),
                };
                let is_first = !extensions.is_fragmenting_payload()
                    || is_first_fragment(header.next_header(), extensions.slice());
                let headers_len = header.slice().len() + extensions.slice().len();
                (described, headers_len, total, is_first)
            }
        };
        if !is_first {
            return Err(Skipped::Fragment);
        }
        if let Some((error, _)) = stopped {
            return Err(match error {
                err::ipv6_exts::HeaderSliceError::Len(_) => self.short,
                err::ipv6_exts::HeaderSliceError::Content(_) => Skipped::Malformed,
            });
        }
        if slice.is_fragmenting_payload() {
            self.short = Skipped::Fragment;
        }
        if packet_len != 0 {
            if packet_len < headers_len {
                return Err(Skipped::Malformed);
            }
            // Behind it there is only what pads an Ethernet frame.
            self.wire_end = self.at + packet_len;
            self.end = self.end.min(self.wire_end);
        }
        self.at += headers_len;
        Ok(ip)
    }

    fn segment(&self, frame: &Frame, ip: &Ip) -> Result<(Segment<'static>, Range<usize>), Skipped> {
        let tcp = Tcp::read(self.rest()).map_err(|error| match error {
            NoTcp::Short => self.short,
            NoTcp::Malformed => Skipped::Malformed,
        })?;
        let start = self.at + tcp.header_len;
        let payload_len = self.wire_end.checked_sub(start).ok_or(Skipped::Malformed)?;
        let segment = Segment {
            time: frame.time.unwrap_or_default(),
            frame: 0,
            interface: self.interface.unwrap_or(frame.interface),
            overlay: self.overlay,
            source: SocketAddr::new(ip.source, tcp.source_port),
            destination: SocketAddr::new(ip.destination, tcp.destination_port),
            seq: tcp.seq,
            ack: tcp.ack,
            flags: tcp.flags,
            window: tcp.window,
            options: tcp.options,
            payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
            payload: &[],
            ttl: ip.ttl,
            ip_id: ip.id,
            dont_fragment: ip.dont_fragment,
            source_mac: self.source_mac,
            way: self.way,
        };
        Ok((segment, start.min(self.end)..self.end))
    }
}

/// Whether IPv6 extension headers, of which the first is `next`, belong to the first fragment of a packet.
fn is_first_fragment(mut next: IpNumber, mut extensions: &[u8]) -> bool {
    while let [following, length, ..] = *extensions {
        let length = match next {
            ip_number::IPV6_FRAG => {
                let offset = extensions.get(2..4).unwrap_or_default();
                if offset
                    .iter()
                    .zip([0xff, 0xf8])
                    .any(|(byte, mask)| byte & mask != 0)
                {
                    return false;
                }
                8
            }
            ip_number::AUTH => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        next = IpNumber(following);
        extensions = extensions.get(length..).unwrap_or_default();
    }
    true
}
