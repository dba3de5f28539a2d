//! nftables rules (drop, reject, redirect) without the nft tool.
//!
//! Speaks nfnetlink: one table of family inet a rule set, one base chain for each hook in use.

pub mod message;

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::netlink;
use crate::segment::Flags;
use message::{Attributes, Batch};

/// Where in the packet's way a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Packets that come in, before they are routed: where destinations are translated. Of a connection that
    /// conntrack knows, only the first packet is shown to rules here.
    Redirect,
    /// The same before connection tracking sees them.
    Untracked,
    /// Packets for this namespace.
    Input,
    /// Packets through this namespace.
    Forward,
    /// Packets of this namespace.
    Output,
    /// Packets that leave, after they are routed: where sources are translated. Rules see only the first packet of a connection.
    Leaving,
}

/// Which port of the segment is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Source(u16),
    Destination(u16),
}

/// What happens to a segment that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It disappears.
    Drop,
    /// It is answered with a RST.
    Reject,
    /// It goes to this address instead, as all that follows of its connection; in [`Hook::Redirect`] only.
    Redirect(SocketAddr),
    /// It leaves with an address of the namespace itself, as all that follows of its connection; in [`Hook::Leaving`] only.
    Masquerade,
    /// Connection tracking leaves it alone; in [`Hook::Untracked`] only.
    Untracked,
}

/// A rule on TCP segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub hook: Hook,
    pub port: Port,
    /// Flags that matter and what they must be; `None`: any.
    pub flags: Option<FlagMatch>,
    pub only: Option<Only>,
    pub verdict: Verdict,
}

impl Rule {
    /// For all segments with this port.
    pub fn new(hook: Hook, port: Port, verdict: Verdict) -> Self {
        Self {
            hook,
            port,
            flags: None,
            only: None,
            verdict,
        }
    }

    /// Only for these.
    pub fn only(mut self, only: Only) -> Self {
        self.only = Some(only);
        self
    }

    /// Only for segments whose `mask` bits are exactly `value`.
    pub fn flags(mut self, mask: Flags, value: Flags) -> Self {
        self.flags = Some(FlagMatch { mask, value });
        self
    }
}

/// Segments whose `mask` bits are exactly `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagMatch {
    pub mask: Flags,
    pub value: Flags,
}

/// A further condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Packets to this address.
    To(IpAddr),
    /// IPv4 packets of so many bytes, headers included.
    Length(u16),
    /// Segments that belong to no connection of conntrack's and cannot begin one.
    Invalid,
}

/// Makes the table with its chains and rules, in one transaction.
pub fn install(table: &str, rules: &[Rule]) -> io::Result<()> {
    let (batch, acks) = install_batch(table, rules);
    netlink::request(NETLINK_NETFILTER, &batch, acks)
}

/// Removes the table and all in it.
pub fn remove(table: &str) -> io::Result<()> {
    let mut batch = Batch::new();
    batch.push(NFT_MSG_DELTABLE, 0, Attributes::default().text(1, table));
    let (bytes, acks) = batch.finish();
    netlink::request(NETLINK_NETFILTER, &bytes, acks)
}

fn install_batch(table: &str, rules: &[Rule]) -> (Vec<u8>, usize) {
    let mut batch = Batch::new();
    batch.push(
        NFT_MSG_NEWTABLE,
        NLM_F_CREATE,
        Attributes::default().text(1, table),
    );
    for hook in [
        Hook::Redirect,
        Hook::Untracked,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Leaving,
    ] {
        if rules.iter().any(|rule| rule.hook == hook) {
            batch.push(NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain(table, hook));
        }
    }
    for rule in rules {
        batch.push(
            NFT_MSG_NEWRULE,
            NLM_F_CREATE | NLM_F_APPEND,
            rule_attributes(table, rule),
        );
    }
    batch.finish()
}

fn chain(table: &str, hook: Hook) -> Attributes {
    let (number, priority, kind) = match hook {
        Hook::Redirect => (0, PRIORITY_DSTNAT, "nat"),
        Hook::Untracked => (0, PRIORITY_RAW, "filter"),
        Hook::Input => (1, 0, "filter"),
        Hook::Forward => (2, 0, "filter"),
        Hook::Output => (3, 0, "filter"),
        Hook::Leaving => (4, PRIORITY_SRCNAT, "nat"),
    };
    let place = Attributes::default()
        .number(1, number)
        .bytes(2, &i32::to_be_bytes(priority));
    Attributes::default()
        .text(1, table)
        .text(3, chain_name(hook))
        .nested(4, place)
        .text(7, kind)
}

fn chain_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Redirect => "redirected",
        Hook::Untracked => "untracked",
        Hook::Input => "input",
        Hook::Forward => "forwarded",
        Hook::Output => "output",
        Hook::Leaving => "leaving",
    }
}

fn rule_attributes(table: &str, rule: &Rule) -> Attributes {
    let (offset, port) = match rule.port {
        Port::Source(port) => (0, port),
        Port::Destination(port) => (2, port),
    };
    let mut expressions = Attributes::default()
        .expression("meta", meta(META_L4PROTO))
        .expression("cmp", equals(&[libc::IPPROTO_TCP as u8]))
        .expression("payload", bytes_of(TRANSPORT_HEADER, offset, 2))
        .expression("cmp", equals(&port.to_be_bytes()));
    if let Some(flags) = rule.flags {
        expressions = expressions
            .expression("payload", bytes_of(TRANSPORT_HEADER, 13, 1))
            .expression("bitwise", masked(&[flags.mask.0]))
            .expression("cmp", equals(&[flags.value.0]));
    }
    expressions = match rule.only {
        None => expressions,
        Some(Only::To(IpAddr::V4(address))) => ipv4_field(expressions, 16, &address.octets()),
        Some(Only::To(IpAddr::V6(address))) => {
            field(expressions, NFPROTO_IPV6 as u8, 24, &address.octets())
        }
        Some(Only::Length(length)) => ipv4_field(expressions, 2, &length.to_be_bytes()),
        Some(Only::Invalid) => {
            // A bit set in the byte order of this machine.
            let invalid = CT_STATE_INVALID.to_ne_bytes();
            expressions
                .expression(
                    "ct",
                    Attributes::default()
                        .number(1, REGISTER)
                        .number(2, CT_STATE),
                )
                .expression("bitwise", masked(&invalid))
                .expression("cmp", equals(&invalid))
        }
    };
    Attributes::default()
        .text(1, table)
        .text(2, chain_name(rule.hook))
        .nested(4, verdict(expressions, rule.verdict))
}

fn verdict(expressions: Attributes, verdict: Verdict) -> Attributes {
    match verdict {
        Verdict::Drop => {
            let code = Attributes::default().number(1, NF_DROP);
            let data = Attributes::default().nested(2, code);
            let immediate = Attributes::default()
                .number(1, VERDICT_REGISTER)
                .nested(2, data);
            expressions.expression("immediate", immediate)
        }
        Verdict::Reject => expressions.expression(
            "reject",
            Attributes::default()
                .number(1, REJECT_TCP_RST)
                .bytes(2, &[0]),
        ),
        Verdict::Redirect(to) => {
            let (protocol, address) = match to.ip() {
                IpAddr::V4(address) => (NFPROTO_IPV4, address.octets().to_vec()),
                IpAddr::V6(address) => (NFPROTO_IPV6, address.octets().to_vec()),
            };
            expressions
                .expression("immediate", put(REGISTER, &address))
                .expression("immediate", put(REGISTER_2, &to.port().to_be_bytes()))
                .expression(
                    "nat",
                    Attributes::default()
                        .number(1, NAT_DNAT)
                        .number(2, protocol)
                        .number(3, REGISTER)
                        .number(5, REGISTER_2),
                )
        }
        Verdict::Masquerade => expressions.expression("masq", Attributes::default()),
        Verdict::Untracked => expressions.expression("notrack", Attributes::default()),
    }
}

fn ipv4_field(expressions: Attributes, offset: u32, value: &[u8]) -> Attributes {
    field(expressions, NFPROTO_IPV4 as u8, offset, value)
}

/// A field of the network header, of packets of this protocol.
fn field(expressions: Attributes, protocol: u8, offset: u32, value: &[u8]) -> Attributes {
    expressions
        .expression("meta", meta(META_NFPROTO))
        .expression("cmp", equals(&[protocol]))
        .expression(
            "payload",
            bytes_of(NETWORK_HEADER, offset, value.len() as u32),
        )
        .expression("cmp", equals(value))
}

fn meta(key: u32) -> Attributes {
    Attributes::default().number(1, REGISTER).number(2, key)
}

fn bytes_of(header: u32, offset: u32, length: u32) -> Attributes {
    Attributes::default()
        .number(1, REGISTER)
        .number(2, header)
        .number(3, offset)
        .number(4, length)
}

/// Keeps these bits of the register, which holds as many bytes.
fn masked(mask: &[u8]) -> Attributes {
    let keep = Attributes::default().bytes(1, mask);
    let flip = Attributes::default().bytes(1, &[0; 4][..mask.len()]);
    Attributes::default()
        .number(1, REGISTER)
        .number(2, REGISTER)
        .number(3, mask.len() as u32)
        .nested(4, keep)
        .nested(5, flip)
}

fn equals(value: &[u8]) -> Attributes {
    Attributes::default()
        .number(1, REGISTER)
        .number(2, CMP_EQUAL)
        .nested(3, Attributes::default().bytes(1, value))
}

fn put(register: u32, value: &[u8]) -> Attributes {
    Attributes::default()
        .number(1, register)
        .nested(2, Attributes::default().bytes(1, value))
}

// Numbers of include/uapi/linux/netfilter/nf_tables.h.
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
const REGISTER_2: u32 = 2;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CMP_EQUAL: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CT_STATE: u32 = 0;
const NAT_DNAT: u32 = 1;
const NFPROTO_IPV4: u32 = 2;
const NFPROTO_IPV6: u32 = 10;
const NF_DROP: u32 = 0;
const REJECT_TCP_RST: u32 = 1;
// include/net/netfilter/nf_conntrack.h
const CT_STATE_INVALID: u32 = 1;
// include/uapi/linux/netfilter_ipv4.h
const PRIORITY_RAW: i32 = -300;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_SRCNAT: i32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_its_marks_and_one_ack_a_message() {
        let rule = Rule::new(Hook::Input, Port::Destination(80), Verdict::Reject);
        let rule = rule.flags(Flags::SYN_ACK, Flags::SYN);
        let (bytes, acks) = install_batch("t", &[rule, rule]);
        assert_eq!(acks, 4);
        let mut kinds = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            kinds.push(u16::from_ne_bytes([rest[4], rest[5]]));
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            assert_eq!(length % 4, 0);
            rest = &rest[length..];
        }
        assert_eq!(kinds, [0x10, 0xa00, 0xa03, 0xa06, 0xa06, 0x11]);
    }

    #[test]
    fn the_port_is_in_network_byte_order() {
        let rule = Rule::new(Hook::Output, Port::Source(0x1234), Verdict::Drop);
        let attributes = rule_attributes("t", &rule);
        assert!(attributes.0.windows(2).any(|two| two == [0x12, 0x34]));
        assert!(attributes.0.windows(9).any(|name| name == b"immediate"));
        assert!(!attributes.0.windows(7).any(|name| name == b"bitwise"));
    }

    #[test]
    fn a_redirection_is_a_nat_chain_with_address_and_port() {
        let to = SocketAddr::from(([203, 0, 113, 3], 8080));
        let rule = Rule::new(Hook::Redirect, Port::Destination(80), Verdict::Redirect(to));
        let rule = rule.only(Only::To(IpAddr::from([198, 51, 100, 2])));
        let chain = chain("t", rule.hook);
        assert!(chain.0.windows(4).any(|kind| kind == b"nat\0"));
        let attributes = rule_attributes("t", &rule);
        for octets in [[198, 51, 100, 2], [203, 0, 113, 3]] {
            assert!(attributes.0.windows(4).any(|four| four == octets));
        }
    }
}
