//! Resets of the local TCP stack: each gets its cause, severity and process, and its look-alike another one.

use std::time::Duration;

use crate::engine::fixtures::*;
use crate::event::*;
use crate::record::{Cause, Confidence, Direction, Origin, Quality, Role, Severity};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;

/// What a sent reset must be judged as.
struct Case {
    name: &'static str,
    sent: Sent,
    facts: HostContext,
    cause: Cause,
    severity: Severity,
    process: Option<(u32, Role, Quality)>,
}

fn case(
    name: &'static str,
    sent: Sent,
    cause: Cause,
    severity: Severity,
    process: Option<(u32, Role, Quality)>,
) -> Case {
    Case {
        name,
        sent,
        facts: HostContext::default(),
        cause,
        severity,
        process,
    }
}

fn check(cases: Vec<Case>, confidence: Confidence) {
    for case in cases {
        let record = only(run_with(host(), vec![(event(0, case.sent), case.facts)]));
        let name = case.name;
        assert_eq!(record.direction, Direction::Sent, "{name}");
        assert_eq!(record.verdict.cause, case.cause, "{name}: {record:#?}");
        assert_eq!(record.verdict.severity, case.severity, "{name}");
        assert_eq!(record.verdict.confidence, confidence, "{name}");
        let process = record
            .process
            .map(|process| (process.pid, process.role, process.quality));
        assert_eq!(process, case.process, "{name}");
        assert!(!record.verdict.summary().is_empty() && !record.verdict.evidence().is_empty());
        assert!(!record.verdict.summary().contains("bystander"), "{name}");
    }
}

const NGINX: Option<(u32, Role, Quality)> = Some((87, Role::Closer, Quality::Certain));

fn unread() -> Socket {
    Socket {
        unread: 1448,
        ..closing(1)
    }
}

fn lingering() -> Socket {
    Socket {
        linger: Some(Duration::ZERO),
        ..closing(1)
    }
}

fn child() -> Socket {
    Socket {
        state: TcpState::Close,
        has_file: false,
        inode: None,
        ..socket(1)
    }
}

fn listener() -> Socket {
    Socket {
        state: TcpState::Listen,
        accept_queue: Some((3, 2)),
        ..socket(1)
    }
}

fn disconnected() -> Socket {
    Socket {
        state: TcpState::Close,
        owned: true,
        ..socket(1)
    }
}

fn with_current(mut sent: Sent, change: impl Fn(&mut CurrentTask)) -> Sent {
    if let Some(current) = sent.current.as_mut() {
        change(current);
    }
    sent
}

fn owned_by(mut sent: Sent, ownership: Ownership) -> Sent {
    sent.ownership = Some(ownership);
    sent
}

fn bystander(mut sent: Sent) -> Sent {
    sent.current = Some(current(666, "bystander"));
    sent
}

/// An answer on behalf of a full socket.
fn answer_of(reason: &str, cause: Segment, socket: Socket) -> Sent {
    let mut sent = Scene::new().answer(cause);
    sent.reason = Some(reason.into());
    sent.socket = Some(socket);
    sent.ownership = Some(ownership(80, "httpd", OwnerSource::Listen));
    sent
}

#[test]
#[rustfmt::skip]
fn active_resets_name_the_task_that_acted() {
    use Cause::*;
    use Severity::*;
    let scene = Scene::new();
    let close = scene.active(Some("TCP_ABORT_ON_CLOSE"), unread());
    let kill = with_current(close.clone(), |current| {
        current.exiting = true;
        current.signal = Some(9);
    });
    let exit = with_current(close.clone(), |current| current.exiting = true);
    let mut client = ownership(87, "curl", OwnerSource::Connect);
    client.state_before_close = Some(TcpState::CloseWait);
    let farewell = Socket {
        peer_finished: true,
        unread: 64,
        ..unread()
    };
    let cut_short = Socket {
        unread: 60_000,
        ..farewell.clone()
    };
    let mut server = client.clone();
    server.source = Some(OwnerSource::Listen);
    let done = |socket: &Socket| scene.active(Some("TCP_ABORT_ON_CLOSE"), socket.clone());
    let owed = Socket {
        unacknowledged: 500,
        ..farewell.clone()
    };
    check(
        vec![
            case("unread", close, CloseWithUnreadData, Fault, NGINX),
            case("killed", kill, KilledWithUnreadData, Fault, NGINX),
            case("exited by itself", exit, CloseWithUnreadData, Fault, NGINX),
            case("client's farewell unread", owned_by(done(&farewell), client.clone()), CloseWithUnreadData, Noise, NGINX),
            case("client's download cut short", owned_by(done(&cut_short), client.clone()), CloseWithUnreadData, Fault, NGINX),
            case("server in the same place", owned_by(done(&farewell), server), CloseWithUnreadData, Fault, NGINX),
            case("client with data out", owned_by(done(&owed), client), CloseWithUnreadData, Fault, NGINX),
            case("linger zero", scene.active(Some("TCP_STATE"), lingering()), LingerZero, Fault, NGINX),
            case("not linger zero", scene.active(Some("TCP_ABORT_ON_LINGER"), closing(1)), Linger2, Fault, NGINX),
            case("AF_UNSPEC", scene.active(Some("TCP_STATE"), disconnected()), Disconnect, Fault, NGINX),
            case("AF_UNSPEC with lingering on", scene.active(Some("TCP_STATE"), Socket { linger: Some(Duration::ZERO),..disconnected() }), Disconnect, Fault, NGINX),
            case("disconnect with data", scene.active(Some("TCP_DISCONNECT_WITH_DATA"), disconnected()), Disconnect, Fault, NGINX),
            case("listener closed", scene.active(Some("TCP_STATE"), child()), ListenerClosed, Fault, NGINX),
            case("lingering listener closed", scene.active(Some("TCP_STATE"), Socket { linger: Some(Duration::ZERO),..child() }), ListenerClosed, Fault, NGINX),
        ],
        Confidence::Certain,
    );
}

#[test]
fn a_kernel_thread_is_never_the_closer() {
    let scene = Scene::new();
    let mut recorded = ownership(86, "master", OwnerSource::Listen);
    recorded.inherited = true;
    recorded.closer = Some(closer(88, "worker"));
    for socket in [lingering(), child()] {
        let sent = with_current(scene.active(Some("TCP_STATE"), socket), |current| {
            current.kernel_thread = true;
        });
        let sent = owned_by(sent, recorded.clone());
        let record = only(run(vec![event(0, sent)]));
        let process = record.process.expect("the recorded closer");
        assert_eq!((process.pid, process.quality), (88, Quality::Recorded));
    }
}

#[test]
#[rustfmt::skip]
fn rst_in_softirq_is_not_blamed_on_current() {
    use Cause::*;
    use Severity::*;
    let scene = Scene::new();
    let probing = Socket {
        keepalive: true,
        probes_out: 2,
        ..socket(1)
    };
    let orphan = Socket {
        state: TcpState::FinWait2,
        orphaned: true,
        has_file: false,
        ..socket(1)
    };
    let timer = |reason, socket: &Socket| {
        let mut owner = ownership(412, "java", OwnerSource::Connect);
        if socket.orphaned {
            owner.closer = Some(closer(412, "java"));
        }
        bystander(owned_by(scene.active(Some(reason), socket.clone()), owner))
    };
    let data = segment(ACK, 1, 9000, 100);
    let pure_ack = segment(ACK, 1, 9000, 0);
    let syn = segment(SYN, 1, 0, 0);
    let connecting = Socket {
        state: TcpState::SynSent,
        ..socket(1)
    };
    let mut late = answer_of(
        "TCP_ABORT_ON_DATA",
        data,
        Socket {
            state: TcpState::Close,
            ..orphan.clone()
        },
    );
    late.ownership = Some(Ownership {
        closer: Some(closer(87, "nginx")),
        ..ownership(86, "master", OwnerSource::Listen)
    });
    let owner = Some((412, Role::Owner, Quality::Recorded));
    let mut restarted = answer_of("TCP_FLAGS", data, listener());
    restarted.former_connection = Some(Box::new(tombstone(412, "java", TcpState::Established)));
    let listens = Some((80, Role::Listener, Quality::Recorded));
    check(
        vec![
            case("keepalive", timer("TCP_KEEPALIVE_TIMEOUT", &probing), KeepaliveTimeout, Fault, owner),
            case("orphan's timer", timer("TCP_STATE", &orphan), OrphanTimeout, Noise, Some((412, Role::Closer, Quality::Recorded))),
            case("memory", timer("TCP_ABORT_ON_MEMORY", &orphan), OutOfMemory, Fault, Some((412, Role::Closer, Quality::Recorded))),
            case("late data", late, DataAfterClose, Fault, Some((87, Role::Closer, Quality::Recorded))),
            case("listener back", restarted, HalfOpen, Fault, Some((412, Role::FormerOwner, Quality::Recorded))),
            case("stray ACK", answer_of("TCP_FLAGS", pure_ack, listener()), StrayAck, Noise, listens),
            case("stray data", answer_of("TCP_FLAGS", segment(TcpFlags::ACK | TcpFlags::PSH, 1, 1, 27), listener()), StrayAck, Fault, listens),
            case("overflow", answer_of("INVALID_SYN", pure_ack, listener()), AcceptQueueOverflow, Refused, listens),
            case("bad SYN", answer_of("INVALID_SYN", syn, listener()), BadHandshake, Refused, listens),
            case("wrong ACK while connecting", answer_of("TCP_INVALID_ACK_SEQUENCE", pure_ack, connecting), BadHandshake, Noise, Some((80, Role::Owner, Quality::Recorded))),
            case("multipath", answer_of("MPTCP_RST_EPROHIBIT", pure_ack, socket(1)), Mptcp, Fault, Some((80, Role::Owner, Quality::Recorded))),
            case("multipath, a later reason", answer_of("MPTCP_RST_NEW", pure_ack, socket(1)), Mptcp, Fault, Some((80, Role::Owner, Quality::Recorded))),
        ],
        Confidence::Certain,
    );
}

#[test]
#[rustfmt::skip]
fn answers_without_a_socket_name_whom_the_tombstone_remembers() {
    use Cause::*;
    use Severity::*;
    let scene = Scene::new();
    let remembered = |cause, state| {
        let mut sent = scene.answer(cause);
        sent.former_connection = Some(Box::new(tombstone(311, "exporter", state)));
        sent
    };
    let former = Some((311, Role::FormerOwner, Quality::Recorded));
    let data = segment(ACK | TcpFlags::PSH, 1, 2, 100);
    let fin = segment(ACK | TcpFlags::FIN, 1, 2, 0);
    let mut time_wait = remembered(data, TcpState::FinWait2);
    time_wait.reason = Some("TCP_TIMEWAIT_SOCKET".into());
    time_wait.minisock = Some(TcpState::TimeWait);
    let mut time_wait_fin = time_wait.clone();
    time_wait_fin.cause = Some(fin);
    let mut port = scene.answer(segment(SYN, 1, 0, 0));
    port.former_listener = Some(Box::new(tombstone(311, "exporter", TcpState::Listen)));
    check(
        vec![
            case("half open", remembered(data, TcpState::Established), HalfOpen, Fault, former),
            case("half open, only a FIN", remembered(fin, TcpState::Established), HalfOpen, Noise, former),
            case("TIME_WAIT", time_wait, DataAfterClose, Fault, former),
            case("TIME_WAIT, no data", time_wait_fin, DataAfterClose, Noise, former),
            case("late SYN-ACK", remembered(segment(SYN | ACK, 1, 2, 0), TcpState::SynSent), LateSynack, Noise, former),
            case("port closed", port.clone(), PortClosed, Refused, None),
            case("port never open", scene.answer(segment(SYN, 1, 0, 0)), PortClosed, Refused, None),
        ],
        Confidence::Certain,
    );
    // Nothing shows that there ever was a connection.
    check(
        vec![case("half open, unknown", scene.answer(data), HalfOpen, Fault, None)],
        Confidence::Likely,
    );
    // A SYN-ACK that nobody here asked for: the echo of a spoofed SYN looks like an answer to a connect given up.
    let synack = segment(SYN | ACK, 1, 2, 0);
    check(
        vec![
            case("SYN-ACK, unknown", scene.answer(synack), LateSynack, Noise, None),
            case("SYN-ACK for what was connected", remembered(synack, TcpState::Established), LateSynack, Noise, former),
        ],
        Confidence::Possible,
    );
    let record = only(run(vec![event(0, port)]));
    assert_eq!(
        record.verdict.summary(),
        "no listener on port 8080 (exporter[311] stopped listening 40.0 s ago)"
    );
}

#[test]
fn what_the_facts_do_not_tell_stays_unknown() {
    let scene = Scene::new();
    let mut blind = scene.answer(segment(SYN, 1, 0, 0));
    blind.cause = None;
    let newer = scene.active(Some("#31"), socket(1));
    let odd = answer_of("TCP_FLAGS", segment(ACK, 1, 1, 0), socket(1));
    for sent in [blind, newer, odd] {
        let record = only(run(vec![event(0, sent.clone())]));
        assert_eq!(record.verdict.cause, Cause::Unknown, "{sent:?}");
        assert_eq!(record.verdict.origin, Origin::Unknown);
        let reason = sent.reason.expect("one");
        assert!(record.verdict.evidence()[0].detail.contains(reason.name()));
    }
}

#[test]
#[rustfmt::skip]
fn without_reasons_the_socket_tells_at_best_what_is_likely() {
    use Cause::*;
    use Severity::*;
    let scene = Scene::new();
    let active = |socket| scene.active(None, socket);
    let kill = with_current(active(unread()), |current| {
        current.exiting = true;
        current.signal = Some(9);
    });
    let answer = |cause, socket: Option<Socket>| {
        let mut sent = scene.answer(cause);
        sent.reason = None;
        sent.socket = socket;
        sent
    };
    let unread_child = Socket {
        unread: 10,
        ..child()
    };
    let probing = Socket {
        keepalive: true,
        probes_out: 2,
        ..socket(1)
    };
    let killed_from_outside = Socket {
        owned: true,
        ..socket(1)
    };
    let orphan = Socket {
        state: TcpState::FinWait1,
        orphaned: true,
        has_file: false,
        ..socket(1)
    };
    let full = answer(segment(ACK, 1, 1, 0), Some(listener()));
    let roomy = Socket {
        accept_queue: Some((0, 128)),
        ..listener()
    };
    let inherited = Some((86, Role::Owner, Quality::Inherited));
    check(
        vec![
            case("unread", active(unread()), CloseWithUnreadData, Fault, NGINX),
            case("killed", kill, KilledWithUnreadData, Fault, NGINX),
            case("unread child", active(unread_child), ListenerClosed, Fault, NGINX),
            case("linger zero", active(lingering()), LingerZero, Fault, NGINX),
            case("linger2", active(Socket { linger2_off: true,..closing(1) }), Linger2, Fault, NGINX),
            case("AF_UNSPEC with unread", active(Socket { unread: 5,..disconnected() }), Disconnect, Fault, NGINX),
            case("keepalive", active(probing), KeepaliveTimeout, Fault, inherited),
            case("memory", active(orphan), OutOfMemory, Fault, inherited),
            case("destroyed", active(killed_from_outside), SocketDestroyed, Fault, NGINX),
            case("full queue", full, AcceptQueueOverflow, Refused, None),
            case("queue with room", answer(segment(ACK, 1, 1, 0), Some(roomy)), StrayAck, Noise, None),
            case("SYN", answer(segment(SYN, 1, 0, 0), None), PortClosed, Refused, None),
            case("data", answer(segment(ACK, 1, 1, 9), None), HalfOpen, Fault, None),
        ],
        Confidence::Likely,
    );
}

#[test]
fn a_destroyed_socket_names_the_killer_and_the_victim() {
    let scene = Scene::new();
    let held = Socket {
        owned: true,
        ..socket(1)
    };
    let mut sent = scene.active(Some("TCP_STATE"), held);
    sent.current = Some(current(500, "ss"));
    sent.ownership = Some(ownership(412, "java", OwnerSource::Connect));
    let record = only(run(vec![event(0, sent)]));
    assert_eq!(record.verdict.cause, Cause::SocketDestroyed);
    assert_eq!(record.verdict.origin, Origin::LocalProcess);
    let process = record.process.expect("the killer");
    assert_eq!(
        (process.pid, process.role, process.quality),
        (500, Role::Closer, Quality::Certain)
    );
    let owner = record.owner.expect("the victim");
    assert_eq!(
        (owner.pid, owner.role, owner.quality),
        (412, Role::Owner, Quality::Recorded)
    );
    assert_eq!(
        record.verdict.summary(),
        "ss[500] destroyed the socket of java[412] after 12.3 s"
    );
}
