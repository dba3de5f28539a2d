//! What a terminal shows: a status line that makes way for each record, and is gone at the end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use kernel::{await_refusal, closed_port, eventually, netns_inode, private_namespace, rsttrace};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const COLUMNS: u16 = 60;

/// The lines that are left of what was written: `\r` and `ESC [ K` begin a line anew.
fn screen(written: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(written);
    let lines = text.split("\r\n").flat_map(|line| line.split('\n'));
    lines
        .map(|line| line.rsplit("\r\x1b[K").next().unwrap().to_owned())
        .collect()
}

#[test]
#[ignore = "needs root"]
fn a_status_line_makes_way_for_each_record() {
    private_namespace(|| {
        let inode = netns_inode().to_string();
        // Narrower than the table: the status fits all the same.
        let size = Winsize {
            ws_row: 40,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = rsttrace(&["watch", "--color", "never", "--netns", &inode]);
        let mut child = command
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        drop(command);
        drop(pty.slave);
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let reader = std::thread::spawn({
            let (written, mut master) = (Arc::clone(&written), File::from(pty.master));
            move || {
                let mut some = [0; 4096];
                // The error is that of a terminal that nobody has open any more.
                while let Ok(length) = master.read(&mut some) {
                    written.lock().unwrap().extend_from_slice(&some[..length]);
                }
            }
        });
        let lines = || screen(&written.lock().unwrap());
        let last = |part: &str| lines().last().is_some_and(|line| line.contains(part));
        eventually("an empty status", || last("no reset yet").then_some(()));
        let port = closed_port(9);
        await_refusal(port);
        eventually("its line and a new status", || {
            last("1 shown, 1 hidden as noise").then_some(())
        });
        let shown = lines();
        let refused =
            |line: &&String| line.contains(&format!("no listener on port {}", port.port()));
        assert_eq!(shown.iter().filter(refused).count(), 1, "{shown:#?}");
        let status = |line: &&String| line.contains("tracing for ");
        let shown: Vec<_> = shown.iter().filter(status).collect();
        assert_eq!(shown.len(), 1, "{shown:#?}");
        assert!(
            shown[0].chars().count() < usize::from(COLUMNS),
            "{shown:#?}"
        );
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.code(), Some(0));
        reader.join().unwrap();
        let shown = lines();
        assert_eq!(shown.iter().filter(status).count(), 0, "{shown:#?}");
        assert!(
            shown.iter().any(|line| line == "no events lost"),
            "{shown:#?}"
        );
    });
}
