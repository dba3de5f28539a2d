//! Options of `rsttrace probe`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::shared::OutputFormat;
use super::{Failure, Request};
use crate::probe::plan::MOST_CONNECTIONS;
use crate::probe::protocol::LONGEST;
use crate::probe::{Speech, Target};
use crate::values;

const AFTER_HELP: &str = "\
What is sent after the idle time:
  By default a TCP keepalive probe, which the application does not see: the kernel at the other end
  of the TCP connection answers it, so it works with any protocol. A load balancer that forwards
  packets forwards the probe. A proxy that terminates TCP answers it itself, so timeouts behind the
  proxy remain hidden. With --send the bytes reach the application; an additional connection sends
  them without idle time to see the normal response.

Both directions:
  After a silence, a path may drop or reset what the server sends, yet pass what the client sends. Without help a probe tests only the latter, and the result says so. To test both, run
  `rsttrace probe --listen PORT` on the server, on a port that takes the same path, and probe that
  port. The probe recognizes it by a greeting of 64 bytes on one additional connection; any other
  service sees one invalid request, which --one-way and --send avoid. Each idle time is then tested
  twice: on one connection this host writes first, on another the server does.
  The responder answers only probes, and with fixed messages of 64 bytes. It opens no connections
  and limits their number. It ends with Ctrl-C, or after --duration.

Results:
  rst_at_expiry   an RST arrived while idle
  fin_at_expiry   a FIN arrived while idle
  late_rst        the first packet after the idle time was answered with an RST
  silent          packets after the idle time were not answered
  none            every connection survived
  The first two are measured directly and take about one timeout. For late_rst and silent the
  timeout lies between the longest idle time that survived and the shortest that did not; a second
  round narrows this to about 1 %, in about two timeouts. If the observations do not fit a single
  timeout (a restart, different backends), the result says so. With a responder there is a result
  for each direction, which also says which ends of the connections received the RST.

No privileges are required. Ctrl-C stops and reports what is known so far.

Exit codes:
  0       success, whatever the result
  1       the target cannot be resolved or reached, or refuses connections; --listen: the port is
          in use
  2       invalid arguments
  3       --listen: the port requires privileges

Examples:
  rsttrace probe lb.example.org:443
  rsttrace probe 10.0.9.4:5432 --max 20m -o json
  rsttrace probe --listen 8443                 on the server: respond to probes of port 8443
  rsttrace probe [2001:db8::1]:80 --send 'HEAD / HTTP/1.1\\r\\nHost: example.org\\r\\n\\r\\n'";

#[derive(Debug, Args)]
#[command(
    after_long_help = AFTER_HELP,
    override_usage = "rsttrace probe [OPTIONS] <HOST:PORT>\n       rsttrace probe --listen <[ADDRESS:]PORT> [--duration <DURATION>]"
)]
pub(super) struct ProbeArgs {
    /// Target: host name or IP address, and TCP port
    #[arg(value_name = "HOST:PORT", value_parser = target, required_unless_present = "listen")]
    target: Option<Target>,

    /// Bytes to send after the idle time, with escapes \r \n \t \0 \\ \xHH [default: a keepalive probe]
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    send: Option<Bytes>,

    /// Longest idle time to test; also the run time on a path without a timeout
    #[arg(long, value_name = "DURATION", default_value = "16m", value_parser = values::duration)]
    max: Duration,

    /// Shortest idle time to test; less than 1s requires --send
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = values::duration)]
    min: Duration,

    /// Number of connections, each with a different idle time; fewer give wider bounds
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = connections)]
    connections: usize,

    /// Do not look for a responder: send nothing that the application sees
    #[arg(long)]
    one_way: bool,

    /// Human-readable table, or one JSON object (schema rsttrace.probe.v1)
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,

    /// Respond to probes on this port, so that they can test both directions
    #[arg(
        long, value_name = "[ADDRESS:]PORT", value_parser = listen, help_heading = "Responder",
        conflicts_with_all = ["target", "send", "max", "min", "connections", "one_way", "output"],
    )]
    listen: Option<Listen>,

    /// End the responder after this time
    #[arg(
        long, value_name = "DURATION", default_value = "2h", value_parser = values::duration,
        help_heading = "Responder", conflicts_with = "target",
    )]
    duration: Duration,

    /// Log each probe and each unknown client of the responder; repeat for more (-vv)
    #[arg(
        short, long, action = clap::ArgAction::Count, help_heading = "Responder", conflicts_with = "target",
    )]
    verbose: u8,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listen {
    /// Absent: all addresses.
    address: Option<IpAddr>,
    port: u16,
}

/// Validated options of `probe --listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Absent: all addresses of this host.
    pub address: Option<IpAddr>,
    /// 0: one that is free.
    pub port: u16,
    pub duration: Duration,
    /// How many times `-v` was given.
    pub verbosity: u8,
}

/// A type of its own, because clap treats a `Vec` as a list of values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bytes(Vec<u8>);

/// Validated options of `probe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    pub target: Target,
    /// Bytes to send after the idle time; absent: a keepalive probe.
    pub send: Option<Vec<u8>>,
    pub min: Duration,
    /// Longest idle time, at least `min`.
    pub max: Duration,
    /// Number of connections: 1 to [`MOST_CONNECTIONS`].
    pub connections: usize,
    /// Whether only this host is to write first.
    pub one_way: bool,
    pub output: OutputFormat,
}

impl ProbeOptions {
    /// Whether what listens at the target may be greeted: `--send` is about what the application makes of these bytes.
    pub fn looks_for_responder(&self) -> bool {
        !self.one_way && self.send.is_none()
    }

    /// What is sent after the idle time.
    pub fn speech(&self) -> Speech {
        match self.send {
            Some(_) => Speech::Bytes,
            None => Speech::Keepalive,
        }
    }
}

impl ProbeArgs {
    /// Validates the arguments.
    pub(super) fn check(self) -> Result<Request, Failure> {
        if let Some(Listen { address, port }) = self.listen {
            return Ok(Request::Listen(ListenOptions {
                address,
                port,
                duration: self.duration,
                verbosity: self.verbose,
            }));
        }
        let Some(target) = self.target else {
            return Err(Failure::Usage(
                "no target; use HOST:PORT, or --listen PORT".to_owned(),
            ));
        };
        if self.min > self.max {
            return Err(Failure::Usage(
                "--min is longer than --max; raise --max or lower --min".to_owned(),
            ));
        }
        if self.send.is_none() && self.min < LEAST_KEEPALIVE {
            return Err(Failure::Usage(
                "keepalive probes need an idle time of at least 1 s; use --min 1s or more, or --send BYTES"
                    .to_owned(),
            ));
        }
        if self.max > LONGEST {
            return Err(Failure::Usage(
                "--max is longer than 30 days; use a shorter time, for example 2h".to_owned(),
            ));
        }
        Ok(Request::Probe(ProbeOptions {
            target,
            send: self.send.map(|bytes| bytes.0),
            min: self.min,
            max: self.max,
            connections: self.connections,
            one_way: self.one_way,
            output: self.output,
        }))
    }
}

/// TCP_KEEPIDLE counts whole seconds.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

/// `lb.example.org:443`, `10.0.9.4:80`, `[2001:db8::1]:80`.
fn target(text: &str) -> Result<Target, String> {
    const NEXT: &str =
        "use HOST:PORT, for example lb.example.org:443, 10.0.9.4:80 or [2001:db8::1]:80";
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
        Ok(0) | Err(_) => Err(format!("invalid port (1 to 65535); {NEXT}")),
        Ok(port) => Ok(Target {
            host: host.to_owned(),
            port,
        }),
    }
}

/// `8443`, `10.0.9.4:8443`, `[2001:db8::1]:8443`.
fn listen(text: &str) -> Result<Listen, String> {
    if let Ok(port) = text.parse() {
        return Ok(Listen {
            address: None,
            port,
        });
    }
    let address: SocketAddr = text.parse().map_err(|_| {
        "use PORT or ADDRESS:PORT, for example 8443, 10.0.9.4:8443 or [2001:db8::1]:8443".to_owned()
    })?;
    Ok(Listen {
        address: Some(address.ip()),
        port: address.port(),
    })
}

/// Text with escapes, as bytes.
fn bytes(text: &str) -> Result<Bytes, String> {
    const NEXT: &str = r"supported escapes: \r \n \t \0 \\ \xHH";
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
            Some(other) => return Err(format!("unknown escape \\{other}; {NEXT}")),
            None => return Err(format!("incomplete escape \\ at the end; {NEXT}")),
        }
        rest = tail.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    if out.is_empty() {
        return Err("no bytes to send; remove --send to use a keepalive probe".to_owned());
    }
    if out.len() > MOST_BYTES {
        return Err(format!(
            "more than {MOST_BYTES} bytes; a single request is enough"
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
            "use a number from 1 to {MOST_CONNECTIONS}; the default is 40"
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
            ("rsttrace probe a:1 --one-way", true),
            ("rsttrace probe a:1 --duration 5m", false),
            ("rsttrace probe a:1 -v", false),
        ] {
            let parsed = parse_from(line.split(' '));
            assert_eq!(matches!(parsed, Ok(Request::Probe(_))), accepted, "{line}");
        }
    }

    #[test]
    fn a_responder_has_a_port_and_a_life_and_no_target() {
        for (line, expected) in [
            ("--listen 8443", Some((None, 8443, 7200, 0))),
            ("--listen 0 -v --duration 5m", Some((None, 0, 300, 1))),
            (
                "--listen 10.0.9.4:80",
                Some((Some("10.0.9.4"), 80, 7200, 0)),
            ),
            (
                "--listen [2001:db8::1]:80",
                Some((Some("2001:db8::1"), 80, 7200, 0)),
            ),
            ("--listen", None),
            ("--listen 70000", None),
            ("--listen example.org:80", None),
            ("--listen 80 a:1", None),
            ("--listen 80 --max 5m", None),
            ("--listen 80 -o json", None),
        ] {
            let line = format!("rsttrace probe {line}");
            let parsed = match parse_from(line.split(' ')) {
                Ok(Request::Listen(options)) => Some(options),
                Ok(_) | Err(_) => None,
            };
            let expected = expected.map(|(address, port, seconds, verbosity)| ListenOptions {
                address: address.map(|address| address.parse().unwrap()),
                port,
                duration: Duration::from_secs(seconds),
                verbosity,
            });
            assert_eq!(parsed, expected, "{line}");
        }
    }

    #[test]
    fn a_service_is_not_greeted_when_it_should_see_nothing_or_other_bytes() {
        for (line, greeted) in [("", true), (" --one-way", false), (" --send x", false)] {
            let line = format!("rsttrace probe a:1{line}");
            let Ok(Request::Probe(options)) = parse_from(line.split(' ')) else {
                panic!("{line}");
            };
            assert_eq!(options.looks_for_responder(), greeted, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_turned_away(text in any::<String>()) {
            let _ = (bytes(&text), target(&text), connections(&text), listen(&text));
        }

        #[test]
        fn any_bytes_can_be_said(wanted in prop::collection::vec(any::<u8>(), 1..64)) {
            let text: String = wanted.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            prop_assert_eq!(bytes(&text), Ok(Bytes(wanted)));
        }
    }
}
