//! Resets that are not sent by the TCP stack of the peer.

use std::time::Duration;

use super::pair::Pair;
use super::{Armed, Family, Scenario, Staged, Suite, confirm};
use crate::StageError;
use crate::actor::Actor;
use crate::actor::protocol::Command;
use crate::lab::{IpVersion, Lab, Place};
use crate::record::{Cause, Direction, Origin, Role};
use crate::segment::{Flags, Segment};
use crate::truth::{Hidden, Truth};

/// A raw socket on the server's host sends the RST, the server's TCP knows nothing of it.
pub const RAW_SOCKET: Scenario =
    Scenario {
        name: "raw-socket",
        title: "RST sent through a raw socket on the server",
        family: Family::Both,
        can_predate: true,
        suite: Suite::Short,
        hops: &[],
        twins: &["firewall-reject-established", "linger-zero"],
        open: |lab, version| {
            let mut pair = Pair::open(lab, version)?;
            let mut injector = lab.actor(Place::Server, "rt-injector")?;
            Armed::new(move |lab| {
                lab.capture(Place::Server)?;
                let resets = lab.node(Place::Server).counter("OutRsts")?;
                inject(&mut pair, &mut injector, 0)?;
                let seen = pair.reset_by_server(lab, Place::Server)?;
                let error = pair.client_error("ECONNRESET")?;
                let after = lab.node(Place::Server).counter("OutRsts")?;
                confirm("resets sent by the server's TCP", after - resets, 0)?;
                pair.confirm_server_end_lives()?;
                let cause = Cause::RawSocket;
                let truth = Truth::sent(
                    lab,
                    Place::Server,
                    seen.clone(),
                    Origin::LocalProcess,
                    cause,
                )
                .because("a process of the server's host wrote the RST with a raw socket")
                .done_by(&injector, "sendto() on a raw socket")
                .names(&injector, &[Role::Owner, Role::Closer])
                .or_names_nobody()
                .lost_connection()
                .peer_saw(error);
                let received = pair.client_truth(lab, &seen).because(
                "a raw socket on the server's host wrote it, as the server's TCP would have",
            )
            .hidden(Hidden::RawSocket);
                let mut actors = pair.into_actors();
                actors.push(injector);
                Staged::new(None, vec![truth, received], actors)
            })
        },
    };

/// The router injects a RST with the exact sequence number: it is accepted.
pub const EXACT: Scenario = Scenario {
    name: "injected-exact",
    title: "RST injected on the path with the exact sequence number",
    family: Family::Both,
    // Its evidence is the TTL of the handshake, which must have been seen.
    can_predate: false,
    suite: Suite::Short,
    hops: &[],
    twins: &["received", "injected-in-window"],
    open: |lab, version| {
        open_injected(lab, version, |lab, mut pair, injector| {
            // Staged, too: nothing is on its way that this could be the answer to.
            let rtt = pair.client.sequence(pair.at_client)?.rtt;
            std::thread::sleep(QUIET.max(rtt * ROUND_TRIPS));
            inject(&mut pair, injector, 0)?;
            let seen = pair.reset_by_server(lab, Place::Client)?;
            confirm("TTL of the RST", seen.ttl, 64)?;
            let error = pair.client_error("ECONNRESET")?;
            pair.confirm_server_end_lives()?;
            let cause = Cause::NotFromPeer;
            let truth = Truth::received(lab, Place::Client, seen, Origin::Middlebox, cause)
                .because("the router wrote it; the server's end lives on; its own segments come with TTL 63")
                .names(&pair.client, &[Role::Owner])
                .hidden(Hidden::RawSocket)
                .lost_connection()
                .peer_saw(error);
            Ok((truth, pair))
        })
    },
};

/// The router injects a RST in the window, not exact: a challenge ACK answers it.
pub const IN_WINDOW: Scenario = Scenario {
    name: "injected-in-window",
    title: "RST in window but not exact: challenge ACK",
    family: Family::Both,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["injected-exact", "injected-out-of-window"],
    open: |lab, version| {
        open_injected(lab, version, |lab, mut pair, injector| {
            let challenges = lab.node(Place::Client).counter("TCPChallengeACK")?;
            inject(&mut pair, injector, 100)?;
            let seen = pair.reset_by_server(lab, Place::Client)?;
            pair.confirm_alive()?;
            let after = lab.node(Place::Client).counter("TCPChallengeACK")?;
            confirm("TCPChallengeACK", after - challenges, 1)?;
            let condition =
                "the router wrote it 100 bytes past the expected number; the connection lives";
            Ok((ignored(lab, &pair, seen, condition), pair))
        })
    },
};

/// The router injects a RST out of the window: it is dropped.
pub const OUT_OF_WINDOW: Scenario = Scenario {
    name: "injected-out-of-window",
    title: "RST out of window: dropped",
    family: Family::V4,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &["injected-in-window"],
    open: |lab, version| {
        open_injected(lab, version, |lab, mut pair, injector| {
            let challenges = lab.node(Place::Client).counter("TCPChallengeACK")?;
            inject(&mut pair, injector, 0x4000_0000)?;
            let seen = pair.reset_by_server(lab, Place::Client)?;
            pair.confirm_alive()?;
            let after = lab.node(Place::Client).counter("TCPChallengeACK")?;
            confirm("TCPChallengeACK", after - challenges, 0)?;
            let condition = "the router wrote it far out of the window; the connection lives";
            Ok((ignored(lab, &pair, seen, condition), pair))
        })
    },
};

fn ignored(lab: &Lab, pair: &Pair, seen: Segment, condition: &'static str) -> Truth {
    let truth = Truth::received(
        lab,
        Place::Client,
        seen,
        Origin::Middlebox,
        Cause::BlindAttempt,
    )
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
        let (truth, pair) = provoke(lab, pair, &mut injector)?;
        let mut actors = pair.into_actors();
        actors.push(injector);
        Staged::new(None, vec![truth], actors)
    })
}

/// Longer than any answer takes here, and on a machine whose round trips take longer than that.
const QUIET: Duration = Duration::from_millis(50);
const ROUND_TRIPS: u32 = 10;

/// Has a RST written in the server's name, so far past the number the client expects.
fn inject(pair: &mut Pair, injector: &mut Actor, past: u32) -> Result<(), StageError> {
    let expected = pair.client.sequence(pair.at_client)?.receive;
    let segment = Segment::new(pair.listener.local, pair.at_client.local, Flags::RST)
        .numbered(expected.wrapping_add(past), 0);
    injector.ask(Command::Inject { segment }).map(drop)
}
