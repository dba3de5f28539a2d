//! What do the fates of all connections of a probe say about the path?

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::render::seconds;
use super::trial::{
    Answer, End, Fate, How, Outcome, Speech, Trial, control, fate, median, micros, slack,
};
use crate::record::Confidence;

/// What a path does to a connection that was silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A RST came when the timer fired.
    RstAtExpiry,
    /// The connection was forgotten silently; the next packet was answered by a RST.
    LateRst,
    /// A FIN came when the timer fired.
    FinAtExpiry,
    /// The connection was forgotten silently, and the next packets were dropped.
    Silent,
    /// Nothing: every connection survived its silence.
    None,
}

impl Mode {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RstAtExpiry => "rst_at_expiry",
            Self::LateRst => "late_rst",
            Self::FinAtExpiry => "fin_at_expiry",
            Self::Silent => "silent",
            Self::None => "none",
        }
    }
}

/// What was concluded. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conclusion {
    /// What the path does; absent if what was seen does not show one timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The idle timeout: measured where its end was seen, else the middle of its bounds. Absent if there is none, or only
    /// one bound is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// It is not shorter than this; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// It is not longer than this; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// How many connections show it.
    pub samples: u64,
    /// Of how many that could have.
    pub of: u64,
    /// How sure this is.
    pub confidence: Confidence,
    /// One sentence.
    pub summary: String,
    /// What speaks against it, or limits it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
}

/// Concludes from what is known. Trials that are not over count as silent until now; give them up first.
pub fn conclude(trials: &[Trial], speech: Speech) -> Conclusion {
    let seen = Seen::new(trials, speech);
    let mut conclusion = seen.conclude();
    conclusion.notes.extend(seen.common_notes());
    conclusion
}

/// A connection that was ended, or found dead.
#[derive(Clone, Copy)]
struct Death {
    how: How,
    round: u8,
    quiet: Duration,
    at: Duration,
}

/// The fates, sorted out.
struct Seen<'a> {
    speech: Speech,
    control: Option<&'a End>,
    /// Ended while silent.
    expired: Vec<Death>,
    /// Found dead after the silence.
    lost: Vec<Death>,
    /// Silences that were survived, and in which round.
    survived: Vec<(Duration, u8)>,
    /// Silences of those not waited for.
    unfinished: Vec<Duration>,
    not_opened: Vec<&'a str>,
    failed: Vec<&'a str>,
    heard: usize,
}

impl<'a> Seen<'a> {
    fn new(trials: &'a [Trial], speech: Speech) -> Self {
        let mut seen = Self {
            speech,
            control: control(trials),
            expired: Vec::new(),
            lost: Vec::new(),
            survived: Vec::new(),
            unfinished: Vec::new(),
            not_opened: Vec::new(),
            failed: Vec::new(),
            heard: 0,
        };
        for trial in trials.iter().filter(|trial| trial.round > 0) {
            if let Some(outcome) = trial.outcome() {
                seen.take(trial.round, outcome);
            }
        }
        seen
    }

    fn take(&mut self, round: u8, outcome: &'a Outcome) {
        let death = |how| Death {
            how,
            round,
            quiet: outcome.quiet,
            at: outcome.at,
        };
        self.heard += usize::from(outcome.heard > 0);
        match fate(&outcome.end, self.control) {
            Fate::Alive => self.survived.push((outcome.quiet, round)),
            Fate::Expired(how) => self.expired.push(death(how)),
            Fate::Lost(how) => self.lost.push(death(how)),
            Fate::Nothing => match &outcome.end {
                End::NotOpened(why) => self.not_opened.push(why),
                End::Failed(why) => self.failed.push(why),
                _ => self.unfinished.push(outcome.quiet),
            },
        }
    }

    fn conclude(&self) -> Conclusion {
        if let Some(useless) = self.without_silence() {
            return useless;
        }
        let expiry = median(self.expired.iter().map(|death| death.quiet));
        match expiry {
            // The path had forgotten them before anybody's timer ended the others.
            Some(timeout) if !self.lost_well_before(timeout) => self.expiry(timeout),
            _ if !self.lost.is_empty() => self.loss(),
            _ => self.nothing_lost(),
        }
    }

    /// The control was turned away without any silence: then silence explains nothing.
    fn without_silence(&self) -> Option<Conclusion> {
        let what = match self.control? {
            End::RstOnPacket => "resets these bytes",
            End::NoAnswer => "does not even acknowledge these bytes",
            _ => return None,
        };
        Some(Conclusion {
            advice: vec![
                "say what this service understands (--send), or nothing: without --send a keepalive probe is used"
                    .to_owned(),
            ],
            ..self.unclear(
                self.lost.len(),
                format!("the other end {what} also without any silence, so nothing is known about its timeout"),
            )
        })
    }

    fn lost_well_before(&self, timeout: Duration) -> bool {
        let limit = timeout.saturating_sub(slack(timeout));
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

    /// Connections were ended while silent.
    fn expiry(&self, timeout: Duration) -> Conclusion {
        let deaths = &self.expired;
        let samples = deaths.len();
        let fins = deaths.iter().filter(|death| death.how == How::Fin).count();
        let (mode, what) = if fins * 2 > samples {
            (Mode::FinAtExpiry, "closed (FIN) by the other end")
        } else {
            (Mode::RstAtExpiry, "reset (RST)")
        };
        let overdue = timeout + slack(timeout);
        let outlived = self.survived.iter().map(|(quiet, _)| quiet);
        let outlived = outlived
            .chain(&self.unfinished)
            .filter(|quiet| **quiet > overdue)
            .count();
        let of = samples + outlived;
        let on = format!("on {samples} of {of} {}", connections(of));
        let quiets = || deaths.iter().map(|death| death.quiet);
        let (spread, instants) = (
            spread(quiets()),
            spread(deaths.iter().map(|death| death.at)),
        );
        let (least, most) = range(quiets());

        if timeout < AT_ONCE {
            let summary = format!(
                "{what} {} after the connection was opened, {on}: this is no idle timeout; the other end turns connections away",
                seconds(timeout)
            );
            return Conclusion {
                advice: vec!["ask the server's log why it closes new connections: limits, TLS expected, access lists".to_owned()],
                ..self.unclear(samples, summary)
            };
        }
        if samples >= 3 && instants * 2 < spread {
            let at = median(deaths.iter().map(|death| death.at)).unwrap_or_default();
            let summary = format!(
                "{what} {on}, all at one instant ({} after the probe began) whatever their silence: a restart or a failover, no idle timeout",
                seconds(at)
            );
            return Conclusion {
                advice: vec!["run the probe again when the path is calm".to_owned()],
                ..self.unclear(samples, summary)
            };
        }
        if spread > (timeout / 20).max(Duration::from_millis(250)) {
            let summary = format!(
                "{what} {on}, but after anything from {} to {} of silence: no single idle timeout does that",
                seconds(least),
                seconds(most)
            );
            return Conclusion {
                advice: vec![
                    "run the probe again; several backends with different settings look like this"
                        .to_owned(),
                ],
                ..self.unclear(samples, summary)
            };
        }
        if outlived > samples {
            let summary = format!(
                "{what} after {} of silence {on}, but the others lived on: not what the whole path does",
                seconds(timeout)
            );
            return Conclusion {
                advice: vec![
                    "run the probe again; several backends with different settings look like this"
                        .to_owned(),
                ],
                ..self.unclear(of, summary)
            };
        }
        let mut notes = Vec::new();
        if samples == 1 {
            notes.push(
                "one connection only: a restart at that instant would look the same".to_owned(),
            );
        } else if fins > 0 && fins < samples {
            notes.push(format!("{fins} ended by FIN, {} by RST", samples - fins));
        }
        if outlived > 0 {
            let lived = if outlived == 1 {
                "connection was"
            } else {
                "connections were"
            };
            notes.push(format!("{outlived} {lived} silent for longer and lived on"));
        }
        let confidence = match samples {
            1 => Confidence::Possible,
            // Equal silences that ended at different instants: only a timer does that.
            3.. if spread * 2 < instants && outlived == 0 => Confidence::Certain,
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
            summary: format!("{what} after {} of silence {on}", seconds(timeout)),
            notes,
            advice: advice(mode, timeout),
        }
    }

    /// Connections were found dead by the first packet after the silence.
    fn loss(&self) -> Conclusion {
        let lost = &self.lost;
        let how = [How::Rst, How::Silence, How::Fin]
            .into_iter()
            .max_by_key(|how| lost.iter().filter(|death| death.how == *how).count());
        let (mode, what) = match how {
            Some(How::Fin) => (None, "closed (FIN) by the other end at the first packet"),
            Some(How::Silence) => (Some(Mode::Silent), "dropped: no answer to the first packet"),
            Some(How::Rst) | None => (
                Some(Mode::LateRst),
                "reset by the answer to the first packet",
            ),
        };
        let (shortest, _) = range(lost.iter().map(|death| death.quiet));
        if self.survived.is_empty() {
            return self.all_lost(mode, what, shortest);
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
                "{} of {} connections were lost from {} after the probe began, but equal silences were survived later: \
                 a restart or a failover, or single lost packets, no idle timeout",
                lost.len(),
                lost.len() + self.survived.len(),
                seconds(instant)
            );
            return Conclusion {
                advice: vec!["run the probe again when the path is calm".to_owned()],
                ..self.unclear(lost.len() + self.survived.len(), summary)
            };
        }
        let total = lost.len() + self.survived.len();
        let above = || lost.iter().filter(|death| death.quiet >= boundary);
        let at_most = above().map(|death| death.quiet).min();
        if misfits * 10 > total || misfits * 2 > lost.len() || at_most.is_none() {
            let (_, longest) = range(self.survived.iter().map(|(quiet, _)| *quiet));
            let summary = format!(
                "{} of {total} connections did not outlive their silence, the shortest {}, but others survived up to {}: \
                 no single idle timeout does that",
                lost.len(),
                seconds(shortest),
                seconds(longest)
            );
            return Conclusion {
                advice: vec![
                    "run the probe again; lost packets and several paths with different settings look like this"
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
            notes.push(format!("{misfits} of {total} connections do not fit"));
        }
        let confirmed = second > 0;
        if !confirmed {
            notes.push(
                "seen in one round only: a restart at that instant would look the same".to_owned(),
            );
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
            summary: format!(
                "{what} after {} of silence or more, on {samples} of {of} {}; {} was survived",
                seconds(at_most),
                connections(of),
                seconds(at_least)
            ),
            notes,
            advice: mode.map_or_else(
                || advice(Mode::FinAtExpiry, at_least),
                |mode| advice(mode, at_least),
            ),
        }
    }

    /// Not even the shortest silence was survived.
    fn all_lost(&self, mode: Option<Mode>, what: &str, shortest: Duration) -> Conclusion {
        let of = self.lost.len();
        let mut advice =
            vec!["look at shorter silences: --send BYTES allows --min below 1s".to_owned()];
        let mut notes = Vec::new();
        if mode == Some(Mode::Silent) && self.speech == Speech::Keepalive {
            notes.push("a path that drops keepalive probes as such would look the same".to_owned());
            advice = vec!["say something to the application instead: --send BYTES, which also allows --min below 1s".to_owned()];
        }
        Conclusion {
            mode,
            timeout: None,
            at_least: None,
            at_most: Some(micros(shortest)),
            samples: of as u64,
            of: of as u64,
            confidence: Confidence::Possible,
            summary: format!(
                "{what} on {of} of {of} {}, also after the shortest silence, {}",
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

    fn nothing_lost(&self) -> Conclusion {
        let of = self.survived.len();
        let longest = self.survived.iter().map(|(quiet, _)| *quiet).max();
        let Some(longest) = longest else {
            return Conclusion {
                advice: vec!["let it run for longer".to_owned()],
                ..self.unclear(
                    0,
                    "no connection has outlived a silence yet, and none was lost: nothing is known"
                        .to_owned(),
                )
            };
        };
        let mut advice = vec!["to look further, raise --max".to_owned()];
        if self.speech == Speech::Keepalive {
            advice.push(
                "a proxy that answers keepalive probes itself may still time out towards the server: --send BYTES reaches it"
                    .to_owned(),
            );
        }
        Conclusion {
            mode: Some(Mode::None),
            timeout: None,
            at_least: Some(micros(longest)),
            at_most: None,
            samples: of as u64,
            of: of as u64,
            confidence: if of >= 3 {
                Confidence::Certain
            } else {
                Confidence::Likely
            },
            summary: format!(
                "{of} of {of} {} survived, the longest silence was {}",
                connections(of),
                seconds(longest)
            ),
            notes: Vec::new(),
            advice,
        }
    }

    fn unclear(&self, of: usize, summary: String) -> Conclusion {
        Conclusion {
            mode: None,
            timeout: None,
            at_least: None,
            at_most: None,
            samples: 0,
            of: of as u64,
            confidence: Confidence::Possible,
            summary,
            notes: Vec::new(),
            advice: Vec::new(),
        }
    }

    /// What limits any conclusion.
    fn common_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(why) = self.not_opened.first() {
            notes.push(format!(
                "{} {} could not be opened: {why}",
                self.not_opened.len(),
                connections(self.not_opened.len())
            ));
        }
        if let Some(why) = self.failed.first() {
            notes.push(format!(
                "{} {} tell nothing: {why}",
                self.failed.len(),
                connections(self.failed.len())
            ));
        }
        if self.heard > 0 {
            notes.push(format!(
                "on {} {} the other end broke the silence (data, or keepalive probes of its own): they were silent for less \
                 than planned",
                self.heard,
                connections(self.heard)
            ));
        }
        if self.control == Some(&End::Survived(Answer::Acknowledged)) {
            notes.push("the application did not answer these bytes within 3 s, so only its kernel is known to live".to_owned());
        }
        notes
    }
}

/// An end that comes sooner is none of a timer's.
const AT_ONCE: Duration = Duration::from_millis(200);

fn advice(mode: Mode, timeout: Duration) -> Vec<String> {
    let below = seconds(timeout * 4 / 5);
    let pool = format!("let connection pools drop connections that were idle for {below}");
    match mode {
        Mode::LateRst | Mode::Silent => vec![
            format!("keep the path awake: SO_KEEPALIVE with TCP_KEEPIDLE below {below} (Linux sends none before 7200 s by default)"),
            pool,
        ],
        Mode::FinAtExpiry | Mode::RstAtExpiry => vec![
            pool,
            "or raise the idle timeout of the proxy or server; one that counts data alone is not kept awake by TCP keepalive"
                .to_owned(),
        ],
        Mode::None => Vec::new(),
    }
}

fn connections(number: usize) -> &'static str {
    if number == 1 {
        "connection"
    } else {
        "connections"
    }
}

/// Smallest and greatest; zero if there is none.
fn range(values: impl Iterator<Item = Duration> + Clone) -> (Duration, Duration) {
    (
        values.clone().min().unwrap_or_default(),
        values.max().unwrap_or_default(),
    )
}

/// How far the values are apart, without the outer tenths: one connection that differs is no other timer.
fn spread(values: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_unstable();
    let trim = sorted.len() / 10;
    match sorted.get(trim..sorted.len() - trim) {
        Some([first, .., last]) => *last - *first,
        _ => Duration::ZERO,
    }
}
