//! A reset on the wire, as a classifier sees it.

use crate::header::Header;
use crate::task::CurrentTask;

/// Most bytes of a packet that an event carries, from the network header on: any IPv4 and TCP header, any IPv6 one
/// with up to 24 bytes of extensions.
pub const SNAP_LEN: usize = 128;

wire! {
    /// What the SYN or SYN-ACK of a flow looked like when it came in: what a genuine reset is compared with.
    pub struct Baseline {
        /// When it came in: nanoseconds of `CLOCK_BOOTTIME`; 0: no baseline.
        pub seen_ns: u64,
        /// TTL or hop limit.
        pub ttl: u8,
        /// TCP flags of that segment.
        pub flags: u8,
        /// Source MAC address; zero on devices without one.
        pub source_mac: [u8; 6],
    }

    /// The socket a reset was aimed at, looked up in the device's namespace before any NAT (ingress only).
    pub struct Target {
        /// Cookie; 0: the socket has none yet.
        pub cookie: u64,
        /// `rcv_nxt`.
        pub rcv_nxt: u32,
        /// Window offered, bytes.
        pub rcv_wnd: u32,
        /// `snd_una`.
        pub snd_una: u32,
        /// `snd_nxt`.
        pub snd_nxt: u32,
        /// `TCP_` state; 0: no socket was found (or none was looked for). For listeners and minisocks the numbers above are 0.
        pub state: u8,
        /// Zero.
        pub reserved: [u8; 7],
    }

    /// A TCP segment with RST at a traffic-control hook.
    pub struct RstPacket {
        /// Kind `KIND_RST_PACKET`.
        pub header: Header,
        /// Who was running: set only with `PACKET_RAW_SOCKET`, else zero.
        pub sender: CurrentTask,
        /// The socket it was aimed at, ingress only.
        pub target: Target,
        /// Ingress: the SYN or SYN-ACK that came from the same sender on this flow. Egress, without a socket: the one that came
        /// from where this reset goes to.
        pub baseline: Baseline,
        /// Egress: cookie of `skb->sk`; 0: none. Never read at ingress, where it is the remote sender's.
        pub socket_cookie: u64,
        /// Egress with `PACKET_RAW_SOCKET`: inode of that socket; 0: not known.
        pub socket_inode: u64,
        /// Device.
        pub ifindex: u32,
        /// Egress: device it came in by, 0: it was made on this host.
        pub ingress_ifindex: u32,
        /// Length of the whole frame, bytes.
        pub wire_len: u32,
        /// `skb->mark`.
        pub mark: u32,
        /// `PACKET_` flags.
        pub flags: u32,
        /// EtherType of the network header, host order.
        pub ethertype: u16,
        /// Innermost VLAN tag's TCI as far as read; 0: none.
        pub vlan_tci: u16,
        /// Source MAC address; zero on devices without one.
        pub source_mac: [u8; 6],
        /// Destination MAC address; zero on devices without one.
        pub destination_mac: [u8; 6],
        /// Bytes valid in `snap`.
        pub snap_len: u16,
        /// Offset of the TCP header from the network header; may lie beyond `snap_len`.
        pub tcp_offset: u16,
        /// The packet from its network header on.
        pub snap: [u8; SNAP_LEN],
    }
}

/// Seen on its way out; else on its way in.
pub const PACKET_EGRESS: u32 = 1;
/// `skb->sk` was a raw or packet socket of a program (egress).
pub const PACKET_RAW_SOCKET: u32 = 2;
/// `skb->sk` was set (egress).
pub const PACKET_HAS_SOCKET: u32 = 4;
/// The target socket was looked up (ingress): `target.state` 0 then means that there was none.
pub const PACKET_LOOKED_UP: u32 = 8;
/// The device is a loopback device.
pub const PACKET_LOOPBACK: u32 = 16;
