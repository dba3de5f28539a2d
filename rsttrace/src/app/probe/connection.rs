//! One connection of a probe: opened, left idle, then used.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::CONNECT_LIMIT;
use super::lines::{Incoming, Lines, write, write_all};
use crate::probe::protocol::{Message, Order};
use crate::probe::{Answer, Direction, End, OtherEnd, Outcome, State};
use crate::sys::{TcpInfo, set_socket_option, tcp_info};

/// What is said after the silence.
#[derive(Clone, Debug)]
pub enum Words {
    /// A probe that the application does not see.
    Keepalive,
    /// Bytes for the application.
    Bytes(Arc<[u8]>),
    /// A message for the rsttrace at the other end.
    Ping,
}

impl From<Option<Vec<u8>>> for Words {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        bytes.map_or(Self::Keepalive, |bytes| Self::Bytes(bytes.into()))
    }
}

/// What a connection is to do.
pub struct Plan {
    pub address: SocketAddr,
    /// The start of the probe: times are relative to it.
    pub start: Instant,
    pub open_at: Instant,
    /// How long to be silent.
    pub silence: Duration,
    pub words: Words,
    /// What the responder is to do; absent without one.
    pub order: Option<Order>,
}

/// Its result. Times are since the start of the probe.
pub enum Change {
    /// The handshake is complete, and the silence begins.
    Opened(Duration),
    State(State),
    /// What the end that does not write first saw.
    OtherEnd(OtherEnd),
}

/// Follows a connection from its opening to its end. Passes each change to `tell`.
pub async fn follow(plan: Plan, open: Option<TcpStream>, tell: impl Fn(Change)) {
    let now = || plan.start.elapsed();
    let stream = match open {
        Some(stream) => Ok(stream),
        None => {
            sleep_until(plan.open_at).await;
            let limit = timeout(CONNECT_LIMIT, TcpStream::connect(plan.address));
            limit
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    };
    let stream = match stream {
        Ok(stream) => match &plan.order {
            Some(order) => give(&stream, order).await.map(|()| stream),
            None => Ok(stream),
        },
        Err(error) => Err(error.to_string()),
    };
    let opened = now();
    let stream = match stream {
        Ok(stream) => stream,
        Err(why) => {
            return tell(Change::State(State::Over(Outcome {
                end: End::NotOpened(why),
                quiet: Duration::ZERO,
                at: opened,
                heard: 0,
            })));
        }
    };
    tell(Change::Opened(opened));
    match plan.order.map(|order| order.direction) {
        None => {
            let outcome = write_first(&stream, &plan.span(opened), &plan.words, &tell).await;
            tell(Change::State(State::Over(outcome)));
        }
        Some(Direction::ToServer) => {
            let outcome = write_first(&stream, &plan.span(opened), &plan.words, &tell).await;
            let survived = matches!(outcome.end, End::Survived(_));
            tell(Change::State(State::Over(outcome)));
            if !survived {
                keep_open(&stream).await;
            }
        }
        Some(Direction::ToClient) => {
            let over = sleep_until(plan.start + opened + plan.silence);
            let mut attended = std::pin::pin!(attend(&stream));
            let early = tokio::select! {
                saw = &mut attended => Some(saw),
                () = over => None,
            };
            let saw = match early {
                Some(saw) => saw,
                None => {
                    // The responder says what came of it.
                    tell(Change::State(State::Speaking {
                        quiet: plan.silence,
                    }));
                    attended.await
                }
            };
            if let Some(saw) = saw {
                tell(Change::OtherEnd(saw));
            }
            if saw != Some(OtherEnd::Message) {
                keep_open(&stream).await;
            }
        }
    }
}

impl Plan {
    fn span(&self, opened: Duration) -> Span {
        Span {
            start: self.start,
            opened,
            silence: self.silence,
        }
    }
}

/// Until the task is aborted: a FIN of this end would be mistaken for one of the path at the other end.
pub async fn keep_open(_: &TcpStream) {
    std::future::pending().await
}

/// Tells the responder what to do, and waits until it does.
async fn give(stream: &TcpStream, order: &Order) -> Result<(), String> {
    let answer = async {
        write(stream, &Message::Order(*order)).await?;
        Lines::default().next(stream).await
    };
    match timeout(CONNECT_LIMIT, answer).await {
        Ok(Ok(Incoming::Message(Message::Ready))) => Ok(()),
        Ok(Ok(Incoming::Message(Message::Refused))) => Err(
            "the responder refused it: too many connections, or a second responder behind the same address"
                .to_owned(),
        ),
        Ok(Ok(Incoming::Message(_) | Incoming::Invalid(_) | Incoming::End)) => {
            Err("the responder did not accept it".to_owned())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the responder did not answer".to_owned()),
    }
}

/// Waits for what the end that writes first says, and answers. What happened; absent if that is unclear.
pub async fn attend(stream: &TcpStream) -> Option<OtherEnd> {
    match Lines::default().next(stream).await {
        Ok(Incoming::Message(Message::Ping)) => {
            // If it cannot be written, the other end notices.
            let _ = write(stream, &Message::Pong).await;
            Some(OtherEnd::Message)
        }
        Ok(Incoming::End) => Some(OtherEnd::Fin),
        Ok(Incoming::Message(_) | Incoming::Invalid(_)) => None,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(OtherEnd::Rst),
        Err(_) => None,
    }
}

/// Waits until everything that was written is acknowledged, so that nothing of it breaks the silence.
pub async fn acknowledged(stream: &TcpStream) -> io::Result<()> {
    let mut pause = Duration::from_millis(1);
    let acknowledged = async {
        loop {
            let info = tcp_info(stream.as_fd())?;
            if info.unacknowledged == 0 && info.unsent == 0 {
                return Ok(());
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    };
    let limit = timeout(CONNECT_LIMIT, acknowledged);
    limit
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A silence.
pub struct Span {
    /// Times are since then.
    pub start: Instant,
    /// When the silence begins.
    pub opened: Duration,
    /// Its length.
    pub silence: Duration,
}

/// Keeps the connection silent, then writes, and waits for the answer.
pub async fn write_first(
    stream: &TcpStream,
    span: &Span,
    words: &Words,
    tell: &impl Fn(Change),
) -> Outcome {
    let now = || span.start.elapsed();
    let mut heard = 0;
    let (end, quiet) = match be_silent(span, stream, &mut heard, tell).await {
        Silence::Ended(end, quiet) => (end, quiet),
        Silence::Kept(quiet) => {
            tell(Change::State(State::Speaking { quiet }));
            let spoken = now();
            let end = speak(stream, words).await.unwrap_or_else(broken);
            match (end, words) {
                // A probe that the application does not see makes nobody close: its timer did.
                (End::FinOnPacket, Words::Keepalive) => {
                    (End::FinInSilence, quiet + now().saturating_sub(spoken))
                }
                (end, _) => (end, quiet),
            }
        }
    };
    Outcome {
        end,
        quiet,
        at: now(),
        heard,
    }
}

enum Silence {
    Kept(Duration),
    /// It ended in this way, after this time.
    Ended(End, Duration),
}

/// Waits until the connection was idle for as long as planned. Data from the other end (a banner) restarts the wait. Segments
/// without data (keepalive probes) do not, or the wait might never end, but the idle time counts from the last one only.
async fn be_silent(
    span: &Span,
    stream: &TcpStream,
    heard: &mut u32,
    tell: &impl Fn(Change),
) -> Silence {
    let now = || span.start.elapsed();
    // One that ends the connection is told by the next read.
    let segments = |seen| match tcp_info(stream.as_fd()) {
        Ok(info) if info.state == TCP_ESTABLISHED => info.segments_in,
        _ => seen,
    };
    let look_every = (span.silence / 50).clamp(Duration::from_millis(50), Duration::from_secs(1));
    let (mut since, mut touched, mut seen) = (span.opened, span.opened, segments(0));
    loop {
        let over = since + span.silence;
        let look = (now() + look_every).min(over);
        tokio::select! {
            // What has come decides, even if the time is up as well.
            biased;
            ready = stream.readable() => {
                let arrived = now();
                let quiet = arrived.saturating_sub(since);
                match ready.and_then(|()| drain(stream)) {
                    Ok(Heard::Nothing) => {}
                    Ok(Heard::End) => return Silence::Ended(End::FinInSilence, quiet),
                    Ok(Heard::Data) => {
                        *heard += 1;
                        (since, touched, seen) = (arrived, arrived, segments(seen));
                        if *heard > MOST_HEARD {
                            let why = "the remote end keeps sending, so the connection is never idle";
                            return Silence::Ended(End::Failed(why.to_owned()), quiet);
                        }
                        tell(Change::State(State::Silent { since }));
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        return Silence::Ended(End::RstInSilence, quiet);
                    }
                    Err(error) => return Silence::Ended(End::Failed(error.to_string()), quiet),
                }
            }
            () = sleep_until(span.start + look) => {
                let count = segments(seen);
                if count != seen {
                    *heard += 1;
                    (touched, seen) = (now(), count);
                }
                if look == over {
                    return Silence::Kept(now().saturating_sub(touched));
                }
            }
        }
    }
}

/// Sends the bytes, and waits for the answer.
async fn speak(stream: &TcpStream, words: &Words) -> io::Result<End> {
    let before = tcp_info(stream.as_fd())?;
    match words {
        Words::Keepalive => force_keepalive(stream)?,
        Words::Bytes(bytes) => write_all(stream, bytes).await?,
        Words::Ping => write(stream, &Message::Ping).await?,
    }
    let limit = ANSWER_LIMIT + 4 * Duration::from_micros(before.rtt_us.into());
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        tokio::select! {
            ready = stream.readable() => ready?,
            () = sleep(pause) => {}
        }
        // First the counters: whatever came before they were read can be read as well.
        let info = tcp_info(stream.as_fd())?;
        match drain(stream)? {
            Heard::Data => return Ok(End::Survived(Answer::Data)),
            Heard::End => return Ok(End::FinOnPacket),
            Heard::Nothing if info.state == TCP_CLOSE => return Ok(End::NoAnswer),
            Heard::Nothing => {}
        }
        match words {
            // The probe has no sequence number that an answer could acknowledge: any segment is the answer.
            Words::Keepalive if info.segments_in != before.segments_in => {
                return Ok(End::Survived(Answer::Acknowledged));
            }
            // The application gets its time: a proxy acknowledges long before its server has answered.
            _ if Instant::now() >= deadline => return Ok(unanswered(words, &info)),
            _ => {}
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn unanswered(words: &Words, info: &TcpInfo) -> End {
    match words {
        Words::Bytes(_) if info.unacknowledged == 0 && info.unsent == 0 => {
            End::Survived(Answer::Acknowledged)
        }
        // The responder answers: what acknowledges and does not answer is a proxy before it.
        Words::Bytes(_) | Words::Keepalive | Words::Ping => End::NoAnswer,
    }
}

/// How an error after the silence reads.
fn broken(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::RstOnPacket,
        io::ErrorKind::TimedOut => End::NoAnswer,
        _ => End::Failed(error.to_string()),
    }
}

/// A keepalive probe at once, then one a second: setting TCP_KEEPIDLE below the time since anything was heard fires the timer
/// ([`keepalive_set_locked`](https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/tcp.c#L3557)), which is why it
/// comes last. More of them than are waited for, so that the kernel does not give the connection up itself.
fn force_keepalive(stream: &TcpStream) -> io::Result<()> {
    let fd = stream.as_fd();
    let tcp = |name, value| set_socket_option(fd, libc::IPPROTO_TCP, name, value);
    tcp(libc::TCP_KEEPINTVL, 1)?;
    tcp(libc::TCP_KEEPCNT, 100)?;
    set_socket_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    tcp(libc::TCP_KEEPIDLE, 1)
}

enum Heard {
    Nothing,
    Data,
    End,
}

/// Reads once: an error behind the data is reported only once, so it must not be consumed here.
fn drain(stream: &TcpStream) -> io::Result<Heard> {
    match stream.try_read(&mut [0; 4096]) {
        Ok(0) => Ok(Heard::End),
        Ok(_) => Ok(Heard::Data),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Nothing),
        Err(error) => Err(error),
    }
}

/// Long enough for three repetitions: keepalive probes come a second apart, data is repeated after 0.2, 0.6 and 1.4 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// More than any banner.
const MOST_HEARD: u32 = 100;
/// `TCP_ESTABLISHED` in include/net/tcp_states.h.
const TCP_ESTABLISHED: u8 = 1;
/// `TCP_CLOSE` in include/net/tcp_states.h.
const TCP_CLOSE: u8 = 7;
