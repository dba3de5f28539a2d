//! Encoding of nfnetlink transactions.

/// A list of netlink attributes; nfnetlink writes numbers in network byte order.
#[derive(Debug, Default)]
pub struct Attributes(pub Vec<u8>);

impl Attributes {
    /// An attribute with these bytes, padded.
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// An attribute with a text and its closing zero.
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// An attribute made of others.
    pub fn nested(self, kind: u16, value: Self) -> Self {
        self.bytes(kind | libc::NLA_F_NESTED as u16, &value.0)
    }

    pub fn expression(self, name: &str, data: Self) -> Self {
        self.nested(1, Self::default().text(1, name).nested(2, data))
    }
}

/// Messages between the two marks of a transaction.
pub struct Batch {
    bytes: Vec<u8>,
    messages: u32,
}

impl Batch {
    pub fn new() -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            messages: 0,
        };
        batch.message(BATCH_BEGIN, NLM_F_REQUEST, [0, 0, 0, SUBSYSTEM as u8], &[]);
        batch
    }

    /// Adds a message that is acknowledged.
    pub fn push(&mut self, kind: u16, flags: u16, attributes: Attributes) {
        self.messages += 1;
        let family = [NFPROTO_INET, 0, 0, 0];
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.message(SUBSYSTEM << 8 | kind, flags, family, &attributes.0);
    }

    /// Closes it: its bytes, and how many acknowledgements will come.
    pub fn finish(mut self) -> (Vec<u8>, usize) {
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

// Numbers of include/uapi/linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NFPROTO_INET: u8 = 1;

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
}
