//! What is said of resets that are too many, and of those among them that are not of their kind?

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;

use kernel::{
    Ended, FAR, Link, NEAR, connected_from, out_resets_by_namespace, private_namespace,
    set_linger_zero,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// What no flood of answers may be taken for.
const NEVER: [&str; 4] = ["unknown", "firewall_reject", "raw_socket", "blind_attempt"];

/// Connections that are reset in a storm: half by their client, half by their server.
const STORM: u64 = 20_000;
const SERVICE: u16 = 8_080;
const NETWORK: &str = "198.18.1.0/24";

#[test]
#[ignore = "needs root"]
fn a_storm_adds_up_and_is_told_of_once_over_the_ring() {
    a_storm_adds_up("ring");
}

#[test]
#[ignore = "needs root"]
fn a_storm_adds_up_and_is_told_of_once_over_perf_buffers() {
    a_storm_adds_up("perf");
}

fn a_storm_adds_up(transport: &'static str) {
    private_namespace(move || {
        let link = Link::new();
        let run = Run::of(&link, &["--noise", "--transport", transport], || {
            storm(&link)
        });
        assert_eq!(run.staged, STORM);
        let (described, counted) = run.check_sums();
        println!(
            "{described} described, {counted} counted; {:?}",
            run.total()
        );
        // A hundred of each kind at once, twenty a second.
        assert!((200..STORM / 4).contains(&described), "{described}");
        for sum in run.sums().filter(|sum| sum["direction"] == "sent") {
            assert_eq!(sum["cause"], "linger_zero", "{sum}");
            assert_eq!(sum["remote_network"], NETWORK, "{sum}");
            let [near, far] = link.inodes();
            if sum["netns"] == near {
                assert_eq!(
                    (&sum["remote_port"], sum.get("local_port")),
                    (&SERVICE.into(), None)
                );
            } else {
                assert_eq!(sum["netns"], far, "{sum}");
                assert_eq!(
                    (&sum["local_port"], sum.get("remote_port")),
                    (&SERVICE.into(), None)
                );
            }
        }
        for record in run.records().filter(|record| record["direction"] == "sent") {
            assert_eq!(record["verdict"]["cause"], "linger_zero", "{record}");
            assert_eq!(record["verdict"]["confidence"], "certain", "{record}");
        }
        run.check_chains();
        run.check_blames();
    });
}

/// Every end waits for its reset, so that both ends of each have something to tell.
fn storm(link: &Link) {
    let listener = link.listen(SocketAddr::from((FAR, SERVICE)));
    link.near.enter(|| {
        for number in 0..STORM {
            let (client, server) = connected_from(NEAR, &listener);
            let (closes, mut waits) = if number % 2 == 0 {
                (client, server)
            } else {
                (server, client)
            };
            set_linger_zero(&closes);
            drop(closes);
            let error = waits.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

/// What was staged under `rsttrace watch`, and what it said.
struct Run {
    ours: [u32; 2],
    /// Resets that the stack sent in the link's namespaces.
    staged: u64,
    /// Whether nobody else on this machine sent any, as far as that can be seen.
    alone: bool,
    ended: Ended,
}

impl Run {
    fn of(link: &Link, arguments: &[&str], stage: impl FnOnce()) -> Self {
        let ours = link.inodes();
        let before = out_resets_by_namespace();
        let watch = link.watch(arguments);
        stage();
        let ended = watch.end(Signal::SIGINT);
        let after = out_resets_by_namespace();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let staged = ours.iter().map(|ours| after[ours] - before[ours]).sum();
        let others = |mut all: BTreeMap<u32, u64>| {
            all.retain(|inode, _| !ours.contains(inode));
            all
        };
        let alone = others(before) == others(after);
        Self {
            ours,
            staged,
            alone,
            ended,
        }
    }

    fn of_ours(&self, schema: &'static str) -> impl Iterator<Item = Value> {
        let ours = self.ours;
        let is_ours = move |value: &Value| ours.iter().any(|ours| value["netns"] == *ours);
        let all = self.ended.records().into_iter();
        all.filter(move |value| value["schema"] == schema && is_ours(value))
    }

    /// Of the link's namespaces.
    fn records(&self) -> impl Iterator<Item = Value> {
        self.of_ours("rsttrace.reset.v1")
    }

    /// Of the link's namespaces.
    fn sums(&self) -> impl Iterator<Item = Value> {
        self.of_ours("rsttrace.suppressed.v1")
    }

    fn total(&self) -> kernel::KernelTotal {
        self.ended.total("sent")
    }

    /// Every reset was either described or told of in a sum, once. Gives the number of each.
    fn check_sums(&self) -> (u64, u64) {
        let summary = &self.ended.stderr;
        let total = self.total();
        assert!(!summary.contains("does not add up"), "{summary}");
        assert_eq!(total.lost, 0, "{summary}");
        let described = self.records().filter(is_sent_by_the_stack).count() as u64;
        let counted = |sums: &mut dyn Iterator<Item = Value>| -> u64 {
            sums.filter(|sum| sum["direction"] == "sent")
                .map(|sum| sum["count"].as_u64().unwrap())
                .sum()
        };
        let ours = counted(&mut self.sums());
        assert_eq!(
            described + ours,
            self.staged,
            "{described} + {ours}: {summary}"
        );
        if self.alone {
            let sum = total.detailed + total.suppressed + total.lost;
            assert_eq!((total.seen, sum), (self.staged, self.staged), "{summary}");
            assert_eq!(
                (total.detailed, total.suppressed),
                (described, ours),
                "{summary}"
            );
        } else {
            println!("others sent resets meanwhile: the kernel's totals are not compared");
        }
        (described, ours)
    }

    /// Every reset that is described as sent is described as received.
    fn check_chains(&self) {
        let mut chains: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for record in self.records() {
            let chain = record["link"]["id"].as_u64();
            let chain = chain.unwrap_or_else(|| panic!("one end alone: {record}"));
            let direction = record["direction"].as_str().unwrap().to_owned();
            chains.entry(chain).or_default().push(direction);
        }
        for directions in chains.values() {
            assert_eq!(directions, &["sent", "received"]);
        }
    }

    fn check_blames(&self) {
        for value in self.records() {
            let cause = value["verdict"]["cause"].as_str().unwrap();
            assert!(!NEVER.contains(&cause), "{value}");
        }
        for sum in self.sums() {
            let cause = sum["cause"].as_str();
            assert!(!cause.is_some_and(|cause| NEVER.contains(&cause)), "{sum}");
        }
    }
}

/// It comes from the tracepoint, not from the wire alone.
fn is_sent_by_the_stack(record: &Value) -> bool {
    let hooks = record["kernel"]["hook"].as_array();
    record["direction"] == "sent"
        && hooks.is_some_and(|hooks| hooks.iter().any(|hook| hook == "tcp:tcp_send_reset"))
}
