//! Programs are attached where they should be, and nothing is left behind.
//!
//! Each test works in a network namespace of its own. They need root: `cargo test --test kernel_attach -- --ignored`.

mod kernel;

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType, loaded_programs};
use kernel::Watch;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use rsttrace::kernel::{Fact, InterfaceOptions, Options, Scope, TcMode, Tracer, Transport};

/// What is promised.
const SECOND: Duration = Duration::from_secs(1);
/// Far longer than anything takes; only a failing test waits so long.
const LIMIT: Duration = Duration::from_secs(30);

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

/// Runs `test` on a thread in a new namespace with its loopback interface up.
fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make namespaces");
        run("ip", &["link", "set", "lo", "up"]);
        test();
    })
    .join()
    .unwrap_or_else(|error| std::panic::resume_unwind(error));
}

/// Output of a command, in the calling thread's namespace.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("it is installed");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
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

fn eventually(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begin.elapsed()
}

/// A process in a network namespace of its own.
fn namespace_holder() -> (Child, PathBuf) {
    let child = Command::new("unshare")
        .args(["--net", "sleep", "60"])
        .spawn();
    let child = child.expect("util-linux is installed");
    let path = PathBuf::from(format!("/proc/{}/ns/net", child.id()));
    let own = std::fs::read_link("/proc/thread-self/ns/net").expect("proc is mounted");
    eventually("unshare", LIMIT, || {
        std::fs::read_link(&path).is_ok_and(|link| link != own)
    });
    (child, path)
}

#[test]
#[ignore = "needs root"]
fn all_hooks_work_on_a_current_kernel() {
    in_new_namespace(|| {
        let _older = std::net::TcpListener::bind("127.0.0.1:0").expect("lo is up");
        let begin = Instant::now();
        let tracer = start(TcMode::Auto, Scope::Own);
        println!("started in {:?}", begin.elapsed());
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
        let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
        println!(
            "{:?}",
            status
                .lines()
                .filter(|line| line.contains("VmHWM") || line.contains("Rss"))
                .collect::<Vec<_>>()
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
        in_new_namespace(move || {
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
    in_new_namespace(|| {
        let tracer = start(TcMode::Tcx, Scope::Own);
        assert_eq!(tcx("lo"), 2);
        let begin = Instant::now();
        drop(tracer);
        println!("stopped in {:?}", begin.elapsed());
        assert_eq!(tcx("lo"), 0);
    });
}

#[test]
#[ignore = "needs root"]
fn nothing_stays_when_the_process_is_killed() {
    in_new_namespace(|| {
        let watch = Watch::own_namespace(&["--tc", "tcx"]);
        eventually("attached", LIMIT, || tcx("lo") == 2);
        let programs = || loaded_programs().filter_map(Result::ok).count();
        let with = programs();
        watch.end(Signal::SIGKILL);
        eventually("detached", LIMIT, || tcx("lo") == 0);
        eventually("unloaded", LIMIT, || programs() < with);
    });
}

#[test]
#[ignore = "needs root"]
fn clsact_leaves_neither_filter_nor_qdisc() {
    in_new_namespace(|| {
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
    in_new_namespace(|| {
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
    in_new_namespace(|| {
        let filters = || {
            run("tc", &["filter", "show", "dev", "lo", "ingress"])
                .matches("rsttrace")
                .count()
        };
        let watch = Watch::own_namespace(&["--tc", "clsact"]);
        eventually("attached", LIMIT, || filters() == 1);
        drop(start(TcMode::Tcx, Scope::Own));
        assert_eq!(filters(), 1, "a living one's filter was taken away");
        watch.end(Signal::SIGKILL);
        assert_eq!(filters(), 1, "clsact outlives a killed process");
        eventually("swept", LIMIT, || {
            drop(start(TcMode::Tcx, Scope::Own));
            filters() == 0
        });
        assert!(!run("tc", &["qdisc", "show", "dev", "lo"]).contains("clsact"));
    });
}

#[test]
#[ignore = "needs root"]
fn an_interface_made_later_is_attached_and_named_within_a_second() {
    in_new_namespace(|| {
        let tracer = start(TcMode::Tcx, Scope::Own);
        let names = tracer.names().expect("classifiers are on");
        run(
            "ip",
            &["link", "add", "va", "type", "veth", "peer", "name", "vb"],
        );
        let time = eventually("attached", SECOND, || tcx("va") == 2 && tcx("vb") == 2);
        println!("interface attached after {time:?}");
        run("ip", &["tuntap", "add", "dev", "t0", "mode", "tun"]);
        eventually("a device without link-layer header", SECOND, || {
            tcx("t0") == 2
        });
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
        eventually("renamed", SECOND, || has("renamed") && !has("va"));
        run("ip", &["link", "del", "vb"]);
        eventually("forgotten", SECOND, || !has("renamed") && !has("vb"));
        assert_eq!(names.problems(), (0, vec![]));
    });
}

#[test]
#[ignore = "needs root"]
fn a_namespace_made_later_is_attached_and_let_go_when_its_holder_ends() {
    in_new_namespace(|| {
        let tracer = start(TcMode::Tcx, Scope::All);
        let names = tracer.names().expect("classifiers are on");
        let (mut holder, path) = namespace_holder();
        let link = std::fs::read_link(&path)
            .expect("it lives")
            .display()
            .to_string();
        let is_known = || {
            names
                .namespaces()
                .iter()
                .any(|n| format!("net:[{}]", n.inode) == link)
        };
        let time = eventually("known", Duration::from_millis(1500), is_known);
        println!("namespace known after {time:?}");

        // The peer goes with the namespace, so it tells when that really ends.
        let pid = holder.id().to_string();
        run(
            "ip",
            &[
                "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", &pid,
            ],
        );
        let there = File::open(path).expect("it lives");
        let visit = std::thread::spawn(move || {
            setns(there, CloneFlags::CLONE_NEWNET).expect("root may");
            eventually("attached there", SECOND, || {
                tcx("vb") == 2 && tcx("lo") == 2
            });
        });
        visit.join().expect("attached there");

        holder.kill().expect("it is ours");
        holder.wait().expect("it is ours");
        let time = eventually("ended", LIMIT, || !run("ip", &["link"]).contains("va@"));
        println!("namespace ended after {time:?}");
        eventually("forgotten", SECOND, || !is_known());
    });
}

#[test]
#[ignore = "needs root"]
fn only_the_namespaces_asked_for_are_entered() {
    in_new_namespace(|| {
        let (mut holder, path) = namespace_holder();
        let inode = std::fs::metadata(path).expect("it lives").ino() as u32;
        let tracer = start(TcMode::Tcx, Scope::Only(vec![inode]));
        assert_eq!(tcx("lo"), 0);
        let known = tracer.names().expect("classifiers are on").namespaces();
        assert!(known.len() == 1 && !known[0].is_own, "{known:?}");
        holder.kill().expect("it is ours");
        holder.wait().expect("it is ours");
    });
}
