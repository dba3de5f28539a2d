//! Command loop of an actor.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::capture::Capture;
use super::child::{self, Child, Forked};
use super::program::{become_program, run_program};
use super::protocol::{Answer, Command};
use super::sockets::Sockets;
use super::{kernel_state, mailbox};
use crate::net::{destroy, link, nft};
use crate::segment::Segment;

/// An actor's own state.
#[derive(Default)]
pub struct Server {
    sockets: Sockets,
    capture: Option<Capture>,
    children: HashMap<u32, Child>,
    mailbox: Option<UnixDatagram>,
}

impl Server {
    /// Does what is told; a failure is an answer too.
    pub fn obey(&mut self, command: Command) -> Answer {
        let told = format!("{command:?}");
        self.carry_out(command)
            .unwrap_or_else(|error| Answer::Failed {
                errno: error_name(&error),
                what: told,
            })
    }

    /// In the child this never returns.
    fn fork(&mut self, name: &str) -> io::Result<Answer> {
        let (pid, child) = match child::fork(name)? {
            Forked::Child(orders) => {
                self.children.clear();
                self.capture = None;
                child::live(&orders, |command| self.obey(command))
            }
            Forked::Parent(pid, child) => (pid, child),
        };
        self.children.insert(pid, child);
        Ok(Answer::Number { value: pid.into() })
    }

    fn child(&mut self, pid: u32) -> io::Result<&mut Child> {
        self.children.get_mut(&pid).ok_or(Errno::ECHILD.into())
    }

    fn carry_out(&mut self, command: Command) -> io::Result<Answer> {
        use Command::*;
        let sockets = &mut self.sockets;
        match command {
            Listen {
                address,
                backlog,
                shared,
            } => sockets.listen(address, backlog, shared),
            Connect {
                from,
                to,
                timeout_ms,
            } => sockets.connect(from, to, ms(timeout_ms)),
            StartConnect { from, to } => sockets.start_connect(from, to),
            Accept { socket, timeout_ms } => sockets.accept(socket, ms(timeout_ms)),
            Send { socket, bytes } => sockets.send(socket, bytes),
            SendText { socket, text } => sockets.send_bytes(socket, text.as_bytes()),
            Receive {
                socket,
                bytes,
                timeout_ms,
            } => sockets.receive(socket, bytes, ms(timeout_ms)),
            AwaitUnread {
                socket,
                bytes,
                timeout_ms,
            } => sockets.await_unread(socket, bytes, ms(timeout_ms)),
            AwaitState {
                socket,
                state,
                timeout_ms,
            } => sockets.await_state(socket, state, ms(timeout_ms)),
            AwaitError { socket, timeout_ms } => sockets.await_error(socket, ms(timeout_ms)),
            Set { socket, option } => sockets.set(socket, option),
            Shutdown { socket, both } => sockets.shutdown(socket, both),
            Close { socket } => sockets.close(socket),
            ForkToClose { socket, name } => sockets.fork_to_close(socket, &name),
            Fork { name } => self.fork(&name),
            TellChild { child, command } => self.child(child)?.tell(&command),
            HearChild { child } => self.child(child)?.hear(),
            CloseAtError { socket, timeout_ms } => {
                let error = sockets.await_error(socket, ms(timeout_ms))?;
                sockets.close(socket)?;
                Ok(error)
            }
            OpenMailbox => {
                self.mailbox = Some(mailbox::open()?);
                Ok(Answer::Done)
            }
            HandOn { socket, to } => {
                mailbox::put(sockets.descriptor(socket)?, to)?;
                sockets.close(socket)
            }
            TakeHanded => {
                let mailbox = self.mailbox.as_ref().ok_or(Errno::EBADF)?;
                sockets.adopt(mailbox::take(mailbox)?)
            }
            Disconnect { socket } => sockets.disconnect(socket),
            Vanish { socket } => sockets.vanish(socket),
            Sequence { socket } => sockets.sequence(socket),
            Exit { code } => std::process::exit(code),
            Inject { segment } => inject(&segment),
            InjectLater { segments, after_ms } => inject_later(segments, ms(after_ms)),
            Become {
                program,
                arguments,
                configuration,
                complaints,
            } => become_program(&program, &arguments, &configuration, &complaints),
            Run { program, arguments } => Ok(Answer::Ran {
                complaint: run_program(&program, &arguments)?,
            }),
            Destroy { local, remote } => destroy::destroy(local, remote).map(|()| Answer::Done),
            Capture => {
                self.capture = None;
                self.capture = Some(super::capture::Capture::start()?);
                Ok(Answer::Done)
            }
            AwaitSegment {
                pattern,
                timeout_ms,
            } => {
                let capture = self.capture.as_mut().ok_or(Errno::EBADF)?;
                let segment = capture.wait(&pattern, ms(timeout_ms))?;
                Ok(Answer::Segment { segment })
            }
            Entry { local, remote } => Ok(Answer::Entry {
                entry: kernel_state::entry(local, remote)?,
            }),
            AwaitEntry {
                local,
                remote,
                entry,
                timeout_ms,
            } => {
                poll(ms(timeout_ms), || {
                    Ok((kernel_state::entry(local, remote)? == entry).then_some(()))
                })?;
                Ok(Answer::Entry { entry })
            }
            Counter { name } => Ok(Answer::Number {
                value: kernel_state::counter(&name)?,
            }),
            Sysctl { name, value } => Ok(Answer::Text {
                text: kernel_state::write_sysctl(&name, &value)?,
            }),
            Firewall { table, rules } => nft::install(&table, &rules).map(|()| Answer::Done),
            FirewallOff { table } => nft::remove(&table).map(|()| Answer::Done),
            Veth {
                name,
                peer,
                peer_pid,
            } => link::add_veth(&name, &peer, peer_pid).map(|()| Answer::Done),
            LinkUp { name } => link::set_up(&name).map(|()| Answer::Done),
            Address {
                name,
                address,
                prefix,
            } => link::add_address(&name, address, prefix).map(|()| Answer::Done),
            DefaultRoute { gateway } => link::add_default_route(gateway).map(|()| Answer::Done),
        }
    }
}

/// Asks again and again until there is an answer; ETIMEDOUT when the time is over.
pub(super) fn poll<T>(
    limit: Duration,
    mut ask: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(Errno::ETIMEDOUT.into());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn inject(segment: &Segment) -> io::Result<Answer> {
    use socket2::{Domain, Protocol, SockAddr, Socket, Type};
    let packet = segment.to_packet().ok_or(Errno::EAFNOSUPPORT)?;
    let mut destination = segment.destination;
    destination.set_port(0);
    let domain = Domain::for_address(destination);
    // IPPROTO_RAW: the packet brings its own IP header, for both families.
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    let sent = socket.send_to(&packet, &SockAddr::from(destination))?;
    Ok(Answer::Number { value: sent as u64 })
}

/// As a device does at the end of its timer, whatever the demo is doing then.
fn inject_later(segments: Vec<Segment>, delay: Duration) -> io::Result<Answer> {
    std::thread::Builder::new().spawn(move || {
        std::thread::sleep(delay);
        for segment in segments {
            // A segment that is not sent is not captured either, which fails the staging.
            let _ = inject(&segment);
        }
    })?;
    Ok(Answer::Done)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The name of an error: "ECONNRESET".
pub(super) fn error_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.to_string(),
    }
}

const POLL_INTERVAL: Duration = Duration::from_micros(300);
