//! `rsttrace report`: reads a trace and writes its page.

use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;

use super::history;
use crate::capture;
use crate::cli::{Failure, ReportOptions};
use crate::event::HostFacts;
use crate::judge::{Judge, Sight};
use crate::pipeline::{Output, Pipeline};
use crate::recording;
use crate::report::source::{self, Kind};
use crate::report::{About, Gathering, Unread, page};
use crate::store::{Query, Store};
use crate::track::Tracker;

/// The name of standard input, and of standard output.
const STANDARD: &str = "-";
/// As a page that is made by `>`: what the user's umask leaves of it.
const MODE: u32 = 0o666;
/// Bytes that a source is told by.
const HEAD: usize = 64 << 10;

/// Makes the page.
pub fn report(options: &ReportOptions) -> Result<(), Failure> {
    let mut gathering = Gathering::default();
    let source = Source::read(options, |output| {
        if options.when.has(output.time()) {
            gathering.add(output);
        }
    })?;
    let about = About {
        source: source.name,
        generated: Timestamp::now(),
        lost: source.lost,
        unread: source.unread,
    };
    let resets = gathering.resets();
    if about.unread.count > 0 {
        let first = about.unread.first.first().map_or("", String::as_str);
        eprintln!(
            "rsttrace: {} places could not be read and are left out ({first})",
            about.unread.count
        );
    }
    let text = page(gathering, &about);
    write(&options.out, &text)?;
    if options.out != Path::new(STANDARD) {
        eprintln!("rsttrace: {resets} resets in {}", options.out.display());
    }
    Ok(())
}

/// What is known of a source once it has been read.
struct Source {
    name: String,
    lost: Option<u64>,
    unread: Unread,
}

impl Source {
    /// Hands what a file holds to `take`. Each kind of source has its arm here, and nothing else to say.
    fn read(options: &ReportOptions, mut take: impl FnMut(Output)) -> Result<Self, Failure> {
        let file = &options.file;
        let mut source = Self {
            name: if file == Path::new(STANDARD) {
                "standard input".to_owned()
            } else {
                file.display().to_string()
            },
            lost: None,
            unread: Unread::default(),
        };
        let mut input = open(file)?;
        let head = input
            .fill_buf()
            .with_context(|| format!("read {}", source.name))?;
        match source::sniff(head) {
            Some(Kind::Lines) => {
                source.unread = source::lines(input, take)
                    .map_err(|error| anyhow!("{}: {error}", source.name))?;
            }
            Some(Kind::Recording) => source.recording(input, &mut take)?,
            Some(Kind::Capture) => source.capture(input, options, &mut take)?,
            Some(Kind::Store) => {
                let store = Store::open_read(file).map_err(history::for_reader)?;
                let query = Query {
                    since: options.when.since,
                    until: options.when.until,
                    noise: true,
                    ..Query::default()
                };
                for stored in store.records(&query).map_err(history::for_reader)? {
                    take(stored.map_err(history::for_reader)?.output);
                }
            }
            None => {
                return Err(Failure::Usage(format!(
                    "{}: this is no trace; give a history, a recording, a packet capture, or a file that `rsttrace watch -o json` wrote",
                    source.name
                )));
            }
        }
        Ok(source)
    }

    fn recording(
        &mut self,
        input: Box<dyn BufRead + Send>,
        take: &mut dyn FnMut(Output),
    ) -> Result<(), Failure> {
        let failed = |error| anyhow!("{}: {error}", self.name);
        let mut reader = recording::Reader::new(input).map_err(failed)?;
        let mut judge = Judge::new(reader.head().premises.clone(), Sight::Host);
        let mut outputs = Vec::new();
        loop {
            match reader.input() {
                Ok(Some(input)) => judge.take(input, &mut outputs),
                Ok(None) => break,
                Err(error) => {
                    self.unread.note(|| error.to_string());
                    break;
                }
            }
            outputs.drain(..).for_each(&mut *take);
        }
        self.lost = reader
            .end()
            .map(|end| end.kernel.iter().map(|total| total.lost).sum());
        Ok(())
    }

    fn capture(
        &mut self,
        input: Box<dyn BufRead + Send>,
        options: &ReportOptions,
        take: &mut dyn FnMut(Output),
    ) -> Result<(), Failure> {
        let mut reader = capture::Reader::new(input).map_err(|error| anyhow!("{error}"))?;
        let name = self.name.as_str().into();
        let mut tracker = Tracker::new([]);
        let mut pipeline = Pipeline::with_hops(HostFacts::of_capture(&name), options.hops.clone());
        let (mut resets, mut outputs) = (Vec::new(), Vec::new());
        while let Some(segment) = reader.next().map_err(|error| anyhow!("{error}"))? {
            tracker.see(&segment, &mut resets);
            for reset in resets.drain(..) {
                pipeline.captured(&reset, &name, &mut outputs);
            }
            outputs.drain(..).for_each(&mut *take);
        }
        tracker.finish(&mut resets);
        for reset in &resets {
            pipeline.captured(reset, &name, &mut outputs);
        }
        pipeline.finish(&mut outputs);
        outputs.drain(..).for_each(take);
        if let Some(early) = reader.ended_early() {
            self.unread.note(|| early.to_owned());
        }
        Ok(())
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if file == Path::new(STANDARD) {
        return Ok(Box::new(BufReader::with_capacity(HEAD, io::stdin())));
    }
    let opened = File::open(file).map_err(|error| {
        Failure::Usage(format!(
            "{}: {error}; name a file that can be read, or `-`",
            file.display()
        ))
    })?;
    Ok(Box::new(BufReader::with_capacity(HEAD, opened)))
}

/// Writes the page as a whole: a reader sees the old one or the new one.
fn write(out: &Path, text: &str) -> Result<(), Failure> {
    if out == Path::new(STANDARD) {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        return Ok(());
    }
    let unwritable = |error: io::Error| {
        Failure::Usage(format!(
            "{}: {error}; name a page that can be written with --out",
            out.display()
        ))
    };
    // A pipe or a device stays what it is.
    if out.metadata().is_ok_and(|it| !it.is_file()) {
        return std::fs::write(out, text).map_err(unwritable);
    }
    let folder = match out.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut draft = tempfile::Builder::new()
        .prefix(".rsttrace-")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(folder)
        .map_err(|error| {
            // What the draft is called is nobody's concern.
            unwritable(
                error
                    .raw_os_error()
                    .map_or(error, io::Error::from_raw_os_error),
            )
        })?;
    draft.write_all(text.as_bytes()).map_err(unwritable)?;
    draft
        .persist(out)
        .map_err(|error| unwritable(error.error))?;
    Ok(())
}
