//! Which concrete setting would have prevented this reset?

use std::time::Duration;

use super::words;
use crate::event::Sent;
use crate::idle::candidates::Match;
use crate::idle::clocks::Quiet;
use crate::record::Cause;

/// For a reset the kernel sent; empty where no setting helps.
pub fn for_sent(sent: &Sent, cause: Cause) -> Vec<String> {
    let advice = match cause {
        Cause::KilledWithUnreadData => {
            "find who sent the signal: the kernel log for the out-of-memory killer, TimeoutStopSec, a deploy"
                .to_owned()
        }
        Cause::PortClosed if sent.former_listener.is_some() => {
            "start the service that listened there, or stop its clients".to_owned()
        }
        Cause::CloseWithUnreadData => {
            "read until the end of the stream before close(), or shutdown(SHUT_WR) and drain first"
                .to_owned()
        }
        Cause::LingerZero => "close without SO_LINGER {1, 0}, unless the reset is meant".to_owned(),
        Cause::Linger2 => {
            "leave TCP_LINGER2 at 0 or above: below zero each close() resets".to_owned()
        }
        Cause::OutOfMemory => "raise net.ipv4.tcp_max_orphans or net.ipv4.tcp_mem".to_owned(),
        Cause::AcceptQueueOverflow => overflow(sent),
        _ => return Vec::new(),
    };
    vec![advice]
}

fn overflow(sent: &Sent) -> String {
    let limit = sent
        .socket
        .as_ref()
        .and_then(|socket| socket.accept_queue)
        .map_or_else(String::new, |(_, limit)| format!(" (now {limit})"));
    format!(
        "raise the backlog of listen(){limit} and net.core.somaxconn, or set net.ipv4.tcp_abort_on_overflow to 0 so that clients retry"
    )
}

/// The keepalive settings that hold for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveNow {
    /// SO_KEEPALIVE.
    pub enabled: bool,
    /// Silence before the first probe; absent if it is the sysctl's and that is not known.
    pub time: Option<Duration>,
    /// It is the sysctl's, not the socket's own.
    pub from_sysctl: bool,
}

/// A reset at an idle timeout, as far as advice depends on it.
#[derive(Clone, Copy, Debug)]
pub struct IdleSituation<'a> {
    /// The timeout: learned, configured or the silence at expiry; absent if only a bound of it is known.
    pub timeout: Option<Duration>,
    /// Devices whose timeout fits.
    pub matches: &'a [Match],
    /// A device between the ends did it, not the other end.
    pub transparent: bool,
    /// The silence before it.
    pub quiet: Quiet,
    /// Of this end's socket.
    pub keepalive: KeepaliveNow,
    /// Name of the process at this end, as the kernel has it.
    pub process: Option<&'a str>,
}

/// Sentences that advice is limited to.
const MOST: usize = 3;

/// What keeps a connection from being lost like this one, the most useful first.
pub fn for_idle(situation: &IdleSituation<'_>) -> Vec<String> {
    let mut advice = Vec::with_capacity(MOST);
    // Whether probes would have kept the device's timer from expiring: only where its packets are what it watches.
    let helps = situation
        .matches
        .first()
        .and_then(|found| found.keepalive_helps)
        .unwrap_or(situation.transparent);
    let limit = situation.timeout.unwrap_or(situation.quiet.wire);
    if helps {
        advice.push(keepalive(situation, limit));
        advice.extend(in_software(situation.process));
    } else {
        let timeout = words::silence(limit);
        advice.push(format!(
            "the other end closes what carries no data for {timeout}, and TCP keepalive does not count as data: let this side close idle connections earlier than that, or have the application send something"
        ));
        advice.extend(own_timeout(situation.process, &timeout));
    }
    advice.extend(in_device(situation.matches));
    advice.truncate(MOST);
    advice
}

/// Many connections that went at one instant.
pub fn for_burst() -> Vec<String> {
    vec![
        "look for what happened at that moment: a restart, a failover, a scale-in, a deploy; drain connections before (deregistration delay, graceful shutdown), and have clients connect again".to_owned(),
    ]
}

/// Keepalive with this socket's own values.
fn keepalive(situation: &IdleSituation<'_>, limit: Duration) -> String {
    let now = situation.keepalive;
    let below = probe_time(limit);
    let timeout = words::silence(limit);
    match now.time {
        _ if !now.enabled => {
            let sysctl = now
                .time
                .filter(|time| now.from_sysctl && *time >= limit)
                .map_or_else(String::new, |time| {
                    format!(
                        " (net.ipv4.tcp_keepalive_time, now {}, alone does nothing while the option is off)",
                        words::whole_seconds(time)
                    )
                });
            format!(
                "keepalive below {timeout}: SO_KEEPALIVE is off on this socket; turn it on with TCP_KEEPIDLE {below}{sysctl}"
            )
        }
        Some(time) if time >= limit => {
            let how = if now.from_sysctl {
                format!(
                    "sysctl -w net.ipv4.tcp_keepalive_time={below}, or TCP_KEEPIDLE {below} on the socket"
                )
            } else {
                format!("set TCP_KEEPIDLE to {below}")
            };
            format!(
                "keepalive below {timeout}: SO_KEEPALIVE is on, but the first probe comes after {} only; {how}",
                words::whole_seconds(time)
            )
        }
        Some(time) => format!(
            "keepalive is on and its probes come every {}, before {timeout} are over, so it does not help here: the device drops them or its timeout is an absolute one; raise the device's",
            words::whole_seconds(time)
        ),
        None => format!(
            "keepalive below {timeout}: SO_KEEPALIVE is on; see that net.ipv4.tcp_keepalive_time, or TCP_KEEPIDLE, is {below} or less"
        ),
    }
}

/// Seconds that leave room for a lost probe: about half the timeout, as people write such numbers.
fn probe_time(limit: Duration) -> u64 {
    let half = (limit.as_secs() / 2).max(1);
    match half {
        0..=9 => half,
        10..=59 => half / 5 * 5,
        60..=599 => half / 30 * 30,
        _ => (half / 60 * 60).min(3_600),
    }
}

/// Where the programs that people run take the setting.
fn in_software(process: Option<&str>) -> Option<String> {
    let advice = match process? {
        "nginx" | "openresty" => {
            "nginx: so_keepalive=on (or its three values) at listen, proxy_socket_keepalive on towards the upstream"
        }
        "haproxy" => {
            "HAProxy: option clitcpka and option srvtcpka, with clitcpka-idle and srvtcpka-idle"
        }
        "java" => {
            "Java: ServerSocket and Socket.setKeepAlive(true), jdk.net.ExtendedSocketOptions.TCP_KEEPIDLE"
        }
        "postgres" => {
            "PostgreSQL: tcp_keepalives_idle, and keepalives_idle in the client's connection string"
        }
        "redis-server" => "Redis: tcp-keepalive",
        "envoy" => {
            "Envoy: tcp_keepalive in upstream_connection_options, and in socket_options of the listener"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// The timeouts of this side that have to be shorter than the other's.
fn own_timeout(process: Option<&str>, timeout: &str) -> Option<String> {
    let settings = match process? {
        "nginx" | "openresty" => {
            "keepalive_timeout towards clients, keepalive_timeout in the upstream block, proxy_timeout in stream"
        }
        "haproxy" => "timeout client, timeout server, timeout tunnel",
        "node" => "server.keepAliveTimeout towards clients, the agent's timeout towards servers",
        "envoy" => "idle_timeout of the connection manager or of tcp_proxy",
        _ => return None,
    };
    Some(format!("set what applies here below {timeout}: {settings}"))
}

/// Where the device itself takes the setting.
fn in_device(matches: &[Match]) -> Option<String> {
    let device = matches
        .iter()
        .map(|found| found.candidate.device.as_str())
        .find_map(setting)?;
    Some(device.to_owned())
}

fn setting(device: &str) -> Option<&'static str> {
    const SETTINGS: &[(&str, &str)] = &[
        (
            "AWS NLB",
            "AWS NLB: raise the listener's tcp.idle_timeout.seconds (60 to 6000)",
        ),
        (
            "AWS GWLB",
            "AWS GWLB: raise the listener's tcp.idle_timeout.seconds (60 to 6000)",
        ),
        (
            "AWS ALB",
            "AWS ALB: raise idle_timeout.timeout_seconds (1 to 4000), below the servers' own keep-alive timeout",
        ),
        ("AWS CLB", "AWS CLB: raise the idle timeout (1 to 4000 s)"),
        (
            "AWS NAT",
            "AWS NAT gateway: its 350 s cannot be changed; keepalive or traffic has to",
        ),
        (
            "Azure Load",
            "Azure Load Balancer: raise idleTimeoutInMinutes, and enable TCP reset so that both ends hear of it",
        ),
        (
            "Azure NAT",
            "Azure NAT Gateway: raise its TCP idle timeout (4 to 120 minutes)",
        ),
        (
            "GCP Cloud NAT",
            "GCP Cloud NAT: raise tcpEstablishedIdleTimeoutSec",
        ),
        ("F5", "F5 BIG-IP: raise the FastL4 profile's idle timeout"),
        (
            "IPVS",
            "IPVS: ipvsadm --set TCP TCPFIN UDP, on the balancer",
        ),
        (
            "Linux conntrack",
            "the router: raise net.netfilter.nf_conntrack_tcp_timeout_established",
        ),
        (
            "HAProxy",
            "HAProxy: raise timeout client, timeout server or timeout tunnel",
        ),
        ("nginx stream", "nginx: raise proxy_timeout"),
        ("nginx keepalive", "nginx: raise keepalive_timeout"),
        ("Envoy", "Envoy: raise idle_timeout or stream_idle_timeout"),
    ];
    SETTINGS
        .iter()
        .find(|(prefix, _)| device.starts_with(prefix))
        .map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Socket, TcpFlags, TcpState};
    use crate::pipeline::fixtures::{Scene, closing, segment, socket};

    #[test]
    fn an_overflow_names_the_backlog_it_had() {
        let mut sent = Scene::new().answer(segment(TcpFlags::ACK, 1, 1, 0));
        sent.socket = Some(Socket {
            state: TcpState::Listen,
            accept_queue: Some((129, 128)),
            ..socket(1)
        });
        let advice = for_sent(&sent, Cause::AcceptQueueOverflow);
        assert!(advice[0].contains("(now 128)"), "{advice:?}");
    }

    #[test]
    fn where_no_setting_helps_there_is_no_advice() {
        let sent = Scene::new().active(None, closing(1));
        for cause in [Cause::PortClosed, Cause::SocketDestroyed, Cause::Unknown] {
            assert!(for_sent(&sent, cause).is_empty(), "{cause}");
        }
    }

    fn quiet() -> Quiet {
        Quiet {
            mode: crate::record::IdleMode::LateRst,
            trigger: crate::idle::clocks::Trigger::Write,
            wire: Duration::from_secs(300),
            application: Duration::from_secs(300),
            after: None,
        }
    }

    fn keepalive_now(enabled: bool, time: Option<u64>, from_sysctl: bool) -> KeepaliveNow {
        KeepaliveNow {
            enabled,
            time: time.map(Duration::from_secs),
            from_sysctl,
        }
    }

    fn advised(keepalive: KeepaliveNow, process: Option<&str>, transparent: bool) -> Vec<String> {
        for_idle(&IdleSituation {
            timeout: Some(Duration::from_secs(300)),
            matches: &[],
            transparent,
            quiet: quiet(),
            keepalive,
            process,
        })
    }

    #[test]
    fn keepalive_is_advised_with_the_sockets_own_values() {
        let first = |enabled, time, from_sysctl| {
            advised(keepalive_now(enabled, time, from_sysctl), None, true).remove(0)
        };
        let off = first(false, Some(7200), true);
        assert!(
            off.contains("SO_KEEPALIVE is off") && off.contains("TCP_KEEPIDLE 150"),
            "{off}"
        );
        assert!(off.contains("now 7200 s, alone does nothing"), "{off}");
        let late = first(true, Some(7200), true);
        assert!(
            late.contains("after 7200 s only") && late.contains("tcp_keepalive_time=150"),
            "{late}"
        );
        let own = first(true, Some(600), false);
        assert!(
            own.contains("set TCP_KEEPIDLE to 150") && !own.contains("sysctl"),
            "{own}"
        );
        let enough = first(true, Some(60), true);
        assert!(enough.contains("does not help here"), "{enough}");
        let unknown = first(true, None, true);
        assert!(unknown.contains("150 or less"), "{unknown}");
    }

    #[test]
    fn where_keepalive_does_not_help_it_is_said() {
        let advice = advised(keepalive_now(false, None, true), Some("nginx"), false);
        assert!(
            advice[0].contains("TCP keepalive does not count as data"),
            "{advice:?}"
        );
        assert!(advice[1].contains("keepalive_timeout"), "{advice:?}");
    }

    #[test]
    fn programs_and_devices_have_their_own_settings() {
        let advice = advised(keepalive_now(false, None, true), Some("haproxy"), true);
        assert!(advice[1].contains("option clitcpka"), "{advice:?}");
        let silence = crate::idle::candidates::Silence {
            wire: Duration::from_secs(350),
            application: Duration::from_secs(350),
        };
        let matches = crate::idle::candidates::find(
            crate::record::IdleMode::LateRst,
            silence,
            [10, 0, 0, 1].into(),
            443,
            &crate::idle::candidates::Knowledge::default(),
        );
        let advice = for_idle(&IdleSituation {
            timeout: None,
            matches: &matches,
            transparent: true,
            quiet: quiet(),
            keepalive: keepalive_now(false, None, true),
            process: Some("nginx"),
        });
        assert_eq!(advice.len(), MOST);
        assert!(advice[2].contains("tcp.idle_timeout.seconds"), "{advice:?}");
        assert!(setting("OpenBSD relayd").is_none());
    }

    #[test]
    fn probe_times_are_round_and_leave_room() {
        for (limit, expected) in [
            (1, 1),
            (3, 1),
            (7, 3),
            (60, 30),
            (75, 35),
            (300, 150),
            (350, 150),
            (3600, 1800),
            (86_400, 3600),
        ] {
            assert_eq!(probe_time(Duration::from_secs(limit)), expected, "{limit}");
        }
    }
}
