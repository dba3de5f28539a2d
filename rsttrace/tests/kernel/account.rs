//! Accounting for staged resets: each is reported, and none as something else.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Ended, KernelTotal, Link, Watch, out_resets_by_namespace};

/// Causes that no reset of the TCP stack may get.
const NEVER: [&str; 3] = ["firewall_reject", "raw_socket", "blind_attempt"];

/// What was staged under `rsttrace watch`, and what it reported.
pub struct Run {
    ours: [u32; 2],
    /// Resets that the stack sent in the link's namespaces.
    pub staged: u64,
    /// Whether other namespaces of this machine sent none, by the kernel's counts.
    alone: bool,
    pub ended: Ended,
}

impl Run {
    /// Stages resets of a link under `rsttrace watch` with these arguments.
    pub fn of(link: &Link, arguments: &[&str], stage: impl FnOnce()) -> Self {
        Self::with(link, arguments, |_| stage())
    }

    /// The same, where the staging disturbs the tracer.
    pub fn with(link: &Link, arguments: &[&str], stage: impl FnOnce(&Watch)) -> Self {
        let ours = link.inodes();
        let before = out_resets_by_namespace();
        let watch = link.watch(arguments);
        stage(&watch);
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
        let all = self.ended.values();
        all.filter(move |value| value["schema"] == schema && is_ours(value))
    }

    /// Of the link's namespaces.
    pub fn records(&self) -> impl Iterator<Item = Value> {
        self.of_ours("rsttrace.reset.v1")
    }

    /// Of the link's namespaces.
    pub fn sums(&self) -> impl Iterator<Item = Value> {
        self.of_ours("rsttrace.suppressed.v1")
    }

    /// The kernel's, of all resets on this machine.
    pub fn total(&self) -> KernelTotal {
        self.ended.total("sent")
    }

    /// Whether neither the kernel's counts nor a record show a reset of anybody else.
    pub fn is_alone(&self) -> bool {
        let all = self.ended.values().count();
        self.alone && self.records().count() + self.sums().count() == all
    }

    /// Every reset has either a record or is in a sum, once. Returns the number of each.
    pub fn check_sums(&self) -> (u64, u64) {
        let summary = &self.ended.stderr;
        let total = self.total();
        assert!(!summary.contains("unaccounted for"), "{summary}");
        assert_eq!(total.lost, 0, "{summary}");
        let described = self.records().filter(is_sent_by_the_stack).count() as u64;
        // Both ends are here: each reset was sent, and is counted once.
        let ours: u64 = self
            .sums()
            .inspect(|sum| assert_eq!(sum["direction"], "sent", "{sum}"))
            .map(|sum| sum["count"].as_u64().unwrap())
            .sum();
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

    /// Every reset with a record as sent has one as received.
    pub fn check_chains(&self) {
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

    /// The stack's resets have none of [`NEVER`] and of these further causes.
    pub fn check_blames(&self, further: &[&str]) {
        let is_wrong = |cause: &str| NEVER.contains(&cause) || further.contains(&cause);
        for value in self.records() {
            let cause = value["verdict"]["cause"].as_str().unwrap();
            // To an address that does not exist.
            let is_lost = value["direction"] == "observed" && cause == "unknown";
            assert!(is_lost || !is_wrong(cause), "{value}");
        }
        for sum in self.sums() {
            assert!(!sum["cause"].as_str().is_some_and(is_wrong), "{sum}");
        }
    }

    /// How many of the link's records have which direction and cause, for people.
    pub fn tally(&self) -> BTreeMap<String, usize> {
        let mut tally = BTreeMap::new();
        for record in self.records() {
            let verdict = &record["verdict"];
            let name = format!(
                "{} {} {}",
                record["direction"], verdict["cause"], verdict["confidence"]
            );
            *tally.entry(name.replace('"', "")).or_default() += 1;
        }
        tally
    }
}

/// It comes from the tracepoint, not from the wire alone.
pub fn is_sent_by_the_stack(record: &Value) -> bool {
    let hooks = record["kernel"]["hook"].as_array();
    record["direction"] == "sent"
        && hooks.is_some_and(|hooks| hooks.iter().any(|hook| hook == "tcp:tcp_send_reset"))
}
