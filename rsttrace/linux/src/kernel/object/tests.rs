use std::fs;
use std::path::PathBuf;

use caps::{CapSet, Capability, has_cap};
use rsttrace_common::knobs::ABSENT;

use super::*;
use crate::kernel::hooks::Fact;

/// What tests/data/kernels has.
const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.3"];

const RENEW: &str = "run `cargo xtask record` to extract the types anew";

fn extract(kernel: &str) -> Vec<u8> {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/kernels");
    let file = data.join(kernel).join("types.btf");
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; {RENEW}", file.display()))
}

fn of(kernel: &str) -> KernelFacts {
    KernelFacts::of(&extract(kernel)).unwrap()
}

/// What each kernel has, in the order of [`KERNELS`].
fn each<T>(what: impl Fn(KernelFacts) -> T) -> [T; 5] {
    KERNELS.map(|kernel| what(of(kernel)))
}

#[test]
fn types_are_hidden_from_one_thread() {
    let types = || AyaBtf::from_sys_fs().is_ok();
    let before = types();
    let hidden = std::thread::spawn(move || hide_types().map(|()| types()));
    match hidden.join().unwrap() {
        Ok(found) => assert!(!found),
        Err(_) => assert!(!has_cap(None, CapSet::Effective, Capability::CAP_SYS_CHROOT).unwrap()),
    }
    assert_eq!(types(), before);
}

#[test]
fn extracts_answer_what_is_asked_today() {
    let mark = with_questions(|questions| questions.mark());
    for kernel in KERNELS {
        let extract = extract(kernel);
        assert!(
            extract
                .windows(mark.len())
                .any(|bytes| bytes == mark.as_bytes()),
            "{kernel}: other members, functions or tracepoints are asked for than when it was extracted: {RENEW}"
        );
        assert!(
            extract.len() < 30 << 10,
            "{kernel}: {} bytes",
            extract.len()
        );
    }
}

#[test]
fn an_extract_says_what_the_running_kernel_says() {
    let Ok(all) = btf::read(Path::new(btf::VMLINUX)) else {
        return;
    };
    let extract = KernelFacts::extract(&all).unwrap();
    assert_eq!(
        KernelFacts::of(&extract).unwrap(),
        KernelFacts::of(&all).unwrap()
    );
}

#[test]
fn an_extract_of_an_extract_says_the_same() {
    for kernel in KERNELS {
        let once = extract(kernel);
        let twice = KernelFacts::extract(&once).unwrap();
        let facts = KernelFacts::of(&twice).unwrap();
        assert_eq!(facts, of(kernel), "{kernel}");
    }
}

#[test]
fn members_are_where_each_kernel_has_them() {
    assert_eq!(
        each(|facts| facts.offsets.lsndtime),
        [1480, 1520, 1644, 1584, 1676]
    );
    assert_eq!(
        each(|facts| facts.offsets.icsk_lrcvtime),
        [1256, 1304, 1312, 1264, 1296]
    );
    assert_eq!(
        each(|facts| facts.offsets.sk_lock_owned),
        [140, 156, 324, 324, 320]
    );
    // Before the socket had it, it is found by way of the file.
    assert_eq!(
        each(|facts| facts.offsets.sk_ino),
        [ABSENT, ABSENT, ABSENT, 608, 624]
    );
    assert_eq!(
        each(|facts| facts.offsets.is_mptcp != ABSENT),
        [false, true, true, true, true]
    );
}

#[test]
fn bits_are_where_each_kernel_has_them() {
    // Byte, and shift within it.
    assert_eq!(
        each(|facts| (facts.offsets.chrono_type, facts.offsets.chrono_type_shift)),
        [(1596, 0), (1636, 0), (1519, 0), (1556, 0), (1648, 0)]
    );
    assert_eq!(
        each(|facts| (facts.offsets.repair, facts.offsets.repair_shift)),
        [(1597, 6), (1637, 6), (1519, 2), (1463, 0), (1503, 0)]
    );
    assert_eq!(
        each(|facts| (facts.offsets.tstamp_ok, facts.offsets.tstamp_ok_shift)),
        [(1724, 1), (1764, 1), (1772, 1), (1744, 1), (1844, 1)]
    );
}

#[test]
fn helpers_are_granted_since_5_12() {
    let all = HELPERS.iter().fold(0, |flags, (_, flag)| flags | flag);
    assert_eq!(each(|facts| facts.helpers), [0, all, all, all, all]);
}

#[test]
fn prototypes_are_those_of_each_kernel() {
    let tracepoint = |name| each(|facts| facts.tracepoints.get(name).copied());
    let function = |name| each(|facts| facts.functions.get(name).copied());
    let [two, three, four] = [2, 3, 4].map(Some);
    // The reason came with 6.10.
    assert_eq!(
        tracepoint("tcp_send_reset"),
        [three, three, four, four, four]
    );
    assert_eq!(tracepoint("tcp_receive_reset"), [two; 5]);
    assert_eq!(tracepoint("inet_sock_set_state"), [four; 5]);
    assert_eq!(
        function("tcp_v4_send_reset"),
        [two, two, three, three, three]
    );
    assert_eq!(
        function("tcp_v6_send_reset"),
        [two, two, three, three, three]
    );
    // The segment came with 5.11.
    assert_eq!(function("tcp_reset"), [Some(1), two, two, two, two]);
    assert_eq!(function("security_sock_graft"), [two; 5]);
}

#[test]
fn reasons_have_names_since_6_10() {
    let name = |wanted: u32| {
        each(|facts| {
            let reason = facts.reasons.into_iter().find(|(code, _)| *code == wanted);
            reason.map(|(_, name)| name)
        })
    };
    let since = |name: &'static str| [None, None, Some(name), Some(name), Some(name)];
    for (code, expected) in [
        (1, "NO_SOCKET"),
        (11, "TCP_ABORT_ON_CLOSE"),
        (12, "TCP_ABORT_ON_LINGER"),
        (15, "TCP_KEEPALIVE_TIMEOUT"),
    ] {
        assert_eq!(name(code).each_ref().map(Option::as_deref), since(expected));
    }
}

/// Of each fact the way that is tried first, kernel by kernel. What the kernel then says to it is not type information.
const FIRST_WAYS: [(Fact, [&str; 5]); 11] = {
    const REASON: &str = "tracepoint with reason";
    [
        (Fact::Ownership, ["tracepoint"; 5]),
        (Fact::Acceptor, ["fentry"; 5]),
        (
            Fact::ResetSent,
            ["tracepoint", "tracepoint", REASON, REASON, REASON],
        ),
        (
            Fact::StatelessResetSent,
            ["fentry", "fentry", REASON, REASON, REASON],
        ),
        (
            Fact::ActiveReason,
            ["socket state", "socket state", REASON, REASON, REASON],
        ),
        (
            Fact::ReceivedSegment,
            ["-", "fentry", "fentry", "fentry", "fentry"],
        ),
        (Fact::ResetReceived, ["tracepoint"; 5]),
        (Fact::Packets, ["classifiers"; 5]),
        (Fact::TunnelPackets, ["classifiers"; 5]),
        (Fact::OlderSockets, ["iterator"; 5]),
        (Fact::Clock, ["test run"; 5]),
    ]
};

#[test]
fn each_kernel_is_asked_for_each_fact_in_the_best_way_it_fits() {
    assert_eq!(TABLE.len(), FIRST_WAYS.len());
    for (row, (fact, expected)) in TABLE.iter().zip(FIRST_WAYS) {
        assert_eq!(row.fact, fact);
        let first = |facts: KernelFacts| row.ways.iter().find(|way| facts.fits(way).is_ok());
        let names = each(|facts| first(facts).map_or("-", |way| way.name));
        assert_eq!(names, expected, "{}", fact.name());
    }
}
