//! Known timeouts that can be a process's own.

/// Programs whose work is to close idle connections of others, by the kernel's name of the process.
const PROXIES: &[&str] = &[
    "caddy",
    "envoy",
    "haproxy",
    "nginx",
    "openresty",
    "pen",
    "pound",
    "squid",
    "traefik",
    "varnishd",
];

/// Process names that the table of devices knows by another word.
const ALIASES: &[(&str, &str)] = &[
    ("apache2", "apache"),
    ("httpd", "apache"),
    ("java", "tomcat"),
    ("mariadbd", "mysql"),
    ("mysqld", "mysql"),
    ("node", "node.js"),
    ("openresty", "nginx"),
    ("postgres", "postgresql"),
    ("redis-server", "redis"),
];

/// Whether a process of this name is a proxy.
pub fn is_proxy(comm: &str) -> bool {
    PROXIES.contains(&comm)
}

/// Whether a device of the table is the software that runs under this name.
pub fn is_of(device: &str, comm: &str) -> bool {
    let name = ALIASES
        .iter()
        .find(|(alias, _)| *alias == comm)
        .map_or(comm, |(_, name)| name);
    let first = device.split_whitespace().next().unwrap_or_default();
    first.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_by_the_name_of_the_process() {
        for (device, comm, expected) in [
            ("nginx keepalive_timeout", "nginx", true),
            ("Node.js keepAliveTimeout (older)", "node", true),
            ("Apache httpd KeepAliveTimeout", "apache2", true),
            ("AWS ALB", "nginx", false),
            ("", "nginx", false),
        ] {
            assert_eq!(is_of(device, comm), expected, "{device} {comm}");
        }
        assert!(is_proxy("haproxy") && !is_proxy("java"));
    }
}
