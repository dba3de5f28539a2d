//! How is a packet dropped or rejected without the nft tool?
//!
//! Speaks nfnetlink: one table of family inet a rule set, one base chain for each hook in use.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use serde::{Deserialize, Serialize};

use super::netlink;
use crate::demo::segment::Flags;

/// Where in the packet's way a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Packets for this namespace.
    Input,
    /// Packets through this namespace.
    Forward,
    /// Packets of this namespace.
    Output,
}

/// Which port of the segment is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// The source port.
    Source(u16),
    /// The destination port.
    Destination(u16),
}

/// What happens to a segment that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It disappears.
    Drop,
    /// It is answered with a RST.
    Reject,
}

/// A rule on TCP segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Where.
    pub hook: Hook,
    /// The port that must fit.
    pub port: Port,
    /// Flags that matter and what they must be; `None`: any.
    pub flags: Option<FlagMatch>,
    /// What then.
    pub verdict: Verdict,
}

/// Segments whose `mask` bits are exactly `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagMatch {
    /// The bits that matter.
    pub mask: Flags,
    /// What they must be.
    pub value: Flags,
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
    for hook in [Hook::Input, Hook::Forward, Hook::Output] {
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
    let number = match hook {
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
    };
    Attributes::default()
        .text(1, table)
        .text(3, chain_name(hook))
        .nested(4, Attributes::default().number(1, number).number(2, 0))
        .text(7, "filter")
}

fn chain_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Input => "input",
        Hook::Forward => "forwarded",
        Hook::Output => "output",
    }
}

fn rule_attributes(table: &str, rule: &Rule) -> Attributes {
    let (offset, port) = match rule.port {
        Port::Source(port) => (0, port),
        Port::Destination(port) => (2, port),
    };
    let mut expressions = Attributes::default()
        .expression(
            "meta",
            Attributes::default()
                .number(1, REGISTER)
                .number(2, META_L4PROTO),
        )
        .expression("cmp", equals(&[libc::IPPROTO_TCP as u8]))
        .expression("payload", transport_bytes(offset, 2))
        .expression("cmp", equals(&port.to_be_bytes()));
    if let Some(flags) = rule.flags {
        let mask = Attributes::default().bytes(1, &[flags.mask.0]);
        let xor = Attributes::default().bytes(1, &[0]);
        expressions = expressions
            .expression("payload", transport_bytes(13, 1))
            .expression(
                "bitwise",
                Attributes::default()
                    .number(1, REGISTER)
                    .number(2, REGISTER)
                    .number(3, 1)
                    .nested(4, mask)
                    .nested(5, xor),
            )
            .expression("cmp", equals(&[flags.value.0]));
    }
    expressions = match rule.verdict {
        Verdict::Drop => {
            let verdict = Attributes::default().number(1, NF_DROP);
            let data = Attributes::default().nested(2, verdict);
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
    };
    Attributes::default()
        .text(1, table)
        .text(2, chain_name(rule.hook))
        .nested(4, expressions)
}

fn transport_bytes(offset: u32, length: u32) -> Attributes {
    Attributes::default()
        .number(1, REGISTER)
        .number(2, TRANSPORT_HEADER)
        .number(3, offset)
        .number(4, length)
}

fn equals(value: &[u8]) -> Attributes {
    Attributes::default()
        .number(1, REGISTER)
        .number(2, CMP_EQUAL)
        .nested(3, Attributes::default().bytes(1, value))
}

/// A list of netlink attributes; nfnetlink writes numbers in network byte order.
#[derive(Debug, Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    fn nested(self, kind: u16, value: Self) -> Self {
        self.bytes(kind | libc::NLA_F_NESTED as u16, &value.0)
    }

    fn expression(self, name: &str, data: Self) -> Self {
        self.nested(1, Self::default().text(1, name).nested(2, data))
    }
}

/// Messages between the two marks of a transaction.
struct Batch {
    bytes: Vec<u8>,
    messages: u32,
}

impl Batch {
    fn new() -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            messages: 0,
        };
        batch.message(BATCH_BEGIN, NLM_F_REQUEST, [0, 0, 0, SUBSYSTEM as u8], &[]);
        batch
    }

    fn push(&mut self, kind: u16, flags: u16, attributes: Attributes) {
        self.messages += 1;
        let family = [NFPROTO_INET, 0, 0, 0];
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.message(SUBSYSTEM << 8 | kind, flags, family, &attributes.0);
    }

    fn finish(mut self) -> (Vec<u8>, usize) {
        self.message(BATCH_END, NLM_F_REQUEST, [0, 0, 0, SUBSYSTEM as u8], &[]);
        (self.bytes, self.messages as usize)
    }

    fn message(&mut self, kind: u16, flags: u16, header: [u8; 4], body: &[u8]) {
        let length = (16 + header.len() + body.len()) as u32;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(header);
        self.bytes.extend(body);
    }
}

// Numbers of include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NFPROTO_INET: u8 = 1;
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
const META_L4PROTO: u32 = 16;
const CMP_EQUAL: u32 = 0;
const TRANSPORT_HEADER: u32 = 2;
const NF_DROP: u32 = 0;
const REJECT_TCP_RST: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_ones_marked() {
        let list = Attributes::default().text(1, "rt").number(2, 6);
        assert_eq!(list.0[..8], [7, 0, 1, 0, b'r', b't', 0, 0]);
        assert_eq!(list.0[8..], [8, 0, 2, 0, 0, 0, 0, 6]);
        let outer = Attributes::default().nested(4, Attributes::default().bytes(1, &[9]));
        assert_eq!(outer.0, [12, 0, 4, 0x80, 5, 0, 1, 0, 9, 0, 0, 0]);
    }

    #[test]
    fn a_transaction_has_its_marks_and_one_ack_a_message() {
        let rule = Rule {
            hook: Hook::Input,
            port: Port::Destination(80),
            flags: Some(FlagMatch {
                mask: Flags::SYN_ACK,
                value: Flags::SYN,
            }),
            verdict: Verdict::Reject,
        };
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
        let rule = Rule {
            hook: Hook::Output,
            port: Port::Source(0x1234),
            flags: None,
            verdict: Verdict::Drop,
        };
        let attributes = rule_attributes("t", &rule);
        assert!(attributes.0.windows(2).any(|two| two == [0x12, 0x34]));
        assert!(attributes.0.windows(9).any(|name| name == b"immediate"));
        assert!(!attributes.0.windows(7).any(|name| name == b"bitwise"));
    }
}
