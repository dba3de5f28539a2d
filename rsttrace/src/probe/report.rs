//! The report of a probe: one JSON object, schema `rsttrace.probe.v1`.
//!
//! A key that is absent means "not known". Durations are seconds.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conclude::{Conclusion, conclude, path};
use super::trial::{Answer, Direction, End, OtherEnd, Speech, State, Trial, micros};
use crate::record::Endpoint;

/// The value of [`Report::schema`].
pub const SCHEMA: &str = "rsttrace.probe.v1";

/// A probe and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub schema: String,
    /// When it began: RFC 3339, UTC.
    pub time: String,
    /// This host's name; absent if it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What the user named.
    pub target: Target,
    /// The address that was connected to.
    pub address: Endpoint,
    /// What was said after the silences.
    pub speech: Speech,
    /// Which silences were to be tried.
    pub silences: Bounds,
    /// How long it took, in seconds.
    pub took: f64,
    /// Whether the user ended it early.
    pub interrupted: bool,
    /// About the path as a whole.
    pub conclusion: Conclusion,
    /// What happened to each connection, by direction and silence.
    pub observations: Vec<Observation>,
    /// Which directions were tested, and the conclusion about each.
    #[serde(default)]
    pub directions: Vec<DirectionReport>,
}

/// One direction: which end writes first after the silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirectionReport {
    pub direction: Direction,
    pub tested: bool,
    /// Absent if not tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<Conclusion>,
    /// How to test it; absent if tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How to test what the server's first segment after a silence meets.
const LISTEN: &str = "Run `rsttrace probe --listen PORT` there to test it";

/// What the user named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The shortest and the longest silence, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Answered after the silence.
    Survived,
    /// A FIN came during the silence.
    FinInSilence,
    /// A RST came during the silence.
    RstInSilence,
    /// The first packet after the silence was answered by a FIN, without data.
    FinOnPacket,
    /// The first packet after the silence was answered by a RST.
    RstOnPacket,
    /// No answer to the first packet after the silence, nor to its repetitions.
    NoAnswer,
    /// The connection could not be opened.
    NotOpened,
    /// Another error ended it, or it never was silent.
    Failed,
    /// Not waited for: enough was known, or the user ended it.
    Unfinished,
}

/// One connection. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observation {
    /// How long it was to be silent.
    pub silence: f64,
    /// 1: the row of silences; 2: those between the longest survived and the shortest lost; 0: the control of `--send`, which
    /// speaks at once.
    pub round: u8,
    /// When it was open, since the probe began; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened: Option<f64>,
    pub event: Event,
    /// How long it had been silent by then: when it was ended or, if it was not, when it spoke.
    pub quiet: f64,
    /// When it was known, since the probe began.
    pub at: f64,
    /// Whether the application answered with data; absent where it was not spoken to or nothing was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<bool>,
    /// How often the other end broke the silence, which then began anew; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard: Option<u32>,
    /// The error; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which end was to write first.
    #[serde(default)]
    pub direction: Direction,
    /// What the other end saw; absent if it cannot be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_end: Option<OtherEnd>,
}

/// What is known of a probe before it begins; for the fields' meaning see [`Report`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as in Report")]
pub struct Heading {
    pub time: String,
    pub host: Option<String>,
    pub target: Target,
    pub address: Endpoint,
    pub speech: Speech,
    pub silences: Bounds,
}

/// What came of the connections.
#[derive(Clone, Debug)]
pub struct Results {
    pub took: Duration,
    /// Whether the user ended the probe early.
    pub interrupted: bool,
    /// Connections on which this host writes first.
    pub to_server: Vec<Trial>,
    /// Connections on which the server writes first; absent without a responder.
    pub to_client: Option<Vec<Trial>>,
    /// What else limits the conclusion.
    pub remarks: Vec<String>,
}

impl Report {
    /// Sums up the trials. Those that are not over are given up at the end.
    pub fn new(heading: Heading, results: Results) -> Self {
        let Heading {
            time,
            host,
            target,
            address,
            speech,
            silences,
        } = heading;
        let Results {
            took,
            interrupted,
            mut to_server,
            mut to_client,
            remarks,
        } = results;
        for trials in [Some(&mut to_server), to_client.as_mut()]
            .into_iter()
            .flatten()
        {
            trials.iter_mut().for_each(|trial| trial.give_up(took));
            trials.sort_by_key(|trial| (trial.silence, trial.round));
        }
        let about_server = conclude(&to_server, speech, Direction::ToServer);
        let about_client = to_client
            .as_ref()
            .map(|trials| conclude(trials, speech, Direction::ToClient));
        let mut conclusion = path(&about_server, about_client.as_ref());
        conclusion.notes.extend(remarks);
        let observed = |trials: &[Trial], direction| -> Vec<_> {
            let all = trials.iter();
            all.filter_map(|trial| observation(trial, speech, direction))
                .collect()
        };
        let mut observations = observed(&to_server, Direction::ToServer);
        observations.extend(observed(
            to_client.as_deref().unwrap_or_default(),
            Direction::ToClient,
        ));
        let directions = vec![
            DirectionReport {
                direction: Direction::ToServer,
                tested: true,
                conclusion: Some(about_server),
                advice: None,
            },
            DirectionReport {
                direction: Direction::ToClient,
                tested: about_client.is_some(),
                advice: about_client.is_none().then(|| LISTEN.to_owned()),
                conclusion: about_client,
            },
        ];
        Self {
            schema: SCHEMA.to_owned(),
            time,
            host,
            target,
            address,
            speech,
            silences,
            took: micros(took),
            interrupted,
            conclusion,
            observations,
            directions,
        }
    }
}

fn observation(trial: &Trial, speech: Speech, direction: Direction) -> Option<Observation> {
    let State::Over(outcome) = &trial.state else {
        return None;
    };
    let (event, data, error) = match &outcome.end {
        End::Survived(answer) => {
            let data = (speech == Speech::Bytes).then_some(*answer == Answer::Data);
            (Event::Survived, data, None)
        }
        End::FinInSilence => (Event::FinInSilence, None, None),
        End::RstInSilence => (Event::RstInSilence, None, None),
        End::FinOnPacket => (Event::FinOnPacket, None, None),
        End::RstOnPacket => (Event::RstOnPacket, None, None),
        End::NoAnswer => (Event::NoAnswer, None, None),
        End::NotOpened(why) => (Event::NotOpened, None, Some(why.clone())),
        End::Failed(why) => (Event::Failed, None, Some(why.clone())),
        End::Unfinished => (Event::Unfinished, None, None),
    };
    Some(Observation {
        silence: micros(trial.silence),
        round: trial.round,
        opened: trial.opened.map(micros),
        event,
        quiet: micros(outcome.quiet),
        at: micros(outcome.at),
        data,
        heard: (outcome.heard > 0).then_some(outcome.heard),
        error,
        direction,
        other_end: trial.other_end,
    })
}
