//! Network namespaces: listing and entering.
//!
//! A descriptor kept open would keep a namespace alive after its last process, so only the way to it is remembered
//! and opened for the moment of a visit.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

/// Where `ip netns add` puts its names.
const NAMED: &str = "/run/netns";
/// The calling thread's own.
const OWN: &str = "/proc/thread-self/ns/net";

/// Inode number of a namespace: unique among those alive.
pub type Inode = u32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// As `readlink /proc/PID/ns/net` shows it.
    pub inode: Inode,
    /// As events carry it; `None` before 5.14.
    pub cookie: Option<u64>,
    /// The one this process started in.
    pub is_own: bool,
}

/// What keeps a namespace alive and leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Own,
    /// Another process, by its id.
    Process(u32),
    /// A file that the namespace is mounted at.
    File(PathBuf),
}

impl Holder {
    /// The file that leads to the namespace, as long as the holder lives and stays in it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Own => PathBuf::from("/proc/self/ns/net"),
            Self::Process(pid) => process_path(*pid),
            Self::File(path) => path.clone(),
        }
    }
}

/// Every namespace that a process other than this one is in, or that has a name; a `readlink` a process. Threads
/// that are not where their process is are not looked at.
pub fn scan() -> HashMap<Inode, Holder> {
    let mut found = HashMap::new();
    let own = std::process::id();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if pid == own {
            continue;
        }
        if let Ok(target) = std::fs::read_link(process_path(pid))
            && let Some(inode) = target.to_str().and_then(parse_link)
        {
            // The lowest process id is the most lasting holder, and /proc is in that order.
            found.entry(inode).or_insert(Holder::Process(pid));
        }
    }
    for entry in std::fs::read_dir(NAMED).into_iter().flatten().flatten() {
        if let Some(inode) = mounted_at(&entry.path()) {
            // A name outlives processes.
            found.insert(inode, Holder::File(entry.path()));
        }
    }
    found
}

/// Inode of the namespace mounted at, or linked by, `path`; `None` for other files.
pub fn mounted_at(path: &Path) -> Option<Inode> {
    let (own, other) = (std::fs::metadata(OWN).ok()?, std::fs::metadata(path).ok()?);
    // All namespace files live on one file system.
    (own.dev() == other.dev()).then_some(other.ino() as Inode)
}

fn process_path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// `net:[4026531840]`
fn parse_link(target: &str) -> Option<Inode> {
    target
        .strip_prefix("net:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Whether a visit failed because the holder is gone.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The way of one thread into other namespaces and back.
pub struct Traveller {
    home: File,
    home_inode: Inode,
}

impl Traveller {
    /// Home is where the calling thread is now.
    pub fn new() -> io::Result<Self> {
        let home = File::open(OWN)?;
        let home_inode = home.metadata()?.ino() as Inode;
        Ok(Self { home, home_inode })
    }

    pub fn home(&self) -> Inode {
        self.home_inode
    }

    /// Does `work` inside the namespace, then comes home. An error if the holder is gone or leads elsewhere by now,
    /// or if the thread may not go there.
    pub fn visit<T>(
        &self,
        inode: Inode,
        holder: &Holder,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        if inode == self.home_inode {
            return work();
        }
        if *holder == Holder::Own {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let there = File::open(holder.path())?;
        if there.metadata()?.ino() as Inode != inode {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "its process has exited",
            ));
        }
        setns(&there, CloneFlags::CLONE_NEWNET)?;
        drop(there);
        let result = work();
        self.go_home()?;
        result
    }

    /// Does `work` in a new namespace that ends with whatever `work` keeps of it.
    pub fn visit_new<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
        let result = work();
        self.go_home()?;
        result
    }

    fn go_home(&self) -> io::Result<()> {
        setns(&self.home, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_other_kinds_are_no_network_namespaces() {
        assert_eq!(parse_link("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(parse_link("mnt:[4026531841]"), None);
        assert_eq!(parse_link("net:[x]"), None);
    }

    #[test]
    fn a_plain_file_is_no_namespace() {
        assert_eq!(
            mounted_at(Path::new("/proc/self/ns/net")),
            Traveller::new().ok().map(|here| here.home())
        );
        assert_eq!(mounted_at(Path::new("/proc/version")), None);
    }
}
