//! Real servers: nginx, HAProxy, a few lines of Python.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::eventually;

/// A server in a directory of its own, with its configuration in the file `conf`; ended when dropped.
pub struct Server {
    directory: tempfile::TempDir,
    process: Child,
}

impl Server {
    /// Starts a program in this thread's network namespace, and waits until it listens on these ports.
    pub fn start(program: &str, arguments: &[&str], configuration: &str, ports: &[u16]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("conf"), configuration).unwrap();
        let process = Command::new(program)
            .args(arguments)
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is not installed: {error}"));
        let server = Self { directory, process };
        eventually(&format!("{program} listens"), || {
            ports.iter().all(|&port| is_listening(port)).then_some(())
        });
        server
    }

    /// Its process, the master of those that have workers.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        // Not killed: the master of nginx ends its workers. Both fail only if it has ended.
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

fn is_listening(port: u16) -> bool {
    let end = format!(":{port:04X} 00000000:0000 0A");
    tcp_table().contains(&end)
}

/// `/proc/net/tcp` of this thread's network namespace.
pub fn tcp_table() -> String {
    fs::read_to_string("/proc/thread-self/net/tcp").unwrap()
}

/// A program, killed when dropped.
pub struct Started(pub Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
