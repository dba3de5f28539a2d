//! Programs that are known by name: whose timers and settings the tables name.

use std::sync::LazyLock;

use crate::hash::HashMap;

/// A program that the tables of timeouts and advice know.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name in the table of advice, and in sentences.
    pub name: &'static str,
    /// Names of its processes (`/proc/PID/comm`).
    comms: &'static [&'static str],
    /// The first word of its rows in the table of idle timeouts; empty if it has none.
    device: &'static str,
    /// It has connections to clients and to servers, and closes idle ones of both.
    pub is_proxy: bool,
}

/// Every program, unique by name.
pub const PROGRAMS: &[Program] = &[
    proxy("nginx", &["nginx", "openresty"], "nginx"),
    proxy("haproxy", &["haproxy"], "HAProxy"),
    proxy("envoy", &["envoy"], "Envoy"),
    proxy("traefik", &["traefik"], "Traefik"),
    proxy("caddy", &["caddy"], "Caddy"),
    proxy("squid", &["squid"], ""),
    proxy("varnish", &["varnishd"], ""),
    proxy("pound", &["pound"], ""),
    proxy("pen", &["pen"], ""),
    server("apache", &["apache2", "httpd"], "Apache"),
    server("node", &["node"], "Node.js"),
    server("gunicorn", &["gunicorn"], "gunicorn"),
    server("uvicorn", &["uvicorn"], "uvicorn"),
    server("java", &["java"], "Tomcat"),
    server("postgres", &["postgres"], "PostgreSQL"),
    server("mysql", &["mysqld", "mariadbd"], "MySQL"),
    server("redis", &["redis-server", "valkey-server"], "Redis"),
    server("sshd", &["sshd", "sshd-session", "sshd-auth"], ""),
];

const fn proxy(
    name: &'static str,
    comms: &'static [&'static str],
    device: &'static str,
) -> Program {
    Program {
        name,
        comms,
        device,
        is_proxy: true,
    }
}

const fn server(
    name: &'static str,
    comms: &'static [&'static str],
    device: &'static str,
) -> Program {
    Program {
        name,
        comms,
        device,
        is_proxy: false,
    }
}

/// The program that a process runs. Interpreters have a name of their own, so a script is found in the command line, and a program
/// that renames its threads by its file.
pub fn program(comm: &str, exe: Option<&str>, cmdline: Option<&str>) -> Option<&'static Program> {
    // Most processes are none of them, and each record asks.
    static BY_COMM: LazyLock<HashMap<&str, &Program>> = LazyLock::new(|| {
        let comms = |program: &'static Program| program.comms.iter().map(move |&it| (it, program));
        PROGRAMS.iter().flat_map(comms).collect()
    });
    let named = |name: &str| BY_COMM.get(name).copied();
    let found = named(comm);
    if found.is_some() {
        return found;
    }
    let exe = exe.map(file_name)?;
    if exe.starts_with("python") {
        // `python3 /usr/bin/gunicorn app:app`, `python3 -m uvicorn app:app`.
        return cmdline?
            .split_whitespace()
            .skip(1)
            .take(2)
            .find_map(|word| named(file_name(word)));
    }
    named(exe)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Program {
    /// Whether a device of the table is this program.
    pub fn is(&self, device: &str) -> bool {
        let first = device.split_whitespace().next().unwrap_or_default();
        !first.is_empty() && first == self.device
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::silence::devices;

    fn name(comm: &str, exe: Option<&str>, cmdline: Option<&str>) -> Option<&'static str> {
        program(comm, exe, cmdline).map(|program| program.name)
    }

    #[test]
    fn a_program_is_known_by_its_process() {
        for (comm, exe, cmdline, expected) in [
            ("nginx", None, None, Some("nginx")),
            ("mariadbd", Some("/usr/sbin/mariadbd"), None, Some("mysql")),
            // Node.js names its main thread.
            ("MainThread", Some("/usr/bin/node"), None, Some("node")),
            (
                "python3",
                Some("/usr/bin/python3.12"),
                Some("/usr/bin/python3 /usr/bin/gunicorn app:app"),
                Some("gunicorn"),
            ),
            (
                "python3",
                Some("/usr/bin/python3.12"),
                Some("python3 -m uvicorn app:app --timeout-keep-alive 30"),
                Some("uvicorn"),
            ),
            // Its argument is no program.
            (
                "python3",
                Some("/usr/bin/python3.12"),
                Some("python3 check.py --target nginx"),
                None,
            ),
            (
                "orders",
                Some("/srv/orders"),
                Some("/srv/orders nginx"),
                None,
            ),
            ("python3", None, None, None),
        ] {
            assert_eq!(name(comm, exe, cmdline), expected, "{comm} {cmdline:?}");
        }
    }

    #[test]
    fn names_are_unique_and_fit_into_a_comm() {
        let comms: Vec<_> = PROGRAMS.iter().flat_map(|program| program.comms).collect();
        assert_eq!(comms.iter().collect::<HashSet<_>>().len(), comms.len());
        assert!(comms.iter().all(|comm| comm.len() <= 15));
        let names: HashSet<_> = PROGRAMS.iter().map(|program| program.name).collect();
        assert_eq!(names.len(), PROGRAMS.len());
    }

    #[test]
    fn its_devices_are_in_the_table_of_timeouts() {
        for program in PROGRAMS.iter().filter(|program| !program.device.is_empty()) {
            let has_one = devices::all().iter().any(|device| program.is(device.name));
            assert!(has_one, "{}", program.name);
        }
        assert!(!PROGRAMS[0].is("AWS ALB") && !PROGRAMS[5].is(""));
    }
}
