//! Comma-separated values: one line per reset, fixed columns.
//!
//! Values are quoted where RFC 4180 requires it. Unknown values are empty. Names come from processes of any user, so what a terminal
//! would obey is escaped, as in the table, and what a spreadsheet would compute begins with an apostrophe.

use std::io::{self, Write};
use std::time::Instant;

use super::Sink;
use crate::record::{Record, SuppressedRecord};
use crate::summary::Summary;
use crate::text::escape;

/// Names of the columns in their order. Append-only.
///
/// `count` is 1 for a reset, and the number of resets for a sum of a flood, which has no `number` and no addresses: `remote_address`
/// is its network then. Times are RFC 3339 UTC, `age`, `quiet` and timeouts seconds; `timeout` is the first that fits, `learned`
/// the one that this path has shown.
pub const COLUMNS: [&str; 36] = [
    "time",
    "count",
    "severity",
    "origin",
    "cause",
    "confidence",
    "direction",
    "local_address",
    "local_port",
    "remote_address",
    "remote_port",
    "pid",
    "process",
    "executable",
    "unit",
    "container",
    "pod",
    "netns",
    "interface",
    "state",
    "age",
    "quiet",
    "mode",
    "device",
    "timeout",
    "learned",
    "reason",
    "host",
    "boot",
    "number",
    "summary",
    "workload",
    "namespace",
    "pod_name",
    "container_name",
    "image",
];

/// Records to `out`.
pub struct Csv<O: Write> {
    out: csv::Writer<O>,
    begun: bool,
}

impl<O: Write> Csv<O> {
    /// Writes records to `out`.
    pub fn new(out: O) -> Self {
        Self {
            out: csv::Writer::from_writer(out),
            begun: false,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.out.write_record(COLUMNS)?;
        }
        Ok(())
    }

    fn row(&mut self, values: [(&str, String); COLUMNS.len()]) -> io::Result<()> {
        self.begin()?;
        debug_assert_eq!(values.each_ref().map(|(name, _)| *name), COLUMNS);
        Ok(self
            .out
            .write_record(values.map(|(_, value)| plain(&value)))?)
    }
}

/// A value that neither a terminal obeys nor a spreadsheet computes.
fn plain(value: &str) -> String {
    let escaped = escape(value);
    match escaped.trim_start().chars().next() {
        Some('=' | '+' | '-' | '@') => format!("'{escaped}"),
        _ => escaped.into_owned(),
    }
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

impl<O: Write> Sink for Csv<O> {
    fn record(&mut self, _now: Instant, record: &Record) -> io::Result<()> {
        let verdict = &record.verdict;
        let process = record.process.as_ref();
        let names = process.and_then(|it| it.workload.as_ref());
        let socket = record.socket.as_ref();
        let idle = record.idle.as_ref();
        let candidate = idle.and_then(|idle| idle.candidates.first());
        let learned = idle.and_then(|idle| idle.learned.as_deref());
        self.row([
            ("time", record.time.clone()),
            ("count", "1".to_owned()),
            ("severity", verdict.severity.to_string()),
            ("origin", verdict.origin.to_string()),
            ("cause", verdict.cause.to_string()),
            ("confidence", verdict.confidence.to_string()),
            ("direction", record.direction.to_string()),
            ("local_address", record.local.address.to_string()),
            ("local_port", record.local.port.to_string()),
            ("remote_address", record.remote.address.to_string()),
            ("remote_port", record.remote.port.to_string()),
            ("pid", shown(process.map(|it| it.pid))),
            ("process", shown(process.map(|it| &it.comm))),
            ("executable", shown(process.and_then(|it| it.exe.as_ref()))),
            ("unit", shown(process.and_then(|it| it.unit.as_ref()))),
            (
                "container",
                shown(process.and_then(|it| it.container_id.as_ref())),
            ),
            ("pod", shown(process.and_then(|it| it.pod_uid.as_ref()))),
            ("netns", shown(record.netns)),
            ("interface", shown(record.interface.as_ref())),
            ("state", shown(socket.map(|it| &it.state))),
            ("age", shown(socket.and_then(|it| it.age))),
            ("quiet", shown(idle.and_then(|it| it.quiet_before))),
            ("mode", shown(idle.and_then(|it| it.mode))),
            ("device", shown(candidate.map(|it| &it.device))),
            ("timeout", shown(candidate.map(|it| it.timeout))),
            ("learned", shown(learned.map(|it| it.timeout))),
            (
                "reason",
                shown(record.kernel.as_ref().and_then(|it| it.reason.as_ref())),
            ),
            ("host", shown(record.host.as_ref())),
            ("boot", record.id.boot.to_string()),
            ("number", record.id.number.to_string()),
            ("summary", verdict.summary().to_owned()),
            ("workload", shown(names.and_then(|it| it.name.as_ref()))),
            (
                "namespace",
                shown(names.and_then(|it| it.namespace.as_ref())),
            ),
            ("pod_name", shown(names.and_then(|it| it.pod.as_ref()))),
            (
                "container_name",
                shown(names.and_then(|it| it.container.as_ref())),
            ),
            ("image", shown(names.and_then(|it| it.image.as_ref()))),
        ])
    }

    fn suppressed(&mut self, _now: Instant, sum: &SuppressedRecord) -> io::Result<()> {
        let mut values = COLUMNS.map(|name| (name, String::new()));
        for (name, value) in &mut values {
            *value = match *name {
                "time" => sum.time.clone(),
                "count" => sum.count.to_string(),
                "cause" => shown(sum.cause),
                "direction" => shown(sum.direction),
                "local_port" => shown(sum.local_port),
                "remote_address" => shown(sum.remote_network.as_ref()),
                "remote_port" => shown(sum.remote_port),
                "netns" => shown(sum.netns),
                "state" => shown(sum.state.as_ref()),
                "reason" => shown(sum.reason.as_ref()),
                "host" => shown(sum.host.as_ref()),
                "summary" => super::suppressed::sentence(sum)
                    .trim_start_matches('+')
                    .to_owned(),
                _ => continue,
            };
        }
        self.row(values)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, _summary: &Summary) -> io::Result<()> {
        self.begin()?;
        self.out.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_row_is_obeyed_by_a_terminal_or_computed_by_a_spreadsheet() {
        let text = include_str!("../../../tests/data/records/hostile_names.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        record
            .verdict
            .edit(|text| text.summary = "=1+1,\"quoted\"\r\nand a second line".to_owned());
        let mut out = Vec::new();
        {
            let mut csv = Csv::new(&mut out);
            csv.record(Instant::now(), &record).unwrap();
            csv.finish(&Summary::default()).unwrap();
        }
        let mut reader = csv::Reader::from_reader(out.as_slice());
        assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let row = reader.records().next().unwrap().unwrap();
        let at = |name| COLUMNS.iter().position(|column| *column == name).unwrap();
        // Quotes and commas come back as they were.
        assert_eq!(
            &row[at("summary")],
            r#"'=1+1,"quoted"\x0d\x0aand a second line"#
        );
        assert_eq!(row[at("process")], escape(&record.process.unwrap().comm));
        let line = std::str::from_utf8(&out).unwrap();
        let unsafe_ones = line
            .chars()
            .filter(|c| *c != '\n' && crate::text::is_unsafe(*c));
        assert_eq!(unsafe_ones.count(), 0, "{line}");
    }

    #[test]
    fn names_that_any_user_can_choose_are_harmless() {
        for (name, shown) in [
            ("nginx", "nginx"),
            ("\x1b]0;pwn\x07", r"\x1b]0;pwn\x07"),
            ("a\rb\u{9b}c", r"a\x0db\u{9b}c"),
            ("\u{202e}gpj", r"\u{202e}gpj"),
            ("a\u{2028}b", r"a\u{2028}b"),
            ("=cmd|calc!A0", "'=cmd|calc!A0"),
            ("@SUM(1)", "'@SUM(1)"),
            ("-2+3", "'-2+3"),
            (" +1", "' +1"),
        ] {
            assert_eq!(plain(name), shown);
        }
    }

    #[test]
    fn without_records_the_columns_are_named_all_the_same() {
        let mut out = Vec::new();
        Csv::new(&mut out).finish(&Summary::default()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap().trim_end(),
            COLUMNS.join(",")
        );
    }
}
