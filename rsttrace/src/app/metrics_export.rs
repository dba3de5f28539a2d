//! Metrics exporters of a running trace: HTTP server and textfile.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{info, warn};
use tokio::time::Instant;

use super::sleep_until;
use crate::cli::{Failure, MetricsOptions};
use crate::metrics::file::{FileError, MetricsFile};
use crate::metrics::http::{Scrape, ServeError, Server};
use crate::metrics::{Judged, exposition};
use crate::record::Output;
use crate::self_stats::Vitals;

/// How old the file gets.
const INTERVAL: Duration = Duration::from_secs(15);

/// The exporters of a trace; without the options, nothing is counted.
#[derive(Default)]
pub struct Monitoring {
    server: Option<Server>,
    file: Option<Rewritten>,
    judged: Judged,
}

struct Rewritten {
    writer: Arc<Writer>,
    due: Instant,
    /// Writes at this moment, or did.
    at_work: Option<JoinHandle<()>>,
}

struct Writer {
    file: MetricsFile,
    failed: AtomicBool,
}

impl Writer {
    fn write(&self, text: &str) {
        self.report(&self.file.write(text));
    }

    fn report(&self, written: &io::Result<()>) {
        let failed = self.failed.swap(written.is_err(), Ordering::Relaxed);
        let file = self.file.path().display();
        match written {
            Ok(()) if failed => info!("{file}: writing metrics works again"),
            // Once, not every time.
            Err(error) if !failed => {
                warn!(
                    "{file}: {error}; the metrics in the file are outdated until it can be written again"
                );
            }
            _ => {}
        }
    }
}

pub enum Wanted {
    Scrape(Scrape),
    File,
}

/// Warns if other hosts can read the metrics.
fn warn_of_readers(server: &Server) {
    if !server.address().ip().to_canonical().is_loopback() {
        warn!(
            "--metrics {}: other hosts can read the metrics, without encryption or authentication; use a loopback address, or a firewall and a proxy",
            server.address()
        );
    }
}

impl Monitoring {
    /// Listens and makes sure that the file can be written. Needs a runtime around it.
    pub async fn start(options: &MetricsOptions) -> Result<Self, Failure> {
        let server = match options.address {
            Some(address) => match Server::start(address).await {
                Ok(server) => {
                    warn_of_readers(&server);
                    Some(server)
                }
                // As with the history: one `watch` serves it, and the others trace.
                Err(error @ ServeError::InUse(_)) if options.is_configured => {
                    warn!("not serving metrics: {error}");
                    None
                }
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        let file = match &options.file {
            Some(file) => Some(Rewritten {
                writer: Arc::new(Writer {
                    file: MetricsFile::new(file)?,
                    failed: AtomicBool::new(false),
                }),
                due: Instant::now(),
                at_work: None,
            }),
            None => None,
        };
        Ok(Self {
            server,
            file,
            judged: Judged::default(),
        })
    }

    /// Where metrics can be had, a sentence each.
    pub fn describe(&self) -> Vec<String> {
        let server = self.server.iter();
        let file = self.file.iter();
        server
            .map(|server| format!("metrics at http://{}/metrics", server.address()))
            .chain(file.map(|it| format!("metrics in {}", it.writer.file.path().display())))
            .collect()
    }

    pub fn note(&mut self, output: &Output) {
        if self.server.is_some() || self.file.is_some() {
            self.judged.note(output);
        }
    }

    /// Waits until the metrics are requested, forever without an exporter. Dropping the future loses nothing.
    pub async fn wanted(&mut self) -> Wanted {
        let due = self.file.as_ref().map(|file| file.due);
        let scrape = async {
            match &mut self.server {
                Some(server) => server.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            scrape = scrape => Wanted::Scrape(scrape),
            () = sleep_until(due) => Wanted::File,
        }
    }

    pub fn give(&mut self, wanted: Wanted, vitals: &Vitals) {
        match wanted {
            Wanted::Scrape(scrape) => scrape.answer(exposition(&self.judged, vitals)),
            Wanted::File => self.rewrite_beside(vitals),
        }
    }

    /// On another thread: a disk may be slow, and events do not wait for it.
    fn rewrite_beside(&mut self, vitals: &Vitals) {
        let Some(file) = &mut self.file else {
            return;
        };
        file.due = Instant::now() + INTERVAL;
        if file.at_work.as_ref().is_some_and(|it| !it.is_finished()) {
            return;
        }
        let text = exposition(&self.judged, vitals);
        let writer = Arc::clone(&file.writer);
        let thread = thread::Builder::new().name("rsttrace-file".to_owned());
        match thread.spawn(move || writer.write(&text)) {
            Ok(at_work) => file.at_work = Some(at_work),
            Err(error) => file.writer.report(&Err(error)),
        }
    }

    /// Rewrites the file once more, if there is one: at the end.
    pub fn rewrite(&mut self, vitals: &Vitals) {
        let Some(file) = &mut self.file else {
            return;
        };
        if let Some(at_work) = file.at_work.take() {
            let _ = at_work.join();
        }
        file.writer.write(&exposition(&self.judged, vitals));
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let message = format!("--metrics-file: {error}");
        match error {
            FileError::NotPermitted(_) => Self::NotPermitted(message),
            _ => Self::Usage(message),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let message = format!("--metrics {error}");
        match error {
            ServeError::NotPermitted(_) => Self::NotPermitted(message),
            ServeError::NotOurs(_) => Self::Usage(message),
            ServeError::InUse(_) | ServeError::Failed { .. } => {
                Self::Failed(anyhow::anyhow!(message))
            }
        }
    }
}
