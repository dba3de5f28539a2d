//! Which ends of the lost connections received the RST or FIN, and what that says about its sender.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::pattern::How;
use super::super::trial::{Direction, OtherEnd};
use super::{Seen, connections};

/// Which ends of the lost connections received the RST or FIN. "Writer" is the end that writes first after the silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// The writer only.
    Writer,
    /// The other end only.
    Other,
    Both,
    /// Neither: the packets were dropped.
    Neither,
}

/// How a lost connection looked at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) writer: How,
    /// Whether the writer noticed it before it wrote.
    pub(super) in_silence: bool,
    pub(super) other: OtherEnd,
}

impl Seen<'_> {
    /// What most of the lost connections have in common, with a sentence for it. Absent without a responder.
    pub(super) fn reached(&self) -> Option<(Reached, String)> {
        let same = |a: &&Ends| self.ends.iter().filter(|b| *a == *b).count();
        let most = self.ends.iter().max_by_key(same)?;
        let (writer, other) = match self.direction {
            Direction::ToServer => ("this host", "the server"),
            Direction::ToClient => ("the server", "this host"),
        };
        let segment = match most.writer {
            How::Fin => "FIN",
            How::Rst | How::Silence => "RST",
        };
        let (reached, sentence) = match (most.writer, most.other) {
            (How::Silence, OtherEnd::Open) => (
                Reached::Neither,
                format!("the packets did not arrive at {other}, whose connection was still open"),
            ),
            (How::Silence, OtherEnd::Message) => (
                Reached::Neither,
                format!("the packets arrived at {other}, but its answer did not arrive at {writer}"),
            ),
            (How::Silence, OtherEnd::Rst) => (
                Reached::Other,
                format!("{other} received an RST, {writer} received nothing: a device on the path sent it"),
            ),
            (How::Silence, OtherEnd::Fin) => (
                Reached::Other,
                format!("{other} received a FIN, {writer} received nothing: a device on the path sent it"),
            ),
            (How::Fin | How::Rst, OtherEnd::Open) if most.in_silence => (
                Reached::Writer,
                format!(
                    "{writer} received the {segment}, and the connection was still open at {other}: a device on the path sent it"
                ),
            ),
            (How::Fin | How::Rst, OtherEnd::Open) => (
                Reached::Writer,
                format!(
                    "{writer} received the {segment}, and the connection was still open at {other}: a device on the path \
                     sent it, or no longer translates the addresses"
                ),
            ),
            (How::Fin | How::Rst, OtherEnd::Message) => (
                Reached::Writer,
                format!(
                    "the packet arrived at {other}, and {writer} received the {segment} instead of its answer: a device on \
                     the path sent it"
                ),
            ),
            (How::Fin | How::Rst, OtherEnd::Rst | OtherEnd::Fin) => (
                Reached::Both,
                "the connection was ended at both ends: a device on the path (a proxy, load balancer or firewall) did it"
                    .to_owned(),
            ),
        };
        let (count, of) = (same(&most), self.ends.len());
        Some((
            reached,
            format!("{sentence} ({count} of {of} {})", connections(of)),
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::super::conclude;
    use super::*;
    use crate::probe::{Answer, End, Mode, Outcome, Speech, State, Trial};

    /// Silences of 1 to 10 s, which are lost so from 6 s on.
    fn trials(end: &End, other_end: Option<OtherEnd>) -> Vec<Trial> {
        let over = |seconds: u64| {
            let lost = seconds >= 6;
            let silence = Duration::from_secs(seconds);
            let quiet = match end {
                End::FinInSilence | End::RstInSilence if lost => Duration::from_secs(6),
                _ => silence,
            };
            Trial {
                // Two rounds, so that nothing looks like a restart.
                round: if seconds.is_multiple_of(2) { 1 } else { 2 },
                silence,
                opened: Some(Duration::from_millis(seconds * 100)),
                state: State::Over(Outcome {
                    end: if lost {
                        end.clone()
                    } else {
                        End::Survived(Answer::Data)
                    },
                    quiet,
                    at: quiet + Duration::from_millis(seconds * 100),
                    heard: 0,
                }),
                other_end: if lost {
                    other_end
                } else {
                    Some(OtherEnd::Message)
                },
            }
        };
        (1..=10).map(over).collect()
    }

    #[test]
    fn who_received_the_end_tells_who_sent_it() {
        use Reached::{Both, Neither, Other, Writer};
        for (end, other, mode, reached, words) in [
            (
                End::RstInSilence,
                OtherEnd::Open,
                Mode::RstAtExpiry,
                Writer,
                "a device on the path sent it",
            ),
            (
                End::RstInSilence,
                OtherEnd::Rst,
                Mode::RstAtExpiry,
                Both,
                "at both ends",
            ),
            (
                End::FinInSilence,
                OtherEnd::Open,
                Mode::FinAtExpiry,
                Writer,
                "received the FIN",
            ),
            (
                End::FinInSilence,
                OtherEnd::Fin,
                Mode::FinAtExpiry,
                Both,
                "at both ends",
            ),
            (
                End::RstOnPacket,
                OtherEnd::Open,
                Mode::LateRst,
                Writer,
                "no longer translates",
            ),
            (
                End::RstOnPacket,
                OtherEnd::Message,
                Mode::LateRst,
                Writer,
                "instead of its answer",
            ),
            (
                End::RstOnPacket,
                OtherEnd::Rst,
                Mode::LateRst,
                Both,
                "at both ends",
            ),
            (
                End::NoAnswer,
                OtherEnd::Open,
                Mode::Silent,
                Neither,
                "did not arrive at",
            ),
            (
                End::NoAnswer,
                OtherEnd::Message,
                Mode::Silent,
                Neither,
                "its answer did not arrive",
            ),
            (
                End::NoAnswer,
                OtherEnd::Rst,
                Mode::Silent,
                Other,
                "received nothing",
            ),
            (
                End::NoAnswer,
                OtherEnd::Fin,
                Mode::Silent,
                Other,
                "received nothing",
            ),
        ] {
            for direction in [Direction::ToServer, Direction::ToClient] {
                let trials = trials(&end, Some(other));
                let found = conclude(&trials, Speech::Message, direction);
                assert_eq!(
                    (found.mode, found.reached),
                    (Some(mode), Some(reached)),
                    "{found:#?}"
                );
                assert!(
                    found.notes.iter().any(|note| note.contains(words)),
                    "{found:#?}"
                );
                assert!(!found.advice.is_empty(), "{found:#?}");
            }
        }
    }

    #[test]
    fn the_ends_are_named_by_the_direction() {
        let note = |direction| {
            let trials = trials(&End::NoAnswer, Some(OtherEnd::Open));
            conclude(&trials, Speech::Message, direction).notes[0].clone()
        };
        assert!(note(Direction::ToServer).contains("did not arrive at the server"));
        assert!(note(Direction::ToClient).contains("did not arrive at this host"));
    }

    #[test]
    fn without_a_responder_nothing_is_claimed_about_the_other_end() {
        let trials = trials(&End::RstOnPacket, None);
        let found = conclude(&trials, Speech::Keepalive, Direction::ToServer);
        assert_eq!((found.mode, found.reached), (Some(Mode::LateRst), None));
        assert!(
            !found.notes.iter().any(|note| note.contains("device")),
            "{found:#?}"
        );
    }
}
