//! Parsers for values on the command line and in the configuration file. Each error shows a valid value.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ipnet::IpNet;

use crate::filter::{Ports, ProcessTerm};
use crate::record::Named;
use crate::store::Limits;

/// A value of an enum of the schema; help lists them all.
pub fn named<T: Named>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().map(|value| {
        let doc = value.doc();
        PossibleValue::new(value.name()).help(doc.strip_suffix('.').unwrap_or(doc))
    });
    PossibleValuesParser::new(values).try_map(|name| {
        let found = T::ALL.iter().find(|value| value.name() == name);
        found.copied().ok_or("not one of the possible values")
    })
}

/// `500ms`, `20s`, `5m`, `1h30m`, `2d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    span(text, "seconds", "use a value like 500ms, 20s, 5m or 1h30m")
}

/// `7d`, `12h`, `2 weeks`.
pub fn age(text: &str) -> Result<Duration, String> {
    span(text, "days", "use a value like 30m, 12h, 7d or 2w")
}

/// jiff's friendly format; days have 24 hours. `usual`: the unit that a number without a unit probably meant.
fn span(text: &str, usual: &str, next: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let unit = &usual[..1];
        return Err(format!("missing unit; for {usual} use {text}{unit}"));
    }
    let span: jiff::Span = text.parse().map_err(|_| next)?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let duration = span.to_duration(days).map_err(|_| next)?;
    let duration = Duration::try_from(duration).map_err(|_| next)?;
    if duration.is_zero() {
        return Err(format!("must be greater than zero; {next}"));
    }
    Ok(duration)
}

/// A point in time in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Time before now.
    Ago(Duration),
    At(jiff::Timestamp),
    /// Local date and time.
    Clock(jiff::civil::DateTime),
    /// Local time of day, the most recent one.
    Time(jiff::civil::Time),
}

/// `2h`, `3d`, `2026-01-05T12:03:41Z`, `2026-01-05 12:03`, `2026-01-05`, `12:03`.
pub fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = text.parse() {
        return Ok(Moment::At(at));
    }
    if let Ok(time) = text.parse::<jiff::civil::Time>()
        && !text.contains('-')
        && text.contains(':')
    {
        return Ok(Moment::Time(time));
    }
    if let Ok(clock) = text.parse() {
        return Ok(Moment::Clock(clock));
    }
    age(text).map(Moment::Ago).map_err(|_| {
        "use a relative time (2h, 3d) or an absolute one (\"2026-01-05 12:03\", 2026-01-05T12:03:41Z, 12:03)".to_owned()
    })
}

impl Moment {
    /// The timestamp relative to `now`; `None`: out of range.
    pub fn before(self, now: &jiff::Zoned) -> Option<jiff::Timestamp> {
        match self {
            Self::Ago(duration) => now.timestamp().checked_sub(duration).ok(),
            Self::At(at) => Some(at),
            Self::Clock(clock) => clock
                .to_zoned(now.time_zone().clone())
                .ok()
                .map(|at| at.timestamp()),
            Self::Time(time) => {
                let today = now.with().time(time).build().ok()?;
                if today <= *now {
                    return Some(today.timestamp());
                }
                let yesterday = now.date().yesterday().ok()?.to_datetime(time);
                Self::Clock(yesterday).before(now)
            }
        }
    }
}

/// Maximum size of the history: `256MiB`, `1GiB`, or plain bytes.
pub fn store_bytes(text: &str) -> Result<u64, String> {
    const NEXT: &str = "use a size like 256MiB or 1GiB";
    let bytes = size(text).ok_or(NEXT)?;
    if bytes < Limits::LEAST_BYTES {
        return Err(format!(
            "the minimum is {}; {NEXT}",
            binary(Limits::LEAST_BYTES)
        ));
    }
    if bytes > MOST_STORE {
        return Err(format!("the maximum is {}; {NEXT}", binary(MOST_STORE)));
    }
    Ok(bytes)
}

/// Maximum size of the history in bytes.
const MOST_STORE: u64 = 1 << 40;

/// A size in bytes, with or without a unit; a letter alone is binary, as in `4m`.
fn size(text: &str) -> Option<u64> {
    let is_letter = text.ends_with(['k', 'm', 'g', 'K', 'M', 'G']);
    let size = format!("{text}{}", if is_letter { "i" } else { "" });
    size.parse::<ByteSize>().ok().map(|size| size.as_u64())
}

/// Size of the event buffer: a power of two of at least one page, as `4MiB`, `512k` or plain bytes.
pub fn ring_bytes(text: &str) -> Result<u32, String> {
    const LEAST: u64 = 4096;
    const MOST: u64 = 1 << 30;
    let bytes = size(text).ok_or("use a size like 4MiB, 512KiB or 4194304")?;
    if !(LEAST..=MOST).contains(&bytes) {
        return Err("must be between 4KiB and 1GiB; the default is 4MiB".to_owned());
    }
    if !bytes.is_power_of_two() {
        let near = bytes.next_power_of_two().min(MOST);
        return Err(format!(
            "must be a power of two; the next one is {near} ({})",
            binary(near)
        ));
    }
    u32::try_from(bytes).map_err(|_| "the maximum is 1GiB".to_owned())
}

fn binary(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >> shift > 0 {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

/// `127.0.0.1:9464`, `[::1]:9464`.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "use a local address and a port, for example 127.0.0.1:9464 or [::1]:9464; 0.0.0.0:9464 listens on all addresses"
            .to_owned()
    })
}

/// `443` or `8000-8999`.
pub fn ports(text: &str) -> Result<Ports, String> {
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| "use a port like 443 or a range like 8000-8999, up to 65535".to_owned())
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = Ports {
        first: port(first)?,
        last: port(last)?,
    };
    if ports.first > ports.last {
        return Err(format!("the range is reversed; use {last}-{first}"));
    }
    Ok(ports)
}

/// `10.0.3.7`, `10.0.3.0/24`, `2001:db8::/32`, `[::1]`.
pub fn network(text: &str) -> Result<IpNet, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    bare.parse::<IpNet>().map_err(|_| {
        "use an address like 10.0.3.7 or 2001:db8::1, or a network like 10.0.3.0/24; host names are not supported"
            .to_owned()
    })
}

/// A PID or a process name.
pub fn process(text: &str) -> Result<ProcessTerm, String> {
    if text.is_empty() {
        return Err("must not be empty; use a PID or a process name".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(ProcessTerm::Name(text.to_owned()));
    }
    text.parse()
        .map(ProcessTerm::Pid)
        .map_err(|_| "PID out of range; `ps` lists processes".to_owned())
}

/// A positive number.
pub fn at_least_one(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("must be 1 or more".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("not a whole number; use for example 10".to_owned()),
    }
}

/// A non-empty word: an empty prefix would match everything.
pub fn word(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must not be empty; use a name, or remove the option".to_owned());
    }
    Ok(text.to_owned())
}

/// The inode number of a network namespace, given as a number, a name under /run/netns, or a path.
pub fn netns(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Err(
            "must not be empty; use an inode number, a name from `ip netns`, or a path like /proc/PID/ns/net"
                .to_owned(),
        );
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| {
            "inode number out of range; `lsns -t net` lists the namespaces".to_owned()
        });
    }
    let path = if text.contains('/') {
        PathBuf::from(text)
    } else {
        PathBuf::from("/run/netns").join(text)
    };
    let inode = std::fs::metadata(&path)
        .map_err(|error| {
            format!(
                "{}: {error}; `ip netns` and `lsns -t net` list the namespaces",
                path.display()
            )
        })?
        .ino();
    u32::try_from(inode).map_err(|_| {
        format!(
            "{} is not a network namespace; `lsns -t net` lists the namespaces",
            path.display()
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250 ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(2 * 86_400)));
    }

    #[test]
    fn durations_that_are_not_say_what_would_be() {
        assert_eq!(
            duration("20"),
            Err("missing unit; for seconds use 20s".into())
        );
        for wrong in ["", "0s", "-5s", "soon", "5 m m", "99999999999999999999h"] {
            assert!(duration(wrong).unwrap_err().contains("20s"), "{wrong}");
        }
    }

    #[test]
    fn ages_have_days_and_weeks() {
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3_600));
        for (text, is) in [("12h", 12), ("7d", 168), ("2 weeks", 336), ("1d12h", 36)] {
            assert_eq!(age(text), hours(is), "{text}");
        }
        for wrong in ["", "7", "0d", "-1d", "soon", "1 month"] {
            assert!(age(wrong).unwrap_err().contains("7d"), "{wrong}");
        }
    }

    #[test]
    fn moments_are_so_long_ago_or_what_a_clock_showed() {
        let now: jiff::Zoned = "2026-01-05T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, is) in [
            ("2h", "2026-01-05T09:00:00Z"),
            ("3d", "2026-01-02T11:00:00Z"),
            ("2026-01-05T10:03:41Z", "2026-01-05T10:03:41Z"),
            ("2026-01-05T10:03:41+02:00", "2026-01-05T08:03:41Z"),
            ("2026-01-04 10:03", "2026-01-04T09:03:00Z"),
            ("2026-01-04", "2026-01-03T23:00:00Z"),
            ("10:30", "2026-01-05T09:30:00Z"),
            ("14:30:15", "2026-01-04T13:30:15Z"),
            ("1h30m", "2026-01-05T09:30:00Z"),
            ("90s", "2026-01-05T10:58:30Z"),
        ] {
            let found = moment(text).unwrap().before(&now);
            assert_eq!(found, Some(is.parse().unwrap()), "{text}");
        }
        for wrong in ["", "2", "yesterday", "25:00", "2026-13-01"] {
            assert!(moment(wrong).unwrap_err().contains("2h"), "{wrong}");
        }
        assert_eq!(moment("999999w").unwrap().before(&now), None);
    }

    #[test]
    fn a_history_has_a_size_that_holds_something() {
        assert_eq!(store_bytes("256MiB"), Ok(256 << 20));
        assert_eq!(store_bytes("1 GiB"), Ok(1 << 30));
        assert_eq!(store_bytes("1g"), Ok(1 << 30));
        assert_eq!(store_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(store_bytes("1TB"), Ok(1_000_000_000_000));
        for wrong in [
            "",
            "1MiB",
            "12",
            "9999999GiB",
            "2TB",
            "-1GiB",
            "99999999999999999999",
        ] {
            assert!(
                store_bytes(wrong).unwrap_err().contains("256MiB"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn ring_sizes_are_powers_of_two_with_or_without_unit() {
        assert_eq!(ring_bytes("4MiB"), Ok(4 << 20));
        assert_eq!(ring_bytes("4m"), Ok(4 << 20));
        assert_eq!(ring_bytes("512KiB"), Ok(512 << 10));
        assert_eq!(ring_bytes("4194304"), Ok(4 << 20));
        assert_eq!(ring_bytes("1GiB"), Ok(1 << 30));
    }

    #[test]
    fn a_ring_size_that_will_not_do_names_one_that_does() {
        assert_eq!(
            ring_bytes("3MiB"),
            Err("must be a power of two; the next one is 4194304 (4MiB)".into())
        );
        for wrong in [
            "",
            "MiB",
            "4MB",
            "1",
            "2GiB",
            "4é",
            "99999999999999999999GiB",
        ] {
            assert!(ring_bytes(wrong).unwrap_err().contains("4MiB"), "{wrong}");
        }
    }

    #[test]
    fn ports_are_numbers_or_ranges() {
        assert_eq!(
            ports("443"),
            Ok(Ports {
                first: 443,
                last: 443
            })
        );
        assert_eq!(
            ports("8000-8999"),
            Ok(Ports {
                first: 8000,
                last: 8999
            })
        );
        for wrong in ["", "http", "70000", "-1", "1-2-3", "9-1"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        assert_eq!(network("::ffff:10.0.3.7"), network("10.0.3.7"));
        assert_eq!(network("[::1]"), network("::1/128"));
        assert!(network("example.org").is_err());
        assert!(network("10.0.3.7/33").is_err());
    }

    #[test]
    fn digits_are_a_pid_anything_else_a_name() {
        assert_eq!(process("412"), Ok(ProcessTerm::Pid(412)));
        assert_eq!(process("7zip"), Ok(ProcessTerm::Name("7zip".into())));
        assert!(process("99999999999").is_err());
    }

    #[test]
    fn a_namespace_is_an_inode_a_name_or_a_path() {
        assert_eq!(netns("4026531840"), Ok(4_026_531_840));
        let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert_eq!(
            netns("/proc/self/ns/net").map(u64::from),
            Ok(own),
            "by path"
        );
        let missing = netns("no-such-namespace").unwrap_err();
        assert!(missing.contains("/run/netns/no-such-namespace"));
        assert!(missing.contains("ip netns"));
    }
}
