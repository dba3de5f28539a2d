//! Resets that several captures show: who sent them.
//!
//! The alleged sender is the end whose address a reset has. A reset that it sent passes every place from there to its receiver; one
//! that somebody else sent is missing at the places closer to the alleged sender.

use std::time::Duration;

use super::peer_signs::{TtlGrade, hops};
use crate::causes::rules;
use crate::record::{Confidence, EvidenceKind, Explanation, Word};
use crate::words;

/// Sender of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The end whose address it has.
    Alleged,
    /// The host of the first capture that contains it.
    CaptureHost,
    /// A device on the path to that capture, after the closest one that proves that it did not pass.
    Between,
    /// Not known.
    Unknown(Gap),
}

/// Why the sender is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The order of the captures is not known.
    Order,
    /// It left a host with a TTL that a router has lowered.
    Lowered,
    /// It left a host with the TTL of packets that the host forwards.
    LikeForwarded,
    /// Only one capture contains the connection.
    OnlyCapture,
    /// It has not the TTL of the alleged sender's TCP stack, which is no router away.
    UnlikeStack,
    /// No other packet has a TTL to compare it with.
    NothingToCompare,
    /// Another route or initial TTL explains its TTL.
    TtlExplained,
    /// A capture closer to the alleged sender does not contain it, and may have missed it.
    MayBeMissed,
}

/// Who sent a reset, and how sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Who.
    pub sender: Sender,
    /// How sure.
    pub confidence: Confidence,
}

/// What its location rests on. A capture proves that the reset did not pass where it would contain it.
#[derive(Clone, Debug)]
pub struct LocatedCase {
    /// The first capture that contains it.
    pub capture: Word,
    /// TTL there.
    pub ttl: u8,
    /// TTL of most other packets in its direction there; absent if there are none.
    pub usual_ttl: Option<u8>,
    /// Its TTL against all of theirs.
    pub grade: TtlGrade,
    /// It leaves the host of that capture.
    pub leaves: bool,
    /// It arrives at the host of that capture.
    pub arrives: bool,
    /// Other packets in its direction arrive at that host.
    pub others_arrive: bool,
    /// Other packets have its TTL at another place of that host as well.
    pub ttl_elsewhere: bool,
    /// That capture is the last one on its way, at its receiver as far as TTLs tell.
    pub is_last: bool,
    /// No other capture of the connection is closer to the alleged sender.
    pub is_closest: bool,
    /// That capture proves that it did not pass an earlier place of the same host.
    pub not_arrived: bool,
    /// The last capture before that one which proves that it did not pass there.
    pub not_seen: Option<NotSeen>,
    /// Why the place just before proves nothing; absent if it does, or there is none.
    pub may_be_missed: Option<String>,
    /// The next capture that contains it.
    pub passed: Option<Passed>,
    /// The order of the captures is known; true for a single one.
    pub order_known: bool,
    /// No other capture contains the connection, or another leg of it.
    pub is_alone: bool,
}

/// A capture that a reset did not pass.
#[derive(Clone, Debug)]
pub struct NotSeen {
    /// Its name.
    pub capture: Word,
    /// The alleged sender continues the connection there after the reset.
    pub continues: bool,
}

/// A capture that a reset passed later.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Its name.
    pub capture: Word,
    /// How much later; absent if the clocks are not known that well.
    pub later: Option<Duration>,
    /// TTL there.
    pub ttl: u8,
}

impl LocatedCase {
    /// Who sent it.
    pub fn location(&self) -> Location {
        rules::of_located(self)
    }

    /// It is not known which place comes first.
    pub(crate) fn is_unordered(&self) -> bool {
        // Within one capture, its clock and the TTLs say so.
        !self.order_known && !self.not_arrived
    }

    /// The alleged sender continues the connection afterwards.
    pub(crate) fn sender_continues(&self) -> bool {
        self.not_seen.as_ref().is_some_and(|place| place.continues)
    }

    /// The same, and the reset is first seen leaving the host of a capture.
    pub(crate) fn starts_at_host_but_sender_continues(&self) -> bool {
        self.sender_continues() && (self.not_arrived || self.has_initial_ttl_at_host())
    }

    /// It left a host at which it did not arrive.
    pub(crate) fn is_not_arrived(&self) -> bool {
        self.not_arrived
    }

    /// The same, with a TTL that a router has lowered.
    pub(crate) fn is_not_arrived_but_lowered(&self) -> bool {
        self.not_arrived && hops(self.ttl) > 0
    }

    /// The same, with the TTL of packets that the host forwards as a bridge, and no other capture lacks it.
    pub(crate) fn is_not_arrived_but_like_forwarded(&self) -> bool {
        let is_like_forwarded = self.grade == TtlGrade::Usual && self.ttl_elsewhere;
        self.not_arrived && is_like_forwarded && self.not_seen.is_none()
    }

    /// The same, with an initial TTL, which forwarded packets do not have.
    pub(crate) fn is_not_arrived_with_initial_ttl(&self) -> bool {
        self.not_arrived && self.has_initial_ttl_at_host()
    }

    /// There is no other capture to compare with.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// It leaves a host with an initial TTL, which forwarded packets do not have.
    pub(crate) fn has_initial_ttl_at_host(&self) -> bool {
        self.leaves && hops(self.ttl) == 0 && self.has_foreign_ttl()
    }

    /// The alleged sender is no router away and sends other packets with another TTL, so its TCP stack did not send this one. What
    /// does not arrive at the capturing host may be sent by that host.
    pub(crate) fn is_unlike_stack(&self) -> bool {
        self.not_seen.is_none()
            && self.grade != TtlGrade::Usual
            && self.is_at_first_hop()
            && !self.arrives
    }

    /// No other route or initial TTL of the alleged sender explains its TTL.
    pub(crate) fn has_foreign_ttl(&self) -> bool {
        self.grade == TtlGrade::Foreign
    }

    /// Another part of the alleged sender may explain its TTL.
    pub(crate) fn has_odd_ttl(&self) -> bool {
        self.grade == TtlGrade::Odd
    }

    /// Another route or initial TTL of the alleged sender explains its TTL.
    pub(crate) fn has_explained_ttl(&self) -> bool {
        self.grade == TtlGrade::Open
    }

    /// A capture closer to the alleged sender proves that it did not pass there.
    pub(crate) fn is_not_seen(&self) -> bool {
        self.not_seen.is_some()
    }

    /// It begins with an initial TTL at the closest capture, and passes the next one with one that fits.
    pub(crate) fn starts_at_the_closest(&self) -> bool {
        let fits = |passed: &Passed| passed.ttl <= self.ttl;
        self.usual_ttl.is_none()
            && self.is_closest
            && hops(self.ttl) == 0
            && self.passed.as_ref().is_some_and(fits)
    }

    /// No other packet has a TTL to compare it with.
    pub(crate) fn has_nothing_to_compare(&self) -> bool {
        self.usual_ttl.is_none()
    }

    /// A capture closer to the alleged sender lacks it, and proves nothing.
    pub(crate) fn may_be_missed(&self) -> bool {
        self.may_be_missed.is_some()
    }

    /// It leaves the host of the alleged sender. It leaves a bridge with the same TTL, but there other packets arrive first.
    pub(crate) fn leaves_alleged_sender(&self) -> bool {
        self.is_at_first_hop() && self.leaves && !self.others_arrive
    }

    /// No router is between the alleged sender and the capture.
    fn is_at_first_hop(&self) -> bool {
        self.usual_ttl.is_some_and(|usual| hops(usual) == 0)
    }

    /// Whether a device on the link of the alleged sender would look the same.
    pub fn may_be_neighbor(&self) -> bool {
        self.is_at_first_hop() && !self.leaves_alleged_sender()
    }

    /// The evidence. The summary is a clause: the reason for the sender, or why it is unknown.
    pub fn explain(&self, sender: Sender) -> Explanation {
        let mut explanation = Explanation::default();
        match sender {
            Sender::Unknown(gap) => {
                explanation.summary = self.missing(gap);
                explanation.add(EvidenceKind::Missing, explanation.summary.clone());
            }
            Sender::Alleged => self.explain_alleged(&mut explanation),
            Sender::CaptureHost => {
                self.explain_other(&mut explanation);
                explanation.summary = self.left_host();
            }
            Sender::Between => {
                self.explain_other(&mut explanation);
                explanation.summary = self.appeared();
            }
        }
        explanation
    }

    /// Why the sender is not known.
    fn missing(&self, gap: Gap) -> String {
        let (name, ttl) = (&self.capture, self.ttl);
        let usual = self.usual_ttl.unwrap_or_default();
        let appears =
            format!("in {name} it appears with TTL {ttl}, where other packets have {usual}");
        let leaves = format!("{name} shows it leaving but not arriving, yet with TTL {ttl}");
        match gap {
            Gap::Order => "the order of the captures on the path is unknown: neither TTLs nor times distinguish them".to_owned(),
            Gap::Lowered => {
                format!("{leaves} as if it had been forwarded; {name} may have missed its arrival")
            }
            Gap::LikeForwarded => {
                format!("{leaves} like forwarded packets; {name} may have missed its arrival")
            }
            Gap::OnlyCapture => format!("only {name} contains this connection"),
            Gap::UnlikeStack => format!(
                "{appears}: the TCP stack of the sender did not send it like them, and no capture shows who did"
            ),
            Gap::NothingToCompare => {
                format!("{name} contains no other packet in that direction to compare it with")
            }
            Gap::TtlExplained => format!(
                "{appears}: another route or initial TTL of its source explains this as well as another sender"
            ),
            Gap::MayBeMissed => format!(
                "it has the usual TTL of its source, but a capture closer to the source does not contain it: {}",
                self.may_be_missed.as_deref().unwrap_or_default()
            ),
        }
    }

    /// The end whose address it has sent it.
    fn explain_alleged(&self, explanation: &mut Explanation) {
        let (name, ttl) = (&self.capture, self.ttl);
        if self.usual_ttl.is_none() {
            explanation.add(
                EvidenceKind::Ttl,
                format!("in {name} it appears with TTL {ttl}, an initial TTL"),
            );
            explanation.summary = format!(
                "it appears first in {name}, the closest capture to its source, with TTL {ttl}, an initial TTL; no other packet from there was captured"
            );
            return;
        }
        explanation.add(
            EvidenceKind::Ttl,
            format!("in {name} it appears with TTL {ttl}, like other packets of its source"),
        );
        if !self.is_at_first_hop() {
            explanation.summary = format!(
                "in {name} it appears with TTL {ttl}, like all packets from there; no capture is closer to the source"
            );
            return;
        }
        if self.leaves_alleged_sender() {
            explanation.add(
                EvidenceKind::Left,
                format!("{name} shows it leaving its host"),
            );
        }
        explanation.summary = match &self.passed {
            Some(passed) => {
                let passed = passed.text(ttl);
                explanation.add(EvidenceKind::Passed, passed.clone());
                format!(
                    "it appears first in {name}, with TTL {ttl}, the initial TTL of its source; {passed}"
                )
            }
            None => format!("in {name} it appears with TTL {ttl}, the initial TTL of its source"),
        };
    }

    /// Evidence against the alleged sender.
    fn explain_other(&self, explanation: &mut Explanation) {
        let (name, ttl) = (&self.capture, self.ttl);
        if self.not_arrived {
            explanation.add(
                EvidenceKind::NotPassed,
                format!("{name} shows it leaving but not arriving, although it has the other packets of this direction at both places"),
            );
        }
        if let Some(place) = &self.not_seen {
            explanation.add(EvidenceKind::NotSeen, place.text());
        }
        if let (Some(usual), false) = (self.usual_ttl, self.grade == TtlGrade::Usual) {
            explanation.add(
                EvidenceKind::Ttl,
                format!("in {name} it has TTL {ttl}, other packets of its source have {usual}"),
            );
        }
        if let Some(place) = self.not_seen.as_ref().filter(|place| place.continues) {
            let name = &place.capture;
            explanation.add(
                EvidenceKind::WentOn,
                format!("in {name} the alleged sender continues the connection afterwards"),
            );
        }
    }

    fn left_host(&self) -> String {
        let (name, ttl) = (&self.capture, self.ttl);
        let usual = self.usual_ttl.unwrap_or_default();
        match &self.not_seen {
            _ if self.not_arrived => {
                format!("it left this host with TTL {ttl} without having arrived")
            }
            Some(NotSeen { capture, .. }) => format!(
                "{capture} does not contain it, and in {name} it leaves the host with TTL {ttl}, an initial TTL"
            ),
            None => format!(
                "in {name} it leaves the host with TTL {ttl}, an initial TTL, where other packets have {usual}"
            ),
        }
    }

    fn appeared(&self) -> String {
        let (name, ttl) = (&self.capture, self.ttl);
        let usual = self.usual_ttl.unwrap_or_default();
        let appears =
            format!("in {name} it appears with TTL {ttl} where other packets have {usual}");
        let Some(place) = &self.not_seen else {
            return appears;
        };
        let (capture, lacks) = (&place.capture, place.text());
        match self.grade {
            TtlGrade::Foreign => format!("{capture} does not contain it, and {appears}"),
            TtlGrade::Usual | TtlGrade::Open | TtlGrade::Odd if place.continues => {
                format!("{lacks}, {name} does")
            }
            TtlGrade::Usual => format!(
                "{lacks}; but in {name} it has the usual TTL of its source, so {capture} may have missed it"
            ),
            TtlGrade::Open | TtlGrade::Odd => format!(
                "{lacks}; but its TTL in {name}, {ttl}, is compatible with its source, so {capture} may have missed it"
            ),
        }
    }

    /// How close to the first capture its sender is, to follow "sent between … and …"; empty if a router may be in between.
    pub fn distance(&self) -> String {
        let name = &self.capture;
        if hops(self.ttl) > 0 {
            String::new()
        } else if self.arrives || self.is_last {
            format!(", by a neighbor of {name} (no router in between),")
        } else {
            format!(", by the host of {name} or a neighbor of it (no router in between),")
        }
    }
}

impl NotSeen {
    fn text(&self) -> String {
        format!("{} covers that time and does not contain it", self.capture)
    }
}

impl Passed {
    /// After it had another TTL.
    fn text(&self, before: u8) -> String {
        let Self {
            capture,
            later,
            ttl,
        } = self;
        let ttl = if *ttl == before {
            String::new()
        } else {
            format!(" with TTL {ttl}")
        };
        match later {
            Some(later) => format!("in {capture} it appears {} later{ttl}", delay(*later)),
            None => format!("it also appears in {capture}{ttl}"),
        }
    }
}

/// Time between two captures: `0.2 ms`, `12 µs`, `3.0 s`.
pub fn delay(span: Duration) -> String {
    match span.as_nanos() {
        under @ 0..1_000 => format!("{under} ns"),
        under @ 1_000..100_000 => format!("{} µs", under / 1_000),
        _ => words::span(span),
    }
}
