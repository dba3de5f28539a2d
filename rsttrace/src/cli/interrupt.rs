//! Signals: SIGINT, SIGTERM and SIGHUP as a request to end the command, SIGUSR1 as one for a summary. Under a service manager SIGHUP
//! asks for the configuration to be read again.

use std::io;
use std::time::Duration;

use nix::sys::signal;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys;

/// Long enough for a turn of the runtime.
const TURN: Duration = Duration::from_millis(1);

/// Waits for a signal that ends the command; none of them terminates the process by itself any more.
pub struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is gone. Absent under nohup, which has it ignored.
    hangup: Option<Signal>,
    /// One of them came.
    came: bool,
}

impl Interrupt {
    /// Installs the handlers. Requires a tokio runtime with its I/O driver.
    pub fn new() -> io::Result<Self> {
        let is_ignored = sys::ignores(libc::SIGHUP);
        let hangup = (!is_ignored).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: hangup.transpose()?,
            came: false,
        })
    }

    /// The command ends. From now on the second of the signals, counted from the start, ends the process at once.
    pub async fn release(mut self) -> io::Result<()> {
        let mut signals = vec![signal::SIGINT, signal::SIGTERM];
        signals.extend(self.hangup.is_some().then_some(signal::SIGHUP));
        if self.came {
            signals.into_iter().try_for_each(sys::restore_default)?;
        } else {
            sys::ignore_once(&signals)?;
        }
        // The runtime has not looked at them meanwhile.
        if tokio::time::timeout(TURN, self.wait()).await.is_ok() {
            // Ends the process now, or counts as the first.
            signal::raise(signal::SIGINT)?;
        }
        Ok(())
    }

    /// Makes SIGHUP a request for the configuration to be read again.
    pub fn reload_on_hangup(&mut self) -> ReloadRequest {
        ReloadRequest(self.hangup.take())
    }

    /// Returns after one of the signals. Cancel-safe.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = of(&mut self.hangup) => {}
        }
        self.came = true;
    }
}

/// SIGUSR1, which asks for a summary of what was traced so far.
pub struct SummaryRequest(Signal);

impl SummaryRequest {
    /// Installs the handler, as [`Interrupt::new`] does.
    pub fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::user_defined1())?))
    }

    /// Returns after the signal. Cancel-safe.
    pub async fn wait(&mut self) {
        self.0.recv().await;
    }
}

/// SIGHUP as a request to read the configuration again; by default there is none.
#[derive(Default)]
pub struct ReloadRequest(Option<Signal>);

impl ReloadRequest {
    /// Returns after the signal. Cancel-safe.
    pub async fn wait(&mut self) {
        of(&mut self.0).await;
    }
}

/// Without a signal, never.
async fn of(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
