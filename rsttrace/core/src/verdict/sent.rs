//! Resets sent by the TCP stack of this host.

use std::sync::Arc;
use std::time::Duration;

use super::advice::{self, Race, Shape, Situation};
use super::{
    Context, ExpiredEntry, Judgement, Likeness, NoTimer, OtherEnd, OtherEnding, OwnTimer, Reason,
    Together, at_most, headers,
};
use crate::causes::{definition, rules::Ruling};
use crate::classes::{self, Recurrence};
use crate::event::{Attempt, BootTime, Segment, Sent, TcpFlags, TcpState};
use crate::ownership::{self, ProcessName};
use crate::record::{
    Basis, Cause, Class, Confidence, Evidence, EvidenceKind, Explanation, Role, Sentence, Severity,
    Verdict,
};
use crate::silence::clocks;
use crate::thresholds::IDLE;
use crate::words::{self, span};

/// What its verdict rests on.
#[derive(Debug)]
pub struct SentCase {
    /// The event.
    pub sent: Arc<Sent>,
    /// When it was sent.
    pub at: BootTime,
    /// What the rules say.
    pub ruling: Ruling,
    /// Who did it or had the connection.
    pub process: Option<ProcessName>,
    /// Who had the connection, where that is another process.
    pub owner: Option<ProcessName>,
    /// The end on this host that received it.
    pub receiver: Option<OtherEnd>,
    /// How long before the peer's segment a reset with the peer's address had ended the connection.
    pub talks_on: Option<Duration>,
    /// It was propagated from another leg of a proxy.
    pub passed_on: Option<Reason>,
    /// This host had forwarded the connection, and its entry has expired.
    pub expired: Option<ExpiredEntry>,
    /// It answers a SYN-ACK that belongs to this attempt to another address.
    pub attempt: Option<Attempt>,
    /// No traced interface saw it leave, though none was missed.
    pub not_seen_on_wire: bool,
    /// What the other end does again and again.
    pub recurrence: Recurrence,
    /// It closed after a silence, perhaps at a timer of its own.
    pub own_timer: Option<OwnTimer>,
    /// The process that closed serves this connection only.
    pub serves_one: bool,
    /// It closed after a silence, and not at a timer.
    pub no_timer: Option<NoTimer>,
    /// Connections that ended together with it.
    pub together: Option<Together>,
    /// What may be taken for granted.
    pub context: Context,
}

impl SentCase {
    /// The verdict on it.
    pub fn verdict(self) -> Verdict {
        let judgement = self.judge();
        judgement.verdict(move || self.explain(judgement))
    }

    fn judge(&self) -> Judgement {
        let definition = definition(self.ruling.cause);
        let class = self.class();
        let severity = match class {
            // Whoever scans may meet a port that others need.
            Some(Class::PortScan) | None => definition.cost(&self.sent),
            Some(_) => Severity::Noise,
        };
        let judgement = Judgement {
            origin: definition.origin(),
            cause: self.ruling.cause,
            severity: match &self.expired {
                // The sender of that segment had not closed.
                Some(expired)
                    if severity == Severity::Noise
                        && !(expired.may_have_ended() && self.answers_fin()) =>
                {
                    Severity::Fault
                }
                Some(_) | None => severity,
            },
            confidence: match self.rests_on_no_record() && !self.context.nothing_lost() {
                true => at_most(self.ruling.confidence, Confidence::Possible),
                false => self.ruling.confidence,
            },
            class,
        };
        let Some(reason) = &self.passed_on else {
            return judgement;
        };
        let first = &reason.verdict;
        let confidence = at_most(reason.confidence, first.confidence);
        let is_harmless = first.severity == Severity::Noise && confidence != Confidence::Possible;
        Judgement {
            origin: first.origin,
            cause: Cause::Propagated,
            confidence: at_most(judgement.confidence, confidence),
            class: first.class.filter(|_| is_harmless),
            severity: match is_harmless {
                true => Severity::Noise,
                false => definition.cost(&self.sent),
            },
        }
    }

    /// A connection would have left a record, but for the event of its end.
    fn rests_on_no_record(&self) -> bool {
        let is_told_by_record = matches!(
            self.ruling.cause,
            Cause::HalfOpen | Cause::StrayAck | Cause::LateSynack
        );
        let is_known = self.expired.as_ref().is_some_and(ExpiredEntry::is_certain);
        is_told_by_record && !is_known && self.sent.former_connection.is_none()
    }

    /// The segment only ends the connection.
    fn answers_fin(&self) -> bool {
        self.sent
            .cause
            .is_some_and(|cause| cause.flags.has(TcpFlags::FIN) && cause.payload_len == 0)
    }

    fn class(&self) -> Option<Class> {
        let class = classes::of_sent(&self.sent, self.ruling.cause, self.at, self.recurrence);
        // A pool that closes what it does not need, or a connection whose client has gone: what that lost is said with the
        // client's. At a timer, a proxy's client may lose its connection.
        let is_no_timer = matches!(
            self.no_timer,
            Some(NoTimer::NotSet | NoTimer::Many(_) | NoTimer::OtherLeg { .. })
        );
        let pooled = is_no_timer && classes::is_pooled(&self.sent, self.ruling.cause);
        class.or(pooled.then_some(Class::CompleteExchange))
    }

    fn explain(&self, judgement: Judgement) -> Explanation {
        let definition = definition(self.ruling.cause);
        let class = self.class().filter(|_| self.passed_on.is_none());
        let (summary, advice) = match class {
            Some(class) => (
                self.classified(class),
                self.other_leg().into_iter().collect(),
            ),
            None => (definition.sentence(self), self.advice()),
        };
        let mut explanation = Explanation {
            summary,
            evidence: Vec::with_capacity(5),
            advice,
        };
        self.add_evidence(definition.decisive(&self.sent), &mut explanation);
        if self.rests_on_no_record() {
            self.context.note_lost(&mut explanation);
        }
        if let Some(together) = self.together {
            self.tell_burst(together, &mut explanation);
        }
        if let Some(receiver) = &self.receiver {
            explanation.add(
                EvidenceKind::LocalReceiver,
                [&receiver.label, " on this host received it"].concat(),
            );
        }
        if let Some(after) = self.talks_on {
            explanation.summary = format!(
                "{} kept sending {} after a reset with its address had ended the connection here: that reset does not look like it came from there",
                self.sent.flow.remote,
                span(after)
            );
            explanation.add(EvidenceKind::PeerTalksOn, format!(
                "a reset with the peer's address had ended the connection here {} earlier, but the peer kept sending: that reset does not look like it came from the peer",
                span(after)
            ));
        }
        if let Some(reason) = &self.passed_on {
            self.pass_on(reason, &mut explanation);
        }
        if let Some(expired) = &self.expired {
            expired.explain(&mut explanation);
        }
        if let Some(attempt) = self
            .attempt
            .as_ref()
            .filter(|_| self.ruling.cause == Cause::UntranslatedAnswer)
        {
            explanation.add(
                EvidenceKind::Nat,
                format!(
                    "its acknowledgment number answers the SYN that had left the same port for {} {} earlier",
                    attempt.to,
                    span(self.at.since(attempt.sent))
                ),
            );
        }
        if self.not_seen_on_wire {
            explanation.add(
                EvidenceKind::NotSeenOnWire,
                "no traced interface saw it leave: a packet filter may have dropped it, or the link is down",
            );
        }
        if let Some(timer) = &self.own_timer {
            explanation.add(EvidenceKind::OwnTimeout, own_timeout(timer));
        }
        if let Some(reason) = &self.no_timer {
            let kind = match reason {
                NoTimer::OtherLeg { .. } | NoTimer::Many(_) => EvidenceKind::OtherLeg,
                NoTimer::NotSet | NoTimer::Ending => EvidenceKind::OwnTimeout,
            };
            explanation.add(kind, no_timer(reason));
        }
        let outgoing = clocks::opened_here(&self.sent);
        judgement.advise_anyway(&self.sent.flow, outgoing, &mut explanation);
        explanation
    }

    fn tell_burst(&self, together: Together, explanation: &mut Explanation) {
        let what = match (self.sent.actor(), self.sent.ended_by().0) {
            (Some(_), true) => "that it closed as it exited,",
            (Some(_), false) => "that it closed",
            (None, _) => "with that host that died",
        };
        let phrase = together.phrase(what);
        explanation.summary.push_str("; ");
        explanation.summary.push_str(&phrase);
        explanation.add(EvidenceKind::Burst, phrase);
    }

    fn classified(&self, class: Class) -> String {
        let remote = self.sent.flow.remote;
        let what = match class {
            Class::HealthCheck | Class::EmptyConnection => {
                // Its close was an ordinary one, and what came later was answered.
                let did = if self.sent.passive {
                    " opened and closed a connection to "
                } else {
                    " opened and reset a connection to "
                };
                return [
                    &self.subject(),
                    did,
                    &words::address(remote),
                    " without sending anything: ",
                    &classes::empty(class, self.recurrence),
                ]
                .concat();
            }
            Class::PortScan => match self.recurrence.scan {
                Some(scan) => &format!("; {} runs {}", remote.ip(), scan.sentence()),
                None => "",
            },
            Class::CompleteExchange => "; the exchange was complete",
            Class::TlsClose => {
                "; it was no more than a TLS close_notify or another message as short"
            }
            Class::TlsTickets => "; no more than the session tickets that follow a TLS handshake",
        };
        definition(self.ruling.cause).sentence(self) + what
    }

    /// What to change, most useful first: for both ends, for the operator of this one, for its author.
    fn advice(&self) -> Vec<Sentence> {
        let sent = &self.sent;
        let process = self.process.as_ref();
        let listened = clocks::opened_here(sent).map(|opened| !opened);
        let race = self.race().map(|race| race.at_server());
        let timer = self
            .own_timer
            .as_ref()
            .filter(|_| race.is_none())
            .map(|timer| advice::for_own_timer(timer, process, listened));
        let page = self.page(race.is_some());
        let other_leg = self.other_leg();
        let operator = self
            .shape()
            .filter(|_| race.is_none() && other_leg.is_none())
            .and_then(|shape| advice::for_operator(process, listened, shape));
        let author = definition(self.ruling.cause).advice(sent);
        let mut list: Vec<Sentence> = [race, other_leg, timer, operator, author]
            .into_iter()
            .flatten()
            .take(MOST)
            .collect();
        if let Some(page) = page.filter(|_| self.expired.is_none()) {
            page.refer(&mut list);
        }
        list
    }

    /// What the process did, for the table of advice.
    fn shape(&self) -> Option<Shape> {
        let shape = definition(self.ruling.cause).shape()?;
        Some(if self.turned_away().is_some() {
            Shape::TurnedAway
        } else if self.was_stopped()
            || matches!(self.no_timer, Some(NoTimer::Many(_) | NoTimer::Ending))
        {
            Shape::Killed
        } else {
            shape
        })
    }

    /// The first advice where the process closed because another connection had ended.
    fn other_leg(&self) -> Option<Sentence> {
        let Some(NoTimer::OtherLeg { remote, .. }) = self.no_timer else {
            return None;
        };
        let who = self
            .process
            .as_ref()
            .map_or("the process", |process| process.comm.as_str());
        Some(format!("look at the connection with {remote} first: {who} closed this one when that one ended").into())
    }

    /// The page that fits.
    fn page(&self, is_race: bool) -> Option<Situation> {
        if is_race {
            Some(Situation::KeepAliveRace)
        } else if self.own_timer.is_some() {
            Some(Situation::IdleTimeout)
        } else {
            match self.shape() {
                Some(Shape::TurnedAway) => Some(Situation::TurnedAway),
                Some(Shape::Killed) => Some(Situation::Restart),
                Some(
                    Shape::Idle | Shape::Keepalive | Shape::Race | Shape::Unread | Shape::Abort,
                )
                | Some(Shape::Connect | Shape::Accept | Shape::Silent | Shape::Unaccepted)
                | None => definition(self.ruling.cause).page(),
            }
        }
    }

    /// A request that came on a connection that its process here had closed as idle.
    fn race(&self) -> Option<Race<'_>> {
        let sent = &self.sent;
        let cause = sent.cause.filter(|cause| cause.payload_len > 0)?;
        let is_late = matches!(self.ruling.cause, Cause::DataAfterClose | Cause::HalfOpen);
        let quiet = clocks::before_sent(sent, self.at).filter(|it| it.application >= IDLE)?;
        let listened = clocks::opened_here(sent) == Some(false);
        let is_race = is_late
            && listened
            && cause.flags.has(TcpFlags::ACK)
            && self.no_timer.is_none()
            && self.passed_on.is_none()
            && !self.was_stopped();
        is_race.then(|| Race {
            silence: quiet.application,
            late: quiet.after,
            remote: sent.flow.remote.ip().to_canonical(),
            process: self.process.as_ref(),
            set: match self.own_timer.as_ref().map(|timer| &timer.fits[..]) {
                Some([timer]) if timer.basis == Basis::Host => Some(&timer.device),
                Some(_) | None => None,
            },
        })
    }

    /// The process closed because it ended. One that serves a single connection ends with it.
    fn was_stopped(&self) -> bool {
        match self.sent.ended_by() {
            (true, None) => !self.serves_one,
            (true, Some(_)) => true,
            (false, _) => false,
        }
    }

    /// How soon the process closed a connection that it had accepted and not read from.
    pub(crate) fn turned_away(&self) -> Option<Duration> {
        let socket = self.sent.socket.as_ref()?;
        let ownership = self.sent.ownership.as_ref()?;
        let age = self.at.since(ownership.established?);
        let read_nothing =
            socket.bytes_received > 0 && u64::from(socket.unread) == socket.bytes_received;
        let is_new = age <= SOON && clocks::opened_here(&self.sent) == Some(false);
        (read_nothing && is_new && !self.sent.ended_by().0).then_some(age)
    }

    /// The reset of one leg of a proxy is propagated from another.
    fn pass_on(&self, reason: &Reason, explanation: &mut Explanation) {
        let first = reason.verdict.summary();
        explanation.add(
            EvidenceKind::OwnCause,
            format!(
                "on this leg: {}, {}",
                self.ruling.cause, explanation.summary
            ),
        );
        let after = span(reason.after);
        let likeness = match reason.likeness {
            Likeness::Bytes => "which carried the same bytes",
            Likeness::PartOfBytes => "which carried the same bytes in one direction",
            Likeness::Process => "the only one of the process that ended then",
            Likeness::Rewritten => "which carried about as many bytes",
        };
        explanation.add(
            EvidenceKind::OtherLeg,
            format!(
                "{after} after the end of another connection of this process, {likeness}: {first}"
            ),
        );
        let who = self
            .process
            .as_ref()
            .map_or_else(|| "the process".to_owned(), ToString::to_string);
        // It answers data that came after the close.
        let ended = if self.sent.passive { "closed" } else { "reset" };
        let advice = reason.verdict.advice();
        if reason.confidence == Confidence::Possible {
            explanation.summary = format!(
                "{who} {ended} this connection {after} after another of its connections ended, possibly because of that: {first}"
            );
            explanation.advice.splice(0..0, advice.iter().cloned());
            explanation.advice.truncate(MOST);
        } else {
            explanation.summary = format!(
                "{who} {ended} this connection because another of its connections ended: {first}"
            );
            advice.clone_into(&mut explanation.advice);
        }
    }

    fn add_evidence(&self, decisive: Option<Evidence>, explanation: &mut Explanation) {
        let sent = &self.sent;
        explanation.evidence.push(self.reason());
        if let Some(cause) = &sent.cause {
            explanation.add(
                EvidenceKind::Segment,
                format!("it answers {}", segment(cause)),
            );
        } else if sent.passive {
            explanation.add(
                EvidenceKind::Segment,
                "the segment it answers could not be read",
            );
        }
        explanation.evidence.extend(state(sent));
        explanation.evidence.extend(decisive);
        explanation.evidence.extend(ending(sent));
        if let Some(tombstone) = &sent.former_connection {
            explanation.add(
                EvidenceKind::Tombstone,
                ownership::connection_end(tombstone, self.at),
            );
        }
        if let Some(tombstone) = &sent.former_listener {
            let who = ownership::listener(&tombstone.ownership);
            explanation.add(
                EvidenceKind::FormerListener,
                format!(
                    "{who} listened on this port until {} earlier",
                    span(self.at.since(tombstone.died))
                ),
            );
        }
        let is_others = self.expired.as_ref().is_some_and(ExpiredEntry::is_certain);
        if sent.socket.is_none()
            && sent.former_connection.is_none()
            && self.ruling.cause == Cause::HalfOpen
            && !is_others
        {
            explanation.add(
                EvidenceKind::Tombstone,
                "no record of a connection with these addresses and ports: it ended before the trace started, was evicted from the table, or belonged to another host",
            );
        }
    }

    fn reason(&self) -> Evidence {
        match (&self.sent.reason, self.sent.given_reason()) {
            (Some(reason), _) if self.ruling.cause == Cause::Unknown => Evidence::new(
                EvidenceKind::KernelReason,
                format!("the kernel's reason is {reason}, which does not identify the cause here"),
            ),
            (Some(_), Some(reason)) => Evidence::new(
                EvidenceKind::KernelReason,
                ["the kernel's reason is ", reason.name()].concat(),
            ),
            (Some(_), None) => Evidence::new(
                EvidenceKind::Inferred,
                "the kernel gives no reason; inferred from the socket and the segment",
            ),
            (None, _) => Evidence::new(
                EvidenceKind::Inferred,
                "this kernel gives no reasons; inferred from the socket and the segment",
            ),
        }
    }

    /// Who did it, to begin a sentence.
    pub(crate) fn subject(&self) -> String {
        match &self.process {
            Some(process) if process.role == Role::Listener => {
                format!("the listening process {process}")
            }
            Some(process) => process.to_string(),
            None => "an unknown process".to_owned(),
        }
    }

    /// ` after 12.3 s`: the connection's age, or nothing if it is not known.
    pub(crate) fn after_age(&self) -> String {
        words::after_age(self.sent.ownership.as_ref(), self.at)
    }

    /// ` after 12.3 s, idle for 2.0 s`: the connection's age, and how long no data had moved when the application closed. Many
    /// proxies reset at their timeouts. ` after 12.3 s idle` if the two differ by 1 % at most.
    pub(crate) fn after_age_and_idle(&self) -> String {
        let established = self.sent.ownership.as_ref().and_then(|it| it.established);
        let age = established.map(|established| self.at.since(established));
        let socket = self.sent.socket.as_ref();
        let idle = socket.and_then(|socket| socket.since_sent.min(socket.since_received));
        // Shorter ones are think time.
        match (age, idle.filter(|idle| *idle >= IDLE)) {
            (Some(age), Some(idle)) if age.abs_diff(idle) <= age / 100 => {
                format!(" after {} idle", span(idle))
            }
            (Some(_) | None, Some(idle)) => {
                format!("{}, idle for {}", self.after_age(), span(idle))
            }
            (Some(_) | None, None) => self.after_age(),
        }
    }
}

/// A process that accepts a connection and turns it away does so within this.
const SOON: Duration = Duration::from_millis(100);

/// Sentences of advice.
const MOST: usize = 3;

fn own_timeout(timer: &OwnTimer) -> String {
    let silence = words::silence(timer.quiet.application);
    match (&timer.learned, &timer.fits[..]) {
        (Some(learned), _) => format!(
            "it closed after {silence} without data, as {} of {} earlier closes of this service did: an idle timeout of its own",
            words::count(learned.samples),
            words::count(learned.of)
        ),
        (None, [first, ..]) if first.basis == Basis::Host => {
            let names: Vec<&str> = timer.fits.iter().map(|fits| fits.device.as_str()).collect();
            format!(
                "it closed after {silence} without data, possibly at its own idle timeout: {} is {}",
                words::one_of(&names),
                words::seconds(first.timeout)
            )
        }
        (None, [fits]) => format!(
            "it closed after {silence} without data, possibly at its own idle timeout: the default of {} fits",
            fits.device
        ),
        (None, _) => {
            format!(
                "it closed after {silence} without data, possibly at an idle timeout of its own"
            )
        }
    }
}

fn no_timer(reason: &NoTimer) -> String {
    match reason {
        NoTimer::OtherLeg { remote, how } => {
            let how = match how {
                OtherEnding::Reset => "was reset",
                OtherEnding::Finished => "was closed by the peer",
                OtherEnding::TimedOut => "died without an answer of the peer",
            };
            format!(
                "another connection of the process, with {remote}, {how} at the same time: no idle timeout"
            )
        }
        NoTimer::Many(closed) => format!(
            "the process closed {} at the same time, after different idle times: no idle timeout",
            words::things(*closed, "connection")
        ),
        NoTimer::Ending => {
            "the process ended right after it had closed: a reload or a stop, and no idle timeout"
                .to_owned()
        }
        NoTimer::NotSet => {
            "its configuration has no timer of that length: no idle timeout".to_owned()
        }
    }
}

/// A segment with its TTL, where that is known.
fn segment(segment: &Segment) -> String {
    let mut text = headers(segment);
    if segment.ttl > 0 {
        text.push_str(&format!(", TTL {}", segment.ttl));
    }
    text
}

fn state(sent: &Sent) -> Option<Evidence> {
    if let Some(minisock) = sent.minisock {
        return Some(Evidence::new(
            EvidenceKind::State,
            format!("the connection was in {minisock}"),
        ));
    }
    let socket = sent.socket.as_ref()?;
    let before = sent
        .ownership
        .as_ref()
        .and_then(|ownership| ownership.state_before_close)
        .filter(|_| socket.state == TcpState::Close);
    let detail = match before {
        Some(before) => ["the socket was in ", before.name(), " before it closed"].concat(),
        None => ["the socket was in ", socket.state.name()].concat(),
    };
    Some(Evidence::new(EvidenceKind::State, detail))
}

/// How the closing task ended, if it did.
fn ending(sent: &Sent) -> Option<Evidence> {
    let (exiting, signal) = match sent.actor() {
        Some(current) => (current.exiting, current.signal),
        None => {
            let closer = sent.ownership.as_ref()?.closer.as_ref()?;
            (closer.exiting, closer.signal)
        }
    };
    match signal {
        Some(signal) if exiting => Some(Evidence::new(
            EvidenceKind::Signal,
            format!("the process was being killed by {}", words::signal(signal)),
        )),
        Some(_) | None if exiting => Some(Evidence::new(
            EvidenceKind::Exiting,
            "the process was exiting",
        )),
        Some(_) | None => None,
    }
}
