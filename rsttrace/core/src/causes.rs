//! Causes of resets, one file each; [`rules`] selects the cause.
//!
//! The file of a cause contains everything specific to it: description, origin, severity, owner of the socket, summary and advice.
//! A new cause needs a file here, a line in the list below, a name in [`Cause`] and a row in the rules.

pub mod docs;
pub mod rules;

use std::time::Duration;

use crate::event::{Sent, TcpFlags};
use crate::ownership::Whose;
use crate::record::{
    Cause, Confidence, Direction, Evidence, Explanation, Origin, Sentence, ServingEnd, Severity,
};
use crate::verdict::advice::{Shape, Situation};
use crate::verdict::{AcceptedCase, ArrivedCase, CapturedCase, LeftCase, SentCase};

macro_rules! causes {
    ($($(#[doc = $doc:literal])* $module:ident $cause:ident,)*) => {
        $(mod $module;)*

        /// All that is particular to a cause.
        pub fn definition(cause: Cause) -> &'static dyn Definition {
            match cause {
                $(Cause::$cause => &$module::$cause,)*
            }
        }
    };
}

rsttrace_model::for_each_cause!(causes);

pub use idle_timeout::{Timeout, judge_timeout, path_lesson, silence_evidence};
pub use unknown::Why;
pub use untranslated_answer::ruling as of_untranslated_answer;

/// What is particular to a cause. A cause is found in some of the ways only in which a reset is observed; for the others the defaults
/// stand.
pub trait Definition: Sync {
    /// Its documentation.
    fn doc(&self) -> Doc;

    /// Who is behind it.
    fn origin(&self) -> Origin;

    /// Which process had the socket.
    fn whose(&self) -> Whose {
        Whose::Holder
    }

    /// Which end serves, where the cause shows it.
    fn serving(&self, _direction: Direction) -> Option<ServingEnd> {
        None
    }

    /// A segment of the other end made the kernel send the reset.
    fn is_answer(&self) -> bool {
        false
    }

    /// One sentence about many resets.
    fn many(&self, many: &Many) -> String;

    /// What a reset of the TCP stack costs.
    fn cost(&self, _sent: &Sent) -> Severity {
        Severity::Fault
    }

    /// The setting or number of the socket that decided.
    fn decisive(&self, _sent: &Sent) -> Option<Evidence> {
        None
    }

    /// One sentence about a reset of the TCP stack.
    fn sentence(&self, _case: &SentCase) -> String {
        self.doc().happened.to_owned()
    }

    /// What the process did, for the table of advice.
    fn shape(&self) -> Option<Shape> {
        None
    }

    /// The page on it.
    fn page(&self) -> Option<Situation> {
        None
    }

    /// What to change.
    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        None
    }

    /// How sure it is of a reset that left without the TCP stack.
    fn left_confidence(&self, _case: &LeftCase) -> Confidence {
        Confidence::Certain
    }

    /// Explains a reset that left without the TCP stack.
    fn left(&self, _case: &LeftCase, explanation: &mut Explanation) {
        self.doc().happened.clone_into(&mut explanation.summary);
    }

    /// Who is behind an accepted reset, and how sure that is.
    fn accepted_from(&self, _case: &AcceptedCase) -> (Origin, Confidence) {
        (self.origin(), Confidence::Certain)
    }

    /// Explains an accepted reset.
    fn accepted(&self, _case: &AcceptedCase, explanation: &mut Explanation) {
        self.doc().happened.clone_into(&mut explanation.summary);
    }

    /// Who is behind a reset that no socket accepted, and how sure that is.
    fn arrived_from(&self, _case: &ArrivedCase) -> (Origin, Confidence) {
        (self.origin(), Confidence::Certain)
    }

    /// Explains a reset that no socket accepted.
    fn arrived(&self, _case: &ArrivedCase, explanation: &mut Explanation) {
        self.doc().happened.clone_into(&mut explanation.summary);
    }

    /// What a captured reset costs.
    fn captured_cost(&self, _case: &CapturedCase) -> Severity {
        Severity::Fault
    }

    /// Who is behind a captured reset, and how sure that is.
    fn captured_from(&self, _case: &CapturedCase) -> (Origin, Confidence) {
        (self.origin(), Confidence::Certain)
    }

    /// Explains a captured reset.
    fn captured(&self, _case: &CapturedCase, explanation: &mut Explanation) {
        self.doc().happened.clone_into(&mut explanation.summary);
    }
}

/// Documentation of a cause.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// What happened.
    pub happened: &'static str,
    /// Evidence for it.
    pub known: &'static str,
    /// What to do; `–` if there is no remedy.
    pub remedy: &'static str,
    /// Look-alikes, and how to distinguish them; may be empty.
    pub look_alikes: &'static str,
    /// Verdict from a capture at the host that sent the reset, and from one anywhere else.
    pub captured: [&'static str; 2],
}

/// Many resets of one cause, process and path, for one sentence.
#[derive(Clone, Debug)]
pub struct Many {
    /// It is one.
    pub is_one: bool,
    /// The process, or `a process`.
    pub subject: String,
    /// `12 connections from 10.0.3.0/24 to port 8080`.
    pub connections: String,
    /// `12 attempts from …`.
    pub attempts: String,
    /// `12 resets from …`.
    pub resets: String,
    /// ` of java`, whose sockets they were where that is somebody else and only one; else empty.
    pub of_owner: String,
    /// ` after 300.0 s of idle time`, where that is notable; else empty.
    pub after_silence: String,
    /// Who is behind them.
    pub origin: Origin,
    /// `300.0 ± 0.4 s`: the silences before them; absent if not known.
    pub silence: Option<String>,
    /// `likely`, `possibly`; empty if certain or mixed.
    pub sure: &'static str,
    /// ` (certainly for 3, likely for 2)` where they differ; else empty.
    pub sure_in_parts: String,
    /// Devices whose timeout fits, the most plausible first.
    pub devices: Vec<String>,
    /// How many more fit.
    pub more_devices: usize,
    /// The learned timeout of the path, in how many resets of how many.
    pub learned: Option<(Duration, u64, u64)>,
}

impl Many {
    const fn was(&self) -> &'static str {
        if self.is_one { "was" } else { "were" }
    }

    const fn them(&self) -> &'static str {
        if self.is_one { "it" } else { "them" }
    }
}

/// An answer costs something if data came with the segment that it answers.
fn cost_of_data(sent: &Sent) -> Severity {
    let has_data = sent.cause.is_some_and(|cause| cause.payload_len > 0);
    if has_data {
        Severity::Fault
    } else {
        Severity::Noise
    }
}

/// A fault if the application lost a connection, else a refused connect.
fn cost_of_state(sent: &Sent) -> Severity {
    if sent
        .lost_state()
        .is_none_or(|state| state.is_synchronized())
    {
        Severity::Fault
    } else {
        Severity::Refused
    }
}

/// The segment that it answers has these flags and none of those.
fn answers(sent: &Sent, with: u8, without: u8) -> bool {
    sent.cause
        .is_some_and(|cause| cause.flags.has(with) && cause.flags.0 & without == 0)
}

/// It answers a segment.
fn answers_any(sent: &Sent) -> bool {
    sent.cause.is_some()
}

/// It answers a SYN, a SYN-ACK too.
fn answers_any_syn(sent: &Sent) -> bool {
    answers(sent, TcpFlags::SYN, 0)
}

/// It answers a SYN-ACK.
fn answers_synack(sent: &Sent) -> bool {
    answers(sent, TcpFlags::SYN | TcpFlags::ACK, 0)
}
