//! `rsttrace probe`: which path, which silences, and what is said after them?

use std::time::Duration;

use clap::Args;

use super::Failure;
use super::shared::OutputFormat;
use crate::probe::plan::MOST_CONNECTIONS;
use crate::probe::{Speech, Target};
use crate::values;

const AFTER_HELP: &str = "\
What is said after a silence:
  Without --send, nothing that the application sees: a TCP keepalive probe, switched on only when
  the silence is over, and sent at once. It is answered by the kernel of the other end of the TCP
  connection, so it needs no knowledge of the protocol and does no harm. A balancer that forwards
  packets passes it on; a proxy that ends the TCP connection answers it itself, so a timeout between
  the proxy and its server does not show. --send reaches as far as its bytes do, and a further
  connection that speaks without a silence shows how the application answers them.

What is told:
  rst_at_expiry   a RST came during the silence         fin_at_expiry   a FIN did
  late_rst        the first packet after the silence was answered by a RST
  silent          the packets after the silence were not answered
  none            every connection survived
  Timeouts whose end shows (the first two) are measured, within about one timeout. The others lie
  between the longest silence that was survived and the shortest that was not; a second round
  narrows that down to about 1 %, within about two timeouts. If what happened does not fit one
  timeout (a restart, backends that differ), that is said instead.

Needs no rights. Ctrl-C ends it and concludes from what is known.

Exit codes:
  0       done, whatever was found
  1       the target cannot be resolved or reached, or refuses connections
  2       the command line makes no sense

Examples:
  rsttrace probe lb.example.org:443
  rsttrace probe 10.0.9.4:5432 --max 20m -o json
  rsttrace probe [2001:db8::1]:80 --send 'HEAD / HTTP/1.1\\r\\nHost: example.org\\r\\n\\r\\n'";

#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct ProbeArgs {
    /// Where to connect: a name or an address, and a TCP port
    #[arg(value_name = "HOST:PORT", value_parser = target)]
    target: Target,

    /// Say these bytes after the silence; \r \n \t \0 \\ \xHH are understood. Without it: a keepalive probe
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    send: Option<Bytes>,

    /// The longest silence to try; a path without a timeout takes that long
    #[arg(long, value_name = "DURATION", default_value = "16m", value_parser = values::duration)]
    max: Duration,

    /// The shortest silence to try; below 1s only with --send
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = values::duration)]
    min: Duration,

    /// How many connections, each with a silence of its own; fewer give wider bounds
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = connections)]
    connections: usize,

    /// Lines for people, or one JSON object (schema rsttrace.probe.v1)
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// What to say, in a type of its own: clap takes a `Vec` for a list of values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bytes(Vec<u8>);

/// Options of `probe`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Where to connect.
    pub target: Target,
    /// What to say after the silence; absent: a keepalive probe.
    pub send: Option<Vec<u8>>,
    /// The shortest silence.
    pub min: Duration,
    /// The longest silence, not below `min`.
    pub max: Duration,
    /// How many connections: 1 to [`MOST_CONNECTIONS`].
    pub connections: usize,
    /// What goes to standard output.
    pub output: OutputFormat,
}

impl ProbeOptions {
    /// How it speaks after a silence.
    pub fn speech(&self) -> Speech {
        match self.send {
            Some(_) => Speech::Bytes,
            None => Speech::Keepalive,
        }
    }
}

impl ProbeArgs {
    /// What the arguments mean together.
    pub(super) fn check(self) -> Result<ProbeOptions, Failure> {
        if self.min > self.max {
            return Err(Failure::Usage(
                "--min is longer than --max; raise --max or lower --min".to_owned(),
            ));
        }
        if self.send.is_none() && self.min < LEAST_KEEPALIVE {
            return Err(Failure::Usage(
                "keepalive probes cannot be sent after less than a second of silence; give --min 1s or more, or --send BYTES"
                    .to_owned(),
            ));
        }
        if self.max > LONGEST {
            return Err(Failure::Usage(
                "--max is longer than 30 days; give less, for example 2h".to_owned(),
            ));
        }
        Ok(ProbeOptions {
            target: self.target,
            send: self.send.map(|bytes| bytes.0),
            min: self.min,
            max: self.max,
            connections: self.connections,
            output: self.output,
        })
    }
}

/// TCP_KEEPIDLE counts whole seconds.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);
/// Far longer than any timeout, far from where clocks overflow.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// `lb.example.org:443`, `10.0.9.4:80`, `[2001:db8::1]:80`.
fn target(text: &str) -> Result<Target, String> {
    const NEXT: &str =
        "write it as HOST:PORT, for example lb.example.org:443, 10.0.9.4:80 or [2001:db8::1]:80";
    let (host, port) = text.rsplit_once(':').ok_or(NEXT)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => host,
        None if !host.is_empty() && !host.contains([':', '[', ']', '/']) => host,
        _ => return Err(NEXT.to_owned()),
    };
    match port.parse() {
        Ok(0) | Err(_) => Err(format!("the port is a number from 1 to 65535; {NEXT}")),
        Ok(port) => Ok(Target {
            host: host.to_owned(),
            port,
        }),
    }
}

/// Text with escapes, as bytes.
fn bytes(text: &str) -> Result<Bytes, String> {
    const NEXT: &str = r"known are \r \n \t \0 \\ and \xHH";
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let mut tail = after.chars();
        match tail.next() {
            Some('r') => out.push(b'\r'),
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('0') => out.push(0),
            Some('\\') => out.push(b'\\'),
            Some('x') => {
                let hex = tail
                    .as_str()
                    .get(..2)
                    .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(byte.ok_or_else(|| format!(r"\x needs two hexadecimal digits; {NEXT}"))?);
                tail.nth(1);
            }
            Some(other) => return Err(format!("\\{other} is no escape; {NEXT}")),
            None => return Err(format!("a lone \\ at the end; {NEXT}")),
        }
        rest = tail.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    if out.is_empty() {
        return Err("nothing would be said; leave --send out for a keepalive probe".to_owned());
    }
    if out.len() > MOST_BYTES {
        return Err(format!(
            "at most {MOST_BYTES} bytes can be said; one request is enough"
        ));
    }
    Ok(Bytes(out))
}

/// Fits any socket buffer and the first congestion window.
const MOST_BYTES: usize = 8192;

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MOST_CONNECTIONS) => Ok(number),
        _ => Err(format!(
            "give a number from 1 to {MOST_CONNECTIONS}; the usual is 40"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::{Request, parse_from};

    #[test]
    fn targets_are_names_or_addresses_with_a_port() {
        for (text, host, port) in [
            ("lb.example.org:443", "lb.example.org", 443),
            ("10.0.9.4:80", "10.0.9.4", 80),
            ("[2001:db8::1]:80", "2001:db8::1", 80),
        ] {
            let expected = Target {
                host: host.to_owned(),
                port,
            };
            assert_eq!(target(text), Ok(expected));
        }
        for wrong in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:70000",
            "2001:db8::1:80",
            "[host]:80",
            "http://x:80",
        ] {
            assert!(target(wrong).unwrap_err().contains("HOST:PORT"), "{wrong}");
        }
    }

    #[test]
    fn escapes_are_the_usual_ones() {
        assert_eq!(
            bytes(r"GET /\r\n\x00\\\0é"),
            Ok(Bytes(b"GET /\r\n\0\\\0\xc3\xa9".to_vec()))
        );
        for wrong in ["", r"\", r"\q", r"\x1", r"\xzz", r"\x+1", r"\xé"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn silences_that_cannot_be_are_turned_away() {
        for (line, accepted) in [
            ("rsttrace probe a:1", true),
            ("rsttrace probe a:1 --min 500ms", false),
            ("rsttrace probe a:1 --min 500ms --send x", true),
            ("rsttrace probe a:1 --min 2m --max 1m", false),
            ("rsttrace probe a:1 --max 2000h", false),
            ("rsttrace probe a:1 --connections 0", false),
            ("rsttrace probe", false),
        ] {
            let parsed = parse_from(line.split(' '));
            assert_eq!(matches!(parsed, Ok(Request::Probe(_))), accepted, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_turned_away(text in any::<String>()) {
            let _ = (bytes(&text), target(&text), connections(&text));
        }

        #[test]
        fn any_bytes_can_be_said(wanted in prop::collection::vec(any::<u8>(), 1..64)) {
            let text: String = wanted.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            prop_assert_eq!(bytes(&text), Ok(Bytes(wanted)));
        }
    }
}
