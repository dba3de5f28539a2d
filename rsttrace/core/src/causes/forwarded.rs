//! Forwarded by this host.

use super::{Definition, Doc, Many};
use crate::record::Origin;

pub struct Forwarded;

impl Definition for Forwarded {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the reset passed through this host",
            known: "arrived on one device and left on another",
            remedy: "look at the host that sent it",
            look_alikes: "a packet filter's reset has not arrived first: `firewall_reject`",
            captured: ["", "a verdict on its sender, as for any reset"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Forwarded
    }

    fn many(&self, many: &Many) -> String {
        format!("{} passed through this host", many.resets)
    }
}
