//! Queries of the history.
//!
//! SQLite evaluates what it can, so that few records are decompressed. It may return more than is wanted, never less; its results are
//! filtered again.

use ipnet::IpNet;
use jiff::Timestamp;
use rusqlite::types::Value;

use super::row::{Kind, Word, bytes};
use crate::filter::{Filter, ProcessTerm, Terms};
use crate::record::{Output, Severity};

/// What is wanted. By default everything but noise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Which resets and failures, as `watch` filters them. Sums of floods are wanted if resets that are may be among them.
    pub filter: Filter,
    /// Networks of the other end; empty: any.
    pub peers: Vec<IpNet>,
    pub noise: bool,
    /// Only resets of which the silence before them is known.
    pub quiet: bool,
    /// Only this many of the newest resets, with other records that are as new.
    pub newest: Option<u64>,
}

/// A condition and its values.
#[derive(Debug, Default)]
pub(super) struct Condition {
    /// What follows WHERE; values are `?`.
    pub sql: String,
    pub values: Vec<Value>,
}

impl Query {
    /// Whether an output is wanted, regardless of `newest`.
    pub fn wants(&self, output: &Output) -> bool {
        let peer = |address| self.peers.iter().any(|net| net.contains(&address));
        match output {
            Output::Reset(record) => {
                self.filter.matches(record)
                    && (self.noise || !record.is_noise(!self.filter.is_empty()))
                    && (self.peers.is_empty() || peer(record.remote.address.to_canonical()))
                    && (!self.quiet || quiet_of(record).is_some())
            }
            Output::Failure(failure) => {
                let remote = failure.remote.as_ref();
                self.filter.matches_failure(failure)
                    && (self.noise || !failure.is_noise())
                    && (self.peers.is_empty()
                        || remote.is_some_and(|remote| peer(remote.address.to_canonical())))
            }
            Output::Suppressed(sum) => {
                let network = sum.remote_network.as_deref();
                let network: Option<IpNet> = network.and_then(|net| net.parse().ok());
                let near = |network: IpNet| {
                    let overlap = |net: &IpNet| net.contains(&network) || network.contains(net);
                    self.peers.is_empty() || self.peers.iter().any(overlap)
                };
                self.filter.may_match(sum) && network.is_none_or(near)
            }
        }
    }

    pub(super) fn condition(&self) -> Condition {
        let mut of_resets = Condition::default();
        let only = &self.filter.only;
        if !self.noise {
            of_resets.and(
                "(severity IS NULL OR severity <> ?)",
                [text(Severity::Noise.name())],
            );
        }
        if self.quiet {
            of_resets.and("quiet IS NOT NULL", []);
        }
        of_resets.any(&self.peers, |net| ("remote BETWEEN ? AND ?", range(net)));
        of_resets.any(&only.addresses, |net| {
            let values = [range(net), range(net)].concat();
            ("(remote BETWEEN ? AND ? OR local BETWEEN ? AND ?)", values)
        });
        of_resets.any(&only.ports, |ports| {
            let ends = [Value::from(ports.first), Value::from(ports.last)];
            let values = [ends.clone(), ends].concat();
            (
                "(remote_port BETWEEN ? AND ? OR local_port BETWEEN ? AND ?)",
                values,
            )
        });
        of_resets.any(&only.netns, |inode| ("netns = ?", vec![(*inode).into()]));
        of_resets.any(&only.causes, |it| ("cause = ?", vec![text(it.name())]));
        of_resets.any(&only.severities, |it| {
            ("(severity IS NULL OR severity = ?)", vec![text(it.name())])
        });
        of_resets.any(&only.directions, |it| {
            ("direction = ?", vec![text(it.name())])
        });
        of_resets.words(only);
        let mut all = Condition::default();
        // Nanoseconds of an i64 reach to the year 2262.
        let bound = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        if let Some(since) = self.since {
            all.and("time >= ?", [bound(since).into()]);
        }
        if let Some(until) = self.until {
            all.and("time < ?", [bound(until).into()]);
        }
        if !of_resets.sql.is_empty() {
            let of_resets_only = format!("(kind <> {} OR ({}))", Kind::Reset as i64, of_resets.sql);
            all.and(&of_resets_only, of_resets.values);
        }
        all
    }
}

/// Seconds of silence before a reset; absent where that means nothing or is not known.
pub(super) fn quiet_of(record: &crate::record::Record) -> Option<f64> {
    record.idle.as_ref()?.quiet_before
}

impl Condition {
    fn and(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    fn any<T>(&mut self, terms: &[T], sql: impl Fn(&T) -> (&'static str, Vec<Value>)) {
        if terms.is_empty() {
            return;
        }
        let (texts, values): (Vec<_>, Vec<_>) = terms.iter().map(sql).unzip();
        self.and(
            &format!("({})", texts.join(" OR ")),
            values.into_iter().flatten(),
        );
    }

    fn words(&mut self, only: &Terms) {
        const FIND: &str = "instr(words, ?) > 0";
        let find = |mark: String| (FIND, vec![Value::from(mark)]);
        self.any(&only.processes, |term| {
            find(match term {
                ProcessTerm::Pid(pid) => Word::Pid.mark(&pid.to_string()),
                // Of a long name the kernel keeps the first 15 bytes.
                ProcessTerm::Name(name) => {
                    let kept = name.floor_char_boundary(15);
                    Word::Name.mark(name.get(..kept).unwrap_or(name))
                }
            })
        });
        self.any(&only.units, |unit| find(Word::Unit.mark(unit)));
        self.any(&only.containers, |term| {
            find(Word::Container.mark(beginning(term)))
        });
        self.any(&only.pods, |term| find(Word::Pod.mark(beginning(term))));
    }
}

/// What a name begins with that may have `*` in it.
fn beginning(term: &str) -> &str {
    term.split('*').next().unwrap_or(term)
}

fn text(name: &'static str) -> Value {
    Value::Text(name.to_owned())
}

fn range(net: &IpNet) -> Vec<Value> {
    let net = net.trunc();
    vec![
        Value::Blob(bytes(net.network())),
        Value::Blob(bytes(net.broadcast())),
    ]
}
