//! The layout of one reset on a screen of a given width.
//!
//! From [`WIDE`] columns on the facts stand in columns on one line, the sentence behind them or, if that takes fewer
//! lines, below them. On narrower screens the first line says when, where and which process, the second who and why.

use std::cell::{Ref, RefCell};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::dedup::More;
use crate::record::{Direction, FailureRecord, Process, Quality, Record, Role, Severity};
use crate::terminal::Palette;
use crate::text::{escape, pad, truncate, width, wrap};
use crate::words::count;

/// Least columns for the form with columns: its header needs as many.
const WIDE: usize = 114;
/// Where the flow begins: behind `12:03:41.201 recv `.
const FLOW: usize = 18;
/// Indent of the second line on narrow screens.
const NARROW_INDENT: usize = 4;
/// Least columns for the flow: two usual IPv4 addresses.
const FLOW_COLUMNS: usize = 33;
/// Least columns for the process.
const PROCESS_COLUMNS: usize = 12;
/// Longest process name shown whole: longer only if it has to be escaped.
const NAME_COLUMNS: usize = 32;
/// Longest unit name shown whole.
const UNIT_COLUMNS: usize = 28;
/// Characters of a container id that are shown, as docker and crictl do.
const SHORT_ID: usize = 12;
/// Characters of a pod uid that are shown: up to its first dash.
const SHORT_POD: usize = 8;
/// Least columns in which a sentence of several lines stands behind the cells.
const SENTENCE_COLUMNS: usize = 50;

/// The form of a line.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Columns there are.
    pub width: usize,
    pub palette: Palette,
    pub zone: TimeZone,
    /// The second that was shown last: the next record is likely of it, too.
    pub second: RefCell<Second>,
}

/// A second in the zone of the times.
#[derive(Clone, Debug, Default)]
pub(super) struct Second {
    /// As a record has it: `2026-01-01T12:03:41`.
    shown: String,
    /// `12:03:41`.
    clock: String,
    /// Its day, with the zone's offset.
    day: String,
}

impl Layout {
    /// What the columns are called.
    pub fn header(&self) -> String {
        let flow = format!("{:FLOW$}{}", "time         way", "local → or ← remote");
        let cells = if self.width >= WIDE {
            [
                pad(&flow, FLOW + FLOW_COLUMNS),
                pad("process", PROCESS_COLUMNS),
                "ORIGIN confidence  what happened → what to do".to_owned(),
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
    pub fn day(&self, time: &str) -> Option<String> {
        match self.in_second(time) {
            Some((second, _)) => Some(second.day.clone()),
            None => Some(day(&self.zoned(time)?)),
        }
    }

    pub fn record(&self, record: &Record) -> Vec<String> {
        let origin = record.verdict.origin.name().to_ascii_uppercase();
        self.line(&Cells {
            start: format!("{} {}", self.time(&record.time), way(record.direction)),
            flow: flow(record),
            process: processes(record),
            who: [
                &origin.replace('_', " "),
                " ",
                record.verdict.confidence.name(),
            ]
            .concat(),
            severity: record.verdict.severity,
            sentence: sentence(record),
        })
    }

    pub fn failure(&self, failure: &FailureRecord) -> Vec<String> {
        let verdict = &failure.verdict;
        let kind = verdict.kind.name().to_ascii_uppercase();
        let mut sentence = escape(&verdict.summary).into_owned();
        if let Some(advice) = verdict.advice.first() {
            sentence.push_str(" → ");
            sentence.push_str(&escape(advice));
        }
        self.line(&Cells {
            start: format!("{} fail", self.time(&failure.time)),
            flow: failed_flow(failure),
            process: failure
                .process
                .as_ref()
                .map_or_else(|| "–".to_owned(), named),
            who: [&kind.replace('_', " "), " ", verdict.confidence.name()].concat(),
            severity: verdict.severity,
            sentence,
        })
    }

    fn line(&self, cells: &Cells) -> Vec<String> {
        let mut lines = Lines::new(self.width);
        let start = &cells.start;
        let (local, rest) = &cells.flow;
        let together = format!("{start} {local} {rest}");
        let wide = self.width >= WIDE;
        if width(&together) <= self.width {
            lines.indent = if wide { FLOW } else { NARROW_INDENT };
            let least = if wide { FLOW + FLOW_COLUMNS } else { 0 };
            lines.cell(&pad(&together, least), &together);
        } else {
            lines.indent = FLOW;
            let local = format!("{start} {local}");
            lines.cell(&local, &local);
            lines.end();
            lines.cell(rest, rest);
            lines.indent = if wide { FLOW } else { NARROW_INDENT };
        }
        let process = &cells.process;
        let least = if wide { PROCESS_COLUMNS } else { 0 };
        lines.cell(&pad(process, least), process);
        if !wide {
            lines.end();
        }
        let painted = self.palette.severity(cells.severity, &cells.who);
        lines.cell_painted(&cells.who, &painted);
        lines.sentence(&cells.sentence, wide);
        lines.done
    }

    /// Further resets like one that was shown.
    pub fn more(&self, more: &More) -> Vec<String> {
        let text = format!(
            "+{} similar since {}: {}",
            count(more.count),
            self.time(&more.since),
            more.label
        );
        self.notice(&more.until, &text)
    }

    /// What [`Layout::more`] calls the kind of a record.
    pub fn label(&self, record: &Record) -> String {
        let (local, rest) = flow(record);
        format!(
            "{} {local} {rest}  {}  {}",
            way(record.direction).trim_end(),
            processes(record),
            record.verdict.cause
        )
    }

    /// What [`Layout::more`] calls the kind of a failure.
    pub fn failure_label(&self, failure: &FailureRecord) -> String {
        let (local, rest) = failed_flow(failure);
        let process = failure
            .process
            .as_ref()
            .map_or_else(|| "–".to_owned(), named);
        format!("fail {local} {rest}  {process}  {}", failure.verdict.kind)
    }

    /// A line that is no reset.
    pub fn notice(&self, time: &str, text: &str) -> Vec<String> {
        let mut lines = Lines::new(self.width);
        lines.indent = NARROW_INDENT;
        let time = self.time(time);
        lines.cell(&time, &time);
        lines.sentence(text, false);
        let painted = lines.done.iter();
        painted.map(|line| self.palette.dim(line)).collect()
    }

    fn time(&self, time: &str) -> String {
        if let Some((second, fraction)) = self.in_second(time) {
            return [&second.clock, &fraction[..".000".len()]].concat();
        }
        match self.zoned(time) {
            Some(zoned) => zoned.strftime("%H:%M:%S%.3f").to_string(),
            None => escape(time).into_owned(),
        }
    }

    /// The second of a time as records have it, and what follows: its fraction and `Z`. Offsets of zones are whole seconds.
    fn in_second<'a>(&self, time: &'a str) -> Option<(Ref<'_, Second>, &'a str)> {
        let (shown, rest) = time.split_at_checked("2026-01-01T12:03:41".len())?;
        let digits = rest.strip_prefix('.')?.strip_suffix('Z')?;
        if digits.len() != 9 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        if self.second.borrow().shown != shown {
            let zoned = self.zoned(time)?;
            *self.second.borrow_mut() = Second {
                shown: shown.to_owned(),
                clock: zoned.strftime("%H:%M:%S").to_string(),
                day: day(&zoned),
            };
        }
        Some((self.second.borrow(), rest))
    }

    fn zoned(&self, time: &str) -> Option<Zoned> {
        let time = time.parse::<Timestamp>().ok()?;
        Some(time.to_zoned(self.zone.clone()))
    }
}

fn day(time: &Zoned) -> String {
    time.strftime("%Y-%m-%d (UTC%:z)").to_string()
}

/// What a line says.
struct Cells {
    /// Time and direction.
    start: String,
    /// The near end, and the far end with its arrow.
    flow: (String, String),
    process: String,
    /// Origin or kind, with the confidence.
    who: String,
    severity: Severity,
    sentence: String,
}

/// Lines in the making: cells two blanks apart, then a sentence.
struct Lines {
    width: usize,
    indent: usize,
    done: Vec<String>,
    /// Columns used on the last line; the line may hold more bytes for colors.
    used: usize,
    /// Blanks owed to the padding of the last cell.
    owed: usize,
}

impl Lines {
    fn new(width: usize) -> Self {
        Self {
            width,
            indent: 0,
            done: vec![String::new()],
            used: 0,
            owed: 0,
        }
    }

    /// Adds `padded`, of which the blanks at the end are kept only if something follows.
    fn cell(&mut self, padded: &str, bare: &str) {
        self.cell_painted(bare, bare);
        self.owed = width(padded).saturating_sub(width(bare));
    }

    /// Adds `bare` as `painted`; too wide for a line of its own, it is cut (and loses its colors).
    fn cell_painted(&mut self, bare: &str, painted: &str) {
        let fresh = self.used == 0 || self.used == self.indent && self.last_is_blank();
        let start = if fresh { self.used } else { self.indent };
        let most = self.width.saturating_sub(start);
        let cut = truncate(bare, most);
        let painted = if width(bare) > most { &cut } else { painted };
        let bare = &*cut;
        let gap = if fresh { 0 } else { self.owed + 2 };
        let gap = if self.used + gap + width(bare) > self.width && !fresh {
            self.end();
            0
        } else {
            gap
        };
        self.push_behind(gap, painted, width(bare));
        self.owed = 0;
    }

    /// Continues on a new line.
    fn end(&mut self) {
        self.done.push(" ".repeat(self.indent));
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
        let (mut lines, mut indent) = if hang {
            (wrap(text, behind, behind), start)
        } else {
            (wrap(text, behind, below), self.indent)
        };
        if hang && lines.len() > 1 {
            let all_below = wrap(text, 0, below);
            let cramped = behind < SENTENCE_COLUMNS;
            if cramped || lines.len() > all_below.len() {
                (lines, indent) = (all_below, self.indent);
            }
        }
        let mut lines = lines.into_iter();
        if let Some(first) = lines.next()
            && !first.is_empty()
        {
            self.push_behind(gap, &first, width(&first));
        }
        for line in lines {
            self.done.push(format!("{:indent$}{line}", ""));
        }
    }

    /// Adds blanks and `text`; both widths are in columns.
    fn push_behind(&mut self, blanks: usize, text: &str, columns: usize) {
        if let Some(line) = self.done.last_mut() {
            line.extend(std::iter::repeat_n(' ', blanks));
            line.push_str(text);
        }
        self.used += blanks + columns;
    }

    fn last_is_blank(&self) -> bool {
        self.done.last().is_none_or(|line| line.trim().is_empty())
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
fn flow(record: &Record) -> (String, String) {
    let arrow = if record.left_local() { '→' } else { '←' };
    (
        record.local.to_string(),
        format!("{arrow} {}", record.remote),
    )
}

/// The ends of what failed; a listener has one, and a table none.
fn failed_flow(failure: &FailureRecord) -> (String, String) {
    let netns = || {
        let inode = failure.netns.map(|inode| inode.to_string());
        inode.unwrap_or_else(|| "–".to_owned())
    };
    match (&failure.local, &failure.remote) {
        (Some(local), Some(remote)) => (local.to_string(), format!("→ {remote}")),
        (Some(local), None) => (local.to_string(), "(listening)".to_owned()),
        (None, _) => ("network namespace".to_owned(), netns()),
    }
}

/// The process, where it belongs, and the owner if that is another one.
fn processes(record: &Record) -> String {
    let Some(process) = &record.process else {
        return record.owner.as_ref().map_or_else(
            || "–".to_owned(),
            |owner| format!("– (owner {})", name(owner)),
        );
    };
    let mut text = named(process);
    if let Some(owner) = &record.owner {
        text.push_str(&format!(" (owner {})", name(owner)));
    }
    text
}

/// A process, and where it belongs.
fn named(process: &Process) -> String {
    match place(process) {
        Some(place) => [&name(process), " ", &place].concat(),
        None => name(process),
    }
}

fn name(process: &Process) -> String {
    let former = match process.role {
        Role::FormerOwner => "was ",
        Role::Closer | Role::Owner | Role::Listener => "",
    };
    let doubt = match process.quality {
        Quality::Inherited => "?",
        Quality::Certain | Quality::Recorded | Quality::LookedUp => "",
    };
    let comm = escape(&process.comm);
    [
        former,
        &truncate(&comm, NAME_COLUMNS),
        "[",
        itoa::Buffer::new().format(process.pid),
        "]",
        doubt,
    ]
    .concat()
}

/// The container, the pod or the unit: whichever says most.
fn place(process: &Process) -> Option<String> {
    let short = |id: &str, most| escape(id).chars().take(most).collect::<String>();
    let unit = || {
        let unit = process.unit.as_deref()?;
        Some(truncate(&escape(unit), UNIT_COLUMNS).into_owned())
    };
    let container = process
        .container_id
        .as_deref()
        .map(|id| short(id, SHORT_ID));
    let pod = || {
        Some(format!(
            "pod {}",
            short(process.pod_uid.as_deref()?, SHORT_POD)
        ))
    };
    container.or_else(pod).or_else(unit)
}

/// What happened, then what to do about it.
fn sentence(record: &Record) -> String {
    let verdict = &record.verdict;
    let mut text = String::new();
    if record.is_correction() {
        text.push_str("CORRECTION: ");
    }
    text.push_str(&escape(verdict.summary()));
    if is_older_than_the_tool(record) {
        text.push_str(" (opened before start)");
    }
    let incident = record.incident.as_ref();
    if let Some(further) = incident.and_then(|incident| incident.further) {
        let resets = if further == 1 { "reset" } else { "resets" };
        text.push_str(&format!(" (+{} further {resets})", count(further)));
    }
    if let Some(advice) = verdict.advice().first() {
        text.push_str(" → ");
        text.push_str(&escape(advice));
    }
    text
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
