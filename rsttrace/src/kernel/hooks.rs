//! Which kernel hooks give which fact, and which of them work here?

/// Something the tool wants to learn from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Who opened, owned and closed a socket, and when.
    Ownership,
    /// This host sent a reset.
    ResetSent,
    /// This host accepted a reset.
    ResetReceived,
    /// A reset on the wire, at interfaces with a link-layer header.
    Packets,
    /// A reset on the wire, at interfaces without one (tunnels).
    TunnelPackets,
    /// Owners of sockets that are older than the tool.
    OlderSockets,
    /// How long a jiffy is.
    Clock,
}

impl Fact {
    /// A name that stays, for machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ownership => "ownership",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::Packets => "packets",
            Self::TunnelPackets => "tunnel_packets",
            Self::OlderSockets => "older_sockets",
            Self::Clock => "clock",
        }
    }

    /// What cannot be told without it, one sentence.
    pub fn costs(self) -> &'static str {
        let row = TABLE.iter().find(|row| row.fact == self);
        row.map_or("", |row| row.costs)
    }
}

/// How a program gets at its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A raw tracepoint with typed arguments; only if its prototype has this many parameters, the tracer's own
    /// among them, where a number is given.
    Tracepoint {
        /// Name without its subsystem.
        name: &'static str,
        /// Parameters of the `btf_trace_` prototype.
        parameters: Option<usize>,
    },
    /// Traffic control, ingress and egress of every interface.
    Classifier,
    /// An iterator that is read once.
    Iterator(&'static str),
    /// Run once by the tool itself.
    TestRun,
}

/// One way to a fact. All its programs are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Names of the programs in the object.
    pub programs: &'static [&'static str],
    /// The hook.
    pub attachment: Attachment,
}

impl Way {
    /// Name of the tracepoint, if it is one.
    pub(super) fn tracepoint(&self) -> Option<&'static str> {
        match self.attachment {
            Attachment::Tracepoint { name, .. } => Some(name),
            Attachment::Classifier | Attachment::Iterator(_) | Attachment::TestRun => None,
        }
    }
}

/// A row of the table: the fact, the ways to it (best first), and what is lost without it.
#[derive(Debug)]
pub struct Row {
    /// The fact.
    pub fact: Fact,
    /// Tried in this order; the first that works is used.
    pub ways: &'static [Way],
    /// What cannot be told without it, one sentence.
    pub costs: &'static str,
}

const fn tracepoint(
    program: &'static [&'static str],
    name: &'static str,
    parameters: Option<usize>,
) -> Way {
    Way {
        programs: program,
        attachment: Attachment::Tracepoint { name, parameters },
    }
}

const fn classifier(programs: &'static [&'static str]) -> Way {
    Way {
        programs,
        attachment: Attachment::Classifier,
    }
}

/// Hooks in the order they are attached: what a reset needs to know is remembered before resets are reported.
/// The reason became the tracepoint's fourth parameter in 6.10
/// (<https://github.com/torvalds/linux/blob/v6.10/include/trace/events/tcp.h#L82>).
pub const TABLE: &[Row] = &[
    Row {
        fact: Fact::Ownership,
        ways: &[tracepoint(
            &["inet_sock_set_state"],
            "inet_sock_set_state",
            None,
        )],
        costs: "owners, closers and ages of connections are not recorded; processes are looked up while their sockets are open",
    },
    Row {
        fact: Fact::ResetSent,
        ways: &[
            tracepoint(&["tcp_send_reset"], "tcp_send_reset", Some(4)),
            tracepoint(&["tcp_send_reset_no_reason"], "tcp_send_reset", Some(3)),
        ],
        costs: "resets this host sends are seen on the wire only: no kernel reason, no process",
    },
    Row {
        fact: Fact::ResetReceived,
        ways: &[tracepoint(
            &["tcp_receive_reset"],
            "tcp_receive_reset",
            None,
        )],
        costs: "resets this host accepts are seen on the wire only: no process",
    },
    Row {
        fact: Fact::Packets,
        ways: &[classifier(&["tc_ingress_l2", "tc_egress_l2"])],
        costs: "no packets: a reset by a firewall, a raw socket or a middlebox cannot be told from the peer's",
    },
    Row {
        fact: Fact::TunnelPackets,
        ways: &[classifier(&["tc_ingress_l3", "tc_egress_l3"])],
        costs: "no packets on tunnels and other interfaces without a link-layer header",
    },
    Row {
        fact: Fact::OlderSockets,
        ways: &[Way {
            programs: &["seed_sockets"],
            attachment: Attachment::Iterator("task_file"),
        }],
        costs: "sockets that were open before the tool started have no recorded owner",
    },
    Row {
        fact: Fact::Clock,
        ways: &[Way {
            programs: &["clock"],
            attachment: Attachment::TestRun,
        }],
        costs: "idle times cannot be computed from the sockets' own clocks",
    },
];

/// Whether a fact can be had here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// By these programs.
    Active {
        /// Names as in [`Way::programs`].
        programs: &'static [&'static str],
    },
    /// By none.
    Refused {
        /// What the kernel said to the last way tried.
        why: String,
        /// What is lost, one sentence.
        costs: &'static str,
    },
    /// Switched off by an option.
    Off,
}

/// What became of each row of [`TABLE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks(Vec<(Fact, HookState)>);

impl Hooks {
    /// Notes the state of one fact.
    pub(super) fn note(&mut self, fact: Fact, state: HookState) {
        self.0.push((fact, state));
    }

    /// Takes back that packets can be seen: the programs are there, but cannot be attached.
    pub(super) fn refuse_packets(&mut self, why: &str) {
        for row in TABLE
            .iter()
            .filter(|row| matches!(row.fact, Fact::Packets | Fact::TunnelPackets))
        {
            for (_, state) in self.0.iter_mut().filter(|(fact, _)| *fact == row.fact) {
                *state = HookState::Refused {
                    why: why.to_owned(),
                    costs: row.costs,
                };
            }
        }
    }

    /// Every fact with its state, in the order of [`TABLE`].
    pub fn iter(&self) -> impl Iterator<Item = (Fact, &HookState)> {
        self.0.iter().map(|(fact, state)| (*fact, state))
    }

    /// Whether a fact can be had.
    pub fn is_active(&self, fact: Fact) -> bool {
        self.iter()
            .any(|(known, state)| known == fact && matches!(state, HookState::Active { .. }))
    }

    /// Whether sent resets carry the kernel's reason.
    pub fn has_reason(&self) -> bool {
        self.iter().any(|(fact, state)| {
            fact == Fact::ResetSent && matches!(state, HookState::Active { programs } if *programs == ["tcp_send_reset"])
        })
    }

    /// Whether any reset at all would be seen.
    pub(super) fn is_useful(&self) -> bool {
        [
            Fact::ResetSent,
            Fact::ResetReceived,
            Fact::Packets,
            Fact::TunnelPackets,
        ]
        .into_iter()
        .any(|fact| self.is_active(fact))
    }

    /// What was refused, one line each.
    pub fn refusals(&self) -> impl Iterator<Item = String> {
        self.iter().filter_map(|(fact, state)| match state {
            HookState::Refused { why, costs } => Some(format!("{fact:?}: {why}; {costs}")),
            HookState::Active { .. } | HookState::Off => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_is_attached_before_resets_and_resets_before_packets() {
        let order: Vec<_> = TABLE.iter().map(|row| row.fact).collect();
        let at = |fact| order.iter().position(|known| *known == fact);
        assert!(at(Fact::Ownership) < at(Fact::ResetSent));
        assert!(at(Fact::ResetSent) < at(Fact::Packets));
        assert!(at(Fact::Packets) < at(Fact::OlderSockets));
    }

    #[test]
    fn every_fact_has_a_row_and_a_name_of_its_own() {
        let mut names: Vec<_> = TABLE.iter().map(|row| row.fact.name()).collect();
        assert!(TABLE.iter().all(|row| row.fact.costs() == row.costs));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn ownership_alone_is_not_useful() {
        let mut hooks = Hooks::default();
        hooks.note(
            Fact::Ownership,
            HookState::Active {
                programs: &["inet_sock_set_state"],
            },
        );
        hooks.note(
            Fact::ResetSent,
            HookState::Refused {
                why: "EPERM".to_owned(),
                costs: "c",
            },
        );
        assert!(!hooks.is_useful() && !hooks.has_reason());
        assert_eq!(
            hooks.refusals().collect::<Vec<_>>(),
            ["ResetSent: EPERM; c"]
        );
        hooks.note(
            Fact::Packets,
            HookState::Active {
                programs: &["tc_ingress_l2", "tc_egress_l2"],
            },
        );
        assert!(hooks.is_useful());
    }

    #[test]
    fn the_reason_is_known_by_the_program_that_reads_it() {
        for (programs, expected) in [
            (TABLE[1].ways[0].programs, true),
            (TABLE[1].ways[1].programs, false),
        ] {
            let mut hooks = Hooks::default();
            hooks.note(Fact::ResetSent, HookState::Active { programs });
            assert_eq!(hooks.has_reason(), expected);
        }
    }
}
