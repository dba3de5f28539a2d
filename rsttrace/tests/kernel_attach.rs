//! Programs are attached where they should be, and nothing is left behind.
//!
//! Each test works in a network namespace of its own. They need root: `cargo test --test kernel_attach -- --ignored`.

mod kernel;

use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use kernel::{Namespace, Watch, eventually, private_namespace, run, sh, within};
use nix::sys::signal::Signal;
use rsttrace::kernel::{Fact, InterfaceOptions, Options, Scope, TcMode, Tracer, Transport};

/// What is promised.
const SECOND: Duration = Duration::from_secs(1);

fn options(mode: TcMode, scope: Scope) -> Options {
    let patience = Duration::from_secs(10);
    let interfaces = InterfaceOptions {
        mode,
        scope,
        patience,
        ..InterfaceOptions::default()
    };
    Options {
        interfaces: Some(interfaces),
        ..Options::default()
    }
}

fn start(mode: TcMode, scope: Scope) -> Tracer {
    let tracer = Tracer::start(&options(mode, scope)).expect("the kernel can be traced");
    let problems = tracer.names().expect("classifiers are on").problems();
    assert_eq!(problems, (0, vec![]));
    tracer
}

/// How many TCX programs of ours are on an interface, both directions together.
fn tcx(interface: &str) -> usize {
    [TcAttachType::Ingress, TcAttachType::Egress]
        .into_iter()
        .filter_map(|direction| SchedClassifier::query_tcx(interface, direction).ok())
        .flat_map(|(_, programs)| programs)
        .filter(|program| program.name().starts_with(b"tc_"))
        .count()
}

#[test]
#[ignore = "needs root"]
fn all_hooks_work_on_a_current_kernel() {
    private_namespace(|| {
        let _older = std::net::TcpListener::bind("127.0.0.1:0").expect("lo is up");
        let tracer = start(TcMode::Auto, Scope::Own);
        for fact in [
            Fact::Ownership,
            Fact::ResetSent,
            Fact::StatelessResetSent,
            Fact::ActiveReason,
            Fact::ResetReceived,
            Fact::Packets,
            Fact::TunnelPackets,
            Fact::OlderSockets,
            Fact::Clock,
        ] {
            assert!(
                tracer.hooks().is_active(fact),
                "{fact:?}: {:?}",
                tracer.hooks()
            );
        }
        assert!(tracer.hz().is_some());
        assert!(
            tracer
                .counters()
                .is_some_and(|counters| counters.seeded >= 1)
        );
        assert_eq!(tracer.hooks().has_reason(), !tracer.reasons().is_empty());
        let programs = tracer.programs();
        assert!(
            programs.iter().any(|p| p.name == "tcp_receive_reset"),
            "{programs:?}"
        );
    });
}

#[test]
#[ignore = "needs root"]
fn both_transports_deliver_a_refused_connection() {
    for transport in [Transport::Ring, Transport::Perf] {
        private_namespace(move || {
            let options = Options {
                transport,
                ..options(TcMode::Auto, Scope::Own)
            };
            let mut tracer = Tracer::start(&options).expect("the kernel can be traced");
            let mut events = tracer.take_events().expect("taken once");
            assert!(tracer.take_events().is_none());
            assert!(std::net::TcpStream::connect("127.0.0.1:9").is_err());
            let mut kinds = Vec::new();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let each = |event: &[u8]| kinds.push(u16::from_ne_bytes([event[24], event[25]]));
                let count = tokio::time::timeout(SECOND, events.next(4096, each)).await;
                assert!(count.is_ok(), "{transport:?}: nothing came");
            });
            for kind in [2, 3, 4] {
                assert!(kinds.contains(&kind), "{transport:?}: {kinds:?}");
            }
            let counters = tracer.counters().expect("readable");
            assert!(
                counters.sent_seen >= 1 && counters.sent_lost == 0,
                "{counters:?}"
            );
        });
    }
}

#[test]
#[ignore = "needs root"]
fn nothing_stays_when_the_tracer_is_dropped() {
    private_namespace(|| {
        let tracer = start(TcMode::Tcx, Scope::Own);
        assert_eq!(tcx("lo"), 2);
        drop(tracer);
        assert_eq!(tcx("lo"), 0);
    });
}

#[test]
#[ignore = "needs root"]
fn clsact_leaves_neither_filter_nor_qdisc() {
    private_namespace(|| {
        let tracer = start(TcMode::Clsact, Scope::Own);
        for direction in ["ingress", "egress"] {
            assert!(run("tc", &["filter", "show", "dev", "lo", direction]).contains("rsttrace"));
        }
        drop(tracer);
        assert!(!run("tc", &["qdisc", "show", "dev", "lo"]).contains("clsact"));
    });
}

#[test]
#[ignore = "needs root"]
fn a_clsact_qdisc_of_others_stays_with_their_filters() {
    private_namespace(|| {
        let filters = |direction| run("tc", &["filter", "show", "dev", "lo", direction]);
        run("tc", &["qdisc", "add", "dev", "lo", "clsact"]);
        let add = "filter add dev lo ingress protocol all prio 5 bpf bytecode";
        let pass_all = "1,6 0 0 4294967295,";
        run("tc", &add.split(' ').chain([pass_all]).collect::<Vec<_>>());
        let before = filters("ingress");
        let tracer = start(TcMode::Clsact, Scope::Own);
        assert_ne!(filters("ingress"), before);
        drop(tracer);
        assert_eq!(filters("ingress"), before);
        assert_eq!(filters("egress"), "");
        assert!(run("tc", &["qdisc", "show", "dev", "lo"]).contains("clsact"));
    });
}

#[test]
#[ignore = "needs root"]
fn the_next_start_sweeps_what_a_killed_run_left_but_not_a_living_one() {
    private_namespace(|| {
        let filters = || {
            run("tc", &["filter", "show", "dev", "lo", "ingress"])
                .matches("rsttrace")
                .count()
        };
        let watch = Watch::own_namespace(&["--tc", "clsact"]);
        eventually("attached", || (filters() == 1).then_some(()));
        drop(start(TcMode::Tcx, Scope::Own));
        assert_eq!(filters(), 1, "a living one's filter was taken away");
        watch.end(Signal::SIGKILL);
        assert_eq!(filters(), 1, "clsact outlives a killed process");
        eventually("swept", || {
            drop(start(TcMode::Tcx, Scope::Own));
            (filters() == 0).then_some(())
        });
        assert!(!run("tc", &["qdisc", "show", "dev", "lo"]).contains("clsact"));
    });
}

#[test]
#[ignore = "needs root"]
fn an_interface_made_later_is_attached_and_named_within_a_second() {
    private_namespace(|| {
        let tracer = start(TcMode::Tcx, Scope::Own);
        let names = tracer.names().expect("classifiers are on");
        run(
            "ip",
            &["link", "add", "va", "type", "veth", "peer", "name", "vb"],
        );
        let have_both = |interfaces: &[&str]| {
            let all = interfaces.iter().all(|interface| tcx(interface) == 2);
            all.then_some(())
        };
        within(SECOND, "attached", || have_both(&["va", "vb"]));
        run("ip", &["tuntap", "add", "dev", "t0", "mode", "tun"]);
        let what = "a device without link-layer header";
        within(SECOND, what, || have_both(&["t0"]));
        let own = names
            .namespaces()
            .into_iter()
            .find(|known| known.is_own)
            .expect("known");
        let has = |wanted: &str| {
            names
                .interfaces(own.inode)
                .iter()
                .any(|(_, name)| name == wanted)
        };
        run("ip", &["link", "set", "va", "name", "renamed"]);
        within(SECOND, "renamed", || {
            (has("renamed") && !has("va")).then_some(())
        });
        run("ip", &["link", "del", "vb"]);
        within(SECOND, "forgotten", || {
            (!has("renamed") && !has("vb")).then_some(())
        });
        assert_eq!(names.problems(), (0, vec![]));
    });
}

#[test]
#[ignore = "needs root"]
fn a_namespace_made_later_is_attached_and_let_go_when_its_holder_ends() {
    private_namespace(|| {
        let tracer = start(TcMode::Tcx, Scope::All);
        let names = tracer.names().expect("classifiers are on");
        let holder = Namespace::new();
        let (inode, pid) = (holder.inode(), holder.pid());
        let is_known = || names.namespaces().iter().any(|n| n.inode == inode);
        let limit = Duration::from_millis(1500);
        within(limit, "known", || is_known().then_some(()));

        // The peer goes with the namespace, so it shows when that really ends.
        sh(&format!(
            "ip link add va type veth peer name vb netns {pid}"
        ));
        holder.enter(|| {
            within(SECOND, "attached there", || {
                (tcx("vb") == 2 && tcx("lo") == 2).then_some(())
            });
        });

        drop(holder);
        eventually("ended", || (!sh("ip link").contains("va@")).then_some(()));
        within(SECOND, "forgotten", || (!is_known()).then_some(()));
    });
}

#[test]
#[ignore = "needs root"]
fn only_the_namespaces_asked_for_are_entered() {
    private_namespace(|| {
        let other = Namespace::new();
        let tracer = start(TcMode::Tcx, Scope::Only(vec![other.inode()]));
        assert_eq!(tcx("lo"), 0);
        let known = tracer.names().expect("classifiers are on").namespaces();
        assert!(known.len() == 1 && !known[0].is_own, "{known:?}");
    });
}
