//! Analysis of each network namespace as a separate host.
//!
//! The namespaces of the lab share one kernel, whose tracepoints see both ends of every reset. An engine that gets the events of
//! one namespace only shows what can be explained at one end.

use std::collections::BTreeMap;
use std::io;

use crate::decode::Decoder;
use crate::engine::{Config, Engine, Input};
use crate::event::{NetnsCookie, ProgramTimers};
use crate::record::Output;
use crate::recording::{Reader, RecordingError, Replayed};

/// One engine for each namespace.
struct Namespaces {
    decoder: Decoder,
    premises: Config,
    /// In an order that is the same in every run.
    engines: BTreeMap<NetnsCookie, Engine>,
    /// Timers of processes, which may be read before the first event of a namespace.
    timers: Vec<ProgramTimers>,
}

impl Namespaces {
    fn push(&mut self, input: Input<'_>, out: &mut Vec<Output>) {
        if let Input::Event { bytes, facts, .. } = &input
            && let Ok(event) = self.decoder.decode(bytes)
        {
            let engine = self.engines.entry(event.netns);
            let engine = engine.or_insert_with(|| {
                let mut engine = Engine::new(self.premises.clone());
                for timers in &self.timers {
                    engine.push(Input::Timers(timers.clone()));
                }
                engine
            });
            engine.push(Input::Event {
                bytes,
                decoded: Some(event),
                facts: facts.clone(),
            });
            out.extend(std::iter::from_fn(|| engine.poll_output()));
            return;
        }
        if let Input::Timers(timers) = &input {
            self.timers.push(timers.clone());
        }
        for engine in self.engines.values_mut() {
            engine.push(input.clone());
            out.extend(std::iter::from_fn(|| engine.poll_output()));
        }
    }
}

/// Judges a recording like [`replay`](crate::recording::replay), but each network namespace separately. Counts of suppressed resets
/// are omitted: they belong to the host.
pub fn replay_each_namespace(from: impl io::Read) -> Result<Replayed, RecordingError> {
    let mut reader = Reader::new(from)?;
    let head = reader.head().clone();
    let mut namespaces = Namespaces {
        decoder: Decoder::new(head.premises.kernel.clone()),
        premises: Config {
            floods: false,
            ..head.premises.clone()
        },
        engines: BTreeMap::new(),
        timers: Vec::new(),
    };
    let mut outputs = Vec::new();
    let end = loop {
        match reader.input() {
            Ok(Some(input)) => namespaces.push(input, &mut outputs),
            Ok(None) => break Ok(reader.end().cloned().unwrap_or_default()),
            Err(error) => break Err(error),
        }
    };
    Ok(Replayed { head, outputs, end })
}
