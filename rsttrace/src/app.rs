//! The commands: they connect the edges with the pure core.

mod demo;
mod doctor;
mod history;
mod history_writer;
mod intake;
mod metrics_export;
mod own_sockets;
mod pcap;
mod playback;
mod probe;
mod recorder;
mod reload;
mod replay;
mod report;
mod service;
mod session;
mod watch;

pub use demo::{
    CaptureSight, CapturedCase, Grade, RecordedCase, RecordedDemo, RecordedResult, RecordedVerdict,
    demo, judge_captures, record_demo, replay_each_namespace,
};
pub use doctor::doctor;
pub use history::history;
pub use pcap::pcap;
pub use probe::{listen, probe};
pub use replay::replay;
pub use report::report;
pub use watch::watch;

use crate::cli::Failure;
use crate::kernel::StartError;

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match error {
            StartError::NotPermitted { .. } => Self::NotPermitted(message),
            StartError::NotSupported { .. } => Self::NotSupported(message),
            StartError::TooFewFiles { .. } | StartError::Failed(_) => {
                Self::Failed(anyhow::anyhow!(message))
            }
        }
    }
}

/// A runtime on this thread alone: there is one reader, and nothing for other threads to do.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    use anyhow::Context as _;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    Ok(runtime.context("cannot start the event loop")?)
}

/// Until an instant; without one, forever.
async fn sleep_until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
