//! A storm as the kernel would tell of it: resets of connections over loopback that a client closes with SO_LINGER time 0.

#![allow(dead_code, reason = "not every program uses all of it")]

use std::sync::Arc;
use std::time::Duration;

use rsttrace::decode::{Decoder, KernelFacts};
use rsttrace::engine::{Config, Engine, Input};
use rsttrace::event::{
    BootTime, Coverage, Event, HostContext, HostFacts, KeepaliveDefaults, NetSettings, ProcessFacts,
};
use rsttrace::record::Output;
use rsttrace_common::header::{KIND_RESET_RECEIVED, KIND_RESET_SENT, KIND_RST_PACKET};
use rsttrace_common::packet::{
    PACKET_EGRESS, PACKET_HAS_SOCKET, PACKET_LOOKED_UP, PACKET_LOOPBACK, RstPacket,
};
use rsttrace_common::reset::{REASON_NONE, ResetReceived, ResetSent, Segment};
use rsttrace_common::socket::{
    OWNERSHIP_ISN, Ownership, SOURCE_ACCEPT, SOURCE_CONNECT, Socket, TCP_CLOSE, TCP_ESTABLISHED,
};
use rsttrace_common::task::Task;
use rsttrace_common::{Flow, Header, WIRE_VERSION};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Observations of one reset: sent, leaving, arriving, accepted.
pub const EVENTS: usize = 4;
/// Records of one reset: one for each end.
pub const RECORDS: usize = 2;

const BEGIN: u64 = 1_000_000_000_000;
const HZ: u32 = 250;
const SERVER: u16 = 8080;

/// Wire events of resets `from..to`, one every `apart`.
pub fn events(from: u32, to: u32, apart: Duration) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    for number in from..to {
        let time = BEGIN + u64::from(number) * apart.as_nanos() as u64;
        events.extend(reset(number, time));
    }
    events
}

/// A decoder for them.
pub fn decoder() -> Decoder {
    Decoder::new(config().kernel)
}

/// An engine of a host that sees everything, where each reset is described.
pub fn engine() -> Engine {
    Engine::new(Config {
        floods: false,
        ..config()
    })
}

/// Hands it an event as a trace does.
pub fn push(engine: &mut Engine, bytes: &[u8], event: Event, facts: HostContext) {
    engine.push(Input::Event {
        bytes,
        decoded: Some(event),
        facts,
    });
}

/// All that is ready.
pub fn ready(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| engine.poll_output()).collect()
}

/// Where they come from: a host that sees everything.
pub fn config() -> Config {
    Config {
        kernel: KernelFacts {
            hz: HZ,
            reasons: Vec::new(),
        },
        host: HostFacts {
            host: Some("bench".into()),
            boot_id: "3f0e4f0a-5a57-4b51-9d3a-5c1a4c0f7e11".into(),
            realtime_offset_ns: 1_700_000_000_000_000_000,
            started: BootTime(BEGIN - 1_000_000_000),
            coverage: Coverage {
                sent: true,
                sent_stateless: true,
                received: true,
                packets: true,
                lifecycle: true,
            },
            environment: None,
        },
        hops: Vec::new(),
        floods: true,
    }
}

/// What the edge knows of a host like this, to be added to each event.
pub struct Host {
    processes: [Arc<ProcessFacts>; 2],
    settings: Arc<NetSettings>,
}

impl Host {
    pub fn new() -> Self {
        let process = |pid, name| {
            Arc::new(ProcessFacts {
                pid,
                exe: Some(format!("/usr/local/bin/{name}").into()),
                cmdline: Some(format!("/usr/local/bin/{name} --config /etc/{name}.conf").into()),
                unit: Some(format!("{name}.service").into()),
                cgroup: Some(format!("/system.slice/{name}.service").into()),
                ..ProcessFacts::default()
            })
        };
        Self {
            processes: [process(CLIENT_PID, "client"), process(SERVER_PID, "server")],
            settings: Arc::new(NetSettings {
                keepalive: Some(KeepaliveDefaults {
                    time: Duration::from_secs(7_200),
                    interval: Duration::from_secs(75),
                    probes: 9,
                }),
                ..NetSettings::default()
            }),
        }
    }

    pub fn facts(&self, event: &Event) -> HostContext {
        use rsttrace::event::Body;
        let (process, interface) = match &event.body {
            Body::Sent(_) => (Some(0), None),
            Body::Received(_) => (Some(1), Some("lo".into())),
            Body::Packet(_) | Body::Failed(_) => (None, Some("lo".into())),
        };
        HostContext {
            processes: process
                .and_then(|index: usize| self.processes.get(index))
                .cloned()
                .into_iter()
                .collect(),
            netns_inode: Some(4_026_531_840),
            interface,
            settings: Some(Arc::clone(&self.settings)),
            ..HostContext::default()
        }
    }
}

const CLIENT_PID: u32 = 4_711;
const SERVER_PID: u32 = 815;

fn reset(number: u32, time: u64) -> [Vec<u8>; EVENTS] {
    let port = 32_768 + (number % 28_000) as u16;
    let seq = 1_000_u32.wrapping_add(number.wrapping_mul(2_654_435_761)) | 1;
    let ack = seq.rotate_left(16) | 1;
    let cookies = (1 + 2 * u64::from(number), 2 + 2 * u64::from(number));
    let header = |kind, after| Header {
        time_ns: time + after,
        netns_cookie: 1,
        netns_inode: 4_026_531_840,
        jiffies: (time / 4_000_000) as u32,
        kind,
        version: WIRE_VERSION,
        cpu: 1,
    };
    let flow = |local, remote| Flow {
        local_address: ADDRESS,
        remote_address: ADDRESS,
        local_port: local,
        remote_port: remote,
        reserved: 0,
    };
    let mut sent = ResetSent::new_zeroed();
    sent.header = header(KIND_RESET_SENT, 0);
    sent.flow = flow(port, SERVER);
    sent.socket = socket(cookies.0, TCP_CLOSE, seq, ack);
    sent.socket.owned = 1;
    // SOCK_LINGER, its time being 0.
    sent.socket.flags = 1 << 4;
    sent.ownership = ownership(task(CLIENT_PID, b"client"), SOURCE_CONNECT, time);
    sent.ownership.state_before_close = TCP_ESTABLISHED;
    sent.current.task = task(CLIENT_PID, b"client");
    sent.reason = REASON_NONE;
    let mut received = ResetReceived::new_zeroed();
    received.header = header(KIND_RESET_RECEIVED, 9_000);
    received.flow = flow(SERVER, port);
    received.socket = socket(cookies.1, TCP_ESTABLISHED, ack, seq);
    received.ownership = ownership(task(SERVER_PID, b"server"), SOURCE_ACCEPT, time);
    received.segment = Segment {
        seq,
        ack,
        window: 512,
        flags: 0x14,
        ttl: 64,
        ifindex: 1,
        present: 1,
        ..Segment::new_zeroed()
    };
    let mut packet = RstPacket::new_zeroed();
    packet.header = header(KIND_RST_PACKET, 3_000);
    packet.flags = PACKET_EGRESS | PACKET_HAS_SOCKET | PACKET_LOOPBACK;
    packet.socket_cookie = cookies.0;
    packet.ifindex = 1;
    packet.tcp_offset = 20;
    packet.snap_len = 40;
    let mut snap = [0; 40];
    snap[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    snap[12..16].copy_from_slice(&[127, 0, 0, 1]);
    snap[16..20].copy_from_slice(&[127, 0, 0, 1]);
    snap[20..22].copy_from_slice(&port.to_be_bytes());
    snap[22..24].copy_from_slice(&SERVER.to_be_bytes());
    snap[24..28].copy_from_slice(&seq.to_be_bytes());
    snap[28..32].copy_from_slice(&ack.to_be_bytes());
    snap[32..36].copy_from_slice(&[0x50, 0x14, 2, 0]);
    packet.snap[..40].copy_from_slice(&snap);
    let mut arriving = packet;
    arriving.header = header(KIND_RST_PACKET, 6_000);
    arriving.flags = PACKET_LOOKED_UP | PACKET_LOOPBACK;
    arriving.socket_cookie = 0;
    arriving.target.cookie = cookies.1;
    arriving.target.rcv_nxt = seq;
    arriving.target.rcv_wnd = 65_536;
    arriving.target.state = TCP_ESTABLISHED;
    [
        sent.as_bytes().to_vec(),
        packet.as_bytes().to_vec(),
        arriving.as_bytes().to_vec(),
        received.as_bytes().to_vec(),
    ]
}

const ADDRESS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];

fn socket(cookie: u64, state: u8, next: u32, expected: u32) -> Socket {
    let mut socket = Socket::new_zeroed();
    socket.cookie = cookie;
    socket.inode = 100_000 + cookie;
    socket.state = state;
    (socket.snd_nxt, socket.snd_una, socket.write_seq) = (next, next, next);
    (socket.rcv_nxt, socket.copied_seq) = (expected, expected);
    socket.rcv_wnd = 65_536;
    (socket.srtt_us_x8, socket.rtt_min_us) = (160, 20);
    socket.has_file = 1;
    socket.timestamps = 1;
    socket.since_transmit_ns = u64::MAX;
    socket
}

fn ownership(owner: Task, source: u8, time: u64) -> Ownership {
    let mut ownership = Ownership::new_zeroed();
    ownership.owner = owner;
    ownership.source = source;
    ownership.established_ns = time - 50_000;
    ownership.flags = OWNERSHIP_ISN;
    ownership
}

fn task(pid: u32, name: &[u8]) -> Task {
    let mut task = Task::new_zeroed();
    task.pid = pid;
    task.start_boottime_ns = 5_000_000_000;
    task.comm[..name.len()].copy_from_slice(name);
    task
}
