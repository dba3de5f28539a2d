//! Attaching classifiers to all interfaces while interfaces and namespaces come and go.
//!
//! One thread does: it alone enters other network namespaces, so the rest of the process never leaves its own.

use std::io::{self, PipeWriter};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

pub use super::netns::{Inode, Namespace};
pub use super::netns_names::Names;
use super::sys;
use super::tc::Pair;
pub use super::tc::TcMode;
use super::tc_manager::Attacher;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceOptions {
    pub mode: TcMode,
    pub scope: Scope,
    /// Only interfaces with these names; empty: all.
    pub names: Vec<String>,
    pub loopback: bool,
    /// How long the start may wait until all interfaces that exist are attached; what is left is done in the
    /// background. Own namespace first. Each interface takes the kernel some 20 ms.
    pub patience: Duration,
}

impl Default for InterfaceOptions {
    fn default() -> Self {
        Self {
            mode: TcMode::Auto,
            scope: Scope::All,
            names: Vec::new(),
            loopback: true,
            patience: Duration::from_millis(150),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every one that a process or a name in /run/netns holds, new ones within a second. Without the right to enter
    /// others (CAP_SYS_ADMIN) it is this process's own, and a problem is noted.
    #[default]
    All,
    /// This process's own.
    Own,
    /// Those given, once they exist.
    Only(Vec<Inode>),
}

/// Loaded classifiers by kind of interface.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// For interfaces with an Ethernet header.
    pub l2: Option<Pair>,
    /// For interfaces whose packets begin with the network header.
    pub l3: Option<Pair>,
}

/// Classifiers at work; taken off when dropped.
pub struct Interfaces {
    names: Names,
    /// The thread ends when this does.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Interfaces {
    /// Starts the thread and waits, at most as long as the options say, until what exists is attached.
    pub(super) fn start(options: InterfaceOptions, programs: Programs) -> io::Result<Self> {
        let names = Names::default();
        let (stopped, stop) = io::pipe()?;
        let (ready, attached) = sync_channel(1);
        let patience = options.patience;
        let shared = names.clone();
        let thread = std::thread::Builder::new()
            .name("rsttrace-attach".to_owned())
            .spawn(move || match Attacher::new(options, programs, shared) {
                Ok(mut attacher) => {
                    attacher.begin();
                    let _ = ready.send(Ok(()));
                    attacher.complete();
                    sys::trim_heap();
                    attacher.run(&stopped);
                    attacher.detach_all();
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })?;
        match attached.recv_timeout(patience) {
            Ok(Err(error)) => return Err(error),
            Ok(Ok(())) => {}
            Err(RecvTimeoutError::Timeout) => {
                log::info!("attaching to the remaining interfaces in the background")
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the attach thread exited"));
            }
        }
        Ok(Self {
            names,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Names of what is attached to.
    pub(super) fn names(&self) -> Names {
        self.names.clone()
    }
}

impl Drop for Interfaces {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
