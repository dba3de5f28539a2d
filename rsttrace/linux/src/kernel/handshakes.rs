//! Lookups in the tables of handshakes that the classifiers keep (`rsttrace_common::handshake`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use aya::Ebpf;
use aya::maps::{Array, MapData};
use rsttrace_common::handshake::{SYN_SLOTS, Syn, SynKey, TRANSLATION_SLOTS, Translation};
use rsttrace_common::{Flow as WireFlow, FlowKey, table};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::object::take_map;
use crate::event::{BootTime, Flow, NetnsCookie, TcpFlags};
use crate::host::Handshakes;

/// An entry is a checksum and its value (`rsttrace-ebpf/src/table.rs`).
const VALUE_AT: usize = 1;
const TRANSLATION_WORDS: usize = VALUE_AT + size_of::<Translation>() / size_of::<u64>();
const SYN_WORDS: usize = VALUE_AT + size_of::<Syn>() / size_of::<u64>();

/// The tables; they outlive the object they were taken from.
pub struct HandshakeMaps {
    syns: Array<MapData, [u64; SYN_WORDS]>,
    translations: Array<MapData, [u64; TRANSLATION_WORDS]>,
}

impl fmt::Debug for HandshakeMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeMaps").finish_non_exhaustive()
    }
}

impl HandshakeMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, String> {
        Ok(Self {
            syns: take_map(ebpf, "SYNS")?,
            translations: take_map(ebpf, "TRANSLATIONS")?,
        })
    }
}

impl Handshakes for HandshakeMaps {
    fn translation(
        &self,
        netns: NetnsCookie,
        flow: Flow,
    ) -> Option<(SocketAddr, SocketAddr, BootTime)> {
        let hash = hash_of(&FlowKey {
            flow: wire(flow),
            netns_cookie: netns.0,
        });
        let index = table::index_of(hash, TRANSLATION_SLOTS);
        let value = [index, index ^ 1].into_iter().find_map(|index| {
            let entry = self.translations.get(&index, 0).ok()?;
            value_of::<Translation>(&entry, hash)
        })?;
        let (source, destination) = ends(&value.flow);
        Some((source, destination, BootTime(value.seen_ns)))
    }

    fn syn(&self, netns: NetnsCookie, seq: u32) -> Option<(SocketAddr, SocketAddr, BootTime)> {
        let hash = hash_of(&SynKey {
            netns_cookie: netns.0,
            seq,
            flags: TcpFlags::SYN.into(),
        });
        let index = table::index_of(hash, SYN_SLOTS);
        let entry = self.syns.get(&index, 0).ok()?;
        let value = value_of::<Syn>(&entry, hash).filter(|syn| syn.is_shared == 0)?;
        let (source, destination) = ends(&value.came.flow);
        Some((source, destination, BootTime(value.seen_ns)))
    }
}

fn words(key: &(impl IntoBytes + Immutable)) -> Vec<u64> {
    key.as_bytes()
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()))
        .collect()
}

fn hash_of(key: &(impl IntoBytes + Immutable)) -> u64 {
    table::hash_of(&words(key))
}

/// The value of an entry, if it is whole and this key's.
fn value_of<V: FromBytes + KnownLayout + Immutable>(entry: &[u64], hash: u64) -> Option<V> {
    let (&check, value) = entry.split_first()?;
    if check != table::check_of(hash, value) {
        return None;
    }
    V::read_from_bytes(value.as_bytes()).ok()
}

fn wire(flow: Flow) -> WireFlow {
    let octets = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    WireFlow {
        local_address: octets(flow.local),
        remote_address: octets(flow.remote),
        local_port: flow.local.port(),
        remote_port: flow.remote.port(),
        reserved: 0,
    }
}

/// Source and destination of a segment that came in.
fn ends(flow: &WireFlow) -> (SocketAddr, SocketAddr) {
    let end = |address: [u8; 16], port| SocketAddr::new(IpAddr::from(address).to_canonical(), port);
    (
        end(flow.remote_address, flow.remote_port),
        end(flow.local_address, flow.local_port),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_half_written_or_another_keys_is_none() {
        let flow = Flow {
            local: "198.51.100.2:80".parse().unwrap(),
            remote: "192.0.2.1:4000".parse().unwrap(),
        };
        let hash = hash_of(&FlowKey {
            flow: wire(flow),
            netns_cookie: 7,
        });
        let value = words(&Translation {
            seen_ns: 5,
            flow: wire(flow),
        });
        let check = table::check_of(hash, &value);
        let entry = [&[check][..], &value].concat();
        assert_eq!(entry.len(), TRANSLATION_WORDS);
        let read = |entry: &[u64], hash: u64| value_of::<Translation>(entry, hash);
        let found = read(&entry, hash).unwrap();
        assert_eq!(ends(&found.flow), (flow.remote, flow.local));
        let mut torn = entry.clone();
        torn[4] ^= 1;
        assert_eq!(read(&torn, hash), None);
        assert_eq!(read(&entry, hash ^ 1), None);
        assert_eq!(read(&[0; TRANSLATION_WORDS], hash), None);
    }
}
