//! The frames that classifiers are measured with.

use anyhow::Context as _;
use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
    PacketBuilder, PacketBuilderStep, VlanId,
};
use serde::Serialize;

/// How far the classifier has to look, and what it does then.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Most of all traffic.
    Plain,
    /// Headers of different length.
    Tagged,
    /// Remembered: a handshake.
    Handshake,
    /// An event goes to user space: a reset.
    Event,
    /// A reset again, that is counted and no more.
    Flood,
}

#[derive(Clone, Copy)]
enum Ip {
    V4,
    V4Options,
    V6,
    V6Extension,
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Data,
    Syn,
    Reset,
    Udp,
}

const PAYLOAD: [u8; 200] = [0x5a; 200];
const PORTS: (u16, u16) = (43_122, 8080);

/// Name, kind and bytes.
pub type Frame = (String, Kind, Vec<u8>);

/// Each kind that classifiers treat in a way of its own.
pub fn all() -> anyhow::Result<Vec<Frame>> {
    let table = [
        ("IPv4 TCP data", Kind::Plain, Ip::V4, Transport::Data, false),
        ("IPv6 TCP data", Kind::Plain, Ip::V6, Transport::Data, false),
        ("IPv4 UDP", Kind::Plain, Ip::V4, Transport::Udp, false),
        ("IPv6 UDP", Kind::Plain, Ip::V6, Transport::Udp, false),
        (
            "VLAN, IPv4 TCP data",
            Kind::Tagged,
            Ip::V4,
            Transport::Data,
            true,
        ),
        (
            "VLAN, IPv6 TCP data",
            Kind::Tagged,
            Ip::V6,
            Transport::Data,
            true,
        ),
        (
            "IPv4 options, TCP data",
            Kind::Tagged,
            Ip::V4Options,
            Transport::Data,
            false,
        ),
        (
            "IPv6 extension header, TCP data",
            Kind::Tagged,
            Ip::V6Extension,
            Transport::Data,
            false,
        ),
        ("IPv4 SYN", Kind::Handshake, Ip::V4, Transport::Syn, false),
        ("IPv6 SYN", Kind::Handshake, Ip::V6, Transport::Syn, false),
        ("IPv4 RST", Kind::Event, Ip::V4, Transport::Reset, false),
        ("IPv6 RST", Kind::Event, Ip::V6, Transport::Reset, false),
    ];
    table
        .into_iter()
        .map(|(name, kind, ip, transport, vlan)| {
            let bytes = frame(ip, transport, vlan).with_context(|| format!("build: {name}"))?;
            Ok((name.to_owned(), kind, bytes))
        })
        .collect()
}

fn frame(ip: Ip, transport: Transport, vlan: bool) -> anyhow::Result<Vec<u8>> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let headers = network(ip)?;
    let step: PacketBuilderStep<IpHeaders> = if vlan {
        ethernet.single_vlan(VlanId::try_new(7)?).ip(headers)
    } else {
        ethernet.ip(headers)
    };
    let mut bytes = Vec::new();
    let (from, to) = PORTS;
    if transport == Transport::Udp {
        step.udp(from, to).write(&mut bytes, &PAYLOAD)?;
        return Ok(bytes);
    }
    let tcp = step.tcp(from, to, 1_000_000, 64_240);
    match transport {
        Transport::Syn => tcp.syn().write(&mut bytes, &[])?,
        Transport::Reset => tcp.rst().ack(2_000_000).write(&mut bytes, &[])?,
        Transport::Data | Transport::Udp => tcp.ack(2_000_000).write(&mut bytes, &PAYLOAD)?,
    }
    Ok(bytes)
}

fn network(ip: Ip) -> anyhow::Result<IpHeaders> {
    // Addresses of the documentation's networks.
    let v4 = Ipv4Header::new(0, 57, IpNumber::TCP, [192, 0, 2, 9], [198, 51, 100, 7])?;
    let address = |network: u8| {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, network]);
        bytes
    };
    let v6 = Ipv6Header {
        hop_limit: 57,
        source: address(1),
        destination: address(2),
        ..Ipv6Header::default()
    };
    Ok(match ip {
        Ip::V4 => IpHeaders::Ipv4(v4, Ipv4Extensions::default()),
        Ip::V4Options => {
            // Four times "no operation".
            let options = [1, 1, 1, 1].into();
            IpHeaders::Ipv4(Ipv4Header { options, ..v4 }, Ipv4Extensions::default())
        }
        Ip::V6 => IpHeaders::Ipv6(v6, Ipv6Extensions::default()),
        Ip::V6Extension => {
            // Destination options: padding alone.
            let padding = Ipv6RawExtHeader::new_raw(IpNumber::TCP, &[1, 4, 0, 0, 0, 0])?;
            let extensions = Ipv6Extensions {
                destination_options: Some(padding),
                ..Ipv6Extensions::default()
            };
            IpHeaders::Ipv6(v6, extensions)
        }
    })
}
