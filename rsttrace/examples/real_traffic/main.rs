//! Plays scenes of real traffic while a tracer records, and compares the verdicts with the truth: each host alone, and all
//! hosts as one (`cargo xtask accuracy --real-traffic`).

mod judge;

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rsttrace::app::replay_each_namespace;
use rsttrace::demo::Namespace;
use rsttrace::demo::traffic::{Played, Scene, Stage, scenes};
use rsttrace::recording::replay;

/// Longer than classifiers on a new interface take.
const LIMIT: Duration = Duration::from_secs(30);

/// Play scenes of real traffic and judge how they are explained
#[derive(Parser)]
struct Args {
    /// Scenes to play; all if none is named
    names: Vec<String>,
    /// The program that traces
    #[arg(long, value_name = "PROGRAM", required_unless_present = "again")]
    rsttrace: Option<PathBuf>,
    /// Scenes that are played at the same time
    #[arg(long, value_name = "N", default_value_t = 6)]
    jobs: usize,
    /// Folder for the recording, the files of the programs and their logs
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// Judge what was recorded in the folder again
    #[arg(long)]
    again: bool,
    /// Print every record
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let notes = args.folder.join("played.json");
    if !args.again {
        let played = play(&args)?;
        fs::write(&notes, serde_json::to_vec(&played)?).context("write what was played")?;
    }
    let mut played: Vec<Played> = serde_json::from_slice(&fs::read(&notes)?)?;
    played.retain(|it| is_wanted(&args, &it.scene));
    if args.again {
        take_expectations(&mut played)?;
    }
    let open = || -> anyhow::Result<_> { Ok(BufReader::new(File::open(recording(&args.folder))?)) };
    let hosts = replay_each_namespace(open()?)?;
    let whole = replay(open()?)?;
    hosts
        .end
        .and(whole.end)
        .context("the recording is damaged")?;
    let right = judge::judge(&played, &hosts.outputs, &whole.outputs, args.verbose);
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn is_wanted(args: &Args, scene: &Scene) -> bool {
    args.names.is_empty() || args.names.contains(&scene.name)
}

fn folder_of_scenes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/scenes")
}

fn recording(folder: &Path) -> PathBuf {
    folder.join("events.rst")
}

/// As the files say now.
fn take_expectations(played: &mut [Played]) -> anyhow::Result<()> {
    let current = scenes(&folder_of_scenes())?;
    for it in played {
        if let Some(scene) = current.iter().find(|scene| scene.name == it.scene.name) {
            it.scene = scene.clone();
        }
    }
    Ok(())
}

/// Plays the scenes, some at a time, while a tracer records.
fn play(args: &Args) -> anyhow::Result<Vec<Played>> {
    let mut chosen = scenes(&folder_of_scenes())?;
    chosen.retain(|scene| is_wanted(args, scene));
    ensure!(!chosen.is_empty(), "no scene has this name");
    ensure!(chosen.len() <= 255, "too many scenes for their networks");
    if args.folder.exists() {
        fs::remove_dir_all(&args.folder).context("remove what was played before")?;
    }
    fs::create_dir_all(&args.folder)?;
    let folder = args.folder.canonicalize()?;
    let stage = Stage {
        shared: folder.join("shared"),
        folder: folder.clone(),
        scripts: folder_of_scenes(),
    };
    prepare(&stage)?;
    let program = args.rsttrace.as_ref().context("name the tracer")?;
    let tracer = Tracer::start(program, &recording(&folder))?;
    let begun = Instant::now();
    let waiting = Mutex::new(chosen.iter().zip(1..=u8::MAX).rev().collect::<Vec<_>>());
    let played = Mutex::new(Vec::new());
    let next = || waiting.lock().ok()?.pop();
    let worker = || -> io::Result<()> {
        while let Some((scene, network)) = next() {
            let done = stage.play(scene, network, await_classifiers, || {})?;
            if let Ok(mut played) = played.lock() {
                played.push(done);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    eprintln!("played in {:.1} s", begun.elapsed().as_secs_f64());
    tracer.end()?;
    let mut played = played.into_inner().unwrap_or_default();
    played.sort_by_key(|it| it.network);
    Ok(played)
}

/// Certificates and data directories that scenes use.
fn prepare(stage: &Stage) -> anyhow::Result<()> {
    fs::create_dir_all(&stage.shared)?;
    let script = stage.scripts.join("prepare.sh");
    let output = Command::new("sh")
        .arg(&script)
        .current_dir(&stage.shared)
        .output()?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// `rsttrace record`.
struct Tracer(Child);

impl Tracer {
    fn start(program: &Path, to: &Path) -> anyhow::Result<Self> {
        let child = Command::new(program)
            .arg("record")
            .arg(to)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self(child))
    }

    fn end(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT)?;
        let mut said = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            stderr.read_to_string(&mut said)?;
        }
        let status = self.0.wait()?;
        if !status.success() {
            bail!("the tracer failed ({status}): {said}");
        }
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the tracer sees the packets of every interface.
fn await_classifiers(host: &Namespace) -> io::Result<()> {
    host.enter(|| {
        let begun = Instant::now();
        let interfaces: Vec<_> = nix::net::if_::if_nameindex()?
            .iter()
            .map(|interface| interface.name().to_string_lossy().into_owned())
            .collect();
        while !interfaces.iter().all(|interface| is_watched(interface)) {
            if begun.elapsed() > LIMIT {
                return Err(io::Error::other(format!(
                    "no classifiers on {}",
                    interfaces.join(", ")
                )));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    })?
}

fn is_watched(interface: &str) -> bool {
    [TcAttachType::Ingress, TcAttachType::Egress]
        .into_iter()
        .all(|direction| {
            SchedClassifier::query_tcx(interface, direction)
                .is_ok_and(|(_, programs)| !programs.is_empty())
        })
}
