//! Resets in a packet capture.
//!
//! Seen from the receiving end, a captured reset is judged as a traced one is. What only the kernel of the end that sent it
//! knows (unread data, SO_LINGER, a packet filter) a capture does not show, so such causes are not named.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::peer_signs::{ttl_of_handshake, weigh_ttl};
use super::{
    AcceptedCase, Around, Arrived, Clocks, Context, Judgement, Side, Witness, at_most, headers,
    received_from,
};
use crate::captured::{CapturedReset, Placed};
use crate::causes::{Why, definition, rules};
use crate::event::{Segment, TcpFlags, TcpState};

use crate::correlate::{is_in_window, is_passive_form};
use crate::record::{
    Cause, Confidence, EvidenceKind, Explanation, Origin, Severity, Vantage, Verdict,
};
use crate::thresholds::{BOTH_AT_ONCE, IDLE, LONGEST_ANSWER, LONGEST_FAREWELL};
use crate::words::{self, span};

/// What its verdict rests on.
#[derive(Debug)]
pub struct CapturedCase {
    /// The observation.
    pub captured: CapturedReset,
    /// What came before and after it.
    pub around: Around,
    /// The segment that it answers: it has the shape and the numbers of an answer to one that came just before it.
    pub answers: Option<Segment>,
    /// As the receiving end would judge; absent if the capture holds nothing else of the connection.
    accepted: Option<AcceptedCase>,
    why: Option<Why>,
}

/// Whose write is "ours": that of the capturing host, if it got the reset.
pub fn side(captured: &CapturedReset) -> Side {
    match captured.vantage {
        Some(Vantage::Destination | Vantage::Both) => Side::Ours,
        Some(Vantage::Source | Vantage::Between) | None => Side::Theirs,
    }
}

impl CapturedCase {
    /// The case of a captured reset. `clocks` are those of the receiving end.
    pub fn new(
        captured: CapturedReset,
        around: Around,
        clocks: Option<Clocks>,
        context: Context,
    ) -> Self {
        let accepted = captured.received.as_ref().map(|received| {
            AcceptedCase {
                received: Arc::new(received.clone()),
                at: captured.time,
                arrived: Some(Arrived::seen(&captured.packet)),
                clocks,
                sender: None,
                process: None,
                keepalive: None,
                around: around.clone(),
                witness: Witness::Capture,
                context,
                severity: Severity::Fault,
                bearing: Default::default(),
                class: None,
                timeout: None,
            }
            .weighed()
        });
        let mut case = Self {
            answers: None,
            captured,
            around,
            accepted,
            why: None,
        };
        case.answers = case.answer();
        case
    }

    /// The verdict on it.
    pub fn verdict(mut self) -> Verdict {
        let ruling = rules::of_captured(&self);
        let judgement = match (ruling, &self.accepted) {
            (None, Some(accepted)) => self.judge_accepted(accepted),
            (ruling, _) => {
                let ruling = ruling.unwrap_or(rules::NOTHING_FITS);
                self.why = ruling.why;
                let definition = definition(ruling.cause);
                let (origin, confidence) = definition.captured_from(&self);
                Judgement {
                    origin,
                    cause: ruling.cause,
                    severity: definition.captured_cost(&self),
                    confidence: at_most(confidence, ruling.confidence),
                    class: None,
                }
            }
        };
        let is_doubted = judgement.severity == Severity::Fault && self.captured.lives_on.is_some();
        let confidence = if is_doubted {
            at_most(judgement.confidence, Confidence::Possible)
        } else {
            judgement.confidence
        };
        let judgement = Judgement {
            confidence,
            ..judgement
        };
        judgement.verdict(move || self.explain(judgement, ruling.is_none()))
    }

    /// Seen from the receiving end.
    fn judge_accepted(&self, accepted: &AcceptedCase) -> Judgement {
        let mut judgement = accepted.judge();
        let is_timeout_of_peer =
            judgement.origin == Origin::Peer && judgement.cause == Cause::IdleTimeout;
        if is_timeout_of_peer && accepted.bearing.is_doubtful() {
            // That it was a timeout is one thing, whose it was another.
            judgement.confidence = at_most(judgement.confidence, Confidence::Possible);
        }
        if matches!(self.captured.vantage, Some(Vantage::Source)) {
            // It carries this host's address, but this host did not make it like its other segments.
            judgement.confidence = at_most(judgement.confidence, Confidence::Likely);
        }
        judgement
    }

    fn explain(&self, judgement: Judgement, as_accepted: bool) -> Explanation {
        let mut explanation = match &self.accepted {
            Some(accepted) if as_accepted => accepted.explain(judgement.cause),
            Some(_) | None => {
                let mut explanation = Explanation::default();
                definition(judgement.cause).captured(self, &mut explanation);
                explanation
            }
        };
        if let Some(after) = self.captured.lives_on
            && judgement.severity == Severity::Fault
        {
            explanation.add(
                EvidenceKind::ReceiverTalksOn,
                format!(
                    "{} later {} sent data on this connection: the reset did not reach it, or did not end the connection",
                    span(after),
                    self.captured.packet.destination
                ),
            );
        }
        judgement.advise_anyway(
            &received_from(&self.captured.packet),
            None,
            &mut explanation,
        );
        explanation.add(
            EvidenceKind::Captured,
            format!("frame {}; {}", self.captured.frame, self.place()),
        );
        explanation
    }

    /// Why the cause is not known.
    pub(crate) fn why(&self) -> Why {
        self.why.unwrap_or(Why::NoRule)
    }

    /// The end it came from, and the one it went to.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        (
            self.captured.packet.source,
            self.captured.packet.destination,
        )
    }

    /// What its TTL weighs against its source's other segments; 0 without any.
    fn ttl_weight(&self) -> i32 {
        let seen = self.captured.packet.segment.ttl;
        self.captured
            .usual_ttl
            .map_or(0, |usual| weigh_ttl(seen, usual))
    }

    /// It has another TTL than its source's other segments.
    pub(crate) fn has_other_ttl(&self) -> bool {
        self.ttl_weight() > 0
    }

    /// Nothing else of the connection was captured.
    pub(crate) fn is_alone(&self) -> bool {
        self.captured.received.is_none()
    }

    /// Only what does not acknowledge is answered with the number 0: a SYN.
    pub(crate) fn has_form_of_refusal(&self) -> bool {
        self.has_form_of_answer() && self.captured.packet.segment.flags.has(TcpFlags::ACK)
    }

    /// An answer acknowledges only where it has no number of its own (RFC 9293 section 3.10.7.1): else a window may just be shut.
    fn has_form_of_answer(&self) -> bool {
        let segment = &self.captured.packet.segment;
        is_passive_form(&self.captured.packet)
            && (!segment.flags.has(TcpFlags::ACK) || segment.seq == 0)
            && !self.acknowledges_without_flag()
    }

    /// It acknowledges everything in its field, without the flag for it: old Windows aborts so. An answer leaves the field empty.
    fn acknowledges_without_flag(&self) -> bool {
        let segment = &self.captured.packet.segment;
        let next = self
            .captured
            .received
            .as_ref()
            .map(|end| end.socket.snd_nxt);
        !segment.flags.has(TcpFlags::ACK) && segment.ack != 0 && next == Some(segment.ack)
    }

    fn answer(&self) -> Option<Segment> {
        if !self.has_form_of_answer() {
            return None;
        }
        let (cause, after) = self.captured.sender.answers?;
        let on_its_way = self.captured.round_trip.unwrap_or_default();
        (after <= LONGEST_ANSWER.saturating_add(on_its_way)).then_some(cause)
    }

    /// One more reset of a connection that one of its source had ended. Only its own kernel has a reason to answer segments
    /// still in flight, and whoever guesses numbers sends several, too.
    pub(crate) fn is_once_more_unlike_an_answer(&self) -> bool {
        self.captured.was_ended_by_it() && (self.has_other_ttl() || !self.has_form_of_answer())
    }

    /// Its numbers are not those that were expected.
    pub(crate) fn is_missed(&self) -> bool {
        self.captured.received.is_some() && !self.captured.is_expected()
    }

    /// How long after it the connection was still in use.
    pub(crate) fn lives_on(&self) -> Option<Duration> {
        let talks_on = self.captured.talks_on.map(|talks| talks.after);
        self.captured.lives_on.or(talks_on)
    }

    /// The data before it may have been lost, by the network or by the capture.
    pub(crate) fn is_beyond(&self) -> bool {
        let next = self.captured.expected.unwrap_or_default();
        let seq = self.captured.packet.segment.seq;
        let end = self.captured.received.as_ref();
        let in_window = end.is_some_and(|end| is_in_window(next, end.socket.rcv_wnd, seq));
        self.is_missed() && in_window && !self.captured.challenged || self.is_beyond_the_handshake()
    }

    /// It left the capturing host, which did not get it from elsewhere though it only passes on what its source sends.
    pub(crate) fn is_put_in_here(&self) -> bool {
        let captured = &self.captured;
        // What is translated here never comes in under the addresses that it leaves with.
        let is_unlike = || captured.usual_ttl.is_none() || self.has_other_ttl();
        captured.placed == Placed::Way
            && captured.vantage == Some(Vantage::Between)
            && captured.sender.left_only
            && !captured.sender.is_translated
            && (captured.sender.comes_in || is_unlike())
    }

    /// The same, and it answers nothing.
    pub(crate) fn is_put_in_unprompted(&self) -> bool {
        self.is_put_in_here() && self.answers.is_none()
    }

    /// The capture shows everything of its source before and after a router, but this only once.
    pub(crate) fn is_seen_once_only(&self) -> bool {
        let captured = &self.captured;
        let end = captured.received.as_ref();
        captured.placed == Placed::Ttl
            && captured.sender.passes
            && !captured.seen_again
            && captured.talks_on.is_none()
            && end.is_some_and(|end| end.socket.state.is_synchronized())
    }

    fn is_vantage_of_source(&self) -> bool {
        matches!(self.captured.vantage, Some(Vantage::Source | Vantage::Both))
    }

    /// It left the capturing host, without evidence of another sender.
    pub(crate) fn is_made_here(&self) -> bool {
        self.is_vantage_of_source() && !self.has_other_ttl() && self.captured.talks_on.is_none()
    }

    /// The capturing host sent it in its own name, but not as it sends other segments of this connection.
    pub(crate) fn is_unlike_this_host(&self) -> bool {
        let is_known = match self.captured.placed {
            Placed::Told => true,
            Placed::Way => self.captured.sender.left_only,
            Placed::Ttl => false,
        };
        self.is_vantage_of_source() && is_known && !self.is_made_here()
    }

    /// It answers a connect.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_connecting() && !self.is_beyond_the_handshake()
    }

    /// Only the SYN was captured.
    fn is_connecting(&self) -> bool {
        let end = self.captured.received.as_ref();
        end.is_some_and(|end| end.socket.state == TcpState::SynSent)
    }

    /// The peer had accepted the connection, and the capture lacks that.
    pub(crate) fn is_of_accepting_peer(&self) -> bool {
        self.is_beyond_the_handshake() && !self.is_made_here() && !self.has_other_ttl()
    }

    /// It comes from an end that has the connection: a refusal has the number 0 and no window. The capture lacks the SYN-ACK.
    fn is_beyond_the_handshake(&self) -> bool {
        let packet = &self.captured.packet;
        self.is_connecting() && packet.segment.seq != 0 && !is_passive_form(packet)
    }

    /// The same, at the host that sent it.
    pub(crate) fn is_refused_here(&self) -> bool {
        self.is_refused() && self.is_made_here()
    }

    /// It answers a SYN that was sent again after a refusal: some hosts try three times.
    pub(crate) fn is_refused_again(&self) -> bool {
        self.captured.was_ended_by_it()
            && self.is_refused()
            && !self.is_missed()
            && !self.has_other_ttl()
    }

    /// The same, at the host that sent it.
    pub(crate) fn is_refused_again_here(&self) -> bool {
        self.is_refused_again() && self.is_made_here()
    }

    /// A refusal costs the connect, once.
    pub(crate) fn cost_of_refusal(&self) -> Severity {
        if self.captured.was_ended_by_it() {
            Severity::Noise
        } else {
            Severity::Refused
        }
    }

    /// It looks like the capturing host's by its TTL alone, and another reset went the other way at the same moment: no end
    /// answers a reset (RFC 9293 section 3.10.7), but a box on the link resets both.
    pub(crate) fn is_one_of_a_pair(&self) -> bool {
        self.captured.placed == Placed::Ttl
            && self.is_made_here()
            && self.answers.is_none()
            && self
                .captured
                .other_way
                .is_some_and(|apart| apart <= BOTH_AT_ONCE)
    }

    /// The capturing host sent it in the form of an answer, and there is nothing that it answers.
    pub(crate) fn answers_nothing(&self) -> bool {
        self.is_made_here() && self.has_form_of_answer() && self.answers.is_none()
    }

    /// The capturing host answered a segment.
    pub(crate) fn is_answer_of_this_host(&self) -> bool {
        self.is_made_here() && self.answers.is_some()
    }

    /// At the other end: it answers a segment with the TTL of its source, and its number has been passed by now.
    pub(crate) fn is_answer_to_an_earlier_one(&self) -> bool {
        let ahead = self
            .captured
            .packet
            .segment
            .seq
            .wrapping_sub(self.captured.expected.unwrap_or_default());
        self.is_missed()
            && ahead > i32::MAX as u32
            && self.answers.is_some()
            && !self.is_vantage_of_source()
            && !self.has_other_ttl()
            && self.lives_on().is_none()
    }

    /// The capturing host sent it after its own FIN, and acknowledges data that came just before.
    pub(crate) fn acknowledges_data_after_fin(&self) -> bool {
        let sender = &self.captured.sender;
        self.is_active_after_fin()
            && sender.acknowledges.is_some_and(|(_, after)| {
                after <= LONGEST_ANSWER && sender.finished.is_some_and(|finished| after < finished)
            })
    }

    /// Its source had sent SYNs only, and nothing had answered them.
    pub(crate) fn is_given_up(&self) -> bool {
        self.captured.sender.gave_up.is_some()
    }

    /// The same, and nothing else of it was captured on this connection.
    pub(crate) fn is_first_of_its_source(&self) -> bool {
        self.is_answer_of_this_host() && self.captured.sender.silent.is_none()
    }

    /// The same, and it had sent nothing but its part of the handshake.
    pub(crate) fn has_shaken_hands_only(&self) -> bool {
        self.is_answer_of_this_host() && self.captured.sender.has_said_nothing
    }

    /// The capturing host sent it, in the form of a reset by an end that has the connection.
    pub(crate) fn is_active_of_this_host(&self) -> bool {
        self.is_made_here() && !self.has_form_of_answer()
    }

    /// The same, after its own FIN.
    pub(crate) fn is_active_after_fin(&self) -> bool {
        self.is_active_of_this_host() && self.captured.sender.finished.is_some()
    }

    /// An exchange was over where the other end had said all, and had been answered: then nothing is lost.
    pub(crate) fn cost_of_exchange(&self) -> Severity {
        let sender = &self.captured.sender;
        if sender.peer_finished && sender.outstanding == 0 {
            Severity::Noise
        } else {
            Severity::Fault
        }
    }

    /// An answer to data costs that data, unless another reset has ended the connection, or both ends have closed it and what came after
    /// is no longer than a farewell of TLS.
    pub(crate) fn cost_of_answered(&self) -> Severity {
        let sender = &self.captured.sender;
        let is_over = sender.finished.is_some() && sender.peer_finished;
        let data = self.answers.map_or(0, |cause| cause.payload_len);
        let is_lost = data > 0 && !(is_over && data <= LONGEST_FAREWELL);
        if is_lost && !self.captured.was_ended_by_it() {
            Severity::Fault
        } else {
            Severity::Noise
        }
    }

    /// An answer of a host that passes the connection on.
    pub(crate) fn cost_of_put_in(&self) -> Severity {
        match self.answers {
            Some(cause) if cause.flags.has(TcpFlags::SYN) => Severity::Refused,
            Some(_) | None => Severity::Fault,
        }
    }

    /// ` after 300.0 s without data`, where that is a silence; else empty.
    pub(crate) fn after_silence(&self) -> String {
        let quiet = self.captured.sender.quiet.filter(|quiet| *quiet >= IDLE);
        quiet.map_or_else(String::new, |quiet| {
            format!(" after {} without data", words::silence(quiet))
        })
    }

    /// What the segment looks like.
    pub(crate) fn shape(&self, explanation: &mut Explanation) {
        let what = if self.acknowledges_without_flag() {
            "the form of a reset by an end that has the connection: an acknowledgment number, without the flag (older Windows)"
        } else if is_passive_form(&self.captured.packet) {
            "the form of an answer: no window, no options"
        } else {
            "the form of a reset by an end that has the connection: a window or options"
        };
        explanation.add(EvidenceKind::Form, what);
    }

    /// Its TTL against that of the handshake.
    pub(crate) fn ttl(&self, explanation: &mut Explanation) {
        explanation
            .evidence
            .extend(ttl_of_handshake(&self.captured.packet));
    }

    /// Both.
    pub(crate) fn look(&self, explanation: &mut Explanation) {
        self.shape(explanation);
        self.ttl(explanation);
    }

    /// The segment that it answers.
    pub(crate) fn answered(&self, explanation: &mut Explanation) {
        if let Some(cause) = &self.answers {
            explanation.add(
                EvidenceKind::Segment,
                format!("it answers {}", headers(cause)),
            );
        }
    }

    /// What a capture cannot distinguish.
    pub(crate) fn kernel_or_filter(&self, explanation: &mut Explanation) {
        explanation.add(
            EvidenceKind::LookAlikes,
            "the kernel's answer for an unknown connection and a packet filter's answer on this host look the same in a capture",
        );
    }

    /// One more reset of a connection that had been reset just before.
    pub(crate) fn once_more(&self, explanation: &mut Explanation) {
        let (_, before) = self.captured.ended_before.unwrap_or_default();
        self.shape(explanation);
        explanation.add(
            EvidenceKind::Ended,
            format!(
                "a reset with the same source had ended the connection {} earlier",
                span(before)
            ),
        );
        self.ttl(explanation);
        explanation.summary = format!(
            "another reset with source {} for a connection that a reset had already ended",
            self.captured.packet.source
        );
    }

    /// By how much it missed, and what came of it.
    pub(crate) fn missed(&self, explanation: &mut Explanation) {
        self.shape(explanation);
        if self.is_refused() {
            explanation.add(EvidenceKind::Sequence, "it does not acknowledge the SYN");
        } else {
            let next = self.captured.expected.unwrap_or_default();
            let ahead = self.captured.packet.segment.seq.wrapping_sub(next);
            let distance = i64::from(ahead as i32);
            explanation.add(
                EvidenceKind::Sequence,
                format!("its sequence number is {distance} from the expected one"),
            );
        }
        self.ttl(explanation);
        if self.captured.challenged {
            explanation.add(
                EvidenceKind::Challenged,
                "the receiver answered with a challenge ACK (RFC 5961)",
            );
        }
        if let Some(after) = self.lives_on() {
            explanation.add(
                EvidenceKind::LivesOn,
                format!("the connection was still in use {} later", span(after)),
            );
        }
    }

    /// The capturing host passes on what this source sends, but made this reset itself.
    pub(crate) fn put_in_evidence(&self, explanation: &mut Explanation) {
        let packet = &self.captured.packet;
        self.shape(explanation);
        explanation.add(
            EvidenceKind::PutInHere,
            format!(
                "this host forwards segments from {}, and sent this reset without having received it",
                packet.source
            ),
        );
        let ttl = packet.segment.ttl;
        if let Some(usual) = self.captured.usual_ttl.filter(|usual| *usual != ttl) {
            explanation.add(
                EvidenceKind::Ttl,
                format!("TTL {ttl}, but {usual} in the segments that it forwards"),
            );
        }
    }

    /// The same, as an answer.
    pub(crate) fn put_in(&self, why: &str, explanation: &mut Explanation) {
        let (me, peer) = self.ends();
        self.put_in_evidence(explanation);
        self.answered(explanation);
        explanation.summary =
            format!("the capturing host itself answered {peer} with source {me}: {why}");
        explanation.advice.push(
            "run rsttrace on the capturing host to distinguish its kernel from its packet filter"
                .into(),
        );
    }

    /// Where the capture was made.
    fn place(&self) -> String {
        let (source, destination) = self.ends();
        let (source, destination) = (source.ip(), destination.ip());
        match self.captured.vantage {
            Some(Vantage::Source) if self.captured.placed == Placed::Ttl => {
                format!("the TTLs place the capture at {source} or on its link")
            }
            Some(Vantage::Destination) if self.captured.placed == Placed::Ttl => {
                format!("the TTLs place the capture at {destination} or on its link")
            }
            Some(Vantage::Source) => format!("the capture was made at {source}"),
            Some(Vantage::Destination) => format!("the capture was made at {destination}"),
            Some(Vantage::Both) => "both ends are on the capturing host".to_owned(),
            Some(Vantage::Between) => {
                format!("the capture was made between {source} and {destination}")
            }
            None => {
                "unknown at which end the capture was made (--local names its addresses)".to_owned()
            }
        }
    }
}
