//! Which addresses does a scenario have for itself? Hops of the configuration and what is learned of a path then
//! disturb no other scenario.

use std::net::Ipv4Addr;

use crate::demo::StageError;
use crate::demo::lab::{Lab, Place};

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
            lab.further_address(place, address)?;
        }
        Ok(site)
    }
}
