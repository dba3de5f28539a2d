//! Known devices that expire idle connections, with their timeouts.

use std::sync::LazyLock;
use std::time::Duration;

use crate::event::Environment;
use crate::silence::devices::{self, Kind};

/// A device that keepalive helps with: packets pass through it and it forgets connections without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTimeout {
    pub device: &'static str,
    /// How long it remembers a connection without a packet, by default.
    pub timeout: Duration,
    /// The cloud it belongs to; absent if it may stand anywhere.
    pub environment: Option<Environment>,
}

/// All that are known: of this host's own tables the settings are read, not assumed.
pub fn known_timeouts() -> &'static [KnownTimeout] {
    static KNOWN: LazyLock<Vec<KnownTimeout>> = LazyLock::new(|| {
        devices::all()
            .iter()
            .filter(|device| device.kind == Kind::Transparent)
            .filter(|device| device.keepalive_helps == Some(true))
            .filter(|device| !device.name.starts_with("Linux "))
            .filter_map(|device| {
                Some(KnownTimeout {
                    device: device.name,
                    timeout: device.timeout?,
                    environment: device.vendor,
                })
            })
            .collect()
    });
    &KNOWN
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
