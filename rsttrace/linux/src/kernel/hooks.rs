//! Table of the kernel hooks and the facts that they provide.

/// Something the tool wants to learn from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Who opened, owned and closed a socket, and when.
    Ownership,
    /// Which process accepted a connection.
    Acceptor,
    /// This host sent a reset for a socket.
    ResetSent,
    /// This host sent a reset without having a socket for it.
    StatelessResetSent,
    /// Why a socket was reset by this host.
    ActiveReason,
    /// The segment by which a socket was reset.
    ReceivedSegment,
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
            Self::Acceptor => "acceptor",
            Self::ResetSent => "reset_sent",
            Self::StatelessResetSent => "reset_sent_stateless",
            Self::ActiveReason => "active_reason",
            Self::ReceivedSegment => "received_segment",
            Self::ResetReceived => "reset_received",
            Self::Packets => "packets",
            Self::TunnelPackets => "tunnel_packets",
            Self::OlderSockets => "older_sockets",
            Self::Clock => "clock",
        }
    }

    /// The cost of its absence, one sentence.
    pub fn costs(self) -> &'static str {
        self.row().map_or("", |row| row.costs)
    }

    /// Whether something else stands in for most of it, so that its absence is no fault of the installation.
    pub fn is_extra(self) -> bool {
        self.row().is_some_and(|row| row.extra)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.fact == self)
    }
}

/// How a program gets at its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A raw tracepoint with typed arguments, by its name without its subsystem.
    Tracepoint(&'static str),
    /// The entry of a function, with typed arguments.
    Entry(&'static str),
    /// The return of a function, with typed arguments.
    Exit(&'static str),
    /// A breakpoint at the entry of each of these functions: where no other hook at a function is granted.
    Probe(&'static [&'static str]),
    /// Traffic control, ingress or egress of every interface.
    Classifier,
    /// An iterator that is read once.
    Iterator(&'static str),
    /// Run once by the tool itself.
    TestRun,
    /// Attached for another fact already.
    Shared,
}

impl Attachment {
    pub(super) fn functions(&self) -> &[&'static str] {
        match self {
            Self::Entry(function) | Self::Exit(function) => std::slice::from_ref(function),
            Self::Probe(functions) => functions,
            Self::Tracepoint(_)
            | Self::Classifier
            | Self::Iterator(_)
            | Self::TestRun
            | Self::Shared => &[],
        }
    }
}

/// A program of the object and its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    pub attachment: Attachment,
}

/// What a kernel must have for a way to be tried, by its type information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `btf_trace_NAME` has this many parameters, the tracer's own among them.
    TracepointParameters(&'static str, usize),
    /// A function has this many parameters.
    Parameters(&'static str, usize),
    Function(&'static str),
    /// `enum sk_rst_reason` has a name, without its prefix.
    Reason(&'static str),
}

/// One way to a fact. All its programs are needed.
#[derive(Debug, PartialEq, Eq)]
pub struct Way {
    pub name: &'static str,
    /// Without them it is not tried.
    pub needs: &'static [Need],
    /// Its programs; none where a fact is inferred from others.
    pub programs: &'static [Program],
    /// Its cost compared with the ways before it, one sentence; `None`: none.
    pub costs: Option<&'static str>,
}

impl Way {
    pub fn names(&self) -> Vec<&'static str> {
        self.programs.iter().map(|program| program.name).collect()
    }
}

/// A row of the table: the fact, the ways to it (best first), and what is lost without it.
#[derive(Debug)]
pub struct Row {
    pub fact: Fact,
    /// Tried in this order; the first that works is used.
    pub ways: &'static [Way],
    /// The cost of its absence, one sentence.
    pub costs: &'static str,
    /// See [`Fact::is_extra`].
    pub extra: bool,
}

const fn program(name: &'static str, attachment: Attachment) -> Program {
    Program { name, attachment }
}

const fn way(name: &'static str, needs: &'static [Need], programs: &'static [Program]) -> Way {
    Way {
        name,
        needs,
        programs,
        costs: None,
    }
}

const STATE: Program = program(
    "inet_sock_set_state",
    Attachment::Tracepoint("inet_sock_set_state"),
);
const SEND_RESET: Attachment = Attachment::Tracepoint("tcp_send_reset");
const REASONED: &str = "tcp_send_reset";
const SENDERS: &[&str] = &["tcp_v4_send_reset", "tcp_v6_send_reset"];
const LOCAL_STATE: &str = "the kernel provides no reset reasons (sockets: since 6.12, others: since 6.10); causes are derived from socket state and segment, and are at most likely";

/// Hooks in the order they are attached: what a reset needs to know is remembered before resets are reported.
///
/// The reason became the tracepoint's fourth parameter in 6.10
/// (<https://github.com/torvalds/linux/blob/v6.10/include/trace/events/tcp.h#L82>), from when on it also fires without a
/// full socket; sockets give useful ones from 6.12 on. tcp_reset()
/// has got the segment since 5.11.
pub const TABLE: &[Row] = &[
    Row {
        fact: Fact::Ownership,
        ways: &[way("tracepoint", &[], &[STATE])],
        costs: "owner, closer and age of connections are not recorded; processes are only found while their sockets are open",
        extra: false,
    },
    Row {
        fact: Fact::Acceptor,
        ways: &[way(
            "fentry",
            &[Need::Parameters("security_sock_graft", 2)],
            &[program(
                "fentry_security_sock_graft",
                Attachment::Entry("security_sock_graft"),
            )],
        )],
        costs: "the process that accepts a connection is not recorded; until it is looked up, the listener counts as the owner (quality inherited)",
        extra: true,
    },
    Row {
        fact: Fact::ResetSent,
        ways: &[
            way(
                "tracepoint with reason",
                &[Need::TracepointParameters("tcp_send_reset", 4)],
                &[program(REASONED, SEND_RESET)],
            ),
            way(
                "tracepoint",
                &[Need::TracepointParameters("tcp_send_reset", 3)],
                &[program("tcp_send_reset_no_reason", SEND_RESET)],
            ),
        ],
        costs: "resets sent by this host are seen on the wire only, without kernel reason and process",
        extra: false,
    },
    Row {
        fact: Fact::StatelessResetSent,
        ways: &[
            way(
                "tracepoint with reason",
                &[Need::TracepointParameters("tcp_send_reset", 4)],
                &[program(REASONED, Attachment::Shared)],
            ),
            way(
                "fentry",
                &[
                    Need::Parameters("tcp_v4_send_reset", 2),
                    Need::Parameters("tcp_v6_send_reset", 2),
                ],
                &[
                    program(
                        "fentry_tcp_v4_send_reset",
                        Attachment::Entry("tcp_v4_send_reset"),
                    ),
                    program(
                        "fentry_tcp_v6_send_reset",
                        Attachment::Entry("tcp_v6_send_reset"),
                    ),
                ],
            ),
            way(
                "kprobe",
                &[
                    Need::Parameters("tcp_v4_send_reset", 2),
                    Need::Parameters("tcp_v6_send_reset", 2),
                ],
                &[program("kprobe_tcp_send_reset", Attachment::Probe(SENDERS))],
            ),
        ],
        costs: "resets sent without a socket (closed port, unknown connection) are seen on the wire only",
        extra: false,
    },
    Row {
        fact: Fact::ActiveReason,
        ways: &[
            way(
                "tracepoint with reason",
                &[
                    Need::TracepointParameters("tcp_send_reset", 4),
                    Need::Reason("TCP_ABORT_ON_CLOSE"),
                ],
                &[program(REASONED, Attachment::Shared)],
            ),
            Way {
                name: "socket state",
                needs: &[],
                programs: &[],
                costs: Some(LOCAL_STATE),
            },
        ],
        costs: LOCAL_STATE,
        extra: true,
    },
    Row {
        fact: Fact::ReceivedSegment,
        ways: &[
            way(
                "fentry",
                &[Need::Parameters("tcp_reset", 2)],
                &[program("fentry_tcp_reset", Attachment::Entry("tcp_reset"))],
            ),
            way(
                "kprobe",
                &[Need::Parameters("tcp_reset", 2)],
                &[program(
                    "kprobe_tcp_reset",
                    Attachment::Probe(&["tcp_reset"]),
                )],
            ),
        ],
        costs: "headers of received resets are only known if a TC classifier sees the packet",
        extra: true,
    },
    Row {
        fact: Fact::ResetReceived,
        ways: &[way(
            "tracepoint",
            &[],
            &[program(
                "tcp_receive_reset",
                Attachment::Tracepoint("tcp_receive_reset"),
            )],
        )],
        costs: "resets received by this host are seen on the wire only, without process",
        extra: false,
    },
    Row {
        fact: Fact::Packets,
        ways: &[way(
            "classifiers",
            &[],
            &[
                program("tc_ingress_l2", Attachment::Classifier),
                program("tc_egress_l2", Attachment::Classifier),
            ],
        )],
        costs: "no packet headers: resets from firewalls, raw sockets and middleboxes cannot be distinguished from those of the peer",
        extra: false,
    },
    Row {
        fact: Fact::TunnelPackets,
        ways: &[way(
            "classifiers",
            &[],
            &[
                program("tc_ingress_l3", Attachment::Classifier),
                program("tc_egress_l3", Attachment::Classifier),
            ],
        )],
        costs: "no packet headers on tunnels and other interfaces without a link-layer header",
        extra: false,
    },
    Row {
        fact: Fact::OlderSockets,
        ways: &[way(
            "iterator",
            &[],
            &[program("seed_sockets", Attachment::Iterator("task_file"))],
        )],
        costs: "sockets opened before the start of rsttrace have no recorded owner",
        extra: false,
    },
    Row {
        fact: Fact::Clock,
        ways: &[way(
            "test run",
            &[],
            &[program("clock", Attachment::TestRun)],
        )],
        costs: "idle times cannot be derived from socket timestamps",
        extra: false,
    },
];

/// Whether a fact can be had here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// In this way.
    Active(&'static Way),
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

/// The result of each row of [`TABLE`].
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
        self.way(fact).is_some()
    }

    /// How a fact is had, `None`: it is not.
    pub fn way(&self, fact: Fact) -> Option<&'static Way> {
        self.iter().find_map(|(known, state)| match state {
            HookState::Active(way) if known == fact => Some(*way),
            _ => None,
        })
    }

    /// Whether a program is attached.
    pub(super) fn has_program(&self, name: &str) -> bool {
        self.iter().any(|(_, state)| {
            matches!(state, HookState::Active(way) if way.programs.iter().any(|program| program.name == name))
        })
    }

    /// Whether sent resets carry the kernel's reason.
    pub fn has_reason(&self) -> bool {
        self.has_program(REASONED)
    }

    /// Whether any reset at all would be seen.
    pub(super) fn is_useful(&self) -> bool {
        [
            Fact::ResetSent,
            Fact::StatelessResetSent,
            Fact::ResetReceived,
            Fact::Packets,
            Fact::TunnelPackets,
        ]
        .into_iter()
        .any(|fact| self.is_active(fact))
    }

    /// What was refused though the tool depends on it, one line each.
    pub fn refusals(&self) -> impl Iterator<Item = String> {
        self.refused(false)
    }

    /// What was refused and is missed little, one line each.
    pub fn missing_extras(&self) -> impl Iterator<Item = String> {
        self.refused(true)
    }

    /// What is had in a lesser way, one line each.
    pub fn lesser(&self) -> impl Iterator<Item = String> {
        self.iter().filter_map(|(fact, state)| match state {
            HookState::Active(way) => {
                let costs = way.costs?;
                Some(format!("{} by {}: {costs}", fact.name(), way.name))
            }
            HookState::Refused { .. } | HookState::Off => None,
        })
    }

    fn refused(&self, extra: bool) -> impl Iterator<Item = String> {
        self.iter().filter_map(move |(fact, state)| match state {
            HookState::Refused { why, costs } if fact.is_extra() == extra => {
                Some(format!("{}: {why}; {costs}", fact.name()))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(fact: Fact, way: usize) -> HookState {
        let row = fact.row().expect("every fact has a row");
        HookState::Active(&row.ways[way])
    }

    #[test]
    fn what_a_reset_needs_to_know_is_attached_before_it() {
        let order: Vec<_> = TABLE.iter().map(|row| row.fact).collect();
        let at = |fact| order.iter().position(|known| *known == fact);
        assert!(at(Fact::Ownership) < at(Fact::Acceptor));
        assert!(at(Fact::Acceptor) < at(Fact::ResetSent));
        assert!(at(Fact::ResetSent) < at(Fact::StatelessResetSent));
        assert!(at(Fact::ReceivedSegment) < at(Fact::ResetReceived));
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
    fn a_shared_program_is_attached_by_an_earlier_row() {
        for (index, row) in TABLE.iter().enumerate() {
            let shared = row.ways.iter().flat_map(|way| way.programs);
            for program in shared.filter(|program| program.attachment == Attachment::Shared) {
                let mut earlier = TABLE[..index].iter().flat_map(|row| row.ways);
                assert!(
                    earlier.any(|way| way.programs.iter().any(|other| {
                        other.name == program.name && other.attachment != Attachment::Shared
                    })),
                    "{}",
                    program.name
                );
            }
        }
    }

    #[test]
    fn a_lesser_way_stands_below_a_better_one() {
        for row in TABLE {
            assert!(row.ways.first().is_some_and(|way| way.costs.is_none()));
        }
    }

    #[test]
    fn ownership_alone_is_not_useful() {
        let mut hooks = Hooks::default();
        hooks.note(Fact::Ownership, state_of(Fact::Ownership, 0));
        hooks.note(
            Fact::ResetSent,
            HookState::Refused {
                why: "EPERM".to_owned(),
                costs: "c",
            },
        );
        hooks.note(
            Fact::Acceptor,
            HookState::Refused {
                why: "EPERM".to_owned(),
                costs: "c",
            },
        );
        assert!(!hooks.is_useful() && !hooks.has_reason());
        assert_eq!(
            hooks.refusals().collect::<Vec<_>>(),
            ["reset_sent: EPERM; c"]
        );
        assert_eq!(
            hooks.missing_extras().collect::<Vec<_>>(),
            ["acceptor: EPERM; c"]
        );
        hooks.note(Fact::Packets, state_of(Fact::Packets, 0));
        assert!(hooks.is_useful());
    }

    #[test]
    fn a_fallback_is_reported_with_its_cost() {
        let mut hooks = Hooks::default();
        hooks.note(Fact::ResetSent, state_of(Fact::ResetSent, 0));
        hooks.note(Fact::ActiveReason, state_of(Fact::ActiveReason, 1));
        let fallbacks: Vec<_> = hooks.lesser().collect();
        assert_eq!(fallbacks.len(), 1);
        assert!(fallbacks[0].starts_with("active_reason by socket state: "));
    }

    #[test]
    fn the_reason_is_known_by_the_program_that_reads_it() {
        for (way, expected) in [(0, true), (1, false)] {
            let mut hooks = Hooks::default();
            hooks.note(Fact::ResetSent, state_of(Fact::ResetSent, way));
            assert_eq!(hooks.has_reason(), expected);
        }
    }
}
