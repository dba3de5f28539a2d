//! Nothing of the tracer stays in the kernel, however it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aya::maps::loaded_maps;
use aya::programs::{loaded_links, loaded_programs};
use kernel::{LIMIT, Watch, await_refusal, closed_port, eventually, private_namespace, run};
use nix::sys::signal::Signal;

const CYCLES: usize = 10;

/// Classifiers that go with the process that attached them: from 6.6 on. On such a kernel they have to be there.
fn has_tcx() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>());
    let mut number = || numbers.next().unwrap().unwrap();
    (number(), number()) >= (6, 6)
}

/// What classifiers can be attached by on this kernel.
fn modes() -> &'static [&'static str] {
    if has_tcx() {
        &["tcx", "clsact"]
    } else {
        &["clsact"]
    }
}

/// Numbers of BPF objects; the kernel gives each once.
#[derive(Debug, Default, PartialEq)]
struct Objects {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Objects {
    fn of(watch: &Watch) -> Self {
        Self {
            programs: watch.held("prog_id"),
            maps: watch.held("map_id"),
            links: watch.held("link_id"),
        }
    }

    /// Those of them that the kernel still has.
    fn alive(&self) -> Self {
        let programs = loaded_programs().flatten().map(|program| program.id());
        let maps = loaded_maps().flatten().map(|map| map.id());
        let links = loaded_links().flatten().map(|link| link.id());
        let among = |all: BTreeSet<u32>, own: &BTreeSet<u32>| &all & own;
        Self {
            programs: among(programs.collect(), &self.programs),
            maps: among(maps.collect(), &self.maps),
            links: among(links.collect(), &self.links),
        }
    }

    /// The kernel frees some of them a moment after their last user.
    fn await_end(&self, how: &str) {
        eventually(&format!("all freed after {how}"), || {
            (self.alive() == Self::default()).then_some(())
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    Count,
    By(Signal),
}

/// Starts that a signal is to hit.
const ROUNDS: usize = 15;

const ENDS: [End; 4] = [
    End::Count,
    End::By(Signal::SIGINT),
    End::By(Signal::SIGTERM),
    End::By(Signal::SIGKILL),
];

/// Starts it, has it see a reset, ends it. What it held until then, and whether it ended as it should.
fn cycle(tc: &str, end: End) -> Objects {
    let watch = Watch::own_namespace(&["--tc", tc, "--count", "1"]);
    let held = Objects::of(&watch);
    assert!(held.programs.len() >= 5, "{held:?}");
    assert!(held.maps.len() >= 3, "{held:?}");
    // Three tracepoints and, with TCX, two directions of lo.
    let by_links = tc == "tcx" || tc == "auto" && has_tcx();
    let links = if by_links { 5 } else { 3 };
    assert!(held.links.len() >= links, "{held:?}");
    assert_eq!(held.alive(), held);
    let ended = match end {
        End::Count => {
            await_refusal(closed_port(9));
            watch.await_end()
        }
        End::By(signal) => watch.end(signal),
    };
    let code = match end {
        End::By(Signal::SIGKILL) => None,
        _ => Some(0),
    };
    assert_eq!(ended.code, code, "{end:?}: {}", ended.stderr);
    held
}

fn qdiscs() -> String {
    run("tc", &["qdisc", "show"])
}

#[test]
#[ignore = "needs root"]
fn nothing_stays_however_it_ends_or_the_next_start_sweeps_it_away() {
    private_namespace(|| {
        let before = qdiscs();
        for end in ENDS {
            let held = cycle("auto", end);
            if matches!(end, End::By(Signal::SIGKILL)) && !has_tcx() {
                assert!(qdiscs().contains("clsact"), "nothing to sweep");
                let next = cycle("auto", End::By(Signal::SIGINT));
                next.await_end("SIGINT of the next start");
            }
            held.await_end(&format!("{end:?}"));
            assert_eq!(qdiscs(), before, "{end:?}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn with_filters_nothing_stays_after_an_orderly_end() {
    private_namespace(|| {
        let before = qdiscs();
        for end in &ENDS[..3] {
            cycle("clsact", *end).await_end(&format!("{end:?}"));
            assert_eq!(qdiscs(), before, "{end:?}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn filters_that_a_killed_run_left_are_swept_by_the_next_start() {
    private_namespace(|| {
        let before = qdiscs();
        let left = cycle("clsact", End::By(Signal::SIGKILL));
        assert!(qdiscs().contains("clsact"), "nothing to sweep");
        for tc in modes() {
            let next = cycle(tc, End::By(Signal::SIGTERM));
            left.await_end("the next start");
            next.await_end("its own end");
            assert_eq!(qdiscs(), before, "{tc}");
            // For the other mode there has to be something again.
            if *tc == "tcx" {
                cycle("clsact", End::By(Signal::SIGKILL));
            }
        }
    });
}

#[test]
#[ignore = "needs root"]
fn it_can_be_started_and_stopped_ten_times() {
    private_namespace(|| {
        let before = qdiscs();
        for tc in modes().iter().cycle().take(CYCLES) {
            cycle(tc, End::By(Signal::SIGINT)).await_end("SIGINT");
            assert_eq!(qdiscs(), before);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_signal_during_the_start_leaves_nothing() {
    private_namespace(|| {
        let before = qdiscs();
        let inode = kernel::netns_inode().to_string();
        // Between these two it loads and attaches.
        let (mut before_loading, mut when_ready) = (Duration::ZERO, LIMIT);
        let mut hits = 0;
        for round in 0..ROUNDS {
            let part = [2, 3, 4][round % 3];
            let delay = before_loading + (when_ready - before_loading) / part;
            let watch = Watch::start_unready(&["--tc", "clsact", "--netns", &inode]);
            let begin = Instant::now();
            while begin.elapsed() < delay && !watch.has_said("tracing resets") {
                std::thread::sleep(Duration::from_millis(1));
            }
            let held = Objects::of(&watch);
            let is_ready = watch.has_said("tracing resets");
            let ended = watch.end(Signal::SIGTERM);
            match (held.maps.is_empty(), is_ready) {
                (_, true) => when_ready = when_ready.min(begin.elapsed()),
                (true, false) => before_loading = before_loading.max(delay),
                (false, false) => hits += 1,
            }
            // Before it takes signals over there is nothing to take off, and the signal ends it.
            assert!(
                matches!(ended.code, None | Some(0)),
                "{delay:?}: {}",
                ended.stderr
            );
            held.await_end(&format!("SIGTERM after {delay:?}"));
            assert_eq!(qdiscs(), before, "{delay:?}");
        }
        assert!(hits >= 3, "only {hits} of {ROUNDS} signals hit the start");
    });
}

#[test]
#[ignore = "needs root"]
fn the_last_of_two_takes_the_shared_qdisc_away() {
    private_namespace(|| {
        let before = qdiscs();
        let first = Watch::own_namespace(&["--tc", "clsact"]);
        let second = Watch::own_namespace(&["--tc", "clsact"]);
        assert_eq!(first.end(Signal::SIGINT).code, Some(0));
        assert_eq!(second.filters("lo"), 2, "taken off by the other one");
        assert_eq!(second.end(Signal::SIGINT).code, Some(0));
        assert_eq!(qdiscs(), before);
    });
}
