//! The table of known idle timeouts: devices, and what they do when the timeout expires.
//!
//! The table is data with a date and a source in each line (`rsttrace/core/data/idle-timeouts.tsv`); a timeout that people
//! configure differently is not in it. That is why several devices with one timeout are candidates, never an answer.

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::Environment;

/// A device, proxy or server with an idle timeout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name and, where it has several timeouts, which of them: unique in the table.
    pub name: &'static str,
    /// The timeout it has unless configured otherwise; absent if it has none by default.
    pub timeout: Option<Duration>,
    /// The shortest and the longest that can be configured; absent where the source gives no limits, or it is fixed. A
    /// source that gives the longest only is read as "the default can be raised to it".
    pub range: Option<(Duration, Duration)>,
    /// What it does to a connection that outlives the timeout.
    pub expiry: Expiry,
    /// It can be configured to send a reset at expiry, which by default it does not.
    pub reset_is_optional: bool,
    /// The source itself says what happens at expiry.
    pub verified: bool,
    /// What it is to the connection.
    pub kind: Kind,
    /// Which end of the connection it is when its timer ends it.
    pub role: Role,
    /// TCP keepalive probes count as traffic; absent if not known.
    pub keepalive_helps: Option<bool>,
    /// The cloud it belongs to; absent for what runs anywhere.
    pub vendor: Option<Environment>,
    /// Where this is known from.
    pub source: &'static str,
}

/// What becomes of a connection that was idle for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// A reset to one or both ends, when the timer fires.
    RstAtExpiry,
    /// It is forgotten; whoever sends next gets a reset.
    LateRst,
    /// It is forgotten; later packets are dropped.
    Silent,
    /// It is closed with FIN.
    Close,
    /// Nothing: it lives for ever unless configured otherwise.
    None,
    /// The source does not say.
    Unknown,
}

/// What a device is to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Packets keep the far end's address; the device counts packets, keepalive probes included.
    Transparent,
    /// A proxy with a connection of its own to each end; it counts what its application sees.
    Terminating,
    /// The client or the server itself.
    Endpoint,
}

/// Which end of a connection a device is when its timer ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that accepted the connection.
    Listener,
    /// The end that connected.
    Connector,
    /// Either end.
    Both,
    /// Between the ends.
    Hop,
}

/// Every known device, in the order of the table.
pub fn all() -> &'static [Device] {
    &DEVICES
}

static TABLE: &str = include_str!("../../data/idle-timeouts.tsv");

// A bad line is a failing test, and one device fewer at run time.
static DEVICES: LazyLock<Vec<Device>> =
    LazyLock::new(|| rows(TABLE).filter_map(|line| device(line).ok()).collect());

/// The lines of a table of ours: without comments and the names of the columns.
pub fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .skip(1)
}

/// Why a line of the table is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum BadLine {
    #[error("not eight columns, separated by tabs")]
    Columns,
    #[error("the timeout is no whole number of seconds")]
    Timeout,
    #[error("no such kind")]
    Kind,
    #[error("no such role, or a role that its kind does not have")]
    Role,
    #[error("keepalive_helps is none of yes, no, ?, -")]
    Keepalive,
}

fn device(line: &'static str) -> Result<Device, BadLine> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [
        name,
        default,
        configurable,
        at_expiry,
        kind,
        role,
        keepalive,
        source,
    ] = columns[..]
    else {
        return Err(BadLine::Columns);
    };
    let default = seconds(default).ok_or(BadLine::Timeout)?;
    let timeout = (!default.is_zero()).then_some(default);
    let (expiry, verified) = expiry(at_expiry);
    let kind = match kind {
        "transparent" => Kind::Transparent,
        "terminating" => Kind::Terminating,
        "endpoint" => Kind::Endpoint,
        _ => return Err(BadLine::Kind),
    };
    let role = match role {
        "listener" => Role::Listener,
        "connector" => Role::Connector,
        "both" => Role::Both,
        "hop" => Role::Hop,
        _ => return Err(BadLine::Role),
    };
    if (role == Role::Hop) != (kind == Kind::Transparent) {
        return Err(BadLine::Role);
    }
    Ok(Device {
        name,
        timeout,
        range: range(configurable, timeout),
        expiry,
        reset_is_optional: at_expiry.contains("(RST"),
        verified,
        kind,
        role,
        keepalive_helps: keepalive_helps(keepalive)?,
        vendor: vendor(name),
        source,
    })
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_secs)
}

/// `60-6000` or `up to 1800`; other texts (`yes`, `no`, a setting's name) give no limits.
fn range(text: &str, default: Option<Duration>) -> Option<(Duration, Duration)> {
    let (least, most) = match text.strip_prefix("up to ") {
        Some(most) => (default?, seconds(most)?),
        None => {
            let (least, most) = text.split_once('-')?;
            (seconds(least)?, seconds(most)?)
        }
    };
    (least <= most).then_some((least, most))
}

/// The first word says it; what follows are conditions. A `?` after it: the source does not.
fn expiry(text: &str) -> (Expiry, bool) {
    let word = text.split([' ', ',', '(']).next().unwrap_or_default();
    let bare = word.strip_suffix('?');
    let expiry = match bare.unwrap_or(word) {
        "rst_at_expiry" => Expiry::RstAtExpiry,
        "late_rst" => Expiry::LateRst,
        "silent" => Expiry::Silent,
        "close" => Expiry::Close,
        "none" => Expiry::None,
        _ => Expiry::Unknown,
    };
    (expiry, bare.is_none() && expiry != Expiry::Unknown)
}

fn keepalive_helps(text: &str) -> Result<Option<bool>, BadLine> {
    match text.split(' ').next() {
        Some("yes") => Ok(Some(true)),
        Some("no") => Ok(Some(false)),
        Some("?" | "-") => Ok(None),
        _ => Err(BadLine::Keepalive),
    }
}

fn vendor(name: &str) -> Option<Environment> {
    match name.split(' ').next()? {
        "AWS" => Some(Environment::Aws),
        "Azure" | "AKS" => Some(Environment::Azure),
        "GCP" => Some(Environment::Gcp),
        "OCI" => Some(Environment::Oci),
        "IBM" => Some(Environment::Ibm),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> &'static Device {
        all()
            .iter()
            .find(|device| device.name == name)
            .unwrap_or_else(|| panic!("{name} is not in the table"))
    }

    const fn secs(value: u64) -> Duration {
        Duration::from_secs(value)
    }

    #[test]
    fn every_line_of_the_table_is_a_device_with_a_name_of_its_own() {
        for line in rows(TABLE) {
            assert!(device(line).is_ok(), "{line}: {:?}", device(line));
        }
        assert_eq!(all().len(), rows(TABLE).count());
        let names: HashSet<_> = all().iter().map(|device| device.name).collect();
        assert_eq!(names.len(), all().len(), "two lines share a name");
        assert!(all().iter().all(|device| !device.source.is_empty()));
    }

    #[test]
    fn a_balancer_that_answers_late() {
        assert_eq!(
            named("AWS NLB (TCP)"),
            &Device {
                name: "AWS NLB (TCP)",
                timeout: Some(secs(350)),
                range: Some((secs(60), secs(6000))),
                expiry: Expiry::LateRst,
                reset_is_optional: false,
                verified: true,
                kind: Kind::Transparent,
                role: Role::Hop,
                keepalive_helps: Some(true),
                vendor: Some(Environment::Aws),
                source: "docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html",
            }
        );
    }

    #[test]
    fn what_happens_at_expiry_is_read_with_its_conditions() {
        for (name, expiry, optional, verified) in [
            ("F5 BIG-IP FastL4", Expiry::RstAtExpiry, false, true),
            ("Linux TCP keepalive", Expiry::RstAtExpiry, false, true),
            ("IPVS established", Expiry::LateRst, false, true),
            ("GCP Cloud NAT", Expiry::Silent, false, true),
            ("AKS outbound", Expiry::Silent, false, false),
            ("AWS GWLB", Expiry::Silent, true, true),
            ("Azure Load Balancer", Expiry::Silent, true, true),
            ("FortiGate session", Expiry::Silent, true, true),
            ("AWS ALB", Expiry::Close, false, true),
            ("AWS NLB (TLS)", Expiry::Close, false, false),
            ("nginx keepalive_timeout", Expiry::Close, true, true),
            // That reset answers the request that raced: it is what comes of the close, not a choice.
            (
                "Node.js keepAliveTimeout (older)",
                Expiry::Close,
                false,
                true,
            ),
            ("Redis timeout", Expiry::None, false, true),
            (
                "Citrix NetScaler zombie sweep",
                Expiry::Unknown,
                false,
                false,
            ),
            ("HAProxy silent-drop", Expiry::Unknown, false, false),
        ] {
            let device = named(name);
            assert_eq!(
                (device.expiry, device.reset_is_optional, device.verified),
                (expiry, optional, verified),
                "{name}"
            );
        }
    }

    #[test]
    fn a_device_without_a_default_has_no_timeout() {
        for name in ["HAProxy timeout client / server", "Redis timeout"] {
            assert_eq!(named(name).timeout, None, "{name}");
        }
    }

    #[test]
    fn limits_are_given_only_where_the_source_has_both_or_the_upper_one() {
        for (name, range) in [
            ("AWS ALB", Some((1, 4000))),
            ("Azure Firewall", Some((240, 1800))),
            ("AWS NAT gateway", None),
            ("IPVS established", None),
            ("RFC 5382 NAT minimum", None),
            ("Tomcat connectionTimeout", None),
            ("Redis timeout", None),
        ] {
            let range = range.map(|(least, most)| (secs(least), secs(most)));
            assert_eq!(named(name).range, range, "{name}");
        }
    }

    #[test]
    fn kind_keepalive_and_cloud_are_read_from_their_columns() {
        for (name, kind, helps, vendor) in [
            (
                "AWS ALB",
                Kind::Terminating,
                Some(false),
                Some(Environment::Aws),
            ),
            (
                "AKS outbound",
                Kind::Transparent,
                Some(true),
                Some(Environment::Azure),
            ),
            (
                "Azure Firewall",
                Kind::Transparent,
                Some(true),
                Some(Environment::Azure),
            ),
            (
                "GCP Cloud NAT",
                Kind::Transparent,
                Some(true),
                Some(Environment::Gcp),
            ),
            (
                "OCI Load Balancer, backend",
                Kind::Terminating,
                Some(false),
                Some(Environment::Oci),
            ),
            (
                "IBM VPC gateway",
                Kind::Transparent,
                Some(true),
                Some(Environment::Ibm),
            ),
            (
                "Citrix NetScaler zombie sweep",
                Kind::Terminating,
                None,
                None,
            ),
            (
                "PostgreSQL idle_session_timeout",
                Kind::Endpoint,
                None,
                None,
            ),
        ] {
            let device = named(name);
            assert_eq!(
                (device.kind, device.keepalive_helps, device.vendor),
                (kind, helps, vendor),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[ -~\t]{0,80}") {
            let _ = device(String::leak(line));
        }

        #[test]
        fn no_cells_panic(cells in prop::collection::vec("(up to )?[0-9]{0,22}-?[0-9]{0,22}[?]?|yes|close|hop|transparent|silent \\(RST é\\)", 8)) {
            let _ = device(String::leak(cells.join("\t")));
        }
    }
}
