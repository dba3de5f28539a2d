//! Index of open groups by address pair, by sequence numbers and by socket.
//!
//! Keys are fingerprints (a keyed hash): a collision only proposes a chain that the comparison then turns down.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;

use super::numbers::Numbers;
use crate::event::SocketCookie;
use crate::hash::RandomState;

/// A chain's place in the store.
pub type ChainId = u32;

/// Fingerprint of something chains can share.
pub type Key = u64;

/// How many chains one search looks at: more share a key only in a flood, where all but the exact ones are alike.
const LOOKED_AT: usize = 64;

/// Chains by what they share.
#[derive(Default)]
pub struct Index {
    hasher: RandomState,
    buckets: HashMap<Key, Bucket, BuildHasherDefault<Fingerprint>>,
}

enum Bucket {
    One(ChainId),
    #[allow(
        clippy::box_collection,
        reason = "few are: what all take should be small"
    )]
    Many(Box<VecDeque<ChainId>>),
}

/// Passes a fingerprint on as the hash it already is.
#[derive(Default)]
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

impl Index {
    /// The directed pair of addresses, and the numbers where they are known.
    pub fn segment(&self, from: SocketAddr, to: SocketAddr, numbers: Option<Numbers>) -> Key {
        self.hasher.hash_one((0_u8, from, to, numbers))
    }

    /// The numbers alone.
    pub fn numbers(&self, numbers: Numbers) -> Key {
        self.hasher.hash_one((1_u8, numbers))
    }

    /// The socket that sent it.
    pub fn sender(&self, cookie: SocketCookie) -> Key {
        self.hasher.hash_one((2_u8, cookie))
    }

    /// The socket it was aimed at.
    pub fn target(&self, cookie: SocketCookie) -> Key {
        self.hasher.hash_one((3_u8, cookie))
    }

    /// Adds a chain under a key.
    pub fn insert(&mut self, key: Key, id: ChainId) {
        match self.buckets.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Bucket::One(id));
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Bucket::One(first) => {
                    let both = VecDeque::from([*first, id]);
                    *entry.get_mut() = Bucket::Many(Box::new(both));
                }
                Bucket::Many(ids) => ids.push_back(id),
            },
        }
    }

    /// Takes a chain out from under a key.
    pub fn remove(&mut self, key: Key, id: ChainId) {
        let Entry::Occupied(mut bucket) = self.buckets.entry(key) else {
            return;
        };
        let empty = match bucket.get_mut() {
            Bucket::One(only) => *only == id,
            Bucket::Many(ids) => {
                // Chains close in the order they opened in: the first is nearly always the one.
                if let Some(position) = ids.iter().position(|&other| other == id) {
                    ids.remove(position);
                }
                ids.is_empty()
            }
        };
        if empty {
            bucket.remove();
        }
    }

    /// Chains under a key, oldest first; in a flood the newest of them.
    pub fn get(&self, key: Key) -> impl Iterator<Item = ChainId> + '_ {
        let (one, many) = match self.buckets.get(&key) {
            None => (None, None),
            Some(Bucket::One(id)) => (Some(*id), None),
            Some(Bucket::Many(ids)) => {
                let skipped = ids.len().saturating_sub(LOOKED_AT);
                (None, Some(ids.iter().skip(skipped).copied()))
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// How many chains are under a key.
    pub fn count(&self, key: Key) -> usize {
        match self.buckets.get(&key) {
            None => 0,
            Some(Bucket::One(_)) => 1,
            Some(Bucket::Many(ids)) => ids.len(),
        }
    }

    /// Gives back the room that is not needed.
    pub fn rest(&mut self) {
        self.buckets.shrink_to_fit();
    }

    /// Whether nothing is indexed.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}
