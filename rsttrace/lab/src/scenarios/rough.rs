//! Plain scenarios with loss, delay and reordering on the path, which must not change the verdicts. Staged
//! with netem.

use std::thread;
use std::time::{Duration, Instant};

use super::closing::{UNREAD, close_unread, close_with_linger_zero};
use super::handshake::connect_to_closed;
use super::late_data::write_to_closed;
use super::pair::Pair;
use super::vanished::write_to_vanished;
use super::{Armed, Family, Scenario, Staged, Suite, confirm};
use crate::StageError;
use crate::actor::protocol::SocketOption;
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Form};
use crate::segment::{Flags, Pattern};

/// What netem does on the path.
struct Weather {
    /// Both ways, until the reset is provoked.
    before: &'static str,
    /// On the way of the reset from then on: one that is lost is no reset to the other end.
    to_client: &'static str,
    /// On the other way.
    to_server: &'static str,
}

/// A bad line.
const LOSSY: Weather = Weather {
    before: "delay 40ms 10ms loss 15%",
    to_client: "delay 40ms 10ms",
    to_server: "delay 40ms 10ms loss 20%",
};
/// Paths of different length: a segment overtakes others.
const REORDERING: Weather = Weather {
    before: "delay 20ms reorder 50%",
    to_client: "delay 20ms reorder 50%",
    to_server: "delay 20ms reorder 50%",
};

/// SO_LINGER {1,0} and close().
pub const LOSSY_LINGER_ZERO: Scenario = Scenario {
    name: "lossy-linger-zero",
    title: "linger 0 over a path with delay, jitter and loss",
    twins: &["linger-zero"],
    open: |_, version| under(&LOSSY, version, close_with_linger_zero),
    ..PLAIN
};

/// The same over a path that reorders.
pub const REORDERED_LINGER_ZERO: Scenario = Scenario {
    name: "reordered-linger-zero",
    title: "linger 0 over a path that reorders",
    twins: &["linger-zero"],
    open: |_, version| under(&REORDERING, version, close_with_linger_zero),
    ..PLAIN
};

/// close() with data unread.
pub const LOSSY_CLOSE_UNREAD: Scenario = Scenario {
    name: "lossy-close-unread",
    title: "close() with 100 bytes unread over a path with delay, jitter and loss",
    twins: &["close-unread"],
    open: |_, version| under(&LOSSY, version, leave_unread_and_close),
    ..PLAIN
};

/// The same over a path that reorders.
pub const REORDERED_CLOSE_UNREAD: Scenario = Scenario {
    name: "reordered-close-unread",
    title: "close() with 100 bytes unread over a path that reorders",
    twins: &["close-unread"],
    open: |_, version| under(&REORDERING, version, leave_unread_and_close),
    ..PLAIN
};

/// The server lost the connection.
pub const LOSSY_HALF_OPEN: Scenario = Scenario {
    name: "lossy-half-open",
    title: "data for a lost connection over a path with delay, jitter and loss",
    twins: &["half-open"],
    open: |_, version| under(&LOSSY, version, write_to_vanished),
    ..PLAIN
};

/// The same over a path that reorders.
pub const REORDERED_HALF_OPEN: Scenario = Scenario {
    name: "reordered-half-open",
    title: "data for a lost connection over a path that reorders",
    twins: &["half-open"],
    open: |_, version| under(&REORDERING, version, write_to_vanished),
    ..PLAIN
};

/// The server has closed.
pub const LOSSY_DATA_AFTER_CLOSE: Scenario = Scenario {
    name: "lossy-data-after-close",
    title: "data after close() over a path with delay, jitter and loss",
    twins: &["data-after-close-time-wait"],
    open: |_, version| under(&LOSSY, version, close_and_write),
    ..PLAIN
};

/// The same over a path that reorders.
pub const REORDERED_DATA_AFTER_CLOSE: Scenario = Scenario {
    name: "reordered-data-after-close",
    title: "data after close() over a path that reorders",
    twins: &["data-after-close-time-wait"],
    open: |_, version| under(&REORDERING, version, close_and_write),
    ..PLAIN
};

/// Nobody listens.
pub const LOSSY_PORT_CLOSED: Scenario = Scenario {
    name: "lossy-port-closed",
    title: "connect to a port without a listener over a path with delay, jitter and loss",
    twins: &["port-closed"],
    open: |_, version| refused_under(&LOSSY, version),
    ..PLAIN
};

/// The same over a path that reorders.
pub const REORDERED_PORT_CLOSED: Scenario = Scenario {
    name: "reordered-port-closed",
    title: "connect to a port without a listener over a path that reorders",
    twins: &["port-closed"],
    open: |_, version| refused_under(&REORDERING, version),
    ..PLAIN
};

/// The peer's genuine RST may come before what it had sent before it.
pub const OVERTAKING: Scenario = Scenario {
    name: "reset-overtakes-data",
    title: "the peer's RST overtakes its own data on the path",
    twins: &["reordered-before-reset", "injected-in-window"],
    open: |_, version| under(&REORDERING, version, send_and_reset),
    ..PLAIN
};

/// What all of them have in common.
const PLAIN: Scenario = Scenario {
    name: "",
    title: "",
    family: Family::V4,
    // The path is as it is for all, so that sockets from before would have suffered others' weather.
    can_predate: false,
    suite: Suite::Alone,
    hops: &[],
    twins: &[],
    open: |_, _| Err(StageError::Failed(String::new())),
};

fn under(
    weather: &'static Weather,
    version: IpVersion,
    provoke: fn(&mut Lab, Pair) -> Result<Staged, StageError>,
) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        lab.disturb(&[Place::Client, Place::Server], weather.before)?;
        let mut pair = Pair::open(lab, version)?;
        for _ in 0..ROUNDS {
            pair.talk()?;
        }
        await_quiet(lab)?;
        lab.disturb(&[Place::Client], weather.to_client)?;
        lab.disturb(&[Place::Server], weather.to_server)?;
        spared(provoke(lab, pair)?)
    })
}

fn refused_under(weather: &'static Weather, version: IpVersion) -> Result<Armed, StageError> {
    Armed::new(move |lab| {
        let client = lab.actor(Place::Client, "rt-client")?;
        let service = lab.service(version);
        lab.disturb(&[Place::Client], weather.to_client)?;
        lab.disturb(&[Place::Server], weather.to_server)?;
        spared(connect_to_closed(lab, client, service)?)
    })
}

/// Waits until nothing is under way: an ACK that arrives after the server's end has gone is answered with a reset of its own.
fn await_quiet(lab: &mut Lab) -> Result<(), StageError> {
    let start = Instant::now();
    let (mut arrived, mut since) = (arrived_segments(lab)?, start);
    while since.elapsed() < QUIET {
        if start.elapsed() > LIMIT {
            let error = format!("segments were still arriving after {LIMIT:?}");
            return Err(StageError::Failed(error));
        }
        thread::sleep(PAUSE);
        let now = arrived_segments(lab)?;
        if now != arrived {
            (arrived, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// How many TCP segments have arrived at either end.
fn arrived_segments(lab: &mut Lab) -> Result<u64, StageError> {
    let at_client = lab.node(Place::Client).counter("InSegs")?;
    Ok(at_client + lab.node(Place::Server).counter("InSegs")?)
}

fn leave_unread_and_close(lab: &mut Lab, mut pair: Pair) -> Result<Staged, StageError> {
    pair.leave_unread(UNREAD)?;
    // The kernel delays the ACK of these bytes: a probe for it (TLP) that crosses the reset is answered with another one.
    await_quiet(lab)?;
    close_unread(lab, pair)
}

fn close_and_write(lab: &mut Lab, pair: Pair) -> Result<Staged, StageError> {
    write_to_closed(lab, pair, true)
}

/// What was sent before takes a longer way than the reset.
fn send_and_reset(lab: &mut Lab, mut pair: Pair) -> Result<Staged, StageError> {
    let (server, client) = (pair.listener.local, pair.at_client.local);
    pair.server.set(pair.at_server, SocketOption::NoDelay)?;
    pair.server.set(pair.at_server, SocketOption::Linger(0))?;
    let expected = pair.client.sequence(pair.at_client)?.receive;
    lab.capture(Place::Client)?;
    lab.disturb(&[Place::Client], "delay 1500ms")?;
    for _ in 0..PIECES {
        pair.server.send(pair.at_server, PIECE)?;
    }
    lab.disturb(&[Place::Client], "delay 1ms")?;
    pair.server.close(pair.at_server)?;
    let first = lab.reset(Place::Client, server, client)?;
    let ahead = first.seq.wrapping_sub(expected);
    confirm("bytes overtaken", ahead as usize, PIECES * PIECE)?;
    // That one misses; what the server's host answers the client's question with does not.
    let seen = lab.reset(Place::Client, server, client)?;
    confirm("number of the RST", seen.seq, expected)?;
    let error = pair.client_error("ECONNRESET")?;
    // What was overtaken comes at last, for a connection that is no more.
    lab.segment(
        Place::Client,
        Pattern {
            source: server,
            destination: Some(client),
            with: Flags::PSH,
            without: Flags::RST,
        },
    )?;
    let received = pair
        .client_truth(lab, &seen)
        .because("the server sent data and closed with SO_LINGER 0; the RST came first")
        .peer_saw(error);
    Staged::new(Some(Form::Passive), vec![received], pair.into_actors())
}

/// Nobody is to be blamed for what the path does.
fn spared(mut staged: Staged) -> Result<Staged, StageError> {
    for truth in &mut staged.truths {
        truth.spares = &[Cause::NotFromPeer, Cause::IdleTimeout, Cause::BlindAttempt];
    }
    Ok(staged)
}

/// Longer than the path and a retransmission timeout take together: the path of LOSSY has a round trip of 100 ms at most.
const QUIET: Duration = Duration::from_millis(500);
/// Until then it has to be quiet.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
/// How often both ends speak under way.
const ROUNDS: usize = 4;
/// What is on its way when the reset is sent.
const PIECES: usize = 4;
const PIECE: usize = 100;
