//! Counts of suppressed resets.
//!
//! Pure: what the kernel's buckets refused comes in as [`Refused`], the time as values. Every reset that was refused is told
//! of once, in a sum with others of its kind; kinds beyond a number are put together by class, so the sums stay exact
//! while memory and lines stay bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use rsttrace_common::flood::{
    BUCKET_ANY_NETWORK, BUCKET_ANY_PORT, BUCKET_PORT_IS_REMOTE, BucketKey, CLASSES, Class,
    NETWORK_BITS_V4, NETWORK_BITS_V6, SENDER_REMOTE, class_at, class_of,
};
use rsttrace_common::header::{
    KIND_RESET_RECEIVED, KIND_RESET_SENT, KIND_RESET_SENT_BY_LISTENER, KIND_RST_PACKET,
};
use rsttrace_common::reset::REASON_NONE;
use rsttrace_common::socket::{TCP_LISTEN, TCP_NEW_SYN_RECV, TCP_TIME_WAIT};
use serde::{Deserialize, Serialize};

use crate::event::{BootTime, NetnsCookie, ResetReason, TcpState};
use crate::record::{Cause, Direction};

/// How often the kernel's buckets are read while they refuse. Less than a bucket rests before it is used for another kind.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Longest time a sum of a flood that goes on is held back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sums told at a time; further kinds are put together by class.
const MOST: usize = 20;

/// A cause is taken for that of its class this long after it was seen.
const MEMORY: Duration = Duration::from_secs(30);

/// Observations that were counted and not handed on, for which nothing tells that they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// Sent resets.
    pub sent: u64,
    /// Accepted resets of which nothing had been seen before: their packet may have been described.
    pub received_alone: u64,
    /// Packets of which nothing had been seen before: what sent them may have been described.
    pub packets_alone: u64,
}

impl Suppressed {
    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            received_alone: self.received_alone.saturating_add(other.received_alone),
            packets_alone: self.packets_alone.saturating_add(other.packets_alone),
        }
    }

    /// What was added since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            received_alone: self.received_alone.saturating_sub(before.received_alone),
            packets_alone: self.packets_alone.saturating_sub(before.packets_alone),
        }
    }
}

/// What a bucket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A class, and a port or a network or both.
    Bucket(#[serde(with = "StoredKey")] BucketKey),
    /// A class.
    Class(u16),
    /// It cannot be read.
    Unclear,
}

/// How a bucket's key is stored.
#[derive(Serialize, Deserialize)]
#[serde(remote = "BucketKey")]
struct StoredKey {
    network: [u8; 16],
    netns_cookie: u64,
    class: u16,
    port: u16,
    flags: u32,
}

/// What a bucket has refused since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its place in the kernel's tables.
    pub place: u32,
    /// What it is for now.
    pub kind: Kind,
    /// How many.
    pub count: u64,
}

/// A sum to tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// What they have in common.
    pub kind: Subject,
    /// How many.
    pub count: u64,
    /// The count began at or before this time.
    pub since: BootTime,
    /// The count ended at this time.
    pub until: BootTime,
    /// The cause of those of the class that were described; absent if there were several.
    pub cause: Option<Cause>,
}

/// What the numbers of a [`Subject`] stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SumNames {
    /// The kernel's reason without its prefix; absent if it gives none.
    pub reason: Option<ResetReason>,
    /// State of the socket; absent where the class does not tell.
    pub state: Option<TcpState>,
    /// Inode number of the namespace; absent if they are of several, or it is not known.
    pub netns: Option<u32>,
}

/// What the resets of a sum have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Their class, see `rsttrace_common::flood`; absent for those of which it is not known.
    pub class: Option<u16>,
    /// Namespace; absent if they are of several.
    pub netns: Option<NetnsCookie>,
    /// Port of this host; absent if they are of several.
    pub local_port: Option<u16>,
    /// Port of the other end; absent if they are of several.
    pub remote_port: Option<u16>,
    /// The other end's network; absent if they are of several.
    pub network: Option<IpNet>,
}

impl Subject {
    const ANY: Self = Self {
        class: None,
        netns: None,
        local_port: None,
        remote_port: None,
        network: None,
    };

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Unclear => Self::ANY,
            Kind::Class(class) => Self {
                class: Some(class),
                ..Self::ANY
            },
            Kind::Bucket(key) => {
                let port = (key.flags & BUCKET_ANY_PORT == 0).then_some(key.port);
                let is_remote = key.flags & BUCKET_PORT_IS_REMOTE != 0;
                Self {
                    class: Some(key.class),
                    netns: (key.netns_cookie != 0).then_some(NetnsCookie(key.netns_cookie)),
                    local_port: port.filter(|_| !is_remote),
                    remote_port: port.filter(|_| is_remote),
                    network: (key.flags & BUCKET_ANY_NETWORK == 0)
                        .then(|| network(key.network))
                        .flatten(),
                }
            }
        }
    }

    /// Which way they went, as far as the first hook that saw them can tell: what came in for a socket with a connection
    /// counts as received, whether or not that accepted it. Absent if it is not known.
    pub fn direction(&self) -> Option<Direction> {
        let class = class_at(self.class?)?;
        Some(match (class.kind, class.marked, class.state) {
            (KIND_RESET_RECEIVED, ..) => Direction::Received,
            (KIND_RST_PACKET, true, SENDER_REMOTE) => Direction::Forwarded,
            (KIND_RST_PACKET, true, _) => Direction::Sent,
            (KIND_RST_PACKET, false, 0 | TCP_LISTEN | TCP_TIME_WAIT | TCP_NEW_SYN_RECV) => {
                Direction::Observed
            }
            (KIND_RST_PACKET, false, _) => Direction::Received,
            _ => Direction::Sent,
        })
    }

    /// The kernel's reason, by number; absent if it gives none.
    pub fn reason(&self) -> Option<u32> {
        let reason = class_at(self.class?)?.reason;
        (reason != REASON_NONE).then_some(reason)
    }

    /// The state of the socket, a `TCP_` number; absent where the class does not tell.
    pub fn state(&self) -> Option<u8> {
        let class = class_at(self.class?)?;
        let told = match class.kind {
            KIND_RESET_RECEIVED => true,
            KIND_RST_PACKET => !class.marked,
            KIND_RESET_SENT | KIND_RESET_SENT_BY_LISTENER => {
                class.reason == REASON_NONE && !class.marked
            }
            _ => false,
        };
        (told && class.state != 0).then_some(class.state)
    }
}

fn network(address: [u8; 16]) -> Option<IpNet> {
    let address = Ipv6Addr::from(address).to_canonical();
    let bits = match address {
        IpAddr::V4(_) => NETWORK_BITS_V4,
        IpAddr::V6(_) => NETWORK_BITS_V6,
    };
    IpNet::new(address, bits).ok()
}

/// Sums up what was refused.
#[derive(Debug, Default)]
pub struct Flood {
    /// What was read of each place.
    read: HashMap<u32, u64>,
    pending: HashMap<Subject, Pending>,
    /// What was told of lately.
    told: HashMap<Subject, BootTime>,
    /// The last two causes of each class, and when they were seen.
    causes: HashMap<u16, Vec<(Cause, BootTime)>>,
    overruled: Option<BootTime>,
    last: BootTime,
}

/// One class for what comes in for a socket in some state, whether the device or the socket sees it first.
fn of_socket(class: u16) -> u16 {
    match class_at(class) {
        Some(class) if class.kind == KIND_RST_PACKET && !class.marked && class.state != 0 => {
            class_of(Class {
                kind: KIND_RESET_RECEIVED,
                ..class
            })
        }
        _ => class,
    }
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    count: u64,
    since: BootTime,
    until: BootTime,
}

impl Flood {
    /// A flood that may begin at `now`.
    pub fn new(now: BootTime) -> Self {
        Self {
            last: now,
            ..Self::default()
        }
    }

    /// Nothing was refused since the last reading.
    pub fn rests(&mut self, now: BootTime) {
        self.last = now;
    }

    /// A described reset turned out to have another cause than its class suggests.
    pub fn overruled(&mut self, time: BootTime) {
        self.overruled = Some(time);
    }

    /// A reset of a class was described.
    pub fn described(&mut self, class: u16, cause: Cause, time: BootTime) {
        if u32::from(class) >= CLASSES {
            return;
        }
        let causes = self.causes.entry(of_socket(class)).or_default();
        match causes.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, last)) => *last = time,
            None => {
                // Two tell that there are several.
                if causes.len() >= 2 {
                    causes.sort_by_key(|(_, last)| *last);
                    causes.remove(0);
                }
                causes.push((cause, time));
            }
        }
    }

    /// Takes in a reading of all buckets, and gives what is to be told: of a kind that begins and of one that has ended at
    /// once, of one that goes on every five seconds. The most frequent first.
    pub fn read(&mut self, now: BootTime, refused: &[Refused]) -> Vec<Sum> {
        let since = std::mem::replace(&mut self.last, now);
        for refused in refused {
            let before = self.read.insert(refused.place, refused.count).unwrap_or(0);
            let more = refused.count.saturating_sub(before);
            if more == 0 {
                continue;
            }
            let pending = self
                .pending
                .entry(Subject::of(refused.kind))
                .or_insert(Pending {
                    count: 0,
                    since,
                    until: now,
                });
            pending.count = pending.count.saturating_add(more);
            pending.until = now;
        }
        let told = &mut self.told;
        told.retain(|_, last| now.since(*last) < 2 * PATIENCE);
        let due: Vec<_> = self
            .pending
            .extract_if(|subject, pending| {
                let begins = !told.contains_key(subject);
                begins || pending.until < now || now.since(pending.since) >= PATIENCE
            })
            .collect();
        self.tell(due, now)
    }

    /// What is held back, at the end.
    pub fn finish(&mut self, now: BootTime) -> Vec<Sum> {
        let all = self.pending.drain().collect();
        self.tell(all, now)
    }

    /// Whether sums are held back.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    fn tell(&mut self, mut due: Vec<(Subject, Pending)>, now: BootTime) -> Vec<Sum> {
        // The order does not depend on the hash.
        due.sort_by(|(a, one), (b, other)| {
            other.count.cmp(&one.count).then_with(|| {
                let key = |it: &Subject| {
                    (
                        it.class,
                        it.local_port,
                        it.remote_port,
                        it.network,
                        it.netns,
                    )
                };
                key(a).cmp(&key(b))
            })
        });
        let rest = due.split_off(due.len().min(MOST));
        let mut by_class: Vec<(Subject, Pending)> = Vec::new();
        for (subject, pending) in rest {
            let whole = Subject {
                class: subject.class,
                ..Subject::ANY
            };
            match by_class.iter_mut().find(|(known, _)| *known == whole) {
                Some((_, sum)) => {
                    sum.count = sum.count.saturating_add(pending.count);
                    sum.since = sum.since.min(pending.since);
                    sum.until = sum.until.max(pending.until);
                }
                None => by_class.push((whole, pending)),
            }
        }
        due.extend(by_class);
        due.into_iter()
            .map(|(kind, pending)| {
                if self.told.len() < 4 * MOST {
                    self.told.insert(kind, now);
                }
                Sum {
                    kind,
                    count: pending.count,
                    since: pending.since,
                    until: pending.until,
                    cause: self.cause(kind.class, now),
                }
            })
            .collect()
    }

    /// The one cause that resets of a class have had lately.
    fn cause(&self, class: Option<u16>, now: BootTime) -> Option<Cause> {
        let class = class?;
        let is_active = class_at(class).is_some_and(|it| it.kind == KIND_RESET_SENT && it.marked);
        let was_overruled = self.overruled.is_some_and(|last| now.since(last) < MEMORY);
        if is_active && was_overruled {
            return None;
        }
        let causes = self.causes.get(&of_socket(class))?;
        let mut lately = causes
            .iter()
            .filter(|(_, last)| now.since(*last) < MEMORY)
            .map(|(cause, _)| *cause);
        let only = lately.next()?;
        lately.next().is_none().then_some(only)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn key(class: u16, port: u16, flags: u32) -> BucketKey {
        let mut network = [0; 16];
        if flags & BUCKET_ANY_NETWORK == 0 {
            network = "203.0.113.0"
                .parse::<std::net::Ipv4Addr>()
                .unwrap()
                .to_ipv6_mapped()
                .octets();
        }
        BucketKey {
            network,
            netns_cookie: 7,
            class,
            port,
            flags,
        }
    }

    fn refused(place: u32, port: u16, count: u64) -> Refused {
        Refused {
            place,
            kind: Kind::Bucket(key(3, port, 0)),
            count,
        }
    }

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * SECOND)
    }

    #[test]
    fn a_flood_is_told_when_it_begins_while_it_lasts_and_when_it_ends() {
        let mut flood = Flood::new(at(10));
        let mut told = Vec::new();
        // 100 a second for 13 s, then none.
        for second in 0..20_u64 {
            let count = 100 * (second + 1).min(13);
            let sums = flood.read(at(11 + second), &[refused(5, 80, count)]);
            told.extend(
                sums.into_iter()
                    .map(|sum| (second, sum.count, sum.since.0 / SECOND)),
            );
        }
        // (second, count, since): the first at once, then after five seconds each, the rest when it has ended.
        assert_eq!(
            told,
            [(0, 100, 10), (5, 500, 11), (10, 500, 16), (13, 200, 21)]
        );
        assert!(!flood.is_pending());
    }

    #[test]
    fn every_reset_is_told_once_whatever_becomes_of_the_buckets() {
        let mut flood = Flood::new(at(0));
        let mut told = 0;
        let mut counts = vec![0_u64; 300];
        let mut state = 1_u64;
        for second in 1..200_u64 {
            for (place, count) in counts.iter_mut().enumerate() {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(place as u64);
                *count += (state >> 60) & 3;
            }
            let refused: Vec<_> = (0..)
                .zip(&counts)
                // Buckets change hands.
                .map(|(place, &count)| refused(place, (u64::from(place) + second / 7) as u16, count))
                .collect();
            let sums = flood.read(at(second), &refused);
            assert!(sums.len() <= MOST + 1, "{}", sums.len());
            told += sums.iter().map(|sum| sum.count).sum::<u64>();
        }
        told += flood
            .finish(at(200))
            .iter()
            .map(|sum| sum.count)
            .sum::<u64>();
        assert_eq!(told, counts.iter().sum::<u64>());
    }

    #[test]
    fn the_cause_is_named_if_those_described_had_one() {
        let mut flood = Flood::new(at(0));
        let cause = |flood: &mut Flood, now: u64, count: u64| {
            flood.read(at(now), &[refused(1, 80, count)])[0].cause
        };
        assert_eq!(cause(&mut flood, 1, 1), None);
        flood.described(3, Cause::PortClosed, at(2));
        flood.described(4, Cause::LingerZero, at(2));
        assert_eq!(cause(&mut flood, 12, 2), Some(Cause::PortClosed));
        flood.described(3, Cause::HalfOpen, at(13));
        assert_eq!(cause(&mut flood, 30, 3), None);
        flood.described(3, Cause::HalfOpen, at(50));
        flood.described(3, Cause::StrayAck, at(1));
        assert_eq!(cause(&mut flood, 60, 4), Some(Cause::HalfOpen));
        // Not remembered for ever.
        assert_eq!(cause(&mut flood, 120, 5), None);
    }

    #[test]
    fn sums_that_differ_in_their_namespace_alone_come_in_one_order() {
        for _ in 0..8 {
            let refused: Vec<_> = (0..10)
                .map(|netns| Refused {
                    place: netns,
                    kind: Kind::Bucket(BucketKey {
                        netns_cookie: 1 + u64::from(netns * 7 % 10),
                        ..key(3, 80, 0)
                    }),
                    count: 5,
                })
                .collect();
            let sums = Flood::new(at(0)).read(at(1), &refused);
            let order = sums.iter().filter_map(|sum| Some(sum.kind.netns?.0));
            assert!(order.eq(1..=10));
        }
    }

    #[test]
    fn what_a_bucket_has_in_common_is_what_its_level_says() {
        let of = |port, flags| Subject::of(Kind::Bucket(key(3, port, flags)));
        let network: IpNet = "203.0.113.0/24".parse().unwrap();
        let narrow = of(80, 0);
        assert_eq!((narrow.local_port, narrow.remote_port), (Some(80), None));
        assert_eq!(narrow.network, Some(network));
        let remote = of(443, BUCKET_PORT_IS_REMOTE);
        assert_eq!((remote.local_port, remote.remote_port), (None, Some(443)));
        assert_eq!(of(80, BUCKET_ANY_NETWORK).network, None);
        let any_port = of(0, BUCKET_ANY_PORT);
        assert_eq!(
            (any_port.local_port, any_port.network),
            (None, Some(network))
        );
        assert_eq!(Subject::of(Kind::Class(3)).netns, None);
        assert_eq!(Subject::of(Kind::Unclear), Subject::ANY);
    }
}
