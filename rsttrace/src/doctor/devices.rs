//! Which devices forget a quiet connection, and after how long?

use std::sync::LazyLock;
use std::time::Duration;

use crate::event::Environment;

/// A device that keepalive helps with: packets pass through it and it forgets connections without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTimeout {
    /// Its name.
    pub device: &'static str,
    /// How long it remembers a connection without a packet, by default.
    pub timeout: Duration,
    /// The cloud it belongs to; absent if it may stand anywhere.
    pub environment: Option<Environment>,
}

/// All that are known, from data/idle-timeouts.tsv.
pub fn known_timeouts() -> &'static [KnownTimeout] {
    static KNOWN: LazyLock<Vec<KnownTimeout>> = LazyLock::new(|| {
        include_str!("../../data/idle-timeouts.tsv")
            .lines()
            .filter_map(row)
            .collect()
    });
    &KNOWN
}

/// A row of the table: device, default in seconds, configurable, at expiry, kind, keepalive helps, source. Rows that are
/// no device of the kind are left out.
fn row(line: &'static str) -> Option<KnownTimeout> {
    let columns: Vec<_> = line.split('\t').collect();
    let [device, seconds, _, _, "transparent", "yes", ..] = columns[..] else {
        return None;
    };
    // This host's own settings are read, not assumed.
    if device.starts_with("Linux ") {
        return None;
    }
    let seconds: u64 = seconds.parse().ok().filter(|&seconds| seconds > 0)?;
    let environment = match device.split_once(' ').map_or(device, |(first, _)| first) {
        "AWS" => Some(Environment::Aws),
        "Azure" | "AKS" => Some(Environment::Azure),
        "GCP" => Some(Environment::Gcp),
        "OCI" => Some(Environment::Oci),
        "IBM" => Some(Environment::Ibm),
        _ => None,
    };
    Some(KnownTimeout {
        device,
        timeout: Duration::from_secs(seconds),
        environment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_keepalive_helps_with_are_read_and_others_are_not() {
        let find = |name: &str| known_timeouts().iter().find(|it| it.device == name);
        let balancer = find("AWS NLB (TCP)").map(|it| (it.timeout.as_secs(), it.environment));
        assert_eq!(balancer, Some((350, Some(Environment::Aws))));
        assert_eq!(find("Cisco ASA conn").map(|it| it.environment), Some(None));
        // Terminating, an endpoint, keepalive does not help, read from this host.
        for other in [
            "AWS ALB",
            "Redis timeout",
            "Cisco ASA half-closed",
            "Linux conntrack established",
        ] {
            assert_eq!(find(other), None, "{other}");
        }
    }
}
