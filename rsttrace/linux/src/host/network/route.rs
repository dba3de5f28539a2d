//! The next hop to a host, as `ip route get` has it.

use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::request::{address, ask, attribute, family, octets, value};
use crate::event::Route;

// include/uapi/linux/rtnetlink.h
const DESTINATION: u16 = 1;
const GATEWAY: u16 = 5;
const VIA: u16 = 18;
/// `struct rtmsg`.
const HEADER: usize = 12;
const UNICAST: u8 = 1;

/// The route of the calling thread's namespace; absent if there is none, or the host is this one.
pub fn to(host: IpAddr) -> Option<Route> {
    let mut body = vec![0; HEADER];
    body[0] = family(host);
    body[1] = if host.is_ipv4() { 32 } else { 128 };
    attribute(&mut body, DESTINATION, &octets(host));
    read(&ask(NETLINK_ROUTE, libc::RTM_GETROUTE, &body).ok()?)
}

fn read(body: &[u8]) -> Option<Route> {
    let (header, attributes) = body.split_at_checked(HEADER)?;
    if header[7] != UNICAST {
        return None;
    }
    // An IPv4 route by an IPv6 router has its family before its address.
    let via = value(attributes, VIA).and_then(|via| address(via.get(2..)?));
    let gateway = value(attributes, GATEWAY).and_then(|bytes| address(&bytes));
    Some(gateway.or(via).map_or(Route::OnLink, Route::Gateway))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_a_gateway_or_none() {
        let mut body = vec![0; HEADER];
        body[7] = UNICAST;
        assert_eq!(read(&body), Some(Route::OnLink));
        let mut by_v6 = body.clone();
        let via = [&[10, 0][..], &octets("fe80::1".parse().unwrap())].concat();
        attribute(&mut by_v6, VIA, &via);
        assert_eq!(
            read(&by_v6),
            Some(Route::Gateway("fe80::1".parse().unwrap()))
        );
        attribute(&mut body, GATEWAY, &[10, 0, 0, 254]);
        assert_eq!(
            read(&body),
            Some(Route::Gateway(IpAddr::from([10, 0, 0, 254])))
        );
        // A route to this host itself.
        body[7] = 2;
        assert_eq!(read(&body), None);
        assert_eq!(read(&body[..HEADER - 1]), None);
    }

    #[test]
    fn this_host_itself_has_no_next_hop() {
        assert_eq!(to(IpAddr::from([127, 0, 0, 1])), None);
    }
}
