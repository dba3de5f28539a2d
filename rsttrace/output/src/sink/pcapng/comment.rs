//! The comment of a packet.

use std::borrow::Cow;
use std::time::Duration;

use crate::record::Record;
use crate::text;
use crate::words;

/// Characters of one line; an option holds 65,535 bytes.
const LINE: usize = 800;
/// Pieces of advice.
const ADVICE: usize = 4;

/// The summary, who and why, the process, the silence, what to do: a line each.
pub(super) fn comment(record: &Record) -> String {
    let verdict = &record.verdict;
    let mut lines = vec![
        line(verdict.summary()).into_owned(),
        format!(
            "{} {} {}, severity {}",
            verdict.origin, verdict.cause, verdict.confidence, verdict.severity
        ),
    ];
    if let Some(process) = &record.process {
        let mut text = format!(
            "process {}, {}",
            words::name(&process.comm, process.pid),
            process.role
        );
        if let Some(unit) = &process.unit {
            text.push_str(&format!(", {unit}"));
        }
        if let Some(container) = &process.container_id {
            text.push_str(&format!(", container {container}"));
        }
        if let Some(names) = &process.workload {
            let of = [
                ("container name", &names.container),
                ("pod", &names.pod),
                ("namespace", &names.namespace),
            ];
            for (what, name) in of {
                if let Some(name) = name {
                    text.push_str(&format!(", {what} {name}"));
                }
            }
        }
        lines.push(line(&text).into_owned());
    }
    if let Some(quiet) = record.idle.as_ref().and_then(|idle| idle.quiet_before) {
        let quiet = Duration::try_from_secs_f64(quiet).unwrap_or_default();
        lines.push(format!("idle for {} before it", words::silence(quiet)));
    }
    let advice = verdict.advice().iter().take(ADVICE);
    lines.extend(advice.map(|advice| format!("→ {}", line(advice))));
    if record
        .packet
        .as_ref()
        .is_none_or(|packet| packet.ttl.is_none())
    {
        lines.push(
            "reconstructed from kernel state: not seen on the wire; TTL 0 means \"unknown\""
                .to_owned(),
        );
    }
    lines.join("\n")
}

/// Text from records on one line of bounded length, without terminal control characters.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LINE) {
        None => text::escape(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text::escape(&text[..end]))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn hostile() -> Record {
        serde_json::from_str(include_str!(
            "../../../../tests/data/records/hostile_names.json"
        ))
        .unwrap()
    }

    #[test]
    fn nothing_in_a_comment_is_obeyed_but_its_own_line_breaks() {
        let text = comment(&hostile());
        assert!(
            !text.chars().any(|c| c != '\n' && text::is_unsafe(c)),
            "{text:?}"
        );
        assert!(text.contains("process \\x1b]0;pwn"), "{text}");
    }

    #[test]
    fn a_comment_fits_into_its_option_whatever_the_record_says() {
        let mut record = hostile();
        record
            .verdict
            .edit(|text| text.summary = "\u{202e}".repeat(100_000));
        record
            .verdict
            .edit(|text| text.advice = vec!["\u{202e}".repeat(100_000).into(); 100]);
        assert!(comment(&record).len() < usize::from(u16::MAX));
    }

    #[test]
    fn what_was_not_on_the_wire_says_so() {
        let mut record = hostile();
        assert!(comment(&record).contains("not seen on the wire"));
        record = serde_json::from_str(include_str!(
            "../../../../tests/data/records/idle_timeout_middlebox.json"
        ))
        .unwrap();
        assert!(!comment(&record).contains("not seen on the wire"));
        assert!(comment(&record).contains("idle for 300.0 s before it"));
    }
}
