//! The tracer sleeps while nothing happens, and notices a new network namespace within a second.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kernel::{
    LIMIT, Namespace, Started, Watch, await_refusal, closed_port, eventually, private_namespace,
    run,
};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

/// What is promised.
const SECOND: Duration = Duration::from_secs(1);
/// Processes a second from which on it looks for namespaces by itself.
const MANY_FORKS: f64 = 16.0;
/// How long each look at the context switches takes.
const WINDOW: Duration = Duration::from_secs(5);
/// Other programs of this machine may send resets or make processes: then a look says nothing.
const WINDOWS: usize = 6;
/// For unrelated causes, in a window.
const ALLOWED: u64 = 2;
/// With a process made in each second of it: a wake-up each, and one to go to sleep again.
const ALLOWED_WITH_FORKS: u64 = 2 * WINDOW.as_secs() + ALLOWED;

/// `clone(CLONE_NEWNET)`, as container runtimes call it.
const CLONE: &str = "
import ctypes, os, platform
CLONE_NEWNET, SIGCHLD = 0x40000000, 17
clone = {'x86_64': 56, 'aarch64': 220}[platform.machine()]
child = ctypes.CDLL(None).syscall(clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0)
if child == 0:
    os.execlp('sh', 'sh', '-c', 'ip link set lo up; exec sleep 60')
open(os.environ['PID_FILE'], 'w').write(f'{child} ')
os.waitpid(child, 0)
";

#[test]
#[ignore = "needs root"]
fn without_resets_nothing_wakes() {
    private_namespace(|| {
        let watch = Watch::start(&["--noise"]);
        let mut looks = Vec::new();
        for _ in 0..WINDOWS {
            let (forks, before) = (forks(), switches(watch.pid()));
            std::thread::sleep(WINDOW);
            let (forks, after) = (self::forks() - forks, switches(watch.pid()));
            let made: u64 = after
                .iter()
                .map(|(thread, count)| count - before.get(thread).unwrap_or(&0))
                .sum();
            looks.push((made, forks));
            let allowed = if forks == 0 {
                ALLOWED
            } else {
                ALLOWED_WITH_FORKS
            };
            if made <= allowed {
                println!("switches and processes made: {looks:?}");
                return;
            }
        }
        panic!("switches and processes made in each {WINDOW:?}: {looks:?}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_named_namespace_is_noticed() {
    private_namespace(|| {
        let watch = Watch::start(&["--noise"]);
        settle(&watch);
        let begin = Instant::now();
        let namespace = Named::new();
        assert_noticed(&watch, &namespace.path(), begin);
    });
}

#[test]
#[ignore = "needs root"]
fn a_namespace_without_a_name_is_noticed() {
    private_namespace(|| {
        let watch = Watch::start(&["--noise"]);
        settle(&watch);
        let namespace = Namespace::new();
        assert_noticed(&watch, &namespace.path(), Instant::now());
    });
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_a_process_is_born_in_is_noticed() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let watch = Watch::start(&["--noise"]);
        settle(&watch);
        let child = Command::new("python3")
            .args(["-c", CLONE])
            .env("PID_FILE", &file)
            .spawn();
        let _child = Started(child.unwrap());
        let pid = eventually("the process", || {
            let text = fs::read_to_string(&file).ok()?;
            text.strip_suffix(' ')?.parse().ok()
        });
        let namespace = namespace_of(pid);
        assert_noticed(&watch, &namespace, Instant::now());
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
    });
}

/// A namespace with a name, as `ip netns add` makes them.
struct Named(String);

impl Named {
    fn new() -> Self {
        let named = Self(format!("rsttest-{}", std::process::id()));
        run("ip", &["netns", "add", &named.0]);
        run("ip", &["-n", &named.0, "link", "set", "lo", "up"]);
        named
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        run("ip", &["netns", "del", &self.0]);
    }
}

/// Waits until the tracer gets notifications of namespaces. It switches them off while many processes are created; the promise
/// holds then, too.
fn settle(watch: &Watch) {
    let descriptors = PathBuf::from(format!("/proc/{}/fd", watch.pid()));
    let begin = Instant::now();
    let is_notified = || {
        let links = fs::read_dir(&descriptors).unwrap().flatten();
        let mut links = links.filter_map(|link| fs::read_link(link.path()).ok());
        links.any(|link| link.to_string_lossy().contains("perf_event"))
    };
    let before = forks();
    while !is_notified() {
        let elapsed = begin.elapsed();
        if elapsed > LIMIT / 3 {
            let rate = (forks() - before) as f64 / elapsed.as_secs_f64();
            assert!(
                rate > MANY_FORKS,
                "no notifications of namespaces, with {rate:.1} processes a second made"
            );
            println!("{rate:.1} processes a second are made: it looks for namespaces by itself");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process's namespace, once it is another than this thread's.
fn namespace_of(pid: u32) -> PathBuf {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    eventually("a namespace of its own", || {
        fs::read_link(&path)
            .is_ok_and(|link| link != own)
            .then_some(())
    });
    path
}

/// Has resets happen in a namespace until the name of its interface stands in a record: with a reset of the first second.
fn assert_noticed(watch: &Watch, namespace: &Path, begin: Instant) {
    const FIRST_PORT: u16 = 20_000;
    let inode = fs::metadata(namespace).unwrap().ino();
    let noticed = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(File::open(namespace).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            eventually("the loopback interface", || has_loopback().then_some(()));
            let mut attempts = Vec::new();
            eventually("a record that names the interface", || {
                attempts.push(begin.elapsed());
                let port = FIRST_PORT + attempts.len() as u16 - 1;
                await_refusal(closed_port(port));
                std::thread::sleep(Duration::from_millis(20));
                let lines = watch.lines();
                let mut records = lines.iter().map(|line| line.record());
                let named = records
                    .find(|record| record["netns"] == inode && record["interface"] == "lo")?;
                let attempt = port_of(&named)?.checked_sub(FIRST_PORT)?;
                attempts.get(usize::from(attempt)).copied()
            })
        });
        inside.join().unwrap()
    });
    println!("noticed after {noticed:?}");
    assert!(noticed < SECOND, "{noticed:?}");
}

/// Whether this namespace's loopback interface is up: it has a route to itself. Sends nothing.
fn has_loopback() -> bool {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.connect(closed_port(1)).is_ok()
}

/// The port that was connected to.
fn port_of(record: &Value) -> Option<u16> {
    let end = if record["direction"] == "sent" {
        "local"
    } else {
        "remote"
    };
    record[end]["port"].as_u64()?.try_into().ok()
}

/// Context switches of each thread until now, of both kinds.
fn switches(pid: u32) -> BTreeMap<String, u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let counted = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let counts = status
            .lines()
            .filter_map(|line| line.split_once("ctxt_switches:"));
        let counts = counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok());
        Some((
            thread.file_name().to_string_lossy().into_owned(),
            counts.sum(),
        ))
    });
    counted.collect()
}

/// Processes and threads made since boot.
fn forks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let made = text
        .lines()
        .find_map(|line| line.strip_prefix("processes "));
    made.unwrap().parse().unwrap()
}
