//! Addresses reserved for one scenario, so that configured hops and learned timeouts
//! do not affect other scenarios.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::StageError;
use crate::lab::{IpVersion, Lab, Place};

/// Addresses that only one scenario uses, one in each network.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// 192.0.2.N, the client's
    pub client: Ipv4Addr,
    /// 198.51.100.N, the balancer's towards clients
    pub front: Ipv4Addr,
    /// 203.0.113.(N+100), the balancer's towards servers
    pub back: Ipv4Addr,
    /// 203.0.113.N, the server's
    pub server: Ipv4Addr,
}

impl Site {
    /// The addresses with this number, from 10 to 99.
    pub fn new(lab: &mut Lab, number: u8) -> Result<Self, StageError> {
        let site = Self {
            client: Ipv4Addr::new(192, 0, 2, number),
            front: Ipv4Addr::new(198, 51, 100, number),
            back: Ipv4Addr::new(203, 0, 113, number.saturating_add(100)),
            server: Ipv4Addr::new(203, 0, 113, number),
        };
        for (place, address) in [
            (Place::Client, site.client),
            (Place::Router, site.front),
            (Place::Router, site.back),
            (Place::Server, site.server),
        ] {
            lab.further_address(place, address.into())?;
        }
        Ok(site)
    }
}

/// Client and server of such a site, where there is no balancer between them, for either IP version.
pub fn direct(
    lab: &mut Lab,
    number: u8,
    version: IpVersion,
) -> Result<(IpAddr, IpAddr), StageError> {
    let (client, server) = match version {
        IpVersion::V4 => {
            let site = Site::new(lab, number)?;
            return Ok((site.client.into(), site.server.into()));
        }
        IpVersion::V6 => (v6(0xfd01, number), v6(0xfd03, number)),
    };
    lab.further_address(Place::Client, client)?;
    lab.further_address(Place::Server, server)?;
    Ok((client, server))
}

fn v6(network: u16, number: u8) -> IpAddr {
    Ipv6Addr::new(network, 0, 0, 0, 0, 0, 0, number.into()).into()
}
