//! When connections of processes ended, and who ended them.
//!
//! A process that closes one connection because another one has ended is at no timeout, whatever its name and however long the
//! connection had been silent. The connections of one process that end within [`AT_ONCE`] are compared: who ended them, and after
//! which silences.

use std::collections::VecDeque;
use std::time::Duration;

use super::place_by_time;
use crate::event::{
    Body, BootTime, Failed, Flow, Holder, NetnsCookie, Ownership, Received, Sent, Task,
};
use crate::record::ProcessId;
use crate::silence::clocks;
use crate::thresholds::{MANY_AT_ONCE, learned_tolerance};
use crate::verdict::{NoTimer, OtherEnding};

/// Ends kept: at 40,000 a second those of the last tenth.
const MAX_ENDINGS: usize = 4096;

/// Connections of one process that end within this have one reason.
pub const AT_ONCE: Duration = Duration::from_millis(100);

/// Ends that one is compared with: in a storm nothing is concluded.
const MAX_COMPARED: usize = 256;

/// The ends of the last seconds, in order of time.
#[derive(Debug, Default)]
pub struct Endings {
    ended: VecDeque<Ending>,
}

#[derive(Debug)]
struct Ending {
    time: BootTime,
    netns: NetnsCookie,
    flow: Flow,
    process: ProcessId,
    /// This end connected; absent if not known.
    outgoing: Option<bool>,
    /// End of the handshake, if known.
    established: Option<BootTime>,
    how: How,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Not by its process.
    Elsewhere(OtherEnding),
    /// Its process closed it after this silence.
    Closed(Duration),
}

impl Endings {
    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> [(&'static str, usize, Option<usize>); 1] {
        [("endings", self.ended.len(), Some(MAX_ENDINGS))]
    }

    /// Takes notice of an event that ended a connection; `holder`: the process found with the socket's file.
    pub fn note(&mut self, netns: NetnsCookie, at: BootTime, body: &Body, holder: Option<&Holder>) {
        let ending = match body {
            Body::Received(received) => of_received(netns, at, received, holder),
            Body::Failed(failed) => of_failed(netns, at, failed),
            Body::Sent(sent) => of_sent(netns, at, sent),
            Body::Packet(_) => None,
        };
        let Some(ending) = ending else { return };
        if self.ended.len() >= MAX_ENDINGS {
            self.ended.pop_front();
        }
        // Events of several CPUs may come a little out of order, and a close is known by the reset that follows it.
        let place = place_by_time(&self.ended, ending.time, |it| it.time);
        self.ended.insert(place, ending);
    }

    /// Whether a process of this host closed this connection around that time.
    pub fn is_closed(&self, netns: NetnsCookie, flow: Flow, at: BootTime) -> bool {
        let first = self
            .ended
            .partition_point(|it| it.time < at.before(AT_ONCE));
        self.ended
            .range(first..)
            .take_while(|it| it.time <= at.plus(AT_ONCE))
            .any(|it| it.flow == flow && it.netns == netns && matches!(it.how, How::Closed(_)))
    }

    /// Why the close that `sent` comes from is at no timer of its process, as far as other connections of the process say so.
    pub fn no_timer(&self, netns: NetnsCookie, at: BootTime, sent: &Sent) -> Option<NoTimer> {
        let own = of_sent(netns, at, sent)?;
        let How::Closed(silence) = own.how else {
            return None;
        };
        let begin = own.time.before(AT_ONCE);
        let first = self.ended.partition_point(|it| it.time < begin);
        let mut closed = 1;
        let mut silences_differ = false;
        let others = self
            .ended
            .range(first..)
            .take_while(|it| it.time <= own.time.plus(AT_ONCE))
            .take(MAX_COMPARED)
            .filter(|it| it.flow != own.flow && it.netns == netns && it.process == own.process);
        for other in others {
            let is_other_leg = match (other.outgoing, own.outgoing) {
                (Some(other), Some(own)) => other != own,
                (None, _) | (_, None) => true,
            };
            // What was opened during the silence carried nothing of this connection: a health check.
            let is_younger = other
                .established
                .is_some_and(|opened| opened > own.time.before(silence).plus(AT_ONCE));
            match other.how {
                How::Elsewhere(how) if is_other_leg && !is_younger => {
                    return Some(NoTimer::OtherLeg {
                        remote: other.flow.remote,
                        how,
                    });
                }
                How::Elsewhere(_) => {}
                How::Closed(also) => {
                    closed += 1;
                    silences_differ |= also.abs_diff(silence) > learned_tolerance(silence) * 2;
                }
            }
        }
        (closed >= MANY_AT_ONCE && silences_differ).then_some(NoTimer::Many(closed))
    }
}

fn of_received(
    netns: NetnsCookie,
    time: BootTime,
    received: &Received,
    found: Option<&Holder>,
) -> Option<Ending> {
    let lived = received.socket.state.is_synchronized() && !received.socket.orphaned;
    let ownership = received.ownership.as_ref().filter(|_| lived)?;
    // Of a listener's connection the record names who listened, which may be the parent of whoever serves it.
    let found = found.filter(|found| !found.shares).map(|found| &found.task);
    let task = found.or_else(|| holder(ownership))?;
    let how = How::Elsewhere(OtherEnding::Reset);
    Some(ending(netns, time, received.flow, ownership, task, how))
}

fn of_failed(netns: NetnsCookie, time: BootTime, died: &Failed) -> Option<Ending> {
    let lived = died.last_state.is_synchronized();
    let ownership = died.ownership.as_ref().filter(|_| lived)?;
    let how = How::Elsewhere(OtherEnding::TimedOut);
    Some(ending(
        netns,
        time,
        died.flow,
        ownership,
        holder(ownership)?,
        how,
    ))
}

/// A connection whose process closed it, with this reset or before, or that the kernel gave up.
fn of_sent(netns: NetnsCookie, time: BootTime, sent: &Sent) -> Option<Ending> {
    let ownership = sent.remembered()?;
    let Some(closer) = ownership.closer.as_ref().filter(|it| !it.kernel_thread) else {
        if sent.passive || sent.actor().is_some() {
            return None;
        }
        let how = How::Elsewhere(OtherEnding::TimedOut);
        return Some(ending(
            netns,
            time,
            sent.flow,
            ownership,
            holder(ownership)?,
            how,
        ));
    };
    let peer_finished = ownership
        .peer_finish
        .is_some_and(|finish| closer.time.is_none_or(|closed| finish.time <= closed));
    let how = if peer_finished {
        How::Elsewhere(OtherEnding::Finished)
    } else {
        How::Closed(closer.quiet)
    };
    let time = closer.time.unwrap_or(time);
    Some(ending(netns, time, sent.flow, ownership, &closer.task, how))
}

/// The process that has the connection, or had.
fn holder(ownership: &Ownership) -> Option<&Task> {
    ownership
        .closer
        .as_ref()
        .filter(|closer| !closer.kernel_thread)
        .map(|closer| &closer.task)
        .or(ownership.owner.as_ref())
}

fn ending(
    netns: NetnsCookie,
    time: BootTime,
    flow: Flow,
    ownership: &Ownership,
    task: &Task,
    how: How,
) -> Ending {
    Ending {
        time,
        netns,
        flow,
        process: task.id(),
        outgoing: clocks::is_outgoing(Some(ownership)),
        established: ownership.established,
        how,
    }
}
