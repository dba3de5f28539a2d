//! Conclusion about the path from the results of all connections.

mod ends;
mod expiry;
mod loss;
mod path;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pattern::{Death, timer_of};
use super::render::seconds;
use super::trial::{Answer, Direction, End, Fate, Speech, Trial, control, fate, micros};
use crate::record::Confidence;

use self::ends::Ends;
pub use self::ends::Reached;
pub use self::path::path;

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
    /// Which ends of the lost connections received the RST or FIN; absent without a responder, or if none was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
    pub summary: String,
    /// What speaks against it, or limits it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
}

/// Concludes about one direction from what is known. Trials that are not over count as silent until now; give them up first.
pub fn conclude(trials: &[Trial], speech: Speech, direction: Direction) -> Conclusion {
    let seen = Seen::new(trials, speech, direction);
    let mut conclusion = seen.conclude();
    if conclusion.mode.is_some()
        && let Some((reached, sentence)) = seen.reached()
    {
        conclusion.reached = Some(reached);
        conclusion.notes.push(sentence);
    }
    conclusion.notes.extend(seen.common_notes());
    conclusion
}

/// The fates, sorted out.
struct Seen<'a> {
    speech: Speech,
    direction: Direction,
    control: Option<&'a End>,
    /// Ended while silent.
    expired: Vec<Death>,
    /// Found dead after the silence.
    lost: Vec<Death>,
    /// Both ends of those, where the other one is known.
    ends: Vec<Ends>,
    /// Silences that were survived, and in which round.
    survived: Vec<(Duration, u8)>,
    /// Silences of those not waited for.
    unfinished: Vec<Duration>,
    not_opened: Vec<&'a str>,
    failed: Vec<&'a str>,
    heard: usize,
}

impl<'a> Seen<'a> {
    fn new(trials: &'a [Trial], speech: Speech, direction: Direction) -> Self {
        let mut seen = Self {
            speech,
            direction,
            control: control(trials),
            expired: Vec::new(),
            lost: Vec::new(),
            ends: Vec::new(),
            survived: Vec::new(),
            unfinished: Vec::new(),
            not_opened: Vec::new(),
            failed: Vec::new(),
            heard: 0,
        };
        for trial in trials.iter().filter(|trial| trial.round > 0) {
            seen.take(trial);
        }
        seen
    }

    fn take(&mut self, trial: &'a Trial) {
        let Some(outcome) = trial.outcome() else {
            return;
        };
        let death = |how| Death {
            how,
            round: trial.round,
            quiet: outcome.quiet,
            at: outcome.at,
        };
        let ends = |writer, in_silence| {
            trial.other_end.map(|other| Ends {
                writer,
                in_silence,
                other,
            })
        };
        self.heard += usize::from(outcome.heard > 0);
        match fate(&outcome.end, self.control) {
            Fate::Alive => self.survived.push((outcome.quiet, trial.round)),
            Fate::Expired(how) => {
                self.expired.push(death(how));
                self.ends.extend(ends(how, true));
            }
            Fate::Lost(how) => {
                self.lost.push(death(how));
                self.ends.extend(ends(how, false));
            }
            Fate::Nothing => match &outcome.end {
                End::NotOpened(why) => self.not_opened.push(why),
                End::Failed(why) => self.failed.push(why),
                End::Survived(_)
                | End::FinInSilence
                | End::RstInSilence
                | End::FinOnPacket
                | End::RstOnPacket
                | End::NoAnswer
                | End::Unfinished => self.unfinished.push(outcome.quiet),
            },
        }
    }

    fn conclude(&self) -> Conclusion {
        if let Some(useless) = self.without_silence() {
            return useless;
        }
        match timer_of(&self.expired) {
            // The path had forgotten them before anybody's timer ended the others.
            Some(timeout) if !self.lost_well_before(timeout) => self.expiry(timeout),
            _ if !self.lost.is_empty() => self.loss(),
            _ => self.nothing_lost(),
        }
    }

    /// The control was turned away without any silence: then silence explains nothing.
    fn without_silence(&self) -> Option<Conclusion> {
        let what = match self.control? {
            End::RstOnPacket => "resets the connection on these bytes",
            End::NoAnswer => "does not acknowledge these bytes",
            _ => return None,
        };
        Some(Conclusion {
            advice: vec![
                "use --send with a valid request of this service, or remove --send to use a keepalive probe"
                    .to_owned(),
            ],
            ..self.unclear(
                self.lost.len(),
                format!("the remote end {what} even without idle time, so the timeout cannot be measured"),
            )
        })
    }

    fn nothing_lost(&self) -> Conclusion {
        let of = self.survived.len();
        let longest = self.survived.iter().map(|(quiet, _)| *quiet).max();
        let Some(longest) = longest else {
            return Conclusion {
                advice: vec!["let the probe run longer".to_owned()],
                ..self.unclear(
                    0,
                    "no result yet: no connection has survived an idle time or was lost".to_owned(),
                )
            };
        };
        let mut advice = vec![if self.unfinished.is_empty() {
            "to test longer idle times, increase --max".to_owned()
        } else {
            "to look further, let the probe run longer".to_owned()
        }];
        if self.speech == Speech::Keepalive {
            advice.push(
                "a proxy that answers keepalive probes itself may still have a timeout towards the server; use --send BYTES to test it"
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
            reached: None,
            summary: format!(
                "{of} of {of} {} survived, the longest idle time was {}",
                connections(of),
                seconds(longest)
            ),
            notes: Vec::new(),
            advice,
        }
    }

    /// The end that writes first is not always here.
    fn closed_with_fin(&self) -> &'static str {
        match self.direction {
            Direction::ToServer => "closed with FIN by the remote end",
            Direction::ToClient => "closed with FIN",
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
            reached: None,
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
                "{} {} could not be established: {why}",
                self.not_opened.len(),
                connections(self.not_opened.len())
            ));
        }
        if let Some(why) = self.failed.first() {
            notes.push(format!(
                "{} {} gave no result: {why}",
                self.failed.len(),
                connections(self.failed.len())
            ));
        }
        if self.heard > 0 {
            notes.push(format!(
                "{} {} had less idle time than planned, because the remote end sent data or keepalive probes",
                self.heard,
                connections(self.heard)
            ));
        }
        if self.control == Some(&End::Survived(Answer::Acknowledged)) {
            notes.push("the application did not answer these bytes within 3 s; only its kernel acknowledged them".to_owned());
        }
        notes
    }
}

fn advice(mode: Mode, timeout: Duration, direction: Direction) -> Vec<String> {
    let below = seconds(timeout * 4 / 5);
    let end = match direction {
        Direction::ToServer => "",
        Direction::ToClient => " on the server, whose packets are lost,",
    };
    let pool = match direction {
        Direction::ToServer => {
            format!("make connection pools discard connections idle for {below} or longer")
        }
        Direction::ToClient => format!(
            "have the server send a heartbeat of its protocol more often than every {below}, or close connections idle for longer"
        ),
    };
    match mode {
        Mode::LateRst | Mode::Silent => vec![
            format!("enable SO_KEEPALIVE{end} with TCP_KEEPIDLE below {below} (the Linux default is 7200 s)"),
            pool,
        ],
        Mode::FinAtExpiry | Mode::RstAtExpiry => vec![
            pool,
            "or increase the idle timeout of the proxy or server; TCP keepalive does not help if it counts application data only"
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
