//! The lab: three private network namespaces (client, router, server).
//!
//! Each namespace is held by a process (its node) and has no name, so nothing stays behind, not even after
//! a kill -9. Scenarios put further processes into them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::actor::protocol::{Answer, Command};
use super::actor::{Actor, Spawner};
use super::error::StageError;
use super::net::nft::Rule;
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
#[allow(missing_docs, reason = "plain names")]
pub enum IpVersion {
    V4,
    V6,
}

/// The running lab; dropping it ends all its processes and with them the namespaces.
#[derive(Debug)]
pub struct Lab {
    nodes: [Actor; 3],
    spawner: Spawner,
    next_port: u16,
    undo: Vec<(Place, Command)>,
    tables: usize,
    no_ipv6: Option<String>,
}

impl Lab {
    /// Builds the lab; its processes are this same program, started with the hidden subcommand.
    pub fn up() -> Result<Self, StageError> {
        // Still the right file when the program was replaced meanwhile.
        Self::up_with(PathBuf::from("/proc/self/exe"))
    }

    /// Builds the lab with another program that knows the hidden subcommand.
    pub fn up_with(executable: PathBuf) -> Result<Self, StageError> {
        let spawner = Spawner::new(executable)?;
        let lacking = |error: StageError| {
            let what = "no network namespaces of our own: root (CAP_SYS_ADMIN) is needed";
            error.lacking(&["EPERM", "EINVAL", "ENOSPC"], what)
        };
        let nodes = [
            spawner.spawn("rt-net-client", None).map_err(lacking)?,
            spawner.spawn("rt-net-router", None).map_err(lacking)?,
            spawner.spawn("rt-net-server", None).map_err(lacking)?,
        ];
        let mut lab = Self {
            nodes,
            spawner,
            next_port: FIRST_PORT,
            undo: Vec::new(),
            tables: 0,
            no_ipv6: None,
        };
        lab.wire_up()?;
        Ok(lab)
    }

    fn wire_up(&mut self) -> Result<(), StageError> {
        let [client, router, server] = &mut self.nodes;
        for node in [&mut *client, &mut *router, &mut *server] {
            for (name, value) in SYSCTLS {
                // One that this kernel does not have cannot bend a scenario either.
                ignore(&["ENOENT"], sysctl(node, name, value))?;
            }
            link_up(node, "lo")?;
        }
        sysctl(router, "ipv4/ip_forward", "1")?;
        for (name, value) in FORGETFUL {
            // Where conntrack is a module, it may be loaded later; see `firewall_to_stay`.
            ignore(&["ENOENT"], sysctl(router, name, value))?;
        }
        let sides = [(&mut *client, "rt-c", "c0"), (&mut *server, "rt-s", "s0")];
        for ((end, near, far), (here, there)) in sides.into_iter().zip(SUBNETS) {
            let peer_pid = end.pid();
            router
                .ask(Command::Veth {
                    name: near.into(),
                    peer: far.into(),
                    peer_pid,
                })
                .map_err(|error| error.lacking(&["EOPNOTSUPP"], "this kernel has no veth"))?;
            assign(router, near, there[0])?;
            assign(end, far, here[0])?;
            link_up(router, near)?;
            link_up(end, far)?;
            end.ask(Command::DefaultRoute { gateway: there[0] })?;
        }
        self.no_ipv6 = match self.wire_up_ipv6() {
            Err(StageError::Refused { errno, what, .. }) => Some(format!("{errno} at {what}")),
            other => other.map(|()| None)?,
        };
        Ok(())
    }

    fn wire_up_ipv6(&mut self) -> Result<(), StageError> {
        let [client, router, server] = &mut self.nodes;
        sysctl(router, "ipv6/conf/all/forwarding", "1")?;
        let sides = [(client, "rt-c", "c0"), (server, "rt-s", "s0")];
        for ((end, near, far), (here, there)) in sides.into_iter().zip(SUBNETS) {
            assign(router, near, there[1])?;
            assign(end, far, here[1])?;
            end.ask(Command::DefaultRoute { gateway: there[1] })?;
        }
        Ok(())
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
        self.nodes[place as usize].pid()
    }

    /// The process that holds a namespace, to be told things.
    pub(super) fn node(&mut self, place: Place) -> &mut Actor {
        &mut self.nodes[place as usize]
    }

    /// The namespace of a place as a view.
    pub fn view(&self, place: Place) -> View {
        let path = format!("/proc/{}/ns/net", self.nodes[place as usize].pid());
        // 0 is no namespace's number: a node that is gone shows up as a view without records.
        let netns = std::fs::metadata(path).map_or(0, |metadata| metadata.ino());
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

    /// Starts a process in a place.
    pub(super) fn actor(&mut self, place: Place, name: &str) -> Result<Actor, StageError> {
        let holder = self.nodes[place as usize].pid();
        self.spawner.spawn(name, Some(holder))
    }

    /// Puts firewall rules into a place until [`Lab::tidy`] or [`Lab::open_firewall`].
    pub(super) fn firewall(&mut self, place: Place, rules: &[Rule]) -> Result<(), StageError> {
        let table = TABLE.to_owned();
        let made = self.node(place).ask(Command::Firewall {
            table: table.clone(),
            rules: rules.to_vec(),
        });
        made.map_err(|error| {
            error.lacking(&NO_NFTABLES, "this kernel has no nf_tables with reject")
        })?;
        self.undo.push((place, Command::FirewallOff { table }));
        Ok(())
    }

    /// Puts firewall rules into a place for as long as the lab stands.
    pub(super) fn firewall_to_stay(
        &mut self,
        place: Place,
        rules: &[Rule],
    ) -> Result<(), StageError> {
        self.tables += 1;
        let table = format!("{TABLE}_{}", self.tables);
        let made = self.node(place).ask(Command::Firewall {
            table,
            rules: rules.to_vec(),
        });
        made.map_err(|error| error.lacking(&NO_NFTABLES, "this kernel has no nf_tables with NAT"))?;
        if place == Place::Router {
            for (name, value) in FORGETFUL {
                sysctl(self.node(place), name, value)
                    .map_err(|error| error.lacking(&["ENOENT"], "no conntrack"))?;
            }
        }
        Ok(())
    }

    /// Gives a place a further address, which it may have already.
    pub(super) fn further_address(
        &mut self,
        place: Place,
        address: IpAddr,
    ) -> Result<(), StageError> {
        let device = match place {
            Place::Client => "c0",
            Place::Router => "rt-s",
            Place::Server => "s0",
        };
        match assign(self.node(place), device, address) {
            Err(StageError::Refused { errno, .. }) if errno == "EEXIST" => Ok(()),
            other => other,
        }
    }

    /// Runs a program in a place; [`StageError::NotStaged`] with `lacking` if it complains of one of these things.
    pub(super) fn run(
        &mut self,
        place: Place,
        command: &str,
        (complaints, lacking): (&[&str], &str),
    ) -> Result<(), StageError> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let Some((program, arguments)) = words.split_first() else {
            return Err(StageError::Failed("no program to be run".to_owned()));
        };
        match self.node(place).run(program, arguments)? {
            None => Ok(()),
            Some(complaint) if complaints.iter().any(|known| complaint.contains(known)) => {
                Err(StageError::NotStaged(lacking.to_owned()))
            }
            Some(complaint) => Err(StageError::Failed(format!("{command}: {complaint}"))),
        }
    }

    /// Has packets that leave the router by both ways, or by that to one place, suffer what tc's netem does to them, until
    /// [`Lab::tidy`].
    pub(super) fn disturb(&mut self, towards: &[Place], how: &str) -> Result<(), StageError> {
        for place in towards {
            let device = match place {
                Place::Client => "rt-c",
                Place::Router | Place::Server => "rt-s",
            };
            let undo = Command::Run {
                program: "tc".to_owned(),
                arguments: ["qdisc", "del", "dev", device, "root"]
                    .map(str::to_owned)
                    .to_vec(),
            };
            self.run(
                Place::Router,
                &format!("tc qdisc replace dev {device} root netem {how}"),
                (&NO_NETEM, "this kernel has no netem (module sch_netem)"),
            )?;
            if !self.undo.contains(&(Place::Router, undo.clone())) {
                self.undo.push((Place::Router, undo));
            }
        }
        Ok(())
    }

    /// Gives a place an address that belongs to no subnet, for as long as the lab stands.
    pub(super) fn virtual_address(
        &mut self,
        place: Place,
        address: IpAddr,
    ) -> Result<(), StageError> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let command = Command::Address {
            name: "lo".to_owned(),
            address,
            prefix,
        };
        match self.node(place).ask(command) {
            Err(StageError::Refused { errno, .. }) if errno == "EEXIST" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Has the router pass on, for as long as the lab stands, what the server sends from an address of the router.
    pub(super) fn pass_on_own_address(&mut self) -> Result<(), StageError> {
        let router = self.node(Place::Router);
        for (name, value) in [
            ("ipv4/conf/rt-s/accept_local", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/rt-s/rp_filter", "0"),
        ] {
            sysctl(router, name, value)?;
        }
        Ok(())
    }

    /// Removes the firewall rules of a place.
    pub(super) fn open_firewall(&mut self, place: Place) -> Result<(), StageError> {
        let command = Command::FirewallOff {
            table: TABLE.to_owned(),
        };
        self.undo.retain(|undo| *undo != (place, command.clone()));
        self.node(place).ask(command).map(drop)
    }

    /// Sets a network sysctl of a place until [`Lab::tidy`].
    pub(super) fn sysctl(
        &mut self,
        place: Place,
        name: &str,
        value: &str,
    ) -> Result<(), StageError> {
        let before = sysctl(self.node(place), name, value)
            .map_err(|error| error.lacking(&["ENOENT"], &format!("no sysctl {name}")))?;
        self.undo.push((
            place,
            Command::Sysctl {
                name: name.to_owned(),
                value: before,
            },
        ));
        Ok(())
    }

    /// Captures TCP segments in a place from now on.
    pub(super) fn capture(&mut self, place: Place) -> Result<(), StageError> {
        self.node(place).capture()
    }

    /// The next captured segment that fits.
    pub(super) fn segment(
        &mut self,
        place: Place,
        pattern: Pattern,
    ) -> Result<Segment, StageError> {
        self.node(place).segment(pattern)
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

    /// Takes back rules and sysctls of the last scenario.
    pub(super) fn tidy(&mut self) -> Result<(), StageError> {
        while let Some((place, command)) = self.undo.pop() {
            self.node(place).ask(command)?;
        }
        Ok(())
    }
}

fn link_up(node: &mut Actor, name: &str) -> Result<(), StageError> {
    node.ask(Command::LinkUp {
        name: name.to_owned(),
    })
    .map(drop)
}

fn assign(node: &mut Actor, name: &str, address: IpAddr) -> Result<(), StageError> {
    let prefix = if address.is_ipv4() { 24 } else { 64 };
    node.ask(Command::Address {
        name: name.to_owned(),
        address,
        prefix,
    })
    .map(drop)
}

fn ignore(errnos: &[&str], outcome: Result<String, StageError>) -> Result<(), StageError> {
    match outcome {
        Err(StageError::Refused { errno, .. }) if errnos.contains(&errno.as_str()) => Ok(()),
        other => other.map(drop),
    }
}

fn sysctl(node: &mut Actor, name: &str, value: &str) -> Result<String, StageError> {
    match node.ask(Command::Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
    })? {
        Answer::Text { text } => Ok(text),
        other => Err(StageError::Failed(format!("unexpected answer {other:?}"))),
    }
}

/// For client and server: their own addresses, and the router's in the same subnet.
const SUBNETS: [([IpAddr; 2], [IpAddr; 2]); 2] = [
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

/// Addresses usable at once, and nothing inherited from the host's settings that would bend a scenario.
const SYSCTLS: [(&str, &str); 7] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv4/tcp_fin_timeout", "60"),
    ("ipv4/tcp_abort_on_overflow", "0"),
    ("ipv4/tcp_syncookies", "1"),
];
/// Where conntrack is in use, the router forgets connections after 3 s and picks none up in the middle. Settings of the
/// host, there before anybody looks.
const FORGETFUL: [(&str, &str); 2] = [
    ("netfilter/nf_conntrack_tcp_timeout_established", "3"),
    ("netfilter/nf_conntrack_tcp_loose", "0"),
];
const NO_NFTABLES: [&str; 5] = [
    "EPROTONOSUPPORT",
    "EOPNOTSUPP",
    "ENOENT",
    "EINVAL",
    "EAFNOSUPPORT",
];
/// What tc says without the module, of different ages.
const NO_NETEM: [&str; 2] = ["qdisc kind is unknown", "No such file or directory"];
const TABLE: &str = "rsttrace_demo";
/// Below the ephemeral range, so that no client gets one by chance.
const FIRST_PORT: u16 = 20_000;
