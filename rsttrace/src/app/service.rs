//! Notifications to the service manager (sd_notify(3)): readiness, status and watchdog.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use log::warn;

use crate::sys::clock;

/// Interval of status updates if there is no watchdog.
const INTERVAL: Duration = Duration::from_secs(15);
/// Half of a watchdog's time is never shorter, so that a wrong unit file cannot keep the loop busy.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// The service manager that started this process, if one did. The event loop itself sends all messages: if it stalls, the
/// watchdog expires.
pub struct Service(Option<Manager>);

struct Manager {
    socket: UnixDatagram,
    interval: Duration,
    has_watchdog: bool,
    due: Instant,
    /// The first failure has been reported.
    has_failed: bool,
}

impl Service {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`; without the first one nothing is sent.
    pub fn from_environment() -> Self {
        Self::of(|name| env::var_os(name))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0);
        let half = |usec| (Duration::from_micros(usec) / 2).max(MIN_INTERVAL);
        match connect(&name) {
            Ok(socket) => Self(Some(Manager {
                socket,
                interval: watchdog.map_or(INTERVAL, half),
                has_watchdog: watchdog.is_some(),
                due: Instant::now(),
                has_failed: false,
            })),
            Err(error) => {
                warn!(
                    "cannot notify the service manager at {}: {error}; check NotifyAccess= and NOTIFY_SOCKET",
                    name.display()
                );
                Self(None)
            }
        }
    }

    /// When [`Self::tick`] has something to send; absent without a service manager.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.as_ref().map(|manager| manager.due)
    }

    /// Sends readiness, status and keep-alive if they are due. A manager that was too busy for the first message gets
    /// readiness with a later one.
    pub fn tick(&mut self, now: Instant, status: impl FnOnce() -> String) {
        let Some(manager) = self.0.as_mut().filter(|manager| now >= manager.due) else {
            return;
        };
        manager.due = now + manager.interval;
        // The protocol separates assignments by newlines.
        let status = status().replace('\n', " ");
        let keep_alive = if manager.has_watchdog {
            "\nWATCHDOG=1"
        } else {
            ""
        };
        manager.send(&format!("READY=1\nSTATUS={status}{keep_alive}"));
    }

    /// Whether a service manager started this process.
    pub fn is_managed(&self) -> bool {
        self.0.is_some()
    }

    /// The configuration is read again; the next [`Self::tick`] is due at once and ends it.
    pub fn reloading(&mut self, now: Instant) {
        if let Some(manager) = &mut self.0 {
            manager.due = now;
            // Absent: without it, systemd does not wait for the end.
            let usec = clock::monotonic_usec().map(|usec| format!("\nMONOTONIC_USEC={usec}"));
            manager.send(&format!("RELOADING=1{}", usec.unwrap_or_default()));
        }
    }

    /// The trace has ended; what is left is being written.
    pub fn stopping(&mut self) {
        if let Some(manager) = &mut self.0 {
            manager.send("STOPPING=1\nSTATUS=stopping");
        }
    }
}

impl Manager {
    /// Never waits: a service manager that does not read must not stop the trace.
    fn send(&mut self, message: &str) {
        if let Err(error) = self.socket.send(message.as_bytes())
            && !std::mem::replace(&mut self.has_failed, true)
        {
            warn!("cannot notify the service manager: {error}; it may restart rsttrace");
        }
    }
}

/// A name that begins with `@` is an abstract one.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(name)?,
    }
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    struct SystemManager {
        socket: UnixDatagram,
        name: OsString,
        _folder: Option<tempfile::TempDir>,
    }

    impl SystemManager {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notify");
            Self::listening(
                UnixDatagram::bind(&path).unwrap(),
                path.into(),
                Some(folder),
            )
        }

        fn listening(
            socket: UnixDatagram,
            name: OsString,
            folder: Option<tempfile::TempDir>,
        ) -> Self {
            socket.set_nonblocking(true).unwrap();
            Self {
                socket,
                name,
                _folder: folder,
            }
        }

        /// The service that it starts, with these variables besides its socket.
        fn starts(&self, variables: &[(&str, &str)]) -> Service {
            Service::of(|name| match name {
                "NOTIFY_SOCKET" => Some(self.name.clone()),
                name => {
                    let found = variables.iter().find(|(key, _)| *key == name);
                    found.map(|(_, value)| value.into())
                }
            })
        }

        fn received(&self) -> Option<String> {
            let mut buffer = [0; 4_096];
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        }
    }

    fn status() -> String {
        "2 resets\nin 3 s".to_owned()
    }

    #[test]
    fn without_a_socket_nothing_is_due() {
        for socket in [None, Some("")] {
            let mut service = Service::of(|name| match name {
                "NOTIFY_SOCKET" => socket.map(OsString::from),
                _ => Some("2000000".into()),
            });
            assert_eq!(service.deadline(), None);
            let mut asked = false;
            service.tick(Instant::now(), || {
                asked = true;
                status()
            });
            assert!(!asked);
            service.stopping();
        }
    }

    #[test]
    fn readiness_and_status_come_at_once_and_the_end_last() {
        let manager = SystemManager::new();
        let mut service = manager.starts(&[]);
        let now = Instant::now();
        service.tick(now, status);
        assert_eq!(
            manager.received().unwrap(),
            "READY=1\nSTATUS=2 resets in 3 s"
        );
        service.tick(now + INTERVAL / 2, status);
        assert_eq!(manager.received(), None);
        service.stopping();
        assert_eq!(manager.received().unwrap(), "STOPPING=1\nSTATUS=stopping");
    }

    #[test]
    fn a_reload_begins_and_ends() {
        let manager = SystemManager::new();
        let mut service = manager.starts(&[]);
        assert!(service.is_managed());
        let now = Instant::now();
        service.tick(now, status);
        manager.received().unwrap();
        let before = clock::monotonic_usec().unwrap();
        service.reloading(now);
        let message = manager.received().unwrap();
        let usec: u64 = message
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap()
            .parse()
            .unwrap();
        assert!((before..=clock::monotonic_usec().unwrap()).contains(&usec));
        service.tick(now, status);
        let message = manager.received().unwrap();
        assert!(message.starts_with("READY=1\n"), "{message}");
        assert_eq!(manager.received(), None);
    }

    #[test]
    fn the_watchdog_is_kept_alive_at_half_of_its_time() {
        let manager = SystemManager::new();
        let mut service = manager.starts(&[("WATCHDOG_USEC", "2000000")]);
        let now = Instant::now();
        service.tick(now, status);
        assert!(manager.received().unwrap().ends_with("\nWATCHDOG=1"));
        assert_eq!(service.deadline(), Some(now + Duration::from_secs(1)));
        service.tick(now + Duration::from_millis(999), status);
        assert_eq!(manager.received(), None);
        service.tick(now + Duration::from_secs(1), status);
        assert!(manager.received().unwrap().ends_with("\nWATCHDOG=1"));
    }

    #[test]
    fn the_watchdog_of_another_process_or_of_no_time_is_ignored() {
        let own = std::process::id().to_string();
        for (pid, usec, has_watchdog) in [
            (own.as_str(), "2000000", true),
            ("1", "2000000", false),
            (&own, "0", false),
            (&own, "soon", false),
        ] {
            let manager = SystemManager::new();
            let mut service = manager.starts(&[("WATCHDOG_PID", pid), ("WATCHDOG_USEC", usec)]);
            service.tick(Instant::now(), status);
            let message = manager.received().unwrap();
            assert_eq!(message.contains("WATCHDOG=1"), has_watchdog, "{pid} {usec}");
        }
    }

    #[test]
    fn an_abstract_socket_is_one_whose_name_begins_with_at() {
        let name = format!("rsttrace-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let manager = SystemManager::listening(socket, format!("@{name}").into(), None);
        manager.starts(&[]).tick(Instant::now(), status);
        assert!(manager.received().unwrap().starts_with("READY=1\n"));
    }

    #[test]
    fn a_manager_that_does_not_read_or_has_gone_blocks_nothing() {
        let manager = SystemManager::new();
        let mut service = manager.starts(&[("WATCHDOG_USEC", "2000000")]);
        let mut now = Instant::now();
        // More than any queue of datagrams holds.
        for _ in 0..10_000 {
            service.tick(now, status);
            now = service.deadline().unwrap();
        }
        while manager.received().is_some() {}
        service.tick(now, status);
        assert!(manager.received().unwrap().starts_with("READY=1\n"));
        drop(manager);
        service.stopping();
    }

    #[test]
    fn a_socket_that_is_not_there_is_no_failure() {
        let nowhere = |name: &str| (name == "NOTIFY_SOCKET").then(|| "/nonexistent/notify".into());
        assert_eq!(Service::of(nowhere).deadline(), None);
    }
}
