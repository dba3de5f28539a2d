//! Idle timers in the configuration of nginx, HAProxy, gunicorn and uvicorn.
//!
//! Files are only read, never executed, as the process itself sees them: below its root directory, symbolic links included. A process can
//! name any file, and a file may never answer (FIFO, FUSE, NFS), so all of it happens in a thread of its own, bounded in files and bytes;
//! of a file nothing is kept but settings that are timeouts.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use log::debug;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

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
/// Files of one process.
const MOST_FILES: usize = 256;
/// Bytes of one process.
const MOST_BYTES: u64 = 2 << 20;
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
        Kind::Nginx => nginx(task.pid, &arguments, &mut found)?,
        Kind::Haproxy => haproxy(task.pid, &arguments, &mut found)?,
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

/// The root directory of a process.
struct Root(OwnedFd);

impl Root {
    fn of(pid: u32) -> Option<Self> {
        let path = format!("/proc/{pid}/root");
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
        open(path.as_str(), flags, Mode::empty()).ok().map(Self)
    }

    fn open(&self, path: &Path, flags: OFlag) -> Option<OwnedFd> {
        let flags =
            flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.0, path, how).ok()
    }

    /// The text of a regular file, as far as the limits allow.
    fn text(&self, path: &Path, found: &mut Found) -> Option<String> {
        let left = MOST_BYTES.saturating_sub(found.bytes);
        if found.files >= MOST_FILES || left == 0 {
            return None;
        }
        found.files += 1;
        let file = File::from(self.open(path, OFlag::empty())?);
        let about = file.metadata().ok()?;
        if !about.is_file() || about.len() > left {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(left).read_to_end(&mut bytes).ok()?;
        found.bytes += bytes.len() as u64;
        found.newest = found.newest.max(about.modified().ok());
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The files that a pattern names, in order; `*` may be in its last part. Absent if that cannot be told.
    fn matching(&self, pattern: &Path) -> Option<Vec<PathBuf>> {
        let name = pattern.file_name()?.to_str()?;
        let folder = pattern.parent()?;
        let is_pattern = |text: &str| text.contains(['*', '?', '[']);
        if is_pattern(folder.to_str()?) || name.contains(['?', '[']) {
            return None;
        }
        if !name.contains('*') {
            return Some(vec![pattern.to_owned()]);
        }
        // No folder: no files.
        let Some(opened) = self.open(folder, OFlag::O_DIRECTORY) else {
            return Some(Vec::new());
        };
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
        let mut names: Vec<_> = entries
            .take(MOST_FILES)
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|found| fits(name, found))
            .collect();
        names.sort();
        Some(names.into_iter().map(|name| folder.join(name)).collect())
    }
}

/// Whether a name fits a pattern with `*`. As a shell does, `*` leaves hidden files out.
fn fits(pattern: &str, name: &OsStr) -> bool {
    let mut rest = name.as_bytes();
    if rest.starts_with(b".") && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.as_bytes().split(|&byte| byte == b'*');
    let Some(after) = parts.next().and_then(|first| rest.strip_prefix(first)) else {
        return false;
    };
    rest = after;
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(place) = find(rest, part) else {
            return false;
        };
        rest = rest.get(place + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

/// Defaults of nginx that close an idle connection.
const NGINX_DEFAULTS: [(&str, u64, Option<bool>); 8] = [
    ("keepalive_timeout", 75, Some(true)),
    ("keepalive_timeout of an upstream", 60, Some(false)),
    (
        "client_header_timeout and client_body_timeout",
        60,
        Some(true),
    ),
    ("send_timeout", 60, Some(true)),
    ("proxy_read_timeout and proxy_send_timeout", 60, Some(false)),
    ("lingering_timeout", 5, Some(true)),
    ("lingering_time, preread_timeout", 30, Some(true)),
    ("proxy_timeout", 600, None),
];

fn nginx(pid: u32, arguments: &[String], found: &mut Found) -> Option<()> {
    const MAIN: &str = "/etc/nginx/nginx.conf";
    // A worker's title says nothing; its parent's is `nginx: master process /usr/sbin/nginx -c FILE`.
    let of_parent;
    let mut words = arguments;
    if arguments.iter().any(|word| word == "worker") {
        let stat = whole(&format!("/proc/{pid}/stat"))?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
        of_parent = self::arguments(parent.parse().ok()?)?;
        words = &of_parent;
    }
    let prefix = after(words, "-p").map(PathBuf::from);
    let folder = prefix.unwrap_or_else(|| PathBuf::from("/etc/nginx"));
    let main = folder.join(after(words, "-c").unwrap_or(MAIN));
    let root = Root::of(pid)?;
    let mut open = vec![main.clone()];
    // Files that are included are relative to the main one.
    let base = main.parent().map(Path::to_owned)?;
    let mut is_first = true;
    while let Some(path) = open.pop() {
        let Some(text) = root.text(&path, found) else {
            found.is_partial = true;
            if is_first {
                return None;
            }
            continue;
        };
        is_first = false;
        for include in nginx_file(&path, &text, found) {
            match root.matching(&base.join(&include)) {
                Some(files) => open.extend(files),
                None => found.is_partial = true,
            }
        }
    }
    let defaults = NGINX_DEFAULTS.map(|(setting, seconds, listened)| ProgramTimer {
        setting: Word::new_static(setting),
        timeout: Duration::from_secs(seconds),
        listened,
        place: None,
    });
    found.timers.extend(defaults);
    Some(())
}

/// Takes the timers of a file; gives back what it includes.
fn nginx_file(path: &Path, text: &str, found: &mut Found) -> Vec<String> {
    let mut includes = Vec::new();
    for (line, words) in nginx_directives(text) {
        let Some((name, values)) = words.split_first() else {
            continue;
        };
        let value = values.first().map(String::as_str).unwrap_or_default();
        match name.as_str() {
            "include" => includes.push(value.to_owned()),
            name if is_idle_timer(name) => {
                let place = format!("{}:{line}", path.display());
                found.add(name, nginx_role(name), nginx_time(value), place);
            }
            name if name.contains("_by_lua") || name.starts_with("js_") => found.is_partial = true,
            _ => {}
        }
    }
    includes
}

/// Timers that end established connections.
fn is_idle_timer(name: &str) -> bool {
    const OTHERS: [&str; 6] = [
        "connect_timeout",
        "next_upstream_timeout",
        "resolver_timeout",
        "ssl_session_timeout",
        "worker_shutdown_timeout",
        "lock_timeout",
    ];
    let is_other = OTHERS.iter().any(|other| name.ends_with(other));
    (name.ends_with("_timeout") && !is_other) || name == "lingering_time"
}

/// Which connections a timer of nginx ends, where its name says so.
fn nginx_role(name: &str) -> Option<bool> {
    let of_clients = ["client_", "send_timeout", "lingering_", "preread_"];
    if of_clients.iter().any(|prefix| name.starts_with(prefix)) {
        Some(true)
    } else if name.ends_with("_read_timeout") || name.ends_with("_send_timeout") {
        Some(false)
    } else {
        None
    }
}

/// The directives with the lines that they begin in.
fn nginx_directives(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut directives = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let (mut line, mut begins) = (1, 1);
    let mut quote = None;
    let mut is_comment = false;
    for character in text.chars() {
        let ends_word = quote.is_none() && (character.is_whitespace() || ";{}".contains(character));
        if is_comment {
            is_comment = character != '\n';
        } else if quote == Some(character) {
            quote = None;
        } else if quote.is_some() {
            word.push(character);
        } else if ends_word {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if ";{}".contains(character) && !words.is_empty() {
                directives.push((begins, std::mem::take(&mut words)));
            }
        } else if word.is_empty() && character == '#' {
            is_comment = true;
        } else if word.is_empty() && (character == '"' || character == '\'') {
            quote = Some(character);
        } else {
            if words.is_empty() && word.is_empty() {
                begins = line;
            }
            word.push(character);
        }
        line += usize::from(character == '\n');
    }
    directives
}

/// `75`, `75s`, `1m30s`, `500ms`.
fn nginx_time(text: &str) -> Option<Duration> {
    time(text, Duration::from_secs(1))
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
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            "d" => Duration::from_secs(86_400),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number.parse().ok()?)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

fn haproxy(pid: u32, arguments: &[String], found: &mut Found) -> Option<()> {
    let root = Root::of(pid)?;
    let mut files = Vec::new();
    for (place, word) in arguments.iter().enumerate() {
        if word != "-f" {
            continue;
        }
        let path = PathBuf::from(arguments.get(place + 1)?);
        if path.is_relative() {
            found.is_partial = true;
        } else if root.open(&path, OFlag::O_DIRECTORY).is_some() {
            files.extend(root.matching(&path.join("*.cfg"))?);
        } else {
            files.push(path);
        }
    }
    found.is_partial |= files.is_empty();
    for path in files {
        match root.text(&path, found) {
            Some(text) => haproxy_file(&path, &text, found),
            None => found.is_partial = true,
        }
    }
    Some(())
}

fn haproxy_file(path: &Path, text: &str, found: &mut Found) {
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("timeout"), Some(name), Some(value)) => {
                let listened = match name {
                    "client" | "client-fin" | "http-keep-alive" | "http-request" => Some(true),
                    "server" | "server-fin" => Some(false),
                    "tunnel" => None,
                    // Of attempts, queues and checks.
                    _ => continue,
                };
                let place = format!("{}:{}", path.display(), index + 1);
                let timeout = time(value, Duration::from_millis(1));
                found.add(&format!("timeout {name}"), listened, timeout, place);
            }
            // Scripts close as they like, and conditions decide what counts.
            (Some("lua-load" | "lua-load-per-thread" | ".if"), ..) => found.is_partial = true,
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(found: &Found) -> Vec<(String, f64, String)> {
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
    fn timers_of_nginx_are_found_with_their_lines() {
        let text = "\
http {
    # keepalive_timeout 5;
    keepalive_timeout 1m30s 20s;
    include sites-enabled/*;
    log_format main '$status; proxy_timeout 1s;';
    server { location / { proxy_read_timeout
        500ms; } }
}
stream { server { proxy_timeout 4s; } }
";
        let mut found = Found::default();
        let includes = nginx_file(Path::new("/etc/nginx/nginx.conf"), text, &mut found);
        assert_eq!(includes, ["sites-enabled/*"]);
        let expected = [
            ("keepalive_timeout", 90.0, 3),
            ("proxy_read_timeout", 0.5, 6),
            ("proxy_timeout", 4.0, 9),
        ]
        .map(|(name, value, line)| {
            (
                name.to_owned(),
                value,
                format!("/etc/nginx/nginx.conf:{line}"),
            )
        });
        assert_eq!(told(&found), expected);
        assert!(!found.is_partial);
        nginx_file(
            Path::new("x"),
            "proxy_timeout $t; content_by_lua_block { }",
            &mut found,
        );
        assert!(found.is_partial);
    }

    #[test]
    fn timers_of_haproxy_are_found_with_their_lines() {
        let text = "\
defaults
    timeout client 4s   # was 1m
    timeout server 30000
    timeout connect 4s
    #timeout tunnel 1h
";
        let mut found = Found::default();
        haproxy_file(Path::new("/etc/haproxy/haproxy.cfg"), text, &mut found);
        let place = |line| format!("/etc/haproxy/haproxy.cfg:{line}");
        assert_eq!(
            told(&found),
            [
                ("timeout client".to_owned(), 4.0, place(2)),
                ("timeout server".to_owned(), 30.0, place(3)),
            ]
        );
        assert!(!found.is_partial);
        haproxy_file(Path::new("x"), "timeout client \"${T}\"", &mut found);
        assert!(found.is_partial);
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

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "default", true),
            ("*", ".hidden", false),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*stream*.conf", "50-mod-stream.conf", true),
            ("*stream*.conf", "50-mod-http.conf", false),
            ("a*a", "a", false),
            ("exact", "exact", true),
        ] {
            assert_eq!(
                fits(pattern, OsStr::new(name)),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_file_outside_of_the_root_is_not_read_and_a_fifo_does_not_block() {
        let folder = std::env::temp_dir().join(format!("rsttrace-timers-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("etc")).unwrap();
        std::fs::write(folder.join("outside"), "timeout client 1s").unwrap();
        std::fs::write(folder.join("etc/a.cfg"), "timeout client 1s").unwrap();
        std::os::unix::fs::symlink("/outside", folder.join("etc/link.cfg")).unwrap();
        nix::unistd::mkfifo(&folder.join("etc/fifo.cfg"), Mode::S_IRUSR).unwrap();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let root = Root(open(&folder.join("etc"), flags, Mode::empty()).unwrap());
        let files = root.matching(Path::new("/*.cfg")).unwrap();
        let read: Vec<bool> = files
            .iter()
            .map(|path| root.text(path, &mut Found::default()).is_some())
            .collect();
        assert_eq!(files.len(), 3);
        // a.cfg; the FIFO; the link, which leads to a file that this root does not have.
        assert_eq!(read, [true, false, false]);
        let mut full = Found {
            bytes: MOST_BYTES - 1,
            ..Found::default()
        };
        assert_eq!(root.text(Path::new("/a.cfg"), &mut full), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    proptest! {
        #[test]
        fn no_configuration_panics(text in "[ -~\n]{0,200}") {
            let mut found = Found::default();
            nginx_file(Path::new("x"), &text, &mut found);
            haproxy_file(Path::new("x"), &text, &mut found);
            let _ = time(&text, Duration::from_secs(1));
        }
    }
}
