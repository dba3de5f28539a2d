//! Idle timers in the configuration of programs.
//!
//! Files are only read, never executed, as the process itself sees them: below its root directory, symbolic links included. A process can
//! name any file, and a file may never answer (FIFO, FUSE, NFS), so all of it happens in a thread of its own, bounded in files and bytes;
//! of a file nothing is kept but settings that are timeouts.

mod files;
mod haproxy;
mod key_value;
mod nginx;

use std::fs::File;
use std::io::Read as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use log::debug;

use super::clock;
use crate::event::{BootTime, ProcessFacts, ProgramTimer, ProgramTimers, Task};
use crate::hash::{self, LruCache};
use crate::record::Word;
use crate::silence::software;

/// Processes that are remembered as looked at.
const CAPACITY: usize = 4_096;
/// Questions that wait; in a burst of new processes the others stay unread.
const WAITING: usize = 64;
/// What starts a program may write its configuration first, in the same process (the entry point of a container).
const PREPARATION: Duration = Duration::from_secs(10);
/// Timers of one process.
const MOST_TIMERS: usize = 64;

/// Reads configurations in a thread, which begins with the first question.
#[derive(Debug)]
pub struct TimerReader {
    asked: LruCache<(u32, BootTime), ()>,
    thread: Option<Thread>,
    outstanding: usize,
}

#[derive(Debug)]
struct Thread {
    questions: SyncSender<(Task, Kind)>,
    answers: Receiver<Option<ProgramTimers>>,
}

impl Default for TimerReader {
    fn default() -> Self {
        Self {
            asked: hash::lru(CAPACITY),
            thread: None,
            outstanding: 0,
        }
    }
}

/// A program whose configuration is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nginx,
    Haproxy,
    File(&'static key_value::Format),
    /// Its command line or environment alone.
    Flag(&'static Flag),
}

/// A timer on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Flag {
    option: &'static str,
    /// The variable with the same value, or with further options.
    variable: &'static str,
}

const GUNICORN: Flag = Flag {
    option: "--keep-alive",
    variable: "GUNICORN_CMD_ARGS",
};
const UVICORN: Flag = Flag {
    option: "--timeout-keep-alive",
    variable: "UVICORN_TIMEOUT_KEEP_ALIVE",
};

impl TimerReader {
    /// Asks for the timers of a process, once, if its program is understood.
    pub fn ask(&mut self, task: &Task, facts: &ProcessFacts) {
        let key = (task.pid, task.start);
        if self.asked.get(&key).is_some() {
            return;
        }
        self.asked.put(key, ());
        let (exe, cmdline) = (facts.exe.as_deref(), facts.cmdline.as_deref());
        let Some(program) = software::program(&task.comm, exe, cmdline) else {
            return;
        };
        let kind = match program.name {
            "nginx" => Kind::Nginx,
            "haproxy" => Kind::Haproxy,
            "gunicorn" => Kind::Flag(&GUNICORN),
            "uvicorn" => Kind::Flag(&UVICORN),
            "postgres" => Kind::File(&key_value::POSTGRES),
            "mysql" => Kind::File(&key_value::MYSQL),
            "redis" => Kind::File(&key_value::REDIS),
            "apache" => Kind::File(&key_value::APACHE),
            _ => return,
        };
        if self.thread.is_none() {
            self.thread = start();
        }
        if let Some(thread) = &self.thread
            && thread.questions.try_send((task.clone(), kind)).is_ok()
        {
            self.outstanding += 1;
        }
    }

    /// Timers that have been read since.
    pub fn poll(&mut self) -> Option<ProgramTimers> {
        while self.outstanding > 0 {
            let answer = self.thread.as_ref()?.answers.try_recv().ok()?;
            self.outstanding -= 1;
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

fn start() -> Option<Thread> {
    let (questions, from) = sync_channel::<(Task, Kind)>(WAITING);
    let (to, answers) = sync_channel(WAITING);
    let work = move || {
        for (task, kind) in from {
            if to.send(read(&task, kind)).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("rsttrace-timers".to_owned());
    match thread.spawn(work) {
        Ok(_) => Some(Thread { questions, answers }),
        Err(error) => {
            debug!("cannot read configurations of programs: {error}");
            None
        }
    }
}

/// The timers of a process; absent if it has gone or none can be read.
fn read(task: &Task, kind: Kind) -> Option<ProgramTimers> {
    let arguments = arguments(task.pid)?;
    let mut found = Found::default();
    match kind {
        Kind::Nginx => nginx::read(task.pid, &arguments, &mut found)?,
        Kind::Haproxy => haproxy::read(task.pid, &arguments, &mut found)?,
        Kind::File(format) => key_value::read(format, task.pid, &arguments, &mut found)?,
        Kind::Flag(flag) => {
            found.is_partial = true;
            by_flag(flag, &arguments, "command line", &mut found);
            if let Some(text) = variable(task.pid, flag.variable) {
                let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                by_flag(flag, &words, "environment", &mut found);
                if let [value] = &words[..] {
                    found.add(
                        flag.option,
                        Some(true),
                        seconds(value),
                        "environment".to_owned(),
                    );
                }
            }
        }
    }
    // The process may not have read what is there now.
    let settled = started(task.start)?.checked_add(PREPARATION)?;
    let is_older = found.newest.is_none_or(|newest| newest <= settled);
    let complete = !found.is_partial && is_older;
    (complete || !found.timers.is_empty()).then_some(ProgramTimers {
        pid: task.pid,
        start: task.start,
        complete,
        timers: found.timers,
    })
}

/// When a process started, by the calendar.
fn started(start: BootTime) -> Option<SystemTime> {
    let since = clock::boottime().ok()?.since(start);
    SystemTime::now().checked_sub(since)
}

#[derive(Debug, Default)]
struct Found {
    timers: Vec<ProgramTimer>,
    /// Something was not read or not understood.
    is_partial: bool,
    files: usize,
    bytes: u64,
    /// The last change of a file.
    newest: Option<SystemTime>,
}

impl Found {
    fn add(
        &mut self,
        setting: &str,
        listened: Option<bool>,
        timeout: Option<Duration>,
        place: String,
    ) {
        match timeout {
            Some(timeout) if self.timers.len() < MOST_TIMERS => self.timers.push(ProgramTimer {
                setting: setting.into(),
                timeout,
                listened,
                place: Some(place.into()),
            }),
            Some(_) | None => self.is_partial = true,
        }
    }

    fn add_default(&mut self, setting: &'static str, listened: Option<bool>, timeout: Duration) {
        self.timers.push(ProgramTimer {
            setting: Word::new_static(setting),
            timeout,
            listened,
            place: None,
        });
    }
}

/// `/proc/PID/cmdline`; a program that has overwritten it has one argument, in which blanks separate the original ones.
fn arguments(pid: u32) -> Option<Vec<String>> {
    let text = whole(&format!("/proc/{pid}/cmdline"))?;
    let words: Vec<&str> = text.trim_end_matches('\0').split('\0').collect();
    Some(match words[..] {
        [title] => title.split_whitespace().map(str::to_owned).collect(),
        _ => words.into_iter().map(str::to_owned).collect(),
    })
}

/// A process's parent.
fn parent(pid: u32) -> Option<u32> {
    let stat = whole(&format!("/proc/{pid}/stat"))?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The values of a variable.
fn variable(pid: u32, name: &str) -> Option<String> {
    let text = whole(&format!("/proc/{pid}/environ"))?;
    let mut values = text
        .split('\0')
        .filter_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
    values.next().map(str::to_owned)
}

fn whole(path: &str) -> Option<String> {
    const MOST: u64 = 64 << 10;
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The word after an option, also in the form `option=word`.
fn after<'a>(arguments: &'a [String], option: &str) -> Option<&'a str> {
    let place = arguments.iter().position(|word| {
        word == option
            || word
                .strip_prefix(option)
                .is_some_and(|rest| rest.starts_with('='))
    })?;
    match arguments
        .get(place)?
        .strip_prefix(option)?
        .strip_prefix('=')
    {
        Some(value) => Some(value),
        None => arguments.get(place + 1).map(String::as_str),
    }
}

fn by_flag(flag: &Flag, arguments: &[String], place: &str, found: &mut Found) {
    if let Some(value) = after(arguments, flag.option) {
        found.add(flag.option, Some(true), seconds(value), place.to_owned());
    }
}

fn seconds(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_secs)
}

/// A number with a unit, or several; without a unit it counts `bare`.
fn time(text: &str, bare: Duration) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let unit = match unit {
            "" => bare,
            "us" => Duration::from_micros(1),
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            "d" => Duration::from_secs(86_400),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number.parse().ok()?)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use std::path::Path;

    use super::*;

    /// Settings, seconds and places.
    pub fn told(found: &Found) -> Vec<(String, f64, String)> {
        let told = |timer: &ProgramTimer| {
            let place = timer.place.as_deref().unwrap_or_default();
            (
                timer.setting.to_string(),
                timer.timeout.as_secs_f64(),
                place.to_owned(),
            )
        };
        found.timers.iter().map(told).collect()
    }

    #[test]
    fn flags_are_found_in_both_forms() {
        let of = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let mut found = Found::default();
            by_flag(&UVICORN, &words, "command line", &mut found);
            told(&found).first().map(|(_, value, _)| *value)
        };
        assert_eq!(
            of("python3 -m uvicorn app:app --timeout-keep-alive 30"),
            Some(30.0)
        );
        assert_eq!(of("uvicorn --timeout-keep-alive=7 app:app"), Some(7.0));
        assert_eq!(of("uvicorn --timeout-keep-alive-x 7"), None);
        assert_eq!(of("uvicorn app:app --timeout-keep-alive"), None);
    }

    proptest! {
        #[test]
        fn no_configuration_panics(text in "[ -~\n]{0,200}") {
            let mut found = Found::default();
            let path = Path::new("x");
            nginx::file(path, &text, &mut found);
            haproxy::file(path, &text, &mut found);
            for format in [&key_value::POSTGRES, &key_value::MYSQL] {
                key_value::lines(format, &text);
            }
            let _ = time(&text, Duration::from_secs(1));
        }
    }
}
