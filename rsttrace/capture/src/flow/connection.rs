//! A connection as its segments show it, and what a reset of it is told with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::end::{End, FAR, Kind, is_before, is_near};
use super::{LOOKAHEAD, Places};
use crate::capture::{CaptureTime, Segment, Way};
use crate::captured::{CapturedReset, Placed, SenderSeen, TalksOn};
use crate::event::{
    self, Baseline, BootTime, Closer, Flow, NetnsCookie, OwnerSource, Ownership, Packet,
    PeerFinish, Received, SenderSocket, Socket, SocketCookie, Target, Task, TcpFlags, TcpState,
};
use crate::record::{Vantage, Word};
use crate::thresholds::{LONGEST_ANSWER, LONGEST_DELAYED_ACK, REORDERED, VOLLEY};
use crate::verdict::peer_signs::{LONGEST_PATH, hops};

/// See the module. The ends go by 0 and 1.
#[derive(Debug, Default)]
pub struct Connection {
    ends: [End; 2],
    /// Who sent the SYN.
    opener: Option<usize>,
    /// End of the handshake.
    established: Option<CaptureTime>,
    last: CaptureTime,
    /// Absent while it is open.
    ended: Option<Ended>,
    /// Resets that are held back: who sent it, its serial number, when.
    held: SmallVec<[Waiting; 1]>,
    /// The last segments that were no resets.
    recent: Recent,
    /// The connection that the same addresses and ports had when a SYN began this one, until that is answered: the other end
    /// may still have it.
    former: Option<Box<Self>>,
}

/// A reset that the other end takes.
#[derive(Clone, Copy, Debug)]
struct Ended {
    by: usize,
    time: CaptureTime,
    /// What the other end would have sent next.
    next: Option<u32>,
}

/// A segment that a reset may answer.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    sender: usize,
    headers: event::Segment,
    time: CaptureTime,
    answered: bool,
}

/// The last segments of a connection, in no order.
#[derive(Debug, Default)]
struct Recent {
    sightings: Vec<Sighting>,
    /// The oldest one, once there are [`MAX_RECENT`].
    oldest: usize,
}

/// A burst of answers is to as many segments.
const MAX_RECENT: usize = 8;

impl Recent {
    fn push(&mut self, sighting: Sighting) {
        if self.sightings.len() < MAX_RECENT {
            if self.sightings.len() == self.sightings.capacity() {
                // Of most connections in a scan there are two.
                self.sightings.reserve_exact(self.sightings.len().max(2));
            }
            self.sightings.push(sighting);
        } else if let Some(oldest) = self.sightings.get_mut(self.oldest) {
            *oldest = sighting;
            self.oldest = (self.oldest + 1) % MAX_RECENT;
        }
    }

    /// The segment of `receiver` that a reset answers, and marks it: each has one answer. Kernels answer at once, so segments after
    /// `last`, when the sender of the reset spoke last, come first, then those that are no older than `on_its_way`.
    fn answered_by(
        &mut self,
        receiver: usize,
        reset: &Segment<'_>,
        last: Option<CaptureTime>,
        on_its_way: Duration,
    ) -> Option<(event::Segment, CaptureTime)> {
        let rank = |sighting: &Sighting| {
            let is_recent = reset.time.since(sighting.time) <= on_its_way;
            let is_after = last.is_none_or(|last| sighting.time > last);
            let age = reset.time.since(sighting.time);
            // A closed socket still takes bare acknowledgments.
            let is_bare = sighting.headers.payload_len == 0
                && sighting.headers.flags.0 & (TcpFlags::SYN | TcpFlags::FIN) == 0;
            match (sighting.answered, is_recent) {
                // The oldest one first.
                (false, true) => (
                    1 + u8::from(!is_after) + 2 * u8::from(is_bare),
                    Duration::MAX - age,
                ),
                _ => (5, age),
            }
        };
        let found = self
            .sightings
            .iter_mut()
            .filter(|sighting| sighting.sender == receiver && answers(reset, &sighting.headers))
            .min_by_key(|sighting| rank(sighting))?;
        found.answered = true;
        Some((found.headers, found.time))
    }

    /// The last data of `receiver` that a reset acknowledges.
    fn acknowledged_by(
        &self,
        receiver: usize,
        reset: &Segment<'_>,
    ) -> Option<(event::Segment, CaptureTime)> {
        let has_this_end = |headers: &event::Segment| {
            headers.payload_len > 0 && headers.seq.wrapping_add(headers.payload_len) == reset.ack
        };
        self.sightings
            .iter()
            .filter(|_| reset.flags.has(TcpFlags::ACK))
            .filter(|sighting| sighting.sender == receiver && has_this_end(&sighting.headers))
            .map(|sighting| (sighting.headers, sighting.time))
            .max_by_key(|(_, time)| *time)
    }

    /// All of them are of a connect that nothing answered.
    fn is_connect_only(&self) -> bool {
        self.sightings.iter().all(|sighting| {
            sighting.headers.flags.0 & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    sender: usize,
    serial: u64,
    time: CaptureTime,
    /// What the end that it goes to would send next.
    receiver_next: Option<u32>,
}

/// What an end sends so long after its reset was not on its way before.
const GONE_ON: Duration = LOOKAHEAD;

/// Resets of one connection that are followed at a time.
const MAX_WAITING: usize = 16;

/// What came after a reset.
#[derive(Clone, Copy, Debug)]
pub enum FollowUp {
    /// Its sender spoke on.
    SenderTalks(TalksOn),
    /// Its sender acknowledged what was sent to it afterwards: that was not on its way before.
    SenderAnswers(TalksOn),
    /// The end it went to went on as if nothing had happened.
    ReceiverTalks(Duration),
    /// The end it went to answered with an acknowledgement: RFC 5961 asks for the right number so.
    Challenged(Duration),
}

impl FollowUp {
    /// Adds it to what is known; the first of a kind stays.
    pub fn note(self, reset: &mut CapturedReset) {
        match self {
            Self::SenderTalks(talks) => {
                let on_its_way = reset.round_trip.unwrap_or_default().max(REORDERED);
                if talks.after > on_its_way {
                    reset.talks_on = reset.talks_on.or(Some(talks));
                }
            }
            Self::SenderAnswers(talks) => {
                reset.talks_on = reset.talks_on.or(Some(talks));
            }
            Self::ReceiverTalks(after) => {
                let on_its_way = reset.onward_trip.unwrap_or_default().max(REORDERED);
                if after > on_its_way {
                    reset.lives_on = reset.lives_on.or(Some(after));
                }
            }
            Self::Challenged(after) => {
                // What was on its way before is no answer.
                let is_answer =
                    after >= reset.onward_trip.unwrap_or_default() && after <= LONGEST_CHALLENGE;
                reset.challenged |= is_answer;
            }
        }
    }
}

/// A challenge is sent at once; this leaves room for the way there and back.
const LONGEST_CHALLENGE: Duration = Duration::from_secs(1);

impl Connection {
    /// When the last segment came.
    pub fn last(&self) -> CaptureTime {
        self.last
    }

    /// It was established and has not ended, as far as was seen; or a reset of it is still to be judged.
    pub fn is_alive(&self) -> bool {
        let [one, other] = &self.ends;
        let spoke = one.next.is_some() && other.next.is_some();
        let closed = self.ended.is_some() || (one.fin.is_some() && other.fin.is_some());
        !self.held.is_empty() || (spoke && !closed)
    }

    /// A reset with this serial number is held back.
    pub fn hold(&mut self, sender: usize, serial: u64, time: CaptureTime) {
        if self.held.len() < MAX_WAITING {
            self.held.push(Waiting {
                sender,
                serial,
                time,
                receiver_next: self.ends[1 - sender].next,
            });
        }
    }

    /// Those of the other end that are held back, and how long ago they came.
    pub fn held_of_other(
        &self,
        sender: usize,
        now: CaptureTime,
    ) -> impl Iterator<Item = (u64, Duration)> {
        let others = self.held.iter().filter(move |held| held.sender != sender);
        others.map(move |held| (held.serial, now.since(held.time)))
    }

    /// Those of this end that came so shortly before that further ones with other numbers make a volley.
    pub fn held_before(&self, sender: usize, now: CaptureTime) -> impl Iterator<Item = u64> {
        let own = self
            .held
            .iter()
            .filter(move |held| held.sender == sender && now.since(held.time) <= VOLLEY);
        own.map(|held| held.serial)
    }

    /// The last one of this end that is held back.
    pub fn held_of(&self, sender: usize) -> Option<u64> {
        let of_it = self.held.iter().rev().find(|held| held.sender == sender);
        of_it.map(|held| held.serial)
    }

    /// The reset with this serial number is held back no more.
    pub fn release(&mut self, serial: u64) {
        self.held.retain(|waiting| waiting.serial != serial);
    }

    /// No segment of this end was seen to come in before.
    pub fn comes_in_first(&self, sender: usize) -> bool {
        !self.ends[sender].ways.0
    }

    /// A reset that was just seen, on another device.
    pub fn is_repeated(&mut self, sender: usize, segment: &Segment<'_>) -> bool {
        self.ends[sender].note_way(segment);
        self.ends[sender].resets_again(segment)
    }

    /// It begins another connection with these addresses and ports: a SYN or, where that was not captured, numbers that have
    /// nothing to do with those of a connection that is over.
    pub fn begins_anew(&self, sender: usize, segment: &Segment<'_>) -> bool {
        let known = &self.ends[sender];
        let Some(next) = known.next else {
            return false;
        };
        match segment.flags.0 & (TcpFlags::SYN | TcpFlags::ACK) {
            // A late one: what it begins is being followed.
            TcpFlags::SYN if known.isn.is_none() && !self.is_over() => {
                next.wrapping_sub(segment.seq) > FAR
            }
            TcpFlags::SYN => known.isn != Some(segment.seq),
            _ if !self.is_over() => false,
            TcpFlags::ACK => {
                let acked = self.ends[1 - sender].next;
                !is_near(next, segment.seq)
                    && acked.is_some_and(|acked| !is_near(acked, segment.ack))
            }
            _ => false,
        }
    }

    /// Forgets the connection for one that begins with this segment.
    pub fn begin_anew(&mut self, segment: &Segment<'_>) {
        let mut former = std::mem::take(self);
        let [one, other] = &former.ends;
        let may_live = !former.is_over() && one.next.is_some() && other.next.is_some();
        if segment.flags.has(TcpFlags::SYN) && may_live {
            former.held.clear();
            former.former = None;
            self.former = Some(Box::new(former));
        }
    }

    /// It was reset, or both ends have closed it.
    fn is_over(&self) -> bool {
        self.ended.is_some() || self.ends.iter().all(|end| end.fin.is_some())
    }

    /// A reset that answers, in the middle of a handshake, for the connection that the other end still has: whoever sends a
    /// SYN for it does not have it any more.
    pub fn takes_back(
        &mut self,
        sender: usize,
        segment: &Segment<'_>,
        places: &Places<'_>,
    ) -> Option<CapturedReset> {
        self.former.as_ref().filter(|former| {
            self.opener == Some(sender) && former.ends[sender].next == Some(segment.seq)
        })?;
        let mut former = self.former.take()?;
        let mut reset = former.reset(sender, segment, places);
        reset.sender.connects_anew = true;
        self.last = self.last.max(segment.time);
        Some(reset)
    }

    /// Takes in a segment that is no reset; `tell` gets what it says of resets that are held back.
    pub fn follow(
        &mut self,
        sender: usize,
        segment: &Segment<'_>,
        tell: &mut dyn FnMut(u64, FollowUp),
    ) {
        let now = segment.time;
        if let Some(former) = &mut self.former {
            if !segment.flags.has(TcpFlags::SYN) {
                former.follow(sender, segment, &mut |_, _| {});
                self.last = self.last.max(now);
                return;
            }
            if segment.flags.has(TcpFlags::ACK) {
                self.former = None;
            }
        }
        let quiet = self.data().map_or(Duration::ZERO, |data| now.since(data));
        let before = self.ends[sender].next;
        let kind = self.ends[sender].sends(segment, quiet);
        self.last = self.last.max(now);
        if kind == Kind::Repeated {
            return;
        }
        if segment.flags.0 & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN {
            self.opener = Some(sender);
        } else if segment.flags.has(TcpFlags::SYN | TcpFlags::ACK) {
            self.opener = Some(1 - sender);
        }
        self.ends[1 - sender].hears(segment, kind);
        if self.established.is_none()
            && self.opener == Some(sender)
            && self.ends[1 - sender].isn.is_some()
            && segment.flags.has(TcpFlags::ACK)
        {
            self.established = Some(now);
        }
        self.recent.push(Sighting {
            sender,
            headers: headers(segment),
            time: now,
            answered: false,
        });
        if self
            .ended
            .is_some_and(|ended| ended.is_taken_back(sender, segment, kind))
        {
            self.ended = None;
        }
        for waiting in &self.held {
            let after = now.since(waiting.time);
            let is_other = before.is_some_and(|next| !is_near(next, segment.seq));
            if after > LOOKAHEAD || is_other || segment.flags.has(TcpFlags::SYN) {
                continue;
            }
            let follow_up = if waiting.sender == sender {
                let talks = TalksOn {
                    after,
                    ttl: segment.ttl,
                };
                let answers = segment.flags.has(TcpFlags::ACK)
                    && waiting.receiver_next.is_some_and(|next| {
                        is_before(next, segment.ack) && is_near(next, segment.ack)
                    });
                if answers {
                    FollowUp::SenderAnswers(talks)
                } else {
                    FollowUp::SenderTalks(talks)
                }
            } else if kind == Kind::Acknowledgement {
                FollowUp::Challenged(after)
            } else {
                FollowUp::ReceiverTalks(after)
            };
            tell(waiting.serial, follow_up);
        }
    }

    /// What is known of the connection when `sender` resets it.
    pub fn reset(
        &mut self,
        sender: usize,
        segment: &Segment<'_>,
        places: &Places<'_>,
    ) -> CapturedReset {
        let now = segment.time;
        let receiver = 1 - sender;
        let (vantage, placed) = self.vantage(sender, segment, places);
        let received = self.received(receiver, segment);
        let last = self.ends[sender].segment;
        let on_its_way = self.ends[receiver]
            .round_trip
            .map_or(LONGEST_ANSWER, |(least, _)| least + LONGEST_ANSWER);
        let since = |(headers, time): (event::Segment, CaptureTime)| (headers, now.since(time));
        let answers = self
            .recent
            .answered_by(receiver, segment, last, on_its_way)
            .map(since);
        let acknowledges = self.recent.acknowledged_by(receiver, segment).map(since);
        let source = &self.ends[sender];
        let destination = &self.ends[receiver];
        let state = received.as_ref().map(|received| received.socket.state);
        let usual_ttl = source.ttl.map(|(least, greatest)| {
            // With several devices of one host each segment shows up with several.
            if (least..=greatest).contains(&segment.ttl) {
                segment.ttl
            } else {
                greatest
            }
        });
        let sender_seen = SenderSeen {
            finished: source.fin.map(|fin| now.since(fin.time)),
            silent: source.segment.map(|last| now.since(last)),
            answers,
            acknowledges,
            gave_up: self.gave_up(sender, segment),
            probes: source.probes,
            probing: source.probed.map(|(first, _)| now.since(first)),
            probed: source.probed.map(|(_, last)| now.since(last)),
            heard: destination.segment.map(|last| now.since(last)),
            unanswered: destination.unanswered,
            peer_finished: destination.fin.is_some(),
            outstanding: source.outstanding(),
            quiet: self.data().map(|data| now.since(data)),
            has_said_nothing: source.bytes == 0 && source.fin.is_none(),
            connects_anew: false,
            left_only: segment.way == Some(Way::Out),
            comes_in: source.ways.0 || places.foreign.contains(&segment.source.ip().to_canonical()),
            is_translated: places.is_translated,
            passes: source.passes,
        };
        let reset = CapturedReset {
            frame: segment.frame,
            overlay: NetnsCookie(segment.overlay.0.into()),
            packet: Arc::new(Packet {
                source: segment.source,
                destination: segment.destination,
                segment: headers(segment),
                dont_fragment: segment.dont_fragment,
                timestamps: segment.options.timestamps,
                has_options: segment.options.any,
                source_mac: segment.source_mac,
                egress: false,
                loopback: false,
                ifindex: segment.interface,
                ingress_ifindex: None,
                sender_socket: SenderSocket::None,
                baseline: source.handshake.map(|(ttl, time)| Baseline {
                    time: boot_time(time),
                    ttl,
                    source_mac: source.mac,
                }),
                handshake_of_destination: None,
                target: state.map_or(Target::None, |state| Target::Socket {
                    cookie: None,
                    state,
                    rcv_nxt: source.next.unwrap_or(segment.seq),
                    rcv_wnd: destination.offers(),
                    snd_una: destination.acked.unwrap_or_default(),
                    snd_nxt: destination.next.unwrap_or_default(),
                }),
            }),
            time: boot_time(now),
            vantage,
            placed,
            usual_ttl,
            ended_before: self
                .ended
                .map(|ended| (ended.by == sender, now.since(ended.time))),
            // Before the source's first segment any number may be the one expected.
            expected: source.next,
            stuck: source
                .unacknowledged_since
                .filter(|since| source.outstanding() > 0 && now.since(*since) > LONGEST_DELAYED_ACK)
                .and(source.acked),
            round_trip: destination.round_trip.map(|(least, _)| least),
            onward_trip: source.round_trip.map(|(least, _)| least),
            sender: sender_seen,
            received,
            other_way: self
                .ended
                .filter(|ended| ended.by != sender)
                .map(|ended| now.since(ended.time)),
            seen_again: false,
            talks_on: None,
            lives_on: None,
            challenged: false,
            volley: 0,
            attempt: None,
        };
        self.last = self.last.max(now);
        if self.ended.is_none() && reset.is_expected() {
            self.ended = Some(Ended {
                by: sender,
                time: now,
                next: self.ends[receiver].next,
            });
        }
        reset
    }

    /// Its connect was never answered, and ends with this reset: SYNs, and since the first one.
    fn gave_up(&self, sender: usize, reset: &Segment<'_>) -> Option<(u32, Duration)> {
        let (source, destination) = (&self.ends[sender], &self.ends[1 - sender]);
        let isn = source.isn.filter(|_| self.opener == Some(sender))?;
        let (_, first) = source.handshake?;
        let is_unanswered = destination.segment.is_none() && self.recent.is_connect_only();
        // An answer to a SYN-ACK that was not captured has the next one.
        (is_unanswered && reset.seq == isn)
            .then(|| (source.retransmits + 1, reset.time.since(first)))
    }

    /// When data last moved, either way.
    fn data(&self) -> Option<CaptureTime> {
        let [one, other] = &self.ends;
        one.data.max(other.data).or(self.established)
    }

    /// Where on the way of a reset this capture was made.
    fn vantage(
        &self,
        sender: usize,
        segment: &Segment<'_>,
        places: &Places<'_>,
    ) -> (Option<Vantage>, Placed) {
        let of = |here, there| match (here, there) {
            (true, true) => Vantage::Both,
            (true, false) => Vantage::Source,
            (false, true) => Vantage::Destination,
            (false, false) => Vantage::Between,
        };
        let (from, to) = (
            segment.source.ip().to_canonical(),
            segment.destination.ip().to_canonical(),
        );
        if from == to || (from.is_loopback() && to.is_loopback()) {
            return (Some(Vantage::Both), Placed::Told);
        }
        let source = &self.ends[sender];
        let destination = &self.ends[1 - sender];
        // What was made here is not seen to come in. Nor is what this host translates, but that has passed a router.
        let starts_here = |ttl: u8| hops(ttl) == 0 || hops(ttl) > LONGEST_PATH;
        if !places.local.is_empty() {
            // Whatever its TTL: the user knows.
            let is_here = |address: &IpAddr| places.local.contains(address);
            let vantage = of(is_here(&from), is_here(&to));
            return (Some(vantage), Placed::Told);
        }
        if segment.way.is_some() {
            let is_here = |end: &End| {
                end.ways == (false, true)
                    && end.ttl.is_some_and(|(_, greatest)| starts_here(greatest))
            };
            let here = match source.segment {
                None => {
                    segment.way == Some(Way::Out)
                        && starts_here(segment.ttl)
                        && !places.foreign.contains(&from)
                }
                Some(_) => is_here(source),
            };
            return (Some(of(here, is_here(destination))), Placed::Way);
        }
        // Nobody on the way raises a TTL: a usual start is seen where it was set, or by a neighbour.
        let near = |end: &End| end.ttl.map(|(_, greatest)| hops(greatest) == 0);
        let vantage = match (near(source), near(destination)) {
            (Some(true), Some(true)) => None,
            (Some(here), Some(there)) => Some(of(here, there)),
            (None, Some(true)) if hops(segment.ttl) > 0 => Some(Vantage::Destination),
            (None, Some(false)) => Some(of(hops(segment.ttl) == 0, false)),
            _ => None,
        };
        (vantage, Placed::Ttl)
    }

    /// What the end that got a reset would know; `None` if nothing of it was seen.
    fn received(&self, receiver: usize, segment: &Segment<'_>) -> Option<Received> {
        let me = &self.ends[receiver];
        let peer = &self.ends[1 - receiver];
        if me.next.is_none() && peer.next.is_none() {
            return None;
        }
        let now = segment.time;
        let since = |time: Option<CaptureTime>| time.map(|time| now.since(time));
        let state = self.state(receiver);
        let flow = Flow {
            local: segment.destination,
            remote: segment.source,
        };
        let interval = me
            .probed
            .map(|(first, last)| last.since(first) / u32::from(me.probes.saturating_sub(1)).max(1));
        // It closed, and has had the answer to all it said.
        let is_done = me.fin.is_some() && peer.data >= me.data;
        let at_write = me.reset_at_write(peer, now);
        let heard = at_write.map_or(peer.segment, |(_, heard)| heard);
        let unacknowledged_since = at_write
            .map(|(since, _)| since)
            .or(me.unacknowledged_since.filter(|_| me.outstanding() > 0));
        let socket = Socket {
            cookie: SocketCookie(0),
            inode: None,
            cgroup_id: None,
            uid: 0,
            state,
            receive_shutdown: peer.fin.is_some(),
            send_shutdown: me.fin.is_some(),
            orphaned: is_done,
            peer_finished: peer.fin.is_some(),
            owned: false,
            has_file: true,
            repair: false,
            mptcp: false,
            timestamps: me.timestamps && peer.timestamps,
            error: 0,
            keepalive: me.probes > 0,
            keepalive_time: None,
            keepalive_interval: interval,
            keepalive_probes: None,
            probes_out: me.probes,
            retransmits: me.retransmits_now,
            total_retransmits: me.retransmits,
            user_timeout: None,
            linger: None,
            linger2_off: false,
            unread: 0,
            unacknowledged: me.outstanding(),
            bytes_sent: me.bytes,
            bytes_received: peer.bytes,
            rcv_nxt: peer.next.unwrap_or_default(),
            rcv_wnd: me.offers(),
            snd_nxt: me.next.unwrap_or_default(),
            snd_una: me.acked.unwrap_or_default(),
            rtt: me.round_trip.map(|(_, last)| last),
            rtt_min: me.round_trip.map(|(least, _)| least),
            since_sent: since(me.data),
            since_received: since(peer.data),
            since_ack: since(heard),
            since_first_unacknowledged: since(unacknowledged_since),
            // Of several probes the clock is that of the last, as in the kernel.
            since_transmit: since(me.segment),
            accept_queue: None,
        };
        let source = self.opener.map(|opener| {
            if opener == receiver {
                OwnerSource::Connect
            } else {
                OwnerSource::Accept
            }
        });
        let ownership = Ownership {
            owner: None,
            source,
            inherited: false,
            closer: me.fin.map(|fin| Closer {
                task: nobody(),
                time: Some(boot_time(fin.time)),
                quiet: fin.quiet,
                exiting: false,
                kernel_thread: false,
                signal: None,
            }),
            peer_finish: peer.fin.map(|fin| PeerFinish {
                time: boot_time(fin.time),
                quiet: fin.quiet,
            }),
            established: self.established.map(boot_time),
            isn: me.isn.zip(peer.isn),
            state_before_close: None,
        };
        Some(Received {
            flow,
            socket,
            ownership: Some(ownership),
            segment: Some(headers(segment)),
        })
    }

    /// TCP state of an end, as far as the segments show it.
    fn state(&self, index: usize) -> TcpState {
        let me = &self.ends[index];
        let peer = &self.ends[1 - index];
        // A SYN may carry data (RFC 7413).
        let has_syn_only = |end: &End| end.isn.is_some() && !end.spoke;
        // Who sent a SYN and got nothing but perhaps a reset.
        if peer.next.is_none() && self.opener == Some(index) && has_syn_only(me) {
            return TcpState::SynSent;
        }
        let is_half_open = self.opener.is_some() && self.established.is_none();
        if is_half_open && has_syn_only(me) && has_syn_only(peer) {
            return if self.opener == Some(index) {
                TcpState::SynSent
            } else {
                TcpState::SynRecv
            };
        }
        let fin_is_acknowledged = |end: &End| end.fin.is_some() && end.outstanding() == 0;
        match (me.fin, peer.fin) {
            (None, None) => TcpState::Established,
            (None, Some(_)) => TcpState::CloseWait,
            (Some(_), None) if fin_is_acknowledged(me) => TcpState::FinWait2,
            (Some(_), None) => TcpState::FinWait1,
            (Some(mine), Some(theirs)) => {
                match (fin_is_acknowledged(me), mine.time < theirs.time) {
                    (true, true) => TcpState::TimeWait,
                    (true, false) => TcpState::Close,
                    (false, true) => TcpState::Closing,
                    (false, false) => TcpState::LastAck,
                }
            }
        }
    }
}

impl Ended {
    /// Whoever accepts the connection or goes on with data has not reset it after all, or these are other connections whose SYNs were
    /// not captured.
    fn is_taken_back(&self, sender: usize, segment: &Segment<'_>, kind: Kind) -> bool {
        if self.by != sender {
            return false;
        }
        if segment.flags.has(TcpFlags::SYN | TcpFlags::ACK) {
            return true;
        }
        let has_heard_more = segment.flags.has(TcpFlags::ACK)
            && self
                .next
                .is_some_and(|next| is_before(next, segment.ack) && is_near(next, segment.ack));
        kind == Kind::New
            && segment.payload_len > 0
            && (has_heard_more || segment.time.since(self.time) > GONE_ON)
    }
}

/// Whether a reset has the numbers of an answer to this segment (RFC 9293 section 3.10.7.1).
fn answers(reset: &Segment<'_>, cause: &event::Segment) -> bool {
    if reset.flags.has(TcpFlags::ACK) {
        let flags =
            u32::from(cause.flags.has(TcpFlags::SYN)) + u32::from(cause.flags.has(TcpFlags::FIN));
        let end = cause
            .seq
            .wrapping_add(cause.payload_len)
            .wrapping_add(flags);
        reset.seq == 0 && reset.ack == end
    } else {
        cause.flags.has(TcpFlags::ACK) && reset.seq == cause.ack
    }
}

/// The headers of a segment as hooks tell them.
fn headers(segment: &Segment<'_>) -> event::Segment {
    event::Segment {
        seq: segment.seq,
        ack: segment.ack,
        payload_len: segment.payload_len,
        window: segment.window,
        ip_id: segment.ip_id,
        flags: segment.flags,
        ttl: segment.ttl,
        ifindex: segment.interface,
    }
}

/// Captures have the one clock only.
fn boot_time(time: CaptureTime) -> BootTime {
    BootTime(time.0)
}

/// Nothing in a capture names a process.
fn nobody() -> Task {
    Task {
        pid: 0,
        outside: false,
        start: BootTime(0),
        uid: 0,
        cgroup_id: 0,
        comm: Word::default(),
    }
}
