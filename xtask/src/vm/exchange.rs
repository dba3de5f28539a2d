//! The files by which host and guest communicate.
//!
//! They share one folder: scripts go in, and for each step come back STEP.out, STEP.err and STEP.code. The guest's
//! console is the file `console` there.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::step::Step;
use crate::workspace;

/// Makes the folder of this name anew: with these steps, settings for the guest's own script, and the rsttrace that is in its path.
pub fn folder(name: &str, steps: &[Step], settings: &str, program: &Path) -> Result<PathBuf> {
    let folder = results(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).with_context(|| format!("write {name} for the guest"))
    };
    write("run.sh", include_str!("guest/run.sh"))?;
    write("settings", settings)?;
    let mut order = String::new();
    for step in steps {
        write(&format!("{}.step", step.name), &step.script)?;
        order += &format!("{} {}\n", step.name, step.limit.as_secs());
    }
    write("steps", &order)?;
    fs::copy(program, folder.join("rsttrace"))
        .with_context(|| format!("copy {} for the guest", program.display()))?;
    Ok(folder)
}

/// Below target, wherever the cache is.
pub fn results(name: &str) -> PathBuf {
    workspace::target().join("vm/results").join(name)
}

/// Of the console, when a guest had to be ended.
const LAST_LINES: usize = 25;

/// The files of a step.
pub struct Progress {
    stem: PathBuf,
}

impl Progress {
    /// Whether they are there or not.
    pub fn of(step: &Step, folder: &Path) -> Self {
        Self {
            stem: folder.join(&step.name),
        }
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.stem.with_extension(extension)
    }

    /// Whether the guest has come to it.
    pub fn has_begun(&self) -> bool {
        self.file("started").exists()
    }

    /// Its exit code; absent until it ends.
    pub fn code(&self) -> Option<u8> {
        let code = fs::read_to_string(self.file("code")).ok()?;
        code.trim().parse().ok()
    }

    /// Its output and its errors, from the beginning.
    pub fn tails(&self) -> (Tail, Tail) {
        let tail = |extension| Tail {
            file: self.file(extension),
            read: 0,
        };
        (tail("out"), tail("err"))
    }
}

/// A file that grows.
pub struct Tail {
    file: PathBuf,
    read: u64,
}

impl Tail {
    /// Writes what has come since the last time.
    pub fn pass_on(&mut self, mut to: impl Write) -> Result<()> {
        let Ok(mut file) = File::open(&self.file) else {
            return Ok(());
        };
        let mut news = Vec::new();
        file.seek(SeekFrom::Start(self.read))?;
        file.read_to_end(&mut news)
            .with_context(|| format!("read {}", self.file.display()))?;
        self.read += news.len() as u64;
        to.write_all(&news)
            .and_then(|()| to.flush())
            .context("show what the command prints")
    }
}

/// The end of the console, and qemu's own complaints.
pub fn last_words(folder: &Path) -> String {
    let text = |name: &str| {
        let bytes = fs::read(folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    };
    let console = text("console");
    let lines: Vec<_> = console.lines().collect();
    let last = lines.len().saturating_sub(LAST_LINES);
    format!("{}\n{}", lines[last..].join("\n"), text("qemu"))
        .trim()
        .to_owned()
}
