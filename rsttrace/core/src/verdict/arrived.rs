//! Resets that arrived and were not accepted by a known socket.

use std::sync::Arc;

use super::peer_signs::{ttl_of_handshake, weigh_ttl};
use super::{Context, Judgement, OtherEnd, at_most, received_from};
use crate::causes::{Why, definition, rules};
use crate::classes::{self, Recurrence};
use crate::event::Packet;
use crate::record::{Cause, EvidenceKind, Explanation, Origin, Severity, Verdict};

/// When a connection accepted another reset than the one in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherReset {
    /// At the same moment, or a little before.
    JustBefore,
    /// Soon after, and this one was the only one to miss.
    SoonAfter,
    /// So soon after that both may have passed the interface before the socket got the first.
    SameBurst,
}

/// What its verdict rests on.
#[derive(Debug)]
pub struct ArrivedCase {
    /// The segment as it arrived.
    pub packet: Arc<Packet>,
    /// The end on this host that sent it.
    pub sender: Option<OtherEnd>,
    /// What is known of the source.
    pub recurrence: Recurrence,
    /// A process of this host closed the connection at the same moment, so there was nothing left to lose.
    pub closed_here: bool,
    /// The same connection accepted another reset.
    pub other: Option<OtherReset>,
    /// What may be taken for granted.
    pub context: Context,
}

impl ArrivedCase {
    /// The verdict on it.
    pub fn verdict(self) -> Verdict {
        let ruling = rules::of_arrived(&self);
        let (origin, confidence) = definition(ruling.cause).arrived_from(&self);
        let fits = matches!(ruling.why, Some(Why::Fits | Why::CameClose));
        let may_have_ended_it = fits && !self.closed_here;
        let judgement = Judgement {
            origin,
            cause: ruling.cause,
            severity: if may_have_ended_it {
                Severity::Fault
            } else {
                Severity::Noise
            },
            confidence: at_most(confidence, ruling.confidence),
            class: classes::aborts_attempt(&self.packet)
                .then(|| classes::of_aborted_attempt(self.recurrence))
                .filter(|_| ruling.cause == Cause::ResetByPeer),
        };
        judgement.verdict(move || self.explain(&judgement))
    }

    fn explain(&self, judgement: &Judgement) -> Explanation {
        let mut explanation = Explanation::default();
        explanation.evidence.extend(ttl_of_handshake(&self.packet));
        definition(judgement.cause).arrived(self, &mut explanation);
        if let Some(sender) = &self.sender {
            explanation.add(
                EvidenceKind::LocalSender,
                format!(
                    "{} on this host sent it: {}",
                    sender.label,
                    sender.summary()
                ),
            );
            explanation
                .summary
                .push_str(&format!("; {} on this host sent it", sender.label));
        }
        if self.closed_here {
            explanation.add(
                EvidenceKind::Socket,
                "a process of this host closed the connection at the same moment",
            );
        }
        self.context.note_lost(&mut explanation);
        judgement.advise_anyway(&received_from(&self.packet), None, &mut explanation);
        explanation
    }

    /// Who on this host sent it with the peer's address.
    pub(crate) fn written_here_by(&self) -> Option<Origin> {
        let (origin, cause) = self.sender.as_ref()?.found()?;
        matches!(cause, Cause::FirewallReject | Cause::RawSocket).then_some(origin)
    }

    /// It has the TTL of the peer's handshake.
    pub(crate) fn may_be_peers(&self) -> bool {
        let baseline = self.packet.baseline;
        baseline.is_some_and(|baseline| weigh_ttl(self.packet.segment.ttl, baseline.ttl) <= 0)
    }
}
