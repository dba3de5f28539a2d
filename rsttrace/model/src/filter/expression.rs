//! Expressions of primitives, as in pcap-filter(7), over records instead of packets.

use super::{Subject, Terms};
use crate::record::{Severity, SuppressedRecord};

/// Primitives and how they are combined.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Is(Box<Primitive>),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

/// Terms of one kind, of which one must match.
#[derive(Clone, Debug, PartialEq)]
pub struct Primitive {
    /// Ends whose addresses and ports count.
    pub side: Side,
    pub terms: Terms,
}

/// Ends of a reset. Its source sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    #[default]
    Either,
    Source,
    Destination,
    Both,
}

impl Expression {
    /// Whether a primitive that counts asks for what is hidden otherwise: a cause, a class, or noise.
    pub fn asks_for_noise(&self) -> bool {
        self.asks(true)
    }

    /// `is_wanted`: it is negated an even number of times.
    fn asks(&self, is_wanted: bool) -> bool {
        match self {
            Self::Is(primitive) => {
                let terms = &primitive.terms;
                is_wanted
                    && (!terms.causes.is_empty()
                        || !terms.classes.is_empty()
                        || terms.severities.contains(&Severity::Noise))
            }
            Self::Not(inner) => inner.asks(!is_wanted),
            Self::And(one, other) | Self::Or(one, other) => {
                one.asks(is_wanted) || other.asks(is_wanted)
            }
        }
    }

    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Is(primitive) => primitive.matches(subject),
            Self::Not(inner) => !inner.matches(subject),
            Self::And(one, other) => one.matches(subject) && other.matches(subject),
            Self::Or(one, other) => one.matches(subject) || other.matches(subject),
        }
    }

    /// Whether resets that were counted together match; absent if the sum does not tell, or only some do.
    pub(super) fn matches_sum(&self, sum: &SuppressedRecord) -> Option<bool> {
        match self {
            Self::Is(primitive) => primitive.matches_sum(sum),
            Self::Not(inner) => inner.matches_sum(sum).map(|it| !it),
            Self::And(one, other) => match (one.matches_sum(sum), other.matches_sum(sum)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                (None, _) | (_, None) => None,
            },
            Self::Or(one, other) => match (one.matches_sum(sum), other.matches_sum(sum)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            },
        }
    }
}

impl Primitive {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let [source, destination] = subject.ends;
        let of = |ends| {
            let subject = Subject { ends, ..*subject };
            self.terms.kinds(&subject).all(|kind| kind != Some(false))
        };
        match self.side {
            Side::Either => of(subject.ends),
            Side::Source => of([source, None]),
            Side::Destination => of([None, destination]),
            Side::Both => of([source, None]) && of([None, destination]),
        }
    }

    fn matches_sum(&self, sum: &SuppressedRecord) -> Option<bool> {
        let terms = &self.terms;
        if !terms.failures.is_empty() {
            return Some(false);
        }
        if !terms.causes.is_empty() {
            return sum.cause.map(|cause| terms.causes.contains(&cause));
        }
        if !terms.netns.is_empty() {
            return sum.netns.map(|netns| terms.netns.contains(&netns));
        }
        // The port that serves; a port of the other end is hardly ever asked for.
        let port = sum.local_port.or(sum.remote_port);
        if !terms.ports.is_empty() && self.side == Side::Either {
            return port.map(|port| terms.ports.iter().any(|ports| ports.contains(port)));
        }
        None
    }
}
