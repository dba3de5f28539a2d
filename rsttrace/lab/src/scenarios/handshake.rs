//! Resets that end a handshake.

use std::net::SocketAddr;

use super::{Armed, Family, SHORT, Scenario, Staged, confirm};
use crate::StageError;
use crate::actor::Actor;
use crate::actor::protocol::{Command, TcpState};
use crate::lab::{IpVersion, Lab, Place};
use crate::net::nft::{Hook, Port, Rule, Verdict};
use crate::record::{Cause, Origin, Role};
use crate::segment::{Flags, Segment};
use crate::truth::Truth;

pub const PORT_CLOSED: Scenario = Scenario {
    name: "port-closed",
    title: "connect to a port without a listener",
    family: Family::Both,
    can_predate: false,
    twins: &["firewall-reject-syn", "half-open"],
    open: |lab, version| {
        let client = lab.actor(Place::Client, "rt-client")?;
        let service = lab.service(version);
        Armed::new(move |lab| connect_to_closed(lab, client, service))
    },
    ..SHORT
};

/// The client connects to a port that nobody has ever listened on.
pub fn connect_to_closed(
    lab: &mut Lab,
    mut client: Actor,
    service: SocketAddr,
) -> Result<Staged, StageError> {
    lab.capture(Place::Server)?;
    let [sent, received] = be_refused(
        lab,
        &mut client,
        (service, Place::Server),
        (Origin::LocalKernel, Cause::PortClosed),
    )?;
    let sent = sent.because("nobody has ever listened on the port");
    Staged::passive([sent, received], [client])
}

/// Connects, and is refused: the truths at the place where the RST comes from, and at the client.
pub fn be_refused(
    lab: &mut Lab,
    client: &mut Actor,
    (service, place): (SocketAddr, Place),
    (origin, cause): (Origin, Cause),
) -> Result<[Truth; 2], StageError> {
    let socket = client.start_connect(None, service)?;
    let error = client.confirm_error(socket, "ECONNREFUSED")?;
    let seen = lab.reset(place, service, socket.local)?;
    let sent = Truth::sent(lab, place, &seen, origin, cause).peer_saw(error);
    let refused = Cause::ConnectionRefused;
    let received = Truth::received(lab, Place::Client, &seen, Origin::Peer, refused)
        .because("the client's SYN was answered with a RST")
        .names(&*client, &[Role::Owner]);
    Ok([sent, received])
}

/// The same after a listener has gone: the port has a past.
pub const PORT_CLOSED_LATELY: Scenario = Scenario {
    name: "port-closed-lately",
    title: "connect to a port whose listener was closed",
    twins: &["port-closed", "listener-closed"],
    open: |lab, version| {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut client = lab.actor(Place::Client, "rt-client")?;
        let listener = server.listen(lab.service(version), 8)?;
        Armed::new(move |lab| {
            server.close(listener)?;
            lab.capture(Place::Server)?;
            let [sent, received] = be_refused(
                lab,
                &mut client,
                (listener.local, Place::Server),
                (Origin::LocalKernel, Cause::PortClosed),
            )?;
            let sent = sent
                .because("the listener had been closed before, without connections")
                .names(&server, &[Role::FormerOwner])
                .or_names_nobody();
            Staged::passive([sent, received], [client, server])
        })
    },
    ..SHORT
};

pub const LATE_SYNACK: Scenario = Scenario {
    name: "late-synack",
    title: "SYN-ACK for an abandoned connect",
    family: Family::Both,
    can_predate: false,
    twins: &["bad-ack-while-connecting", "half-open"],
    open: open_late_synack,
    ..SHORT
};

fn open_late_synack(lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
    let mut server = lab.actor(Place::Server, "rt-server")?;
    let mut client = lab.actor(Place::Client, "rt-client")?;
    let listener = server.listen(lab.service(version), 8)?;
    Armed::new(move |lab| {
        let port = Port::Source(listener.local.port());
        let hold = Rule::new(Hook::Output, port, Verdict::Drop);
        lab.firewall(Place::Server, &[hold])?;
        let socket = client.start_connect(None, listener.local)?;
        await_server_entry(lab, listener.local, socket.local, TcpState::SynReceived)?;
        client.close(socket)?;
        lab.capture(Place::Client)?;
        // The server repeats its SYN-ACK after a second.
        lab.open_firewall(Place::Server)?;
        let seen = lab.reset(Place::Client, socket.local, listener.local)?;
        let cause = Cause::LateSynack;
        let truth = Truth::sent(lab, Place::Client, &seen, Origin::LocalKernel, cause)
            .because("close() while connecting; the SYN-ACK came a second later")
            .names(&client, &[Role::FormerOwner, Role::Closer]);
        Staged::passive([truth], [client, server])
    })
}

pub const ACCEPT_OVERFLOW: Scenario = Scenario {
    name: "accept-overflow",
    title: "accept queue overflow with tcp_abort_on_overflow",
    family: Family::Both,
    twins: &["listener-closed", "stray-ack"],
    open: open_accept_overflow,
    ..SHORT
};

fn open_accept_overflow(lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
    let mut server = lab.actor(Place::Server, "rt-server")?;
    let mut client = lab.actor(Place::Client, "rt-client")?;
    // A backlog of 2 lets three wait.
    let listener = server.listen(lab.service(version), 2)?;
    let mut queued = Vec::new();
    for _ in 0..2 {
        let socket = client.connect(None, listener.local)?;
        await_server_entry(lab, listener.local, socket.local, TcpState::Established)?;
        queued.push(socket);
    }
    Armed::new(move |lab| {
        lab.sysctl(Place::Server, "ipv4/tcp_abort_on_overflow", "1")?;
        // Two more pass the SYN while there is still room; their last ACKs are held back.
        let port = Port::Destination(listener.local.port());
        let hold = Rule::new(Hook::Output, port, Verdict::Drop).flags(Flags::SYN_ACK, Flags::ACK);
        lab.firewall(Place::Client, &[hold])?;
        let third = client.connect(None, listener.local)?;
        let fourth = client.connect(None, listener.local)?;
        for socket in [third, fourth] {
            await_server_entry(lab, listener.local, socket.local, TcpState::SynReceived)?;
        }
        lab.open_firewall(Place::Client)?;
        lab.capture(Place::Server)?;
        client.send(third, 10)?;
        await_server_entry(lab, listener.local, third.local, TcpState::Established)?;
        let overflow = (Place::Server, "ListenOverflows", 1);
        let error = lab.counted(overflow, |_| {
            client.send(fourth, 10)?;
            client.confirm_error(fourth, "ECONNRESET")
        })?;
        let seen = lab.reset(Place::Server, listener.local, fourth.local)?;
        // The three that wait would be reset one day; that is another scenario.
        queued.push(third);
        for socket in queued {
            let accepted = server.accept(listener)?;
            server.vanish(accepted)?;
            client.vanish(socket)?;
        }
        let cause = Cause::AcceptQueueOverflow;
        let truth = Truth::sent(lab, Place::Server, &seen, Origin::LocalKernel, cause)
            .because("three connections waited in a queue of backlog 2")
            .names(&server, &[Role::Listener])
            .peer_saw(error);
        let received = Truth::received(lab, Place::Client, &seen, Origin::Peer, Cause::ResetByPeer)
            .because("the server's end sent it")
            .names(&client, &[Role::Owner])
            .lost_connection();
        Staged::passive([truth, received], [client, server])
    })
}

pub const STRAY_ACK: Scenario = Scenario {
    name: "stray-ack",
    title: "ACK to a listener that never knew the connection",
    family: Family::Both,
    twins: &["half-open-listener-back", "accept-overflow"],
    open: |lab, version| {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut injector = lab.actor(Place::Client, "rt-injector")?;
        let listener = server.listen(lab.service(version), 8)?;
        let mut from = listener.local;
        from.set_ip(lab.address(Place::Client, version));
        Armed::new(move |lab| {
            lab.capture(Place::Server)?;
            let mut segment = Segment::new(from, listener.local, Flags::ACK).numbered(77, 99);
            segment.window = 512;
            injector.ask(Command::Inject(segment))?;
            let seen = lab.reset(Place::Server, listener.local, from)?;
            confirm("sequence number of the RST", seen.seq, 99)?;
            let cause = Cause::StrayAck;
            let truth = Truth::sent(lab, Place::Server, &seen, Origin::LocalKernel, cause)
                .because("a lone ACK to a listening port, from a port never used")
                .names(&server, &[Role::Listener]);
            Staged::passive([truth], [injector, server])
        })
    },
    ..SHORT
};

/// The data of a SYN is accepted; then the handshake ends with a RST (TCP Fast Open).
pub const FAST_OPEN: Scenario = Scenario {
    name: "fast-open-reset",
    title: "TCP Fast Open: a RST answers the SYN-ACK after the SYN's data was accepted",
    can_predate: false,
    twins: &["late-synack", "stray-ack"],
    open: |lab, version| {
        let mut server = lab.actor(Place::Server, "rt-server")?;
        let mut injector = lab.actor(Place::Client, "rt-injector")?;
        let service = lab.service(version);
        Armed::new(move |lab| {
            // Server, without a cookie, for every listener.
            lab.sysctl(Place::Server, "ipv4/tcp_fastopen", "1538")?;
            let listener = server.listen(service, 8)?;
            let mut from = listener.local;
            from.set_ip(lab.address(Place::Client, version));
            lab.capture(Place::Server)?;
            let mut syn = Segment::new(from, listener.local, Flags::SYN).numbered(77, 0);
            syn.window = 512;
            syn.payload = DATA_OF_SYN;
            // The kernel there knows of no connection, and answers the SYN-ACK with a RST.
            injector.ask(Command::Inject(syn))?;
            let accepted = server.accept(listener)?;
            let error = server.confirm_error(accepted, "ECONNRESET")?;
            let seen = lab.reset(Place::Server, from, listener.local)?;
            let truth =
                Truth::received(lab, Place::Server, &seen, Origin::Peer, Cause::ResetByPeer)
                    .because("accept() returned a connection that had been reset in SYN_RECV")
                    .names(&server, &[Role::Owner])
                    .lost_connection()
                    .peer_saw(error);
            Staged::passive([truth], [injector, server])
        })
    },
    ..SHORT
};

const DATA_OF_SYN: usize = 100;

fn await_server_entry(
    lab: &Lab,
    local: SocketAddr,
    remote: SocketAddr,
    state: TcpState,
) -> Result<(), StageError> {
    lab.await_entry(Place::Server, (local, remote), state, false)
}
