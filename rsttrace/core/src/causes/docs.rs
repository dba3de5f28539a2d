//! Generated tables of docs/CAUSES.md.

use super::definition;
use crate::record::{Cause, EvidenceKind, Named as _, Origin};

/// Causes grouped by origin: what happened, how it is known, what looks similar, what to do.
pub fn causes() -> String {
    let mut text = String::new();
    for (title, origins) in GROUPS {
        text.push_str(&format!(
            "## {title}\n\n| cause | what happened | how it is known | what it is not | what to do |\n|---|---|---|---|---|\n"
        ));
        let of_group = Cause::ALL
            .iter()
            .filter(|&&cause| origins.contains(&definition(cause).origin()));
        for &cause in of_group {
            let doc = definition(cause).doc();
            text.push_str(&format!(
                "| `{cause}` | {} | {} | {} | {} |\n",
                doc.happened, doc.known, doc.look_alikes, doc.remedy
            ));
        }
        text.push('\n');
    }
    text
}

const GROUPS: [(&str, &[Origin]); 5] = [
    (
        "Sent by a process of this host, by what it did (`local_process`)",
        &[Origin::LocalProcess],
    ),
    (
        "Sent by this host's kernel, by its own rules (`local_kernel`)",
        &[Origin::LocalKernel],
    ),
    (
        "Sent by a packet filter of this host (`local_firewall`)",
        &[Origin::LocalFirewall],
    ),
    (
        "From elsewhere (`peer`, `middlebox`, `forwarded`)",
        &[Origin::Peer, Origin::Middlebox, Origin::Forwarded],
    ),
    ("Passed on, and unknown", &[Origin::Unknown]),
];

/// What a capture tells of each cause, at the host that sent the reset and anywhere else.
pub fn captures() -> String {
    let mut text =
        "| cause | in a capture at the host that sent the reset | anywhere else |\n|---|---|---|\n"
            .to_owned();
    for &cause in Cause::ALL {
        let [at_sender, elsewhere] = definition(cause).doc().captured;
        text.push_str(&format!("| `{cause}` | {at_sender} | {elsewhere} |\n"));
    }
    text
}

/// Every kind of evidence.
pub fn evidence() -> String {
    let mut text = "| evidence | is about |\n|---|---|\n".to_owned();
    for kind in EvidenceKind::ALL {
        text.push_str(&format!("| `{kind}` | {} |\n", kind.doc()));
    }
    text
}
