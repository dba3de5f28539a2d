//! Where do the tests make their traffic: in network namespaces of their own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns, unshare};

/// Runs `test` on a thread in a new namespace with its loopback interface up. What the thread starts is in there, too;
/// the namespace ends with the last of them.
pub fn private_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("rsttrace-test".into());
    let thread = thread.spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make namespaces");
        run("ip", &["link", "set", "lo", "up"]);
        test();
    });
    let joined = thread.unwrap().join();
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Output of a command, in the calling thread's namespace.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is not installed: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The calling thread's namespace.
pub fn netns_inode() -> u32 {
    inode(Path::new("/proc/thread-self/ns/net")).unwrap()
}

fn inode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok()?.ino().try_into().ok()
}

/// A further namespace with a name of this process's, gone when dropped.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it, loopback up.
    pub fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("rsttest-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.enter(|| run("ip", &["link", "set", "lo", "up"]));
        namespace
    }

    /// Under /run/netns.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread in there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = PathBuf::from("/run/netns").join(&self.name);
        std::thread::scope(|scope| {
            let visit = scope.spawn(|| {
                setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            let joined = visit.join();
            joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// TcpOutRsts, the kernel's own count of sent resets, of each namespace that a task or /run/netns holds.
pub fn out_resets_by_namespace() -> BTreeMap<u32, u64> {
    let mut found = BTreeMap::new();
    let tasks = directory("/proc")
        .into_iter()
        .flat_map(|process| directory(process.join("task")));
    for task in tasks {
        let Some(inode) = inode(&task.join("ns/net")) else {
            continue;
        };
        if found.contains_key(&inode) {
            continue;
        }
        if let Some(count) = out_resets(&task.join("net/snmp")) {
            found.insert(inode, count);
        }
    }
    for named in directory("/run/netns") {
        let Some(inode) = inode(&named) else { continue };
        if found.contains_key(&inode) {
            continue;
        }
        let visit = std::thread::spawn(move || {
            setns(File::open(named).ok()?, CloneFlags::CLONE_NEWNET).ok()?;
            out_resets(Path::new("/proc/thread-self/net/snmp"))
        });
        if let Some(count) = visit.join().unwrap() {
            found.insert(inode, count);
        }
    }
    found
}

fn directory(path: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Two lines begin with `Tcp:`, names and values.
fn out_resets(snmp: &Path) -> Option<u64> {
    let text = fs::read_to_string(snmp).ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = lines
        .next()?
        .split(' ')
        .position(|name| name == "OutRsts")?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}
