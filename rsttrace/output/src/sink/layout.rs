//! The layout of one reset on a screen of a given width.
//!
//! From [`WIDE`] columns on the facts stand in columns on one line, the sentence behind them or, if that takes fewer
//! lines, below them. On narrower screens the first line says when, where and which process, the second who and why.

use std::borrow::Cow;
use std::net::SocketAddr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::dedup::More;
use crate::record::{
    Direction, Endpoint, FailureRecord, Process, Quality, Record, Role, Severity, Workload,
};
use crate::terminal::Palette;
use crate::text::{Piece, Words, escape, pad, truncate, width};
use crate::words::{self, count};

/// Least columns for the form with columns: its header needs as many.
const WIDE: usize = 114;
/// Where the flow begins: behind `12:03:41.201 recv `.
const FLOW: usize = 18;
/// Indent of the second line on narrow screens.
const NARROW_INDENT: usize = 4;
/// Least columns for the flow: two usual IPv4 addresses.
const FLOW_COLUMNS: usize = 33;
/// Columns from which on most processes and verdicts have the width of a column.
const ROOMY: usize = 160;
/// Least columns for the process, and where there is room.
const PROCESS_COLUMNS: [usize; 2] = [12, 22];
/// Columns for origin and confidence, where there is room.
const WHO_COLUMNS: usize = 21;
/// Longest process name shown whole: longer only if it has to be escaped.
const NAME_COLUMNS: usize = 32;
/// Longest unit name shown whole.
const UNIT_COLUMNS: usize = 28;
/// Longest names of a pod and its container, or of a container, shown whole.
const WORKLOAD_COLUMNS: usize = 48;
/// Characters of a container id that are shown, as docker and crictl do.
const SHORT_ID: usize = 12;
/// Characters of a pod uid that are shown: up to its first dash.
const SHORT_POD: usize = 8;
/// Least columns in which a sentence of several lines stands behind the cells.
const SENTENCE_COLUMNS: usize = 50;

/// The form of a line, and the lines made last.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Columns there are.
    pub width: usize,
    pub palette: Palette,
    clock: Clock,
    cells: Cells,
    /// Each with its end.
    lines: String,
}

/// Times in a zone.
#[derive(Clone, Debug)]
struct Clock {
    zone: TimeZone,
    /// The second that was shown last: the next record is likely of it, too.
    second: Second,
}

/// A second in the zone of the times.
#[derive(Clone, Debug, Default)]
struct Second {
    /// As a record has it: `2026-01-01T12:03:41`.
    shown: String,
    /// `12:03:41`.
    clock: String,
    /// Its day, with the zone's offset.
    day: String,
}

impl Layout {
    pub fn new(width: usize, palette: Palette, zone: TimeZone) -> Self {
        Self {
            width,
            palette,
            clock: Clock {
                zone,
                second: Second::default(),
            },
            cells: Cells::default(),
            lines: String::new(),
        }
    }

    /// What the columns are called.
    pub fn header(&self) -> String {
        let flow = format!("{:FLOW$}{}", "time         way", "local → or ← remote");
        let cells = if self.width >= WIDE {
            [
                pad(&flow, FLOW + FLOW_COLUMNS),
                pad("process", process_columns(self.width)),
                pad("ORIGIN confidence", who_columns(self.width)) + "  what happened → what to do",
            ]
        } else {
            [
                flow,
                "process".to_owned(),
                format!(
                    "\n{:NARROW_INDENT$}ORIGIN confidence  what happened → what to do",
                    ""
                ),
            ]
        };
        let lines: Vec<_> = cells
            .join("  ")
            .lines()
            .map(|line| self.palette.dim(line.trim_end()))
            .collect();
        lines.join("\n")
    }

    /// The day of a time, with the zone's offset; `None` if it is no time.
    pub fn day(&mut self, time: &str) -> Option<Cow<'_, str>> {
        self.clock.day(time)
    }

    /// Its lines, each with its end.
    pub fn record(&mut self, record: &Record) -> &str {
        let Self { clock, cells, .. } = self;
        cells.clear();
        clock.write(&record.time, &mut cells.start);
        cells.start.push(' ');
        cells.record(record);
        self.lay_out(record.verdict.severity)
    }

    /// The same on one line without the time, for logs that have their own.
    pub fn message(record: &Record) -> String {
        let mut cells = Cells::default();
        cells.record(record);
        cells.message()
    }

    /// Its lines, each with its end.
    pub fn failure(&mut self, failure: &FailureRecord) -> &str {
        let Self { clock, cells, .. } = self;
        cells.clear();
        clock.write(&failure.time, &mut cells.start);
        cells.start.push(' ');
        cells.failure(failure);
        self.lay_out(failure.verdict.severity)
    }

    /// As [`Layout::message`].
    pub fn failure_message(failure: &FailureRecord) -> String {
        let mut cells = Cells::default();
        cells.failure(failure);
        cells.message()
    }

    fn lay_out(&mut self, severity: Severity) -> &str {
        let Self { cells, lines, .. } = self;
        let Cells {
            start,
            local,
            rest,
            process,
            who,
            sentence,
        } = cells;
        lines.clear();
        let wide = self.width >= WIDE;
        let mut lines = Lines::new(self.width, lines);
        if width(start) + width(local) + width(rest) + 2 <= self.width {
            lines.indent = if wide { FLOW } else { NARROW_INDENT };
            start.push(' ');
            start.push_str(local);
            start.push(' ');
            start.push_str(rest);
            lines.cell(start, if wide { FLOW + FLOW_COLUMNS } else { 0 });
        } else {
            lines.indent = FLOW;
            start.push(' ');
            start.push_str(local);
            lines.cell(start, 0);
            lines.end();
            lines.cell(rest, 0);
            lines.indent = if wide { FLOW } else { NARROW_INDENT };
        }
        lines.cell(process, if wide { process_columns(self.width) } else { 0 });
        if !wide {
            lines.end();
        }
        let painted = self
            .palette
            .colors
            .then(|| self.palette.severity(severity, who));
        let columns = lines.cell_painted(who, painted.as_deref().unwrap_or(who));
        lines.owed = who_columns(self.width).saturating_sub(columns);
        lines.sentence(sentence, wide);
        lines.done()
    }

    /// Further resets like one that was shown, at a time.
    pub fn more(&mut self, more: &More, time: &str) -> &str {
        let mut since = String::new();
        self.clock.write(&more.since, &mut since);
        let (count, label) = (count(more.count), &more.label);
        self.notice(time, &format!("+{count} similar since {since}: {label}"))
    }

    /// What [`Layout::more`] calls the kind of a record.
    pub fn label(record: &Record) -> String {
        let (mut local, mut rest, mut process) = Default::default();
        flow(record, &mut local, &mut rest);
        processes(record, &mut process);
        let way = way(record.direction).trim_end();
        format!("{way} {local} {rest}  {process}  {}", record.verdict.cause)
    }

    /// What [`Layout::more`] calls the kind of a failure.
    pub fn failure_label(failure: &FailureRecord) -> String {
        let (mut local, mut rest, mut process) = Default::default();
        failed_flow(failure, &mut local, &mut rest);
        failed_process(failure, &mut process);
        format!("fail {local} {rest}  {process}  {}", failure.verdict.kind)
    }

    /// A line that is no reset.
    pub fn notice(&mut self, time: &str, text: &str) -> &str {
        let mut start = String::new();
        self.clock.write(time, &mut start);
        self.lines.clear();
        let mut lines = Lines::new(self.width, &mut self.lines);
        lines.indent = NARROW_INDENT;
        lines.cell(&start, 0);
        lines.sentence(text, false);
        lines.done();
        if self.palette.colors {
            let painted = self.lines.lines().map(|line| self.palette.dim(line) + "\n");
            self.lines = painted.collect();
        }
        &self.lines
    }
}

impl Clock {
    fn day(&mut self, time: &str) -> Option<Cow<'_, str>> {
        if self.in_second(time).is_some() {
            return Some(Cow::Borrowed(&self.second.day));
        }
        self.zoned(time).map(|time| Cow::Owned(day(&time)))
    }

    /// Adds the time of day, to the millisecond.
    fn write(&mut self, time: &str, out: &mut String) {
        if let Some(fraction) = self.in_second(time) {
            out.push_str(&self.second.clock);
            out.push_str(&fraction[..".000".len()]);
            return;
        }
        match self.zoned(time) {
            Some(zoned) => out.push_str(&zoned.strftime("%H:%M:%S%.3f").to_string()),
            None => out.push_str(&escape(time)),
        }
    }

    /// Has the second of a time as records have it in `second`; what follows it: its fraction and `Z`. Offsets of zones are whole
    /// seconds.
    fn in_second<'a>(&mut self, time: &'a str) -> Option<&'a str> {
        let (shown, rest) = time.split_at_checked("2026-01-01T12:03:41".len())?;
        let digits = rest.strip_prefix('.')?.strip_suffix('Z')?;
        if digits.len() != 9 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        if self.second.shown != shown {
            let zoned = self.zoned(time)?;
            self.second = Second {
                shown: shown.to_owned(),
                clock: zoned.strftime("%H:%M:%S").to_string(),
                day: day(&zoned),
            };
        }
        Some(rest)
    }

    fn zoned(&self, time: &str) -> Option<Zoned> {
        let time = time.parse::<Timestamp>().ok()?;
        Some(time.to_zoned(self.zone.clone()))
    }
}

fn day(time: &Zoned) -> String {
    time.strftime("%Y-%m-%d (UTC%:z)").to_string()
}

fn process_columns(width: usize) -> usize {
    PROCESS_COLUMNS[usize::from(width >= ROOMY)]
}

fn who_columns(width: usize) -> usize {
    if width >= ROOMY { WHO_COLUMNS } else { 0 }
}

/// What a line says.
#[derive(Clone, Debug, Default)]
struct Cells {
    /// Time and direction.
    start: String,
    /// The near end.
    local: String,
    /// The far end with its arrow.
    rest: String,
    process: String,
    /// Origin or kind, with the confidence.
    who: String,
    sentence: String,
}

impl Cells {
    fn clear(&mut self) {
        let Self {
            start,
            local,
            rest,
            process,
            who,
            sentence,
        } = self;
        for cell in [start, local, rest, process, who, sentence] {
            cell.clear();
        }
    }

    /// All but the time.
    fn record(&mut self, record: &Record) {
        self.start.push_str(way(record.direction));
        flow(record, &mut self.local, &mut self.rest);
        processes(record, &mut self.process);
        let verdict = &record.verdict;
        self.who(verdict.origin.name(), verdict.confidence.name());
        sentence(record, &mut self.sentence);
    }

    fn failure(&mut self, failure: &FailureRecord) {
        let verdict = &failure.verdict;
        self.start.push_str("fail");
        failed_flow(failure, &mut self.local, &mut self.rest);
        failed_process(failure, &mut self.process);
        self.who(verdict.kind.name(), verdict.confidence.name());
        self.sentence.push_str(&escape(&verdict.summary));
        if let Some(advice) = verdict.advice.first() {
            self.sentence.push_str(" → ");
            self.sentence.push_str(&escape(advice));
        }
    }

    /// On one line.
    fn message(&self) -> String {
        let Self {
            start,
            local,
            rest,
            process,
            who,
            sentence,
        } = self;
        let start = start.trim_end();
        format!("{start} {local} {rest}  {process}  {who}  {sentence}")
    }

    /// `LOCAL PROCESS certain`.
    fn who(&mut self, name: &str, confidence: &str) {
        let name = name.chars().map(|c| match c {
            '_' => ' ',
            c => c.to_ascii_uppercase(),
        });
        self.who.extend(name);
        self.who.push(' ');
        self.who.push_str(confidence);
    }
}

/// Lines in the making: cells two blanks apart, then a sentence.
struct Lines<'a> {
    width: usize,
    indent: usize,
    out: &'a mut String,
    /// Where the last line begins in `out`.
    begin: usize,
    /// Columns used on the last line; the line may hold more bytes for colors.
    used: usize,
    /// Blanks owed to the padding of the last cell.
    owed: usize,
}

impl<'a> Lines<'a> {
    /// Lines that are added to `out`.
    fn new(width: usize, out: &'a mut String) -> Self {
        Self {
            width,
            indent: 0,
            begin: out.len(),
            out,
            used: 0,
            owed: 0,
        }
    }

    /// Adds `text`, and blanks up to `least` columns if something follows.
    fn cell(&mut self, text: &str, least: usize) {
        let columns = self.cell_painted(text, text);
        self.owed = least.saturating_sub(columns);
    }

    /// Adds `bare` as `painted`; too wide for a line of its own, it is cut (and loses its colors). The columns of `bare`.
    fn cell_painted(&mut self, bare: &str, painted: &str) -> usize {
        let fresh = self.used == 0 || self.used == self.indent && self.last_is_blank();
        let start = if fresh { self.used } else { self.indent };
        let most = self.width.saturating_sub(start);
        let whole = width(bare);
        let (text, columns) = if whole > most {
            let cut = truncate(bare, most);
            let columns = width(&cut);
            (cut, columns)
        } else {
            (Cow::Borrowed(painted), whole)
        };
        let mut gap = if fresh { 0 } else { self.owed + 2 };
        if self.used + gap + columns > self.width && !fresh {
            self.end();
            gap = 0;
        }
        self.push_behind(gap, &text, columns);
        self.owed = 0;
        whole
    }

    /// Continues on a new line.
    fn end(&mut self) {
        self.line(self.indent);
        self.used = self.indent;
        self.owed = 0;
    }

    /// Adds a sentence. With `hang`, its further lines stand below its beginning, or all of it below the cells where
    /// that takes fewer lines or there is little room behind them; else it goes on at the indent.
    fn sentence(&mut self, text: &str, hang: bool) {
        let gap = self.owed + 2;
        let start = self.used + gap;
        let behind = self.width.saturating_sub(start);
        let below = self.width.saturating_sub(self.indent);
        let words = Words::of(text);
        let (mut first, mut rest, mut indent) = if hang {
            (behind, behind, start)
        } else {
            (behind, below, self.indent)
        };
        if hang {
            let lines = words.lines(behind, behind);
            if lines > 1 && (behind < SENTENCE_COLUMNS || lines > words.lines(0, below)) {
                (first, rest, indent) = (0, below, self.indent);
            }
        }
        let mut gap = gap;
        words.lay_out(first, rest, |piece| match piece {
            Piece::Text("") => {}
            Piece::Text(text) => {
                self.push_blanks(std::mem::take(&mut gap));
                self.out.push_str(text);
            }
            Piece::Break => {
                gap = 0;
                self.line(indent);
            }
        });
    }

    /// Adds blanks and `text`; both widths are in columns.
    fn push_behind(&mut self, blanks: usize, text: &str, columns: usize) {
        self.push_blanks(blanks);
        self.out.push_str(text);
        self.used += blanks + columns;
    }

    fn push_blanks(&mut self, blanks: usize) {
        self.out.extend(std::iter::repeat_n(' ', blanks));
    }

    /// Begins a line with an indent.
    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.begin = self.out.len();
        self.push_blanks(indent);
    }

    fn last_is_blank(&self) -> bool {
        let last = self.out.get(self.begin..);
        last.is_none_or(|line| line.trim().is_empty())
    }

    /// All lines, the last one ended.
    fn done(self) -> &'a str {
        self.out.push('\n');
        self.out
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Sent => "sent",
        Direction::Received => "recv",
        Direction::Forwarded => "fwd ",
        Direction::Observed => "seen",
    }
}

/// The near end, and the far end with the arrow that points where the reset went.
fn flow(record: &Record, local: &mut String, rest: &mut String) {
    endpoint(&record.local, local);
    rest.push_str(if record.left_local() { "→ " } else { "← " });
    endpoint(&record.remote, rest);
}

fn endpoint(end: &Endpoint, out: &mut String) {
    out.push_str(&words::address(SocketAddr::new(end.address, end.port)));
}

/// The ends of what failed; a listener has one, and a table none.
fn failed_flow(failure: &FailureRecord, local: &mut String, rest: &mut String) {
    match (&failure.local, &failure.remote) {
        (Some(near), far) => {
            endpoint(near, local);
            match far {
                Some(far) => {
                    rest.push_str("→ ");
                    endpoint(far, rest);
                }
                None => rest.push_str("(listening)"),
            }
        }
        (None, _) => {
            local.push_str("network namespace");
            match failure.netns {
                Some(inode) => rest.push_str(itoa::Buffer::new().format(inode)),
                None => rest.push('–'),
            }
        }
    }
}

/// The process of what failed, and where it belongs.
fn failed_process(failure: &FailureRecord, out: &mut String) {
    match &failure.process {
        Some(process) => named(process, out),
        None => out.push('–'),
    }
}

/// The process, where it belongs, and the owner if that is another one.
fn processes(record: &Record, out: &mut String) {
    match &record.process {
        Some(process) => named(process, out),
        None => out.push('–'),
    }
    if let Some(owner) = &record.owner {
        out.push_str(" (owner ");
        name(owner, out);
        out.push(')');
    }
}

/// A process, and where it belongs: the pod, the container or the unit, whichever says most.
fn named(process: &Process, out: &mut String) {
    name(process, out);
    if let Some(place) = process.workload.as_deref().and_then(workload) {
        out.push(' ');
        out.push_str(&truncate(&escape(&place), WORKLOAD_COLUMNS));
    } else if let Some(id) = &process.container_id {
        out.push(' ');
        out.extend(escape(id).chars().take(SHORT_ID));
    } else if let Some(uid) = &process.pod_uid {
        out.push_str(" pod ");
        out.extend(escape(uid).chars().take(SHORT_POD));
    } else if let Some(unit) = &process.unit {
        out.push(' ');
        out.push_str(&truncate(&escape(unit), UNIT_COLUMNS));
    }
}

/// `pod web-7d4b9c5f6d-x2x4v/nginx`, `container shop-web-1`.
fn workload(names: &Workload) -> Option<String> {
    match (&names.pod, &names.container) {
        (Some(pod), Some(container)) => Some(format!("pod {pod}/{container}")),
        (Some(pod), None) => Some(format!("pod {pod}")),
        (None, Some(container)) => Some(format!("container {container}")),
        (None, None) => None,
    }
}

fn name(process: &Process, out: &mut String) {
    out.push_str(match process.role {
        Role::FormerOwner => "was ",
        Role::Closer | Role::Owner | Role::Listener => "",
    });
    out.push_str(&truncate(&escape(&process.comm), NAME_COLUMNS));
    out.push('[');
    out.push_str(itoa::Buffer::new().format(process.pid));
    out.push(']');
    out.push_str(match process.quality {
        Quality::Inherited => "?",
        Quality::Certain | Quality::Recorded | Quality::LookedUp => "",
    });
}

/// What happened, then what to do about it.
fn sentence(record: &Record, out: &mut String) {
    let verdict = &record.verdict;
    if record.is_correction() {
        out.push_str("CORRECTION: ");
    }
    out.push_str(&escape(verdict.summary()));
    if is_older_than_the_tool(record) {
        out.push_str(" (opened before start)");
    }
    let incident = record.incident.as_ref();
    if let Some(further) = incident.and_then(|incident| incident.further) {
        let resets = if further == 1 { "reset" } else { "resets" };
        out.push_str(&format!(" (+{} further {resets})", count(further)));
    }
    if let Some(advice) = verdict.advice().first() {
        out.push_str(" → ");
        out.push_str(&escape(advice));
    }
}

/// An established connection without an age: it was there before the tool. Elsewhere an age means nothing.
fn is_older_than_the_tool(record: &Record) -> bool {
    record.socket.as_ref().is_some_and(|socket| {
        let synchronized = matches!(
            socket.state.as_str(),
            "ESTABLISHED"
                | "FIN_WAIT1"
                | "FIN_WAIT2"
                | "TIME_WAIT"
                | "CLOSE_WAIT"
                | "LAST_ACK"
                | "CLOSING"
        );
        synchronized && socket.age.is_none()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_process_is_its_best_name() {
        let text = include_str!("../../../tests/data/records/wide_names_container.json");
        let record: Record = serde_json::from_str(text).unwrap();
        let mut process = record.process.unwrap();
        process.comm = "app".into();
        let shown = |process: &Process| {
            let mut out = String::new();
            named(process, &mut out);
            out.split_once(' ').unwrap().1.to_owned()
        };
        assert_eq!(shown(&process), "pod orders-6b8c9d4f55-zxcvb/app");
        let names = process.workload.as_mut().unwrap();
        let pod = names.pod.take();
        assert_eq!(shown(&process), "container app");
        let names = process.workload.as_mut().unwrap();
        (names.pod, names.container) = (pod, None);
        assert_eq!(shown(&process), "pod orders-6b8c9d4f55-zxcvb");
        process.workload.as_mut().unwrap().pod = None;
        assert_eq!(shown(&process), "9d1cdd1b5a5e");
        process.workload = None;
        process.container_id = None;
        assert_eq!(shown(&process), "pod 3f2a6c1e");
        process.pod_uid = None;
        assert_eq!(shown(&process), "docker-9d1c.scope");
    }
}
