//! The reset does not come from the peer, according to TTL, timing or sequence numbers.

use super::{Definition, Doc, Many};
use crate::record::{Confidence, Explanation, Origin};
use crate::verdict::AcceptedCase;
use crate::verdict::advice::{self, Situation};

pub struct NotFromPeer;

impl Definition for NotFromPeer {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the reset does not look like it came from the peer",
            known: "at least two independent signs, see [Signs against the peer](#signs-against-the-peer)",
            remedy: "find the neighbor that delivered it, and capture resets at the peer as well",
            look_alikes: "a single sign has innocent explanations: `reset_by_peer`, *possible*",
            captured: ["", "the same signs and idle times as in a live trace"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Middlebox
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} {} reset by something that does not look like the peer{}",
            many.connections,
            many.was(),
            many.after_silence
        )
    }

    fn accepted_from(&self, case: &AcceptedCase) -> (Origin, Confidence) {
        let confidence = if translator_answered(case) {
            Confidence::Certain
        } else {
            case.bearing.confidence()
        };
        (Origin::Middlebox, confidence)
    }

    fn accepted(&self, case: &AcceptedCase, explanation: &mut Explanation) {
        let how = match case.around.talks_on {
            _ if translator_answered(case) => {
                "this host's NAT, which had forwarded the connection, answered for the peer".to_owned()
            }
            Some(_) => "the peer kept sending after the reset".to_owned(),
            None => case.bearing.loudest().unwrap_or_else(|| "several signs contradict it".to_owned()),
        };
        explanation.summary = format!(
            "a reset with source {} does not look like it came from the peer: {how}",
            case.received.flow.remote
        );
        if translator_answered(case)
            && let Some(verdict) = case.sender.as_ref().and_then(|sender| sender.verdict.as_ref())
        {
            verdict.advice().clone_into(&mut explanation.advice);
            return;
        }
        let sighting = case.arrived.as_ref().and_then(|arrived| arrived.sighting.as_ref());
        explanation.advice = advice::for_foreign(sighting.and_then(|packet| packet.source_mac));
        Situation::NotFromPeer.refer(&mut explanation.advice);
    }
}

/// This host had only translated the connection, and answered itself.
pub(super) fn translator_answered(case: &AcceptedCase) -> bool {
    case.sender.as_ref().is_some_and(|sender| sender.only_translates)
}

/// Signs against the peer, and no better evidence of the sender.
pub(super) fn does_not_look_like_the_peer(case: &AcceptedCase) -> bool {
    case.is_inferred() && case.bearing.is_foreign()
}
