//! Which devices are known to end idle connections, after how long, and how?
//!
//! The table `rsttrace/data/idle-timeouts.tsv` is part of the program. Its rows are defaults as their makers document them, each
//! with its source, as of [`collected`]. Several devices share a number, so a silence gives a set of candidates and no verdict.

use std::sync::LazyLock;
use std::time::Duration;

use crate::event::Environment;

/// The table as it was collected.
const TABLE: &str = include_str!("../../data/idle-timeouts.tsv");

/// Columns of a row.
const COLUMNS: usize = 7;

/// A device, or one of its timeouts.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its name, with the timeout's if it has several.
    pub name: &'static str,
    /// The default; absent if it has none.
    pub timeout: Option<Duration>,
    /// Whether another value may be set.
    pub configurable: bool,
    /// What it does at expiry.
    pub expiry: Expiry,
    /// A setting, an option or a race makes it send a RST instead.
    pub may_reset: bool,
    /// The source states the default and what happens; else one of them is general knowledge.
    pub verified: bool,
    /// Where it stands.
    pub kind: Kind,
    /// Whether TCP keepalive probes keep its timer from expiring; absent where that does not apply or is not known.
    pub keepalive_helps: Option<bool>,
    /// The cloud it belongs to; absent for products that run anywhere.
    pub cloud: Option<Environment>,
    /// Where this is documented.
    pub source: &'static str,
}

/// What a device does when its timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It resets one end or both.
    Reset,
    /// It forgets, and resets whoever sends next.
    LateReset,
    /// It forgets, and drops what is sent next.
    Silent,
    /// It closes with FIN.
    Close,
    /// Nothing: there is no default.
    Nothing,
    /// Not known.
    Unknown,
}

/// Where a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Packets pass with the far end's address.
    Transparent,
    /// A proxy, with a connection of its own to each side.
    Terminating,
    /// The server or client itself.
    Endpoint,
}

/// Every device of the table, in its order. Rows that do not parse are left out; a test sees to it that there are none.
pub fn devices() -> &'static [Device] {
    static DEVICES: LazyLock<Vec<Device>> =
        LazyLock::new(|| rows().filter_map(|row| device(row).ok()).collect());
    &DEVICES
}

/// The day the table was collected: `2026-11-20`; empty if its first line does not say.
pub fn collected() -> &'static str {
    TABLE
        .lines()
        .next()
        .and_then(|line| line.split_once("Collected "))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or_default()
}

/// Lines that hold a device.
fn rows() -> impl Iterator<Item = &'static str> {
    TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("device\t"))
}

/// Reads a row; the error names what is wrong with it.
fn device(row: &'static str) -> Result<Device, String> {
    let cells: Vec<&'static str> = row.split('\t').map(str::trim).collect();
    let [name, default, configurable, at_expiry, kind, helps, source] = cells[..] else {
        return Err(format!(
            "{} columns instead of {COLUMNS}: {row}",
            cells.len()
        ));
    };
    let (seconds, default_is_sure) = sure(default);
    let seconds: u64 = seconds
        .parse()
        .map_err(|_| format!("the default `{default}` is no number: {row}"))?;
    let (word, expiry_is_sure) = sure(
        at_expiry
            .split(['(', ','])
            .next()
            .unwrap_or_default()
            .trim(),
    );
    let expiry = match word {
        "rst_at_expiry" => Expiry::Reset,
        "late_rst" => Expiry::LateReset,
        "silent" => Expiry::Silent,
        "close" => Expiry::Close,
        "none" => Expiry::Nothing,
        "" => Expiry::Unknown,
        word if word.starts_with("RST") => Expiry::Reset,
        _ => {
            return Err(format!(
                "what happens, `{at_expiry}`, is not understood: {row}"
            ));
        }
    };
    Ok(Device {
        name,
        timeout: (seconds > 0).then(|| Duration::from_secs(seconds)),
        configurable: !matches!(configurable, "no" | "-"),
        expiry,
        may_reset: expiry == Expiry::Reset || at_expiry.contains("RST"),
        verified: default_is_sure && expiry_is_sure,
        kind: match kind {
            "transparent" => Kind::Transparent,
            "terminating" => Kind::Terminating,
            "endpoint" => Kind::Endpoint,
            _ => return Err(format!("the kind `{kind}` is not understood: {row}")),
        },
        keepalive_helps: match helps.split_whitespace().next() {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            _ => None,
        },
        cloud: cloud(name),
        source,
    })
}

/// A value, and whether it comes without the mark of doubt.
fn sure(cell: &'static str) -> (&'static str, bool) {
    match cell.strip_suffix('?') {
        Some(value) => (value, false),
        None => (cell, true),
    }
}

fn cloud(name: &str) -> Option<Environment> {
    Some(match name.split_whitespace().next()? {
        "AWS" => Environment::Aws,
        "Azure" | "AKS" => Environment::Azure,
        "GCP" => Environment::Gcp,
        "OCI" => Environment::Oci,
        "IBM" => Environment::Ibm,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Device {
        devices()
            .iter()
            .find(|device| device.name == name)
            .unwrap_or_else(|| unreachable!("no {name}"))
    }

    #[test]
    fn every_row_is_understood() {
        for row in rows() {
            assert_eq!(device(row).map(|_| ()), Ok(()));
        }
        assert_eq!(devices().len(), rows().count());
        assert!(devices().len() > 50);
        assert_eq!(collected(), "2026-11-20");
    }

    #[test]
    fn shapes_of_rows() {
        let nlb = named("AWS NLB (TCP)");
        assert_eq!(nlb.timeout, Some(Duration::from_secs(350)));
        assert_eq!(
            (nlb.expiry, nlb.kind),
            (Expiry::LateReset, Kind::Transparent)
        );
        assert_eq!(
            (nlb.cloud, nlb.keepalive_helps),
            (Some(Environment::Aws), Some(true))
        );
        assert!(nlb.configurable && nlb.verified && !nlb.may_reset);
        let alb = named("AWS ALB");
        assert_eq!(
            (alb.expiry, alb.keepalive_helps),
            (Expiry::Close, Some(false))
        );
        let azure = named("Azure Load Balancer");
        assert_eq!((azure.expiry, azure.may_reset), (Expiry::Silent, true));
        assert!(!named("AWS NLB (TLS)").verified);
        assert_eq!(named("AWS NLB (TLS)").expiry, Expiry::Close);
        assert_eq!(named("HAProxy timeout client / server").timeout, None);
        assert!(named("HAProxy timeout client / server").may_reset);
        assert_eq!(named("Redis timeout").expiry, Expiry::Nothing);
        assert_eq!(
            named("Citrix NetScaler zombie sweep").expiry,
            Expiry::Unknown
        );
        assert_eq!(named("Linux TCP keepalive").expiry, Expiry::Reset);
    }

    #[test]
    fn bad_rows_say_what_is_wrong() {
        for (row, part) in [
            ("a\tb", "2 columns"),
            ("a\tx\tno\tclose\tendpoint\tno\ts", "`x` is no number"),
            ("a\t1\tno\tboom\tendpoint\tno\ts", "`boom`"),
            ("a\t1\tno\tclose\tcloud\tno\ts", "`cloud`"),
        ] {
            let error = device(row).err().unwrap_or_default();
            assert!(error.contains(part), "{error}");
        }
    }
}
