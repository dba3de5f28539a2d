//! Records of one reset on this host: sender, hops, receiver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::recent::Recent;
use super::record_fields;
use crate::captured::CapturedReset;
use crate::causes::{definition, of_untranslated_answer, rules};
use crate::correlate::{NamespaceView, ResetGroup, Seen};
use crate::event::{self, BootTime, HostFacts, Packet, ResetReason, SenderSocket, TcpState};
use crate::ownership::{self, ProcessName};
use crate::record::{
    Basis, CapturePoint, Cause, Confidence, Direction, Form, Idle, IdleMode, Kernel, Link,
    LinkRole, Origin, Record, Role, Severity, Vantage, Word,
};
use crate::silence::candidates::ClosingProcess;
use crate::silence::clocks;
use crate::thresholds::IDLE;
use crate::verdict::peer_signs::Bearing;
use crate::verdict::{
    self, AcceptedCase, Arrived, ArrivedCase, CapturedCase, Clocks, Context, ExpiredEntry,
    ForwardedCase, LeftCase, OtherEnd, OwnTimeout, Reason, SentCase, Witness,
};
use crate::words;

/// A record that has no number yet.
pub struct Draft {
    /// When its event happened.
    pub time: BootTime,
    /// The record.
    pub record: Box<Record>,
    /// It shows that an earlier reset of its connection did not come from the peer.
    pub refutes: bool,
    /// It is of a connection that this host had translated.
    pub only_translates: bool,
}

impl Draft {
    fn new(time: BootTime, record: Box<Record>) -> Self {
        Self {
            time,
            record,
            refutes: false,
            only_translates: false,
        }
    }
}

/// Takes the accepted reset out of a chain if none had come: the kernel resets its own socket before it answers
/// data for a closed one.
pub fn drop_echo(chain: &mut ResetGroup) {
    let came = chain
        .parts
        .iter()
        .any(|part| part.first_ingress().is_some() || part.sent.is_some());
    if chain.echo && !came {
        for part in &mut chain.parts {
            part.received = None;
        }
    }
}

/// All records of a chain in event order, their numbers and link ids still to be given.
pub fn records(
    chain: &ResetGroup,
    host: &HostFacts,
    context: &Context,
    recent: &Recent,
    reason: Option<&Reason>,
) -> Vec<Draft> {
    let sender = sending_part(chain);
    let receiver_end = receiving_end(chain);
    let mut drafts = Vec::with_capacity(2);
    let mut sender_end = None;
    if let Some(position) = sender {
        let part = &chain.parts[position];
        let draft = match &part.sent {
            Some(sent) => {
                let end = Sending {
                    receiver: receiver_end.as_ref(),
                    recent,
                    reason,
                };
                from_socket(part, sent, &end, host, context)
            }
            None => from_wire(chain, part, receiver_end.as_ref(), host, context, recent),
        };
        if let Some(draft) = draft {
            sender_end = Some(OtherEnd {
                only_translates: draft.only_translates,
                ..end_of(&draft.record)
            });
            drafts.push(draft);
        }
    }
    for (position, part) in chain.parts.iter().enumerate() {
        let is_sender = sender == Some(position);
        drafts.extend(match &part.received {
            Some(received) => {
                let sender = sender_end.as_ref();
                Some(accepted(part, received, sender, host, context, recent))
            }
            None if !is_sender && passes_on(chain, part) => {
                let ends = (sender_end.as_ref(), receiver_end.as_ref());
                forwarded(part, ends, host, recent)
            }
            None => observed(part, is_sender, sender_end.as_ref(), host, context, recent),
        });
    }
    drafts.sort_by_key(|draft| draft.time);
    drafts
}

/// The part the reset was made in: where the kernel says so, else the first where it left without having come in.
fn sending_part(chain: &ResetGroup) -> Option<usize> {
    let parts = chain.parts.iter();
    parts
        .clone()
        .position(|part| part.sent.is_some())
        .or_else(|| {
            parts
                .enumerate()
                .filter(|(_, part)| part.was_made_here())
                .min_by_key(|(_, part)| part.last_egress().map(|seen| seen.time))
                .map(|(position, _)| position)
        })
}

/// It went through this namespace, seen leaving or accepted in another.
fn passes_on(chain: &ResetGroup, part: &NamespaceView) -> bool {
    let accepted_elsewhere = chain.received().is_some() && part.came_in();
    part.was_forwarded() || accepted_elsewhere || part.was_made_here()
}

/// The accepting process as another end sees it.
fn receiving_end(chain: &ResetGroup) -> Option<OtherEnd> {
    let received = chain.received()?;
    let process = ownership::receiver(&received.event, &received.facts);
    Some(OtherEnd {
        label: process.map_or_else(
            || "a process".to_owned(),
            |(task, ..)| words::name(&task.comm, task.pid),
        ),
        verdict: None,
        only_translates: false,
        closing: ClosingProcess::Unknown,
        timeout: None,
    })
}

/// The sending end as another end sees it.
fn end_of(record: &Record) -> OtherEnd {
    let acted = record
        .process
        .as_ref()
        .filter(|process| record.verdict.cause == Cause::RawSocket || process.role == Role::Closer);
    let label = match (acted, record.verdict.origin) {
        // The kernel answers by itself, whoever had the connection.
        (_, Origin::LocalKernel) => "the kernel".to_owned(),
        (Some(process), _) => ProcessName::from(process).to_string(),
        (None, Origin::LocalFirewall) => "a packet filter".to_owned(),
        (None, Origin::LocalProcess) => "a process".to_owned(),
        (None, Origin::Peer | Origin::Middlebox | Origin::Forwarded | Origin::Unknown) => {
            "something".to_owned()
        }
    };
    let closing = record
        .process
        .as_ref()
        .filter(|it| matches!(it.role, Role::Closer | Role::FormerOwner))
        .map_or(ClosingProcess::Unknown, |it| {
            ClosingProcess::Of(ProcessName::from(it).program)
        });
    OtherEnd {
        label,
        only_translates: false,
        closing,
        verdict: Some(record.verdict.clone()),
        timeout: record
            .idle
            .as_ref()
            .filter(|idle| idle.mode.is_some())
            .map(|idle| {
                // A table forgets; a process closes.
                let settings = idle
                    .candidates
                    .iter()
                    .filter(|it| it.basis == Basis::Host && it.mode == Some(IdleMode::LateRst));
                OwnTimeout {
                    settings: settings.cloned().collect(),
                }
            }),
    }
}

/// What is known at the sending end beyond its event.
struct Sending<'a> {
    receiver: Option<&'a OtherEnd>,
    recent: &'a Recent,
    reason: Option<&'a Reason>,
}

/// The kernel sent it.
fn from_socket(
    part: &NamespaceView,
    seen: &Seen<event::Sent>,
    end: &Sending<'_>,
    host: &HostFacts,
    context: &Context,
) -> Option<Draft> {
    let sent = &seen.event;
    let egress = part.last_egress();
    let time = egress.map_or(seen.time, |egress| egress.time.min(seen.time));
    let time = after_close(sent, time);
    let translated = end.recent.surroundings().translated(part.netns, sent.flow);
    let expired = verdict::expired_entry(sent, time, seen.facts.settings.as_deref(), translated);
    let mut ruling = rules::of_sent(sent);
    // What this host translated was no connection of its own.
    if expired.as_ref().is_some_and(ExpiredEntry::is_certain)
        && ruling.cause == Cause::HalfOpen
        && sent.given_reason().is_some()
    {
        ruling.confidence = Confidence::Certain;
    }
    let attempt = end
        .recent
        .surroundings()
        .attempt(part.netns, sent.flow)
        .cloned();
    let untranslated = attempt
        .as_ref()
        .and_then(|attempt| of_untranslated_answer(ruling, attempt, time));
    ruling = untranslated.unwrap_or(ruling);
    let mut who = ownership::sent(sent, definition(ruling.cause).whose(), &seen.facts);
    if let (Some(_), Some(attempt)) = (untranslated, &attempt) {
        who.process = ownership::attempting(attempt, &seen.facts);
    }
    let process = who.process.as_ref().map(ProcessName::from);
    let quiet = clocks::before_sent(sent, time);
    let mut idle = expired.as_ref().and_then(ExpiredEntry::idle);
    let mut socket = None;
    if let Some(it) = &sent.socket {
        let state = sent.lost_state().unwrap_or(it.state);
        let ownership = sent.ownership.as_ref();
        socket = Some(record_fields::socket(
            it,
            state,
            ownership,
            time,
            &seen.facts,
        ));
        idle = clocks::idle(it, state, quiet.as_ref());
    }
    let serves_one = clocks::serves_one(sent, &seen.facts);
    let mut own_timer = None;
    let mut no_timer = None;
    if let Some(quiet) = quiet {
        let known = idle.get_or_insert_default();
        known.quiet_before = Some(quiet.wire.as_secs_f64());
        let program = process.as_ref().and_then(|process| process.program);
        if quiet.application >= IDLE && end.reason.is_none() && (!sent.ended_by().0 || serves_one) {
            no_timer = end
                .recent
                .no_timer(part.netns, time, sent, &quiet, &seen.facts);
            if no_timer.is_none() {
                own_timer = end
                    .recent
                    .own_timer(part.netns, sent, &quiet, program, &seen.facts);
            }
        }
        if let Some(timer) = &own_timer {
            record_fields::add_own_timer(known, timer);
        }
    }
    let talks_on = end.recent.talks_on(part.netns, sent, time);
    let only_translates = expired.as_ref().is_some_and(ExpiredEntry::is_certain);
    let verdict = SentCase {
        sent: Arc::clone(sent),
        at: time,
        ruling,
        process,
        owner: who.owner.as_ref().map(ProcessName::from),
        receiver: end.receiver.cloned(),
        talks_on,
        passed_on: end.reason.cloned(),
        expired,
        recurrence: end.recent.recurrence(
            part.netns,
            sent.flow.remote.ip(),
            sent.flow.remote.port(),
        ),
        not_seen_on_wire: egress.is_none()
            && context.coverage.packets
            && context.no_packet_missed(),
        own_timer,
        serves_one,
        no_timer,
        together: end
            .recent
            .burst(Some((part.netns, seen.time, sent)), None)
            .map(|(_, together)| together),
        context: *context,
        attempt,
    }
    .verdict();
    let mut record = record_fields::blank(time, Direction::Sent, host, part.netns_inode, verdict);
    record.local = record_fields::endpoint(sent.flow.local);
    record.remote = record_fields::endpoint(sent.flow.remote);
    record.process = who.process;
    record.owner = who.owner.map(Box::new);
    record.socket = socket;
    record.idle = idle;
    record.packet = match egress {
        Some(egress) => Some(record_fields::packet(&egress.event)),
        None => record_fields::determined(sent),
    };
    if let Some(packet) = record.packet.as_mut() {
        // What leaves its own host has passed no router.
        packet.hops = None;
        packet.form = Some(if sent.passive {
            Form::Passive
        } else {
            Form::Active
        });
    }
    record.interface = egress.and_then(|egress| egress.facts.interface.clone());
    record.kernel = Some(Kernel {
        reason: sent.reason.as_ref().map(ResetReason::word),
        state: sent
            .socket
            .as_ref()
            .map(|socket| socket.state)
            .or(sent.minisock)
            .map(|state| Word::new_static(state.name())),
        hook: record_fields::hooks(&[record_fields::hook_of(sent)], part, true),
    });
    record.link = link(LinkRole::Sender);
    Some(Draft {
        refutes: talks_on.is_some(),
        only_translates,
        ..Draft::new(time, record)
    })
}

/// It left, and the kernel's stack says nothing of it: a packet filter, a raw socket, or a lost event.
fn from_wire(
    chain: &ResetGroup,
    part: &NamespaceView,
    receiver: Option<&OtherEnd>,
    host: &HostFacts,
    context: &Context,
    recent: &Recent,
) -> Option<Draft> {
    let egress = part.last_egress()?;
    let packet = &egress.event;
    let raw = part
        .packets
        .iter()
        .find_map(|seen| match &seen.event.sender_socket {
            SenderSocket::Raw { current, .. } => {
                ownership::raw_sender(current.as_ref(), &seen.facts)
            }
            SenderSocket::None | SenderSocket::Some(_) => None,
        });
    // It ended its way on this host, and no socket took it.
    let arrived = chain
        .parts
        .iter()
        .any(|part| part.first_ingress().is_some() && !part.was_forwarded());
    let is_refused = arrived && context.coverage.received && context.no_receiver_missed();
    let accepted = match receiver {
        Some(_) => Some(true),
        None => is_refused.then_some(false),
    };
    let mut case = LeftCase {
        packet: Arc::clone(packet),
        raw_sender: raw.as_ref().map(ProcessName::from),
        receiver: receiver.cloned(),
        accepted,
        expired: None,
        way: recent.surroundings().way(part.netns).cloned(),
        context: *context,
    };
    if case.cause() == Cause::FirewallReject {
        let settings = egress.facts.settings.as_deref();
        let flow = event::Flow {
            local: packet.source,
            remote: packet.destination,
        };
        let translated = recent.surroundings().translated(part.netns, flow);
        case.expired = verdict::expired_entry_of_filter(packet, egress.time, settings, translated);
    }
    let idle = case.expired.as_ref().and_then(ExpiredEntry::idle);
    let verdict = case.verdict();
    let mut record = record_fields::blank(
        egress.time,
        Direction::Sent,
        host,
        part.netns_inode,
        verdict,
    );
    record.local = record_fields::endpoint(packet.source);
    record.remote = record_fields::endpoint(packet.destination);
    record.process = raw;
    record.idle = idle;
    record.packet = Some(record_fields::packet(packet)).map(|packet| crate::record::Packet {
        hops: None,
        ..packet
    });
    record.interface = egress.facts.interface.clone();
    record.kernel = Some(record_fields::seen_only(part, true));
    record.link = link(LinkRole::Sender);
    Some(Draft::new(egress.time, record))
}

/// A socket here took it.
fn accepted(
    part: &NamespaceView,
    seen: &Seen<event::Received>,
    sender: Option<&OtherEnd>,
    host: &HostFacts,
    context: &Context,
    recent: &Recent,
) -> Draft {
    let received = &seen.event;
    let socket = &received.socket;
    let ingress = part.first_ingress();
    let time = ingress.map_or(seen.time, |ingress| ingress.time.min(seen.time));
    let arrived = ingress
        .map(|ingress| Arrived::seen(&ingress.event))
        .or_else(|| Arrived::by_tcp_reset(received));
    let closing = sender.map_or(ClosingProcess::Unknown, |sender| sender.closing);
    let around = recent.around(part.netns, received, arrived.as_ref(), closing, seen.time);
    let idle = clocks::idle(socket, socket.state, around.quiet.as_ref());
    let process = ownership::received(received, &seen.facts);
    let verdict = AcceptedCase {
        received: Arc::clone(received),
        at: time,
        arrived: arrived.clone(),
        clocks: idle.as_ref().map(clocks_of),
        sender: sender.cloned(),
        process: process.as_ref().map(ProcessName::from),
        keepalive: Some(record_fields::keepalive(socket, &seen.facts)),
        around: around.clone(),
        witness: Witness::Kernel,
        context: *context,
        severity: Severity::Fault,
        bearing: Bearing::default(),
        timeout: None,
        class: None,
    }
    .weighed()
    .verdict();
    let mut idle = idle.map(|idle| record_fields::with_timeout(idle, &around, verdict.cause));
    // A device between the ends is on this host, too, and has said what its timeout is.
    if verdict.cause == Cause::IdleTimeout
        && let Some(own) = sender.and_then(|sender| sender.timeout.as_ref())
        && let Some(idle) = &mut idle
        && idle.candidates.iter().all(|it| it.basis == Basis::Known)
    {
        idle.candidates.extend_from_slice(&own.settings);
    }
    let mut record =
        record_fields::blank(time, Direction::Received, host, part.netns_inode, verdict);
    record.local = record_fields::endpoint(received.flow.local);
    record.remote = record_fields::endpoint(received.flow.remote);
    record.process = process;
    record.socket = Some(record_fields::socket(
        socket,
        socket.state,
        received.ownership.as_ref(),
        time,
        &seen.facts,
    ));
    record.idle = idle;
    record.packet = arrived.as_ref().map(record_fields::arrived);
    record.interface = ingress
        .map_or(&seen.facts, |ingress| &ingress.facts)
        .interface
        .clone();
    let mut hooks = vec!["tcp:tcp_receive_reset"];
    if received.segment.is_some() {
        hooks.push("function:tcp_reset");
    }
    record.kernel = Some(Kernel {
        reason: None,
        state: Some(Word::new_static(socket.state.name())),
        hook: record_fields::hooks(&hooks, part, false),
    });
    record.link = link(LinkRole::Receiver);
    Draft::new(time, record)
}

/// When a reset counts as sent. The kernel marks a socket as closed before it sends the reset of the close, and may answer a
/// segment in between: that answer is put behind the close.
fn after_close(sent: &event::Sent, time: BootTime) -> BootTime {
    const BETWEEN: Duration = Duration::from_micros(100);
    let former = sent.former_connection.as_ref().filter(|_| sent.passive);
    let overtakes = former.is_some_and(|former| {
        former.error == 0
            && former.ownership.closer.is_some()
            && matches!(
                former.last_state,
                TcpState::Established | TcpState::CloseWait
            )
            && time.since(former.died) <= BETWEEN
    });
    if overtakes { time.plus(BETWEEN) } else { time }
}

/// It went on from here.
fn forwarded(
    part: &NamespaceView,
    (sender, receiver): (Option<&OtherEnd>, Option<&OtherEnd>),
    host: &HostFacts,
    recent: &Recent,
) -> Option<Draft> {
    let ingress = part.first_ingress();
    let leaving = part.last_egress().or(ingress)?;
    let time = ingress.map_or(leaving.time, |ingress| ingress.time.min(leaving.time));
    let packet = &leaving.event;
    let expired = ingress.and_then(|ingress| {
        let settings = leaving.facts.settings.as_deref();
        let flow = event::Flow {
            local: packet.source,
            remote: packet.destination,
        };
        let translated = recent.surroundings().translated(part.netns, flow);
        let (came, time) = (&ingress.event, leaving.time);
        verdict::expired_entry_of_transit(came, packet, time, settings, translated)
    });
    let idle = expired.as_ref().and_then(ExpiredEntry::idle);
    let verdict = ForwardedCase {
        packet: Arc::clone(packet),
        translated: ingress.and_then(|ingress| translation(&ingress.event, packet)),
        sender: sender.cloned(),
        receiver: receiver.cloned(),
        expired,
    }
    .verdict();
    let mut record =
        record_fields::blank(time, Direction::Forwarded, host, part.netns_inode, verdict);
    record.idle = idle;
    record.local = record_fields::endpoint(packet.source);
    record.remote = record_fields::endpoint(packet.destination);
    record.packet = Some(record_fields::packet(packet));
    record.interface = leaving.facts.interface.clone();
    record.kernel = Some(record_fields::seen_only(part, true));
    record.link = link(LinkRole::Forwarder);
    Some(Draft::new(time, record))
}

/// It came in and nobody took it. A reset of this very namespace comes in only by loopback.
fn observed(
    part: &NamespaceView,
    is_sender: bool,
    sender: Option<&OtherEnd>,
    host: &HostFacts,
    context: &Context,
    recent: &Recent,
) -> Option<Draft> {
    let ingress = part
        .first_ingress()
        .filter(|seen| !is_sender || seen.event.loopback)?;
    let packet = &ingress.event;
    let flow = event::Flow {
        local: packet.destination,
        remote: packet.source,
    };
    let other = recent.other_reset(part.netns, flow, ingress.time);
    let verdict = ArrivedCase {
        packet: Arc::clone(packet),
        sender: sender.cloned(),
        recurrence: recent.recurrence(part.netns, flow.remote.ip(), flow.local.port()),
        closed_here: recent.is_closed(part.netns, flow, ingress.time),
        other,
        context: *context,
    }
    .verdict();
    let mut record = record_fields::blank(
        ingress.time,
        Direction::Observed,
        host,
        part.netns_inode,
        verdict,
    );
    record.local = record_fields::endpoint(packet.destination);
    record.remote = record_fields::endpoint(packet.source);
    record.packet = Some(record_fields::packet(packet));
    record.interface = ingress.facts.interface.clone();
    record.kernel = Some(record_fields::seen_only(part, false));
    record.link = link(LinkRole::Receiver);
    Some(Draft::new(ingress.time, record))
}

/// A packet capture holds it.
pub fn captured(
    captured: CapturedReset,
    file: &Word,
    host: &HostFacts,
    context: &Context,
    recent: &Recent,
) -> Box<Record> {
    let packet = Arc::clone(&captured.packet);
    let around = recent.around_captured(&captured);
    let idle = captured.received.as_ref().and_then(|received| {
        clocks::idle(
            &received.socket,
            received.socket.state,
            around.quiet.as_ref(),
        )
    });
    let (source, destination) = (
        record_fields::endpoint(packet.source),
        record_fields::endpoint(packet.destination),
    );
    let (direction, local, remote) = match captured.vantage {
        Some(Vantage::Source | Vantage::Both) => (Direction::Sent, source, destination),
        Some(Vantage::Destination) if captured.is_expected() => {
            (Direction::Received, destination, source)
        }
        Some(Vantage::Destination) => (Direction::Observed, destination, source),
        Some(Vantage::Between) | None => (Direction::Observed, source, destination),
    };
    let place = CapturePoint {
        file: file.clone(),
        frame: captured.frame,
        vantage: captured.vantage,
    };
    let (time, usual_ttl) = (captured.time, captured.usual_ttl);
    let clocks = idle.as_ref().map(clocks_of);
    let verdict = CapturedCase::new(captured, around.clone(), clocks, *context).verdict();
    let mut record = record_fields::blank(time, direction, host, None, verdict);
    (record.local, record.remote) = (local, remote);
    record.idle = idle.map(|idle| record_fields::with_timeout(idle, &around, record.verdict.cause));
    record.packet = Some(crate::record::Packet {
        expected_ttl: usual_ttl.or(packet.baseline.map(|baseline| baseline.ttl)),
        ..record_fields::packet(&packet)
    });
    record.capture = Some(Box::new(place));
    record
}

/// Source and destination it came in with, where they differ from those it left with.
fn translation(came: &Packet, left: &Packet) -> Option<(SocketAddr, SocketAddr)> {
    let same = came.source == left.source && came.destination == left.destination;
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    (!same).then(|| (plain(came.source), plain(came.destination)))
}

/// The clocks that a sentence mentions.
fn clocks_of(idle: &Idle) -> Clocks {
    Clocks {
        quiet_before: idle.quiet_before,
        reset_after_send: idle.reset_after_send,
    }
}

/// The id is given once the chain's first record has its number.
fn link(role: LinkRole) -> Option<Link> {
    Some(Link { id: 0, role })
}
