//! How is a guest booted, watched and ended, and how do its results come back?
//!
//! Everything goes through one folder that host and guest share: scripts go in, and for each step come back STEP.out,
//! STEP.err and STEP.code. Its console is the file `console` there.

use std::{
    fmt::{self, Display, Formatter},
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    kernel::Kernel,
    step::{Kind, Step, quoted},
};
use crate::workspace;

/// A guest to be.
pub struct Machine<'a> {
    /// What it boots.
    pub kernel: &'a Kernel,
    /// In MiB.
    pub memory: u32,
    /// How many.
    pub cpus: u32,
    /// Further words for the kernel's command line.
    pub append: &'a str,
    /// The rsttrace that it has in its path.
    pub program: &'a Path,
}

/// What came of it.
pub struct Run {
    /// Until the first step began.
    pub boot: Duration,
    /// One for each step.
    pub steps: Vec<StepResult>,
    /// Where they left their output.
    pub folder: PathBuf,
}

/// What came of a step.
pub struct StepResult {
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub took: Duration,
}

/// The end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(u8),
    /// It took too long, and the guest was ended.
    TimedOut,
    /// The guest ended before the step did.
    Lost,
    /// The guest ended before the step began.
    NotBegun,
}

impl Display for Ended {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::TimedOut => f.write_str("took too long"),
            Self::Lost => f.write_str("the guest ended in the midst of it"),
            Self::NotBegun => f.write_str("the guest ended before it"),
        }
    }
}

/// Below target, wherever the cache is.
fn results(release: &str) -> PathBuf {
    workspace::target().join("vm/results").join(release)
}

/// Some ten times what it takes.
const BOOT_LIMIT: Duration = Duration::from_secs(150);
const END_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// Of the console, when a guest had to be ended.
const LAST_LINES: usize = 25;

impl Machine<'_> {
    /// Boots it and runs the steps one after the other. A step that fails is a result; a guest that does not come up
    /// is an error.
    pub fn run(&self, steps: &[Step]) -> Result<Run> {
        let folder = self.exchange(steps)?;
        let mut guest = Guest {
            qemu: self.start(&folder)?,
        };
        let begin = Instant::now();
        let mut boot = None;
        let mut results = Vec::new();
        for step in steps {
            let state = Progress::of(step, &folder);
            if boot.is_none() {
                if !guest.wait_for(BOOT_LIMIT, || state.has_begun()) {
                    bail!(
                        "the guest did not come up; its last words:\n{}",
                        last_words(&folder)
                    );
                }
                boot = Some(begin.elapsed());
            }
            let result = guest.follow(step, &state)?;
            let (ended, took) = (result.ended, result.took.as_secs_f64());
            results.push(result);
            eprintln!(
                "{}: {}: {ended} after {took:.1} s",
                self.kernel.release, step.name
            );
            if !matches!(ended, Ended::Exited(_)) {
                eprintln!("The last words of the guest:\n{}", last_words(&folder));
                break;
            }
        }
        results.resize_with(steps.len(), || StepResult {
            ended: Ended::NotBegun,
            took: Duration::ZERO,
        });
        guest.wait_for(END_LIMIT, || false);
        Ok(Run {
            boot: boot.unwrap_or_default(),
            steps: results,
            folder,
        })
    }

    /// Makes the shared folder anew.
    fn exchange(&self, steps: &[Step]) -> Result<PathBuf> {
        let folder = results(&self.kernel.release);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text)
                .with_context(|| format!("write {name} for the guest"))
        };
        write("run.sh", include_str!("guest/run.sh"))?;
        write("run-demo.sh", include_str!("guest/run-demo.sh"))?;
        write("settings", &self.settings(steps))?;
        let mut order = String::new();
        for step in steps {
            write(&format!("{}.step", step.name), &step.script)?;
            order.push_str(&step.name);
            order.push('\n');
        }
        write("steps", &order)?;
        fs::copy(self.program, folder.join("rsttrace"))
            .with_context(|| format!("copy {} for the guest", self.program.display()))?;
        Ok(folder)
    }

    fn settings(&self, steps: &[Step]) -> String {
        let limits: Duration = steps.iter().map(|step| step.limit).sum();
        let lifetime = (BOOT_LIMIT + limits + END_LIMIT).as_secs().to_string();
        [
            ("release", self.kernel.release.as_str()),
            ("workspace", &workspace::root().to_string_lossy()),
            ("modules", &self.kernel.modules().to_string_lossy()),
            ("lifetime", &lifetime),
        ]
        .map(|(name, value)| format!("{name}={}\n", quoted(value)))
        .concat()
    }

    fn start(&self, folder: &Path) -> Result<Child> {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-cpu", "max", "-machine", "q35"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-smp", &self.cpus.to_string()])
            .args(["-m", &self.memory.to_string()])
            .arg("-kernel")
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(self.kernel.initramfs())
            // Else an old kernel waits for entropy when a program asks for random numbers.
            .args(["-append", &format!("console=ttyS0 quiet panic=-1 random.trust_cpu=on {}", self.append)])
            .arg("-serial")
            .arg(file_option("file:", &folder.join("console"), ""))
            .arg("-virtfs")
            .arg("local,path=/,mount_tag=host,security_model=passthrough,readonly=on,multidevs=remap")
            .arg("-virtfs")
            .arg(file_option("local,path=", folder, ",mount_tag=exchange,security_model=none"));
        let errors = folder.join("qemu");
        let errors = File::create(&errors).with_context(|| format!("make {}", errors.display()))?;
        eprintln!("{}: booting; {}", self.kernel.release, folder.display());
        qemu.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("start qemu-system-x86_64: `apt-get install qemu-system-x86` brings it")
    }
}

/// A comma in a file's name is doubled for qemu.
fn file_option(before: &str, file: &Path, after: &str) -> String {
    let file = file.to_string_lossy().replace(',', ",,");
    format!("{before}{file}{after}")
}

/// A running qemu, ended when dropped.
struct Guest {
    qemu: Child,
}

impl Guest {
    /// Whether it came to be `so` within the limit, with the guest running.
    fn wait_for(&mut self, limit: Duration, so: impl Fn() -> bool) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            let over = self.is_over();
            if so() {
                return true;
            }
            if over {
                return false;
            }
            thread::sleep(POLL);
        }
        false
    }

    fn is_over(&mut self) -> bool {
        !matches!(self.qemu.try_wait(), Ok(None))
    }

    fn follow(&mut self, step: &Step, state: &Progress) -> Result<StepResult> {
        let begin = Instant::now();
        let mut shown = (step.kind == Kind::Command).then(|| state.tails());
        let mut show = || -> Result<()> {
            if let Some((out, err)) = &mut shown {
                out.pass_on(std::io::stdout())?;
                err.pass_on(std::io::stderr())?;
            }
            Ok(())
        };
        let ended = loop {
            // In this order: the guest may end right after the step.
            let over = self.is_over();
            show()?;
            if let Some(code) = state.code() {
                show()?;
                break Ended::Exited(code);
            }
            if over {
                break if state.has_begun() {
                    Ended::Lost
                } else {
                    Ended::NotBegun
                };
            }
            if begin.elapsed() > step.limit {
                break Ended::TimedOut;
            }
            thread::sleep(POLL);
        };
        Ok(StepResult {
            ended,
            took: begin.elapsed(),
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The files of a step.
struct Progress {
    stem: PathBuf,
}

impl Progress {
    fn of(step: &Step, folder: &Path) -> Self {
        Self {
            stem: folder.join(&step.name),
        }
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.stem.with_extension(extension)
    }

    fn has_begun(&self) -> bool {
        self.file("started").exists()
    }

    fn code(&self) -> Option<u8> {
        let code = fs::read_to_string(self.file("code")).ok()?;
        code.trim().parse().ok()
    }

    fn tails(&self) -> (Tail, Tail) {
        let tail = |extension| Tail {
            file: self.file(extension),
            read: 0,
        };
        (tail("out"), tail("err"))
    }
}

/// A file that grows.
struct Tail {
    file: PathBuf,
    read: u64,
}

impl Tail {
    fn pass_on(&mut self, mut to: impl Write) -> Result<()> {
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
fn last_words(folder: &Path) -> String {
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
