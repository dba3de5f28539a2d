//! Conclusion if connections were lost at the first packet after the idle time.

use std::time::Duration;

use super::super::pattern::How;
use super::super::render::seconds;
use super::super::trial::{Speech, micros};
use super::{Conclusion, Mode, Seen, advice, connections, range};
use crate::record::Confidence;
use crate::thresholds::probed_tolerance;

impl Seen<'_> {
    /// Whether connections were lost to silences that are clearly shorter than this.
    pub(super) fn lost_well_before(&self, timeout: Duration) -> bool {
        let limit = timeout.saturating_sub(probed_tolerance(timeout));
        let before = || self.lost.iter().filter(|death| death.quiet < limit);
        let Some(first) = before().map(|death| death.quiet).min() else {
            return false;
        };
        let survived_later = self
            .survived
            .iter()
            .filter(|(quiet, _)| *quiet > first)
            .count();
        before().count() > survived_later
    }

    /// Connections were found dead by the first packet after the silence.
    pub(super) fn loss(&self) -> Conclusion {
        let lost = &self.lost;
        let how = [How::Rst, How::Silence, How::Fin]
            .into_iter()
            .max_by_key(|how| lost.iter().filter(|death| death.how == *how).count());
        let (mode, what) = match how {
            Some(How::Fin) => (
                None,
                format!("{} on the first packet", self.closed_with_fin()),
            ),
            Some(How::Silence) => (
                Some(Mode::Silent),
                "dropped: no answer to the first packet".to_owned(),
            ),
            Some(How::Rst) | None => (
                Some(Mode::LateRst),
                "reset in response to the first packet".to_owned(),
            ),
        };
        let (shortest, _) = range(lost.iter().map(|death| death.quiet));
        if self.survived.is_empty() {
            return self.all_lost(mode, &what, shortest);
        }
        let (boundary, misfits) = self.boundary();
        let survived_below = |below: Duration| {
            let quiet = self.survived.iter().map(|(quiet, _)| *quiet);
            quiet.filter(|quiet| *quiet < below).max()
        };
        let survived_again = |rounds: std::ops::RangeInclusive<u8>| {
            let mut survived = self.survived.iter();
            survived.any(|(quiet, round)| rounds.contains(round) && *quiet >= shortest)
        };
        let second = lost.iter().filter(|death| death.round == 2).count();
        // The first round went on losing everything, the second one lost nothing.
        if survived_again(2..=2) && !survived_again(0..=1) && second == 0 {
            let instant = lost.iter().map(|death| death.at).min().unwrap_or_default();
            let summary = format!(
                "{} of {} connections were lost, starting {} after the start, but the same idle times were survived later: \
                 a restart, a failover or lost packets, not an idle timeout",
                lost.len(),
                lost.len() + self.survived.len(),
                seconds(instant)
            );
            return Conclusion {
                advice: vec!["run the probe again when the path is stable".to_owned()],
                ..self.unclear(lost.len() + self.survived.len(), summary)
            };
        }
        let total = lost.len() + self.survived.len();
        let above = || lost.iter().filter(|death| death.quiet >= boundary);
        let at_most = above().map(|death| death.quiet).min();
        if misfits * 10 > total || misfits * 2 > lost.len() || at_most.is_none() {
            let (_, longest) = range(self.survived.iter().map(|(quiet, _)| *quiet));
            let summary = format!(
                "{} of {total} connections were lost, the shortest after an idle time of {}, but others survived up to {}: \
                 not a single idle timeout",
                lost.len(),
                seconds(shortest),
                seconds(longest)
            );
            return Conclusion {
                advice: vec![
                    "run the probe again; packet loss or paths with different settings look like this"
                        .to_owned(),
                ],
                ..self.unclear(total, summary)
            };
        }
        let at_most = at_most.unwrap_or(boundary);
        let at_least = survived_below(at_most).unwrap_or_default();
        let timeout = (at_least + at_most) / 2;
        let samples = above().count();
        let survivors_above = self
            .survived
            .iter()
            .filter(|(quiet, _)| *quiet > at_most)
            .count();
        let of = samples + survivors_above;
        let mut notes = Vec::new();
        if misfits > 0 {
            notes.push(format!("{misfits} of {total} connections do not match"));
        }
        let confirmed = second > 0;
        if !confirmed {
            notes
                .push("seen in one round only; a restart at that moment looks the same".to_owned());
        }
        let confidence = match (confirmed, misfits) {
            (true, 0) => Confidence::Certain,
            (true, _) => Confidence::Likely,
            (false, _) => Confidence::Possible,
        };
        Conclusion {
            mode,
            timeout: Some(micros(timeout)),
            at_least: Some(micros(at_least)),
            at_most: Some(micros(at_most)),
            samples: samples as u64,
            of: of as u64,
            confidence,
            reached: None,
            summary: format!(
                "{what} after an idle time of {} or more, on {samples} of {of} {}; {} survived",
                seconds(at_most),
                connections(of),
                seconds(at_least)
            ),
            notes,
            advice: mode.map_or_else(
                || advice(Mode::FinAtExpiry, at_least, self.direction),
                |mode| advice(mode, at_least, self.direction),
            ),
        }
    }

    /// Not even the shortest silence was survived.
    fn all_lost(&self, mode: Option<Mode>, what: &str, shortest: Duration) -> Conclusion {
        let of = self.lost.len();
        let mut advice = vec![match self.speech {
            Speech::Keepalive | Speech::Bytes => {
                "test shorter idle times: --send BYTES allows --min below 1s".to_owned()
            }
            Speech::Message => {
                "capture at both ends with tcpdump to see where the packets end".to_owned()
            }
        }];
        let mut notes = Vec::new();
        if mode == Some(Mode::Silent) && self.speech == Speech::Keepalive {
            notes.push("a path that drops keepalive probes looks the same".to_owned());
            advice = vec![
                "send data instead: --send BYTES, which also allows --min below 1s".to_owned(),
            ];
        }
        Conclusion {
            mode,
            timeout: None,
            at_least: None,
            at_most: Some(micros(shortest)),
            samples: of as u64,
            of: of as u64,
            confidence: Confidence::Possible,
            reached: None,
            summary: format!(
                "{what} on {of} of {of} {}, even after the shortest idle time, {}",
                connections(of),
                seconds(shortest)
            ),
            notes,
            advice,
        }
    }

    /// The silence that best parts survivors (below) from losses (from it on), and how many are on the wrong side.
    fn boundary(&self) -> (Duration, usize) {
        let misfits = |boundary: Duration| {
            let survived = self
                .survived
                .iter()
                .filter(|(quiet, _)| *quiet >= boundary)
                .count();
            let lost = self
                .lost
                .iter()
                .filter(|death| death.quiet < boundary)
                .count();
            survived + lost
        };
        let candidates = self.lost.iter().map(|death| death.quiet);
        candidates
            .map(|boundary| (boundary, misfits(boundary)))
            .min_by_key(|&(boundary, misfits)| (misfits, boundary))
            .unwrap_or_default()
    }
}
