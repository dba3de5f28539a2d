//! A proxy on this host reset one connection because the other one was reset.

use super::{Definition, Doc, Many};
use crate::record::Origin;

pub struct Propagated;

impl Definition for Propagated {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a proxy on this host reset one connection because another of its connections had been reset",
            known: "same process, one leg accepted and one connected, at most 100 ms apart, exactly one matching pair, and byte counts that agree: what arrived on one leg left on the other. Never more certain than the first leg's verdict. Both records share `link.id`; the evidence `own_cause` says what the process did to its socket",
            remedy: "look at the first leg",
            look_alikes: "a busy process resets one connection and receives a reset on another all the time: the byte counts must agree",
            captured: ["each leg separately: `local_process` for the one that the proxy reset", "`reset_by_peer`"],
        }
    }

    /// That of the first leg.
    fn origin(&self) -> Origin {
        Origin::Unknown
    }

    fn many(&self, many: &Many) -> String {
        let (leg, had) = if many.is_one {
            ("its other leg", "had")
        } else {
            ("their other legs", "had")
        };
        format!(
            "{} reset {} because {leg} {had} been reset",
            many.subject, many.connections
        )
    }
}
