//! The probe's side of a session with a responder: finding it, and its reports.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::CONNECT_LIMIT;
use super::connection::Change;
use super::lines::{Incoming, Lines, close, write};
use crate::probe::protocol::{Invalid, Message};
use crate::probe::{Direction, Outcome, State};

/// What answers at the target.
pub enum Search {
    /// A responder, which has opened a session.
    Found(Session),
    /// A responder that cannot be used, and why.
    Unusable(&'static str),
    /// Something else.
    Other,
}

/// A session with a responder.
pub struct Session {
    stream: TcpStream,
    pub id: u64,
}

/// Greets whatever listens there, on a connection of its own.
pub async fn search(address: SocketAddr) -> Search {
    let Ok(Ok(stream)) = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await else {
        return Search::Other;
    };
    let mut lines = Lines::default();
    let greeted = async {
        write(&stream, &Message::Hello).await?;
        lines.next(&stream).await
    };
    let found = match timeout(CONNECT_LIMIT, greeted).await {
        Ok(Ok(Incoming::Message(Message::Session(id)))) => {
            return Search::Found(Session { stream, id });
        }
        Ok(Ok(Incoming::Message(Message::Refused))) => Search::Unusable(
            "the responder serves too many other probes; run the probe again when they are over",
        ),
        Ok(Ok(Incoming::Invalid(Invalid::Version) | Incoming::Message(Message::Unsupported))) => {
            Search::Unusable(
                "the responder uses another version of the protocol; install the same version of rsttrace on both hosts",
            )
        }
        Ok(
            Ok(Incoming::Message(_) | Incoming::Invalid(Invalid::Foreign) | Incoming::End) | Err(_),
        )
        | Err(_) => Search::Other,
    };
    close(stream).await;
    found
}

/// A request to the control connection: answered when the responder has reported everything that it has seen so far.
pub type Fence = oneshot::Sender<()>;

/// Keeps the session alive and tells what the responder reports, until the session ends. Why it ended.
pub async fn keep(
    session: Session,
    start: Instant,
    mut fences: mpsc::UnboundedReceiver<Fence>,
    tell: impl Fn(Direction, usize, Change),
) -> String {
    let Session { stream, .. } = session;
    let mut lines = Lines::default();
    let mut tick = interval(ALIVE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0_u32;
    let mut answered = Instant::now();
    let mut waiting: Vec<(u32, Fence)> = Vec::new();
    loop {
        let ask = tokio::select! {
            incoming = lines.next(&stream) => {
                match incoming {
                    Ok(Incoming::Message(Message::Alive(count))) => {
                        answered = Instant::now();
                        for (_, fence) in waiting.extract_if(.., |(number, _)| *number <= count) {
                            // Nobody waits any more after an interruption.
                            let _ = fence.send(());
                        }
                    }
                    Ok(Incoming::Message(Message::Saw { number, saw })) => {
                        tell(Direction::ToServer, number.into(), Change::OtherEnd(saw));
                    }
                    Ok(Incoming::Message(Message::Result { number, end, quiet, heard })) => {
                        let outcome = Outcome { end, quiet, at: start.elapsed(), heard: heard.into() };
                        tell(Direction::ToClient, number.into(), Change::State(State::Over(outcome)));
                    }
                    Ok(Incoming::Message(_) | Incoming::Invalid(_)) => {
                        return "it sent an unexpected message".to_owned();
                    }
                    Ok(Incoming::End) => return "it closed the control connection".to_owned(),
                    Err(error) => return format!("control connection: {error}"),
                }
                None
            }
            Some(fence) = fences.recv() => Some(Some(fence)),
            _ = tick.tick() => Some(None),
        };
        let Some(fence) = ask else { continue };
        if answered.elapsed() > ANSWER_WITHIN {
            return format!(
                "no answer on the control connection for {} s",
                ANSWER_WITHIN.as_secs()
            );
        }
        sent = sent.wrapping_add(1);
        waiting.extend(fence.map(|fence| (sent, fence)));
        if let Err(error) = write(&stream, &Message::Alive(sent)).await {
            return format!("control connection: {error}");
        }
    }
}

/// Shorter than any idle timeout.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// Long enough for several retransmissions.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
