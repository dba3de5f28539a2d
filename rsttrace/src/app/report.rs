//! `rsttrace report`: reads a trace and writes its page.

use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;

use crate::cli::{Failure, ReportOptions};
use crate::report::source::{self, Kind};
use crate::report::{About, Gathering, Unread, page};

/// The name of standard input, and of standard output.
const STANDARD: &str = "-";
/// As a page that is made by `>`: what the user's umask leaves of it.
const MODE: u32 = 0o666;
/// Bytes that a source is told by.
const HEAD: usize = 64 << 10;

/// Makes the page.
pub fn report(options: &ReportOptions) -> Result<(), Failure> {
    let mut gathering = Gathering::default();
    let source = Source::read(&options.file, &mut gathering)?;
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
            "rsttrace: {} lines are no records and left out ({first})",
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
    /// Hands what `file` holds to the gathering. Each kind of source has its arm here, and nothing else to say.
    fn read(file: &Path, gathering: &mut Gathering) -> Result<Self, Failure> {
        let name = if file == Path::new(STANDARD) {
            "standard input".to_owned()
        } else {
            file.display().to_string()
        };
        let mut input = open(file)?;
        let head = input.fill_buf().with_context(|| format!("read {name}"))?;
        match source::sniff(head) {
            Some(Kind::Lines) => {
                let unread = source::lines(input, |output| gathering.add(output))
                    .map_err(|error| anyhow!("{name}: {error}"))?;
                Ok(Self {
                    name,
                    lost: None,
                    unread,
                })
            }
            Some(kind @ (Kind::Recording | Kind::Capture | Kind::Store)) => {
                Err(Failure::Usage(format!(
                    "{name}: {}; give a file that `rsttrace watch -o json` wrote",
                    match kind {
                        Kind::Recording => "a report of recorded events is not made yet",
                        Kind::Capture => "a report of a packet capture is not made yet",
                        _ => "a report of a store is not made yet",
                    }
                )))
            }
            None => Err(Failure::Usage(format!(
                "{name}: this is no trace; give a file that `rsttrace watch -o json` wrote"
            ))),
        }
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
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
