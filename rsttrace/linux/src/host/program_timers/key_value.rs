//! Timers in configurations of one setting a line: PostgreSQL, MySQL, MariaDB, Redis, Valkey and Apache.
//!
//! They can be changed without the file (`SET`, `ALTER ROLE`, `CONFIG SET`, virtual hosts), so what is found is never all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::root::Root;
use super::{Found, after, arguments, parent, time, variable};

/// How a program is configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    /// The option that names its main file, if there is one.
    option: Option<&'static str>,
    /// Where its main file is otherwise; the first one that exists is read.
    places: &'static [&'static str],
    /// Sections of the file that it reads; empty: the file has none.
    sections: &'static [&'static str],
    timers: &'static [Timer],
}

/// A timer that ends idle connections. Zero switches it off.
#[derive(Debug, PartialEq, Eq)]
pub struct Timer {
    setting: &'static str,
    /// What a number without a unit counts.
    unit: Duration,
    /// Where no file sets it; zero: off.
    default: Duration,
}

const fn timer(setting: &'static str, unit: Duration, default: u64) -> Timer {
    Timer {
        setting,
        unit,
        default: Duration::from_secs(default),
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// postgresql.org/docs/current/config-setting.html; Debian names the file on the command line, others only its directory.
pub const POSTGRES: Format = Format {
    option: None,
    places: &[],
    sections: &[],
    timers: &[
        timer("idle_session_timeout", MILLISECOND, 0),
        timer("idle_in_transaction_session_timeout", MILLISECOND, 0),
    ],
};

/// mariadb.com/kb: configuring MariaDB with option files.
pub const MYSQL: Format = Format {
    option: Some("--defaults-file"),
    places: &["/etc/my.cnf", "/etc/mysql/my.cnf"],
    sections: &["mysqld", "server", "mariadb", "mariadbd"],
    timers: &[
        timer("wait_timeout", SECOND, 28_800),
        timer("interactive_timeout", SECOND, 28_800),
        timer("net_read_timeout", SECOND, 30),
        timer("net_write_timeout", SECOND, 60),
    ],
};

/// Its title hides the file's name; the packages put it there.
pub const REDIS: Format = Format {
    option: None,
    places: &[
        "/etc/redis/redis.conf",
        "/etc/redis.conf",
        "/etc/valkey/valkey.conf",
        "/usr/local/etc/redis/redis.conf",
    ],
    sections: &[],
    timers: &[timer("timeout", SECOND, 0)],
};

/// httpd.apache.org/docs/2.4/mod/core.html
pub const APACHE: Format = Format {
    option: Some("-f"),
    places: &["/etc/apache2/apache2.conf", "/etc/httpd/conf/httpd.conf"],
    sections: &[],
    timers: &[
        timer("KeepAliveTimeout", SECOND, 5),
        timer("Timeout", SECOND, 60),
    ],
};

/// The timers of a process.
pub fn read(format: &Format, pid: u32, arguments: &[String], found: &mut Found) -> Option<()> {
    found.is_partial = true;
    let root = Root::of(pid)?;
    let mut reader = Reader {
        format,
        root: &root,
        found,
    };
    for path in reader.main_files(pid, arguments) {
        reader.file(&path);
    }
    for timer in format.timers {
        let is_set = found.timers.iter().any(|it| it.setting == timer.setting);
        if !is_set && !timer.default.is_zero() {
            found.add_default(timer.setting, Some(true), timer.default);
        }
    }
    found.timers.retain(|timer| !timer.timeout.is_zero());
    Some(())
}

struct Reader<'a> {
    format: &'a Format,
    root: &'a Root,
    found: &'a mut Found,
}

impl Reader<'_> {
    /// The files that the process read at its start, the last one last.
    fn main_files(&self, pid: u32, arguments: &[String]) -> Vec<PathBuf> {
        if self.format == &POSTGRES {
            return postgres_files(pid, arguments).unwrap_or_default();
        }
        let named = self
            .format
            .option
            .and_then(|option| after(arguments, option));
        if let Some(path) = named {
            return vec![PathBuf::from(path)];
        }
        let places = self.format.places.iter().map(PathBuf::from);
        let mut existing = places.filter(|path| self.root.has(path));
        existing.next().into_iter().collect()
    }

    fn file(&mut self, path: &Path) {
        let Some(text) = self.root.text(path, self.found) else {
            return;
        };
        for line in lines(self.format, &text) {
            match line {
                Line::Timer(number, timer, value) => {
                    let place = format!("{}:{number}", path.display());
                    let timeout = time(&value, timer.unit);
                    // The last one counts.
                    self.found.timers.retain(|it| it.setting != timer.setting);
                    self.found.add(timer.setting, Some(true), timeout, place);
                }
                Line::Include(pattern) => {
                    let folder = path.parent().unwrap_or(path);
                    let files = self.root.matching(&folder.join(pattern));
                    for file in files.unwrap_or_default() {
                        self.file(&file);
                    }
                }
            }
        }
    }
}

/// `postgresql.conf`, then what `ALTER SYSTEM` wrote. A session's title says nothing; its parent's command line does.
fn postgres_files(pid: u32, own: &[String]) -> Option<Vec<PathBuf>> {
    let is_session = own.first().is_some_and(|title| title.ends_with(':'));
    let pid = if is_session { parent(pid)? } else { pid };
    let arguments = arguments(pid)?;
    let named = arguments.iter().find_map(|word| {
        let word = word.trim_start_matches('-').replace('-', "_");
        Some(PathBuf::from(
            word.strip_prefix("config_file")?.strip_prefix('=')?,
        ))
    });
    let data = after(&arguments, "-D").map(str::to_owned);
    let data = data.or_else(|| variable(pid, "PGDATA")).map(PathBuf::from);
    let main = named.or_else(|| Some(data.as_ref()?.join("postgresql.conf")));
    let altered = data.map(|data| data.join("postgresql.auto.conf"));
    Some(main.into_iter().chain(altered).collect())
}

#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// With its number and value.
    Timer(usize, &'static Timer, String),
    /// Files that are read in its place.
    Include(String),
}

/// `name value`, `name = value`, `name = 'value' # comment`; in sections, `!include FILE`.
pub fn lines(format: &Format, text: &str) -> Vec<Line> {
    let mut is_ours = format.sections.is_empty();
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line
            .strip_prefix('[')
            .filter(|_| !format.sections.is_empty())
        {
            let section = section.split(']').next().unwrap_or_default();
            is_ours = format
                .sections
                .iter()
                .any(|&ours| is_section(section, ours));
            continue;
        }
        let end = line.find(|letter: char| letter == '=' || letter.is_whitespace());
        let (name, value) = line.split_at(end.unwrap_or(line.len()));
        let value = value.trim_start().trim_start_matches('=').trim_start();
        let value = bare(value);
        // MySQL takes a dash for an underscore.
        let name = name.to_ascii_lowercase().replace('-', "_");
        match name.as_str() {
            "include" | "include_if_exists" | "includeoptional" | "!include" => {
                lines.push(Line::Include(value.to_owned()));
            }
            "include_dir" => lines.push(Line::Include(format!("{value}/*.conf"))),
            "!includedir" => lines.push(Line::Include(format!("{value}/*.cnf"))),
            name if is_ours => {
                let named = |timer: &&Timer| timer.setting.eq_ignore_ascii_case(name);
                let timer = format.timers.iter().find(named);
                lines.extend(timer.map(|timer| Line::Timer(index + 1, timer, value.to_owned())));
            }
            _ => {}
        }
    }
    lines
}

/// `mariadb` is also read from `mariadb-11.8`.
fn is_section(section: &str, ours: &str) -> bool {
    section
        .strip_prefix(ours)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// A value without its quotes, or without the comment behind it.
fn bare(value: &str) -> &str {
    for quote in ['\'', '"'] {
        if let Some(quoted) = value.strip_prefix(quote) {
            return quoted.split(quote).next().unwrap_or_default();
        }
    }
    value.split('#').next().unwrap_or_default().trim_end()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::tests::told;
    use super::*;

    /// Reads the file `/main` of a folder as `format` does.
    fn read_from(format: &Format, files: &[(&str, &str)]) -> Vec<(String, f64, String)> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = Root::at(folder.path()).unwrap();
        let mut found = Found::default();
        let mut reader = Reader {
            format,
            root: &root,
            found: &mut found,
        };
        reader.file(Path::new("/main"));
        told(&found)
    }

    fn expected(setting: &str, seconds: f64, place: &str) -> (String, f64, String) {
        (setting.to_owned(), seconds, place.to_owned())
    }

    #[test]
    fn timers_of_postgresql_are_found_and_the_last_one_counts() {
        let main = "\
#idle_session_timeout = 1min
idle_session_timeout = 60000\t# ms
Idle_In_Transaction_Session_Timeout '5min'
tcp_keepalives_idle = 60
include_dir = 'conf.d'
";
        let files = [
            ("main", main),
            ("conf.d/10.conf", "idle_session_timeout=2s"),
            ("conf.d/10.conf.old", "idle_session_timeout=9s"),
        ];
        assert_eq!(
            read_from(&POSTGRES, &files),
            [
                expected("idle_in_transaction_session_timeout", 300.0, "/main:3"),
                expected("idle_session_timeout", 2.0, "/conf.d/10.conf:1"),
            ]
        );
    }

    #[test]
    fn timers_of_mysql_are_those_of_the_servers_sections() {
        let main = "\
[client]
wait_timeout = 1
[mysqld]
wait-timeout=30
[mariadb-11.8]
net_read_timeout = 7 # seconds
!includedir /d/
!include /loop
";
        let files = [
            ("main", main),
            (
                "d/a.cnf",
                "[server]\nwait_timeout 40\n[mysqldump]\nwait_timeout 3",
            ),
            ("loop", "!include /loop"),
        ];
        assert_eq!(
            read_from(&MYSQL, &files),
            [
                expected("net_read_timeout", 7.0, "/main:6"),
                expected("wait_timeout", 40.0, "/d/a.cnf:2"),
            ]
        );
    }

    #[test]
    fn the_timer_of_apache_is_found_whatever_its_case() {
        let main =
            "Timeout 300\n<VirtualHost *:80>\n  keepalivetimeout 100ms\nIncludeOptional m/*.conf\n";
        assert_eq!(
            read_from(&APACHE, &[("main", main), ("m/a.conf", "KeepAlive On")]),
            [
                expected("Timeout", 300.0, "/main:1"),
                expected("KeepAliveTimeout", 0.1, "/main:3"),
            ]
        );
    }

    #[test]
    fn the_timer_of_redis_is_found() {
        let main = "timeout 300\n# timeout 1\ntcp-keepalive 60\ncluster-node-timeout 5\n";
        assert_eq!(
            read_from(&REDIS, &[("main", main)]),
            [expected("timeout", 300.0, "/main:1")]
        );
    }
}
