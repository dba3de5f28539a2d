//! Looks of resets that devices on the path sent: the next ones of the same device are recognized by it.

use std::time::Duration;

use crate::event::{BootTime, NetnsCookie, Packet};
use crate::hash::{self, LruCache};
use crate::record::Confidence;

/// Looks kept.
const MOST: usize = 1_024;
/// A device may be replaced, or a route change, so that peers come to look like it.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// What a device leaves the same in each of its resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Look {
    ttl: u8,
    flags: u8,
    window: u16,
    dont_fragment: Option<bool>,
    has_ip_id: bool,
    has_options: bool,
    source_mac: Option<[u8; 6]>,
}

impl Look {
    fn of(packet: &Packet) -> Self {
        let segment = &packet.segment;
        Self {
            ttl: segment.ttl,
            flags: segment.flags.0,
            window: segment.window,
            dont_fragment: packet.dont_fragment,
            has_ip_id: segment.ip_id.is_some_and(|id| id != 0),
            has_options: packet.has_options,
            source_mac: packet.source_mac,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Devices {
    /// When one of this look was last seen, and whether it certainly was no peer's.
    seen: LruCache<(NetnsCookie, Look), (BootTime, bool)>,
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            seen: hash::lru(MOST),
        }
    }
}

impl Devices {
    /// A reset did not come from its peer. One whose TTL is that of the handshake looks like the peer's own.
    pub fn note(
        &mut self,
        netns: NetnsCookie,
        packet: &Packet,
        confidence: Confidence,
        time: BootTime,
    ) {
        let imitates = packet
            .baseline
            .is_none_or(|baseline| baseline.ttl == packet.segment.ttl);
        if imitates || confidence == Confidence::Possible {
            return;
        }
        let key = (netns, Look::of(packet));
        let proven = confidence == Confidence::Certain
            || self.seen.peek(&key).is_some_and(|(_, proven)| *proven);
        self.seen.put(key, (time, proven));
    }

    /// How long before a device sent one of this look, and whether it certainly did.
    pub fn like(
        &self,
        netns: NetnsCookie,
        packet: &Packet,
        time: BootTime,
    ) -> Option<(Duration, bool)> {
        let (seen, proven) = self.seen.peek(&(netns, Look::of(packet)))?;
        let ago = time.since(*seen);
        (*seen < time && ago <= REMEMBERED).then_some((ago, *proven))
    }

    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> [(&'static str, usize, Option<usize>); 1] {
        [("devices", self.seen.len(), Some(MOST))]
    }
}
