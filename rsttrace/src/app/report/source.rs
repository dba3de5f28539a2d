//! Input of `rsttrace report`: any supported file, and what of it could not be read.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};

use super::STANDARD;
use crate::app::history;
use crate::app::own_sockets::OwnSockets;
use crate::capture::{self, CaptureError};
use crate::cli::{Failure, ReportOptions};
use crate::engine::{self, Config, Engine};
use crate::file_kind::{self, Kind};
use crate::flow::Tracker;
use crate::record::Output;
use crate::recording::{self, RecordingError};
use crate::report::Unread;
use crate::report::source;
use crate::store::{Query, Store, StoreError};
use crate::words::things;

/// The number of bytes that identify the format of a source.
const HEAD: usize = 64 << 10;

type Input = Box<dyn BufRead + Send>;

/// A source, and what is known of it once it has been read.
pub(super) struct Source<'a> {
    pub name: String,
    /// Which file it is; absent if that is not known.
    pub metadata: Option<Metadata>,
    pub lost: Option<u64>,
    pub unread: Unread,
    options: &'a ReportOptions,
    input: Option<Input>,
}

impl<'a> Source<'a> {
    /// Opens it, or says what to give instead.
    pub fn open(options: &'a ReportOptions) -> Result<Self, Failure> {
        let file = &options.file;
        let standard = file == Path::new(STANDARD);
        let (input, metadata): (Input, _) = if standard {
            let stdin = io::stdin();
            let metadata = stdin.as_fd().try_clone_to_owned().map(File::from);
            let metadata = metadata.and_then(|it| it.metadata()).ok();
            (Box::new(BufReader::with_capacity(HEAD, stdin)), metadata)
        } else {
            let opened =
                crate::sys::Input::open(file).map_err(|error| unreadable(options, &error))?;
            let metadata = opened.metadata().ok();
            if metadata.as_ref().is_some_and(Metadata::is_dir) {
                return Err(Failure::Usage(format!(
                    "{}: is a directory; use a file in it",
                    file.display()
                )));
            }
            (Box::new(BufReader::with_capacity(HEAD, opened)), metadata)
        };
        Ok(Self {
            name: if standard {
                "standard input".to_owned()
            } else {
                file.display().to_string()
            },
            metadata,
            lost: None,
            unread: Unread::default(),
            options,
            input: Some(input),
        })
    }

    /// Hands what it holds to `take`. Each kind of source has its arm here, and nothing else to say.
    pub fn read(&mut self, mut take: impl FnMut(Output)) -> Result<(), Failure> {
        let Some(mut input) = self.input.take() else {
            return Ok(());
        };
        let head = input
            .fill_buf()
            .with_context(|| format!("cannot read {}", self.name))?;
        let packed = file_kind::is_packed(head);
        let kind = file_kind::sniff(head);
        if !self.options.local.is_empty() && kind.is_some_and(|kind| kind != Kind::Capture) {
            return Err(Failure::Usage(format!(
                "{}: --local applies to packet captures only; remove it",
                self.name
            )));
        }
        match kind {
            Some(Kind::Lines) => {
                self.unread = source::lines(input, take)
                    .map_err(|error| anyhow!("{}: {error}", self.name))?;
                Ok(())
            }
            Some(Kind::Recording) => self.recording(input, &mut take),
            Some(Kind::Capture) => match self.capture(input, &mut take) {
                Err(CaptureError::NotACapture { .. }) if packed => Err(Failure::Usage(format!(
                    "{}: compressed file without a packet capture; decompress it first",
                    self.name
                ))),
                // In files that were opened here they have no name.
                read => read.map_err(|error| anyhow!("{}: {error}", self.name).into()),
            },
            Some(Kind::Store) => self.store(&mut take),
            None => Err(Failure::Usage(format!(
                "{}: unknown format; use a history, a recording, a packet capture, or the output of `rsttrace watch -o json`",
                self.name
            ))),
        }
    }

    fn store(&self, take: &mut dyn FnMut(Output)) -> Result<(), Failure> {
        let options = self.options;
        if options.file == Path::new(STANDARD) {
            return Err(Failure::Usage(
                "standard input: a history cannot be read from a pipe; use its path: `rsttrace report FILE`"
                    .to_owned(),
            ));
        }
        let store = Store::open_read(&options.file).map_err(history::for_reader)?;
        let query = Query {
            since: options.when.since,
            until: options.when.until,
            noise: true,
            ..Query::default()
        };
        for stored in store.records(&query).map_err(history::for_reader)? {
            take(stored.map_err(history::for_reader)?.output);
        }
        Ok(())
    }

    fn recording(&mut self, input: Input, take: &mut dyn FnMut(Output)) -> Result<(), Failure> {
        let failed = |error| anyhow!("{}: {error}", self.name);
        let mut reader = recording::Reader::new(input).map_err(failed)?;
        let mut engine = Engine::new(reader.head().premises.clone());
        let mut own = OwnSockets::default();
        loop {
            match reader.input() {
                Ok(Some(input)) => engine.push(input),
                Ok(None) => break,
                Err(error @ (RecordingError::Cut { .. } | RecordingError::Damaged { .. })) => {
                    self.unread.early = Some(error.to_string());
                    let open = engine.open() as u64;
                    self.unread.leave_out("incomplete resets, not shown", open);
                    break;
                }
                Err(error) => return Err(failed(error).into()),
            }
            while let Some(mut output) = engine.poll_output() {
                own.mark(&mut output);
                take(output);
            }
        }
        if let Some(end) = reader.end() {
            let lost = end.kernel.iter().map(|total| total.lost);
            self.lost = Some(lost.fold(0, u64::saturating_add));
            for (name, number) in &end.shortfalls {
                self.unread.leave_out(name.as_str(), *number);
            }
        }
        Ok(())
    }

    fn capture(&mut self, input: Input, take: &mut dyn FnMut(Output)) -> Result<(), CaptureError> {
        let mut reader = capture::Reader::new(input)?;
        let name = self.name.as_str().into();
        let mut tracker = Tracker::new(self.options.local.iter().copied());
        let hops = self.options.hops.clone();
        let mut engine = Engine::new(Config::of_capture(&name, hops));
        let mut resets = Vec::new();
        while let Some(segment) = reader.next()? {
            tracker.see(&segment, &mut resets);
            for reset in resets.drain(..) {
                engine.captured(reset, &name);
            }
            std::iter::from_fn(|| engine.poll_output()).for_each(&mut *take);
        }
        tracker.finish(&mut resets);
        for reset in resets {
            engine.captured(reset, &name);
        }
        engine.push(engine::Input::Finish);
        std::iter::from_fn(|| engine.poll_output()).for_each(take);
        self.unread.early = reader.ended_early().map(str::to_owned);
        if let Some(why) = reader.without_tcp() {
            log::warn!("{why}");
        }
        let read = reader.counts().shortfalls();
        for (name, number) in read.into_iter().chain(tracker.counts().shortfalls()) {
            self.unread.leave_out(name, number);
        }
        Ok(())
    }
}

/// In a sentence, for who made the page: what is not on it. `None`: nothing.
pub(super) fn missing(unread: &Unread) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(unread.early.clone());
    parts.extend(
        unread
            .left_out
            .iter()
            .map(|(name, number)| format!("{name}: {number}")),
    );
    if unread.lines > 0 {
        let lines = match unread.lines {
            1 => "1 line is not a record and is ignored".to_owned(),
            _ => format!(
                "{} are not records and are ignored",
                things(unread.lines, "line")
            ),
        };
        let first = unread.first.first().map_or("", String::as_str);
        parts.push(format!("{lines} ({first})"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn unreadable(options: &ReportOptions, error: &io::Error) -> Failure {
    let file = &options.file;
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            history::for_reader(StoreError::NotPermitted(file.clone()))
        }
        io::ErrorKind::NotFound if options.is_history => {
            history::for_reader(StoreError::Missing(file.clone()))
        }
        _ => Failure::Usage(format!(
            "{}: {error}; use a readable file, or `-` for standard input",
            file.display()
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn options(is_history: bool) -> ReportOptions {
        ReportOptions {
            file: "x.db".into(),
            is_history,
            out: "x.html".into(),
            local: Vec::new(),
            force: false,
            when: Default::default(),
            hops: Vec::new(),
        }
    }

    #[test]
    fn a_source_that_may_not_be_read_says_who_may() {
        let error = unreadable(&options(false), &io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.exit_code() as u8, 3);
        assert!(error.to_string().contains("run as root"), "{error}");
    }

    #[test]
    fn a_history_that_was_never_kept_says_how_to_keep_one() {
        let error = unreadable(&options(true), &io::ErrorKind::NotFound.into());
        assert!(
            error.to_string().contains("rsttrace watch --store"),
            "{error}"
        );
        let error = unreadable(&options(false), &io::ErrorKind::NotFound.into());
        assert_eq!(error.exit_code() as u8, 2);
    }

    #[test]
    fn missing_input_is_described_in_a_sentence() {
        let mut unread = Unread::default();
        assert_eq!(missing(&unread), None);
        unread.note(|| "line 3: not JSON".to_owned());
        assert_eq!(
            missing(&unread).unwrap(),
            "1 line is not a record and is ignored (line 3: not JSON)"
        );
        unread.note(String::new);
        unread.early = Some("it ends early".to_owned());
        assert_eq!(
            missing(&unread).unwrap(),
            "it ends early; 2 lines are not records and are ignored (line 3: not JSON)"
        );
    }
}
