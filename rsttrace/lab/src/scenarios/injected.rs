//! Resets that are not sent by the TCP stack of the peer.

use std::time::Duration;

use super::pair::Pair;
use super::{Armed, Family, SHORT, Scenario, Staged, confirm};
use crate::StageError;
use crate::actor::Actor;
use crate::actor::protocol::Command;
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Direction, Origin, Role};
use crate::segment::{Flags, Segment};
use crate::truth::{Hidden, Truth};

pub const RAW_SOCKET: Scenario = Scenario {
    name: "raw-socket",
    title: "RST sent through a raw socket on the server",
    family: Family::Both,
    twins: &["firewall-reject-established", "linger-zero"],
    open: |lab, version| {
        let mut pair = Pair::open(lab, version)?;
        let mut injector = lab.actor(Place::Server, "rt-injector")?;
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            let who = (Origin::LocalProcess, Cause::RawSocket);
            let none_of_tcp = (Place::Server, "OutRsts", 0);
            let [sent, received] = lab.counted(none_of_tcp, |lab| {
                inject(&mut pair, &mut injector, 0)?;
                pair.ended_by_server(lab, who, "ECONNRESET")
            })?;
            pair.confirm_server_end_lives()?;
            let sent = sent
                .because("a process of the server's host wrote the RST with a raw socket")
                .done_by(&injector, "sendto() on a raw socket")
                .names(&injector, &[Role::Owner, Role::Closer])
                .or_names_nobody();
            let received = received
                .because(
                    "a raw socket on the server's host wrote it, as the server's TCP would have",
                )
                .hidden(Hidden::RawSocket);
            pair.further.push(injector);
            Staged::crafted([sent, received], pair)
        })
    },
    ..SHORT
};

pub const EXACT: Scenario = Scenario {
    name: "injected-exact",
    title: "RST injected on the path with the exact sequence number",
    family: Family::Both,
    // Its evidence is the TTL of the handshake, which must have been seen.
    can_predate: false,
    twins: &["received", "injected-in-window"],
    open: |lab, version| {
        open_injected(lab, version, |lab, mut pair, injector| {
            // Part of the staging: no segment is under way that this could be the answer to.
            let rtt = pair.client.sequence(pair.at_client)?.rtt;
            lab.await_quiet(QUIET.max(rtt * ROUND_TRIPS))?;
            inject(&mut pair, injector, 0)?;
            let seen = pair.reset_by_server(lab, Place::Client)?;
            confirm("TTL of the RST", seen.ttl, 64)?;
            let error = pair.client_error("ECONNRESET")?;
            pair.confirm_server_end_lives()?;
            let cause = Cause::NotFromPeer;
            let truth = Truth::received(lab, Place::Client, &seen, Origin::Middlebox, cause)
                .because("the router wrote it; the server's end lives on; its own segments come with TTL 63")
                .names(&pair.client, &[Role::Owner])
                .hidden(Hidden::RawSocket)
                .lost_connection()
                .peer_saw(error);
            Ok((truth, pair))
        })
    },
    ..SHORT
};

pub const IN_WINDOW: Scenario = Scenario {
    name: "injected-in-window",
    title: "RST in window but not exact: challenge ACK",
    family: Family::Both,
    twins: &["injected-exact", "injected-out-of-window"],
    open: |lab, version| {
        open_injected(lab, version, |lab, mut pair, injector| {
            let challenges = (Place::Client, "TCPChallengeACK", 1);
            let seen = lab.counted(challenges, |lab| {
                inject(&mut pair, injector, 100)?;
                let seen = pair.reset_by_server(lab, Place::Client)?;
                pair.talk()?;
                Ok(seen)
            })?;
            let condition =
                "the router wrote it 100 bytes past the expected number; the connection lives";
            Ok((ignored(lab, &pair, &seen, condition), pair))
        })
    },
    ..SHORT
};

pub const OUT_OF_WINDOW: Scenario = Scenario {
    name: "injected-out-of-window",
    title: "RST out of window: dropped",
    twins: &["injected-in-window"],
    open: |lab, version| {
        open_injected(lab, version, |lab, mut pair, injector| {
            let challenges = (Place::Client, "TCPChallengeACK", 0);
            let seen = lab.counted(challenges, |lab| {
                inject(&mut pair, injector, 0x4000_0000)?;
                let seen = pair.reset_by_server(lab, Place::Client)?;
                pair.talk()?;
                Ok(seen)
            })?;
            let condition = "the router wrote it far out of the window; the connection lives";
            Ok((ignored(lab, &pair, &seen, condition), pair))
        })
    },
    ..SHORT
};

fn ignored(lab: &Lab, pair: &Pair, seen: &Segment, condition: &'static str) -> Truth {
    let (origin, cause) = (Origin::Middlebox, Cause::BlindAttempt);
    let truth = Truth::received(lab, Place::Client, seen, origin, cause)
        .because(condition)
        .names(&pair.client, &[Role::Owner])
        .or_names_nobody()
        .hidden(Hidden::RawSocket);
    Truth {
        direction: Direction::Observed,
        ..truth
    }
}

fn open_injected(
    lab: &mut Lab,
    version: IpVersion,
    provoke: impl FnOnce(&mut Lab, Pair, &mut Actor) -> Result<(Truth, Pair), StageError>
    + Send
    + 'static,
) -> Result<Armed, StageError> {
    let pair = Pair::open(lab, version)?;
    let mut injector = lab.actor(Place::Router, "rt-injector")?;
    Armed::new(move |lab| {
        lab.capture(Place::Client)?;
        let (truth, mut pair) = provoke(lab, pair, &mut injector)?;
        pair.further.push(injector);
        Staged::crafted([truth], pair)
    })
}

/// Longer than any answer takes here, and on a machine whose round trips take longer than that.
const QUIET: Duration = Duration::from_millis(50);
const ROUND_TRIPS: u32 = 10;

/// Injects a RST in the server's name, so far past the number that the client expects.
fn inject(pair: &mut Pair, injector: &mut Actor, past: u32) -> Result<(), StageError> {
    let expected = pair.client.sequence(pair.at_client)?.receive;
    let segment = Segment::new(pair.listener.local, pair.at_client.local, Flags::RST)
        .numbered(expected.wrapping_add(past), 0);
    injector.ask(Command::Inject(segment)).map(drop)
}
