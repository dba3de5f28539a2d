//! Resets forwarded by a network namespace of this host.

use std::net::SocketAddr;
use std::sync::Arc;

use super::left::is_refusal;
use super::{ExpiredEntry, Judgement, OtherEnd, received_from};
use crate::causes::definition;
use crate::event::Packet;
use crate::record::{Cause, Confidence, EvidenceKind, Explanation, Severity, Verdict};

/// What its verdict rests on.
#[derive(Debug)]
pub struct ForwardedCase {
    /// The segment as it left.
    pub packet: Arc<Packet>,
    /// Source and destination it arrived with, where they differ from those it left with.
    pub translated: Option<(SocketAddr, SocketAddr)>,
    /// The end on this host that sent it.
    pub sender: Option<OtherEnd>,
    /// The end on this host that received it.
    pub receiver: Option<OtherEnd>,
    /// This host had forwarded the connection, and its entry has expired.
    pub expired: Option<ExpiredEntry>,
}

impl ForwardedCase {
    /// The verdict on it.
    pub fn verdict(self) -> Verdict {
        let cause = Cause::Forwarded;
        let judgement = Judgement {
            origin: definition(cause).origin(),
            cause,
            severity: if self.sender.is_some() || self.receiver.is_some() {
                // The record of that end has the impact.
                Severity::Noise
            } else if is_refusal(&self.packet) {
                Severity::Refused
            } else {
                Severity::Fault
            },
            confidence: Confidence::Certain,
            class: None,
        };
        judgement.verdict(move || self.explain(&judgement))
    }

    fn explain(&self, judgement: &Judgement) -> Explanation {
        let packet = &self.packet;
        let mut explanation = Explanation {
            summary: format!("forwarded from {} to {}", packet.source, packet.destination),
            ..Explanation::default()
        };
        explanation.add(
            EvidenceKind::InTransit,
            match packet.ingress_ifindex {
                Some(_) => "it arrived on one device and left on another",
                None => "it was seen arriving before it was seen leaving",
            },
        );
        if let Some((source, destination)) = self.translated {
            let translated = format!("it arrived as {source} to {destination}");
            explanation.summary.push_str(&format!(" ({translated})"));
            explanation.add(EvidenceKind::Nat, translated);
        }
        for (kind, verb, end) in [
            (EvidenceKind::LocalSender, "sent", &self.sender),
            (EvidenceKind::LocalReceiver, "received", &self.receiver),
        ] {
            if let Some(end) = end {
                let detail = format!("{} on this host {verb} it", end.label);
                explanation.summary.push_str(&format!("; {detail}"));
                explanation.add(kind, detail);
            }
        }
        if let Some(expired) = &self.expired {
            expired.explain(&mut explanation);
        }
        judgement.advise_anyway(&received_from(&self.packet), None, &mut explanation);
        explanation
    }
}
