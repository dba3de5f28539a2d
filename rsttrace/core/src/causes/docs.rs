//! Generated tables of docs/CAUSES.md.

use super::definition;
use crate::record::{Cause, EvidenceKind, Named as _, Origin};

/// Causes grouped by origin: what happened, the evidence, look-alikes, what to do.
pub fn causes() -> String {
    let mut text = String::new();
    for (title, origins) in GROUPS {
        text.push_str(&format!(
            "## {title}\n\n| cause | what happened | evidence | look-alikes | what to do |\n|---|---|---|---|---|\n"
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
        "Sent by a process on this host (`local_process`)",
        &[Origin::LocalProcess],
    ),
    (
        "Sent by this host's kernel (`local_kernel`)",
        &[Origin::LocalKernel],
    ),
    (
        "Sent by a packet filter on this host (`local_firewall`)",
        &[Origin::LocalFirewall],
    ),
    (
        "Sent by the peer or on the path (`peer`, `middlebox`, `forwarded`)",
        &[Origin::Peer, Origin::Middlebox, Origin::Forwarded],
    ),
    ("Propagated and unknown", &[Origin::Unknown]),
];

/// Verdicts on each cause from a capture, at the host that sent the reset and anywhere else.
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
    let mut text = "| evidence | meaning |\n|---|---|\n".to_owned();
    for kind in EvidenceKind::ALL {
        text.push_str(&format!("| `{kind}` | {} |\n", kind.doc()));
    }
    text
}
