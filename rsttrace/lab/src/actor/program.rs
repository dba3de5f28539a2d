//! Running another program, such as a load balancer or a tool, as an actor.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio, exit};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::protocol::Answer;
use crate::error::error_name;

/// Replaces this process by the program, found in `$PATH` or where servers usually are. Its configuration is
/// [`CONFIGURATION`], in a /tmp that it alone sees and that goes with it.
///
/// If this works, standard output ends; if not, an answer comes on it. The program's standard error goes to `complaints`.
pub fn become_program(
    program: &str,
    arguments: &[String],
    configuration: &str,
    complaints: &Path,
) -> ! {
    let Ok(answers) = io::stdout().as_fd().try_clone_to_owned() else {
        exit(1)
    };
    let complaints = OpenOptions::new().append(true).open(complaints);
    let prepared = complaints.and_then(|complaints| prepare(configuration).map(|()| complaints));
    let error = match prepared {
        Err(error) => error,
        // It gets its standard output also where this fails, so that the answer needs a copy.
        Ok(complaints) => Command::new(program)
            .args(arguments)
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(complaints)
            .exec(),
    };
    let failed = Answer::Failed {
        errno: error_name(&error),
        what: format!("starting {program}"),
    };
    let mut answers = File::from(answers);
    // Whoever asked is gone if it cannot be written.
    let _ = serde_json::to_writer(&mut answers, &failed)
        .map_err(io::Error::from)
        .and_then(|()| answers.write_all(b"\n"));
    exit(1)
}

/// Runs a command to its end, in the calling thread's namespace. Its complaint in one line unless it succeeds.
pub fn run_program(command: &str) -> io::Result<Option<String>> {
    let mut words = command.split_whitespace();
    let ran = Command::new(words.next().unwrap_or_default())
        .args(words)
        .env("PATH", path())
        .stdin(Stdio::null())
        .output()?;
    if ran.status.success() {
        return Ok(None);
    }
    Ok(Some(format!("{}: {}", ran.status, in_a_line(&ran.stderr))))
}

/// What a program has printed, in one line.
pub fn in_a_line(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.join("; ")
}

fn prepare(configuration: &str) -> io::Result<()> {
    // A program may refuse to start in a folder that the new /tmp hides.
    std::env::set_current_dir("/")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    // Otherwise every process would see the new /tmp.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), none)?;
    fs::write(CONFIGURATION, configuration)
}

/// Root's path without the folders of servers is common.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")
}

/// Where the program finds its configuration.
pub const CONFIGURATION: &str = "/tmp/configuration";
