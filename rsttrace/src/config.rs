//! What has the user written down about the devices around this host?
//!
//! A TOML file, `/etc/rsttrace/config.toml` unless another one is named:
//!
//! ```toml
//! [[hop]]
//! name = "edge balancer"
//! address = "10.0.3.0/24"      # the other end as this host sees it
//! port = 8080                  # optional: the service's port
//! timeout = "5min"
//! mode = "fin_at_expiry"       # or rst_at_expiry, late_rst
//! kind = "terminating"         # optional: or transparent
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

use crate::cli::values;
use crate::idle::candidates::{Hop, Kind};
use crate::record::IdleMode;

/// Read where it exists and no other file is named.
pub const DEFAULT_PATH: &str = "/etc/rsttrace/config.toml";

/// The file, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Devices on the paths of this host's connections.
    pub hops: Vec<Hop>,
}

/// Why a file is of no use. Each ends with what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {error}; name another file with --config, or leave it out", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no TOML, or a key is missing, unknown or of another type.
    #[error("{}: {message}; `rsttrace --help` shows a whole [[hop]]", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what, several lines.
        message: String,
    },
    /// A value makes no sense.
    #[error("{}: [[hop]] number {number}, {key}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which table, from 1.
        number: usize,
        /// Which key.
        key: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    hop: Vec<RawHop>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHop {
    name: String,
    address: String,
    port: Option<u16>,
    timeout: String,
    mode: IdleMode,
    kind: Option<RawKind>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawKind {
    Transparent,
    Terminating,
}

/// Reads `named`, else the default file if there is one.
pub fn load(named: Option<&Path>) -> Result<Config, ConfigError> {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_PATH));
    match fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Ok(Config::default())
        }
        Err(error) => Err(ConfigError::Unreadable {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Checks a file's text; `path` is for errors.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let file: File = toml::from_str(text).map_err(|error| ConfigError::Malformed {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })?;
    let hops = file.hop.into_iter().enumerate().map(|(index, raw)| {
        hop(raw).map_err(|(key, message)| ConfigError::Value {
            path: path.to_owned(),
            number: index + 1,
            key,
            message,
        })
    });
    Ok(Config {
        hops: hops.collect::<Result<_, _>>()?,
    })
}

fn hop(raw: RawHop) -> Result<Hop, (&'static str, String)> {
    if raw.name.trim().is_empty() {
        return Err((
            "name",
            "is empty; write what you call this device".to_owned(),
        ));
    }
    if raw.port == Some(0) {
        let message = "0 is no port; leave the key out for all ports".to_owned();
        return Err(("port", message));
    }
    let network: IpNet = values::network(&raw.address).map_err(|message| ("address", message))?;
    let timeout: Duration =
        values::duration(&raw.timeout).map_err(|message| ("timeout", message))?;
    Ok(Hop {
        name: raw.name,
        network,
        port: raw.port,
        timeout,
        mode: raw.mode,
        kind: match (raw.kind, raw.mode) {
            (Some(RawKind::Transparent), _) => Kind::Transparent,
            (Some(RawKind::Terminating), _) | (None, IdleMode::FinAtExpiry) => Kind::Terminating,
            // Who sends no FIN has no connection of its own.
            (None, IdleMode::RstAtExpiry | IdleMode::LateRst) => Kind::Transparent,
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"
        [[hop]]
        name = "edge balancer"
        address = "10.0.3.0/24"
        port = 8080
        timeout = "5m"
        mode = "fin_at_expiry"

        [[hop]]
        name = "nat"
        address = "203.0.113.9"
        timeout = "350s"
        mode = "late_rst"
    "#;

    fn read(text: &str) -> Result<Config, ConfigError> {
        parse(text, Path::new("config.toml"))
    }

    #[test]
    fn a_whole_file_is_understood() {
        let hops = read(GOOD).unwrap().hops;
        assert_eq!(hops.len(), 2);
        assert_eq!(hops[0].timeout, Duration::from_secs(300));
        assert_eq!(
            (hops[0].port, hops[0].kind),
            (Some(8080), Kind::Terminating)
        );
        assert_eq!(hops[1].network.to_string(), "203.0.113.9/32");
        assert_eq!(hops[1].kind, Kind::Transparent);
        assert_eq!(read("").unwrap(), Config::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        let without = |line: &str| GOOD.replacen(line, "", 1);
        let instead = |line: &str, other: &str| GOOD.replacen(line, other, 1);
        for (text, parts) in [
            (instead("[[hop]]", "[[hop"), &["config.toml", "line 2"][..]),
            (without("timeout = \"5m\""), &["missing field `timeout`"]),
            (instead("port", "prot"), &["unknown field `prot`", "port"]),
            (
                instead("fin_at_expiry", "polite"),
                &["unknown variant `polite`", "late_rst"],
            ),
            (instead("8080", "80800"), &["line 5"]),
            (
                instead("8080", "0"),
                &["number 1, port", "leave the key out"],
            ),
            (instead("\"5m\"", "\"soon\""), &["number 1, timeout", "20s"]),
            (
                instead("203.0.113.9", "203.0.113.999"),
                &["number 2, address"],
            ),
            (instead("edge balancer", " "), &["number 1, name"]),
        ] {
            let error = read(&text).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{part} in {error}");
            }
        }
    }

    #[test]
    fn only_a_file_that_was_named_has_to_exist() {
        let missing = Path::new("/nowhere/config.toml");
        let error = load(Some(missing)).unwrap_err().to_string();
        assert!(error.contains("/nowhere/config.toml") && error.contains("--config"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = read(&text);
        }
    }
}
