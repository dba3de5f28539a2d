//! Selection of namespaces, interfaces and programs by the options.

use std::collections::HashMap;

use super::interfaces::{InterfaceOptions, Programs, Scope};
use super::netns::{self, Holder, Inode};
use super::rtnetlink::Link;
use super::tc::Pair;

/// Link types whose packets begin with an Ethernet header (include/uapi/linux/if_arp.h).
const L2_TYPES: [u16; 2] = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK];
/// Link types whose packets begin with the network header.
const L3_TYPES: [u16; 8] = [
    libc::ARPHRD_NONE,
    libc::ARPHRD_PPP,
    libc::ARPHRD_TUNNEL,
    libc::ARPHRD_TUNNEL6,
    libc::ARPHRD_SIT,
    libc::ARPHRD_IPGRE,
    ARPHRD_RAWIP,
    ARPHRD_IP6GRE,
];
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_IP6GRE: u16 = 823;

/// The namespaces that are asked for and exist; `home` is this process's own.
pub fn namespaces(scope: &Scope, home: Inode) -> HashMap<Inode, Holder> {
    let mut found = match scope {
        Scope::Own => HashMap::new(),
        Scope::All | Scope::Only(_) => netns::scan(),
    };
    if let Scope::Only(wanted) = scope {
        found.retain(|inode, _| wanted.contains(inode));
        if !wanted.contains(&home) {
            return found;
        }
    }
    found.insert(home, Holder::Own);
    found
}

/// Whether classifiers are to go there.
pub fn is_wanted(options: &InterfaceOptions, link: &Link) -> bool {
    (options.loopback || link.link_type != libc::ARPHRD_LOOPBACK)
        && (options.names.is_empty() || options.names.contains(&link.name))
}

/// The programs for a link type; `None`: its packets begin with something they cannot read.
pub fn pair(programs: &Programs, link_type: u16) -> Option<&Pair> {
    if L2_TYPES.contains(&link_type) {
        programs.l2.as_ref()
    } else if L3_TYPES.contains(&link_type) {
        programs.l3.as_ref()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, link_type: u16) -> Link {
        Link {
            ifindex: 1,
            link_type,
            name: name.to_owned(),
            is_up: true,
            moves: false,
        }
    }

    #[test]
    fn names_and_loopback_can_be_limited() {
        let all = InterfaceOptions::default();
        assert!(is_wanted(&all, &link("lo", libc::ARPHRD_LOOPBACK)));
        let some = InterfaceOptions {
            loopback: false,
            names: vec!["eth0".to_owned(), "lo".to_owned()],
            ..all
        };
        assert!(is_wanted(&some, &link("eth0", libc::ARPHRD_ETHER)));
        assert!(!is_wanted(&some, &link("eth1", libc::ARPHRD_ETHER)));
        assert!(!is_wanted(&some, &link("lo", libc::ARPHRD_LOOPBACK)));
    }
}
