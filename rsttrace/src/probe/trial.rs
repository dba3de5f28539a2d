//! Result of one connection of a probe.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pattern::How;

/// What is said after a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speech {
    /// A TCP keepalive probe: answered by the other end's kernel, unseen by its application.
    Keepalive,
    /// Bytes for the application.
    Bytes,
    /// A message to the other rsttrace (`rsttrace probe --listen`), which answers it.
    Message,
}

/// Which end writes first after the silence. A path may expire or filter one direction and not the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// This host (the client) writes first.
    #[default]
    ToServer,
    /// The server writes first.
    ToClient,
}

impl Direction {
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::ToServer => "this host writes first",
            Self::ToClient => "the server writes first",
        }
    }

    pub(super) const fn when(self) -> &'static str {
        match self {
            Self::ToServer => "when this host writes first",
            Self::ToClient => "when the server writes first",
        }
    }
}

/// What the end that did not write first saw of a connection. Known only with a responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherEnd {
    /// Nothing: the connection stayed open there.
    Open,
    /// The message arrived there.
    Message,
    /// A RST.
    Rst,
    /// A FIN.
    Fin,
}

/// One connection: its planned idle time, and its state. All times are since the start of the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Which round it belongs to: 1 or 2; 0 for the control, which speaks without a silence.
    pub round: u8,
    /// Planned idle time.
    pub silence: Duration,
    /// When the handshake was complete; absent if it never was.
    pub opened: Option<Duration>,
    /// How far it has come.
    pub state: State,
    /// What the end that does not write first saw; absent if it cannot be asked.
    pub other_end: Option<OtherEnd>,
}

/// How far a connection has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not open yet.
    Opening,
    /// Silent since then.
    Silent {
        /// The last segment of either side that was noticed.
        since: Duration,
    },
    /// The silence is over, the answer is not there yet.
    Speaking {
        /// How long the silence was.
        quiet: Duration,
    },
    /// It is known what happened.
    Over(Outcome),
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub end: End,
    /// How long the connection had been silent: until it ended by itself or, if it did not, until it spoke.
    pub quiet: Duration,
    /// When it was known.
    pub at: Duration,
    /// How often the other end sent something (data, keepalive probes); the idle time then restarted.
    pub heard: u32,
}

/// What ended a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was answered after the silence.
    Survived(Answer),
    /// A FIN came during the silence.
    FinInSilence,
    /// A RST came during the silence.
    RstInSilence,
    /// The first packet after the silence was answered by a FIN, without data.
    FinOnPacket,
    /// The first packet after the silence was answered by a RST.
    RstOnPacket,
    /// Neither the first packet after the silence nor its repetitions were answered.
    NoAnswer,
    /// The connection could not be opened, and why.
    NotOpened(String),
    /// Another error ended it, or it never was silent; which.
    Failed(String),
    /// Enough was known, or the user did not want to wait any longer.
    Unfinished,
}

/// How the other end answered after a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its kernel acknowledged.
    Acknowledged,
    /// Its application sent data.
    Data,
}

impl Trial {
    /// One that is still to be opened.
    pub fn new(round: u8, silence: Duration) -> Self {
        Self {
            round,
            silence,
            opened: None,
            state: State::Opening,
            other_end: None,
        }
    }

    /// What happened, if it is known.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Over(outcome) => Some(outcome),
            State::Opening | State::Silent { .. } | State::Speaking { .. } => None,
        }
    }

    /// How long it has been silent if nothing happened so far.
    pub fn silent_for(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Silent { since } => Some(now.saturating_sub(since)),
            State::Opening | State::Speaking { .. } | State::Over(_) => None,
        }
    }

    /// Ends it, because the probe is over.
    pub fn give_up(&mut self, now: Duration) {
        let quiet = match self.state {
            State::Opening => Duration::ZERO,
            State::Silent { since } => now.saturating_sub(since),
            State::Speaking { quiet } => quiet,
            State::Over(_) => return,
        };
        self.state = State::Over(Outcome {
            end: End::Unfinished,
            quiet,
            at: now,
            heard: 0,
        });
    }
}

/// What an outcome says about the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The connection outlived its silence.
    Alive,
    /// It was ended while silent.
    Expired(How),
    /// It was found dead by the first packet after the silence.
    Lost(How),
    Nothing,
}

/// What the outcomes mean, measured by how the other end answers without any silence.
pub(super) fn fate(end: &End, control: Option<&End>) -> Fate {
    match end {
        // The application answers, as the control has shown; here only a kernel on the way to it did.
        End::Survived(Answer::Acknowledged) if control == Some(&End::Survived(Answer::Data)) => {
            Fate::Lost(How::Silence)
        }
        End::Survived(_) => Fate::Alive,
        // It closes whenever it is spoken to so.
        End::FinOnPacket if control == Some(&End::FinOnPacket) => Fate::Alive,
        End::FinOnPacket => Fate::Lost(How::Fin),
        End::RstOnPacket => Fate::Lost(How::Rst),
        End::NoAnswer => Fate::Lost(How::Silence),
        End::FinInSilence => Fate::Expired(How::Fin),
        End::RstInSilence => Fate::Expired(How::Rst),
        End::NotOpened(_) | End::Failed(_) | End::Unfinished => Fate::Nothing,
    }
}

/// How the control ended; absent while it has not, or if there is none.
pub(super) fn control(trials: &[Trial]) -> Option<&End> {
    let control = trials.iter().find(|trial| trial.round == 0)?;
    control.outcome().map(|outcome| &outcome.end)
}

/// The middle one; of an even number, the lower of the two. Absent if there is none.
pub(super) fn median(values: impl IntoIterator<Item = Duration>) -> Option<Duration> {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// In seconds, to microseconds: what is beyond is the noise of this machine.
pub(super) fn micros(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}
