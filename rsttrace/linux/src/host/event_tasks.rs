//! Processes that an event names, and sockets whose owner needs a lookup. Pure.

use super::socket_holder::Search;
use crate::event::{Body, OwnerSource, Ownership, SenderSocket, Sent, Socket, Task, TcpState};

/// The processes an event names. Not the bystander that was running.
pub(super) fn named(body: &Body) -> [Option<&Task>; 7] {
    match body {
        Body::Sent(sent) => {
            let [owner, closer] = parties(sent.ownership.as_ref());
            let [former_owner, former_closer] =
                parties(sent.former_connection.as_ref().map(|it| &it.ownership));
            let [listener, listener_closer] =
                parties(sent.former_listener.as_ref().map(|it| &it.ownership));
            let actor = sent.actor().map(|actor| &actor.task);
            [
                actor,
                owner,
                closer,
                former_owner,
                former_closer,
                listener,
                listener_closer,
            ]
        }
        Body::Received(received) => with_parties(parties(received.ownership.as_ref())),
        Body::Failed(failed) => with_parties(parties(failed.ownership.as_ref())),
        Body::Packet(packet) => match &packet.sender_socket {
            SenderSocket::Raw {
                current: Some(current),
                ..
            } => with_parties([Some(&current.task), None]),
            SenderSocket::Raw { current: None, .. }
            | SenderSocket::Some(_)
            | SenderSocket::None => [None; 7],
        },
    }
}

fn parties(ownership: Option<&Ownership>) -> [Option<&Task>; 2] {
    let owner = ownership.and_then(|it| it.owner.as_ref());
    let closer = ownership
        .and_then(|it| it.closer.as_ref())
        .map(|closer| &closer.task);
    [owner, closer]
}

fn with_parties([first, second]: [Option<&Task>; 2]) -> [Option<&Task>; 7] {
    [first, second, None, None, None, None, None]
}

/// Which open file is to be looked up, and where. `lives` says whether a process still exists: a file may outlive the process that
/// opened it (fork and exit).
pub(super) fn question(body: &Body, lives: impl FnMut(&Task) -> bool) -> Option<(u64, Search)> {
    match body {
        Body::Sent(sent) => question_of_sent(sent, lives),
        Body::Received(received) => {
            question_of_socket(&received.socket, received.ownership.as_ref(), lives)
        }
        Body::Failed(failed) => {
            question_of_socket(failed.socket.as_ref()?, failed.ownership.as_ref(), lives)
        }
        Body::Packet(packet) => match &packet.sender_socket {
            SenderSocket::Raw { inode, current, .. } => {
                let first = current.as_ref().map(|current| &current.task);
                let first = first.filter(|task| !task.outside).map(|task| task.pid);
                Some(((*inode)?, Search::Everyone(first)))
            }
            SenderSocket::Some(_) | SenderSocket::None => None,
        },
    }
}

/// A process that closes a socket has just given up its file: nothing to look for. One that destroys it (`ss -K`)
/// leaves it in its state, and in the hands of another.
fn question_of_sent(sent: &Sent, lives: impl FnMut(&Task) -> bool) -> Option<(u64, Search)> {
    let closing = |socket: &&Socket| sent.actor().is_some() && socket.state == TcpState::Close;
    let socket = sent.socket.as_ref().filter(|socket| !closing(socket))?;
    question_of_socket(socket, sent.ownership.as_ref(), lives)
}

fn question_of_socket(
    socket: &Socket,
    ownership: Option<&Ownership>,
    mut lives: impl FnMut(&Task) -> bool,
) -> Option<(u64, Search)> {
    let inode = socket.inode.filter(|_| !socket.orphaned)?;
    let Some(owner) = recorded_owner(ownership) else {
        return Some((inode, Search::Everyone(None)));
    };
    // `/proc` shows neither it nor those that it would hand the socket to.
    if owner.outside {
        return None;
    }
    let search = match socket.state {
        _ if !lives(owner) => Search::Everyone(None),
        _ if ownership.is_some_and(|it| it.inherited) => Search::Family(owner.pid),
        // Who connects waits for the answer, and who listens stays.
        TcpState::SynSent | TcpState::Listen => return None,
        _ => Search::Confirm(owner.pid),
    };
    Some((inode, search))
}

fn recorded_owner(ownership: Option<&Ownership>) -> Option<&Task> {
    ownership?.owner.as_ref()
}

/// The recorded owner of the socket of an event, if it is the one that accepted the connection.
pub(super) fn acceptor(body: &Body) -> Option<&Task> {
    let ownership = match body {
        Body::Sent(sent) => sent.ownership.as_ref(),
        Body::Received(received) => received.ownership.as_ref(),
        Body::Failed(failed) => failed.ownership.as_ref(),
        Body::Packet(_) => None,
    };
    let accepted = |it: &&Ownership| it.source == Some(OwnerSource::Accept) && !it.inherited;
    recorded_owner(ownership.filter(accepted)).filter(|task| !task.outside)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use rsttrace_common::reset;
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;
    use crate::decode::{Decoder, KernelFacts};
    use crate::event::{BootTime, CurrentTask, Event, Flow, NetnsCookie};

    pub(in crate::host) fn event(netns: u64, fill: impl FnOnce(&mut Sent)) -> Event {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let mut sent = Sent {
            flow: Flow {
                local: address,
                remote: address,
            },
            reason: None,
            passive: true,
            cause: None,
            socket: None,
            ownership: None,
            current: None,
            minisock: None,
            former_connection: None,
            former_listener: None,
            handshake: None,
        };
        fill(&mut sent);
        Event {
            time: BootTime(1_000_000_000),
            netns: NetnsCookie(netns),
            netns_inode: None,
            cpu: 0,
            body: Body::Sent(Arc::new(sent)),
        }
    }

    pub(in crate::host) fn owned_by(owner: Option<Task>, inherited: bool) -> Ownership {
        Ownership {
            owner,
            source: None,
            inherited,
            closer: None,
            peer_finish: None,
            established: None,
            isn: None,
            state_before_close: None,
        }
    }

    /// An established socket as the wire would bring it.
    pub(in crate::host) fn socket(inode: u64) -> Socket {
        let mut wire = reset::ResetReceived::new_zeroed();
        wire.header.kind = rsttrace_common::header::KIND_RESET_RECEIVED;
        wire.header.version = rsttrace_common::WIRE_VERSION;
        wire.socket.state = 1;
        wire.socket.inode = inode;
        let decoder = Decoder::new(KernelFacts {
            hz: 250,
            reasons: Vec::new(),
        });
        match decoder.decode(wire.as_bytes()).unwrap().body {
            Body::Received(received) => received.socket.clone(),
            other => unreachable!("{other:?}"),
        }
    }

    fn task() -> Task {
        Task {
            pid: 5,
            outside: false,
            start: BootTime(1),
            uid: 0,
            cgroup_id: 0,
            comm: crate::record::Word::default(),
        }
    }

    #[test]
    fn the_closer_has_no_file_any_more_but_the_victim_of_another_process_has() {
        let question = |state, owned| {
            let event = event(0, |sent| {
                sent.passive = false;
                sent.socket = Some(Socket {
                    state,
                    owned,
                    ..socket(99)
                });
                sent.ownership = Some(owned_by(Some(task()), true));
                sent.current = Some(CurrentTask {
                    task: task(),
                    exiting: false,
                    kernel_thread: false,
                    signal: None,
                });
            });
            question(&event.body, |_| true)
        };
        let family = Some((99, Search::Family(5)));
        assert_eq!(question(TcpState::Close, true), None);
        assert_eq!(question(TcpState::Established, true), family);
        assert_eq!(question(TcpState::Established, false), family);
    }

    #[test]
    fn an_owner_is_confirmed_where_it_may_have_handed_on() {
        let question = |state, source, inherited, lives| {
            let event = event(0, |sent| {
                sent.socket = Some(Socket {
                    state,
                    ..socket(99)
                });
                sent.ownership = Some(Ownership {
                    source: Some(source),
                    ..owned_by(Some(task()), inherited)
                });
            });
            let accepted = acceptor(&event.body).is_some();
            (question(&event.body, |_| lives), accepted)
        };
        use OwnerSource::{Accept, Connect, Listen};
        let established = TcpState::Established;
        for (asked, search, accepted) in [
            (
                question(established, Accept, false, true),
                Some(Search::Confirm(5)),
                true,
            ),
            (
                question(established, Connect, false, true),
                Some(Search::Confirm(5)),
                false,
            ),
            (
                question(established, Listen, true, true),
                Some(Search::Family(5)),
                false,
            ),
            (
                question(established, Accept, false, false),
                Some(Search::Everyone(None)),
                true,
            ),
            (
                question(TcpState::SynSent, Connect, false, true),
                None,
                false,
            ),
            (question(TcpState::Listen, Listen, false, true), None, false),
        ] {
            assert_eq!(asked, (search.map(|search| (99, search)), accepted));
        }
    }
}
