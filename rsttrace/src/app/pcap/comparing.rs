//! Output of a comparison: selection of connections, and format.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write as _};

use crate::cli::{Failure, OutputFormat, ShowOptions};
use crate::compare::report::{ConnectionComparison, PathKind};
use crate::compare::{self, Comparison, Digest};
use crate::hash::HashMap;
use crate::record::Output;
use crate::record::{Record, Severity, Word};
use crate::terminal::{self, Palette};
use crate::words::count;

/// Records that are quoted in a comparison, and by which its connections are chosen.
const MAX_KEPT: usize = 65_536;

/// What each capture says by itself.
#[derive(Default)]
pub struct Kept {
    records: Vec<Record>,
    left_out: u64,
}

impl Kept {
    pub fn note(&mut self, output: Output) {
        let Output::Reset(record) = output else {
            return;
        };
        if self.records.len() < MAX_KEPT {
            self.records.push(*record);
        } else {
            self.left_out += 1;
        }
    }

    /// What was kept, in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Compares the captures.
    pub fn compare(&self, digests: Vec<Digest>) -> Comparison {
        compare::compare(digests, &self.records)
    }

    /// Shows the connections with resets that are wanted. Gives the records without further sightings of their resets; `None` if not all
    /// were kept.
    pub fn show(
        self,
        mut comparison: Comparison,
        options: &ShowOptions,
    ) -> Result<Option<Vec<Record>>, Failure> {
        let further = further_sightings(&comparison.connections);
        let chosen = Chosen::new(&self.records, options);
        let all = comparison.connections.len();
        comparison
            .connections
            .retain(|connection| chosen.has(connection));
        let hidden = all - comparison.connections.len();
        if let Some(most) = options.count {
            comparison
                .connections
                .truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let mut out = BufWriter::new(io::stdout().lock());
        match options.output {
            None => {}
            Some(OutputFormat::Json) => {
                for connection in &comparison.connections {
                    serde_json::to_writer(&mut out, connection).map_err(io::Error::from)?;
                    out.write_all(b"\n")?;
                }
            }
            Some(OutputFormat::Table) => {
                let palette = Palette {
                    colors: options.color.for_stdout(),
                };
                let text = comparison.render(terminal::stdout_width(), palette);
                terminal::text(&mut out).write_all(text.as_bytes())?;
            }
        }
        out.flush()?;
        if hidden > 0 {
            eprintln!(
                "rsttrace: {} more connections with resets hidden by filters or as noise (see --noise)",
                count(hidden as u64)
            );
        }
        if self.say_left_out() {
            return Ok(None);
        }
        let mut once = self.records;
        once.retain(|record| {
            let at = record.capture.as_deref();
            at.is_none_or(|at| !further.contains(&(at.file.clone(), at.frame)))
        });
        Ok(Some(once))
    }

    /// Says that not all records were kept; whether it is so.
    pub fn say_left_out(&self) -> bool {
        if self.left_out > 0 {
            eprintln!(
                "rsttrace: {} resets after the first {} are not listed individually; filter the captures by port or address",
                count(self.left_out),
                count(MAX_KEPT as u64)
            );
        }
        self.left_out > 0
    }
}

/// No connection with a reset is in more than one capture: there is nothing to compare.
pub fn has_nothing_in_common(comparison: &Comparison) -> bool {
    let connections = &comparison.connections;
    !connections.is_empty()
        && connections
            .iter()
            .all(|connection| connection.path == PathKind::Alone)
}

/// Where resets were seen but for the place nearest to their senders: file and frame.
fn further_sightings(connections: &[ConnectionComparison]) -> HashSet<(Word, u64)> {
    let mut further = HashSet::new();
    for connection in connections {
        for reset in &connection.resets {
            for sighting in reset.sightings.iter().skip(1) {
                if let Some(point) = connection.points.get(sighting.point) {
                    further.insert((point.file.clone(), sighting.frame));
                }
            }
        }
    }
    further
}

/// What each capture says by itself of resets, by capture and frame, and what is wanted.
struct Chosen<'a> {
    known: HashMap<(&'a Word, u64), &'a Record>,
    options: &'a ShowOptions,
}

impl<'a> Chosen<'a> {
    fn new(records: &'a [Record], options: &'a ShowOptions) -> Self {
        let place = |record: &'a Record| {
            let at = record.capture.as_deref()?;
            Some(((&at.file, at.frame), record))
        };
        Self {
            known: records.iter().filter_map(place).collect(),
            options,
        }
    }

    /// A connection is shown for one reset that is wanted, by the addresses of any of its legs; or if none of its resets was
    /// judged by itself.
    fn has(&self, connection: &ConnectionComparison) -> bool {
        let sightings = connection.resets.iter().flat_map(|reset| &reset.sightings);
        let mut records = sightings
            .filter_map(|sighting| {
                let point = connection.points.get(sighting.point)?;
                self.known.get(&(&point.file, sighting.frame))
            })
            .peekable();
        records.peek().is_none() || records.any(|record| self.wants(record, connection))
    }

    fn wants(&self, record: &Record, connection: &ConnectionComparison) -> bool {
        let Self { options, .. } = self;
        if record.verdict.severity == Severity::Noise && !options.noise {
            return false;
        }
        options.filter.matches(record)
            || connection.points.iter().any(|point| {
                let there = Record {
                    local: point.opener.clone(),
                    remote: point.asked.clone(),
                    ..record.clone()
                };
                options.filter.matches(&there)
            })
    }
}
