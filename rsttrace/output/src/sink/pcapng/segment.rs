//! The bytes of a record's segment.

use std::net::IpAddr;

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader,
    TcpOptionElement,
};

use crate::record::{Packet, Record};

/// Stands for an unknown TTL: no segment on the wire has it.
const NO_TTL: u8 = 0;

/// IP and TCP headers with right checksums; `None` if sequence or acknowledgment number are not known, or the ends are
/// of two families.
pub(super) fn rebuild(record: &Record) -> Option<Vec<u8>> {
    let packet = record.packet.as_ref()?;
    let ip = ip(
        record.source().address,
        record.destination().address,
        packet,
    )?;
    let tcp = tcp(record.source().port, record.destination().port, packet)?;
    let builder = PacketBuilder::ip(ip).tcp_header(tcp);
    let mut bytes = Vec::with_capacity(builder.size(0));
    builder.write(&mut bytes, &[]).ok()?;
    Some(bytes)
}

fn ip(source: IpAddr, destination: IpAddr, packet: &Packet) -> Option<IpHeaders> {
    let ttl = packet.ttl.unwrap_or(NO_TTL);
    match (source.to_canonical(), destination.to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header {
                identification: packet.ip_id.unwrap_or_default(),
                dont_fragment: false,
                more_fragments: false,
                fragment_offset: IpFragOffset::ZERO,
                time_to_live: ttl,
                protocol: IpNumber::TCP,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv4Header::default()
            };
            Some(IpHeaders::Ipv4(header, Default::default()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                next_header: IpNumber::TCP,
                hop_limit: ttl,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            Some(IpHeaders::Ipv6(header, Default::default()))
        }
        _ => None,
    }
}

fn tcp(source: u16, destination: u16, packet: &Packet) -> Option<TcpHeader> {
    let mut tcp = TcpHeader::new(
        source,
        destination,
        packet.seq?,
        packet.window.unwrap_or_default(),
    );
    // As tcpdump prints them; without recorded flags, those that the sequence numbers imply.
    let has = |flag| match &packet.flags {
        Some(flags) => flags.contains(flag),
        None => flag == 'R' || flag == '.' && packet.ack.is_some(),
    };
    tcp.fin = has('F');
    tcp.syn = has('S');
    tcp.rst = has('R');
    tcp.psh = has('P');
    tcp.ack = has('.');
    tcp.urg = has('U');
    tcp.ece = has('E');
    tcp.cwr = has('W');
    if tcp.ack {
        tcp.acknowledgment_number = packet.ack?;
    }
    if let Some(times) = &packet.timestamps {
        let option = TcpOptionElement::Timestamp(times.value, times.echo);
        tcp.set_options(&[TcpOptionElement::Noop, TcpOptionElement::Noop, option])
            .ok()?;
    }
    Some(tcp)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;
    use crate::record::Timestamps;

    fn record(text: &str) -> Record {
        serde_json::from_str(text).unwrap()
    }

    fn received() -> Record {
        record(include_str!(
            "../../../../tests/data/records/idle_timeout_middlebox.json"
        ))
    }

    #[test]
    fn the_segment_is_what_the_record_says() {
        let mut received = received();
        received.packet.as_mut().unwrap().timestamps = Some(Timestamps { value: 7, echo: 9 });
        let bytes = rebuild(&received).unwrap();
        let sliced = SlicedPacket::from_ip(&bytes).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
            panic!("{sliced:?}");
        };
        let header = ip.header().to_header();
        assert_eq!(header.source, [10, 0, 3, 7]);
        assert_eq!((header.time_to_live, header.identification), (63, 0));
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
            panic!("{sliced:?}");
        };
        let tcp = tcp.to_header();
        assert_eq!((tcp.source_port, tcp.destination_port), (43_122, 8_080));
        assert_eq!(
            (tcp.sequence_number, tcp.acknowledgment_number),
            (195_948_999, 3_405_692_099)
        );
        assert!(tcp.rst && tcp.ack && !tcp.syn);
        let times = tcp.options_iterator().last().unwrap().unwrap();
        assert_eq!(times, TcpOptionElement::Timestamp(7, 9));
        let checksum = tcp.calc_checksum_ipv4(&header, &[]).unwrap();
        assert_eq!(tcp.checksum, checksum);
    }

    #[test]
    fn ipv6_is_written_too() {
        let record = record(include_str!(
            "../../../../tests/data/records/connection_refused_v6.json"
        ));
        let bytes = rebuild(&record).unwrap();
        assert!(matches!(
            SlicedPacket::from_ip(&bytes).unwrap().net,
            Some(NetSlice::Ipv6(_))
        ));
    }

    #[test]
    fn a_number_that_is_not_known_is_not_made_up() {
        let mut without = received();
        without.packet.as_mut().unwrap().ack = None;
        assert_eq!(rebuild(&without), None);
        without.packet.as_mut().unwrap().flags = Some("R".into());
        assert!(rebuild(&without).is_some());
        without.packet.as_mut().unwrap().seq = None;
        assert_eq!(rebuild(&without), None);
        without.packet = None;
        assert_eq!(rebuild(&without), None);
    }
}
