//! Command loop of an actor.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::errno::Errno;

use super::child::{self, Child, Forked};
use super::mailbox;
use super::program::become_program;
use super::protocol::{Answer, Command};
use super::sockets::Sockets;
use crate::error::error_name;
use crate::net::destroy;
use crate::segment::{Injector, Segment};

#[derive(Default)]
pub struct Server {
    sockets: Sockets,
    children: HashMap<u32, Child>,
    mailbox: Option<UnixDatagram>,
}

impl Server {
    /// Carries out a command; a failure is an answer, too.
    pub fn obey(&mut self, command: Command) -> Answer {
        let what = format!("{command:?}");
        self.carry_out(command)
            .unwrap_or_else(|error| Answer::Failed {
                errno: error_name(&error),
                what,
            })
    }

    /// In the child this never returns.
    fn fork(&mut self, name: &str) -> io::Result<Answer> {
        let (pid, child) = match child::fork(name)? {
            Forked::Child(orders) => {
                self.children.clear();
                child::live(&orders, |command| self.obey(command))
            }
            Forked::Parent(pid, child) => (pid, child),
        };
        self.children.insert(pid, child);
        Ok(Answer::Number(pid.into()))
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
            Connect(from, to) => sockets.connect(from, to),
            StartConnect(from, to) => sockets.start_connect(from, to),
            Accept(socket, limit) => sockets.accept(socket, Duration::from_millis(limit)),
            Send(socket, text) => sockets.send(socket, text.as_bytes()),
            Receive(socket, bytes) => sockets.receive(socket, bytes),
            AwaitUnread(socket, bytes) => sockets.await_unread(socket, bytes),
            AwaitState(socket, state) => sockets.await_state(socket, state),
            AwaitError(socket) => sockets.await_error(socket),
            Set(socket, option) => sockets.set(socket, option),
            ShutdownWrite(socket) => sockets.shutdown(socket, Shutdown::Write),
            ShutdownBoth(socket) => sockets.shutdown(socket, Shutdown::Both),
            Close(socket) => sockets.close(socket),
            Fork(name) => self.fork(&name),
            BeginInChild(child, command) => self.child(child)?.send(&command),
            AnswerOfChild(child) => self.child(child)?.answer(),
            CloseAtError(socket) => {
                let error = sockets.await_error(socket)?;
                sockets.close(socket)?;
                Ok(error)
            }
            OpenMailbox => {
                self.mailbox = Some(mailbox::open()?);
                Ok(Answer::Done)
            }
            HandOn(socket, to) => {
                mailbox::put(sockets.descriptor(socket)?, to)?;
                sockets.close(socket)
            }
            TakeHanded => {
                let mailbox = self.mailbox.as_ref().ok_or(Errno::EBADF)?;
                sockets.adopt(mailbox::take(mailbox)?)
            }
            Disconnect(socket) => sockets.disconnect(socket),
            Vanish(socket) => sockets.vanish(socket),
            Sequence(socket) => sockets.sequence(socket),
            Exit(code) => std::process::exit(code),
            Inject(segment) => inject(&segment),
            InjectLater(segments, after) => inject_later(segments, Duration::from_millis(after)),
            Become {
                program,
                arguments,
                configuration,
                complaints,
            } => become_program(&program, &arguments, &configuration, &complaints),
            Destroy(local, remote) => destroy::destroy(local, remote).map(|()| Answer::Done),
        }
    }
}

fn inject(segment: &Segment) -> io::Result<Answer> {
    let sent = Injector::new(segment.destination)?.send(segment)?;
    Ok(Answer::Number(sent as u64))
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
