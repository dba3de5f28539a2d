//! Parsing of JSON Lines.

use std::io::{self, BufRead, Read as _};

use jiff::Timestamp;
use serde::Deserialize;
use thiserror::Error;

use super::Unread;
use crate::failure;
use crate::record::Output;
use crate::record::{CAPTURE_SCHEMA, FAILURE_SCHEMA, SCHEMA, SUPPRESSED_SCHEMA, TIMED_OUT_SCHEMA};
use crate::text;

/// Longest line that is read: a record takes a few KiB.
const LONGEST: u64 = 1 << 20;
/// Characters of a reason why a line is none.
const REASON: usize = 160;

/// Why lines are no trace. The message ends with the next step.
#[derive(Debug, Error)]
pub enum LinesError {
    #[error("{0}")]
    Read(#[from] io::Error),
    /// Not one of them is a record.
    #[error(
        "none of {lines} lines is a record ({first}); use the output of `rsttrace watch -o json`"
    )]
    NoRecord {
        /// Lines that are not empty.
        lines: u64,
        /// What is wrong with the first of them.
        first: String,
    },
}

/// Hands over what each line holds, and tells of those that hold nothing known. Fails if that is all of them.
pub fn lines(mut input: impl BufRead, mut take: impl FnMut(Output)) -> Result<Unread, LinesError> {
    let mut unread = Unread::default();
    let mut good = 0_u64;
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let read = (&mut input).take(LONGEST).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        number += 1;
        if read as u64 == LONGEST && !line.ends_with(b"\n") {
            input.skip_until(b'\n')?;
            unread.note(|| format!("line {number}: longer than 1 MiB"));
            continue;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match output(text) {
            Ok(output) => {
                good += 1;
                output.map(&mut take);
            }
            Err(reason) => unread.note(|| {
                let reason = text::escape(&reason)
                    .chars()
                    .take(REASON)
                    .collect::<String>();
                format!("line {number}: {reason}")
            }),
        }
    }
    match unread.first.first() {
        Some(first) if good == 0 => Err(LinesError::NoRecord {
            lines: unread.lines,
            first: first.clone(),
        }),
        _ => Ok(unread),
    }
}

/// What every line says of itself.
#[derive(Deserialize)]
struct Head {
    schema: String,
    #[serde(default)]
    time: String,
}

/// One object, `None` for one that describes no event. The reason for an error is for people.
fn output(line: &[u8]) -> Result<Option<Output>, String> {
    let reason = |error: serde_json::Error| {
        if error.is_data() {
            format!("not a record: {error}")
        } else {
            format!("not JSON: {error}")
        }
    };
    let head: Head = serde_json::from_slice(line).map_err(reason)?;
    if head.schema == CAPTURE_SCHEMA {
        return Ok(None);
    }
    if head.time.parse::<Timestamp>().is_err() {
        return Err(format!("{} is not a valid time", head.time));
    }
    match head.schema.as_str() {
        SCHEMA => serde_json::from_slice(line).map(Output::Reset),
        FAILURE_SCHEMA | TIMED_OUT_SCHEMA => {
            failure::parse(line).map(|failure| Output::Failure(Box::new(failure)))
        }
        SUPPRESSED_SCHEMA => serde_json::from_slice(line).map(Output::Suppressed),
        other => return Err(format!("unknown schema {other}")),
    }
    .map(Some)
    .map_err(reason)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORD: &str = include_str!("../../../tests/data/records/port_closed.json");
    const SUM: &str = include_str!("../../../tests/data/suppressed.json");

    fn line(text: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        format!("{value}\n")
    }

    fn read(text: &[u8]) -> (Vec<Output>, Result<Unread, LinesError>) {
        let mut outputs = Vec::new();
        let unread = lines(text, |output| outputs.push(output));
        (outputs, unread)
    }

    #[test]
    fn bad_lines_are_named_and_the_others_read() {
        let text = format!(
            "{}\n{{\n{}[1]\n{{\"schema\":\"x\",\"time\":\"2026-01-01T00:00:00Z\"}}",
            line(RECORD),
            line(SUM)
        );
        let (outputs, unread) = read(text.as_bytes());
        let unread = unread.unwrap();
        assert_eq!(outputs.len(), 2);
        assert_eq!(unread.lines, 3);
        let first = unread.first.join("; ");
        for part in [
            "line 3: not JSON",
            "line 5: not a record",
            "line 6: unknown schema x",
        ] {
            assert!(first.contains(part), "{first}");
        }
    }

    #[test]
    fn without_one_good_line_there_is_no_report_and_the_error_says_what_to_give() {
        let (_, unread) = read(b"hello\nworld\n");
        let error = unread.unwrap_err().to_string();
        assert!(
            error.contains("none of 2 lines") && error.contains("-o json"),
            "{error}"
        );
        assert!(read(b"").1.is_ok());
        assert!(read(b"\n\n").1.is_ok());
    }

    #[test]
    fn a_line_without_end_is_not_kept_in_memory() {
        let mut text = vec![b'x'; 3 << 20];
        text.push(b'\n');
        text.extend_from_slice(line(RECORD).as_bytes());
        let (outputs, unread) = read(&text);
        assert_eq!(outputs.len(), 1);
        assert_eq!(unread.unwrap().first, ["line 1: longer than 1 MiB"]);
    }

    #[test]
    fn a_time_that_is_none_is_a_bad_line() {
        let text = line(RECORD).replace("2026-01", "2026-13");
        let (outputs, unread) = read(format!("{text}{}", line(RECORD)).as_bytes());
        assert_eq!((outputs.len(), unread.unwrap().lines), (1, 1));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
