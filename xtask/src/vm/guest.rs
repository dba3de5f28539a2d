//! Boots, watches and ends a guest.
//!
//! Host and guest share one folder: scripts go in, and for each step come back STEP.out, STEP.err and STEP.code. The guest's
//! console is the file `console` there.

use std::{
    fmt::{self, Display, Formatter},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    initramfs,
    kernel::Kernel,
    step::{Kind, Step, quoted},
};
use crate::workspace;

pub struct Machine<'a> {
    pub kernel: &'a Kernel,
    /// Of the folder of its results.
    pub name: &'a str,
    /// Appended to the kernel command line.
    pub append: &'a str,
    /// The rsttrace in its path.
    pub program: &'a Path,
}

pub struct Run {
    /// Until the first step began.
    pub boot: Duration,
    pub steps: Vec<StepResult>,
    /// The folder shared with the guest.
    pub folder: PathBuf,
}

pub struct StepResult {
    pub ended: Ended,
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(u8),
    /// The guest was killed.
    TimedOut,
    /// The guest stopped before or during the step.
    Lost,
}

impl Display for Ended {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Lost => f.write_str("the guest stopped"),
        }
    }
}

/// About ten times what it takes.
const BOOT_LIMIT: Duration = Duration::from_secs(150);
/// A step that takes too long is ended in the guest; if that fails, the guest is killed after this.
const GRACE: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// Lines of the console to show for a guest that failed.
const LAST_LINES: usize = 25;

impl Machine<'_> {
    /// Boots it and runs the steps one after the other. A step that fails is a result; a guest that does not boot is an error.
    pub fn run(&self, steps: &[Step]) -> Result<Run> {
        let folder = self.share(steps)?;
        let mut guest = Guest {
            qemu: self.start(&folder)?,
            folder,
        };
        let begin = Instant::now();
        let mut boot = None;
        let mut results = Vec::new();
        for step in steps {
            if boot.is_none() {
                if !guest.wait_for(step, BOOT_LIMIT) {
                    bail!(
                        "the guest did not boot. End of its console:\n{}",
                        guest.console()
                    );
                }
                boot = Some(begin.elapsed());
            }
            let result = guest.follow(step)?;
            let (ended, took) = (result.ended, result.took.as_secs_f64());
            results.push(result);
            eprintln!("{}: {}: {ended} after {took:.1} s", self.name, step.name);
            if !matches!(ended, Ended::Exited(_)) {
                eprintln!("End of the guest's console:\n{}", guest.console());
                break;
            }
        }
        // The guest stopped before them.
        results.resize_with(steps.len(), || StepResult {
            ended: Ended::Lost,
            took: Duration::ZERO,
        });
        let end = Instant::now();
        while !guest.is_over() && end.elapsed() < END_LIMIT {
            thread::sleep(POLL);
        }
        Ok(Run {
            boot: boot.unwrap_or_default(),
            steps: results,
            folder: guest.folder.clone(),
        })
    }

    /// Creates the shared folder, with the steps and the settings of guest/run.sh.
    fn share(&self, steps: &[Step]) -> Result<PathBuf> {
        let folder = workspace::target().join("vm/results").join(self.name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text)
                .with_context(|| format!("write {name} for the guest"))
        };
        let limits: Duration = steps.iter().map(|step| step.limit + GRACE).sum();
        let lifetime = (BOOT_LIMIT + limits + END_LIMIT).as_secs().to_string();
        let settings = [
            ("release", self.kernel.release.as_str()),
            ("workspace", &workspace::root().to_string_lossy()),
            ("modules", &self.kernel.modules().to_string_lossy()),
            ("lifetime", &lifetime),
        ]
        .map(|(name, value)| format!("{name}={}\n", quoted(value)));
        write("settings", &settings.concat())?;
        let initramfs = folder.join("initramfs.cpio");
        initramfs::make(&self.kernel.folder, &self.kernel.release, &initramfs)?;
        write("run.sh", include_str!("guest/run.sh"))?;
        let mut order = String::new();
        for step in steps {
            write(&format!("{}.step", step.name), &step.script)?;
            order += &format!("{} {}\n", step.name, step.limit.as_secs());
        }
        write("steps", &order)?;
        fs::copy(self.program, folder.join("rsttrace"))
            .with_context(|| format!("copy {} for the guest", self.program.display()))?;
        Ok(folder)
    }

    fn start(&self, folder: &Path) -> Result<Child> {
        // It ends with this process, however that ends.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-accel", "tcg", "-cpu", "max", "-machine", "q35"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-smp", "2", "-m", "2048"])
            .arg("-kernel")
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(folder.join("initramfs.cpio"))
            // Otherwise an old kernel waits for entropy when a program asks for random numbers.
            .args(["-append", &format!("console=ttyS0 quiet panic=-1 random.trust_cpu=on {}", self.append)])
            .arg("-serial")
            .arg(file_option("file:", &folder.join("console"), ""))
            .arg("-virtfs")
            .arg("local,path=/,mount_tag=host,security_model=passthrough,readonly=on,multidevs=remap")
            .arg("-virtfs")
            .arg(file_option("local,path=", folder, ",mount_tag=exchange,security_model=none"));
        let errors = folder.join("qemu");
        let errors =
            File::create(&errors).with_context(|| format!("create {}", errors.display()))?;
        eprintln!("{}: booting; {}", self.name, folder.display());
        qemu.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("start qemu with setpriv (package util-linux)")
    }
}

/// qemu wants commas in file names doubled.
fn file_option(before: &str, file: &Path, after: &str) -> String {
    let file = file.to_string_lossy().replace(',', ",,");
    format!("{before}{file}{after}")
}

/// A running qemu, killed when dropped.
struct Guest {
    qemu: Child,
    folder: PathBuf,
}

impl Guest {
    fn is_over(&mut self) -> bool {
        !matches!(self.qemu.try_wait(), Ok(None))
    }

    fn file(&self, step: &Step, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", step.name))
    }

    fn has_begun(&self, step: &Step) -> bool {
        self.file(step, "started").exists()
    }

    /// Whether the step begins within the limit.
    fn wait_for(&mut self, step: &Step, limit: Duration) -> bool {
        let begin = Instant::now();
        while !self.has_begun(step) {
            if self.is_over() || begin.elapsed() > limit {
                return self.has_begun(step);
            }
            thread::sleep(POLL);
        }
        true
    }

    fn follow(&mut self, step: &Step) -> Result<StepResult> {
        let begin = Instant::now();
        let mut tails = ["out", "err"].map(|extension| Tail {
            path: self.file(step, extension),
            file: None,
        });
        let mut show = || -> Result<()> {
            if step.kind == Kind::Command {
                let [out, err] = &mut tails;
                out.copy_to(io::stdout())?;
                err.copy_to(io::stderr())?;
            }
            Ok(())
        };
        let ended = loop {
            // In this order: the guest may end right after the step.
            let over = self.is_over();
            let code = fs::read_to_string(self.file(step, "code")).ok();
            show()?;
            if let Some(code) = code.and_then(|code| code.trim().parse().ok()) {
                break Ended::Exited(code);
            }
            if over {
                break Ended::Lost;
            }
            if begin.elapsed() > step.limit + GRACE {
                break Ended::TimedOut;
            }
            thread::sleep(POLL);
        };
        Ok(StepResult {
            ended,
            took: begin.elapsed(),
        })
    }

    /// The end of the console, and the errors of qemu.
    fn console(&self) -> String {
        let text = |name: &str| {
            let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\r', "")
        };
        let console = text("console");
        let lines: Vec<_> = console.lines().collect();
        let last = lines.len().saturating_sub(LAST_LINES);
        let shown = format!("{}\n{}", lines[last..].join("\n"), text("qemu"));
        shown.trim().to_owned()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// A file that grows, and may not exist yet.
struct Tail {
    path: PathBuf,
    file: Option<File>,
}

impl Tail {
    /// Copies what was added since the last time.
    fn copy_to(&mut self, mut to: impl Write) -> Result<()> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            io::copy(file, &mut to)
                .and_then(|_| to.flush())
                .context("show the output of the command")?;
        }
        Ok(())
    }
}
