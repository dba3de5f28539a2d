//! Units of a process as journald names them, from the cgroup path.
//!
//! Only the first group below the slices at the root is a unit of the system. Users and containers can give any name to groups below it.

/// Absent: the path has none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Units<'a> {
    pub system: Option<&'a str>,
    /// Of the service manager of a user.
    pub user: Option<&'a str>,
}

/// As `cg_path_get_unit` and `cg_path_get_user_unit` of systemd.
pub fn units(path: &str) -> Units<'_> {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    let mut next = || names.find(|name| !name.ends_with(".slice")).and_then(unit);
    let system = next();
    let is_manager = system.is_some_and(|it| it.starts_with("user@"));
    let user = is_manager.then(next).flatten();
    Units { system, user }
}

/// A leading underscore escapes a name that the kernel reserves.
fn unit(name: &str) -> Option<&str> {
    let name = name.strip_prefix('_').unwrap_or(name);
    (name.ends_with(".service") || name.ends_with(".scope")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_users_and_containers_choose_are_no_unit_of_the_system() {
        let manager = Some("user@1000.service");
        for (path, system, user) in [
            ("/", None, None),
            (
                "/system.slice/nginx.service/worker",
                Some("nginx.service"),
                None,
            ),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                Some("getty@tty1.service"),
                None,
            ),
            (
                "/user.slice/user-0.slice/session-3.scope",
                Some("session-3.scope"),
                None,
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
                manager,
                Some("nginx.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/init.scope",
                manager,
                Some("init.scope"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/x/system.slice/nginx.service",
                manager,
                None,
            ),
            ("/docker/0f1e/system.slice/nginx.service", None, None),
            (
                "/system.slice/docker-0f1e.scope/system.slice/nginx.service",
                Some("docker-0f1e.scope"),
                None,
            ),
            ("/lxc.payload.web1/system.slice/nginx.service", None, None),
            // From within another cgroup namespace: what is above is not known.
            ("/../system.slice/nginx.service", None, None),
        ] {
            assert_eq!(units(path), Units { system, user }, "{path}");
        }
    }
}
