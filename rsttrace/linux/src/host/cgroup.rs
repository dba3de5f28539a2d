//! Container, pod and unit from a cgroup path. Pure.
//!
//! There is no interface to ask; the names are conventions of Docker, containerd, CRI-O, Podman, LXC, the kubelet
//! (cgroupfs and systemd drivers) and systemd. A path that follows none of them yields nothing.

/// What a path names. Each part is absent if the path does not name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Container id: 64 hexadecimal digits, or the name of an LXC container.
    pub container_id: Option<String>,
    /// systemd unit as `systemctl` shows it: a service, or a scope that is not just a container's.
    pub unit: Option<String>,
    /// Kubernetes pod uid, with dashes.
    pub pod_uid: Option<String>,
}

/// One line of `/proc/PID/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership<'a> {
    /// Controllers, or `name=…`, separated by commas; empty: the v2 hierarchy.
    pub controllers: &'a str,
    /// Path within the hierarchy.
    pub path: &'a str,
}

/// Reads the path of one control group. The deepest name counts, so a container in a container is the inner one.
pub fn ids(path: &str) -> Ids {
    let mut found = Ids::default();
    let mut parent_is_lxc = false;
    for component in path.split('/') {
        // `kubepods-…-podUID.slice:cri-containerd:ID`: a systemd name that the cgroupfs driver took literally.
        for part in component.split(':') {
            if let Some(uid) = pod_uid(part) {
                found.pod_uid = Some(uid);
            } else if let Some(id) = container_id(part, parent_is_lxc) {
                found.container_id = Some(id.to_owned());
            } else if part.ends_with(".service") || (part.ends_with(".scope") && !is_monitor(part))
            {
                found.unit = Some(part.to_owned());
            }
        }
        parent_is_lxc = matches!(component, "lxc" | "lxc.payload");
    }
    found
}

/// Whether somebody other than root may have chosen the names that [`ids`] finds: systemd lets users make groups below theirs, and the
/// runtimes let containers. Files of another container must not describe such a process.
pub fn may_be_forged(path: &str) -> bool {
    let is_of_user = |name: &str| {
        (name.starts_with("user@") && name.ends_with(".service"))
            || (name.starts_with("user-") && name.ends_with(".slice"))
    };
    let (mut container, mut pod) = (None, None);
    let mut parent_is_lxc = false;
    for component in path.split('/') {
        for part in component.split(':') {
            if is_of_user(part) {
                return true;
            }
            if let Some(uid) = pod_uid(part) {
                // The pod is around the container.
                if container.is_some() || pod.replace(uid).is_some() {
                    return true;
                }
            } else if let Some(id) = container_id(part, parent_is_lxc)
                && container.replace(id).is_some_and(|outer| outer != id)
            {
                return true;
            }
        }
        parent_is_lxc = matches!(component, "lxc" | "lxc.payload");
    }
    false
}

/// The path that says most: of v2, then systemd's v1 hierarchy, then the usual controllers, the first that names
/// something; else the first that is not the root; else the root. Absent only without any line.
pub fn telling_path<'a>(memberships: &[Membership<'a>]) -> Option<&'a str> {
    const ORDER: &[&str] = &[
        "",
        "name=systemd",
        "memory",
        "pids",
        "cpu",
        "devices",
        "freezer",
    ];
    let mut paths: Vec<(usize, &str)> = memberships
        .iter()
        .map(|it| {
            let rank = |name| {
                ORDER
                    .iter()
                    .position(|&known| known == name)
                    .unwrap_or(ORDER.len())
            };
            (
                it.controllers
                    .split(',')
                    .map(rank)
                    .min()
                    .unwrap_or(ORDER.len()),
                it.path,
            )
        })
        .collect();
    paths.sort_by_key(|&(rank, _)| rank);
    let mut in_order = paths.iter().map(|&(_, path)| path);
    in_order
        .clone()
        .find(|path| ids(path) != Ids::default())
        .or_else(|| in_order.clone().find(|path| !matches!(*path, "/" | "")))
        .or_else(|| in_order.next())
}

fn container_id(part: &str, parent_is_lxc: bool) -> Option<&str> {
    const PREFIXES: &[&str] = &[
        "docker-",
        "cri-containerd-",
        "containerd-",
        "crio-",
        "libpod-payload-",
        "libpod-",
    ];
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(name);
    }
    if parent_is_lxc {
        return (!part.is_empty()).then_some(part);
    }
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    let id = PREFIXES
        .iter()
        .find_map(|prefix| bare.strip_prefix(prefix))
        .unwrap_or(bare);
    let is_id = id.len() == 64 && is_hex(id);
    // Amazon ECS on Fargate: task id and a number.
    let is_fargate = || {
        id.split_once('-')
            .is_some_and(|(task, number)| task.len() == 32 && is_hex(task) && is_decimal(number))
    };
    (is_id || is_fargate()).then_some(id)
}

fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.rsplit_once("-pod") {
        Some((slice, uid)) if slice.contains("kubepods") => uid,
        _ => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let dashed = uid.len() == 36 && uid.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    // Static pods have a hash instead.
    let is_uid = (dashed || uid.len() == 32) && uid.split('-').all(is_hex);
    is_uid.then_some(uid)
}

/// conmon, which looks after a container from outside.
fn is_monitor(part: &str) -> bool {
    part.starts_with("crio-conmon-") || part.starts_with("libpod-conmon-")
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ID: &str = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
    const OUTER: &str = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35";
    const UID: &str = "8d3a5f2e-1b6c-4e9f-a7d4-0c2b5e8f1a36";

    /// (what it is, path, container, unit, pod); `<u_id>` is the pod's uid with underscores.
    #[allow(clippy::type_complexity, reason = "a table")]
    const PATHS: &[(&str, &str, Option<&str>, Option<&str>, Option<&str>)] = &[
        ("root", "/", None, None, None),
        (
            "service",
            "/system.slice/nginx.service",
            None,
            Some("nginx.service"),
            None,
        ),
        (
            "template",
            "/system.slice/system-getty.slice/getty@tty1.service",
            None,
            Some("getty@tty1.service"),
            None,
        ),
        (
            "sub-group",
            "/system.slice/ssh.service/worker",
            None,
            Some("ssh.service"),
            None,
        ),
        (
            "user unit",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/my\\x2dapp.service",
            None,
            Some("my\\x2dapp.service"),
            None,
        ),
        (
            "login session",
            "/user.slice/user-0.slice/session-3.scope",
            None,
            Some("session-3.scope"),
            None,
        ),
        ("init", "/init.scope", None, Some("init.scope"), None),
        ("docker, cgroupfs", "/docker/<id>", Some("<id>"), None, None),
        (
            "docker, systemd",
            "/system.slice/docker-<id>.scope",
            Some("<id>"),
            None,
            None,
        ),
        (
            "docker in docker",
            "/docker/<outer>/docker/<id>",
            Some("<id>"),
            None,
            None,
        ),
        (
            "systemd in docker",
            "/docker/<id>/system.slice/nginx.service",
            Some("<id>"),
            Some("nginx.service"),
            None,
        ),
        (
            "kubelet, cgroupfs",
            "/kubepods/burstable/pod<uid>/<id>",
            Some("<id>"),
            None,
            Some("<uid>"),
        ),
        (
            "kubelet, cgroupfs, guaranteed",
            "/kubepods/pod<uid>/<id>",
            Some("<id>"),
            None,
            Some("<uid>"),
        ),
        (
            "kubelet, systemd, containerd",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<u_id>.slice/cri-containerd-<id>.scope",
            Some("<id>"),
            None,
            Some("<uid>"),
        ),
        (
            "kubelet, systemd, docker",
            "/kubepods.slice/kubepods-pod<u_id>.slice/docker-<id>.scope",
            Some("<id>"),
            None,
            Some("<uid>"),
        ),
        (
            "kubelet, systemd, CRI-O",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u_id>.slice/crio-<id>.scope/container",
            Some("<id>"),
            None,
            Some("<uid>"),
        ),
        (
            "CRI-O's monitor",
            "/kubepods.slice/kubepods-pod<u_id>.slice/crio-conmon-<id>.scope",
            None,
            None,
            Some("<uid>"),
        ),
        (
            "kind",
            "/docker/<outer>/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<u_id>.slice/cri-containerd-<id>.scope",
            Some("<id>"),
            None,
            Some("<uid>"),
        ),
        (
            "names taken literally",
            "/system.slice/containerd.service/kubepods-burstable-pod<u_id>.slice:cri-containerd:<id>",
            Some("<id>"),
            Some("containerd.service"),
            Some("<uid>"),
        ),
        (
            "static pod",
            "/kubepods/burstable/pod1f2e3d4c5b6a79880123456789abcdef/<id>",
            Some("<id>"),
            None,
            Some("1f2e3d4c5b6a79880123456789abcdef"),
        ),
        (
            "containerd without Kubernetes",
            "/default/<id>",
            Some("<id>"),
            None,
            None,
        ),
        (
            "podman",
            "/machine.slice/libpod-<id>.scope",
            Some("<id>"),
            None,
            None,
        ),
        (
            "podman, payload split off",
            "/machine.slice/libpod-<id>.scope/container",
            Some("<id>"),
            None,
            None,
        ),
        (
            "podman under a unit",
            "/system.slice/web.service/libpod-payload-<id>",
            Some("<id>"),
            Some("web.service"),
            None,
        ),
        (
            "podman, rootless",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope",
            Some("<id>"),
            Some("user@1000.service"),
            None,
        ),
        (
            "podman's monitor",
            "/machine.slice/libpod-conmon-<id>.scope",
            None,
            None,
            None,
        ),
        ("LXC, v1", "/lxc/web1", Some("web1"), None, None),
        (
            "LXC, payload",
            "/lxc.payload.web1/system.slice/cron.service",
            Some("web1"),
            Some("cron.service"),
            None,
        ),
        ("LXC's monitor", "/lxc.monitor.web1", None, None, None),
        (
            "nspawn",
            "/machine.slice/systemd-nspawn@deb.service/payload",
            None,
            Some("systemd-nspawn@deb.service"),
            None,
        ),
        (
            "ECS",
            "/ecs/0f1e2d3c4b5a69788796a5b4c3d2e1f0/<id>",
            Some("<id>"),
            None,
            None,
        ),
        (
            "Fargate",
            "/ecs/0f1e2d3c4b5a69788796a5b4c3d2e1f0/0f1e2d3c4b5a69788796a5b4c3d2e1f0-1234567890",
            Some("0f1e2d3c4b5a69788796a5b4c3d2e1f0-1234567890"),
            None,
            None,
        ),
        (
            "no convention",
            "/jobs/2495938a246f863ddc7d1a10fca928a8",
            None,
            None,
            None,
        ),
        (
            "outside a cgroup namespace",
            "/../../system.slice/cron.service",
            None,
            Some("cron.service"),
            None,
        ),
        (
            "podcast is no pod",
            "/podcasts/pod-1.slice",
            None,
            None,
            None,
        ),
    ];

    #[test]
    fn conventions_are_understood() {
        for &(name, path, container_id, unit, pod_uid) in PATHS {
            let fill = |text: &str| {
                text.replace("<id>", ID)
                    .replace("<outer>", OUTER)
                    .replace("<uid>", UID)
                    .replace("<u_id>", &UID.replace('-', "_"))
            };
            let path = fill(path);
            let expected = Ids {
                container_id: container_id.map(fill),
                unit: unit.map(fill),
                pod_uid: pod_uid.map(fill),
            };
            assert_eq!(ids(&path), expected, "{name}: {path}");
        }
    }

    #[test]
    fn names_below_a_user_or_a_container_may_be_forged() {
        for (path, expected) in [
            (
                "/user.slice/user-1000.slice/user@1000.service/x/kubepods-pod<uid>.slice/cri-containerd-<id>.scope",
                true,
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope/docker-<id>.scope",
                true,
            ),
            ("/docker/<outer>/docker/<id>", true),
            ("/lxc/web1/docker/<id>", true),
            ("/docker/<outer>/kubepods/pod<uid>", true),
            (
                "/kubepods/pod<uid>/pod1f2e3d4c5b6a79880123456789abcdef/<id>",
                true,
            ),
            ("/docker/<id>", false),
            ("/system.slice/docker-<id>.scope", false),
            ("/machine.slice/libpod-<id>.scope/<id>", false),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/crio-<id>.scope/container",
                false,
            ),
            (
                "/system.slice/containerd.service/kubepods-pod<uid>.slice:cri-containerd:<id>",
                false,
            ),
            ("/system.slice/nginx.service", false),
        ] {
            let filled = path
                .replace("<id>", ID)
                .replace("<outer>", OUTER)
                .replace("<uid>", UID);
            assert_eq!(may_be_forged(&filled), expected, "{path}");
        }
    }

    #[test]
    fn the_hierarchy_that_names_most_is_chosen() {
        // (lines of /proc/PID/cgroup without their numbers, the path)
        type Case = (
            &'static [(&'static str, &'static str)],
            Option<&'static str>,
        );
        let cases: &[Case] = &[
            (
                &[("", "/system.slice/a.service")],
                Some("/system.slice/a.service"),
            ),
            (
                &[
                    ("memory", "/docker/x"),
                    ("name=systemd", "/system.slice/a.service"),
                    ("", "/"),
                ],
                Some("/system.slice/a.service"),
            ),
            // A hybrid mount where v2 and systemd stay at the root.
            (
                &[
                    ("name=systemd", "/"),
                    ("pids", "/"),
                    ("memory", "/jobs/7"),
                    ("cpu,cpuacct", "/"),
                    ("", "/"),
                ],
                Some("/jobs/7"),
            ),
            (&[("", "/"), ("cpu,cpuacct", "/")], Some("/")),
            (&[], None),
        ];
        for &(lines, path) in cases {
            let memberships: Vec<_> = lines
                .iter()
                .map(|&(controllers, path)| Membership { controllers, path })
                .collect();
            assert_eq!(telling_path(&memberships), path);
        }
    }
}
