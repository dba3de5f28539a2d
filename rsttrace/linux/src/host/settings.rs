//! Settings of a network namespace that affect idle TCP connections.
//!
//! `/proc/sys/net` shows the namespace of the reading thread, independent of the mount, so other namespaces are read by
//! a thread that enters them and ends
//! (`net_ctl_root`, <https://github.com/torvalds/linux/blob/v6.12/net/sysctl_net.c#L33>).

use std::fs::{self, File};
use std::io;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::event::{
    Balanced, BootTime, ConntrackTimeouts, IpvsTimeouts, KeepaliveDefaults, NetSettings,
    NetnsCookie,
};
use crate::hash::{self, LruCache};
use crate::sys;

/// Those of the network namespace that the calling thread is in.
pub fn of_this_namespace() -> NetSettings {
    let (ipvs, balanced) = ipvs().unzip();
    NetSettings {
        keepalive: keepalive(&sysctl),
        conntrack: conntrack(&sysctl),
        ipvs,
        balanced: balanced.unwrap_or_default(),
        forwards: forwards(&sysctl),
    }
}

/// Those of the namespace that a file leads to, see [`visit`].
pub fn of_namespace(path: &Path, inode: Option<u32>) -> io::Result<NetSettings> {
    visit(path, inode, of_this_namespace)
}

/// Does something in the namespace that a file like `/proc/PID/ns/net` or `/run/netns/NAME` leads to. With an inode given, an
/// error if the file leads elsewhere by now. Entering takes CAP_SYS_ADMIN.
pub fn visit<T: Send + 'static>(
    path: &Path,
    inode: Option<u32>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let there = File::open(path)?;
    let is_inode = there.metadata()?.ino();
    if inode.is_some_and(|inode| u64::from(inode) != is_inode) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let visitor = std::thread::Builder::new().name("rsttrace-visit".to_owned());
    let visit = visitor.spawn(move || -> io::Result<T> {
        setns(there, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })?;
    let ended = visit.join();
    ended.unwrap_or_else(|_| Err(io::Error::other("the namespace thread exited")))
}

/// Connections that connection tracking remembers in the calling thread's namespace; absent where it is not there.
pub fn tracked_connections() -> Option<u64> {
    sysctl("netfilter/nf_conntrack_count")
}

/// Remembers what was read, so that an event costs a look into a map.
#[derive(Debug)]
pub(super) struct KnownSettings {
    known: LruCache<NetnsCookie, Known>,
    /// Begin of the second that `reads` belongs to.
    second: BootTime,
    reads: u32,
}

#[derive(Debug)]
struct Known {
    settings: Option<Arc<NetSettings>>,
    read: BootTime,
}

/// Namespaces remembered.
const CAPACITY: usize = 4096;
/// Maximum age of a cached setting.
const FRESH: Duration = Duration::from_secs(5);
/// Reads a second, some 0.2 ms each; what is over it waits for the next second.
const RATE: u32 = 50;

impl Default for KnownSettings {
    fn default() -> Self {
        Self {
            known: hash::lru(CAPACITY),
            second: BootTime(0),
            reads: 0,
        }
    }
}

impl KnownSettings {
    /// Those of `netns`, by `read` if they are not known or too old. A namespace that cannot be read any more keeps
    /// what it had. `now` is when the question arose.
    pub fn get(
        &mut self,
        netns: NetnsCookie,
        now: BootTime,
        read: impl FnOnce() -> Option<NetSettings>,
    ) -> Option<Arc<NetSettings>> {
        if netns == NetnsCookie(0) {
            return None;
        }
        let last = match self.known.get(&netns) {
            Some(known) if now.since(known.read) < FRESH => return known.settings.clone(),
            Some(known) => known.settings.clone(),
            None => None,
        };
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.reads) = (now, 0);
        }
        if self.reads >= RATE {
            return last;
        }
        self.reads += 1;
        let settings = match (read(), last) {
            // One copy for all records of the namespace, as long as nothing changes.
            (Some(new), Some(last)) if *last == new => Some(last),
            (Some(new), _) => Some(Arc::new(new)),
            (None, last) => last,
        };
        let known = Known {
            settings: settings.clone(),
            read: now,
        };
        self.known.put(netns, known);
        settings
    }
}

/// A value below `/proc/sys/net`; absent if there is no such file, it may not be read, or it is no number.
pub(super) fn sysctl(name: &str) -> Option<u64> {
    let path = Path::new("/proc/sys/net").join(name);
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn keepalive(value: &impl Fn(&str) -> Option<u64>) -> Option<KeepaliveDefaults> {
    Some(KeepaliveDefaults {
        time: Duration::from_secs(value("ipv4/tcp_keepalive_time")?),
        interval: Duration::from_secs(value("ipv4/tcp_keepalive_intvl")?),
        probes: value("ipv4/tcp_keepalive_probes")?.try_into().ok()?,
    })
}

fn conntrack(value: &impl Fn(&str) -> Option<u64>) -> Option<ConntrackTimeouts> {
    let tcp = |name: &str| value(&format!("netfilter/nf_conntrack_tcp_{name}"));
    let seconds = |name: &str| tcp(name).map(Duration::from_secs);
    Some(ConntrackTimeouts {
        established: seconds("timeout_established")?,
        unacknowledged: seconds("timeout_unacknowledged")?,
        close_wait: seconds("timeout_close_wait")?,
        max_retrans: seconds("timeout_max_retrans")?,
        loose: tcp("loose")? != 0,
    })
}

fn forwards(value: &impl Fn(&str) -> Option<u64>) -> bool {
    ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]
        .into_iter()
        .any(|name| value(name).is_some_and(|on| on != 0))
}

/// Netfilter's options answer on any IPv4 socket, so a plain one will do: a raw one would take CAP_NET_RAW, too
/// (`ip_getsockopt`, <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/ip_sockglue.c#L1784>).
fn ipvs() -> Option<(IpvsTimeouts, Balanced)> {
    // Of the thread's namespace; /proc/net would be the process's.
    let services = BufReader::new(File::open("/proc/thread-self/net/ip_vs").ok()?);
    let balanced = balanced(services);
    if balanced == Balanced::default() {
        return None;
    }
    let family = AddressFamily::Inet;
    let any = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let [established, fin_wait] = sys::ipvs_timeouts(any.as_fd()).ok()?;
    let timeouts = IpvsTimeouts {
        established: Duration::from_secs(established.into()),
        fin_wait: Duration::from_secs(fin_wait.into()),
    };
    Some((timeouts, balanced))
}

/// The services that may be TCP's, by address or by firewall mark, and the servers behind them. It may list thousands.
fn balanced(services: impl BufRead) -> Balanced {
    let mut balanced = Balanced::default();
    let mut is_tcp = false;
    for line in services.lines().map_while(Result::ok) {
        let mut words = line.split_whitespace();
        let address = match (words.next(), words.next()) {
            (Some("TCP"), address) => {
                is_tcp = true;
                address
            }
            // Of a service before.
            (Some("->"), address) if is_tcp => address,
            (Some("FWM"), _) => {
                balanced.others = true;
                is_tcp = false;
                continue;
            }
            (Some("->"), _) => continue,
            _ => {
                is_tcp = false;
                continue;
            }
        };
        if balanced.addresses.len() == BALANCED {
            balanced.others = true;
            break;
        }
        match address.and_then(balanced_address) {
            Some(address) => balanced.addresses.push(address),
            None => balanced.others = true,
        }
    }
    balanced.addresses.sort_unstable();
    balanced.addresses.dedup();
    balanced
}

/// `C6336402:0050` or `[2001:0db8:…]:0050` (`ip_vs_info_seq_show`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/netfilter/ipvs/ip_vs_ctl.c#L2281>).
fn balanced_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(v6) => v6.parse::<Ipv6Addr>().ok()?.into(),
        None => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
    };
    Some(SocketAddr::new(address, port))
}

/// Addresses of IPVS that are kept.
const BALANCED: usize = 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn this_namespace_has_keepalive_settings_and_its_file_leads_to_them() {
        let here = of_this_namespace();
        assert!(here.keepalive.is_some_and(|it| it.probes > 0));
        let inode = fs::metadata("/proc/self/ns/net").unwrap().ino() as u32;
        let elsewhere = of_namespace(Path::new("/proc/self/ns/net"), Some(inode + 1));
        assert_eq!(elsewhere.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_kernel_without_connection_tracking_has_none() {
        let value = |name: &str| match name {
            "ipv6/conf/all/forwarding" => Some(1),
            "netfilter/nf_conntrack_tcp_loose" => None,
            _ => Some(60),
        };
        assert_eq!(conntrack(&value), None);
        assert!(forwards(&value) && !forwards(&|_: &str| None));
        assert_eq!(keepalive(&|_: &str| None), None);
    }

    #[test]
    fn an_ipvs_that_balances_nothing_has_no_say() {
        let none = "IP Virtual Server version 1.2.1 (size=4096)\n\
            Prot LocalAddress:Port Scheduler Flags\n  \
            -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
        assert_eq!(balanced(none.as_bytes()), Balanced::default());
        let server = "  -> 0AF40003:0035      Masq    1      0          0\n";
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (first, service, others) in [
            ("TCP  0A60000A:0035 rr \n", Some("10.96.0.10:53"), false),
            (
                "TCP  [2001:0db8:0000:0000:0000:0000:0000:000a]:0035 rr \n",
                Some("[2001:db8::a]:53"),
                false,
            ),
            ("FWM  00000001 wlc \n", None, true),
            ("UDP  0A60000A:0035 rr \n", None, false),
        ] {
            let found = balanced(format!("{none}{first}{server}").as_bytes());
            assert_eq!(found.others, others, "{first}");
            let unknown = (!others).then_some(false);
            for address in ["10.244.0.3:53", service.unwrap_or("10.244.0.3:53")] {
                let listed = service.map_or(unknown, |_| Some(true));
                assert_eq!(found.includes(at(address)), listed, "{first}");
            }
            assert_eq!(found.includes(at("10.244.0.3:54")), unknown, "{first}");
        }
    }

    #[test]
    fn a_service_without_a_port_has_all_and_too_many_are_not_listed() {
        let one = "TCP  0A60000A:0000 rr persistent 300\n";
        let found = balanced(one.as_bytes());
        let address = "10.96.0.10:443".parse().unwrap();
        assert_eq!(found.includes(address), Some(true));
        let many: String = (0..2 * BALANCED)
            .map(|port| format!("TCP  0A60000A:{:04X} rr\n", port + 1))
            .collect();
        let found = balanced(many.as_bytes());
        assert_eq!((found.addresses.len(), found.others), (BALANCED, true));
    }

    #[test]
    fn a_namespace_is_read_once_in_a_while_and_not_forgotten_when_it_ends() {
        let mut known = KnownSettings::default();
        let at = |seconds: u64| BootTime(seconds * 1_000_000_000);
        let forwarding = NetSettings {
            forwards: true,
            ..NetSettings::default()
        };
        let first = known.get(NetnsCookie(7), at(10), || Some(NetSettings::default()));
        let again = known.get(NetnsCookie(7), at(14), || unreachable!("known"));
        assert!(Arc::ptr_eq(&first.unwrap(), &again.clone().unwrap()));
        let unchanged = known.get(NetnsCookie(7), at(15), || Some(NetSettings::default()));
        assert!(Arc::ptr_eq(&unchanged.unwrap(), &again.unwrap()));
        let changed = known.get(NetnsCookie(7), at(20), || Some(forwarding.clone()));
        assert_eq!(changed.as_deref(), Some(&forwarding));
        let ended = known.get(NetnsCookie(7), at(25), || None);
        assert_eq!(ended.as_deref(), Some(&forwarding));
        // Not known at all: no namespace.
        assert_eq!(known.get(NetnsCookie(0), at(25), || unreachable!()), None);
    }

    #[test]
    fn reads_are_limited_and_the_next_second_has_an_allowance_of_its_own() {
        let mut known = KnownSettings::default();
        let mut reads = 0;
        let mut ask = |netns, second: u64| {
            let read = || {
                reads += 1;
                Some(NetSettings::default())
            };
            known
                .get(NetnsCookie(netns), BootTime(second * 1_000_000_000), read)
                .is_some()
        };
        let answered = (1..=200).filter(|&netns| ask(netns, 1)).count();
        assert_eq!(answered, RATE as usize);
        assert!(ask(200, 2));
        assert_eq!(reads, RATE + 1);
    }
}
