//! Network namespaces: created, connected and configured without external tools, and entered.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use ipnet::IpNet;
use nix::sched::{CloneFlags, setns, unshare};

use crate::kernel_state;
use crate::net::link;

/// A network namespace. A process holds it and ends with this value, also after a kill -9, so nothing stays behind.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
    file: File,
    inode: u32,
}

impl Namespace {
    /// Creates a namespace that `cat` holds. Its loopback interface is up.
    pub fn new() -> io::Result<Self> {
        Self::held_by(Command::new("cat"))
    }

    /// Creates a namespace that another program holds, which has to end with its standard input.
    pub fn held_by(mut holder: Command) -> io::Result<Self> {
        holder.stdin(Stdio::piped()).stdout(Stdio::null());
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            link::set_up("lo")?;
            let file = File::open(THIS_THREADS)?;
            let inode = inode_of(&file)?;
            let holder = holder.spawn()?;
            Ok(Self {
                holder,
                file,
                inode,
            })
        })
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The file that leads to it.
    pub fn path(&self) -> PathBuf {
        path_of(self.pid())
    }

    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// Runs `work` on a thread in the namespace. Sockets that it opens stay there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        enter(&self.file, work)
    }

    /// Connects two namespaces by a veth pair, both ends up.
    pub fn connect(ends: [End<'_>; 2]) -> io::Result<()> {
        let [(here, name, _), (there, peer, _)] = ends;
        here.enter(|| link::add_veth(name, peer, there.pid()))??;
        for (namespace, interface, addresses) in ends {
            for &address in addresses {
                namespace.add_address(interface, address)?;
            }
            namespace.enter(|| link::set_up(interface))??;
        }
        Ok(())
    }

    /// Adds an address that is usable at once.
    pub fn add_address(&self, interface: &str, address: IpNet) -> io::Result<()> {
        self.enter(|| link::add_address(interface, address.addr(), address.prefix_len()))?
    }

    pub fn set_mac(&self, interface: &str, mac: [u8; 6]) -> io::Result<()> {
        self.enter(|| link::set_mac(interface, mac))?
    }

    pub fn add_route(&self, to: IpNet, gateway: IpAddr) -> io::Result<()> {
        self.enter(|| link::add_route(to, gateway))?
    }

    /// Sets the default route of the gateway's family.
    pub fn add_default_route(&self, gateway: IpAddr) -> io::Result<()> {
        self.add_route(link::everything(gateway), gateway)
    }

    /// Writes a sysctl below net and returns its old value.
    pub fn sysctl(&self, name: &str, value: &str) -> io::Result<String> {
        self.enter(|| kernel_state::write_sysctl(name, value))?
    }

    /// A counter of /proc/net/netstat or /proc/net/snmp, such as "OutRsts".
    pub fn counter(&self, name: &str) -> io::Result<u64> {
        self.enter(|| kernel_state::counter(name))?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Both fail only if the process has ended already, which is what is wanted.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// One end of a veth pair: where it is, its name, its addresses.
pub type End<'a> = (&'a Namespace, &'a str, &'a [IpNet]);

/// Runs `work` on a thread in the network namespace of a process.
pub fn enter_that_of<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    enter_at(&path_of(pid), work)
}

/// Runs `work` on a thread in the network namespace that this file leads to.
pub fn enter_at<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    enter(&File::open(path)?, work)
}

/// Inode number of the calling thread's network namespace.
pub fn own_inode() -> io::Result<u32> {
    inode_of(&File::open(THIS_THREADS)?)
}

fn enter<T: Send>(file: &File, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_thread(|| {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let joined = thread::scope(|scope| scope.spawn(work).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn inode_of(file: &File) -> io::Result<u32> {
    let inode = file.metadata()?.ino();
    inode.try_into().map_err(io::Error::other)
}

fn path_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

const THIS_THREADS: &str = "/proc/thread-self/ns/net";
