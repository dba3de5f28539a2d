//! Forwarded by this host.

use super::{Definition, Doc, Many};
use crate::record::Origin;

pub struct Forwarded;

impl Definition for Forwarded {
    fn doc(&self) -> Doc {
        Doc {
            brief: "Forwarded by this host.",
            happened: "it passed through this host",
            known: "came in by one device and left by another",
            remedy: "look at the end that sent it",
            look_alikes: "a packet filter's reset has not come in before: `firewall_reject`",
            captured: ["", "who sent it, as anywhere else"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Forwarded
    }

    fn many(&self, many: &Many) -> String {
        format!("{} passed through this host", many.resets)
    }
}
