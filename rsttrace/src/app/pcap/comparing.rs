//! Which connections of a comparison are shown, and in which form?

use std::collections::HashSet;
use std::io::{self, BufWriter, Write as _};

use crate::cli::{Failure, OutputFormat, ShowOptions};
use crate::compare::report::ConnectionComparison;
use crate::compare::{self, Digest};
use crate::pipeline::Output;
use crate::record::{Record, Severity, Word};
use crate::sink::text::count;
use crate::terminal::{self, Palette};

/// Records that are quoted in a comparison, and by which its connections are chosen.
const MAX_KEPT: usize = 65_536;

/// What each capture says by itself.
#[derive(Default)]
pub struct Kept {
    records: Vec<Record>,
    left_out: u64,
}

impl Kept {
    /// Keeps a record.
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

    /// Compares the captures and shows the connections with resets that are wanted.
    pub fn show(self, digests: Vec<Digest>, options: &ShowOptions) -> Result<(), Failure> {
        let mut comparison = compare::compare(digests, &self.records);
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
                out.write_all(text.as_bytes())?;
            }
        }
        out.flush()?;
        if hidden > 0 {
            eprintln!(
                "rsttrace: {} more connections with resets that were not asked for, or cost nobody anything (--noise shows those)",
                count(hidden as u64)
            );
        }
        if self.left_out > 0 {
            eprintln!(
                "rsttrace: {} resets beyond the first {} are not quoted; name ports or addresses in the captures' filter",
                count(self.left_out),
                count(MAX_KEPT as u64)
            );
        }
        Ok(())
    }
}

/// Resets that are wanted, by capture and frame.
struct Chosen<'a> {
    wanted: HashSet<(&'a Word, u64)>,
    known: HashSet<(&'a Word, u64)>,
}

impl<'a> Chosen<'a> {
    fn new(records: &'a [Record], options: &ShowOptions) -> Self {
        let place = |record: &'a Record| {
            let at = record.capture.as_deref()?;
            Some((&at.file, at.frame))
        };
        let is_wanted = |record: &&Record| {
            let is_noise = record.verdict.severity == Severity::Noise;
            options.filter.matches(record) && (options.noise || !is_noise)
        };
        Self {
            wanted: records.iter().filter(is_wanted).filter_map(place).collect(),
            known: records.iter().filter_map(place).collect(),
        }
    }

    /// A connection is shown for one reset that is wanted, or if none of its resets was judged by itself.
    fn has(&self, connection: &ConnectionComparison) -> bool {
        let mut judged = false;
        for reset in &connection.resets {
            for sighting in &reset.sightings {
                let Some(point) = connection.points.get(sighting.point) else {
                    continue;
                };
                let place = (&point.file, sighting.frame);
                if self.wanted.contains(&place) {
                    return true;
                }
                judged |= self.known.contains(&place);
            }
        }
        !judged
    }
}
