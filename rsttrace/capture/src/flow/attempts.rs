//! SYNs of a capture by their numbers: a SYN-ACK of another address that answers one bypassed the NAT on the way there.

use std::net::SocketAddr;

use super::End;
use crate::capture::{CaptureTime, Overlay, Segment};
use crate::event::{Attempt, BootTime, TcpFlags};
use crate::hash::{self, LruCache};

/// SYNs kept, and answers to them.
const MOST: usize = 4_096;

/// A SYN by its source and number.
type Number = (Overlay, End, u32);

/// See the module.
#[derive(Debug)]
pub struct Attempts {
    /// Its destination; absent if it had several, as where the capture shows it before and after a translation.
    syns: LruCache<Number, (Option<SocketAddr>, CaptureTime)>,
    /// By both ends of the answer, the one that connects first.
    answered: LruCache<(Overlay, End, End), Attempt>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            syns: hash::lru(MOST),
            answered: hash::lru(MOST),
        }
    }
}

impl Attempts {
    /// Takes notice of a segment; of handshakes only.
    pub fn see(&mut self, segment: &Segment<'_>) {
        if !segment.flags.has(TcpFlags::SYN) {
            return;
        }
        let (source, destination) = (segment.source, segment.destination);
        if !segment.flags.has(TcpFlags::ACK) {
            let key = (segment.overlay, End::of(source), segment.seq);
            let known = self.syns.get(&key).map(|(to, _)| *to);
            let to = match known {
                Some(to) if to != Some(destination) => None,
                Some(_) | None => Some(destination),
            };
            self.syns.put(key, (to, segment.time));
            return;
        }
        let number = segment.ack.wrapping_sub(1);
        let key = (segment.overlay, End::of(destination), number);
        if let Some(&(Some(to), sent)) = self.syns.peek(&key)
            && to != source
        {
            let ends = (segment.overlay, End::of(destination), End::of(source));
            let attempt = Attempt {
                to,
                sent: BootTime(sent.0),
                holder: None,
            };
            self.answered.put(ends, attempt);
        }
    }

    /// The attempt to another address whose answer this reset may answer.
    pub fn of_reset(&self, reset: &Segment<'_>) -> Option<Attempt> {
        let (source, destination) = (End::of(reset.source), End::of(reset.destination));
        let ends = (reset.overlay, source, destination);
        self.answered.peek(&ends).cloned()
    }
}
