//! A reset in a packet capture: what do the segments before and after it say?
//!
//! Seen from the end that got it, a captured reset is judged as a traced one is. What only the kernel of the end that sent it
//! could tell (unread data, SO_LINGER, a packet filter) a capture does not show, so such causes are not named.

use super::{
    Accepted, Around, Arrived, Context, Side, Witness, at_most, evidence, explain, item, nearer,
    origin_of, received, words,
};
use std::time::Duration;

use crate::captured::{Captured, Placed};
use crate::event::{Received, Segment, TcpFlags, TcpState};
use crate::idle::clocks::LEAST;
use crate::join::{is_in_window, is_passive_form};
use crate::record::{Cause, Confidence, Evidence, Idle, Origin, Severity, Vantage, Verdict};

/// Judges it. `idle` are the clocks of the end that got it.
pub fn captured(
    captured: &Captured,
    around: &Around,
    idle: Option<&Idle>,
    context: &Context<'_>,
) -> Verdict {
    let mut verdict = match &captured.received {
        None => alone(captured),
        Some(end) if !captured.is_expected() => missed(captured, end),
        Some(_) if captured.was_ended_by_it() => once_more(captured),
        Some(_) if is_put_in_here(captured) => by_this_box(captured),
        Some(_) if is_seen_once_only(captured) => seen_once(captured),
        Some(_) if was_sent_here(captured) && !is_made_here(captured) => unlike_this_host(captured),
        Some(end) if end.socket.state == TcpState::SynSent => refused(captured, around),
        Some(_) if is_one_of_a_pair(captured) => one_of_a_pair(captured),
        Some(_) if is_made_here(captured) => by_this_host(captured),
        Some(end) => by_the_other_end(captured, end, around, idle, context),
    };
    if let Some(after) = captured
        .lives_on
        .filter(|_| verdict.severity == Severity::Fault)
    {
        verdict.evidence.push(item(
            "receiver_talks_on",
            format!(
                "{} later {} sent data on this connection: the reset had not reached it, or not ended it",
                words::span(after),
                captured.packet.destination
            ),
        ));
        verdict.confidence = at_most(verdict.confidence, Confidence::Possible);
    }
    verdict.evidence.push(place(captured));
    verdict
}

/// Whose write is "ours": that of the capturing host, if it got the reset.
pub fn side(captured: &Captured) -> Side {
    match captured.vantage {
        Some(Vantage::Destination | Vantage::Both) => Side::Ours,
        Some(Vantage::Source | Vantage::Between) | None => Side::Theirs,
    }
}

/// It left the capturing host, and nothing speaks against it that this host made it.
fn is_made_here(captured: &Captured) -> bool {
    let here = matches!(captured.vantage, Some(Vantage::Source | Vantage::Both));
    let is_usual = captured
        .usual_ttl
        .is_none_or(|usual| nearer::weigh_ttl(captured.packet.segment.ttl, usual) <= 0);
    here && is_usual && captured.talks_on.is_none()
}

/// The capturing host has the address it came from, and sent it out.
fn was_sent_here(captured: &Captured) -> bool {
    let here = matches!(captured.vantage, Some(Vantage::Source | Vantage::Both));
    let is_known = match captured.placed {
        Placed::Told => true,
        Placed::Way => captured.sender.left_only,
        Placed::Ttl => false,
    };
    here && is_known
}

/// It looks like the capturing host's by its TTL alone, and another reset went the other way at the same moment: no end
/// answers a reset (RFC 9293 section 3.10.7), but a box on the link resets both.
fn is_one_of_a_pair(captured: &Captured) -> bool {
    captured.placed == Placed::Ttl
        && is_made_here(captured)
        && is_answer(captured).is_none()
        && captured
            .other_way
            .is_some_and(|apart| apart <= nearer::AT_ONCE)
}

fn one_of_a_pair(captured: &Captured) -> Verdict {
    let apart = captured.other_way.unwrap_or_default();
    let mut list = vec![
        shape(captured),
        item(
            "both_ways",
            format!(
                "a reset went the other way within {}, and no end answers a reset with one",
                words::span(apart)
            ),
        ),
    ];
    list.extend(evidence::ttl(&captured.packet));
    unknown(
        captured,
        Severity::Fault,
        list,
        "both ends were reset at the same moment: something on the link may have made both",
    )
}

/// The capture shows everything of its source before and after a router, but this only once.
fn is_seen_once_only(captured: &Captured) -> bool {
    captured.placed == Placed::Ttl
        && captured.sender.passes
        && !captured.seen_again
        && captured.talks_on.is_none()
        && captured
            .received
            .as_ref()
            .is_some_and(|end| end.socket.state.is_synchronized())
}

fn seen_once(captured: &Captured) -> Verdict {
    let mut list = vec![
        shape(captured),
        item(
            "seen_once",
            "its source's other segments were seen twice, before and after a router, but this one was not",
        ),
    ];
    list.extend(evidence::ttl(&captured.packet));
    unknown(
        captured,
        Severity::Fault,
        list,
        "it was seen on one side of a router only: that router may have made it, or not have passed it on",
    )
}

/// It left the capturing host, which did not get it from elsewhere though it only passes on what its source sends.
fn is_put_in_here(captured: &Captured) -> bool {
    // What is translated here never comes in under the addresses that it leaves with.
    let is_unlike = || {
        captured
            .usual_ttl
            .is_none_or(|usual| nearer::weigh_ttl(captured.packet.segment.ttl, usual) > 0)
    };
    captured.placed == Placed::Way
        && captured.vantage == Some(Vantage::Between)
        && captured.sender.left_only
        && !captured.sender.is_translated
        && (captured.sender.comes_in || is_unlike())
}

/// It has the shape and the numbers of an answer to a segment that came just before it.
fn is_answer(captured: &Captured) -> Option<Segment> {
    if !has_form_of_answer(captured) {
        return None;
    }
    let (cause, after) = captured.sender.answers?;
    let on_its_way = captured.round_trip.unwrap_or_default();
    (after <= LONGEST_ANSWER.saturating_add(on_its_way)).then_some(cause)
}

/// Kernels answer at once, busy ones a little later.
const LONGEST_ANSWER: Duration = Duration::from_millis(20);

/// An answer acknowledges only where it has no number of its own (RFC 9293 section 3.10.7.1): else a window may just be shut.
fn has_form_of_answer(captured: &Captured) -> bool {
    let segment = &captured.packet.segment;
    is_passive_form(&captured.packet) && (!segment.flags.has(TcpFlags::ACK) || segment.seq == 0)
}

/// Nothing else of the connection was captured.
fn alone(captured: &Captured) -> Verdict {
    let packet = &captured.packet;
    let segment = &packet.segment;
    // Only what does not acknowledge is answered with the number 0: a SYN.
    let answers_syn = has_form_of_answer(captured) && segment.flags.has(TcpFlags::ACK);
    let (severity, what) = if answers_syn {
        (
            Severity::Refused,
            format!("a connect to {} was turned away", packet.source),
        )
    } else {
        (
            Severity::Fault,
            format!("a reset in the name of {}", packet.source),
        )
    };
    verdict(
        Origin::Unknown,
        Cause::Unknown,
        severity,
        Confidence::Possible,
        format!(
            "{what}, unknown why, because the capture holds nothing else of this connection"
        ),
        vec![shape(captured)],
        vec![
            "capture whole connections (`tcpdump -s 128 tcp and host ADDRESS`), from before the silence on"
                .into(),
        ],
    )
}

/// A connect was turned away.
fn refused(captured: &Captured, around: &Around) -> Verdict {
    let packet = &captured.packet;
    let port = packet.source.port();
    let mut list = vec![shape(captured)];
    if is_made_here(captured) {
        list.push(item(
            "look_alikes",
            "the kernel's answer and that of a packet filter of this host look the same in a capture",
        ));
        return verdict(
            origin_of(Cause::PortClosed),
            Cause::PortClosed,
            Severity::Refused,
            Confidence::Possible,
            format!(
                "{} turned a connect to port {port} away: nobody listens there, or its packet filter rejects",
                packet.source.ip()
            ),
            list,
            vec!["see on that host whether anybody listens: `ss -ltn`; rsttrace there tells which it is".into()],
        );
    }
    // A packet filter on the way may reject, too; one that is nearer shows by its TTL.
    let mut confidence = Confidence::Likely;
    if let Some(usual) = around.peer_ttl {
        let seen = packet.segment.ttl;
        list.push(item(
            "ttl",
            format!("TTL {seen}, the peer's other connections had {usual}"),
        ));
        confidence = match nearer::weigh_ttl(seen, usual) {
            weight if weight > 0 => Confidence::Possible,
            weight if weight < 0 => Confidence::Certain,
            _ => Confidence::Likely,
        };
    }
    verdict(
        Origin::Peer,
        Cause::ConnectionRefused,
        Severity::Refused,
        confidence,
        explain::refused(packet.source, false),
        list,
        Vec::new(),
    )
}

/// A reset of a connection that had been reset just before.
fn once_more(captured: &Captured) -> Verdict {
    let packet = &captured.packet;
    let (_, before) = captured.ended_before.unwrap_or_default();
    let mut list = vec![
        shape(captured),
        item(
            "ended",
            format!(
                "a reset in its name had ended the connection {} before",
                words::span(before)
            ),
        ),
    ];
    list.extend(evidence::ttl(packet));
    let weight = captured
        .usual_ttl
        .map_or(0, |usual| nearer::weigh_ttl(packet.segment.ttl, usual));
    // Nobody but its own kernel has a reason to answer what is still on its way. Whoever guesses numbers sends several, too.
    let answers = has_form_of_answer(captured);
    let (origin, cause, confidence) = if weight > 0 || !answers {
        (Origin::Unknown, Cause::Unknown, Confidence::Possible)
    } else if is_made_here(captured) {
        (
            Origin::LocalKernel,
            Cause::ResetByPeer,
            Confidence::Possible,
        )
    } else if weight < 0 {
        (Origin::Peer, Cause::ResetByPeer, Confidence::Likely)
    } else {
        (Origin::Peer, Cause::ResetByPeer, Confidence::Possible)
    };
    verdict(
        origin,
        cause,
        Severity::Noise,
        confidence,
        format!(
            "one more reset in the name of {} for a connection that one had ended",
            packet.source
        ),
        list,
        Vec::new(),
    )
}

/// Its numbers are not those that were expected.
fn missed(captured: &Captured, end: &Received) -> Verdict {
    let packet = &captured.packet;
    let segment = &packet.segment;
    let next = captured.expected.unwrap_or_default();
    let mut list = vec![shape(captured)];
    if captured.was_ended_by_it() {
        return once_more(captured);
    }
    if end.socket.state == TcpState::SynSent {
        list.push(item("sequence", "it does not acknowledge the SYN"));
    } else {
        let distance = i64::from(segment.seq.wrapping_sub(next) as i32);
        list.push(item(
            "sequence",
            format!("its number is {distance} from the one expected next"),
        ));
    }
    list.extend(evidence::ttl(packet));
    let in_window = is_in_window(next, end.socket.rcv_wnd, segment.seq);
    if captured.challenged {
        list.push(item(
            "challenged",
            "the end it went to answered with an acknowledgement, as RFC 5961 asks",
        ));
    }
    let lives = captured
        .lives_on
        .or(captured.talks_on.map(|talks| talks.after));
    if let Some(after) = lives {
        list.push(item(
            "lives_on",
            format!("the connection went on {} later", words::span(after)),
        ));
    }
    let other_ttl = captured
        .usual_ttl
        .is_some_and(|usual| nearer::weigh_ttl(segment.ttl, usual) > 0);
    match (lives, other_ttl) {
        (Some(_), true) => verdict(
            Origin::Middlebox,
            Cause::BlindAttempt,
            Severity::Noise,
            Confidence::Likely,
            format!(
                "a reset in the name of {} missed: the connection lives",
                packet.source
            ),
            list,
            Vec::new(),
        ),
        (Some(_), false) => verdict(
            Origin::Unknown,
            Cause::BlindAttempt,
            Severity::Noise,
            Confidence::Possible,
            format!(
                "a reset from {} missed: the connection lives",
                packet.source
            ),
            list,
            Vec::new(),
        ),
        // The data before it may have been lost, by the network or by the capture.
        (None, _) if in_window && !captured.challenged => verdict(
            Origin::Unknown,
            Cause::Unknown,
            Severity::Fault,
            Confidence::Possible,
            format!(
                "a reset from {} beyond what the capture holds; nothing followed, so it may have ended the connection",
                packet.source
            ),
            list,
            Vec::new(),
        ),
        (None, _) => verdict(
            Origin::Unknown,
            Cause::Unknown,
            Severity::Noise,
            Confidence::Possible,
            format!(
                "a reset from {} with a number that was not expected; whether it ended the connection is not known",
                packet.source
            ),
            list,
            Vec::new(),
        ),
    }
}

/// The capturing host passes on what this source sends, but made this reset itself.
fn by_this_box(captured: &Captured) -> Verdict {
    let packet = &captured.packet;
    let (me, peer) = (packet.source, packet.destination);
    let mut list = vec![
        shape(captured),
        item(
            "put_in_here",
            format!(
                "this host passes on what {me} sends, and sent this reset without having got it"
            ),
        ),
    ];
    if let Some(usual) = captured
        .usual_ttl
        .filter(|usual| *usual != packet.segment.ttl)
    {
        list.push(item(
            "ttl",
            format!(
                "TTL {}, but {usual} in what it passes on",
                packet.segment.ttl
            ),
        ));
    }
    let Some(cause) = is_answer(captured) else {
        return verdict(
            Origin::Unknown,
            Cause::Unknown,
            Severity::Fault,
            Confidence::Possible,
            format!(
                "the capturing host itself reset the connection in the name of {me}: a process with a raw socket or a packet filter; which, a capture does not show"
            ),
            list,
            vec!["run rsttrace on the capturing host".into()],
        );
    };
    list.push(item(
        "segment",
        format!("it answers {}", evidence::headers(&cause)),
    ));
    let severity = if cause.flags.has(TcpFlags::SYN) {
        Severity::Refused
    } else {
        Severity::Fault
    };
    // A kernel answers for its own addresses only, and for those that it translates.
    let (origin, cause, why) = if captured.sender.comes_in {
        (
            Origin::LocalFirewall,
            Cause::FirewallReject,
            "its packet filter rejects, or a process of it writes segments of its own",
        )
    } else {
        (
            Origin::LocalKernel,
            Cause::HalfOpen,
            "it does not know the connection (any more), for instance after a timeout of its address translation, or its packet filter rejects",
        )
    };
    verdict(
        origin,
        cause,
        severity,
        Confidence::Possible,
        format!("the capturing host itself answered {peer} in the name of {me}: {why}"),
        list,
        vec![
            "run rsttrace on the capturing host: it tells its kernel from its packet filter".into(),
        ],
    )
}

/// The capturing host sent it in its own name, but not as it sends other segments of this connection.
fn unlike_this_host(captured: &Captured) -> Verdict {
    let packet = &captured.packet;
    let mut list = vec![shape(captured)];
    list.extend(evidence::ttl(packet));
    let severity = match captured.talks_on {
        Some(talks) => {
            list.push(item(
                "talks_on",
                format!(
                    "{} later {} spoke on this connection as if nothing had happened",
                    words::span(talks.after),
                    packet.source
                ),
            ));
            Severity::Noise
        }
        None => Severity::Fault,
    };
    unknown(
        captured,
        severity,
        list,
        "its own stack does not look like that: a process with a raw socket, or its packet filter",
    )
}

/// The capturing host sent it: by which of its parts?
fn by_this_host(captured: &Captured) -> Verdict {
    let packet = &captured.packet;
    let mut list = vec![shape(captured)];
    list.extend(evidence::ttl(packet));
    if has_form_of_answer(captured) {
        answer_of_this_host(captured, list)
    } else {
        reset_of_this_host(captured, list)
    }
}

/// It has the form of an answer.
fn answer_of_this_host(captured: &Captured, mut list: Vec<Evidence>) -> Verdict {
    let sender = &captured.sender;
    let packet = &captured.packet;
    let (me, peer) = (packet.source, packet.destination);
    let Some(cause) = is_answer(captured) else {
        list.push(item(
            "nothing_to_answer",
            "it has the form of an answer, but no segment with the numbers of one to it came just before it",
        ));
        return unknown(
            captured,
            cost(captured),
            list,
            "no segment just before it fits its numbers: a process with a raw socket, for instance, or a segment that was not captured",
        );
    };
    list.push(item(
        "segment",
        format!("it answers {}", evidence::headers(&cause)),
    ));
    let lost_data = if cause.payload_len > 0 {
        Severity::Fault
    } else {
        Severity::Noise
    };
    if sender.connects_anew {
        return verdict(
            origin_of(Cause::BadHandshake),
            Cause::BadHandshake,
            Severity::Refused,
            Confidence::Likely,
            format!(
                "{me} connects anew with addresses and ports for which {peer} still has an older connection, and resets that one"
            ),
            list,
            Vec::new(),
        );
    }
    if let Some(finished) = sender.finished {
        return verdict(
            origin_of(Cause::DataAfterClose),
            Cause::DataAfterClose,
            lost_data,
            Confidence::Likely,
            format!(
                "{peer} sent {} {} after {me} had closed",
                sent(&cause),
                words::span(finished)
            ),
            list,
            Vec::new(),
        );
    }
    list.push(item(
        "look_alikes",
        "the kernel's answer for a connection it does not have and that of a packet filter of this host look the same in a capture",
    ));
    if cause.flags.has(TcpFlags::SYN | TcpFlags::ACK) {
        return verdict(
            origin_of(Cause::LateSynack),
            Cause::LateSynack,
            Severity::Noise,
            Confidence::Possible,
            format!(
                "{peer} answered a connect that {} does not wait for (any more): given up, or a scan, or its packet filter rejects",
                me.ip()
            ),
            list,
            Vec::new(),
        );
    }
    let Some(silent) = sender.silent else {
        return unknown(
            captured,
            lost_data,
            list,
            "nothing else of it was captured on this connection: its kernel does not know the connection, or its packet filter rejects",
        );
    };
    let silence = sender.quiet.filter(|quiet| *quiet >= LEAST);
    let after_silence = silence.map_or_else(String::new, |quiet| {
        format!(" after {} without data", words::silence(quiet))
    });
    if silent >= LEAST {
        return verdict(
            origin_of(Cause::HalfOpen),
            Cause::HalfOpen,
            lost_data,
            Confidence::Possible,
            format!(
                "{peer} spoke on a connection that {} does not have any more, or that its packet filter rejects{after_silence}",
                me.ip()
            ),
            list,
            Vec::new(),
        );
    }
    if sender.has_said_nothing {
        return unknown(
            captured,
            Severity::Refused,
            list,
            "it had said nothing on the connection but its part of the handshake: nobody may have accepted it (a full accept queue, tcp_abort_on_overflow), or its packet filter rejects",
        );
    }
    unknown(
        captured,
        lost_data,
        list,
        "it had spoken on the connection just before: its socket may be gone since, or its packet filter may have begun to reject",
    )
}

/// It has the form of a reset by an end that has the connection.
fn reset_of_this_host(captured: &Captured, mut list: Vec<Evidence>) -> Verdict {
    let sender = &captured.sender;
    let packet = &captured.packet;
    let (me, peer) = (packet.source, packet.destination);
    let severity = cost(captured);
    let silence = sender.quiet.filter(|quiet| *quiet >= LEAST);
    let silent = silence.map_or_else(String::new, |quiet| {
        format!(" after {} without data", words::silence(quiet))
    });
    let since_probe = sender.probed.unwrap_or_default();
    let is_unanswered = since_probe >= LEAST
        && captured
            .onward_trip
            .is_none_or(|trip| since_probe > trip.saturating_mul(8));
    if sender.probes >= LEAST_PROBES || (sender.probes > 0 && is_unanswered) {
        let probing = sender.probing.unwrap_or_default();
        let probes = words::things(sender.probes, "keepalive probe");
        list.push(item(
            "probes",
            format!("{probes} within {} had no answer", words::span(probing)),
        ));
        let confidence = if sender.probes >= LEAST_PROBES {
            Confidence::Likely
        } else {
            list.push(item(
                "look_alikes",
                "an application that closes with a reset just then would look the same in a capture",
            ));
            Confidence::Possible
        };
        return verdict(
            origin_of(Cause::KeepaliveTimeout),
            Cause::KeepaliveTimeout,
            severity,
            confidence,
            format!(
                "{peer} did not answer {probes} of {me}, the last one {} before",
                words::span(since_probe)
            ),
            list,
            Vec::new(),
        );
    }
    list.push(item(
        "look_alikes",
        "an active reset: close() with unread data, SO_LINGER {1, 0}, a kill and `ss -K` look the same in a capture",
    ));
    if sender.finished.is_some() {
        return unknown(
            captured,
            severity,
            list,
            "it had closed its side before, and what became of the socket since a capture does not show",
        );
    }
    if sender.unanswered > 0 {
        list.push(item(
            "unanswered",
            format!(
                "{} of the other end's had not been answered: unread data is plausible",
                words::bytes(sender.unanswered)
            ),
        ));
    }
    let unanswered = if sender.unanswered > 0 {
        format!(
            ", {} from {peer} unanswered",
            words::bytes(sender.unanswered)
        )
    } else {
        String::new()
    };
    verdict(
        Origin::LocalProcess,
        Cause::Unknown,
        severity,
        Confidence::Likely,
        format!(
            "the application at {me} ended the connection with a reset{silent}{unanswered}; how, a capture does not show"
        ),
        list,
        vec!["run rsttrace on that host: it names the process and how it closed".into()],
    )
}

/// An exchange was over where the other end had said all, and had been answered: then nothing is lost.
fn cost(captured: &Captured) -> Severity {
    let sender = &captured.sender;
    if sender.peer_finished && sender.outstanding == 0 {
        Severity::Noise
    } else {
        Severity::Fault
    }
}

/// Fewer may be on their way.
const LEAST_PROBES: u8 = 2;

fn unknown(captured: &Captured, severity: Severity, evidence: Vec<Evidence>, why: &str) -> Verdict {
    verdict(
        Origin::Unknown,
        Cause::Unknown,
        severity,
        Confidence::Possible,
        format!(
            "{} sent a reset, unknown why, because {why}",
            captured.packet.source
        ),
        evidence,
        vec!["run rsttrace on that host: its kernel tells the reason".into()],
    )
}

/// Seen from the end that got it.
fn by_the_other_end(
    captured: &Captured,
    end: &Received,
    around: &Around,
    idle: Option<&Idle>,
    context: &Context<'_>,
) -> Verdict {
    let arrived = Arrived::seen(&captured.packet);
    let mut verdict = received(
        &Accepted {
            received: end,
            at: captured.time,
            arrived: Some(&arrived),
            idle,
            sender: None,
            process: None,
            keepalive: None,
            around,
            witness: Witness::Capture,
        },
        context,
    );
    let is_timeout_of_peer = verdict.origin == Origin::Peer && verdict.cause == Cause::IdleTimeout;
    if is_timeout_of_peer && nearer::weigh(end, &arrived, around, captured.time).is_doubtful() {
        // That it was a timeout is one thing, whose it was another.
        verdict.confidence = at_most(verdict.confidence, Confidence::Possible);
    }
    if matches!(captured.vantage, Some(Vantage::Source)) {
        // It carries this host's address, but this host did not make it like its other segments.
        verdict.confidence = at_most(verdict.confidence, Confidence::Likely);
    }
    verdict
}

/// What the segment looks like.
fn shape(captured: &Captured) -> Evidence {
    let packet = &captured.packet;
    let what = if is_passive_form(packet) {
        "the form of an answer: no window, no options"
    } else {
        "the form of a reset by an end that has the connection: a window or options"
    };
    item("form", what)
}

/// Where it is in the capture, and where that was made.
fn place(captured: &Captured) -> Evidence {
    let (source, destination) = (
        captured.packet.source.ip(),
        captured.packet.destination.ip(),
    );
    let place = match captured.vantage {
        Some(Vantage::Source) if captured.placed == Placed::Ttl => {
            format!("by the TTLs the capture was made at {source} or on its link")
        }
        Some(Vantage::Destination) if captured.placed == Placed::Ttl => {
            format!("by the TTLs the capture was made at {destination} or on its link")
        }
        Some(Vantage::Source) => format!("the capture was made at {source}"),
        Some(Vantage::Destination) => format!("the capture was made at {destination}"),
        Some(Vantage::Both) => "both ends are on the capturing host".to_owned(),
        Some(Vantage::Between) => {
            format!("the capture was made between {source} and {destination}")
        }
        None => "nothing tells at which end the capture was made (--local names its addresses)"
            .to_owned(),
    };
    item("captured", format!("frame {}; {place}", captured.frame))
}

/// `5 bytes`, `a segment`.
fn sent(segment: &Segment) -> String {
    match segment.payload_len {
        0 => "a segment".to_owned(),
        bytes => words::bytes(bytes),
    }
}

fn verdict(
    origin: Origin,
    cause: Cause,
    severity: Severity,
    confidence: Confidence,
    summary: String,
    evidence: Vec<Evidence>,
    advice: Vec<crate::record::Sentence>,
) -> Verdict {
    Verdict {
        origin,
        cause,
        severity,
        confidence,
        summary,
        evidence,
        advice,
    }
}
