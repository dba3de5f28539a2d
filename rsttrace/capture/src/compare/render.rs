//! Text output of a comparison.
//!
//! One table a connection: columns are the places it was seen at, from the client to the server, rows what happened. Below it a
//! sentence a reset. What is too wide for the screen is told line by line.

use std::fmt::Write as _;

use super::narrative::address;
use super::report::{
    CaptureClock, Comparison, ConnectionComparison, Event, EventKind, PathKind, Sighting, Toward,
};
use crate::palette::Palette;
use crate::record::Severity;
use crate::text::{escape, pad, width, wrap};
use crate::words;

/// Indent of what belongs to a connection.
const INDENT: usize = 2;

impl Comparison {
    /// Text for people, of lines of at most `columns` where words allow it; ends with a line break unless it is empty.
    pub fn render(&self, columns: usize, palette: Palette) -> String {
        let mut out = String::new();
        if self.captures.len() > 1 {
            paragraph(&mut out, &clocks(&self.captures), 0, columns);
        }
        for capture in self.captures.iter().filter(|c| !c.lacks.is_empty()) {
            let lacks = capture.lacks.join("; ");
            let text = format!("{} may have missing packets: {lacks}", capture.file);
            paragraph(&mut out, &text, 0, columns);
        }
        if self.connections.is_empty() {
            out.push_str("No connection in these captures has a reset.\n");
        }
        for connection in &self.connections {
            out.push('\n');
            connection.render_into(&mut out, columns, palette);
        }
        let left_out = [
            (
                self.resets_left_out,
                "reset",
                "of connections with many resets were dropped",
            ),
            (
                self.connections_left_out,
                "connection",
                "exceeded the memory limit or the size of the report",
            ),
        ];
        for (number, thing, why) in left_out.into_iter().filter(|(number, ..)| *number > 0) {
            let number = words::things(usize::try_from(number).unwrap_or(usize::MAX), thing);
            let _ = writeln!(out, "\n{}", palette.dim(&format!("{number} {why}.")));
        }
        out
    }
}

impl ConnectionComparison {
    /// As [`Comparison::render`], of one connection.
    pub fn render(&self, columns: usize, palette: Palette) -> String {
        let mut out = String::new();
        self.render_into(&mut out, columns, palette);
        out
    }

    fn render_into(&self, out: &mut String, columns: usize, palette: Palette) {
        let order = if self.order_known {
            ""
        } else {
            "; order of captures as given"
        };
        let title = format!(
            "{} → {}  ({}{order})",
            address(&self.client),
            address(&self.server),
            path(self.path)
        );
        paragraph(out, &title, 0, columns);
        match self.grid(columns) {
            Some(lines) => {
                for (nth, line) in lines.iter().enumerate() {
                    let line = line.trim_end();
                    let line = if nth < 3 {
                        palette.dim(line)
                    } else {
                        line.to_owned()
                    };
                    let _ = writeln!(out, "{:INDENT$}{line}", "");
                }
            }
            None => {
                for event in &self.events {
                    paragraph(out, &self.line(event), INDENT, columns);
                }
            }
        }
        let mut told: Vec<(&str, Toward)> = Vec::new();
        for reset in &self.resets {
            if told.contains(&(reset.sentence.as_str(), reset.direction)) {
                continue;
            }
            told.push((&reset.sentence, reset.direction));
            let same = self.resets.iter().filter(|other| {
                (&other.sentence, other.direction) == (&reset.sentence, reset.direction)
            });
            let more = match same.count() - 1 {
                0 => String::new(),
                more => format!(" ({more} similar)"),
            };
            let who = format!("{} {}", name(reset), reset.confidence).to_uppercase();
            let text = format!(
                "RST {} {} → {}{more}: {}",
                arrow(reset.direction),
                address(&reset.source),
                address(&reset.destination),
                reset.sentence
            );
            let mut lines = String::new();
            paragraph(&mut lines, &format!("{who}  {text}"), INDENT, columns);
            let painted = palette.severity(Severity::Fault, &who);
            out.push_str(&lines.replacen(&who, &painted, 1));
            for missing in reset.missing.iter().filter(|missing| !missing.proves) {
                let text = format!(
                    "Its absence in {} is not conclusive: {}.",
                    missing.file, missing.because
                );
                paragraph(out, &escape(&text), 2 * INDENT, columns);
            }
            for alone in reset.alone.iter().take(2) {
                let text = format!("{} #{} alone: {}", alone.file, alone.frame, alone.summary);
                paragraph(out, &escape(&text), 2 * INDENT, columns);
                for advice in alone.advice.iter().take(1) {
                    paragraph(out, &escape(&format!("→ {advice}")), 2 * INDENT, columns);
                }
            }
        }
        if let Some(disagreement) = &self.disagreement {
            paragraph(
                out,
                &format!("Why the captures differ: {disagreement}"),
                INDENT,
                columns,
            );
        }
    }

    /// The table; `None` if it is wider than `columns`.
    fn grid(&self, columns: usize) -> Option<Vec<String>> {
        let mut rows: Vec<Vec<String>> = vec![
            vec![String::new()],
            vec!["from".to_owned()],
            vec!["to".to_owned()],
        ];
        for point in &self.points {
            rows[0].push(escape(&point.file).into_owned());
            rows[1].push(address(&point.opener));
            rows[2].push(address(&point.asked));
        }
        for event in &self.events {
            let mut row = vec![label(event)];
            for point in 0..self.points.len() {
                let here: Vec<_> = event
                    .sightings
                    .iter()
                    .filter(|s| s.point == point)
                    .collect();
                row.push(cell(&here));
            }
            rows.push(row);
        }
        let number = self.points.len() + 1;
        let widths: Vec<usize> = (0..number)
            .map(|column| {
                rows.iter()
                    .map(|row| row.get(column).map_or(0, |cell| width(cell)))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let total = INDENT + widths.iter().sum::<usize>() + 2 * number.saturating_sub(1);
        (total <= columns).then(|| {
            let line = |row: &Vec<String>| {
                let cells = row
                    .iter()
                    .zip(&widths)
                    .map(|(cell, width)| pad(cell, *width));
                cells.collect::<Vec<_>>().join("  ")
            };
            rows.iter().map(line).collect()
        })
    }

    fn line(&self, event: &Event) -> String {
        let mut text = pad(&label(event), 12);
        for (point, at) in self.points.iter().enumerate() {
            let here: Vec<_> = event
                .sightings
                .iter()
                .filter(|s| s.point == point)
                .collect();
            if !here.is_empty() {
                let _ = write!(
                    text,
                    " {} ({} → {}): {};",
                    escape(&at.file),
                    address(&at.opener),
                    address(&at.asked),
                    cell(&here)
                );
            }
        }
        text.trim_end_matches(';').to_owned()
    }
}

/// `+3.000123 #12,#13 ttl 64→63`; `≠` and the usual TTL where it is another.
fn cell(sightings: &[&Sighting]) -> String {
    let Some(first) = sightings.first() else {
        return "–".to_owned();
    };
    let time = match first.after {
        Some(after) => format!("+{after:.6}"),
        None => first.time.get(11..26).unwrap_or(&first.time).to_owned(),
    };
    let join = |all: Vec<String>, between: &str| {
        let mut all = all;
        all.dedup();
        all.join(between)
    };
    let frames = sightings.iter().map(|s| format!("#{}", s.frame)).collect();
    let ttl = |s: &&Sighting| match s.usual_ttl {
        Some(usual) if usual != s.ttl => format!("{}≠{usual}", s.ttl),
        _ => s.ttl.to_string(),
    };
    let ttls = sightings.iter().map(ttl).collect();
    format!("{time} {} ttl {}", join(frames, ","), join(ttls, "→"))
}

fn label(event: &Event) -> String {
    let kind = match event.kind {
        EventKind::Syn => "SYN",
        EventKind::SynAck => "SYN-ACK",
        EventKind::LastData => "last data",
        EventKind::Fin => "FIN",
        EventKind::Reset => "RST",
    };
    format!("{kind} {}", arrow(event.direction))
}

fn arrow(direction: Toward) -> &'static str {
    match direction {
        Toward::Server => "→",
        Toward::Client => "←",
    }
}

fn path(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Direct => "one TCP connection with the same addresses everywhere",
        PathKind::Translated => {
            "one TCP connection with translated addresses: NAT or a transparent load balancer"
        }
        PathKind::Terminated => {
            "two TCP connections with the same payload: a proxy terminates one and opens the other"
        }
        PathKind::Alone => "in one capture only",
        PathKind::Ambiguous => "several connections with the same payload: ambiguous",
    }
}

fn name(reset: &super::report::ResetComparison) -> &'static str {
    use super::report::MadeBy;
    match reset.made_by {
        MadeBy::Client { .. } => "client",
        MadeBy::Server { .. } => "server",
        MadeBy::Proxy { .. } => "balancer",
        MadeBy::CaptureHost { .. } => "host of capture",
        MadeBy::Between { .. } => "between",
        MadeBy::Unknown => "unknown",
    }
}

fn clocks(captures: &[CaptureClock]) -> String {
    let mut all = captures.iter();
    let Some(first) = all.next() else {
        return String::new();
    };
    let told = all.map(|capture| {
        let (Some(offset), Some(within)) = (capture.offset, capture.within) else {
            return format!("{} unknown", capture.file);
        };
        let drift = capture
            .drift_ppm
            .filter(|drift| drift.abs() >= 1.0)
            .map_or_else(String::new, |drift| format!(", drifting {drift:+.0} ppm"));
        let doubt = if capture.contradictory {
            ", but the clock was set during the capture: not used"
        } else {
            ""
        };
        format!(
            "{} {offset:+.6} s ± {within:.6} s{drift}{doubt}",
            capture.file
        )
    });
    format!(
        "Clocks against {}: {}",
        first.file,
        told.collect::<Vec<_>>().join("; ")
    )
}

fn paragraph(out: &mut String, text: &str, indent: usize, columns: usize) {
    let room = columns.saturating_sub(indent).max(20);
    for (nth, line) in wrap(&escape(text), room, room.saturating_sub(INDENT).max(18))
        .iter()
        .enumerate()
    {
        let indent = if nth == 0 { indent } else { indent + INDENT };
        let _ = writeln!(out, "{:indent$}{line}", "");
    }
}
