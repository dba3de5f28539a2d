//! Filter of records.
//!
//! Values of one kind are alternatives, kinds narrow each other down, and whatever is to be left out wins. An expression narrows down
//! further.

mod expression;

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

pub use self::expression::{Expression, Primitive, Side};
use crate::record::{
    Cause, Class, Direction, Endpoint, FailureKind, FailureRecord, Process, Record, Severity,
    SuppressedRecord,
};

/// What is wanted and what is not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// A record must match each kind that has values.
    pub only: Terms,
    /// A record must match none of these.
    pub except: Terms,
    /// What it must match besides; absent: anything.
    pub expression: Option<Expression>,
}

impl Filter {
    /// Whether the record is wanted.
    pub fn matches(&self, record: &Record) -> bool {
        self.wants(&Subject {
            ends: [Some(record.source()), Some(record.destination())],
            processes: [record.process.as_ref(), record.owner.as_deref()],
            netns: record.netns,
            cause: Some(record.verdict.cause),
            class: record.verdict.class,
            severity: record.verdict.severity,
            direction: Some(record.direction),
            failure: None,
        })
    }

    /// Whether the failure is wanted. It has neither cause nor class nor direction.
    pub fn matches_failure(&self, failure: &FailureRecord) -> bool {
        self.wants(&Subject {
            ends: [failure.local.as_ref(), failure.remote.as_ref()],
            processes: [failure.process.as_ref(), None],
            netns: failure.netns,
            cause: None,
            class: None,
            severity: failure.verdict.severity,
            direction: None,
            failure: Some(failure.verdict.kind),
        })
    }

    fn wants(&self, subject: &Subject<'_>) -> bool {
        self.only.kinds(subject).all(|kind| kind != Some(false))
            && self.except.kinds(subject).all(|kind| kind != Some(true))
            && (self.expression.as_ref()).is_none_or(|expression| expression.matches(subject))
    }
}

/// What a filter looks at.
struct Subject<'a> {
    /// The source first; that of a connect is the end that connects.
    ends: [Option<&'a Endpoint>; 2],
    processes: [Option<&'a Process>; 2],
    netns: Option<u32>,
    cause: Option<Cause>,
    class: Option<Class>,
    severity: Severity,
    direction: Option<Direction>,
    failure: Option<FailureKind>,
}

impl Filter {
    /// Whether it names a cause, a class or noise, which is hidden otherwise.
    pub fn asks_for_noise(&self) -> bool {
        let only = &self.only;
        !only.causes.is_empty()
            || !only.classes.is_empty()
            || only.severities.contains(&Severity::Noise)
            || (self.expression.as_ref()).is_some_and(Expression::asks_for_noise)
    }

    /// Whether it wants everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether resets that were counted together may be among those that are wanted: what the sum does not tell counts as
    /// wanted.
    pub fn may_match(&self, sum: &SuppressedRecord) -> bool {
        let network: Option<IpNet> = sum
            .remote_network
            .as_deref()
            .and_then(|net| net.parse().ok());
        // The port that serves; a port of the other end is hardly ever asked for.
        let port = sum.local_port.or(sum.remote_port);
        // What came in for a socket may have missed it.
        let may_be = |direction| match sum.direction {
            Some(Direction::Received) => {
                matches!(direction, Direction::Received | Direction::Observed)
            }
            Some(known) => known == direction,
            None => true,
        };
        let only = &self.only;
        let except = &self.except;
        if let Some(expression) = &self.expression
            && expression.matches_sum(sum) == Some(false)
        {
            return false;
        }
        // A sum is of resets.
        if !only.failures.is_empty() {
            return false;
        }
        let is_one = |values: &[Cause]| sum.cause.map(|cause| values.contains(&cause));
        any(&only.netns, |inode| {
            sum.netns.is_none_or(|netns| netns == *inode)
        }) != Some(false)
            && any(&only.directions, |direction| may_be(*direction)) != Some(false)
            && any(&only.ports, |ports| {
                port.is_none_or(|port| ports.contains(port))
            }) != Some(false)
            && (only.causes.is_empty() || is_one(&only.causes) != Some(false))
            && is_one(&except.causes) != Some(true)
            && any(&except.directions, |direction| {
                sum.direction == Some(*direction)
            }) != Some(true)
            && any(&except.netns, |inode| sum.netns == Some(*inode)) != Some(true)
            && any(&except.ports, |ports| {
                port.is_some_and(|port| ports.contains(port))
            }) != Some(true)
            && any(&except.addresses, |net| {
                network.is_some_and(|network| net.contains(&network))
            }) != Some(true)
    }
}

/// Values by kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Ports of either end.
    pub ports: Vec<Ports>,
    /// Addresses of either end.
    pub addresses: Vec<IpNet>,
    /// Processes, or owners of the socket.
    pub processes: Vec<ProcessTerm>,
    /// systemd units.
    pub units: Vec<String>,
    /// Container ids or their first six digits and more; names of containers, which may end with `*`.
    pub containers: Vec<String>,
    /// Pod uids or their first six digits and more; names of pods, alone or behind their namespace and `/`, which may end with `*`.
    pub pods: Vec<String>,
    /// Inode numbers of network namespaces.
    pub netns: Vec<u32>,
    /// Causes.
    pub causes: Vec<Cause>,
    /// Classes.
    pub classes: Vec<Class>,
    /// Severities.
    pub severities: Vec<Severity>,
    /// Directions.
    pub directions: Vec<Direction>,
    /// Kinds of failures without a reset.
    pub failures: Vec<FailureKind>,
}

impl Terms {
    /// For each kind: whether one of its values matches; `None` for a kind without values.
    fn kinds<'a>(&'a self, subject: &'a Subject<'a>) -> impl Iterator<Item = Option<bool>> + 'a {
        let ends = || subject.ends.into_iter().flatten();
        let processes = || subject.processes.into_iter().flatten();
        [
            any(&self.ports, |ports| {
                ends().any(|end| ports.contains(end.port))
            }),
            any(&self.addresses, |net| {
                ends().any(|end| covers(net, end.address))
            }),
            any(&self.processes, |term| {
                processes().any(|process| term.matches(process))
            }),
            any(&self.units, |unit| {
                processes().any(|process| is_unit(process, unit))
            }),
            any(&self.containers, |term| {
                processes().any(|process| is_container(process, term))
            }),
            any(&self.pods, |term| {
                processes().any(|process| is_pod(process, term))
            }),
            any(&self.netns, |inode| subject.netns == Some(*inode)),
            any(&self.causes, |cause| subject.cause == Some(*cause)),
            any(&self.classes, |class| subject.class == Some(*class)),
            any(&self.severities, |severity| subject.severity == *severity),
            any(&self.directions, |direction| {
                subject.direction == Some(*direction)
            }),
            any(&self.failures, |kind| subject.failure == Some(*kind)),
        ]
        .into_iter()
    }
}

/// A port or a range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl Ports {
    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// A process as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessTerm {
    /// By number, in the PID namespace of rsttrace.
    Pid(u32),
    /// By the name that `ps` shows or that of its executable.
    Name(String),
}

impl ProcessTerm {
    /// Longest name the kernel keeps (TASK_COMM_LEN without the terminator); longer ones are cut.
    const COMM_MAX: usize = 15;

    fn matches(&self, process: &Process) -> bool {
        match self {
            Self::Pid(pid) => process.pid == *pid && !process.outside,
            Self::Name(name) => {
                let cut = name.len() > Self::COMM_MAX
                    && process.comm.len() == Self::COMM_MAX
                    && name.starts_with(process.comm.as_str());
                let executable = process.exe.as_deref().map(Path::new);
                process.comm == *name
                    || cut
                    || executable
                        .and_then(Path::file_name)
                        .is_some_and(|file| file == name.as_str())
            }
        }
    }
}

fn any<T>(values: &[T], matches: impl Fn(&T) -> bool) -> Option<bool> {
    (!values.is_empty()).then(|| values.iter().any(matches))
}

fn covers(net: &IpNet, address: IpAddr) -> bool {
    net.contains(&address.to_canonical())
}

fn is_unit(process: &Process, unit: &str) -> bool {
    process.unit.as_deref().is_some_and(|have| {
        have == unit || (!unit.contains('.') && have.strip_suffix(".service") == Some(unit))
    })
}

fn is_container(process: &Process, term: &str) -> bool {
    let names = process.workload.as_ref();
    is_id(process.container_id.as_deref(), term)
        || is_named(names.and_then(|names| names.container.as_deref()), term)
}

fn is_pod(process: &Process, term: &str) -> bool {
    let names = process.workload.as_ref();
    let pod = names.and_then(|names| names.pod.as_deref());
    let namespace = names.and_then(|names| names.namespace.as_deref());
    let is_name = match term.split_once('/') {
        Some((within, term)) => is_named(namespace, within) && is_named(pod, term),
        None => is_named(pod, term),
    };
    is_name || is_id(process.pod_uid.as_deref(), term)
}

/// Whether an id is this one, or begins so. Fewer than six hexadecimal digits, as of `db`, are a name.
fn is_id(id: Option<&str>, term: &str) -> bool {
    let is_beginning = term.len() >= 6
        && term
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_beginning {
        begins(id, term)
    } else {
        id.is_some_and(|id| id.eq_ignore_ascii_case(term))
    }
}

/// Whether a name is this one, or begins so if it ends with `*`.
fn is_named(name: Option<&str>, term: &str) -> bool {
    match term.strip_suffix('*') {
        Some(prefix) => begins(name, prefix),
        None => name.is_some_and(|name| name.eq_ignore_ascii_case(term)),
    }
}

fn begins(value: Option<&str>, prefix: &str) -> bool {
    value.is_some_and(|value| {
        value
            .get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn record() -> Record {
        serde_json::from_str(include_str!(
            "../../tests/data/records/idle_timeout_middlebox.json"
        ))
        .unwrap()
    }

    fn only(terms: Terms) -> bool {
        let filter = Filter {
            only: terms,
            ..Filter::default()
        };
        filter.matches(&record())
    }

    fn except(terms: Terms) -> bool {
        let filter = Filter {
            except: terms,
            ..Filter::default()
        };
        filter.matches(&record())
    }

    fn ports(first: u16, last: u16) -> Terms {
        Terms {
            ports: vec![Ports { first, last }],
            ..Terms::default()
        }
    }

    fn process(name: &str) -> Terms {
        Terms {
            processes: vec![ProcessTerm::Name(name.into())],
            ..Terms::default()
        }
    }

    #[test]
    fn without_terms_everything_is_wanted() {
        assert!(Filter::default().matches(&record()));
    }

    #[test]
    fn a_port_matches_either_end() {
        assert!(only(ports(8080, 8080)));
        assert!(only(ports(43122, 43122)));
        assert!(!only(ports(80, 80)));
        assert!(only(ports(8000, 8999)));
        assert!(!except(ports(8080, 8080)));
    }

    #[test]
    fn an_address_matches_either_end_and_its_network() {
        let net = |text: &str| Terms {
            addresses: vec![text.parse().unwrap()],
            ..Terms::default()
        };
        assert!(only(net("10.0.3.7/32")));
        assert!(only(net("10.0.9.0/24")));
        assert!(!only(net("192.168.0.0/16")));
        assert!(!only(net("::/0")));
        assert!(!except(net("10.0.0.0/8")));
    }

    #[test]
    fn values_of_one_kind_are_alternatives() {
        assert!(only(Terms {
            severities: vec![Severity::Noise, Severity::Fault],
            ..Terms::default()
        }));
    }

    #[test]
    fn kinds_narrow_each_other_down() {
        assert!(!only(Terms {
            severities: vec![Severity::Refused],
            ..ports(8080, 8080)
        }));
    }

    #[test]
    fn leaving_out_wins_over_wanting() {
        let filter = Filter {
            only: ports(8080, 8080),
            except: process("java"),
            ..Filter::default()
        };
        assert!(!filter.matches(&record()));
    }

    #[test]
    fn a_process_is_known_by_pid_name_and_executable() {
        let by_pid = Terms {
            processes: vec![ProcessTerm::Pid(412)],
            ..Terms::default()
        };
        assert!(only(by_pid.clone()));
        let mut outside = record();
        outside.process.as_mut().unwrap().outside = true;
        assert!(
            !Filter {
                only: by_pid,
                ..Filter::default()
            }
            .matches(&outside)
        );
        assert!(only(process("http-nio-8080-e")));
        assert!(only(process("java")));
        assert!(!only(process("jav")));
    }

    #[test]
    fn a_name_longer_than_the_kernel_keeps_still_matches() {
        assert!(only(process("http-nio-8080-exec-1")));
        assert!(!only(process("http-nio-8081-exec-1")));
    }

    #[test]
    fn a_unit_needs_no_suffix_and_ids_may_be_cut_short() {
        let unit = |name: &str| Terms {
            units: vec![name.into()],
            ..Terms::default()
        };
        assert!(only(unit("orders.service")));
        assert!(only(unit("orders")));
        assert!(!only(unit("orders.slice")));
        assert!(only(Terms {
            pods: vec!["3F2A6C".into()],
            ..Terms::default()
        }));
        assert!(!only(Terms {
            containers: vec!["beefed".into()],
            ..Terms::default()
        }));
    }

    #[test]
    fn a_short_name_in_hexadecimal_digits_is_not_the_beginning_of_an_id() {
        let mut record = record();
        let id = "db5f1c0a".repeat(8);
        for (id, container, expected) in [
            (id.as_str(), "db", false),
            (&id, "db5f1", false),
            (&id, "db5f1c", true),
            (&id, "DB5F1C0adb", true),
            (&id, "db5f1d", false),
            (&id, &id, true),
            // Names of LXC.
            ("web1", "web1", true),
            ("web1", "web", false),
        ] {
            record.process.as_mut().unwrap().container_id = Some(id.into());
            let containers = vec![container.to_owned()];
            let terms = Terms {
                containers,
                ..Terms::default()
            };
            let filter = Filter {
                only: terms,
                ..Filter::default()
            };
            assert_eq!(filter.matches(&record), expected, "{container} of {id}");
        }
        assert!(!only(Terms {
            pods: vec!["3f2a6".into()],
            ..Terms::default()
        }));
    }

    #[test]
    fn a_container_and_a_pod_are_known_by_their_names() {
        let mut record = record();
        let names = crate::record::Workload {
            namespace: Some("shop".into()),
            pod: Some("web-7d4b9c5f6d-x2x4v".into()),
            container: Some("nginx".into()),
            ..Default::default()
        };
        record.process.as_mut().unwrap().workload = Some(Box::new(names));
        let matches = |terms| {
            let filter = Filter {
                only: terms,
                ..Filter::default()
            };
            filter.matches(&record)
        };
        for (pod, expected) in [
            ("web-7d4b9c5f6d-x2x4v", true),
            ("shop/web-7d4b9c5f6d-x2x4v", true),
            ("shop/web-*", true),
            ("shop/*", true),
            ("web-*", true),
            ("*/web-*", true),
            ("web", false),
            ("web-", false),
            ("other/web-*", false),
            ("shop", false),
        ] {
            let pods = vec![pod.to_owned()];
            let terms = Terms {
                pods,
                ..Terms::default()
            };
            assert_eq!(matches(terms), expected, "{pod}");
        }
        for (container, expected) in [("nginx", true), ("ngin*", true), ("ngin", false)] {
            let containers = vec![container.to_owned()];
            let terms = Terms {
                containers,
                ..Terms::default()
            };
            assert_eq!(matches(terms), expected, "{container}");
        }
    }

    #[test]
    fn what_is_not_known_matches_nothing_and_is_not_left_out() {
        let mut record = record();
        record.process = None;
        let filter = |terms| Filter {
            only: terms,
            ..Filter::default()
        };
        assert!(!filter(process("java")).matches(&record));
        let filter = Filter {
            except: process("java"),
            ..Filter::default()
        };
        assert!(filter.matches(&record));
    }

    #[test]
    fn netns_cause_and_direction_are_compared_exactly() {
        assert!(only(Terms {
            netns: vec![4_026_532_281],
            causes: vec![Cause::IdleTimeout],
            directions: vec![Direction::Received],
            ..Terms::default()
        }));
        assert!(!only(Terms {
            netns: vec![1],
            ..Terms::default()
        }));
    }
}
