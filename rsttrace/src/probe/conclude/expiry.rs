//! Conclusion if connections were ended while idle.

use std::time::Duration;

use super::super::pattern::{How, Pattern, pattern};
use super::super::render::seconds;
use super::super::trial::{median, micros};
use super::{Conclusion, Mode, Seen, advice, connections, range};
use crate::record::Confidence;
use crate::thresholds::probed_tolerance;

impl Seen<'_> {
    /// `timeout` is what a timer would have been set to.
    pub(super) fn expiry(&self, timeout: Duration) -> Conclusion {
        let deaths = &self.expired;
        let samples = deaths.len();
        let fins = deaths.iter().filter(|death| death.how == How::Fin).count();
        let (mode, what) = if fins * 2 > samples {
            (Mode::FinAtExpiry, self.closed_with_fin())
        } else {
            (Mode::RstAtExpiry, "reset with RST")
        };
        let (least, most) = range(deaths.iter().map(|death| death.quiet));
        let overdue = most.max(timeout + probed_tolerance(timeout));
        let survived = self.survived.iter().map(|(quiet, _)| quiet);
        let outlived = survived
            .chain(&self.unfinished)
            .filter(|quiet| **quiet > overdue)
            .count();
        let of = samples + outlived;
        let on = format!("on {samples} of {of} {}", connections(of));
        let no_timeout = |why: String, next: &str| Conclusion {
            advice: vec![next.to_owned()],
            ..self.unclear(of, format!("{what} {why}"))
        };
        let steady = match pattern(deaths) {
            Pattern::TurnedAway => {
                return no_timeout(
                    format!(
                        "{} after the connection was opened, {on}: not an idle timeout; the remote end rejects connections",
                        seconds(timeout)
                    ),
                    "check the server log for why it closes new connections: limits, TLS expected, access lists",
                );
            }
            Pattern::OneInstant => {
                let at = median(deaths.iter().map(|death| death.at)).unwrap_or_default();
                return no_timeout(
                    format!(
                        "{on}, all at the same time ({} after the start) regardless of idle time: a restart or failover, \
                         not an idle timeout",
                        seconds(at)
                    ),
                    "run the probe again when the path is stable",
                );
            }
            Pattern::Scattered => {
                return no_timeout(
                    format!(
                        "{on}, but after idle times from {} to {}: not a single idle timeout",
                        seconds(least),
                        seconds(most)
                    ),
                    DIFFERING,
                );
            }
            Pattern::Timer { steady } => steady,
        };
        if outlived > samples {
            return no_timeout(
                format!(
                    "{on} after an idle time of {}, but the others survived: not a property of the whole path",
                    seconds(timeout)
                ),
                DIFFERING,
            );
        }
        let mut notes = Vec::new();
        if samples == 1 {
            notes.push(
                "based on one connection only; a restart at that moment looks the same".to_owned(),
            );
        } else if fins > 0 && fins < samples {
            notes.push(format!("{fins} ended by FIN, {} by RST", samples - fins));
        }
        if outlived > 0 {
            notes.push(format!(
                "{outlived} {} survived a longer idle time",
                connections(outlived)
            ));
        }
        let confidence = match samples {
            1 => Confidence::Possible,
            _ if steady && outlived == 0 => Confidence::Certain,
            _ => Confidence::Likely,
        };
        Conclusion {
            mode: Some(mode),
            timeout: Some(micros(timeout)),
            at_least: Some(micros(least)),
            at_most: Some(micros(most)),
            samples: samples as u64,
            of: of as u64,
            confidence,
            reached: None,
            summary: format!("{what} after an idle time of {} {on}", seconds(timeout)),
            notes,
            advice: advice(mode, timeout, self.direction),
        }
    }
}

const DIFFERING: &str = "run the probe again; backends with different settings look like this";
