//! Boots, watches and ends a guest, and fetches its results.

use std::{
    fmt::{self, Display, Formatter},
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    exchange::{self, Progress, last_words},
    kernel::Kernel,
    step::{Kind, Step, quoted},
};
use crate::workspace;

/// A guest to be.
pub struct Machine<'a> {
    /// What it boots.
    pub kernel: &'a Kernel,
    /// Of the folder of its results.
    pub name: &'a str,
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
    /// It took too long, and the guest was ended with it.
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

/// Some ten times what it takes.
const BOOT_LIMIT: Duration = Duration::from_secs(150);
/// A step that takes too long is ended in the guest; if that fails, the guest is.
const GRACE: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

impl Machine<'_> {
    /// Boots it and runs the steps one after the other. A step that fails is a result; a guest that does not come up
    /// is an error.
    pub fn run(&self, steps: &[Step]) -> Result<Run> {
        let folder = exchange::folder(self.name, steps, &self.settings(steps), self.program)?;
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
            eprintln!("{}: {}: {ended} after {took:.1} s", self.name, step.name);
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

    fn settings(&self, steps: &[Step]) -> String {
        let limits: Duration = steps.iter().map(|step| step.limit + GRACE).sum();
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
        // It ends with this process, however that ends.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-accel", "tcg", "-cpu", "max", "-machine", "q35"])
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
        eprintln!("{}: booting; {}", self.name, folder.display());
        qemu.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("start setpriv of util-linux, and by it qemu")
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
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
