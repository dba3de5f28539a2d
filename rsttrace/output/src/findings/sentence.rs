//! Sentences of findings.

use std::time::Duration;

use super::finding::{Finding, MOST_VALUES, Service};
use crate::causes::{Many, definition};
use crate::record::Cause;
use crate::text::escape;
use crate::thresholds::IDLE;
use crate::words::{count, silence, things};

/// Devices that are named.
const MOST_DEVICES: usize = 3;
/// Silences this near to each other are one length: a part of it, or seconds.
const ONE_LENGTH: (f64, f64) = (0.02, 0.5);

/// The finding as one sentence, without a full stop. Control characters are escaped, HTML is not.
pub(crate) fn sentence(finding: &Finding) -> String {
    let claim = claim(finding);
    let doubt = match doubt(finding) {
        // Says it itself, or claims nothing.
        _ if finding.kind.cause == Cause::IdleTimeout || finding.is_unknown() => String::new(),
        Doubt::None => String::new(),
        Doubt::All(word) => format!("{word}: "),
        Doubt::Some(parts) => format!("{parts}: "),
    };
    let text = format!("{doubt}{claim}");
    // A process is called what it is called.
    if finding.kind.process.is_some() && text.starts_with(&subject(finding)) {
        return text;
    }
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// How sure a finding is.
enum Doubt {
    None,
    /// All of its records are as sure.
    All(&'static str),
    /// How many are how sure.
    Some(String),
}

fn doubt(finding: &Finding) -> Doubt {
    let [certain, likely, possible] = finding.sure;
    match (certain, likely, possible) {
        (_, 0, 0) => Doubt::None,
        (0, _, 0) => Doubt::All("likely"),
        (0, 0, _) => Doubt::All("possibly"),
        _ => {
            let parts = [
                (certain, "certainly"),
                (likely, "likely"),
                (possible, "possibly"),
            ];
            let parts: Vec<_> = parts
                .iter()
                .filter(|(number, _)| *number > 0)
                .map(|(number, word)| format!("{word} for {}", count(*number)))
                .collect();
            Doubt::Some(parts.join(", "))
        }
    }
}

fn claim(finding: &Finding) -> String {
    definition(finding.kind.cause).many(&many(finding))
}

fn many(finding: &Finding) -> Many {
    let of = |thing: &str| format!("{} {}", things(finding.count, thing), path(finding));
    let owners: Vec<_> = finding.owners.iter().map(|it| escape(it)).collect();
    let (sure, sure_in_parts) = match doubt(finding) {
        Doubt::None => ("", String::new()),
        Doubt::All(word) => (word, String::new()),
        Doubt::Some(parts) => ("", format!(" ({parts})")),
    };
    let mut devices: Vec<_> = finding.devices.iter().collect();
    devices.sort_by_key(|&(device, number)| (device.0, std::cmp::Reverse(*number), &device.1));
    let named = devices.iter().take(MOST_DEVICES);
    Many {
        is_one: finding.count == 1,
        subject: subject(finding),
        connections: of("connection"),
        attempts: of("attempt"),
        resets: of("reset"),
        of_owner: match &owners[..] {
            [one] => format!(" of {one}"),
            _ => String::new(),
        },
        after_silence: quiet(finding),
        origin: finding.kind.origin,
        silence: length(finding),
        sure,
        sure_in_parts,
        devices: named
            .map(|(device, _)| escape(&device.1).into_owned())
            .collect(),
        more_devices: devices.len().saturating_sub(MOST_DEVICES),
        learned: finding.learned.map(|(timeout, samples, of)| {
            let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
            (timeout, samples, of)
        }),
    }
}

/// ` after 300.0 ± 0.4 s of idle time`, where that is notable.
fn quiet(finding: &Finding) -> String {
    match (finding.silence(), length(finding)) {
        (Some((shortest, ..)), Some(length)) if shortest >= IDLE.as_secs_f64() => {
            format!(" after {length} of idle time")
        }
        _ => String::new(),
    }
}

/// `300.0 ± 0.4 s` if all are about as long, else `1.2 s to 5 min 0 s`.
fn length(finding: &Finding) -> Option<String> {
    let (shortest, middle, longest) = finding.silence()?;
    let shown = |seconds: f64| silence(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let far = (longest - middle).max(middle - shortest);
    let near = far <= (middle * ONE_LENGTH.0).max(ONE_LENGTH.1);
    Some(
        if finding.quiets.len() == 1 || shown(shortest) == shown(longest) {
            shown(middle)
        } else if near && longest < 3_600.0 {
            // Rounded up: no sample is farther.
            format!("{middle:.1} ± {:.1} s", (far * 10.0).ceil() / 10.0)
        } else {
            format!("{} to {}", shown(shortest), shown(longest))
        },
    )
}

/// Who did it, or `a process`.
fn subject(finding: &Finding) -> String {
    let Some(comm) = &finding.kind.process else {
        return "a process".to_owned();
    };
    let comm = escape(comm);
    let doubt = if finding.inherited {
        " (or a worker of it)"
    } else {
        ""
    };
    format!("{comm}{doubt}")
}

/// `from 10.0.3.0/24 to port 8080`, `to 10.0.5.2:5432`.
fn path(finding: &Finding) -> String {
    let networks: Vec<_> = finding.networks.iter().collect();
    let from = match networks[..] {
        [one] => one.to_string(),
        _ => format!("{} networks", number_of(networks.len())),
    };
    match finding.kind.service {
        Service::Local(port) => format!("from {from} to port {port}"),
        Service::Remote(address, port) => {
            format!("to {}", std::net::SocketAddr::new(address, port))
        }
        Service::Several => {
            let ports: Vec<_> = finding.ports.iter().collect();
            match ports[..] {
                [] => format!("with {from}"),
                [one] => format!("with {from}, port {one}"),
                _ => {
                    let ports = number_of(ports.len());
                    match finding.serves {
                        [true, false] => format!("from {from} to {ports} ports"),
                        [false, true] => format!("to {ports} ports of {from}"),
                        _ => format!("with {from} on {ports} ports"),
                    }
                }
            }
        }
    }
}

/// `12`; `1,024 or more`, where no more are kept.
pub(crate) fn number_of(kept: usize) -> String {
    let more = if kept >= MOST_VALUES { " or more" } else { "" };
    format!("{}{more}", count(kept as u64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::finding::Findings;
    use super::*;
    use crate::record::sample as record;
    use crate::record::{Confidence, Record};

    fn sentences(records: &[Record]) -> Vec<String> {
        let mut findings = Findings::default();
        for record in records {
            findings.add(record);
        }
        findings.finish().iter().map(sentence).collect()
    }

    fn silent(seconds: f64) -> Record {
        let mut record = record();
        record.idle.as_mut().unwrap().quiet_before = Some(seconds);
        record
    }

    #[test]
    fn an_idle_timeout_says_how_long_how_sure_and_whose() {
        let text = sentences(&[silent(299.9), silent(300.0), silent(300.4)]);
        assert_eq!(
            text,
            [
                "3 connections from 10.0.3.0/24 to port 8080 were reset after 300.0 ± 0.4 s of idle time: likely an idle timeout \
              of a device on the path; it matches IPVS (tcp timeout set to 300 s); 7 of 8 idle resets on this path came at 300.0 s"
            ]
        );
    }

    #[test]
    fn silences_that_differ_are_a_range() {
        let text = sentences(&[silent(12.0), silent(300.0)]).concat();
        assert!(
            text.contains("after 12.0 s to 300.0 s of idle time"),
            "{text}"
        );
    }

    #[test]
    fn doubt_is_said_first() {
        let mut record = record();
        record.verdict.cause = Cause::LingerZero;
        let text = sentences(&[record.clone()]).concat();
        assert!(
            text.starts_with("Likely: http-nio-8080-e closed 1 connection"),
            "{text}"
        );
        record.verdict.confidence = Confidence::Certain;
        let text = sentences(&[record]).concat();
        assert!(text.starts_with("http-nio"), "{text}");
    }

    #[test]
    fn every_cause_has_a_sentence_of_its_own() {
        let mut all = std::collections::BTreeSet::new();
        for cause in Cause::ALL {
            let mut record = record();
            record.verdict.cause = *cause;
            all.insert(sentences(&[record]).concat());
        }
        assert_eq!(all.len(), Cause::ALL.len());
    }
}
