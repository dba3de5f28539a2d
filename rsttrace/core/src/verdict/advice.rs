//! Settings that would have prevented a reset.

mod idle;
mod settings;
mod situation;
mod table;

pub use idle::{IdleSituation, KeepaliveNow, for_idle, several};
pub use situation::Situation;
pub use table::Shape;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{OwnTimer, words};
use crate::event::{Environment, Flow};
use crate::ownership::ProcessName;
use crate::record::{Basis, Sentence};
use crate::thresholds::VOLLEY;

/// What its program's operator can do; `listened`: it accepted the connection, absent if not known.
pub fn for_operator(
    process: Option<&ProcessName>,
    listened: Option<bool>,
    shape: Shape,
) -> Option<Sentence> {
    let program = process.and_then(|process| process.program);
    table::find(program, listened, shape).map(Into::into)
}

/// For a process that closed after a silence, perhaps at a timer of its own.
pub fn for_own_timer(
    timer: &OwnTimer,
    process: Option<&ProcessName>,
    listened: Option<bool>,
) -> Sentence {
    let silence = words::silence(timer.quiet.application);
    let setting = own_setting(process, listened);
    let so_that = "longer than the peer keeps idle connections, so that the peer closes first";
    match (&timer.learned, &timer.fits[..]) {
        (Some(learned), _) => format!(
            "make {setting} ({silence}, as in {} earlier closes) {so_that}",
            words::count(learned.samples)
        ),
        (None, [fits]) if fits.basis == Basis::Host => {
            let of = process.map_or_else(String::new, |it| format!(" of {}", it.comm));
            let now = words::seconds(fits.timeout);
            format!("make {}{of}, now {now}, {so_that}", fits.device)
        }
        (None, [first, ..]) if first.basis == Basis::Host => {
            let names: Vec<&str> = timer.fits.iter().map(|fits| fits.device.as_str()).collect();
            let names = words::one_of(&names);
            let now = words::seconds(first.timeout);
            format!("make {names}, whichever it was, now {now}, {so_that}")
        }
        (None, [_]) => format!("make {setting} ({silence} is the default) {so_that}"),
        (None, _) => format!(
            "if the {silence} of idle time are a timer of its own: make {setting} {so_that}"
        ),
    }
    .into()
}

/// `keepalive_timeout of nginx`.
fn own_setting(process: Option<&ProcessName>, listened: Option<bool>) -> String {
    let program = process.and_then(|process| process.program);
    match (process, table::find(program, listened, Shape::Idle)) {
        (Some(process), Some(setting)) => format!("{setting} of {}", process.comm),
        (Some(process), None) => format!("the idle timeout of {}", process.comm),
        (None, _) => "the idle timeout of this end".to_owned(),
    }
}

/// A request on a connection that its server had closed as idle.
#[derive(Clone, Copy, Debug)]
pub struct Race<'a> {
    /// The silence after which the server closed.
    pub silence: Duration,
    /// From the server's close to the request; absent if not known.
    pub late: Option<Duration>,
    /// The other end.
    pub remote: IpAddr,
    /// The process at this end; absent if not known.
    pub process: Option<&'a ProcessName>,
    /// The server's timer with file and line, where its configuration has exactly one of that length.
    pub set: Option<&'a str>,
}

impl Race<'_> {
    /// A client that had time to notice the close does not look at its idle connections.
    fn name(&self) -> &'static str {
        if self.late.is_some_and(|late| late > VOLLEY) {
            "stale connection"
        } else {
            "keep-alive race"
        }
    }

    /// The first advice at the server.
    pub fn at_server(&self) -> Sentence {
        let silence = words::silence(self.silence);
        let known = match (self.set, self.process) {
            (Some(set), Some(process)) => {
                Some(format!("make {set} of {} longer than that", process.comm).into())
            }
            (Some(_) | None, _) => for_operator(self.process, Some(true), Shape::Race),
        };
        let own = known.unwrap_or_else(|| {
            let setting = own_setting(self.process, Some(true));
            format!("make {setting} longer than that").into()
        });
        format!(
            "{}: set the idle time of the connection pool or balancer at {} below {silence}, or {own}",
            self.name(),
            self.remote
        )
        .into()
    }

    /// The first advice at the client, which is this host or, in a capture, another one (`elsewhere`).
    pub fn at_client(&self, elsewhere: Option<IpAddr>) -> Sentence {
        let silence = words::silence(self.silence);
        let setting = match self.process {
            Some(process) => match table::find(process.program, Some(false), Shape::Idle) {
                Some(setting) => format!(" ({setting} of {})", process.comm),
                None => format!(
                    " (the idle time of the connection pool of {})",
                    process.comm
                ),
            },
            None => " (the idle time of the connection pool)".to_owned(),
        };
        let place = elsewhere.map_or_else(|| "here".to_owned(), |client| format!("at {client}"));
        format!(
            "{}: close idle connections {place} before the server does, below {silence}{setting}, or raise the keep-alive timeout of {} above that",
            self.name(),
            self.remote
        )
        .into()
    }
}

/// What shows the reason of a reset that this host cannot know; `outgoing`: this end connected, absent if not known.
pub fn capture_there(flow: &Flow, outgoing: Option<bool>) -> Sentence {
    let outgoing = outgoing.unwrap_or(flow.remote.port() < flow.local.port());
    let service = if outgoing { flow.remote } else { flow.local };
    let (here, there) = (
        flow.local.ip().to_canonical(),
        flow.remote.ip().to_canonical(),
    );
    format!(
        "run rsttrace on {there}, which names the process and its reason, or capture there: {}",
        tcpdump(here, service)
    )
    .into()
}

/// The command that captures the connections of this host with a service.
fn tcpdump(host: IpAddr, service: SocketAddr) -> String {
    format!(
        "`tcpdump -ni any -s 128 -w reset.pcap 'host {host} and tcp port {}'`",
        service.port()
    )
}

/// For full-size segments that were sent again and again before the reset.
pub fn for_black_hole(remote: IpAddr) -> Sentence {
    format!(
        "check the path MTU with `tracepath -n {}`; if large packets are lost, let ICMP \"fragmentation needed\" through, or clamp the MSS",
        remote.to_canonical()
    )
    .into()
}

/// For a connect that was refused.
pub fn for_refused(remote: SocketAddr) -> Sentence {
    format!(
        "check on {} that a service listens on port {} and on that address: `ss -ltn`",
        remote.ip().to_canonical(),
        remote.port()
    )
    .into()
}

/// For many connections that were reset at once: something they share went down. `environment` is the cloud this host
/// runs in, absent if not known or none.
pub fn for_burst(environment: Option<Environment>) -> Vec<Sentence> {
    vec![
        format!(
            "if a server or balancer was taken out of service, {}",
            settings::draining(environment)
        )
        .into(),
        "drain it before it stops: stop accepting, finish open connections, then exit (systemd: TimeoutStopSec; Kubernetes: a preStop wait and terminationGracePeriodSeconds)".into(),
        "restart servers one at a time, each after the previous one is healthy again (rolling restart)".into(),
    ]
}

/// For a reset that does not look like the peer's. `neighbour` delivered it; absent on devices without addresses.
pub fn for_foreign(neighbour: Option<[u8; 6]>) -> Vec<Sentence> {
    let first = neighbour.map(|address| {
        format!(
            "find the owner of MAC address {} (`ip neigh`): that neighbor delivered the reset",
            words::mac(address)
        )
        .into()
    });
    let capture: Sentence = "capture resets at the peer as well (`tcpdump 'tcp[tcpflags] & tcp-rst != 0'`): a reset that did not leave there was sent on the path".into();
    first.into_iter().chain([capture]).collect()
}

/// For a peer that stopped waiting for this end's response.
pub fn for_late_answer(patience: Duration) -> Vec<Sentence> {
    vec![format!(
        "the peer waited {} for a response: respond sooner, or raise its response timeout (nginx proxy_read_timeout, HAProxy timeout server, the client's read timeout)",
        words::silence(patience)
    )
    .into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_how_to_drain_in_the_cloud_it_happened_in() {
        let first = |environment| for_burst(environment).remove(0);
        assert!(first(Some(Environment::Aws)).contains("`deregistration_delay.timeout_seconds`"));
        assert!(first(Some(Environment::Gcp)).contains("`connectionDraining.drainingTimeoutSec`"));
        assert!(first(None).contains("connection draining"));
        let rest = for_burst(None).concat();
        assert!(rest.contains("terminationGracePeriodSeconds") && rest.contains("rolling restart"));
    }
}
