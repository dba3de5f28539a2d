//! The truth about a staged reset, independent of any tracer.
//!
//! It uses the words of the public record, and nothing else of the explaining side.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::actor::Process;
use super::lab::{Lab, Place, View};
use super::segment::Segment;
use crate::record::{Cause, Direction, IdleMode, Origin, Role};

/// Who really did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A process, by a system call or by ending.
    Process {
        pid: u32,
        comm: String,
        /// What it did: "close()".
        did: &'static str,
    },
    /// Nobody at that moment: the kernel or a firewall answered.
    Nobody,
}

/// A process that a right record may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub pid: u32,
    pub comm: String,
    /// The roles that are right for it.
    pub roles: Vec<Role>,
    /// Only as one of several that it may be.
    pub only_as_guess: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    /// One of these; empty: none may be named.
    pub any_of: Vec<Holder>,
    /// Naming none is right as well.
    pub may_be_absent: bool,
}

/// An idle timeout as it was staged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StagedIdle {
    /// How it made itself known.
    pub mode: IdleMode,
    /// The timeout in seconds, where this view can know it.
    pub timeout: Option<f64>,
    /// What the device is called, or a part of it, where this view can know it.
    pub device: Option<&'static str>,
}

/// What resets a connection with the address of one of its ends, in another namespace of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// A process wrote the RST with a raw socket.
    RawSocket,
    /// A packet filter rejected a segment.
    PacketFilter,
    /// A process that is not known to have timeouts closed its end.
    Process,
    /// The router's own TCP answered what its conntrack no longer translated, after this timeout in seconds.
    Conntrack(f64),
}

/// The truth about one reset in one view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    pub view: View,
    pub direction: Direction,
    /// The source of the RST as on the wire.
    pub sender: SocketAddr,
    pub receiver: SocketAddr,
    pub origin: Origin,
    pub cause: Cause,
    /// What was staged, in a sentence.
    pub condition: &'static str,
    pub who: Who,
    pub named: Named,
    /// Whether a connection that one end still used, or data on it, was lost by it.
    pub lost: bool,
    /// The connection was lost when nobody had a use for it any more, which only a view of the whole host can know.
    pub unused: bool,
    /// Bytes that lay unread in the closed socket, where that is the point.
    pub unread: Option<u64>,
    /// The idle timeout that was staged and that a right record names.
    pub idle: Option<StagedIdle>,
    /// The process closed after an idle time, and not at a timer: no record of it may have an idle mode.
    pub no_timer: bool,
    /// What really happened, where this view cannot know it and the rest of this truth is what it looks like.
    pub unknowable: Option<&'static str>,
    /// What sent it with the sender's address, if that is on this host, but not in this view.
    pub hidden: Option<Hidden>,
    /// Further resets of the same end of the connection in this view and direction: none may be told as an incident of its own.
    pub further: usize,
    /// Its record is of one chain with those of the scenario's other linked truths.
    pub linked: bool,
    /// What its summary has to say.
    pub says: Option<String>,
    /// What its summary must not say.
    pub never_says: Option<&'static str>,
    /// Causes that no record of this connection may blame anybody for here.
    pub spares: &'static [Cause],
    /// The error that the receiving side saw, where it has a socket for it.
    pub peer_error: Option<String>,
    /// The RST as the staging side captured it, in the view of the scenario's first truth: in the views of the
    /// others its TTL is one more or less.
    pub seen: Segment,
}

impl Truth {
    /// A reset that leaves the place. By default no process is named and nothing was lost.
    pub(super) fn sent(
        lab: &Lab,
        place: Place,
        seen: &Segment,
        origin: Origin,
        cause: Cause,
    ) -> Self {
        Self {
            view: lab.view(place),
            direction: Direction::Sent,
            sender: seen.source,
            receiver: seen.destination,
            origin,
            cause,
            condition: "",
            who: Who::Nobody,
            named: Named::default(),
            lost: false,
            unused: false,
            unread: None,
            idle: None,
            no_timer: false,
            unknowable: None,
            hidden: None,
            further: 0,
            linked: false,
            says: None,
            never_says: None,
            spares: &[],
            peer_error: None,
            seen: seen.clone(),
        }
    }

    /// A reset that arrives at the place and takes effect there.
    pub(super) fn received(
        lab: &Lab,
        place: Place,
        seen: &Segment,
        origin: Origin,
        cause: Cause,
    ) -> Self {
        Self {
            direction: Direction::Received,
            ..Self::sent(lab, place, seen, origin, cause)
        }
    }

    pub(super) fn because(mut self, condition: &'static str) -> Self {
        self.condition = condition;
        self
    }

    /// The process that did it and how.
    pub(super) fn done_by(mut self, process: impl Into<Process>, did: &'static str) -> Self {
        let Process { pid, name: comm } = process.into();
        self.who = Who::Process { pid, comm, did };
        self
    }

    /// This many bytes were unread.
    pub(super) fn with_unread(mut self, bytes: u64) -> Self {
        self.unread = Some(bytes);
        self
    }

    /// An idle timeout caused it.
    pub(super) fn at_timeout(mut self, mode: IdleMode, timeout: Option<Duration>) -> Self {
        self.idle = Some(StagedIdle {
            mode,
            timeout: timeout.map(|timeout| timeout.as_secs_f64()),
            device: None,
        });
        self
    }

    /// It looks like the work of an idle timeout and is none.
    pub(super) fn without_timer(mut self) -> Self {
        self.no_timer = true;
        self
    }

    /// The timeout is this device's.
    pub(super) fn of_device(mut self, device: &'static str) -> Self {
        if let Some(idle) = &mut self.idle {
            idle.device = Some(device);
        }
        self
    }

    /// What really happened, and why this view cannot know it.
    pub(super) fn but_really(mut self, what: &'static str) -> Self {
        self.unknowable = Some(what);
        self
    }

    /// The sender is on this host, but not in this view.
    pub(super) fn hidden(mut self, what: Hidden) -> Self {
        self.hidden = Some(what);
        self
    }

    /// The same where nothing is hidden: for a tracer that sees every namespace of the host.
    pub fn on_whole_host(&self) -> Self {
        // Who sent it is seen there, and being certain of that is right.
        let mut truth = Self {
            unknowable: None,
            // The other end's record says more.
            says: self.says.clone().filter(|_| self.hidden.is_none()),
            ..self.clone()
        };
        match self.hidden {
            None => {}
            Some(Hidden::RawSocket) => {
                truth.origin = Origin::LocalProcess;
                truth.cause = Cause::RawSocket;
                truth.idle = None;
            }
            Some(Hidden::Process) => {
                truth.cause = Cause::ResetByPeer;
                truth.idle = None;
            }
            Some(Hidden::PacketFilter) => {
                truth.origin = Origin::LocalFirewall;
                truth.cause = Cause::FirewallReject;
                truth.idle = None;
            }
            Some(Hidden::Conntrack(timeout)) => {
                truth.origin = Origin::Middlebox;
                truth.cause = Cause::IdleTimeout;
                truth.idle = Some(StagedIdle {
                    mode: IdleMode::LateRst,
                    timeout: Some(timeout),
                    device: None,
                });
            }
        }
        truth.lost = self.lost && !self.unused;
        // A RST that no socket accepts ends nothing, whichever process wrote it.
        if truth.direction == Direction::Observed {
            truth.cause = self.cause;
        }
        truth
    }

    /// A right summary contains this.
    pub(super) fn says(mut self, text: impl ToString) -> Self {
        self.says = Some(text.to_string());
        self
    }

    /// No right summary contains this.
    pub(super) fn never_says(mut self, text: &'static str) -> Self {
        self.never_says = Some(text);
        self
    }

    pub(super) fn linked(mut self) -> Self {
        self.linked = true;
        self
    }

    /// A process that may be named, in one of these roles.
    pub(super) fn names(mut self, process: impl Into<Process>, roles: &[Role]) -> Self {
        let Process { pid, name: comm } = process.into();
        self.named.any_of.push(Holder {
            pid,
            comm,
            roles: roles.to_vec(),
            only_as_guess: false,
        });
        self
    }

    /// The last process that may be named is one of several candidates, and the record has to mark it as such.
    pub(super) fn only_as_guess(mut self) -> Self {
        if let Some(holder) = self.named.any_of.last_mut() {
            holder.only_as_guess = true;
        }
        self
    }

    /// A record without a process is right, too.
    pub(super) fn or_names_nobody(mut self) -> Self {
        self.named.may_be_absent = true;
        self
    }

    /// An established connection was lost.
    pub(super) fn lost_connection(mut self) -> Self {
        self.lost = true;
        self
    }

    /// The error that the other side saw.
    pub(super) fn peer_saw(mut self, error: String) -> Self {
        self.peer_error = Some(error);
        self
    }
}
