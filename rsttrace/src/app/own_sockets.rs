//! Resets of rsttrace's own sockets: the metrics server and `probe`.
//!
//! No service loses anything by them. As faults they would let any client of the metrics server fill the history and raise alerts.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::record::{Direction, Evidence, EvidenceKind, Output, Record, Severity};

/// Ports that are remembered: the metrics server has one.
const MOST: usize = 8;

/// A closed socket answers for no longer (TIME_WAIT); then the port may be somebody else's.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(60);

/// Knows the sockets of rsttrace by the name and the user of their process, live and in a recording. Those of an rsttrace that does
/// not run as root stay what they are.
#[derive(Debug, Default)]
pub struct OwnSockets {
    /// Namespaces and ports of resets that it has sent, and the time of the last one.
    ports: VecDeque<(Option<u32>, u16, Timestamp)>,
}

impl OwnSockets {
    /// Makes a reset of an own socket noise, and says why.
    pub fn mark(&mut self, output: &mut Output) {
        if let Output::Reset(record) = output
            && record.direction == Direction::Sent
            && record.verdict.severity != Severity::Noise
            && self.owns(record)
        {
            record.verdict.severity = Severity::Noise;
            if let Some(incident) = &mut record.incident {
                incident.severity = Severity::Noise;
            }
            record.verdict.edit(|text| {
                let why = "a socket of rsttrace itself: no service lost a connection";
                let evidence = Evidence::new(EvidenceKind::LocalSender, why);
                text.evidence.push(evidence);
                text.advice.clear();
            });
        }
    }

    /// A closed socket may have no process any more.
    fn owns(&mut self, record: &Record) -> bool {
        let Ok(time) = record.time.parse::<Timestamp>() else {
            return false;
        };
        let is_same = |(netns, port, _): &(Option<u32>, u16, Timestamp)| {
            (*netns, *port) == (record.netns, record.local.port)
        };
        let known = self.ports.iter().position(is_same);
        match &record.process {
            None => known.is_some_and(|at| time.duration_since(self.ports[at].2) <= REMEMBERED),
            Some(process) => {
                // Any user can give a process this name.
                let is_root = process.uid == Some(0);
                let owns = is_root && *process.comm == *env!("CARGO_PKG_NAME");
                if let Some(at) = known {
                    self.ports.remove(at);
                }
                if owns {
                    self.ports.truncate(MOST - 1);
                    self.ports
                        .push_front((record.netns, record.local.port, time));
                }
                owns
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn fault(comm: Option<&str>, port: u16) -> Output {
        fault_at("2026-12-01T12:00:00Z", comm, port)
    }

    fn fault_at(time: &str, comm: Option<&str>, port: u16) -> Output {
        let text = include_str!("../../tests/data/records/close_with_unread_data.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        record.local.port = port;
        record.time = time.into();
        match comm {
            None => record.process = None,
            Some(comm) => {
                let process = record.process.as_mut().unwrap();
                (process.comm, process.uid) = (comm.into(), Some(0));
            }
        }
        Output::Reset(Box::new(record))
    }

    fn severity(own: &mut OwnSockets, mut output: Output) -> Severity {
        own.mark(&mut output);
        let Output::Reset(record) = output else {
            panic!("a reset expected");
        };
        if record.verdict.severity == Severity::Noise {
            let evidence = &record.verdict.evidence();
            let last = &evidence.last().unwrap().detail;
            assert!(last.contains("rsttrace itself"), "{last}");
        }
        record.verdict.severity
    }

    #[test]
    fn only_resets_of_own_sockets_are_noise() {
        let mut own = OwnSockets::default();
        assert_eq!(severity(&mut own, fault(None, 9472)), Severity::Fault);
        assert_eq!(
            severity(&mut own, fault(Some("rsttrace"), 9472)),
            Severity::Noise
        );
        assert_eq!(severity(&mut own, fault(None, 9472)), Severity::Noise);
        assert_eq!(severity(&mut own, fault(None, 80)), Severity::Fault);
        for (time, expected) in [
            ("2026-12-01T12:00:59Z", Severity::Noise),
            ("2026-12-01T12:01:01Z", Severity::Fault),
        ] {
            assert_eq!(severity(&mut own, fault_at(time, None, 9472)), expected);
        }
        // It has another owner.
        severity(&mut own, fault(Some("rsttrace"), 82));
        assert_eq!(
            severity(&mut own, fault(Some("nginx"), 82)),
            Severity::Fault
        );
        assert_eq!(severity(&mut own, fault(None, 82)), Severity::Fault);
        assert_eq!(
            severity(&mut own, fault(Some("nginx"), 9472)),
            Severity::Fault
        );
        let mut namesake = fault(Some("rsttrace"), 81);
        if let Output::Reset(record) = &mut namesake {
            record.process.as_mut().unwrap().uid = Some(1_000);
        }
        assert_eq!(severity(&mut own, namesake), Severity::Fault);
        for port in 1..1_000 {
            severity(&mut own, fault(Some("rsttrace"), port));
        }
        assert_eq!(own.ports.len(), MOST);
    }
}
