//! Analysis of each network namespace as a separate host.
//!
//! The namespaces of the lab share one kernel, whose tracepoints see both ends of every reset. A judge that gets the events of one
//! namespace only shows what can be explained at one end.

use std::collections::BTreeMap;
use std::io;

use crate::decode::Decoder;
use crate::event::NetnsCookie;
use crate::judge::{Input, Judge, Premises};
use crate::record::Output;
use crate::recording::{Reader, RecordingError, Replayed};

/// One judge for each namespace.
struct Namespaces {
    decoder: Decoder,
    premises: Premises,
    /// In an order that is the same in every run.
    judges: BTreeMap<NetnsCookie, Judge>,
}

impl Namespaces {
    fn take(&mut self, input: Input<'_>, out: &mut Vec<Output>) {
        if let Input::Event { bytes, facts } = &input
            && let Ok(event) = self.decoder.decode(bytes)
        {
            let judge = self.judges.entry(event.netns);
            let judge = judge.or_insert_with(|| Judge::new(self.premises.clone()));
            judge.event(bytes, event, facts.clone(), out);
            return;
        }
        for judge in self.judges.values_mut() {
            judge.take(input.clone(), out);
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
        premises: Premises {
            floods: false,
            ..head.premises.clone()
        },
        judges: BTreeMap::new(),
    };
    let mut outputs = Vec::new();
    let end = loop {
        match reader.input() {
            Ok(Some(input)) => namespaces.take(input, &mut outputs),
            Ok(None) => break Ok(reader.end().cloned().unwrap_or_default()),
            Err(error) => break Err(error),
        }
    };
    Ok(Replayed { head, outputs, end })
}
