//! Finds the TCP header in a frame, cheaply for the many, patiently for the few.

use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use rsttrace_common::{Flow, FlowKey};

use crate::snapshot::mapped;

const ETHERNET_LEN: usize = 14;
const VLAN_LEN: usize = 4;
/// As the context shows them: network order in a little-endian word.
const ETH_P_IP: u16 = 0x0800_u16.to_be();
const ETH_P_IPV6: u16 = 0x86dd_u16.to_be();
const ETH_P_8021Q: u16 = 0x8100_u16.to_be();
const ETH_P_8021AD: u16 = 0x88a8_u16.to_be();
const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// Extension headers followed at most.
const EXTENSIONS: usize = 6;

/// FIN, SYN, RST … as in byte 13 of the TCP header.
pub const RST: u8 = 0x04;
/// See [`RST`].
pub const SYN: u8 = 0x02;
/// See [`RST`].
pub const ACK: u8 = 0x10;

/// Whether a frame deserves a closer look: a TCP segment with one of the flags in `mask`, or one whose headers cannot be
/// read at a glance. Everything else leaves here.
#[inline(always)]
pub fn is_candidate(ctx: &TcContext, link_header: bool, mask: u8) -> bool {
    let start = ctx.data() + if link_header { ETHERNET_LEN } else { 0 };
    let end = ctx.data_end();
    // SAFETY: the context is the program's own.
    let mut protocol = unsafe { (*ctx.skb.skb).protocol } as u16;
    if protocol == ETH_P_IP {
        return v4_candidate(ctx, start, end, mask);
    }
    if protocol == ETH_P_IPV6 {
        return v6_candidate(ctx, start, end, mask);
    }
    if !link_header || (protocol != ETH_P_8021Q && protocol != ETH_P_8021AD) {
        return false;
    }
    // A tag that the device did not take off, perhaps with another one inside.
    let mut network = start;
    for _ in 0..2 {
        if protocol != ETH_P_8021Q && protocol != ETH_P_8021AD {
            break;
        }
        if network + VLAN_LEN > end {
            return true;
        }
        // SAFETY: within the packet, as just checked. Two bytes, as no wider alignment is promised.
        protocol = unsafe { ((network + 2) as *const u16).read_unaligned() };
        network += VLAN_LEN;
    }
    if protocol == ETH_P_IP {
        v4_candidate(ctx, network, end, mask)
    } else if protocol == ETH_P_IPV6 {
        v6_candidate(ctx, network, end, mask)
    } else {
        false
    }
}

#[inline(always)]
fn v4_candidate(ctx: &TcContext, network: usize, end: usize, mask: u8) -> bool {
    if network + 34 > end {
        // Too short for TCP, or its headers lie in fragments of the buffer. A short one of another protocol is settled
        // without a helper call.
        if network + 20 <= end && byte(network + 9) != TCP {
            return false;
        }
        return ctx.len() >= 40;
    }
    if byte(network + 9) != TCP {
        return false;
    }
    let version = byte(network);
    if version == 0x45 {
        return byte(network + 20 + 13) & mask != 0;
    }
    // With options.
    flags_at(network + usize::from(version & 0x0f) * 4, end, mask)
}

/// Whether the TCP header at a place has a flag of `mask`, or cannot be read at a glance.
#[inline(always)]
fn flags_at(tcp: usize, end: usize, mask: u8) -> bool {
    tcp + 14 > end || byte(tcp + 13) & mask != 0
}

#[inline(always)]
fn v6_candidate(ctx: &TcContext, network: usize, end: usize, mask: u8) -> bool {
    if network + 54 > end {
        if network + 40 <= end && !may_lead_to_tcp(byte(network + 6)) {
            return false;
        }
        return ctx.len() >= 60;
    }
    let next = byte(network + 6);
    if next == TCP {
        return byte(network + 40 + 13) & mask != 0;
    }
    // One extension header is common enough to look behind it.
    let after = byte(network + 40);
    match next {
        HOP_BY_HOP | ROUTING | DESTINATION if after == TCP => {
            let len = (usize::from(byte(network + 41)) + 1) * 8;
            flags_at(network + 40 + len, end, mask)
        }
        FRAGMENT if after == TCP => {
            // A later fragment has no TCP header.
            u16::from_be(half(network + 42)) & 0xfff8 == 0 && flags_at(network + 40 + 8, end, mask)
        }
        HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT => may_lead_to_tcp(after),
        _ => may_lead_to_tcp(next),
    }
}

#[inline(always)]
fn may_lead_to_tcp(next: u8) -> bool {
    matches!(
        next,
        TCP | HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
    )
}

#[inline(always)]
fn byte(at: usize) -> u8 {
    // SAFETY: every caller has compared the place with `data_end`, which the verifier checks.
    unsafe { *(at as *const u8) }
}

/// A TCP segment's place and addresses.
#[repr(C)]
pub struct Segment {
    /// A run is at work on it.
    pub busy: u64,
    /// Offset of the network header in the frame.
    pub network: u32,
    /// Offset of the TCP header from the network header.
    pub transport: u32,
    /// EtherType of the network header, host order.
    pub ethertype: u16,
    /// Innermost VLAN tag, 0: none.
    pub vlan_tci: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP flags.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Zero on devices without a link-layer header.
    pub source_mac: [u8; 6],
    /// Likewise.
    pub destination_mac: [u8; 6],
    /// Destination as `local`, source as `remote`.
    pub key: FlowKey,
    /// `flow`'s addresses and ports as `bpf_skc_lookup_tcp` wants them.
    pub v4: bool,
}

/// [`dissect`] for what nearly all frames are: IPv4 without options, not tagged, its headers in one piece. `false`: it is not
/// one of them, and what was filled in means nothing.
#[inline(always)]
pub fn dissect_plain(ctx: &TcContext, link_header: bool, into: &mut Segment) -> bool {
    // SAFETY: the context is the program's own.
    let skb = unsafe { &*ctx.skb.skb };
    let offset = if link_header { ETHERNET_LEN } else { 0 };
    let network = ctx.data() + offset;
    if skb.protocol as u16 != ETH_P_IP || network + 40 > ctx.data_end() {
        return false;
    }
    let fragment_offset = u16::from_be(half(network + 6)) & 0x1fff;
    if byte(network) != 0x45 || byte(network + 9) != TCP || fragment_offset != 0 {
        return false;
    }
    into.network = offset as u32;
    into.transport = 20;
    into.ethertype = u16::from_be(ETH_P_IP);
    into.vlan_tci = if skb.vlan_present != 0 {
        skb.vlan_tci as u16
    } else {
        0
    };
    into.ttl = byte(network + 8);
    into.flags = byte(network + 20 + 13);
    into.seq = address_at(network + 20 + 4).swap_bytes();
    into.v4 = true;
    into.key.flow = Flow {
        remote_address: mapped(address_at(network + 12)),
        local_address: mapped(address_at(network + 16)),
        remote_port: u16::from_be(half(network + 20)),
        local_port: u16::from_be(half(network + 22)),
        reserved: 0,
    };
    if link_header {
        let frame = ctx.data();
        into.destination_mac = mac_at(frame);
        into.source_mac = mac_at(frame + 6);
    } else {
        into.destination_mac = [0; 6];
        into.source_mac = [0; 6];
    }
    true
}

/// Two bytes within the packet, as every caller has checked. No wider alignment is promised.
#[inline(always)]
fn half(at: usize) -> u16 {
    // SAFETY: every caller has compared the place with `data_end`, which the verifier checks.
    unsafe { *(at as *const u16) }
}

#[inline(always)]
fn address_at(at: usize) -> u32 {
    u32::from(half(at)) | u32::from(half(at + 2)) << 16
}

#[inline(always)]
fn mac_at(at: usize) -> [u8; 6] {
    let [a, b] = half(at).to_ne_bytes();
    let [c, d] = half(at + 2).to_ne_bytes();
    let [e, f] = half(at + 4).to_ne_bytes();
    [a, b, c, d, e, f]
}

/// Dissects a frame by copying its headers: any options, extension headers, up to two VLAN tags, data in fragments.
/// `None`: no TCP segment, or a later fragment. All but the key's namespace is filled in.
#[inline(always)]
pub fn dissect(ctx: &TcContext, link_header: bool, into: &mut Segment) -> Option<()> {
    // SAFETY: the context is the program's own.
    let skb = unsafe { &*ctx.skb.skb };
    let mut protocol = skb.protocol as u16;
    let mut network = if link_header { ETHERNET_LEN as u32 } else { 0 };
    let mut vlan_tci = if skb.vlan_present != 0 {
        skb.vlan_tci as u16
    } else {
        0
    };
    for _ in 0..2 {
        if !link_header || (protocol != ETH_P_8021Q && protocol != ETH_P_8021AD) {
            break;
        }
        let tag: [u16; 2] = copy(ctx, network)?;
        vlan_tci = u16::from_be(tag[0]);
        protocol = tag[1];
        network += VLAN_LEN as u32;
    }
    if protocol == ETH_P_IP {
        v4(ctx, network, into)?;
    } else if protocol == ETH_P_IPV6 {
        v6(ctx, network, into)?;
    } else {
        return None;
    }
    into.vlan_tci = vlan_tci;
    (into.source_mac, into.destination_mac) = if link_header {
        (
            copy(ctx, 6).unwrap_or([0; 6]),
            copy(ctx, 0).unwrap_or([0; 6]),
        )
    } else {
        ([0; 6], [0; 6])
    };
    Some(())
}

#[inline(always)]
fn v4(ctx: &TcContext, network: u32, into: &mut Segment) -> Option<()> {
    let header: [u8; 20] = copy(ctx, network)?;
    let transport = u32::from(header[0] & 0x0f) * 4;
    let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if header[0] >> 4 != 4 || header[9] != TCP || transport < 20 || fragment_offset != 0 {
        return None;
    }
    let tcp: [u8; 20] = copy(ctx, network + transport)?;
    into.network = network;
    into.transport = transport;
    into.ethertype = u16::from_be(ETH_P_IP);
    into.ttl = header[8];
    into.flags = tcp[13];
    into.seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    into.v4 = true;
    into.key.flow = Flow {
        remote_address: mapped(u32::from_ne_bytes([
            header[12], header[13], header[14], header[15],
        ])),
        local_address: mapped(u32::from_ne_bytes([
            header[16], header[17], header[18], header[19],
        ])),
        remote_port: u16::from_be_bytes([tcp[0], tcp[1]]),
        local_port: u16::from_be_bytes([tcp[2], tcp[3]]),
        reserved: 0,
    };
    Some(())
}

#[inline(always)]
fn v6(ctx: &TcContext, network: u32, into: &mut Segment) -> Option<()> {
    let header: [u8; 8] = copy(ctx, network)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let mut next = header[6];
    let mut transport = 40_u32;
    for _ in 0..EXTENSIONS {
        if next == TCP {
            break;
        }
        let extension: [u8; 4] = copy(ctx, network + transport)?;
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION => transport += (u32::from(extension[1]) + 1) * 8,
            AUTHENTICATION => transport += (u32::from(extension[1]) + 2) * 4,
            FRAGMENT => {
                // RFC 8200 section 4.5: only the first fragment has the TCP header.
                if u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0 {
                    return None;
                }
                transport += 8;
            }
            _ => return None,
        }
        next = extension[0];
    }
    if next != TCP {
        return None;
    }
    let tcp: [u8; 20] = copy(ctx, network + transport)?;
    into.network = network;
    into.transport = transport;
    into.ethertype = u16::from_be(ETH_P_IPV6);
    into.ttl = header[7];
    into.flags = tcp[13];
    into.seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    into.v4 = false;
    into.key.flow = Flow {
        remote_address: copy(ctx, network + 8)?,
        local_address: copy(ctx, network + 24)?,
        remote_port: u16::from_be_bytes([tcp[0], tcp[1]]),
        local_port: u16::from_be_bytes([tcp[2], tcp[3]]),
        reserved: 0,
    };
    Some(())
}

/// Copies from the frame, wherever its bytes lie.
#[inline(always)]
pub fn copy<T: Copy>(ctx: &TcContext, offset: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: writes exactly the size of `value`, or fails. All types here are plain numbers.
    let status = unsafe {
        bpf_skb_load_bytes(
            ctx.skb.skb.cast(),
            offset,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
        )
    };
    if status == 0 {
        // SAFETY: it was filled.
        Some(unsafe { value.assume_init() })
    } else {
        None
    }
}
