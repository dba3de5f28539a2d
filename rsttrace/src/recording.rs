//! What came out of the kernel in one trace, kept to be judged again elsewhere.
//!
//! A line of JSON that says where it comes from ([`Head`]), then each event with its length before it (32 bits, little
//! endian). Events are in the wire format of the machine that wrote them. What the host knew about processes when they
//! arrived is not kept.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};

use rsttrace_common::WIRE_VERSION;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decode::{DecodeError, Decoder, KernelFacts};
use crate::event::{BootTime, Coverage, Facts, HostFacts, NetnsCookie};
use crate::pipeline::{Output, Pipeline};
use crate::record::Word;

/// Of what is written; others are not read.
const FORMAT: u16 = 1;
/// Larger than any event.
const MAX_EVENT: u32 = 64 << 10;

/// A trace that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Where it comes from.
    pub head: Head,
    /// Each as it was in the ring, in that order.
    pub events: Vec<Vec<u8>>,
}

/// What has to be known besides the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    format: u16,
    /// [`WIRE_VERSION`] of the events.
    pub wire: u16,
    /// `uname -r`.
    pub kernel: String,
    /// Jiffies a second.
    pub hz: u32,
    /// `enum sk_rst_reason`.
    pub reasons: Vec<(u32, String)>,
    /// When the hooks were attached: nanoseconds of `CLOCK_BOOTTIME`.
    pub started: u64,
    /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME` in nanoseconds.
    pub realtime_offset: i64,
    /// What the hooks could see.
    pub coverage: Coverage,
    /// Inode numbers of network namespaces by what events call them.
    pub namespaces: Vec<(u64, u32)>,
    /// How many events follow; set when they are written.
    events: u64,
}

/// Why bytes are no recording.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// They cannot be read, or end early.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The first line is not what it should be.
    #[error("not a recording: {0}")]
    Head(#[from] serde_json::Error),
    /// Another release wrote it.
    #[error("format {0}, this program reads {FORMAT}")]
    Format(u16),
    /// An event of a length that none has.
    #[error("an event of {0} bytes")]
    Length(u32),
    /// Something follows the last event.
    #[error("more bytes than events")]
    Surplus,
}

impl Head {
    /// Of a trace that begins.
    pub fn new(kernel: String, facts: &KernelFacts, host: &HostFacts) -> Self {
        Self {
            format: FORMAT,
            wire: WIRE_VERSION,
            kernel,
            hz: facts.hz,
            reasons: facts.reasons.clone(),
            started: host.started.0,
            realtime_offset: i64::try_from(host.realtime_offset_ns).unwrap_or_default(),
            coverage: host.coverage,
            namespaces: Vec::new(),
            events: 0,
        }
    }

    /// For decoding.
    pub fn kernel_facts(&self) -> KernelFacts {
        KernelFacts {
            hz: self.hz,
            reasons: self.reasons.clone(),
        }
    }

    /// For the pipeline. Which host it was is not kept.
    pub fn host_facts(&self) -> HostFacts {
        HostFacts {
            host: None,
            boot_id: Word::default(),
            realtime_offset_ns: self.realtime_offset.into(),
            started: BootTime(self.started),
            coverage: self.coverage,
            environment: None,
        }
    }

    /// Inode number of a namespace; absent if it was not known.
    pub fn inode(&self, netns: NetnsCookie) -> Option<u32> {
        let known = |(cookie, inode): &(u64, u32)| (*cookie == netns.0).then_some(*inode);
        self.namespaces.iter().find_map(known)
    }
}

impl Recording {
    /// Forgets events of other network namespaces than these, by inode number: tracepoints see the whole machine.
    pub fn retain(&mut self, namespaces: &[u32]) -> Result<(), DecodeError> {
        let Self { head, events } = self;
        let decoder = Decoder::new(head.kernel_facts());
        let mut kept = Vec::with_capacity(events.len());
        for bytes in events.drain(..) {
            let event = decoder.decode(&bytes)?;
            let inode = event.netns_inode.or_else(|| head.inode(event.netns));
            if inode.is_some_and(|inode| namespaces.contains(&inode)) {
                kept.push(bytes);
            }
        }
        *events = kept;
        head.namespaces
            .retain(|(_, inode)| namespaces.contains(inode));
        Ok(())
    }

    /// Writes it.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let head = Head {
            events: self.events.len() as u64,
            ..self.head.clone()
        };
        serde_json::to_writer(&mut *to, &head)?;
        to.write_all(b"\n")?;
        for event in &self.events {
            let length = u32::try_from(event.len()).map_err(io::Error::other)?;
            to.write_all(&length.to_le_bytes())?;
            to.write_all(event)?;
        }
        Ok(())
    }

    /// Judges it again, each network namespace by itself, as the demo does. Processes are named as far as events name them.
    pub fn judge(&self) -> Result<Vec<Output>, DecodeError> {
        let decoder = Decoder::new(self.head.kernel_facts());
        let mut pipelines: HashMap<NetnsCookie, Pipeline> = HashMap::new();
        let mut outputs = Vec::new();
        for bytes in &self.events {
            let event = decoder.decode(bytes)?;
            let facts = Facts {
                netns_inode: event.netns_inode.or_else(|| self.head.inode(event.netns)),
                ..Facts::default()
            };
            pipelines
                .entry(event.netns)
                .or_insert_with(|| Pipeline::new(self.head.host_facts()))
                .handle(event, facts, &mut outputs);
        }
        for pipeline in pipelines.values_mut() {
            pipeline.finish(&mut outputs);
        }
        Ok(outputs)
    }

    /// Reads it to its end. Memory is bounded by what there is to read.
    pub fn read(from: &mut impl BufRead) -> Result<Self, RecordingError> {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        #[derive(Deserialize)]
        struct Version {
            format: u16,
        }
        let Version { format } = serde_json::from_slice(&line)?;
        if format != FORMAT {
            return Err(RecordingError::Format(format));
        }
        let head: Head = serde_json::from_slice(&line)?;
        let mut events = Vec::new();
        for _ in 0..head.events {
            let mut length = [0; 4];
            from.read_exact(&mut length)?;
            let length = u32::from_le_bytes(length);
            if length > MAX_EVENT {
                return Err(RecordingError::Length(length));
            }
            let mut event = vec![0; length as usize];
            from.read_exact(&mut event)?;
            events.push(event);
        }
        if !from.fill_buf()?.is_empty() {
            return Err(RecordingError::Surplus);
        }
        Ok(Self { head, events })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn sample() -> Recording {
        let facts = KernelFacts {
            hz: 250,
            reasons: vec![(1, "NOT_SPECIFIED".to_owned())],
        };
        let host = HostFacts {
            host: None,
            boot_id: Word::default(),
            realtime_offset_ns: 1_700_000_000_000_000_000,
            started: BootTime(7),
            coverage: Coverage {
                sent: true,
                sent_stateless: false,
                received: true,
                packets: true,
                lifecycle: true,
            },
            environment: None,
        };
        let mut head = Head::new("6.12.1".to_owned(), &facts, &host);
        head.namespaces = vec![(3, 4_026_531_840)];
        head.events = 3;
        assert_eq!(head.kernel_facts(), facts);
        assert_eq!(head.host_facts(), host);
        assert_eq!(head.inode(NetnsCookie(3)), Some(4_026_531_840));
        assert_eq!(head.inode(NetnsCookie(4)), None);
        Recording {
            head,
            events: vec![vec![1, 2, 3], Vec::new(), b"\n{".to_vec()],
        }
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        sample().write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Recording::read(&mut &*written()).unwrap(), sample());
    }

    #[test]
    fn a_recording_that_is_cut_off_or_has_more_is_none() {
        let mut bytes = written();
        for end in 0..bytes.len() {
            assert!(Recording::read(&mut &bytes[..end]).is_err(), "{end}");
        }
        bytes.push(0);
        let error = Recording::read(&mut &*bytes).unwrap_err();
        assert!(matches!(error, RecordingError::Surplus), "{error}");
    }

    #[test]
    fn the_head_of_another_format_may_be_anything_else() {
        let error = Recording::read(&mut &br#"{"format":9}"#[..]).unwrap_err();
        assert!(matches!(error, RecordingError::Format(9)), "{error}");
    }

    #[test]
    fn a_length_that_no_event_has_allocates_nothing() {
        let mut bytes = written();
        let at = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = Recording::read(&mut &*bytes).unwrap_err();
        assert!(matches!(error, RecordingError::Length(u32::MAX)), "{error}");
    }
}
