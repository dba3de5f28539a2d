//! A proxy on this host reset one connection because the other one was reset.

use super::{Definition, Doc, Many};
use crate::record::Origin;

pub struct Propagated;

impl Definition for Propagated {
    fn doc(&self) -> Doc {
        Doc {
            brief: "A proxy on this host reset one connection because the other one was reset.",
            happened: "a proxy of this host reset one connection because another one of it had been reset",
            known: "same process, one leg accepted and one connected, at most 100 ms apart, exactly one pair fits, and what came in by one went out by the other: the numbers of bytes agree. No surer than the first leg's verdict. Both records share `link.id`; what the process did to its socket is in the evidence `own_cause`",
            remedy: "look at the first leg",
            look_alikes: "a busy process resets one connection and gets a reset on another all the time: the numbers of bytes must agree",
            captured: ["each leg for itself: `local_process` for the one that was reset by the proxy", "`reset_by_peer`"],
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
