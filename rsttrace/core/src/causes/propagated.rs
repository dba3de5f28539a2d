//! A proxy on this host reset one connection because another one ended.

use super::{Definition, Doc, Many};
use crate::record::Origin;

pub struct Propagated;

impl Definition for Propagated {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a proxy on this host reset one connection because another of its connections ended: reset, refused, or without an answer",
            known: "same process, one leg accepted and one connected, exactly one matching pair. *certain* or *likely* within 100 ms: what arrived on one leg left on the other (at least 128 bytes, or both legs opened within 100 ms), or a connect of the process failed. A process that was forked for a connection counts as the one that accepted it. A connection that the process closed within 100 ms, and reset when more data came, is part of it if both were opened within 100 ms, or if a connect failed within 100 ms after it was accepted. *possible* within 3 s, or if about as many bytes agree: the summary says after which time. Never more certain than the first leg's verdict. `link.id` is the number of the first leg's record; the evidence `own_cause` says what the process did to its socket",
            remedy: "look at the first leg",
            look_alikes: "a busy process resets one connection and loses another all the time: bytes and ages must agree, and two pairs are none",
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
            "{} reset {} because {leg} {had} ended",
            many.subject, many.connections
        )
    }
}
