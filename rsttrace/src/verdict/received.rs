//! A socket of this host accepted a reset: what does that end know of it?

use super::nearer::{self, Bearing};
use super::timeout::{self, Timeout};
use super::{Around, Context, OtherEnd, advice, at_most, explain, item, lost, severity};
use std::time::Duration;

use crate::event::{BootTime, Packet, Received, Segment, TcpFlags, TcpState};
use crate::idle::clocks;
use crate::join::is_passive_form;
use crate::record::{Cause, Confidence, Form, Idle, Origin, Sentence, Severity, Verdict};

/// What a socket accepted, and what is known of it.
pub struct Accepted<'a> {
    /// The event.
    pub received: &'a Received,
    /// When.
    pub at: BootTime,
    /// The segment, where it is known.
    pub arrived: Option<&'a Arrived<'a>>,
    /// The clocks; absent where there was no connection yet.
    pub idle: Option<&'a Idle>,
    /// The end on this host that sent it.
    pub sender: Option<&'a OtherEnd>,
    /// Its name, for advice: `nginx`.
    pub process: Option<&'a str>,
    /// The keepalive settings that hold for it, those of the namespace included.
    pub keepalive: Option<advice::KeepaliveNow>,
    /// What came before and after it.
    pub around: &'a Around,
    /// Who says that it was accepted.
    pub witness: Witness,
}

/// Who says that a reset was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The kernel.
    Kernel,
    /// Its numbers, in a capture.
    Capture,
}

/// The segment of an accepted reset.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Its headers.
    pub segment: &'a Segment,
    /// Its shape; absent where its options decide and are not known.
    pub form: Option<Form>,
    /// As a classifier saw it: with its options and what the handshake looked like.
    pub sighting: Option<&'a Packet>,
}

impl<'a> Arrived<'a> {
    /// A classifier saw it.
    pub fn seen(packet: &'a Packet) -> Self {
        Self {
            segment: &packet.segment,
            form: Some(form(packet)),
            sighting: Some(packet),
        }
    }

    /// tcp_reset() was called for it.
    pub fn told(received: &'a Received) -> Option<Self> {
        let segment = received.segment.as_ref()?;
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

/// Who, why and how sure, still to be worded and weighed against what another end knows.
struct Finding {
    origin: Origin,
    cause: Cause,
    confidence: Confidence,
    summary: String,
    advice: Vec<Sentence>,
}

/// Judges an accepted reset. What another end on this host knows is evidence, it does not change the cause.
pub fn received(accepted: &Accepted<'_>, context: &Context<'_>) -> Verdict {
    let received = accepted.received;
    let severity = severity::of_received(received);
    let mut list = Vec::with_capacity(4);
    let state = received.socket.state.name();
    list.push(match accepted.witness {
        Witness::Kernel => item("accepted", ["the kernel accepted it in ", state].concat()),
        Witness::Capture => item(
            "expected",
            [
                "it has the number that was expected next; by the segments before it the connection was in ",
                state,
            ]
            .concat(),
        ),
    });
    let bearing = match accepted.arrived {
        // Who sent it is known.
        Some(_) if accepted.sender.is_some() => Bearing::default(),
        Some(arrived) if received.socket.state.is_synchronized() => {
            nearer::weigh(received, arrived, accepted.around, accepted.at)
        }
        _ => Bearing::default(),
    };
    list.extend(bearing.signs.iter().cloned());
    list.extend(timeout::evidence(accepted.around));
    let sighting = accepted.arrived.and_then(|arrived| arrived.sighting);
    if sighting.is_none()
        && accepted.sender.is_none()
        && context.coverage.packets
        && context.no_packet_missed()
    {
        list.push(item(
            "not_seen_on_wire",
            "no watched device saw the segment come in",
        ));
    }
    let mut finding = find(accepted, &bearing, severity, context);
    match accepted.sender {
        Some(sender) => {
            finding.hear(received, sender);
            list.push(item(
                "local_sender",
                [&sender.label, " on this host sent it: ", &sender.summary].concat(),
            ));
        }
        None => list.extend(lost(context)),
    }
    Verdict {
        origin: finding.origin,
        cause: finding.cause,
        severity,
        confidence: finding.confidence,
        summary: finding.summary,
        evidence: list,
        advice: finding.advice,
    }
}

/// What this end alone can find out.
fn find(
    accepted: &Accepted<'_>,
    bearing: &Bearing,
    severity: Severity,
    context: &Context<'_>,
) -> Finding {
    let received = accepted.received;
    let remote = received.flow.remote;
    let around = accepted.around;
    if received.socket.state == TcpState::SynSent {
        return Finding {
            origin: Origin::Peer,
            cause: Cause::ConnectionRefused,
            confidence: Confidence::Certain,
            summary: explain::refused(remote, accepted.sender.is_some()),
            advice: Vec::new(),
        };
    }
    let finished = severity == Severity::Noise;
    // With the sender on this host nothing has to be inferred, but it may well have been at its timeout.
    let inferred = accepted.sender.is_none() && !finished;
    let may_be_timeout = accepted
        .sender
        .map_or(inferred, |sender| sender.timeout.is_some() && !finished);
    if may_be_timeout && let Some(found) = timeout::judge(around, bearing) {
        return Finding {
            origin: found.origin,
            cause: Cause::IdleTimeout,
            confidence: found.confidence,
            summary: explain::timed_out(received, accepted.at, &found, around.side),
            advice: if found.quiet.owed && found.origin == Origin::Peer {
                advice::for_late_answer(timeout::silence(&found.quiet))
            } else {
                advice::for_idle(&situation(accepted, &found))
            },
        };
    }
    if inferred && bearing.is_foreign() {
        return Finding {
            origin: Origin::Middlebox,
            cause: Cause::NotFromPeer,
            confidence: bearing.confidence(),
            summary: explain::not_from_peer(remote, around, bearing.loudest.as_deref()),
            advice: advice::for_foreign(
                accepted
                    .arrived
                    .and_then(|arrived| arrived.sighting?.source_mac),
            ),
        };
    }
    let mut confidence = Confidence::Likely;
    if bearing.is_doubtful() {
        confidence = at_most(confidence, Confidence::Possible);
    }
    let mut summary = explain::received(received, accepted.at, accepted.idle, finished, around);
    let mut advice = Vec::new();
    if let Some(burst) = around.burst.as_ref().filter(|_| inferred) {
        summary = format!("{summary}; {}", explain::burst(burst));
        advice = advice::for_burst(context.environment);
    }
    let silent = around
        .quiet
        .as_ref()
        .is_some_and(|quiet| timeout::silence(quiet) >= WORTH_PROBING);
    let opened_here = clocks::is_outgoing(received.ownership.as_ref()) == Some(true);
    if advice.is_empty() && inferred && silent && opened_here {
        advice.push(format!(
            "if it happens again after such a silence, `rsttrace probe {remote}` measures the idle timeout of the path"
        ).into());
    }
    Finding {
        origin: Origin::Peer,
        cause: Cause::ResetByPeer,
        confidence,
        summary,
        advice,
    }
}

/// A silence after which a path is worth probing.
const WORTH_PROBING: Duration = Duration::from_secs(30);

fn situation<'a>(accepted: &'a Accepted<'_>, found: &Timeout) -> advice::IdleSituation<'a> {
    advice::IdleSituation {
        mode: found.quiet.mode,
        timeout: found.timeout,
        silence: timeout::silence(&found.quiet),
        matches: &accepted.around.matches,
        transparent: found.origin == Origin::Middlebox,
        keepalive: accepted.keepalive,
        process: accepted.process,
        sent_by_us: false,
    }
}

impl Finding {
    /// The other end of this reset is on this host and knows more.
    fn hear(&mut self, received: &Received, sender: &OtherEnd) {
        match sender.found {
            // Written in the peer's name on this host: not the peer.
            Some((made_by, made_how @ (Cause::FirewallReject | Cause::RawSocket))) => {
                (self.origin, self.cause) = (made_by, made_how);
                self.confidence = sender.confidence;
                self.summary = explain::made_here(received.flow.remote, made_how, &sender.label);
                return;
            }
            // Something between the ends, in another namespace of this host, had forgotten the connection.
            Some(_)
                if sender
                    .timeout
                    .as_ref()
                    .is_some_and(|own| !own.settings.is_empty()) =>
            {
                (self.origin, self.cause) = (Origin::Middlebox, Cause::IdleTimeout);
                self.confidence = Confidence::Likely;
            }
            // Who sent it is certain then; whether it was a timeout stays what it was.
            Some((Origin::LocalProcess | Origin::LocalKernel, _)) => {
                if self.cause != Cause::IdleTimeout {
                    self.confidence = Confidence::Certain;
                }
            }
            // Seen, but not understood: that proves nothing.
            _ => self.confidence = at_most(self.confidence, Confidence::Likely),
        }
        if let Some(own) = &sender.timeout
            && self.advice.is_empty()
        {
            self.advice.clone_from(&own.advice);
        }
        self.summary = [&self.summary, "; on this host: ", &sender.summary].concat();
    }
}
