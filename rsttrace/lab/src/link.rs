//! Two network namespaces with a link between them: where floods are staged.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::namespace::Namespace;

/// The clients' end and the servers' end of a veth pair, both in the same two networks.
#[derive(Debug)]
pub struct Link {
    pub near: Namespace,
    pub far: Namespace,
}

/// One end of a [`Link`].
#[derive(Debug, Clone, Copy)]
pub struct LinkEnd {
    pub interface: &'static str,
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
    /// In the second network.
    pub second_address: Ipv4Addr,
}

impl LinkEnd {
    const fn new(interface: &'static str, number: u8) -> Self {
        Self {
            interface,
            mac: [2, 0, 0, 0, 0x63, number],
            address: Ipv4Addr::new(198, 18, 1, number),
            second_address: Ipv4Addr::new(198, 18, 2, number),
        }
    }
}

pub const NEAR: LinkEnd = LinkEnd::new("near", 1);
pub const FAR: LinkEnd = LinkEnd::new("far", 2);

impl Link {
    /// Creates both. Answers to sources that do not exist go to the near end, and no further.
    pub fn new() -> io::Result<Self> {
        let link = Self {
            near: Namespace::new()?,
            far: Namespace::new()?,
        };
        let ends = [(&link.near, NEAR), (&link.far, FAR)];
        for (namespace, _) in ends {
            for (name, value) in SYSCTLS {
                namespace.sysctl(name, value)?;
            }
        }
        let of = |end: LinkEnd| [end.address, end.second_address].map(in_its_network);
        let [near, far] = [of(NEAR), of(FAR)];
        Namespace::connect([
            (&link.near, NEAR.interface, &near),
            (&link.far, FAR.interface, &far),
        ])?;
        for (namespace, end) in ends {
            namespace.set_mac(end.interface, end.mac)?;
        }
        link.far.add_default_route(IpAddr::V4(NEAR.address))?;
        Ok(link)
    }
}

fn in_its_network(address: Ipv4Addr) -> IpNet {
    Ipv4Net::new_assert(address, 24).into()
}

/// A loop of connections has enough ports, above those of services, and TIME_WAIT sockets; spoofed sources pass.
const SYSCTLS: [(&str, &str); 6] = [
    ("ipv4/tcp_max_tw_buckets", "4096"),
    ("ipv4/ip_local_port_range", "20000 60999"),
    ("ipv4/tcp_fin_timeout", "5"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/ip_forward", "0"),
];
