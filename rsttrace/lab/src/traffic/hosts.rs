//! The hosts of a scene: network namespaces, with a link between client and server, or a balancer between them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::namespace::Namespace;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    Client,
    /// Between the other two; forwards.
    Balancer,
    Server,
}

/// Running hosts. Dropping them ends their namespaces.
#[derive(Debug)]
pub struct Hosts {
    network: u8,
    namespaces: BTreeMap<Host, Namespace>,
}

impl Hosts {
    /// Creates the namespaces in the network 10.`network`.0.0/16.
    pub fn new(network: u8, with_balancer: bool) -> io::Result<Self> {
        let client = Namespace::new()?;
        let server = Namespace::new()?;
        let mut namespaces = BTreeMap::new();
        let hosts = |namespaces| Self {
            network,
            namespaces,
        };
        let end = |third, fourth| -> [IpNet; 1] {
            [Ipv4Net::new_assert(Ipv4Addr::new(10, network, third, fourth), 24).into()]
        };
        if with_balancer {
            let balancer = Namespace::new()?;
            Namespace::connect([
                (&client, "net0", &end(1, 1)),
                (&balancer, "front", &end(1, 254)),
            ])?;
            Namespace::connect([
                (&server, "net0", &end(2, 1)),
                (&balancer, "back", &end(2, 254)),
            ])?;
            balancer.sysctl("ipv4/ip_forward", "1")?;
            client.add_default_route(IpAddr::V4(Ipv4Addr::new(10, network, 1, 254)))?;
            server.add_default_route(IpAddr::V4(Ipv4Addr::new(10, network, 2, 254)))?;
            namespaces.insert(Host::Balancer, balancer);
        } else {
            Namespace::connect([(&client, "net0", &end(1, 1)), (&server, "net0", &end(1, 2))])?;
        }
        namespaces.insert(Host::Client, client);
        namespaces.insert(Host::Server, server);
        Ok(hosts(namespaces))
    }

    pub fn each(&self) -> impl Iterator<Item = (Host, &Namespace)> {
        self.namespaces.iter().map(|(host, it)| (*host, it))
    }

    pub fn get(&self, host: Host) -> io::Result<&Namespace> {
        let found = self.namespaces.get(&host);
        found.ok_or_else(|| io::Error::other(format!("the scene has no host {host:?}")))
    }

    /// Variables with the addresses.
    pub fn addresses(&self) -> Vec<(String, String)> {
        let address = |third, fourth| Ipv4Addr::new(10, self.network, third, fourth).to_string();
        let of = |name: &str, value| (name.to_owned(), value);
        let has_balancer = self.namespaces.contains_key(&Host::Balancer);
        let mut all = vec![of("CLIENT", address(1, 1))];
        if has_balancer {
            // The longer name first: they are replaced in texts.
            all.push(of("BALANCER_BACK", address(2, 254)));
            all.push(of("BALANCER", address(1, 254)));
            all.push(of("SERVER", address(2, 1)));
        } else {
            all.push(of("SERVER", address(1, 2)));
        }
        all
    }
}
