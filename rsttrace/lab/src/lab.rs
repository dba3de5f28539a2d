//! The lab: three private network namespaces (client, router, server).
//!
//! Each namespace is held by a process and has no name, so nothing stays behind, not even after a kill -9.
//! Scenarios start further processes in them.

use std::fmt::{Debug, Display};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::actor::protocol::TcpState;
use super::actor::{Actor, Spawner, holder, run_program};
use super::capture::Capture;
use super::error::StageError;
use super::kernel_state::{self, Entry};
use super::namespace::Namespace;
use super::net::conntrack;
use super::net::nft::{self, Rule};
use super::scenarios::confirm;
use super::segment::{Pattern, Segment};

/// The namespaces of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// 192.0.2.1, fd01::1
    Client,
    /// 192.0.2.254 and 203.0.113.254, fd01::fe and fd03::fe; forwards.
    Router,
    /// 203.0.113.3, fd03::3
    Server,
}

/// Whose eyes a record is judged with: only events of this namespace count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct View {
    pub place: Place,
    /// The inode number of its network namespace.
    pub netns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpVersion {
    V4,
    V6,
}

/// The running lab; dropping it ends all its processes and with them the namespaces.
#[derive(Debug)]
pub struct Lab {
    nodes: [Node; 3],
    spawner: Spawner,
    next_port: u16,
    undo: Vec<Undo>,
    tables: usize,
    no_ipv6: Option<String>,
}

/// A place of the lab.
#[derive(Debug)]
struct Node {
    namespace: Namespace,
    capture: Option<Capture>,
}

/// A change that [`Lab::tidy`] reverts.
#[derive(Debug, PartialEq, Eq)]
enum Undo {
    Firewall(Place),
    /// The old value.
    Sysctl(Place, String, String),
    /// Of this interface of the router.
    Netem(&'static str),
}

impl Lab {
    /// Builds the lab; its processes are this same program, started with the hidden subcommand.
    pub fn up() -> Result<Self, StageError> {
        // Scenarios that wait side by side hold a few descriptors for each process.
        crate::raise_file_limit();
        // Still the right file when the program was replaced meanwhile.
        let executable = PathBuf::from("/proc/self/exe");
        let node = |name| {
            let namespace = Namespace::held_by(holder(&executable, name));
            let namespace = namespace.map_err(|error| {
                let what = "no network namespaces of our own: root (CAP_SYS_ADMIN) is needed";
                let error = StageError::refused(name, &error, "unshare(CLONE_NEWNET)");
                error.lacking(&["EPERM", "EINVAL", "ENOSPC"], what)
            })?;
            Ok::<_, StageError>(Node {
                namespace,
                capture: None,
            })
        };
        let mut lab = Self {
            nodes: [
                node("rt-net-client")?,
                node("rt-net-router")?,
                node("rt-net-server")?,
            ],
            spawner: Spawner::new(executable)?,
            next_port: FIRST_PORT,
            undo: Vec::new(),
            tables: 0,
            no_ipv6: None,
        };
        lab.connect()?;
        Ok(lab)
    }

    fn connect(&mut self) -> Result<(), StageError> {
        for place in [Place::Client, Place::Router, Place::Server] {
            for (name, value) in SYSCTLS {
                // A sysctl that this kernel does not have cannot affect a scenario either.
                ignore(&["ENOENT"], self.write_sysctl(place, name, value))?;
            }
        }
        self.write_sysctl(Place::Router, "ipv4/ip_forward", "1")?;
        for (name, value) in FORGETFUL {
            // Where conntrack is a module, it may be loaded later; see `firewall_to_stay`.
            ignore(&["ENOENT"], self.write_sysctl(Place::Router, name, value))?;
        }
        for (place, near, far, (here, there)) in self.sides() {
            let (router, end) = (self.namespace(Place::Router), self.namespace(place));
            let addresses = [[subnet(there[0])], [subnet(here[0])]];
            let ends = [(router, near, &addresses[0][..]), (end, far, &addresses[1])];
            refused(place, "veth", Namespace::connect(ends))
                .map_err(|error| error.lacking(&["EOPNOTSUPP"], "this kernel has no veth"))?;
            self.route(place, there[0])?;
        }
        self.no_ipv6 = match self.connect_ipv6() {
            Err(StageError::Refused { errno, what, .. }) => Some(format!("{errno} at {what}")),
            other => other.map(|()| None)?,
        };
        Ok(())
    }

    fn connect_ipv6(&self) -> Result<(), StageError> {
        self.write_sysctl(Place::Router, "ipv6/conf/all/forwarding", "1")?;
        for (place, near, far, (here, there)) in self.sides() {
            self.assign(Place::Router, near, there[1])?;
            self.assign(place, far, here[1])?;
            self.route(place, there[1])?;
        }
        Ok(())
    }

    /// Client and server: the interfaces of the router and of the place, and the addresses of the place and of the router.
    fn sides(&self) -> [(Place, &'static str, &'static str, Subnet); 2] {
        [
            (Place::Client, "rt-c", "c0", SUBNETS[0]),
            (Place::Server, "rt-s", "s0", SUBNETS[1]),
        ]
    }

    fn route(&self, place: Place, gateway: IpAddr) -> Result<(), StageError> {
        let done = self.namespace(place).add_default_route(gateway);
        refused(place, "a default route", done)
    }

    fn assign(&self, place: Place, interface: &str, address: IpAddr) -> Result<(), StageError> {
        let namespace = self.namespace(place);
        let done = namespace.add_address(interface, subnet(address));
        refused(place, format_args!("address {address}"), done)
    }

    fn write_sysctl(&self, place: Place, name: &str, value: &str) -> Result<String, StageError> {
        let done = self.namespace(place).sysctl(name, value);
        refused(place, format_args!("{name}={value}"), done)
    }

    pub fn namespace(&self, place: Place) -> &Namespace {
        &self.nodes[place as usize].namespace
    }

    /// Does something in the namespace of a place.
    fn enter<T: Send>(
        &self,
        place: Place,
        what: impl Display,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, StageError> {
        let done = self.namespace(place).enter(work).flatten();
        refused(place, what, done)
    }

    /// Whether scenarios of this IP version can be staged here.
    pub(super) fn offers(&self, version: IpVersion) -> Result<(), StageError> {
        match &self.no_ipv6 {
            Some(why) if version == IpVersion::V6 => {
                Err(StageError::NotStaged(format!("no IPv6 here: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// The process that holds the namespace of a place.
    pub fn pid(&self, place: Place) -> u32 {
        self.namespace(place).pid()
    }

    /// The namespace of a place as a view.
    pub fn view(&self, place: Place) -> View {
        let netns = self.namespace(place).inode().into();
        View { place, netns }
    }

    /// The address of the client or the server; of the router, its end towards the client.
    pub(super) fn address(&self, place: Place, version: IpVersion) -> IpAddr {
        let [v4, v6] = match place {
            Place::Client => SUBNETS[0].0,
            Place::Router => SUBNETS[0].1,
            Place::Server => SUBNETS[1].0,
        };
        if version == IpVersion::V4 { v4 } else { v6 }
    }

    /// A port that no other scenario uses.
    pub(super) fn port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    /// An address of the server with a port that no other scenario uses.
    pub(super) fn service(&mut self, version: IpVersion) -> SocketAddr {
        SocketAddr::new(self.address(Place::Server, version), self.port())
    }

    pub(super) fn actor(&mut self, place: Place, name: &str) -> Result<Actor, StageError> {
        self.spawner.spawn(name, self.pid(place))
    }

    /// Installs firewall rules until [`Lab::tidy`] or [`Lab::open_firewall`].
    pub(super) fn firewall(&mut self, place: Place, rules: &[Rule]) -> Result<(), StageError> {
        self.enter(place, "nftables rules", || nft::install(TABLE, rules))
            .map_err(|error| {
                error.lacking(&NO_NFTABLES, "this kernel has no nf_tables with reject")
            })?;
        self.undo.push(Undo::Firewall(place));
        Ok(())
    }

    /// Installs firewall rules for as long as the lab stands.
    pub(super) fn firewall_to_stay(
        &mut self,
        place: Place,
        rules: &[Rule],
    ) -> Result<(), StageError> {
        self.tables += 1;
        let table = format!("{TABLE}_{}", self.tables);
        self.enter(place, "nftables rules", || nft::install(&table, rules))
            .map_err(|error| {
                error.lacking(&NO_NFTABLES, "this kernel has no nf_tables with NAT")
            })?;
        if place == Place::Router {
            for (name, value) in FORGETFUL {
                self.write_sysctl(place, name, value)
                    .map_err(|error| error.lacking(&["ENOENT"], "no conntrack"))?;
            }
        }
        Ok(())
    }

    /// Makes the connection tracking of a place forget the connection with this direction.
    pub(super) fn forget(
        &mut self,
        place: Place,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<(), StageError> {
        let what = format_args!("deleting the entry of {source}");
        self.enter(place, what, || conntrack::delete(source, destination))
            .map_err(|error| {
                error.lacking(
                    &["EINVAL", "EOPNOTSUPP", "EPROTONOSUPPORT"],
                    "this kernel has no netlink for conntrack (module nf_conntrack_netlink)",
                )
            })
    }

    /// Adds an address, which the place may have already.
    pub(super) fn further_address(&self, place: Place, address: IpAddr) -> Result<(), StageError> {
        let device = match place {
            Place::Client => "c0",
            Place::Router => "rt-s",
            Place::Server => "s0",
        };
        ignore(&["EEXIST"], self.assign(place, device, address))
    }

    /// Runs a program in a place; [`StageError::NotStaged`] with `lacking` if it complains of one of these things.
    pub(super) fn run(
        &mut self,
        place: Place,
        command: &str,
        (complaints, lacking): (&[&str], &str),
    ) -> Result<(), StageError> {
        let ran = self.enter(place, command, || run_program(command));
        match ran.map_err(|error| match error {
            StageError::Refused { errno, .. } if errno == "ENOENT" => {
                let program = command.split(' ').next().unwrap_or_default();
                StageError::NotStaged(format!("{program} is not installed"))
            }
            other => other,
        })? {
            None => Ok(()),
            Some(complaint) if complaints.iter().any(|known| complaint.contains(known)) => {
                Err(StageError::NotStaged(lacking.to_owned()))
            }
            Some(complaint) => Err(StageError::Failed(format!("{command}: {complaint}"))),
        }
    }

    /// Applies tc's netem to packets that leave the router towards these places, until [`Lab::tidy`].
    pub(super) fn disturb(&mut self, towards: &[Place], how: &str) -> Result<(), StageError> {
        for place in towards {
            let device = match place {
                Place::Client => "rt-c",
                Place::Router | Place::Server => "rt-s",
            };
            self.run(
                Place::Router,
                &format!("tc qdisc replace dev {device} root netem {how}"),
                (&NO_NETEM, "this kernel has no netem (module sch_netem)"),
            )?;
            if !self.undo.contains(&Undo::Netem(device)) {
                self.undo.push(Undo::Netem(device));
            }
        }
        Ok(())
    }

    /// Adds an address that belongs to no subnet, for as long as the lab stands.
    pub(super) fn virtual_address(&self, place: Place, address: IpAddr) -> Result<(), StageError> {
        let done = self.namespace(place).add_address("lo", address.into());
        ignore(&["EEXIST"], refused(place, address, done))
    }

    /// Makes the router forward, for as long as the lab stands, packets of the server with an address of the router.
    pub(super) fn pass_on_own_address(&self) -> Result<(), StageError> {
        for (name, value) in [
            ("ipv4/conf/rt-s/accept_local", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/rt-s/rp_filter", "0"),
        ] {
            self.write_sysctl(Place::Router, name, value)?;
        }
        Ok(())
    }

    /// Removes the firewall rules of a place.
    pub(super) fn open_firewall(&mut self, place: Place) -> Result<(), StageError> {
        self.undo.retain(|undo| *undo != Undo::Firewall(place));
        self.enter(place, "removing nftables rules", || nft::remove(TABLE))
    }

    /// Sets a network sysctl of a place until [`Lab::tidy`].
    pub(super) fn sysctl(
        &mut self,
        place: Place,
        name: &str,
        value: &str,
    ) -> Result<(), StageError> {
        let before = self
            .write_sysctl(place, name, value)
            .map_err(|error| error.lacking(&["ENOENT"], &format!("no sysctl {name}")))?;
        self.undo.push(Undo::Sysctl(place, name.to_owned(), before));
        Ok(())
    }

    /// A counter of the kernel in a place, such as "OutRsts".
    pub(super) fn counter(&self, place: Place, name: &str) -> Result<u64, StageError> {
        refused(place, name, self.namespace(place).counter(name))
    }

    /// Does something, and confirms by how much a counter of a place grew meanwhile.
    pub(super) fn counted<T>(
        &mut self,
        (place, name, times): (Place, &str, u64),
        act: impl FnOnce(&mut Self) -> Result<T, StageError>,
    ) -> Result<T, StageError> {
        let before = self.counter(place, name)?;
        let done = act(self)?;
        confirm(name, self.counter(place, name)? - before, times)?;
        Ok(done)
    }

    /// Waits until no TCP segment has arrived at either end for a while: an ACK that arrives after an end has gone is
    /// answered with a reset of its own.
    pub(super) fn await_quiet(&self, quiet: Duration) -> Result<(), StageError> {
        let start = Instant::now();
        let (mut arrived, mut since) = (self.arrived_segments()?, start);
        while since.elapsed() < quiet {
            if start.elapsed() > QUIET_LIMIT {
                let error = format!("segments were still arriving after {QUIET_LIMIT:?}");
                return Err(StageError::Failed(error));
            }
            thread::sleep(quiet / 10);
            let now = self.arrived_segments()?;
            if now != arrived {
                (arrived, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    fn arrived_segments(&self) -> Result<u64, StageError> {
        Ok(self.counter(Place::Client, "InSegs")? + self.counter(Place::Server, "InSegs")?)
    }

    /// The connection in the kernel's table, if it is there (also without a descriptor: orphans, TIME_WAIT).
    pub(super) fn entry(
        &self,
        place: Place,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<Entry>, StageError> {
        self.enter(place, local, || kernel_state::entry(local, remote))
    }

    /// Waits until the kernel's table has the connection in this state.
    pub(super) fn await_entry(
        &self,
        place: Place,
        (local, remote): (SocketAddr, SocketAddr),
        state: TcpState,
        minisock: bool,
    ) -> Result<(), StageError> {
        let what = format_args!("waiting for {local} in {state:?}");
        let meant = Entry {
            state: state as u8,
            minisock,
        };
        self.enter(place, what, || {
            kernel_state::await_entry(local, remote, meant)
        })
    }

    /// Captures TCP segments in a place from now on; an earlier capture there ends.
    pub(super) fn capture(&mut self, place: Place) -> Result<(), StageError> {
        let capture = self.enter(place, "capture", Capture::start);
        let capture = capture.map_err(no_packet_sockets)?;
        self.nodes[place as usize].capture = Some(capture);
        Ok(())
    }

    /// The next captured segment that fits.
    pub(super) fn segment(
        &mut self,
        place: Place,
        pattern: Pattern,
    ) -> Result<Segment, StageError> {
        next_segment(&mut self.nodes[place as usize].capture, place, &pattern)
    }

    /// The next captured RST on this way.
    pub(super) fn reset(
        &mut self,
        place: Place,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Result<Segment, StageError> {
        self.segment(place, Pattern::reset(from, Some(to)))
    }

    /// Reverts rules, sysctls and disturbances of the last scenario.
    pub(super) fn tidy(&mut self) -> Result<(), StageError> {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Firewall(place) => self.open_firewall(place)?,
                Undo::Sysctl(place, name, before) => {
                    self.write_sysctl(place, &name, &before)?;
                }
                Undo::Netem(device) => {
                    let command = format!("tc qdisc del dev {device} root");
                    self.run(Place::Router, &command, (&[], ""))?;
                }
            }
        }
        Ok(())
    }
}

/// The next segment of a capture that fits. `whose`: for errors.
pub(super) fn next_segment(
    capture: &mut Option<Capture>,
    whose: impl Debug,
    pattern: &Pattern,
) -> Result<Segment, StageError> {
    let capture = capture.as_mut();
    let capture = capture.ok_or_else(|| StageError::Failed(format!("{whose:?}: no capture")))?;
    let captured = capture.wait(pattern);
    captured.map_err(|error| {
        StageError::refused(&format!("{whose:?}"), &error, format_args!("{pattern:?}"))
    })
}

/// A kernel without packet sockets cannot stage what has to be captured.
pub(super) fn no_packet_sockets(error: StageError) -> StageError {
    error.lacking(&["EAFNOSUPPORT"], "no packet sockets")
}

fn refused<T>(place: Place, what: impl Display, done: io::Result<T>) -> Result<T, StageError> {
    done.map_err(|error| StageError::refused(&format!("{place:?}"), &error, what))
}

fn ignore<T>(errnos: &[&str], outcome: Result<T, StageError>) -> Result<(), StageError> {
    match outcome {
        Err(StageError::Refused { errno, .. }) if errnos.contains(&errno.as_str()) => Ok(()),
        other => other.map(drop),
    }
}

fn subnet(address: IpAddr) -> IpNet {
    let prefix = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new_assert(address, prefix)
}

type Subnet = ([IpAddr; 2], [IpAddr; 2]);

/// For client and server: their own addresses, and the router's in the same subnet.
const SUBNETS: [Subnet; 2] = [
    (
        [v4(192, 0, 2, 1), v6(0xfd01, 1)],
        [v4(192, 0, 2, 254), v6(0xfd01, 0xfe)],
    ),
    (
        [v4(203, 0, 113, 3), v6(0xfd03, 3)],
        [v4(203, 0, 113, 254), v6(0xfd03, 0xfe)],
    ),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(net: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(net, 0, 0, 0, 0, 0, 0, host))
}

/// Addresses are usable at once, and no setting inherited from the host affects a scenario.
const SYSCTLS: [(&str, &str); 7] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv4/tcp_fin_timeout", "60"),
    ("ipv4/tcp_abort_on_overflow", "0"),
    ("ipv4/tcp_syncookies", "1"),
];
/// Where conntrack is in use, the router forgets connections after 3 s and picks none up in the middle. These are settings
/// of the host, so they are set before the tracer reads them.
const FORGETFUL: [(&str, &str); 3] = [
    ("netfilter/nf_conntrack_tcp_timeout_established", "3"),
    // A half-closed one is forgotten sooner, as by default.
    ("netfilter/nf_conntrack_tcp_timeout_close_wait", "2"),
    ("netfilter/nf_conntrack_tcp_loose", "0"),
];
const NO_NFTABLES: [&str; 5] = [
    "EPROTONOSUPPORT",
    "EOPNOTSUPP",
    "ENOENT",
    "EINVAL",
    "EAFNOSUPPORT",
];
/// Errors of tc without the module, in different versions.
const NO_NETEM: [&str; 2] = ["qdisc kind is unknown", "No such file or directory"];
/// How long segments may go on arriving.
const QUIET_LIMIT: Duration = Duration::from_secs(10);
const TABLE: &str = "rsttrace_demo";
/// Below the ephemeral range, so that no client gets one by chance.
const FIRST_PORT: u16 = 20_000;
