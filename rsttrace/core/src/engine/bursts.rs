//! Connections that end at one instant: a reload, a shutdown, a failover, a peer that is gone.
//!
//! They follow each other within [`AT_ONE_INSTANT`], all within [`LONGEST_INSTANT`], and have one thing in common: the process that closed
//! them, or the host at the other end.

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::correlate::Origin;
use crate::event::{Body, BootTime, NetnsCookie, Received, Sent};
use crate::hash::{self, LruCache};
use crate::thresholds::{AT_ONE_INSTANT, LONGEST_INSTANT, MANY_AT_ONCE};
use crate::verdict::Together;

/// Processes and hosts kept.
const MAX_KEYS: usize = 1024;

/// Runs kept of each.
const MAX_RUNS: usize = 4;

/// In order of time.
type Runs = SmallVec<[Run; MAX_RUNS]>;

/// What connections of a burst have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The process that closed them.
    Closed(NetnsCookie, u32),
    /// The host that is said to have reset them, or refused them.
    Lost(NetnsCookie, IpAddr, Refused),
    /// The host that did not answer.
    GivenUp(NetnsCookie, IpAddr),
}

/// It was a connect.
type Refused = bool;

/// One burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Burst {
    key: Key,
    began: BootTime,
}

/// Connections without a pause between them.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: BootTime,
    last: BootTime,
    connections: usize,
}

/// The runs of the last moments.
#[derive(Debug)]
pub struct Bursts {
    runs: LruCache<Key, Runs>,
}

impl Default for Bursts {
    fn default() -> Self {
        Self {
            runs: hash::lru(MAX_KEYS),
        }
    }
}

impl Bursts {
    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> [(&'static str, usize, Option<usize>); 1] {
        [("bursts", self.runs.len(), Some(MAX_KEYS))]
    }

    /// Takes notice of an event that ended a connection.
    pub fn note(&mut self, at: Origin, body: &Body) {
        let key = match body {
            Body::Sent(sent) => of_sent(at.netns, sent),
            Body::Received(received) => of_received(at.netns, received),
            Body::Packet(_) | Body::Failed(_) => None,
        };
        let Some(key) = key else { return };
        let runs = self.runs.get_or_insert_mut(key, Runs::new);
        match runs.last_mut() {
            Some(run) if run.reaches(at.time) => {
                run.first = run.first.min(at.time);
                run.last = run.last.max(at.time);
                run.connections += 1;
            }
            Some(_) | None => {
                if runs.len() == MAX_RUNS {
                    runs.remove(0);
                }
                runs.push(Run {
                    first: at.time,
                    last: at.time,
                    connections: 1,
                });
            }
        }
    }

    /// The burst that a reset which a process sent at this time belongs to.
    pub fn sent(
        &self,
        netns: NetnsCookie,
        time: BootTime,
        sent: &Sent,
    ) -> Option<(Burst, Together)> {
        self.around(of_sent(netns, sent)?, time)
    }

    /// The same for one that a socket accepted.
    pub fn received(
        &self,
        netns: NetnsCookie,
        time: BootTime,
        received: &Received,
    ) -> Option<(Burst, Together)> {
        self.around(of_received(netns, received)?, time)
    }

    fn around(&self, key: Key, time: BootTime) -> Option<(Burst, Together)> {
        let runs = self.runs.peek(&key)?;
        let run = runs.iter().rev().find(|run| run.reaches(time))?;
        let burst = Burst {
            key,
            began: run.first,
        };
        let together = Together {
            connections: run.connections,
            within: run.last.since(run.first),
        };
        let is_burst = run.connections >= MANY_AT_ONCE && together.within <= LONGEST_INSTANT;
        is_burst.then_some((burst, together))
    }
}

impl Run {
    fn reaches(&self, time: BootTime) -> bool {
        self.first.before(AT_ONE_INSTANT) <= time && time <= self.last.plus(AT_ONE_INSTANT)
    }
}

fn of_sent(netns: NetnsCookie, sent: &Sent) -> Option<Key> {
    if let Some(actor) = sent.actor() {
        return Some(Key::Closed(netns, actor.task.pid));
    }
    let is_given_up = sent.active(|socket| socket.state.is_synchronized() && !socket.orphaned);
    is_given_up.then(|| Key::GivenUp(netns, sent.flow.remote.ip()))
}

fn of_received(netns: NetnsCookie, received: &Received) -> Option<Key> {
    let socket = &received.socket;
    let is_meant = received.reset_came() != Some(false) && !socket.orphaned;
    let refused = !socket.state.is_synchronized();
    is_meant.then(|| Key::Lost(netns, received.flow.remote.ip(), refused))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{HERE, MS, NOW, Scene, address, socket};

    const NETNS: NetnsCookie = NetnsCookie(HERE);

    fn lost(remote: &str) -> Received {
        let mut received = Scene::new().received(socket(1));
        received.flow.remote = address(remote);
        received
    }

    /// Notes resets of these hosts at these microseconds, and finds the burst of the one at 0.
    fn found(resets: &[(&str, u64)]) -> Option<Together> {
        let mut bursts = Bursts::default();
        for (remote, at) in resets {
            let at = Origin {
                time: BootTime(NOW + at * MS / 1_000),
                netns: NETNS,
                inode: None,
            };
            bursts.note(at, &lost(remote).into());
        }
        let first = lost("10.0.0.9:8080");
        let found = bursts.received(NETNS, BootTime(NOW), &first);
        found.map(|(_, together)| together)
    }

    #[test]
    fn many_connections_of_one_host_at_one_instant_are_a_burst() {
        let at = |remote: &'static str, times: [u64; 5]| times.map(|at| (remote, at));
        let together = found(&at("10.0.0.9:8080", [0, 700, 1_400, 2_100, 2_800]));
        assert_eq!(
            together,
            Some(Together {
                connections: 5,
                within: std::time::Duration::from_micros(2_800),
            })
        );
        // A stream, one after another, too few, and those of several hosts.
        let stream: Vec<_> = (0..150).map(|at| ("10.0.0.9:8080", at * 1_000)).collect();
        assert_eq!(found(&stream), None);
        let slow = at("10.0.0.9:8080", [0, 6_000, 12_000, 18_000, 24_000]);
        assert_eq!(found(&slow), None);
        assert_eq!(found(&slow[..4]), None);
        let mut mixed = at("10.0.0.9:8080", [0, 700, 1_400, 2_100, 2_800]);
        mixed[2].0 = "10.0.0.8:8080";
        assert_eq!(found(&mixed), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut bursts = Bursts::default();
        for number in 0..5_000_u32 {
            let remote = format!("10.0.{}.{}:80", number / 250, number % 250);
            let at = Origin {
                time: BootTime(NOW + u64::from(number) * 20 * MS),
                netns: NETNS,
                inode: None,
            };
            bursts.note(at, &lost(&remote).into());
            bursts.note(at, &lost("10.9.9.9:80").into());
        }
        assert_eq!(bursts.runs.len(), MAX_KEYS);
        assert!(bursts.runs.iter().all(|(_, runs)| runs.len() <= MAX_RUNS));
    }
}
