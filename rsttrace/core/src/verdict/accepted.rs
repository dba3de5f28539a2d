//! Resets accepted by a socket.

use std::sync::Arc;

use super::advice::{self, Situation};
use super::peer_signs::{self, Bearing};
use super::{Around, Context, Judgement, OtherEnd, Side, at_most};
use crate::causes::{self, Timeout, definition, rules};
use crate::classes;
use crate::correlate::is_passive_form;
use crate::event::{BootTime, Packet, Received, Segment, Socket, TcpFlags, TcpState};
use crate::ownership::ProcessName;
use crate::record::{
    Cause, Class, Confidence, EvidenceKind, Explanation, Form, Origin, Sentence, Severity, Verdict,
};
use crate::silence::clocks::{self, Trigger};
use crate::thresholds::IDLE;
use crate::words;

/// What its verdict rests on.
#[derive(Clone, Debug)]
pub struct AcceptedCase {
    /// The event.
    pub received: Arc<Received>,
    /// When.
    pub at: BootTime,
    /// The segment, where it is known.
    pub arrived: Option<Arrived>,
    /// The clocks; absent where there was no connection yet.
    pub clocks: Option<Clocks>,
    /// The end on this host that sent it.
    pub sender: Option<OtherEnd>,
    /// The process, for advice.
    pub process: Option<ProcessName>,
    /// The keepalive settings that hold for the socket, those of the namespace included.
    pub keepalive: Option<advice::KeepaliveNow>,
    /// What came before and after it.
    pub around: Around,
    /// Source of the acceptance.
    pub witness: Witness,
    /// What may be taken for granted.
    pub context: Context,
    /// What it cost.
    pub severity: Severity,
    /// The signs for and against the peer.
    pub bearing: Bearing,
    /// The idle timeout that it may be the work of.
    pub timeout: Option<Timeout>,
    /// A frequent end of a connection.
    pub class: Option<Class>,
}

/// The clocks of a socket that a sentence mentions, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// Silence before the segment that triggered the reset.
    pub quiet_before: Option<f64>,
    /// From the send that is unacknowledged to the reset.
    pub reset_after_send: Option<f64>,
}

/// Source of the fact that a reset was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The kernel.
    Kernel,
    /// Its numbers, in a capture.
    Capture,
}

/// The segment of an accepted reset.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its headers.
    pub segment: Segment,
    /// Its shape; absent where its options decide and are not known.
    pub form: Option<Form>,
    /// As a classifier saw it: with its options and what the handshake looked like.
    pub sighting: Option<Arc<Packet>>,
}

impl Arrived {
    /// A classifier saw it.
    pub fn seen(packet: &Arc<Packet>) -> Self {
        Self {
            segment: packet.segment,
            form: Some(form(packet)),
            sighting: Some(Arc::clone(packet)),
        }
    }

    /// tcp_reset() was called for it.
    pub fn by_tcp_reset(received: &Received) -> Option<Self> {
        let segment = received.segment?;
        // A reset of an end that has the connection acknowledges and, with timestamps agreed on, carries them.
        let may_have_options =
            received.socket.timestamps && segment.flags.has(TcpFlags::ACK) && segment.seq != 0;
        Some(Self {
            segment,
            form: match segment.window {
                0 if may_have_options => None,
                0 => Some(Form::Passive),
                _ => Some(Form::Active),
            },
            sighting: None,
        })
    }
}

/// The shape of a segment.
pub fn form(packet: &Packet) -> Form {
    if is_passive_form(packet) {
        Form::Passive
    } else {
        Form::Active
    }
}

impl AcceptedCase {
    /// Weighs the case: severity, signs and timeout.
    #[must_use]
    pub fn weighed(mut self) -> Self {
        let received = &*self.received;
        self.severity = cost(&received.socket);
        if let Some(arrived) = &self.arrived
            // Else who sent it is known.
            && self.sender.is_none()
            && received.socket.state.is_synchronized()
        {
            self.bearing = peer_signs::weigh(received, arrived, &self.around, self.at);
        }
        // With the sender on this host nothing has to be inferred, but it may well have been at its timeout.
        let may_be_timeout = match &self.sender {
            Some(sender) => sender.timeout.is_some() && self.severity != Severity::Noise,
            None => self.is_inferred(),
        };
        if may_be_timeout {
            self.timeout = causes::judge_timeout(&self.around, &self.bearing);
        }
        let is_plain = self.around.burst.is_none() && !self.bearing.is_doubtful();
        let arrived = self.arrived.as_ref();
        let abort = self.around.abort;
        let is_answer =
            abort.is_none() && arrived.is_some_and(|arrived| arrived.form == Some(Form::Passive));
        let segment = abort.or(arrived.map(|arrived| arrived.segment));
        let recurrence = self.around.recurrence;
        // Most resets have no class: then the rules need not be asked here.
        if is_plain
            && let Some(class) =
                classes::of_accepted(&self.received, segment, is_answer, self.at, recurrence)
            && rules::of_accepted(&self).cause == Cause::ResetByPeer
        {
            self.class = Some(class);
            self.severity = Severity::Noise;
        }
        // The end that reset it knows that no more than a goodbye was lost, or that it wanted nothing more.
        let is_owed = classes::is_owed(&self.received.socket);
        let by_sender = self
            .sender
            .as_ref()
            .and_then(|sender| sender.verdict.as_ref()?.class);
        if by_sender == Some(Class::TlsClose)
            || by_sender == Some(Class::CompleteExchange) && !is_owed
        {
            self.class = by_sender;
            self.severity = Severity::Noise;
        }
        self
    }

    /// The verdict on it. What another end on this host knows is evidence, it does not change the cause.
    pub fn verdict(self) -> Verdict {
        let judgement = self.judge();
        judgement.verdict(move || self.explain(judgement.cause))
    }

    pub(super) fn judge(&self) -> Judgement {
        let ruling = rules::of_accepted(self);
        let (origin, confidence) = definition(ruling.cause).accepted_from(self);
        let confidence = at_most(confidence, ruling.confidence);
        Judgement {
            origin,
            cause: ruling.cause,
            severity: self.severity,
            class: self.class,
            confidence: if self.is_sender_understood() {
                confidence
            } else {
                // Seen, but not understood: that proves nothing.
                at_most(confidence, Confidence::Likely)
            },
        }
    }

    pub(super) fn explain(&self, cause: Cause) -> Explanation {
        let mut explanation = Explanation {
            evidence: Vec::with_capacity(4),
            ..Explanation::default()
        };
        let state = self.received.socket.state.name();
        match self.witness {
            Witness::Kernel => explanation.add(
                EvidenceKind::Accepted,
                ["the kernel accepted it in ", state].concat(),
            ),
            Witness::Capture => explanation.add(
                EvidenceKind::Expected,
                [
                    "it has the expected sequence number; by the segments before it the connection was in ",
                    state,
                ]
                .concat(),
            ),
        }
        let signs = self.bearing.signs.iter();
        explanation
            .evidence
            .extend(signs.map(|(_, sign)| sign.evidence()));
        causes::silence_evidence(&self.around, &mut explanation);
        let sighting = self
            .arrived
            .as_ref()
            .and_then(|arrived| arrived.sighting.as_ref());
        if sighting.is_none()
            && self.sender.is_none()
            && self.context.coverage.packets
            && self.context.no_packet_missed()
        {
            explanation.add(
                EvidenceKind::NotSeenOnWire,
                "no traced interface saw the segment arrive",
            );
        }
        definition(cause).accepted(self, &mut explanation);
        if let Some(class) = self.class {
            self.classify(class, &mut explanation);
        }
        if let Some((bytes, times)) = self.unanswered() {
            explanation.summary.push_str(&format!(
                "; {} had been sent {times} more times without an answer",
                words::bytes(bytes)
            ));
            if self.is_inferred() {
                explanation
                    .advice
                    .insert(0, advice::for_black_hole(self.received.flow.remote.ip()));
                Situation::MtuBlackHole.refer(&mut explanation.advice);
            }
        }
        if let Some(together) = self.around.together
            && (cause != Cause::ResetByPeer || self.around.burst.is_none())
        {
            let what = match self.received.socket.state.is_synchronized() {
                true => "with that host that were reset",
                false => "to that host that were refused",
            };
            let phrase = together.phrase(what);
            explanation.summary.push_str("; ");
            explanation.summary.push_str(&phrase);
            explanation.add(EvidenceKind::Burst, phrase);
        }
        if !self.is_written_here() {
            self.hear_sender(&mut explanation);
        }
        match &self.sender {
            Some(sender) => explanation.add(
                EvidenceKind::LocalSender,
                [&sender.label, " on this host sent it: ", sender.summary()].concat(),
            ),
            None => self.context.note_lost(&mut explanation),
        }
        if explanation.advice.is_empty() {
            self.advise_anyway(&mut explanation);
        }
        explanation
    }

    fn classify(&self, class: Class, explanation: &mut Explanation) {
        match class {
            Class::HealthCheck | Class::EmptyConnection | Class::PortScan => {
                explanation.summary = [
                    &words::address(self.received.flow.remote),
                    " opened and reset a connection without sending anything: ",
                    &classes::empty(class, self.around.recurrence),
                ]
                .concat();
            }
            Class::CompleteExchange | Class::TlsTickets => {
                explanation.summary.push_str("; the exchange was complete")
            }
            Class::TlsClose => explanation.summary.push_str(
                "; nothing was on its way but a TLS close_notify or another message as short",
            ),
        }
        explanation.advice = Vec::new();
    }

    /// Where nothing better is known: the sender's own advice, or how to find out what it did.
    fn advise_anyway(&self, explanation: &mut Explanation) {
        let known = self
            .sender
            .as_ref()
            .and_then(|sender| sender.verdict.as_ref());
        let known = known.map_or(&[][..], |verdict| verdict.advice());
        match self.severity {
            Severity::Noise => {}
            Severity::Fault | Severity::Refused if !known.is_empty() => {
                known.clone_into(&mut explanation.advice);
            }
            Severity::Refused => {
                explanation
                    .advice
                    .push(advice::for_refused(self.received.flow.remote));
                Situation::Refused.refer(&mut explanation.advice);
            }
            Severity::Fault => {
                let there = advice::capture_there(&self.received.flow, self.opened_here());
                explanation.advice.push(there);
                Situation::ResetByPeer.refer(&mut explanation.advice);
            }
        }
    }

    /// Adds the explanation of the sending end on this host.
    fn hear_sender(&self, explanation: &mut Explanation) {
        let Some(sender) = &self.sender else { return };
        if sender.timeout.is_some()
            && explanation.advice.is_empty()
            && let Some(verdict) = &sender.verdict
        {
            verdict.advice().clone_into(&mut explanation.advice);
        }
        explanation.summary.push_str("; on this host: ");
        explanation.summary.push_str(sender.summary());
    }

    /// This end opened the connection; absent if not known.
    pub(crate) fn opened_here(&self) -> Option<bool> {
        clocks::is_outgoing(self.received.ownership.as_ref())
    }

    /// The first advice where this end sent a request on a connection that its server had closed as idle.
    pub(crate) fn race(&self) -> Option<Sentence> {
        let quiet = self.around.quiet.as_ref()?;
        let socket = &self.received.socket;
        let is_race = quiet.trigger == Trigger::PeerFinish
            && quiet.application >= IDLE
            && self.opened_here() == Some(true)
            && socket.bytes_received > 0
            && socket.since_first_unacknowledged.is_some();
        let race = advice::Race {
            silence: quiet.application,
            late: quiet.after.map(|after| {
                after.saturating_sub(socket.since_first_unacknowledged.unwrap_or_default())
            }),
            remote: self.received.flow.remote.ip().to_canonical(),
            process: self.process.as_ref(),
            set: None,
        };
        is_race.then(|| {
            let elsewhere = match self.around.side {
                Side::Ours => None,
                Side::Theirs => Some(self.received.flow.local.ip().to_canonical()),
            };
            let mut advice = [race.at_client(elsewhere)];
            Situation::KeepAliveRace.refer(&mut advice);
            let [advice] = advice;
            advice
        })
    }

    /// Bytes that were sent again and again without an answer, and how often; only where they are more than small packets.
    pub(crate) fn unanswered(&self) -> Option<(u32, u8)> {
        let socket = &self.received.socket;
        let is_large = socket.unacknowledged >= LARGE && socket.retransmits >= 2;
        is_large.then_some((socket.unacknowledged, socket.retransmits))
    }

    /// The sender has to be inferred, and the reset had an impact.
    pub(crate) fn is_inferred(&self) -> bool {
        self.sender.is_none() && self.severity != Severity::Noise
    }

    /// Whether the record of the sending end on this host, if there is one, says who sent it.
    fn is_sender_understood(&self) -> bool {
        self.sender.is_none()
            || self.is_written_here()
            || self.expired_on_this_host()
            || self.is_sent_here()
    }

    /// Something on this host sent it with the peer's address.
    fn is_written_here(&self) -> bool {
        self.sender_found(Cause::FirewallReject) || self.sender_found(Cause::RawSocket)
    }

    /// Who is behind it and how sure that is, by the record of the sending end.
    pub(crate) fn origin_from_sender(&self) -> Option<(Origin, Confidence)> {
        let verdict = self.sender.as_ref()?.verdict.as_ref()?;
        Some((verdict.origin, verdict.confidence))
    }

    /// Who sent it is known, and why, by the record of the sending end on this host.
    pub(crate) fn is_sent_here(&self) -> bool {
        let found = self.sender.as_ref().and_then(OtherEnd::found);
        matches!(found, Some((Origin::LocalProcess | Origin::LocalKernel, _)))
    }

    /// The sending end on this host found this cause.
    pub(crate) fn sender_found(&self, cause: Cause) -> bool {
        let found = self.sender.as_ref().and_then(OtherEnd::found);
        found.is_some_and(|(_, found)| found == cause)
    }

    /// Something between the ends, in another namespace of this host, had expired the connection.
    pub(crate) fn expired_on_this_host(&self) -> bool {
        let own = self.sender.as_ref().and_then(|it| it.timeout.as_ref());
        own.is_some_and(|own| !own.settings.is_empty())
    }
}

/// Bytes that only a full-size segment carries: a path that loses large packets passes smaller ones.
const LARGE: u32 = 1_200;

/// What an accepted reset cost.
fn cost(socket: &Socket) -> Severity {
    match socket.state {
        TcpState::SynSent => Severity::Refused,
        // TCP Fast Open: the application has the connection already, and its data.
        TcpState::SynRecv if socket.bytes_received > 0 && !is_finished(socket) => Severity::Fault,
        TcpState::SynRecv | TcpState::NewSynRecv | TcpState::Listen => Severity::Noise,
        TcpState::Established
        | TcpState::FinWait1
        | TcpState::FinWait2
        | TcpState::TimeWait
        | TcpState::Close
        | TcpState::CloseWait
        | TcpState::LastAck
        | TcpState::Closing => {
            if is_finished(socket) {
                Severity::Noise
            } else {
                Severity::Fault
            }
        }
    }
}

/// The application has closed the connection, and everything written was acknowledged.
pub(crate) fn is_finished(socket: &Socket) -> bool {
    let closed = socket.orphaned || (socket.send_shutdown && socket.receive_shutdown);
    closed && socket.unacknowledged == 0
}
