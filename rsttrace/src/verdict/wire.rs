//! A reset was seen on a device only: who made it, who let it pass, and why did no socket take it?

use super::{Context, OtherEnd, at_most, evidence, item, lost, origin_of, words};
use crate::event::{Packet, SenderSocket, Target, TcpFlags, TcpState};
use crate::join::{accepts, is_in_window, is_passive_form};
use crate::record::{Cause, Confidence, Evidence, Origin, Process, Severity, Verdict};

/// When a connection accepted another reset than the one in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherReset {
    /// At the same moment, or a little before.
    JustBefore,
    /// Soon after, and this one was the only one to miss.
    SoonAfter,
}

/// How a reset passed through a namespace.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    /// Addresses it came in with, where they differ from those it left with.
    pub translated: Option<String>,
    /// The end on this host that sent it.
    pub sender: Option<OtherEnd>,
    /// The end on this host that got it.
    pub receiver: Option<OtherEnd>,
}

/// Judges a reset that left this host without the TCP stack saying so.
pub fn made_here(
    packet: &Packet,
    raw: Option<&Process>,
    accepted: Option<bool>,
    context: &Context<'_>,
) -> Verdict {
    let coverage = context.coverage;
    let passive = is_passive_form(packet);
    let mut list = vec![form(packet)];
    list.extend(lost(context));
    let (cause, confidence, summary) = match &packet.sender_socket {
        SenderSocket::Raw { .. } => {
            list.push(item("raw_socket", "the segment belongs to a raw socket"));
            let who = raw.map_or_else(
                || "a raw socket".to_owned(),
                |who| format!("{} with a raw socket", words::process(who)),
            );
            let summary = format!("{who} put a reset for {} on the wire", packet.destination);
            (Cause::RawSocket, Confidence::Certain, summary)
        }
        // The stack's own IPv4 answers belong to a socket of the kernel's; those over IPv6 do not before 6.14, so there only
        // the stack's silence tells.
        SenderSocket::None
            if passive
                && coverage.sent
                && context.nothing_lost()
                && (packet.source.is_ipv4()
                    || (coverage.sent_stateless && context.no_sender_missed())) =>
        {
            list.push(item("no_socket", "it belongs to no socket"));
            let silent = coverage.sent_stateless && context.no_sender_missed();
            if silent {
                list.push(item("no_event", "the TCP stack did not send it"));
            }
            let confidence = match (silent, coverage.sent_stateless) {
                (true, _) => Confidence::Certain,
                (false, true) => Confidence::Likely,
                (false, false) => Confidence::Possible,
            };
            let summary = format!(
                "a packet filter of this host rejected {} with a reset",
                packet.destination
            );
            (Cause::FirewallReject, confidence, summary)
        }
        SenderSocket::Some(_) if passive && coverage.sent && !coverage.sent_stateless => {
            list.push(item(
                "inferred",
                "this kernel does not tell of answers without a socket",
            ));
            if answers_syn(packet) {
                let summary = format!("nobody listens on {}", packet.source.port());
                (Cause::PortClosed, Confidence::Likely, summary)
            } else {
                let summary = format!(
                    "{} spoke on a connection that this host does not have",
                    packet.destination
                );
                (Cause::HalfOpen, Confidence::Possible, summary)
            }
        }
        sender => {
            let why = match sender {
                _ if !coverage.sent => "the hook on sent resets is not attached",
                _ if !context.nothing_lost() => "events were lost",
                _ if !context.no_sender_missed() => "there were too many resets to describe each",
                SenderSocket::Some(_) => "a TCP socket sent it but its event is missing",
                _ => "it belongs to no socket and is no firewall's form",
            };
            list.push(item("no_event", why));
            let summary = format!(
                "a reset left for {}, unknown why, because {why}",
                packet.destination
            );
            (Cause::Unknown, Confidence::Possible, summary)
        }
    };
    Verdict {
        origin: origin_of(cause),
        cause,
        severity: match accepted {
            Some(false) => Severity::Noise,
            _ if answers_syn(packet) && cause != Cause::RawSocket => Severity::Refused,
            _ => Severity::Fault,
        },
        confidence,
        summary,
        evidence: list,
        advice: if cause == Cause::FirewallReject {
            vec!["find the rule: nft list ruleset, iptables -S".into()]
        } else {
            Vec::new()
        },
    }
}

/// Judges a reset that passed through a namespace of this host.
pub fn forwarded(packet: &Packet, passage: &Passage) -> Verdict {
    let mut list = vec![item(
        "in_transit",
        match packet.ingress_ifindex {
            Some(_) => "it came in by one device and left by another",
            None => "it was seen coming in before it was seen leaving",
        },
    )];
    let mut summary = format!("passed on from {} to {}", packet.source, packet.destination);
    if let Some(translated) = &passage.translated {
        list.push(item("nat", translated.clone()));
        summary = format!("{summary} ({translated})");
    }
    for (kind, verb, end) in [
        ("local_sender", "sent", &passage.sender),
        ("local_receiver", "got", &passage.receiver),
    ] {
        if let Some(end) = end {
            list.push(item(kind, format!("{} on this host {verb} it", end.label)));
            summary = format!("{summary}; {} on this host {verb} it", end.label);
        }
    }
    let severity = if passage.sender.is_some() || passage.receiver.is_some() {
        // The end's own record says what was lost.
        Severity::Noise
    } else if answers_syn(packet) {
        Severity::Refused
    } else {
        Severity::Fault
    };
    Verdict {
        origin: origin_of(Cause::Forwarded),
        cause: Cause::Forwarded,
        severity,
        confidence: Confidence::Certain,
        summary,
        evidence: list,
        advice: Vec::new(),
    }
}

/// Judges a reset that came in and that no socket is known to have accepted.
///
/// `other`: whether the same connection accepted another one, and when.
pub fn observed(
    packet: &Packet,
    sender: Option<&OtherEnd>,
    other: Option<OtherReset>,
    context: &Context<'_>,
) -> Verdict {
    let again = other == Some(OtherReset::JustBefore);
    let mut list = Vec::new();
    list.extend(evidence::ttl(packet));
    let (mut cause, mut confidence, severity, mut summary) = match &packet.target {
        Target::Socket { .. } if again => {
            list.push(item(
                "socket",
                "a reset had ended this connection just before",
            ));
            let summary = format!("{} reset the connection once more", packet.source);
            (
                Cause::ResetByPeer,
                Confidence::Likely,
                Severity::Noise,
                summary,
            )
        }
        Target::Socket {
            state,
            rcv_nxt,
            rcv_wnd,
            snd_una,
            snd_nxt,
            ..
        } => {
            list.push(item("socket", format!("aimed at a socket in {state}")));
            let aim = Aim {
                state: *state,
                rcv_nxt: *rcv_nxt,
                rcv_wnd: *rcv_wnd,
                snd_una: *snd_una,
                snd_nxt: *snd_nxt,
            };
            aimed(packet, &aim, context, &mut list)
        }
        Target::Stateless(TcpState::TimeWait) => {
            list.push(item("socket", "the connection was in TIME_WAIT"));
            let summary = format!(
                "{} reset a connection after both sides had closed",
                packet.source
            );
            (
                Cause::ResetByPeer,
                Confidence::Likely,
                Severity::Noise,
                summary,
            )
        }
        Target::Stateless(TcpState::SynRecv | TcpState::NewSynRecv) => {
            list.push(item("socket", "the handshake was half done"));
            let summary = format!(
                "{} took back its connection attempt, as port scans do",
                packet.source
            );
            (
                Cause::ResetByPeer,
                Confidence::Likely,
                Severity::Noise,
                summary,
            )
        }
        Target::Stateless(state) => {
            list.push(item(
                "socket",
                format!("aimed at a socket in {state}, which ignores resets"),
            ));
            let summary = format!(
                "{} sent a reset for no connection known here",
                packet.source
            );
            (
                Cause::Unknown,
                Confidence::Possible,
                Severity::Noise,
                summary,
            )
        }
        Target::None => {
            list.push(item(
                "no_socket",
                "no socket here has these addresses and ports",
            ));
            let summary = format!(
                "{} sent a reset for no connection known here",
                packet.source
            );
            (
                Cause::Unknown,
                Confidence::Possible,
                Severity::Noise,
                summary,
            )
        }
        Target::NotLookedUp => {
            list.push(item(
                "no_socket",
                "the socket it was aimed at could not be looked up",
            ));
            let summary = format!(
                "{} sent a reset; whether a socket took it is not known",
                packet.source
            );
            (
                Cause::Unknown,
                Confidence::Possible,
                Severity::Noise,
                summary,
            )
        }
    };
    if let Some(sender) = sender {
        list.push(item(
            "local_sender",
            format!("{} on this host sent it: {}", sender.label, sender.summary),
        ));
        summary = format!("{summary}; {} on this host sent it", sender.label);
    }
    list.extend(lost(context));
    // A miss is no proof against the peer: data before its reset may have been lost. Its TTL would be the usual one.
    let may_be_peers = evidence::ttl_is_other(packet) == Some(false);
    if cause == Cause::BlindAttempt && may_be_peers && other == Some(OtherReset::SoonAfter) {
        list.push(item(
            "accepted_next",
            "the next reset of this connection had the expected number, as the peer's has after it was asked (RFC 5961)",
        ));
        cause = Cause::ResetByPeer;
        confidence = Confidence::Possible;
        summary = format!(
            "{} reset the connection; this one came before data that had been sent first",
            packet.source
        );
    }
    // Written on this host in the peer's name.
    let made_here = sender
        .and_then(|sender| sender.found)
        .filter(|(_, cause)| matches!(cause, Cause::FirewallReject | Cause::RawSocket));
    let origin = match (cause, made_here) {
        (Cause::BlindAttempt, Some((origin, _))) => origin,
        (Cause::BlindAttempt, None) if sender.is_some() || may_be_peers => Origin::Unknown,
        _ => origin_of(cause),
    };
    if cause == Cause::BlindAttempt {
        let limit = if origin == Origin::Unknown {
            Confidence::Possible
        } else {
            Confidence::Likely
        };
        confidence = at_most(confidence, limit);
    }
    Verdict {
        origin,
        cause,
        severity,
        confidence,
        summary,
        evidence: list,
        advice: Vec::new(),
    }
}

/// The socket a reset was aimed at, as it stood when the segment came in.
struct Aim {
    state: TcpState,
    rcv_nxt: u32,
    rcv_wnd: u32,
    snd_una: u32,
    snd_nxt: u32,
}

/// Aimed at a full socket that is not known to have accepted it.
fn aimed(
    packet: &Packet,
    aim: &Aim,
    context: &Context<'_>,
    list: &mut Vec<Evidence>,
) -> (Cause, Confidence, Severity, String) {
    let source = packet.source;
    let segment = &packet.segment;
    let sure = context.coverage.received && context.no_receiver_missed();
    let fits = if aim.state == TcpState::SynSent {
        // Over lo and veth the answer comes in while the SYN is still being sent, before tcp_connect() counts it.
        segment.flags.has(TcpFlags::ACK)
            && (segment.ack == aim.snd_nxt || segment.ack == aim.snd_una.wrapping_add(1))
    } else {
        accepts(aim.state, aim.rcv_nxt, segment.seq)
    };
    if fits {
        let why = if !context.coverage.received {
            "the hook on accepted resets is not attached"
        } else if !context.nothing_lost() {
            "events were lost"
        } else if !context.no_receiver_missed() {
            "there were too many resets to describe each"
        } else {
            "no event says that it was: it may have been dropped by a packet filter"
        };
        list.push(item("no_event", format!("it fits the socket, but {why}")));
        let summary = format!(
            "a reset from {source} fits a socket, unknown whether it was accepted, because {why}"
        );
        return (
            Cause::Unknown,
            Confidence::Possible,
            Severity::Fault,
            summary,
        );
    }
    if aim.state == TcpState::SynSent {
        list.push(item("sequence", "it does not acknowledge our SYN"));
        let summary = format!("ignored a reset from {source} that does not answer our connect");
        return (
            Cause::BlindAttempt,
            certain_if(sure),
            Severity::Noise,
            summary,
        );
    }
    let ahead = segment.seq.wrapping_sub(aim.rcv_nxt);
    if is_in_window(aim.rcv_nxt, aim.rcv_wnd, segment.seq) {
        list.push(item(
            "sequence",
            format!(
                "{} beyond the next expected, in the window",
                words::bytes(ahead)
            ),
        ));
        if !sure {
            let why = "events were lost or the hook on accepted resets is not attached";
            let summary = format!(
                "a reset from {source} came close, unknown whether it was accepted, because {why}"
            );
            return (
                Cause::Unknown,
                Confidence::Possible,
                Severity::Fault,
                summary,
            );
        }
        let summary = format!(
            "answered a near miss from {source} with a challenge ACK; the connection lives"
        );
        return (
            Cause::BlindAttempt,
            Confidence::Certain,
            Severity::Noise,
            summary,
        );
    }
    list.push(item("sequence", "outside the window"));
    let summary = format!("ignored a reset from {source} outside the window; the connection lives");
    (
        Cause::BlindAttempt,
        certain_if(sure),
        Severity::Noise,
        summary,
    )
}

fn certain_if(sure: bool) -> Confidence {
    if sure {
        Confidence::Certain
    } else {
        Confidence::Likely
    }
}

/// The answer to a segment without ACK has sequence number 0 and acknowledges it: that segment was a SYN.
fn answers_syn(packet: &Packet) -> bool {
    packet.segment.flags.has(TcpFlags::ACK) && packet.segment.seq == 0
}

fn form(packet: &Packet) -> Evidence {
    let detail = if is_passive_form(packet) {
        "passive form: no window, no options"
    } else {
        "active form: it has a window or options"
    };
    item("form", detail)
}
