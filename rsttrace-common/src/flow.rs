//! Who talks to whom: addresses and ports as seen by one end.

wire! {
    /// The two ends of a connection, seen from this host ("local" is this host's end).
    ///
    /// Addresses are in network order; IPv4 is written as `::ffff:a.b.c.d`, also for v4-mapped sockets.
    pub struct Flow {
        /// This end's address; all zero for a listener on any address.
        pub local_address: [u8; 16],
        /// The other end's address; all zero for a listener.
        pub remote_address: [u8; 16],
        /// This end's port, host order.
        pub local_port: u16,
        /// The other end's port, host order; 0 for a listener.
        pub remote_port: u16,
        /// Zero.
        pub reserved: u32,
    }

    /// A flow in one network namespace: the key of the tombstones and of the TTL baselines.
    pub struct FlowKey {
        /// The flow; for a listener's tombstone the remote end is all zero, and an unspecified local address is all zero too.
        pub flow: Flow,
        /// `net.net_cookie`.
        pub netns_cookie: u64,
    }
}

/// Bytes 0..12 of an IPv4 address written as IPv6 (`::ffff:0:0/96`, RFC 4291 section 2.5.5.2).
pub const V4_MAPPED_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
