//! Builders of events for tests.

use std::net::SocketAddr;
use std::time::Duration;

use crate::decode::KernelFacts;
use crate::engine::{Config, Engine, Input};
use crate::event::*;
use crate::silence::candidates::Hop;

use crate::record::Output;
use crate::record::{Direction, Record};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
/// When scenes play: well after the hooks were attached.
pub const NOW: u64 = 1_000 * SECOND;
pub const HERE: u64 = 7;

pub fn host() -> HostFacts {
    HostFacts {
        host: Some("lab".into()),
        boot_id: "b00t".into(),
        realtime_offset_ns: 1_700_000_000_000_000_000,
        started: BootTime(SECOND),
        coverage: Coverage {
            sent: true,
            sent_stateless: true,
            received: true,
            packets: true,
            lifecycle: true,
        },
        environment: None,
    }
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub fn task(pid: u32, comm: &str) -> Task {
    Task {
        pid,
        outside: false,
        start: BootTime(u64::from(pid)),
        uid: 33,
        cgroup_id: 1,
        comm: comm.into(),
    }
}

pub fn current(pid: u32, comm: &str) -> CurrentTask {
    CurrentTask {
        task: task(pid, comm),
        exiting: false,
        kernel_thread: false,
        signal: None,
    }
}

pub fn closer(pid: u32, comm: &str) -> Closer {
    Closer {
        task: task(pid, comm),
        time: Some(BootTime(NOW - 2 * SECOND)),
        quiet: Duration::ZERO,
        exiting: false,
        kernel_thread: false,
        signal: None,
    }
}

pub fn ownership(pid: u32, comm: &str, source: OwnerSource) -> Ownership {
    Ownership {
        owner: Some(task(pid, comm)),
        source: Some(source),
        inherited: false,
        closer: None,
        peer_finish: None,
        established: Some(BootTime(NOW - 12_300 * MS)),
        isn: Some((10, 20)),
        state_before_close: None,
    }
}

pub fn tombstone(pid: u32, comm: &str, last_state: TcpState) -> Tombstone {
    Tombstone {
        ownership: ownership(pid, comm, OwnerSource::Connect),
        died: BootTime(NOW - 40 * SECOND),
        cookie: Some(SocketCookie(99)),
        error: 0,
        unread: 0,
        last_state,
        fin_sent: false,
    }
}

pub fn segment(flags: u8, seq: u32, ack: u32, payload_len: u32) -> Segment {
    Segment {
        seq,
        ack,
        payload_len,
        window: 500,
        ip_id: Some(1),
        flags: TcpFlags(flags),
        ttl: 60,
        ifindex: 2,
    }
}

/// An established socket with rcv_nxt 5000 and snd_nxt 9000.
pub fn socket(cookie: u64) -> Socket {
    Socket {
        cookie: SocketCookie(cookie),
        inode: Some(4242),
        cgroup_id: None,
        uid: 33,
        state: TcpState::Established,
        receive_shutdown: false,
        send_shutdown: false,
        orphaned: false,
        peer_finished: false,
        owned: false,
        has_file: true,
        repair: false,
        mptcp: false,
        timestamps: false,
        error: 0,
        keepalive: false,
        keepalive_time: None,
        keepalive_interval: None,
        keepalive_probes: None,
        probes_out: 0,
        retransmits: 0,
        total_retransmits: 0,
        user_timeout: None,
        linger: None,
        linger2_off: false,
        unread: 0,
        unacknowledged: 0,
        bytes_sent: 100,
        bytes_received: 200,
        rcv_nxt: 5000,
        rcv_wnd: 1000,
        snd_nxt: 9000,
        snd_una: 9000,
        rtt: Some(Duration::from_millis(21)),
        rtt_min: Some(Duration::from_millis(20)),
        since_sent: Some(Duration::from_secs(3)),
        since_received: Some(Duration::from_secs(2)),
        since_ack: Some(Duration::from_secs(2)),
        since_first_unacknowledged: None,
        since_transmit: None,
        accept_queue: None,
    }
}

/// As `close()` leaves it when it sends a reset.
pub fn closing(cookie: u64) -> Socket {
    Socket {
        state: TcpState::Close,
        receive_shutdown: true,
        send_shutdown: true,
        owned: true,
        ..socket(cookie)
    }
}

/// A connection between two ends and what happens to it.
#[derive(Clone, Debug)]
pub struct Scene {
    pub flow: Flow,
}

impl Scene {
    pub fn new() -> Self {
        Self {
            flow: Flow {
                local: address("10.0.0.1:8080"),
                remote: address("10.0.0.2:40000"),
            },
        }
    }

    /// nginx[87] closes `socket`, which it got from its listener.
    pub fn active(&self, reason: Option<&str>, socket: Socket) -> Sent {
        let mut ownership = ownership(86, "nginx-master", OwnerSource::Listen);
        ownership.inherited = true;
        ownership.state_before_close =
            (socket.state == TcpState::Close).then_some(TcpState::Established);
        Sent {
            flow: self.flow,
            reason: reason.map(Into::into),
            passive: false,
            cause: None,
            socket: Some(socket),
            ownership: Some(ownership),
            current: Some(current(87, "nginx")),
            minisock: None,
            former_connection: None,
            former_listener: None,
            handshake: None,
        }
    }

    /// An answer to `cause` without any socket; whoever runs is a bystander.
    pub fn answer(&self, cause: Segment) -> Sent {
        Sent {
            flow: self.flow,
            reason: Some("NO_SOCKET".into()),
            passive: true,
            cause: Some(cause),
            socket: None,
            ownership: None,
            current: Some(current(666, "bystander")),
            minisock: None,
            former_connection: None,
            former_listener: None,
            handshake: None,
        }
    }

    /// `socket` accepted a reset; java[412] had connected it.
    pub fn received(&self, socket: Socket) -> Received {
        Received {
            flow: self.flow,
            socket,
            ownership: Some(ownership(412, "java", OwnerSource::Connect)),
            segment: None,
        }
    }

    /// The same where tcp_reset() can be hooked: `segment` is what it was called for.
    pub fn received_with(&self, socket: Socket, segment: Segment) -> Received {
        Received {
            segment: Some(segment),
            ..self.received(socket)
        }
    }

    /// A reset on its way from `flow.local` to `flow.remote`, passive form, without a socket.
    pub fn egress(&self, flags: u8, seq: u32, ack: u32) -> Packet {
        let mut segment = segment(flags, seq, ack, 0);
        segment.window = 0;
        segment.ttl = 64;
        Packet {
            source: self.flow.local,
            destination: self.flow.remote,
            segment,
            dont_fragment: Some(true),
            timestamps: None,
            has_options: false,
            source_mac: Some([2, 0, 0, 0, 0, 1]),
            egress: true,
            loopback: false,
            ifindex: 2,
            ingress_ifindex: None,
            sender_socket: SenderSocket::None,
            baseline: None,
            handshake_of_destination: None,
            target: Target::NotLookedUp,
        }
    }

    /// A reset on its way from `flow.remote` to `flow.local`.
    pub fn ingress(&self, flags: u8, seq: u32, ack: u32, target: Target) -> Packet {
        Packet {
            source: self.flow.remote,
            destination: self.flow.local,
            egress: false,
            target,
            ..self.egress(flags, seq, ack)
        }
    }

    /// What the other end sees of the same connection.
    pub fn reversed(&self) -> Self {
        Self {
            flow: self.flow.reversed(),
        }
    }
}

/// The target lookup's view of a socket.
pub fn target(socket: &Socket) -> Target {
    Target::Socket {
        cookie: Some(socket.cookie),
        state: socket.state,
        rcv_nxt: socket.rcv_nxt,
        rcv_wnd: socket.rcv_wnd,
        snd_una: socket.snd_una,
        snd_nxt: socket.snd_nxt,
    }
}

/// An event in namespace [`HERE`], `micros` after [`NOW`].
pub fn event(micros: u64, body: impl Into<Body>) -> Event {
    event_in(HERE, micros, body)
}

pub fn event_in(netns: u64, micros: u64, body: impl Into<Body>) -> Event {
    Event {
        time: BootTime(NOW + micros * 1_000),
        netns: NetnsCookie(netns),
        netns_inode: Some(4_026_531_840 + u32::try_from(netns).expect("small")),
        cpu: 0,
        body: body.into(),
    }
}

/// What a fresh engine makes of these events.
pub fn run(events: Vec<Event>) -> Vec<Record> {
    run_with(
        host(),
        events
            .into_iter()
            .map(|event| (event, HostContext::default()))
            .collect(),
    )
}

pub fn run_with(host: HostFacts, events: Vec<(Event, HostContext)>) -> Vec<Record> {
    run_in(engine(host), events)
}

/// An engine for this host, with no device configured.
pub fn engine(host: HostFacts) -> Engine {
    engine_with(host, Vec::new())
}

/// An engine for this host and these devices around it.
pub fn engine_with(host: HostFacts, hops: Vec<Hop>) -> Engine {
    Engine::new(Config {
        kernel: KernelFacts::default(),
        host,
        hops,
        floods: false,
    })
}

/// What this engine makes of these events.
pub fn run_in(mut engine: Engine, events: Vec<(Event, HostContext)>) -> Vec<Record> {
    for (event, facts) in events {
        engine.handle(event, facts);
    }
    resets(finish(&mut engine))
}

/// All that is left.
pub fn finish(engine: &mut Engine) -> Vec<Output> {
    engine.push(Input::Finish);
    ready(engine)
}

/// All that is ready.
pub fn ready(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| engine.poll_output()).collect()
}

pub fn resets(out: Vec<Output>) -> Vec<Record> {
    out.into_iter()
        .filter_map(|output| match output {
            Output::Reset(record) => Some(*record),
            Output::Failure(_) | Output::Suppressed(_) => None,
        })
        .collect()
}

/// The only record.
pub fn only(records: Vec<Record>) -> Record {
    assert_eq!(records.len(), 1, "{records:#?}");
    records.into_iter().next().expect("one")
}

/// The record of a direction, which there is exactly one of.
pub fn of(records: &[Record], direction: Direction) -> &Record {
    let found: Vec<&Record> = records
        .iter()
        .filter(|record| record.direction == direction)
        .collect();
    assert_eq!(found.len(), 1, "one {direction} in {records:#?}");
    found[0]
}
