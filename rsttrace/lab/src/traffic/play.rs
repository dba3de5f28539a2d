//! Playing a scene: files, programs, steps, and the end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::hosts::{Host, Hosts};
use super::scene::{Program, Scene, Script};
use crate::namespace::Namespace;
use crate::wait::poll_for;

/// Longer than any program takes to start, or any step to end.
const LIMIT: Duration = Duration::from_secs(60);
/// Hosts that have sent no reset for this long have settled.
const SETTLED: Duration = Duration::from_millis(300);
/// Checks go on for ever.
const LONGEST_UNREST: Duration = Duration::from_secs(1);
/// Programs of the distribution, also if the caller prefers others.
const PATH: &str = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where scenes are played.
#[derive(Debug)]
pub struct Stage {
    /// Each scene has a folder below it.
    pub folder: PathBuf,
    /// Where Python scripts import `traffic` from.
    pub scripts: PathBuf,
    /// Files that all scenes use: `$SHARED`.
    pub shared: PathBuf,
}

/// What was played.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Played {
    pub scene: Scene,
    /// Inode numbers of the network namespaces.
    pub namespaces: BTreeMap<Host, u32>,
    /// The network is 10.`network`.0.0/16.
    pub network: u8,
    /// Unix time in seconds. Numbers of namespaces are used again.
    pub began: f64,
    /// Resets after it are due to the end of the programs.
    pub ended: f64,
    /// Why it could not be played to its end.
    pub trouble: Option<String>,
}

impl Stage {
    /// Plays a scene; `ready` waits until a host may be used, and `over` is called while the programs still run.
    pub fn play(
        &self,
        scene: &Scene,
        network: u8,
        ready: impl Fn(&Namespace) -> io::Result<()>,
        over: impl FnOnce(),
    ) -> io::Result<Played> {
        let began = now();
        let used = scene.programs.iter().map(|program| program.host);
        let mut used = used.chain(scene.steps.iter().map(|step| step.host));
        let hosts = Hosts::new(network, used.any(|host| host == Host::Balancer))?;
        for (_, namespace) in hosts.each() {
            ready(namespace)?;
        }
        let mut act = Act::new(self, scene, &hosts)?;
        let played = act.perform(scene);
        let ended = now();
        over();
        drop(act);
        Ok(Played {
            scene: scene.clone(),
            namespaces: hosts
                .each()
                .map(|(host, namespace)| (host, namespace.inode()))
                .collect(),
            network,
            began,
            ended,
            trouble: played.err().map(|error| error.to_string()),
        })
    }
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// A scene that is being played. Its processes end with it.
struct Act<'a> {
    stage: &'a Stage,
    hosts: &'a Hosts,
    folder: PathBuf,
    variables: Vec<(String, String)>,
    running: Vec<Group>,
}

impl<'a> Act<'a> {
    fn new(stage: &'a Stage, scene: &Scene, hosts: &'a Hosts) -> io::Result<Self> {
        let folder = stage.folder.join(&scene.name);
        fs::create_dir_all(&folder)?;
        let mut variables = hosts.addresses();
        for (host, namespace) in hosts.each() {
            let name = format!("NETNS_{host:?}").to_uppercase();
            variables.push((name, namespace.path().display().to_string()));
        }
        variables.push(("SHARED".to_owned(), stage.shared.display().to_string()));
        variables.push(("DIR".to_owned(), folder.display().to_string()));
        for (name, content) in &scene.files {
            let mut content = content.clone();
            for (name, value) in &variables {
                content = content.replace(&format!("${name}"), value);
            }
            fs::write(folder.join(name), content)?;
        }
        Ok(Self {
            stage,
            hosts,
            folder,
            variables,
            running: Vec::new(),
        })
    }

    fn perform(&mut self, scene: &Scene) -> io::Result<()> {
        for program in &scene.programs {
            self.start(program)?;
        }
        for (number, step) in scene.steps.iter().enumerate() {
            let log = format!("step-{}.log", number + 1);
            let run = match &step.script {
                Script::Sh(text) => ["sh".to_owned(), "-euc".to_owned(), text.clone()],
                Script::Python(text) => {
                    let text = format!("from traffic import *\n{text}");
                    ["python3".to_owned(), "-c".to_owned(), text]
                }
            };
            let group = self.spawn(step.host, &run, &log)?;
            let ended = poll_for(LIMIT, || group.ended());
            self.running.push(group);
            let trouble = match ended {
                Ok(WaitStatus::Exited(_, 0)) => continue,
                Ok(status) => format!("{status:?}"),
                Err(_) => "it did not end".to_owned(),
            };
            return Err(self.failed(&format!("step {}", number + 1), &trouble, &log));
        }
        self.settle()
    }

    fn start(&mut self, program: &Program) -> io::Result<()> {
        let log = format!("{}.log", program.name);
        let run = ["sh", "-c", &format!("exec {}", program.run)].map(str::to_owned);
        let group = self.spawn(program.host, &run, &log)?;
        let pid = group.0.id().to_string();
        self.variables.push((format!("PID_{}", program.name), pid));
        let listens = self.hosts.get(program.host)?.enter(|| {
            poll_for(LIMIT, || {
                if let Some(status) = group.ended()? {
                    return Err(io::Error::other(format!("{status:?}")));
                }
                Ok(is_listening(&program.listens)?.then_some(()))
            })
        })?;
        self.running.push(group);
        listens.map_err(|error| self.failed(&program.name, &error.to_string(), &log))
    }

    fn spawn(&self, host: Host, run: &[String], log: &str) -> io::Result<Group> {
        let log = File::create(self.folder.join(log))?;
        let mut command = Command::new(&run[0]);
        command
            .args(&run[1..])
            .current_dir(&self.folder)
            .env("PATH", PATH)
            .env("PYTHONPATH", &self.stage.scripts)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = self.hosts.get(host)?.enter(|| command.spawn())??;
        Ok(Group(child))
    }

    fn failed(&self, what: &str, why: &str, log: &str) -> io::Error {
        let text = fs::read_to_string(self.folder.join(log)).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        io::Error::other(format!("{what}: {why}: {}", last.join(" / ")))
    }

    /// Waits until no host sends resets any more, if they end soon.
    fn settle(&self) -> io::Result<()> {
        let mut before = Vec::new();
        let begun = Instant::now();
        let mut since = begun;
        poll_for(LIMIT, || {
            let now = self
                .hosts
                .each()
                .map(|(_, namespace)| namespace.counter("OutRsts"))
                .collect::<io::Result<Vec<_>>>()?;
            if now != before {
                before = now;
                since = Instant::now();
            }
            let is_over = since.elapsed() >= SETTLED || begun.elapsed() >= LONGEST_UNREST;
            Ok(is_over.then_some(()))
        })
    }
}

/// A process and those that it started.
struct Group(Child);

impl Group {
    /// How its first process ended; that process stays a zombie, so that the group keeps its number.
    fn ended(&self) -> io::Result<Option<WaitStatus>> {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(pid), flags)?;
        Ok((status != WaitStatus::StillAlive).then_some(status))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still theirs. Fails only if all have ended, which is what is wanted.
        let group = Pid::from_raw(self.0.id().cast_signed());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

fn is_listening(ports: &[u16]) -> io::Result<bool> {
    const LISTEN: &str = "0A";
    let read = |name: &str| fs::read_to_string(Path::new("/proc/thread-self/net").join(name));
    let tables = read("tcp")? + &read("tcp6").unwrap_or_default();
    let listening: Vec<u16> = tables
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (_, port) = words.next()?.rsplit_once(':')?;
            (words.nth(1)? == LISTEN).then_some(())?;
            u16::from_str_radix(port, 16).ok()
        })
        .collect();
    Ok(ports.iter().all(|port| listening.contains(port)))
}
