//! The table of advice: settings of programs, each with its source and date (`rsttrace/core/data/advice.tsv`).

use std::sync::LazyLock;

use thiserror::Error;

use crate::silence::devices::rows;
use crate::silence::software::Program;

/// What happened, as far as the table distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Names of its idle timers: no sentence.
    Idle,
    /// Where it takes TCP keepalive from, `{n}` standing for seconds: no sentence.
    Keepalive,
    /// It closed an idle connection while the client sent a request.
    Race,
    /// It closed a new connection without reading.
    TurnedAway,
    /// It closed with unread data.
    Unread,
    /// It closed with SO_LINGER 0.
    Abort,
    /// It ended.
    Killed,
    /// It closed its listening socket while connections waited to be accepted.
    Unaccepted,
    /// Nobody answered its SYNs.
    Connect,
    /// Its accept queue was full.
    Accept,
    /// The peer of an established connection stopped answering.
    Silent,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// A program by name; absent for every program.
    program: Option<&'static str>,
    /// The end of the connection that it is: it accepted; absent for either.
    listened: Option<bool>,
    shape: Shape,
    text: &'static str,
}

static TABLE: &str = include_str!("../../../data/advice.tsv");

// A bad line is a failing test, and one piece of advice fewer at run time.
static ROWS: LazyLock<Vec<Row>> =
    LazyLock::new(|| rows(TABLE).filter_map(|line| row(line).ok()).collect());

/// The advice for `program` as the end that accepted the connection or opened it (`listened`; absent if not known).
pub fn find(
    program: Option<&Program>,
    listened: Option<bool>,
    shape: Shape,
) -> Option<&'static str> {
    ROWS.iter()
        .find(|row| {
            row.shape == shape
                && row
                    .program
                    .is_none_or(|name| program.is_some_and(|program| program.name == name))
                && (row.listened.is_none() || row.listened == listened)
        })
        .map(|row| row.text)
}

/// Why a line of the table is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum BadLine {
    #[error("not six columns, separated by tabs")]
    Columns,
    #[error("no such role")]
    Role,
    #[error("no such shape")]
    Shape,
    #[error("text, source or date is missing")]
    Missing,
}

fn row(line: &'static str) -> Result<Row, BadLine> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [program, role, shape, text, source, date] = columns[..] else {
        return Err(BadLine::Columns);
    };
    if text.is_empty() || source.is_empty() || date.len() != "2026-11-30".len() {
        return Err(BadLine::Missing);
    }
    Ok(Row {
        program: (program != "any").then_some(program),
        listened: match role {
            "listener" => Some(true),
            "connector" => Some(false),
            "any" => None,
            _ => return Err(BadLine::Role),
        },
        shape: match shape {
            "idle" => Shape::Idle,
            "keepalive" => Shape::Keepalive,
            "race" => Shape::Race,
            "turned_away" => Shape::TurnedAway,
            "unread" => Shape::Unread,
            "abort" => Shape::Abort,
            "killed" => Shape::Killed,
            "unaccepted" => Shape::Unaccepted,
            "connect" => Shape::Connect,
            "accept" => Shape::Accept,
            "silent" => Shape::Silent,
            _ => return Err(BadLine::Shape),
        },
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silence::software::{self, PROGRAMS};

    #[test]
    fn every_line_is_advice_on_a_program_that_is_known() {
        for line in rows(TABLE) {
            let row = row(line).unwrap_or_else(|error| unreachable!("{line}: {error}"));
            let known = row
                .program
                .is_none_or(|name| PROGRAMS.iter().any(|program| program.name == name));
            assert!(known, "{line}");
            let has_place = row.text.contains("{n}");
            assert_eq!(has_place, row.shape == Shape::Keepalive, "{line}");
        }
        assert_eq!(ROWS.len(), rows(TABLE).count());
    }

    #[test]
    fn every_row_is_found_by_its_program_role_and_shape() {
        for (place, row) in ROWS.iter().enumerate() {
            let earlier = ROWS.iter().take(place).any(|other| {
                other.shape == row.shape
                    && (other.program.is_none() || other.program == row.program)
                    && (other.listened.is_none() || other.listened == row.listened)
            });
            assert!(!earlier, "an earlier row hides {row:?}");
        }
    }

    #[test]
    fn a_program_has_the_settings_of_its_end() {
        let of = |comm, listened, shape| {
            find(software::program(comm, None, None), listened, shape).unwrap_or_default()
        };
        assert_eq!(of("haproxy", Some(false), Shape::Idle), "`timeout server`");
        assert!(of("haproxy", Some(true), Shape::Idle).starts_with("`timeout client`"));
        assert!(of("nginx", None, Shape::Idle).starts_with("`keepalive_timeout`"));
        assert!(of("redis-server", Some(true), Shape::TurnedAway).contains("maxclients"));
        // Redis as a client has been turned away by nobody.
        assert_eq!(of("redis-server", Some(false), Shape::TurnedAway), "");
        assert!(of("orders", None, Shape::Killed).contains("TimeoutStopSec"));
        assert_eq!(of("orders", Some(true), Shape::Unread), "");
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        for (line, error) in [
            ("nginx\tany\tidle\tx\ty", BadLine::Columns),
            ("nginx\tmaster\tidle\tx\ty\t2026-11-30", BadLine::Role),
            ("nginx\tany\tidel\tx\ty\t2026-11-30", BadLine::Shape),
            ("nginx\tany\tidle\tx\t\t2026-11-30", BadLine::Missing),
            ("nginx\tany\tidle\tx\ty\t", BadLine::Missing),
        ] {
            assert_eq!(row(line), Err(error), "{line}");
        }
    }
}
