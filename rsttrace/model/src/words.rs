//! Text for durations, counts and processes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use smol_str::{SmolStrBuilder, ToSmolStr as _};

use crate::event::{BootTime, Closer, Ownership};
use crate::record::Word;

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// `0.4 ms`, `12.3 s`, `5 min 0 s`, `2 h 5 min`, `3 d 4 h`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 if (500..99_500).contains(&span.subsec_nanos()) => {
            format!("{} µs", (span.subsec_nanos() + 500) / 1_000)
        }
        0 if span.subsec_nanos() < 99_900_000 && span.subsec_nanos() % 100_000 != 50_000 => {
            // Tenths of a millisecond, rounded. Halves are left to the arithmetic below, which decides them as it stores them.
            let tenths = (span.subsec_nanos() + 50_000) / 100_000;
            let mut digits = itoa::Buffer::new();
            let whole = digits.format(tenths / 10);
            [whole, ".", DIGITS[tenths as usize % 10], " ms"].concat()
        }
        0 => {
            let millis = span.as_secs_f64() * 1e3;
            if millis >= 999.5 {
                "1.0 s".to_owned()
            } else if millis >= 100.0 {
                format!("{millis:.0} ms")
            } else {
                format!("{millis:.1} ms")
            }
        }
        1..=59 => format!("{:.1} s", (span.as_secs_f64() * 10.0).floor() / 10.0),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// How a process ended its side: `closed`, `exited`, `been killed by SIGKILL`; to follow "had".
pub fn ended(closer: Option<&Closer>) -> String {
    match closer {
        Some(Closer {
            exiting: true,
            signal: Some(number),
            ..
        }) => format!("been killed by {}", signal(*number)),
        Some(Closer { exiting: true, .. }) => "exited".to_owned(),
        _ => "closed".to_owned(),
    }
}

/// As [`span`], from seconds; nothing for what is no span.
pub fn seconds(value: f64) -> String {
    span(Duration::try_from_secs_f64(value).unwrap_or_default())
}

/// A silence with the precision that timeouts need: `3.0 s`, `300.0 s`; from an hour on as [`span`].
pub fn silence(silence: Duration) -> String {
    if silence < Duration::from_secs(3_600) {
        format!("{:.1} s", silence.as_secs_f64())
    } else {
        span(silence)
    }
}

/// With thousands separators: `1,448`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 byte`, `1,448 bytes`.
pub fn bytes(value: impl Into<u64>) -> String {
    let value = value.into();
    let unit = if value == 1 { "byte" } else { "bytes" };
    format!("{} {unit}", count(value))
}

/// `1 router`, `12 connections`.
pub fn things(number: impl TryInto<u64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// `A`, `A or B`, `A, B or C`.
pub fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// As it displays itself, which takes several times as long for IPv4.
pub fn address(address: SocketAddr) -> Word {
    let SocketAddr::V4(v4) = address else {
        return address.to_smolstr();
    };
    let mut text = SmolStrBuilder::new();
    let mut number = itoa::Buffer::new();
    for (octet, end) in v4.ip().octets().into_iter().zip([".", ".", ".", ":"]) {
        text.push_str(number.format(octet));
        text.push_str(end);
    }
    text.push_str(number.format(v4.port()));
    text.finish()
}

/// `02:00:00:00:00:01`.
pub fn mac(address: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = address;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// `prefix` and what follows it; empty if nothing does.
pub fn after(prefix: &str, what: Option<impl fmt::Display>) -> String {
    what.map_or_else(String::new, |what| format!("{prefix}{what}"))
}

/// A process by what it is called and its number.
pub fn name(comm: &str, pid: u32) -> String {
    [comm, "[", itoa::Buffer::new().format(pid), "]"].concat()
}

/// ` after 12.3 s`: the connection's age, or nothing if it is not known.
pub fn after_age(ownership: Option<&Ownership>, at: BootTime) -> String {
    ownership
        .and_then(|ownership| ownership.established)
        .map(|established| [" after ", &span(at.since(established))].concat())
        .unwrap_or_default()
}

/// `SIGKILL`, or the number of a signal that seldom kills.
pub fn signal(number: u8) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// `ETIMEDOUT`, or the number of an errno that TCP seldom ends with.
pub fn errno(number: i32) -> String {
    errno_name(number).map_or_else(|| format!("errno {number}"), str::to_owned)
}

/// The name of an errno that TCP connections end with.
pub fn errno_name(number: i32) -> Option<&'static str> {
    Some(match number {
        13 => "EACCES",
        32 => "EPIPE",
        64 => "ENONET",
        71 => "EPROTO",
        92 => "ENOPROTOOPT",
        95 => "EOPNOTSUPP",
        99 => "EADDRNOTAVAIL",
        101 => "ENETUNREACH",
        103 => "ECONNABORTED",
        104 => "ECONNRESET",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        112 => "EHOSTDOWN",
        113 => "EHOSTUNREACH",
        _ => return None,
    })
}

/// What the C library says of an errno that connects and connections fail with.
pub fn errno_text(number: i32) -> Option<&'static str> {
    Some(match number {
        13 => "Permission denied",
        64 => "Machine is not on the network",
        71 => "Protocol error",
        92 => "Protocol not available",
        95 => "Operation not supported",
        99 => "Cannot assign requested address",
        101 => "Network is unreachable",
        110 => "Connection timed out",
        111 => "Connection refused",
        112 => "Host is down",
        113 => "No route to host",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_like_a_clock() {
        for (millis, text) in [
            (0, "0.0 ms"),
            (400, "400 ms"),
            (12_345, "12.3 s"),
            (59_990, "59.9 s"),
            (300_000, "5 min 0 s"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_micros(400)), "0.4 ms");
        assert_eq!(span(Duration::from_micros(29)), "29 µs");
        assert_eq!(seconds(f64::NAN), "0.0 ms");
        assert_eq!(seconds(0.9999), "1.0 s", "not 1000 ms");
    }

    #[test]
    fn addresses_are_as_displayed() {
        for text in [
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "10.0.9.4:8080",
            "[::1]:80",
            "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535",
        ] {
            assert_eq!(address(text.parse().unwrap()), text);
        }
    }

    #[test]
    fn thousands_are_separated() {
        for (value, text) in [
            (0_u64, "0"),
            (999, "999"),
            (1448, "1,448"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn parts_of_a_second_are_rounded_as_floats_are() {
        for nanos in (0..200_000_000_u32)
            .step_by(9_973)
            .chain((0..110_000_000).step_by(50_000))
        {
            let expected = match f64::from(nanos) / 1e9 * 1e3 {
                millis if (500..99_500).contains(&nanos) => format!("{:.0} µs", millis * 1e3),
                millis if millis >= 100.0 => format!("{millis:.0} ms"),
                millis => format!("{millis:.1} ms"),
            };
            assert_eq!(span(Duration::from_nanos(nanos.into())), expected);
        }
    }
}
