//! What does a kernel have to offer, by its version? What it lacks although it should have it is a failure, not a reason
//! to leave something out.

use std::fmt::Write as _;

use super::step::quoted;

/// Major and minor number.
pub type Version = (u64, u64);

/// What steps are run on.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Of its kernel.
    pub version: Version,
    /// The kernel is as Debian builds it: what its version has is there.
    pub is_stock: bool,
}

/// The first version with TCX: what is attached by its links goes with the process.
pub const TCX: Version = (6, 6);

/// The oldest that is supported. Kernels of Debian are built with all that is asked for here.
pub const OLDEST: Version = (5, 10);

/// Each with the first version that has it, and a command line that succeeds where it is.
const FEATURES: [(&str, Version, &str); 15] = [
    ("BTF", OLDEST, "test -s /sys/kernel/btf/vmlinux"),
    ("veth", OLDEST, "ip link add f-veth type veth peer f-peer"),
    ("bridge", OLDEST, "ip link add f-bridge type bridge"),
    (
        "vlan",
        OLDEST,
        "ip link add f-vlan link f-veth type vlan id 5",
    ),
    (
        "macvlan",
        OLDEST,
        "ip link add f-mac link f-veth type macvlan",
    ),
    ("tun", OLDEST, "ip tuntap add f-tun mode tun"),
    (
        "netem",
        OLDEST,
        "tc qdisc add dev f-veth root netem loss 1%",
    ),
    ("ip_vs", OLDEST, "ipvsadm -A -t 127.0.0.1:9 -s rr"),
    (
        "nft reject",
        OLDEST,
        "nft add table inet f '{ chain c { type filter hook input priority 0; tcp dport 9 reject with tcp reset; }; }'",
    ),
    (
        "nft nat",
        OLDEST,
        "nft add table ip g '{ chain c { type nat hook prerouting priority 0; tcp dport 9 dnat to 127.0.0.1:10; }; }'",
    ),
    (
        "nft ct timeout",
        OLDEST,
        "nft add table ip h '{ ct timeout t { protocol tcp; l3proto ip; policy = { established: 3 }; }; }'",
    ),
    ("ss -K", OLDEST, "ss -K dst 127.0.0.1"),
    (
        "clsact",
        OLDEST,
        "rsttrace demo --only linger-zero --tc clsact",
    ),
    ("TCX", TCX, "rsttrace demo --only linger-zero --tc tcx"),
    (
        "ring buffer",
        OLDEST,
        "rsttrace demo --only linger-zero --transport ring",
    ),
];

/// Hooks: the fact, a program that gives it, the first version where it has to be granted and, where another program takes
/// its place later, the first where it need not.
const HOOKS: [(&str, &str, Version, Version); 12] = [
    ("ownership", "inet_sock_set_state", OLDEST, NEVER),
    ("acceptor", "fentry_security_sock_graft", OLDEST, NEVER),
    ("reset_sent", "tcp_send_reset_no_reason", OLDEST, (6, 10)),
    ("reset_sent", "tcp_send_reset", (6, 10), NEVER),
    (
        "reset_sent_stateless",
        "fentry_tcp_v4_send_reset",
        OLDEST,
        (6, 10),
    ),
    // Without the packet among its arguments before:
    // <https://github.com/torvalds/linux/blob/v5.10/net/ipv4/tcp_input.c#L4227>.
    ("received_segment", "fentry_tcp_reset", (5, 11), NEVER),
    ("reset_received", "tcp_receive_reset", OLDEST, NEVER),
    ("packets", "tc_ingress_l2", OLDEST, NEVER),
    ("packets", "tc_egress_l2", OLDEST, NEVER),
    ("tunnel_packets", "tc_ingress_l3", OLDEST, NEVER),
    ("older_sockets", "seed_sockets", OLDEST, NEVER),
    ("clock", "clock", OLDEST, NEVER),
];
const NEVER: Version = (u64::MAX, 0);

/// Scenarios that a kernel older than this cannot stage, and why. Any other has to be staged.
const NOT_STAGED_BEFORE: [(&str, Version, &str); 0] = [];

/// Major and minor number of a release such as "6.12.117+deb13-amd64".
pub fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Tries each feature, and prints "NAME: yes" or "NAME: no" with what was said about it on stderr.
pub fn features_script() -> String {
    let mut script = String::new();
    for (name, _, command) in FEATURES {
        let command = quoted(command);
        let _ = writeln!(
            script,
            "if sh -c {command} >&2; then echo '{name}: yes'; else echo '{name}: no'; echo '{name}: see above' >&2; fi"
        );
    }
    script
}

/// How many features there are, and those missing that this version has.
pub fn missing_features(output: &str, version: Version) -> (usize, Vec<&'static str>) {
    let has = |name: &str| {
        let yes = format!("{name}: yes");
        output.lines().any(|line| line == yes)
    };
    let there = FEATURES.iter().filter(|(name, ..)| has(name)).count();
    let missing = FEATURES
        .into_iter()
        .filter(|(name, since, _)| version >= *since && !has(name))
        .map(|(name, ..)| name)
        .collect();
    (there, missing)
}

/// Programs that should have been granted on this version, given how to find those of a fact.
pub fn missing_hooks(version: Version, is_granted: impl Fn(&str, &str) -> bool) -> Vec<String> {
    HOOKS
        .into_iter()
        .filter(|(_, _, since, until)| (*since..*until).contains(&version))
        .filter(|(fact, program, ..)| !is_granted(fact, program))
        .map(|(fact, program, ..)| format!("{fact} ({program})"))
        .collect()
}

/// Whether a kernel may leave the scenario out.
pub fn may_be_left_out(scenario: &str, host: Host) -> bool {
    !host.is_stock
        || NOT_STAGED_BEFORE
            .iter()
            .any(|(name, since, _)| *name == scenario && host.version < *since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_tells_its_version() {
        assert_eq!(version("6.12.117+deb13-amd64"), Some((6, 12)));
        assert_eq!(version("5.10.0-46-amd64"), Some((5, 10)));
        assert_eq!(version("7.3-amd64"), Some((7, 3)));
        assert_eq!(version("linux"), None);
    }

    #[test]
    fn a_feature_is_missed_only_where_it_should_be() {
        let all = FEATURES.map(|(name, ..)| format!("{name}: yes\n")).concat();
        assert_eq!(missing_features(&all, (6, 6)), (FEATURES.len(), Vec::new()));
        let without = all.replace("TCX: yes", "TCX: no");
        assert_eq!(missing_features(&without, (6, 6)).1, ["TCX"]);
        assert!(missing_features(&without, (6, 5)).1.is_empty());
    }

    #[test]
    fn the_tracepoint_with_a_reason_is_expected_from_the_version_that_has_it() {
        let all_but_one = |_: &str, program: &str| program != "tcp_send_reset";
        assert_eq!(
            missing_hooks((6, 12), all_but_one),
            ["reset_sent (tcp_send_reset)"]
        );
        assert!(missing_hooks((6, 1), all_but_one).is_empty());
    }

    #[test]
    fn what_is_not_listed_has_to_be_staged() {
        let host = |is_stock| Host {
            version: OLDEST,
            is_stock,
        };
        assert!(!may_be_left_out("linger-zero", host(true)));
        assert!(may_be_left_out("linger-zero", host(false)));
    }
}
