//! Names of settings: devices on the path, draining of servers.

use crate::event::Environment;

/// The setting that changes a device's idle timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// Its name.
    Named(&'static str),
    /// There is none.
    Fixed,
}

/// The setting of a device of the table, by its name there; `None` for others.
pub(super) fn of_device(name: &str) -> Option<Setting> {
    DEVICES
        .iter()
        .find(|(device, _)| *device == name)
        .map(|(_, setting)| *setting)
}

/// Every device of the table that may be a candidate.
const DEVICES: &[(&str, Setting)] = &[
    (
        "AWS NLB (TCP)",
        Setting::Named("listener attribute `tcp.idle_timeout.seconds`"),
    ),
    ("AWS NLB (TLS)", Setting::Fixed),
    (
        "AWS ALB",
        Setting::Named("attribute `idle_timeout.timeout_seconds`"),
    ),
    (
        "AWS CLB",
        Setting::Named("`ConnectionSettings.IdleTimeout`"),
    ),
    (
        "AWS GWLB",
        Setting::Named("listener attribute `tcp.idle_timeout.seconds`"),
    ),
    ("AWS NAT gateway", Setting::Fixed),
    (
        "Azure Load Balancer",
        Setting::Named("`idleTimeoutInMinutes` of the rule, with `enableTcpReset` on"),
    ),
    (
        "Azure NAT Gateway",
        Setting::Named("`idleTimeoutInMinutes`"),
    ),
    (
        "Azure Firewall",
        Setting::Named("a request to Azure support"),
    ),
    ("GCP Application LB, backend side", Setting::Fixed),
    (
        "GCP Application LB, client side",
        Setting::Named("`httpKeepAliveTimeoutSec`"),
    ),
    ("OCI Load Balancer, client", Setting::Fixed),
    ("OCI Load Balancer, backend", Setting::Fixed),
    (
        "nginx keepalive_timeout",
        Setting::Named("`keepalive_timeout`"),
    ),
    (
        "nginx upstream keepalive_timeout",
        Setting::Named("`keepalive_timeout` of the upstream"),
    ),
    (
        "nginx proxy_read_timeout",
        Setting::Named("`proxy_read_timeout`"),
    ),
    (
        "nginx stream proxy_timeout",
        Setting::Named("`proxy_timeout`"),
    ),
    (
        "Envoy HTTP idle, tcp_proxy idle",
        Setting::Named(
            "`common_http_protocol_options.idle_timeout`, or `idle_timeout` of tcp_proxy",
        ),
    ),
    ("Envoy stream idle", Setting::Named("`stream_idle_timeout`")),
    (
        "Istio (Envoy)",
        Setting::Named("`connectionPool` `idleTimeout` of the DestinationRule"),
    ),
    (
        "Traefik idleTimeout",
        Setting::Named("`respondingTimeouts.idleTimeout`"),
    ),
    ("Caddy idle_timeout", Setting::Named("`idle_timeout`")),
    (
        "Apache httpd KeepAliveTimeout",
        Setting::Named("`KeepAliveTimeout`"),
    ),
    ("Apache httpd Timeout", Setting::Named("`Timeout`")),
    (
        "F5 BIG-IP FastL4",
        Setting::Named("`idle-timeout` of the FastL4 profile"),
    ),
    (
        "Citrix NetScaler zombie sweep",
        Setting::Named("`set ns timeout -zombie`"),
    ),
    ("Cisco ASA conn", Setting::Named("`timeout conn`")),
    (
        "FortiGate session",
        Setting::Named("`config system session-ttl`"),
    ),
    (
        "IPVS established",
        Setting::Named("`ipvsadm --set TCP TCPFIN UDP`"),
    ),
    (
        "IPVS FIN_WAIT",
        Setting::Named("`ipvsadm --set TCP TCPFIN UDP`"),
    ),
    (
        "Linux conntrack established",
        Setting::Named("net.netfilter.nf_conntrack_tcp_timeout_established"),
    ),
    (
        "Linux conntrack unacknowledged / max retrans",
        Setting::Named("net.netfilter.nf_conntrack_tcp_timeout_unacknowledged"),
    ),
    (
        "Linux conntrack close_wait",
        Setting::Named("net.netfilter.nf_conntrack_tcp_timeout_close_wait"),
    ),
    (
        "kube-proxy conntrack established",
        Setting::Named("`--conntrack-tcp-timeout-established`"),
    ),
    (
        "kube-proxy conntrack close_wait",
        Setting::Named("`--conntrack-tcp-timeout-close-wait`"),
    ),
    (
        "Node.js keepAliveTimeout (older)",
        Setting::Named("`server.keepAliveTimeout`"),
    ),
    (
        "Node.js keepAliveTimeout (main, 2026)",
        Setting::Named("`server.keepAliveTimeout`"),
    ),
    ("gunicorn keepalive", Setting::Named("`--keep-alive`")),
    (
        "uvicorn timeout-keep-alive",
        Setting::Named("`--timeout-keep-alive`"),
    ),
    (
        "Go net/http client IdleConnTimeout",
        Setting::Named("`Transport.IdleConnTimeout`"),
    ),
    (
        "Tomcat connectionTimeout",
        Setting::Named("`keepAliveTimeout` of the Connector"),
    ),
    (
        "MySQL / MariaDB wait_timeout",
        Setting::Named("`wait_timeout`"),
    ),
];

/// What gives connections time to end when a server is taken out of service.
pub(super) fn draining(environment: Option<Environment>) -> &'static str {
    match environment {
        Some(Environment::Aws) => {
            "raise `deregistration_delay.timeout_seconds` of the target group, and leave `deregistration_delay.connection_termination.enabled` off"
        }
        Some(Environment::Gcp) => {
            "raise `connectionDraining.drainingTimeoutSec` of the backend service"
        }
        Some(Environment::Azure) => {
            "set `connectionDraining` with `drainTimeoutInSec` (Application Gateway), or the backend's admin state to Down before it stops (Load Balancer)"
        }
        Some(Environment::Oci) => "set the backend to `drain` before it stops",
        Some(Environment::Ibm) | None => {
            "set the balancer's deregistration delay or connection draining longer than requests take"
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::silence::devices::{self, Expiry};

    #[test]
    fn every_device_that_may_be_a_candidate_has_its_setting() {
        for device in devices::all() {
            let never = device.timeout.is_none()
                || device.name == "Linux TCP keepalive"
                || (device.expiry == Expiry::Silent && !device.reset_is_optional);
            assert_eq!(of_device(device.name).is_none(), never, "{}", device.name);
        }
    }

    #[test]
    fn no_setting_is_of_a_device_that_the_table_does_not_have() {
        for (name, _) in DEVICES {
            assert!(
                devices::all().iter().any(|device| device.name == *name),
                "{name}"
            );
        }
    }
}
