//! Resets that left this host without an event of the TCP stack: packet filters, raw sockets, missing events.

use std::sync::Arc;

use super::{Context, ExpiredEntry, Judgement, OtherEnd, at_most};
use crate::causes::{definition, rules};
use crate::correlate::is_passive_form;
use crate::event::{Flow, NamespaceWay, Packet, SenderSocket, TcpFlags};
use crate::ownership::ProcessName;
use crate::record::{Cause, EvidenceKind, Explanation, Severity, Verdict};

/// What its verdict rests on.
#[derive(Debug)]
pub struct LeftCase {
    /// The segment as it left.
    pub packet: Arc<Packet>,
    /// The process with the raw socket that sent it.
    pub raw_sender: Option<ProcessName>,
    /// The end on this host that received it.
    pub receiver: Option<OtherEnd>,
    /// Whether a socket of this host accepted it; absent if not known.
    pub accepted: Option<bool>,
    /// This host had forwarded the connection, and its entry has expired; looked for where a packet filter rejects.
    pub expired: Option<ExpiredEntry>,
    /// How to get into the namespace it left, if that is not this program's.
    pub way: Option<NamespaceWay>,
    /// What may be taken for granted.
    pub context: Context,
}

impl LeftCase {
    /// The verdict on it.
    pub fn verdict(self) -> Verdict {
        let judgement = self.judge();
        judgement.verdict(move || self.explain(&judgement))
    }

    /// Why it was sent.
    pub fn cause(&self) -> Cause {
        rules::of_left(self).cause
    }

    fn judge(&self) -> Judgement {
        let ruling = rules::of_left(self);
        let definition = definition(ruling.cause);
        let severity = match self.accepted {
            Some(false) => Severity::Noise,
            Some(true) | None if self.answers_syn() && ruling.cause != Cause::RawSocket => {
                Severity::Refused
            }
            Some(true) | None => Severity::Fault,
        };
        Judgement {
            origin: definition.origin(),
            cause: ruling.cause,
            severity: match &self.expired {
                // The sender of that segment had not closed.
                Some(_) if severity == Severity::Noise => Severity::Fault,
                Some(_) | None => severity,
            },
            confidence: at_most(definition.left_confidence(self), ruling.confidence),
            class: None,
        }
    }

    fn explain(&self, judgement: &Judgement) -> Explanation {
        let mut explanation = Explanation::default();
        let form = if is_passive_form(&self.packet) {
            "passive form: no window, no options"
        } else {
            "active form: it has a window or options"
        };
        explanation.add(EvidenceKind::Form, form);
        self.context.note_lost(&mut explanation);
        definition(judgement.cause).left(self, &mut explanation);
        if let Some(receiver) = &self.receiver {
            explanation.add(
                EvidenceKind::LocalReceiver,
                format!("{} on this host received it", receiver.label),
            );
        }
        if let Some(expired) = &self.expired {
            expired.explain(&mut explanation);
        }
        let flow = Flow {
            local: self.packet.source,
            remote: self.packet.destination,
        };
        judgement.advise_anyway(&flow, None, &mut explanation);
        explanation
    }

    /// The answer to a segment without ACK has sequence number 0 and acknowledges it: that segment was a SYN.
    fn answers_syn(&self) -> bool {
        is_refusal(&self.packet)
    }

    /// The stack answered, on a kernel that does not report answers without a socket.
    pub(crate) fn is_unseen_answer(&self) -> bool {
        let coverage = self.context.coverage;
        matches!(self.packet.sender_socket, SenderSocket::Some(_))
            && is_passive_form(&self.packet)
            && coverage.sent
            && !coverage.sent_stateless
    }

    /// The same, to a SYN.
    pub(crate) fn is_unseen_refusal(&self) -> bool {
        self.is_unseen_answer() && self.answers_syn()
    }
}

/// The answer to a segment without ACK has sequence number 0 and acknowledges it: that segment was a SYN.
pub(super) fn is_refusal(packet: &Packet) -> bool {
    packet.segment.flags.has(TcpFlags::ACK) && packet.segment.seq == 0
}
