//! Observation of a reset in a packet capture, for the judge.

use std::sync::Arc;
use std::time::Duration;

use crate::correlate::{accepts, is_passive_form};
use crate::event::{Attempt, BootTime, NetnsCookie, Packet, Received, Segment, TcpFlags, TcpState};
use crate::record::Vantage;

/// A reset in a packet capture, with what the capture shows of its connection before and after it.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturedReset {
    /// Number of its frame in the file.
    pub frame: u64,
    /// When it was captured: nanoseconds since the epoch, by the capturing host's clock.
    pub time: BootTime,
    /// Where its addresses hold: stands for a network namespace.
    pub overlay: NetnsCookie,
    /// The segment, as it would look coming in at the end it goes to.
    pub packet: Arc<Packet>,
    /// Where on its way the capture was made; absent if nothing tells.
    pub vantage: Option<Vantage>,
    /// What tells where.
    pub placed: Placed,
    /// TTL of its source's other segments on this connection: its own, if one of them had that, else the greatest; absent if
    /// none was seen.
    pub usual_ttl: Option<u8>,
    /// The connection had been reset before: whether by the same end, and how long before.
    pub ended_before: Option<(bool, Duration)>,
    /// The next sequence number of its source; absent if nothing of it was seen.
    pub expected: Option<u32>,
    /// The number that the end it goes to acknowledged last, where it has not acknowledged what its source sent after that,
    /// though there was time: it may not have got it.
    pub stuck: Option<u32>,
    /// Least round trip from the capture to its source and back; absent if none was measured.
    pub round_trip: Option<Duration>,
    /// The same to the end it goes to.
    pub onward_trip: Option<Duration>,
    /// What its source had done before.
    pub sender: SenderSeen,
    /// What the end it goes to would know; absent if the capture holds nothing else of the connection.
    pub received: Option<Received>,
    /// How far from it, before or after, the other end had sent a reset, too.
    pub other_way: Option<Duration>,
    /// It was seen on another device as well.
    pub seen_again: bool,
    /// Its source spoke on afterwards.
    pub talks_on: Option<TalksOn>,
    /// The end it went to went on with data afterwards: how long after it.
    pub lives_on: Option<Duration>,
    /// The end it went to answered with an acknowledgement.
    pub challenged: bool,
    /// Further resets of its source just after it that have numbers beyond its own and answer nothing.
    pub volley: usize,
    /// Its source had sent a SYN to another address, and a SYN-ACK of the end it goes to answers that.
    pub attempt: Option<Attempt>,
}

/// What the end that a captured reset came from had done before. Spans are counted back from the reset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SenderSeen {
    /// Since its FIN; absent if it had sent none.
    pub finished: Option<Duration>,
    /// Since its last segment; absent if none was seen.
    pub silent: Option<Duration>,
    /// The segment whose numbers the reset answers, among the last ones on the connection, and since when.
    pub answers: Option<(Segment, Duration)>,
    /// The last data of the other end, where the reset acknowledges them, and since when.
    pub acknowledges: Option<(Segment, Duration)>,
    /// Nothing had answered its connect: SYNs, and since the first one.
    pub gave_up: Option<(u32, Duration)>,
    /// Its keepalive probes that were not answered.
    pub probes: u8,
    /// Since the first of them.
    pub probing: Option<Duration>,
    /// Since the last of them.
    pub probed: Option<Duration>,
    /// Since the other end's last segment; absent if none was seen.
    pub heard: Option<Duration>,
    /// Payload bytes of the other end since this one last sent data.
    pub unanswered: u64,
    /// The other end had sent its FIN.
    pub peer_finished: bool,
    /// Bytes it sent that were not acknowledged, its FIN counted.
    pub outstanding: u32,
    /// Since data last moved either way; absent before the handshake.
    pub quiet: Option<Duration>,
    /// It sent neither data nor a FIN.
    pub has_said_nothing: bool,
    /// It has sent a SYN for another connection with the same addresses and ports.
    pub connects_anew: bool,
    /// The capturing host sent the reset out, and it was not seen to come in.
    pub left_only: bool,
    /// Segments of it were seen to come in at the capturing host.
    pub comes_in: bool,
    /// It had come in just before with other addresses: the capturing host translates them.
    pub is_translated: bool,
    /// Its segments were seen before and after a router.
    pub passes: bool,
}

/// What tells where on its way a reset was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Somebody who knows, or the addresses themselves.
    Told,
    /// Which way segments went at the capturing host.
    Way,
    /// TTLs: at an end looks like on its own link.
    Ttl,
}

/// A segment of the peer after "its" reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TalksOn {
    /// After the reset.
    pub after: Duration,
    /// Its TTL.
    pub ttl: u8,
}

impl CapturedReset {
    /// It was seen on another device. Where the other segments of its source were seen there only, as behind a NAT, that sighting is
    /// the one to compare with them.
    pub fn note_again(&mut self, ttl: u8, source_mac: Option<[u8; 6]>) {
        self.seen_again = true;
        let elsewhere = self.packet.segment.ttl != ttl && !self.sender.passes;
        if elsewhere && self.usual_ttl == Some(ttl) {
            let packet = Arc::make_mut(&mut self.packet);
            packet.segment.ttl = ttl;
            packet.source_mac = source_mac;
        }
    }

    /// Another reset of its source came a little later.
    pub fn note_further(&mut self, other: &Self) {
        let (own, its) = (self.packet.segment.seq, other.packet.segment.seq);
        let is_beyond = own != its && its.wrapping_sub(own) < 1 << 31;
        if is_beyond && !is_passive_form(&other.packet) {
            self.volley += 1;
        }
    }

    /// Its source had reset the connection before.
    pub fn was_ended_by_it(&self) -> bool {
        self.ended_before.is_some_and(|(by_it, _)| by_it)
    }

    /// The end it goes to takes it: it has the number that is expected next or, after a FIN, that of the FIN.
    pub fn is_expected(&self) -> bool {
        match &self.received {
            Some(received) if received.socket.state == TcpState::SynSent => {
                // Whether or not it takes the data of the SYN.
                let ack = self.packet.segment.ack;
                let syn_only = received
                    .socket
                    .snd_nxt
                    .wrapping_sub(u32::try_from(received.socket.bytes_sent).unwrap_or_default());
                self.packet.segment.flags.has(TcpFlags::ACK)
                    && (ack == received.socket.snd_nxt || ack == syn_only)
            }
            Some(received) => self.expected.is_none_or(|next| {
                let seq = self.packet.segment.seq;
                accepts(received.socket.state, next, seq) || self.stuck == Some(seq)
            }),
            None => false,
        }
    }
}
