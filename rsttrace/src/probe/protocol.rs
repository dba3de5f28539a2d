//! Messages between `rsttrace probe` and `rsttrace probe --listen`, version 1.
//!
//! Each is a line of exactly [`LENGTH`] bytes: `rsttrace-probe/1`, words, spaces, and a line feed. docs/PROBE.md describes
//! who sends what.

use std::time::Duration;

use super::trial::{Answer, Direction, End, OtherEnd};

/// Bytes of a message.
pub const LENGTH: usize = 64;

/// What every message of any version begins with.
const NAME: &[u8] = b"rsttrace-probe/";
const VERSION: &str = "1";

/// Number of a connection within its session and direction.
pub type Number = u16;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// From the probe, first on its control connection.
    Hello,
    /// The answer: the session's id, chosen at random.
    Session(u64),
    /// From the probe, first on each other connection: be silent for so long, then this end writes.
    Order(Order),
    /// The answer: the silence begins.
    Ready,
    /// What is written after the silence.
    Ping,
    /// The answer to it.
    Pong,
    /// On the control connection: answered by the same.
    Alive(u32),
    /// What the responder saw of a connection on which it waits.
    Saw { number: Number, saw: OtherEnd },
    /// What became of a connection on which the responder writes first. `quiet`: how long it had been silent.
    Result {
        number: Number,
        end: End,
        quiet: Duration,
        heard: u8,
    },
    /// From the responder: no such session, or no more connections.
    Refused,
    /// From the responder: the other version is not supported.
    Unsupported,
}

/// How the responder uses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub session: u64,
    pub number: Number,
    pub direction: Direction,
    pub silence: Duration,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not of this program.
    Foreign,
    /// Of another version of the protocol.
    Version,
}

impl Message {
    /// The line to send.
    pub fn encode(&self) -> [u8; LENGTH] {
        let words = match self {
            Self::Hello => "hello".to_owned(),
            Self::Session(session) => format!("session {session:016x}"),
            Self::Order(order) => {
                let word = match order.direction {
                    Direction::ToServer => "wait",
                    Direction::ToClient => "speak",
                };
                let millis = order.silence.as_millis();
                format!("{word} {:016x} {} {millis}", order.session, order.number)
            }
            Self::Ready => "ready".to_owned(),
            Self::Ping => "ping".to_owned(),
            Self::Pong => "pong".to_owned(),
            Self::Alive(count) => format!("alive {count}"),
            Self::Saw { number, saw } => format!("saw {number} {}", saw_word(*saw)),
            Self::Result {
                number,
                end,
                quiet,
                heard,
            } => {
                let micros = quiet.as_micros();
                format!("result {number} {} {micros} {heard}", end_word(end))
            }
            Self::Refused => "refused".to_owned(),
            Self::Unsupported => "unsupported".to_owned(),
        };
        let mut line = [b' '; LENGTH];
        let text = NAME.iter().chain(VERSION.as_bytes()).chain(b" ");
        let bytes = text.chain(words.as_bytes());
        for (to, from) in line.iter_mut().zip(bytes) {
            *to = *from;
        }
        if let Some(last) = line.last_mut() {
            *last = b'\n';
        }
        line
    }

    /// Reads a line.
    pub fn decode(line: &[u8; LENGTH]) -> Result<Self, Invalid> {
        let rest = line.strip_prefix(NAME).ok_or(Invalid::Foreign)?;
        let text = std::str::from_utf8(rest).map_err(|_| Invalid::Foreign)?;
        let text = text.strip_suffix('\n').ok_or(Invalid::Foreign)?;
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some(VERSION) {
            return Err(Invalid::Version);
        }
        let message = Self::words(&mut words).ok_or(Invalid::Foreign)?;
        match words.next() {
            None => Ok(message),
            Some(_) => Err(Invalid::Foreign),
        }
    }

    fn words<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        Some(match words.next()? {
            "hello" => Self::Hello,
            "session" => Self::Session(hex(words.next()?)?),
            word @ ("wait" | "speak") => Self::Order(Order {
                session: hex(words.next()?)?,
                number: words.next()?.parse().ok()?,
                direction: if word == "wait" {
                    Direction::ToServer
                } else {
                    Direction::ToClient
                },
                silence: LONGEST.min(Duration::from_millis(words.next()?.parse().ok()?)),
            }),
            "ready" => Self::Ready,
            "ping" => Self::Ping,
            "pong" => Self::Pong,
            "alive" => Self::Alive(words.next()?.parse().ok()?),
            "saw" => Self::Saw {
                number: words.next()?.parse().ok()?,
                saw: word_saw(words.next()?)?,
            },
            "result" => Self::Result {
                number: words.next()?.parse().ok()?,
                end: word_end(words.next()?)?,
                quiet: LONGEST.min(Duration::from_micros(words.next()?.parse().ok()?)),
                heard: words.next()?.parse().ok()?,
            },
            "refused" => Self::Refused,
            "unsupported" => Self::Unsupported,
            _ => return None,
        })
    }
}

/// Whether these can be the first bytes of a message, of any version.
pub fn may_begin(bytes: &[u8]) -> bool {
    let length = bytes.len().min(NAME.len());
    bytes[..length] == NAME[..length]
}

/// The longest silence of a probe, see `--max`.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);

fn hex(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn saw_word(saw: OtherEnd) -> &'static str {
    match saw {
        OtherEnd::Open => "open",
        OtherEnd::Message => "message",
        OtherEnd::Rst => "rst",
        OtherEnd::Fin => "fin",
    }
}

fn word_saw(word: &str) -> Option<OtherEnd> {
    let all = [
        OtherEnd::Open,
        OtherEnd::Message,
        OtherEnd::Rst,
        OtherEnd::Fin,
    ];
    all.into_iter().find(|saw| saw_word(*saw) == word)
}

fn end_word(end: &End) -> &'static str {
    match end {
        End::Survived(_) => "survived",
        End::FinInSilence => "fin_in_silence",
        End::RstInSilence => "rst_in_silence",
        End::FinOnPacket => "fin_on_packet",
        End::RstOnPacket => "rst_on_packet",
        End::NoAnswer => "no_answer",
        End::NotOpened(_) | End::Failed(_) | End::Unfinished => "failed",
    }
}

fn word_end(word: &str) -> Option<End> {
    Some(match word {
        "survived" => End::Survived(Answer::Data),
        "fin_in_silence" => End::FinInSilence,
        "rst_in_silence" => End::RstInSilence,
        "fin_on_packet" => End::FinOnPacket,
        "rst_on_packet" => End::RstOnPacket,
        "no_answer" => End::NoAnswer,
        "failed" => End::Failed("the responder could not use the connection".to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> Vec<Message> {
        let order = |direction| {
            Message::Order(Order {
                session: u64::MAX,
                number: Number::MAX,
                direction,
                silence: LONGEST,
            })
        };
        let result = |end| Message::Result {
            number: Number::MAX,
            end,
            quiet: LONGEST,
            heard: 100,
        };
        let saw = |saw| Message::Saw {
            number: Number::MAX,
            saw,
        };
        vec![
            Message::Hello,
            Message::Session(0x1f),
            order(Direction::ToServer),
            order(Direction::ToClient),
            Message::Ready,
            Message::Ping,
            Message::Pong,
            Message::Alive(u32::MAX),
            saw(OtherEnd::Open),
            saw(OtherEnd::Message),
            saw(OtherEnd::Rst),
            saw(OtherEnd::Fin),
            result(End::Survived(Answer::Data)),
            result(End::FinInSilence),
            result(End::RstInSilence),
            result(End::FinOnPacket),
            result(End::RstOnPacket),
            result(End::NoAnswer),
            result(End::Failed(
                "the responder could not use the connection".to_owned(),
            )),
            Message::Refused,
            Message::Unsupported,
        ]
    }

    #[test]
    fn every_message_fits_its_line_and_is_read_again() {
        for message in samples() {
            let line = message.encode();
            assert_eq!(Message::decode(&line), Ok(message));
            assert!(may_begin(&line));
        }
    }

    #[test]
    fn lines_are_the_documented_ones() {
        let line = |message: Message| {
            String::from_utf8(message.encode().to_vec())
                .unwrap()
                .trim_end()
                .to_owned()
        };
        let [hello, session, wait, speak] = &samples()[..4] else {
            unreachable!()
        };
        assert_eq!(line(hello.clone()), "rsttrace-probe/1 hello");
        assert_eq!(
            line(session.clone()),
            "rsttrace-probe/1 session 000000000000001f"
        );
        assert_eq!(
            line(wait.clone()),
            "rsttrace-probe/1 wait ffffffffffffffff 65535 2592000000"
        );
        assert_eq!(
            line(speak.clone()),
            "rsttrace-probe/1 speak ffffffffffffffff 65535 2592000000"
        );
    }

    #[test]
    fn what_other_programs_say_is_foreign() {
        for text in [
            "",
            "\n",
            "SSH-2.0-OpenSSH_10.0p2 Debian-7\r\n",
            "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n",
            "rsttrace-probe/1 hello\n",
            "rsttrace-probe/1",
            "rsttrace-probe/1 dance",
            "rsttrace-probe/1 hello hello",
            "rsttrace-probe/1 alive",
            "rsttrace-probe/1 session +00000000000001f",
            "rsttrace-probe/1 speak 000000000000001f 70000 1",
        ] {
            let mut line = [b' '; LENGTH];
            for (to, from) in line.iter_mut().zip(text.bytes()) {
                *to = from;
            }
            if text.starts_with("rsttrace-probe/1 ") && !text.ends_with('\n') {
                line[LENGTH - 1] = b'\n';
            }
            assert_eq!(Message::decode(&line), Err(Invalid::Foreign), "{text}");
        }
    }

    #[test]
    fn another_version_is_recognised() {
        let mut line = Message::Hello.encode();
        line[NAME.len()] = b'2';
        assert_eq!(Message::decode(&line), Err(Invalid::Version));
        assert!(may_begin(&line));
    }

    proptest! {
        #[test]
        fn no_line_panics(tail in prop::collection::vec(any::<u8>(), LENGTH), named in any::<bool>()) {
            let mut line = [0; LENGTH];
            line.copy_from_slice(&tail);
            if named {
                line[..18].copy_from_slice(b"rsttrace-probe/1 s");
            }
            if let Ok(message) = Message::decode(&line) {
                prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
            }
            let _ = may_begin(&tail);
        }

        #[test]
        fn any_words_are_read_or_refused(words in "(wait|speak|saw|result|alive|session)( [0-9a-z_]{0,16}){0,4}") {
            let mut line = [b' '; LENGTH];
            for (to, from) in line.iter_mut().zip(b"rsttrace-probe/1 ".iter().chain(words.as_bytes())) {
                *to = *from;
            }
            line[LENGTH - 1] = b'\n';
            let _ = Message::decode(&line);
        }
    }
}
