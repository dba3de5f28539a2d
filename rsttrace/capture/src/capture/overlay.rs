//! VLANs and tunnels around an IP header.

use std::net::IpAddr;

use super::Overlay;

impl Overlay {
    /// Inside a VLAN (12 bits). VLAN 0 only carries a priority: no other network.
    pub(super) fn in_vlan(self, id: u16) -> Self {
        if id == 0 {
            return self;
        }
        self.inside(b'v', &id.to_be_bytes())
    }

    /// Inside a session of PPPoE (16 bits).
    pub(super) fn in_session(self, id: u16) -> Self {
        self.inside(b'p', &id.to_be_bytes())
    }

    /// Inside a VXLAN or Geneve segment (24 bits): a gateway may turn one into the other, but not on one wire.
    pub(super) fn in_vni(self, kind: u8, vni: [u8; 3]) -> Self {
        self.inside(kind, &vni)
    }

    /// Inside GRE with a key.
    pub(super) fn in_key(self, key: u32) -> Self {
        self.inside(b'k', &key.to_be_bytes())
    }

    /// Inside a tunnel that only its two ends tell from others; the same both ways.
    pub(super) fn between(self, one: IpAddr, other: IpAddr) -> Self {
        let [low, high] = if one <= other {
            [one, other]
        } else {
            [other, one]
        };
        self.inside(b'a', &address(low))
            .inside(b'b', &address(high))
    }

    /// CRC-32 takes numbers of up to 32 bits apart without collision, and is the same in every run.
    fn inside(self, kind: u8, id: &[u8]) -> Self {
        let mut hash = crc32fast::Hasher::new_with_initial(self.0);
        hash.update(&[kind]);
        hash.update(id);
        Self(hash.finalize().max(1))
    }
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn vlans_and_nested_vlans_are_told_apart() {
        let none = Overlay::default();
        let mut seen = HashSet::from([none]);
        for outer in 1..4095 {
            assert!(seen.insert(none.in_vlan(outer)), "{outer}");
        }
        for inner in 1..4095 {
            assert!(seen.insert(none.in_vlan(7).in_vlan(inner)), "7.{inner}");
            assert!(seen.insert(none.in_vni(b'x', [0, 0, 1]).in_vlan(inner)));
        }
        assert_ne!(none.in_vlan(1).in_vlan(2), none.in_vlan(2).in_vlan(1));
    }

    #[test]
    fn a_priority_tag_is_no_vlan() {
        assert_eq!(Overlay::default().in_vlan(0), Overlay::default());
    }

    #[test]
    fn a_tunnel_is_the_same_both_ways_and_in_every_run() {
        let (one, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let there = Overlay::default().between(one, other);
        assert_eq!(there, Overlay::default().between(other, one));
        assert_ne!(there, Overlay::default().between(one, [10, 0, 0, 3].into()));
        assert_eq!(Overlay::default().in_vlan(100), Overlay(0xe5e2_68b1));
    }
}
