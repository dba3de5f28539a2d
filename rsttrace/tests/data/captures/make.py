#!/usr/bin/python3
"""Writes the captures that tests/captures.rs reads, and beside each what tshark reads there.

Needs scapy, tshark with editcap and mergecap, gzip and zstd. Run it in this folder; the results are committed, since tshark's
differ a little from release to release.
"""
import os
import struct
import subprocess

from scapy.all import (
    GRE, IP, IPv6, TCP, UDP, Dot1AD, Dot1Q, Ether, ICMP, Loopback, Padding, Raw,
    IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN, PcapWriter, fragment,
)
from scapy.contrib.geneve import GENEVE
from scapy.layers.vxlan import VXLAN

START = 1_700_000_000
MAC = dict(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
SYN_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1000, 0)), ("NOP", None), ("WScale", 7)]


def tcp(port=1, options=None, data=b"", flags="PA"):
    segment = TCP(sport=40000 + port, dport=443, seq=0x01020304 + port, ack=0xfffffff0, flags=flags, window=501,
                  options=options if options is not None else [("NOP", None), ("NOP", None), ("Timestamp", (port, 2))])
    return segment / Raw(data) if data else segment


def v4(**more):
    return IP(src="10.0.0.1", dst="10.0.0.2", ttl=61, id=4711, flags="DF", **more)


def v6(**more):
    return IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=57, **more)


def outer(**more):
    return IP(src="192.0.2.1", dst="192.0.2.2", ttl=64, **more)


def ethernet():
    eth = Ether(**MAC)
    yield eth / v4() / tcp(1, SYN_OPTIONS, flags="S")
    yield eth / v6() / tcp(2, data=b"hello")
    yield eth / v4() / tcp(3, [], flags="R") / Padding(b"\xaa" * 6)
    yield eth / v4() / UDP(sport=1, dport=2) / Raw(b"no TCP")
    yield eth / v4() / ICMP(type=3, code=3) / v4() / tcp(4)
    yield eth / Dot1Q(vlan=100) / v4() / tcp(5)
    yield eth / Dot1Q(vlan=0, prio=5) / v4() / tcp(6)
    yield eth / Dot1AD(vlan=200) / Dot1Q(vlan=100) / v6() / tcp(7, data=b"x")
    yield eth / IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]) \
        / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / tcp(8, data=b"behind extension headers")
    yield eth / v6() / IPv6ExtHdrFragment(offset=0, m=0) / tcp(9)
    yield eth / v6() / IPv6ExtHdrFragment(offset=0, m=1) / tcp(10, data=b"12345678")
    yield eth / IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrFragment(offset=4, m=0, nh=6) / Raw(b"the rest, no header")
    first = IP(src="10.0.0.1", dst="10.0.0.2", id=9) / tcp(11, data=b"z" * 64)
    for part in fragment(first, fragsize=56):
        yield eth / part
    yield eth / v4(len=0) / tcp(12, data=b"a packet for the network card to cut up")
    yield eth / Raw(bytes(4))


def tunnels():
    eth = Ether(**MAC)
    inner = Ether(src="0a:00:00:00:00:01", dst="0a:00:00:00:00:02")
    yield eth / outer() / UDP(sport=5555, dport=4789) / VXLAN(vni=42, flags="Instance") / inner / v4() / tcp(1, data=b"vxlan")
    yield eth / IPv6(src="2001:db8:f::1", dst="2001:db8:f::2") / UDP(sport=5555, dport=4789) \
        / VXLAN(vni=42, flags="Instance") / inner / Dot1Q(vlan=3) / v6() / tcp(2)
    yield eth / outer() / UDP(sport=5556, dport=6081) / GENEVE(vni=7) / inner / v4() / tcp(3)
    yield eth / outer() / GRE(proto=0x0800) / v4() / tcp(4, data=b"gre")
    yield eth / outer() / GRE(key_present=1, key=99, proto=0x86dd) / v6() / tcp(5)
    yield eth / outer() / GRE(key_present=1, seqnum_present=1, seqence_number=5, key=98, proto=0x6558) / inner / v4() / tcp(6)
    yield eth / outer() / v4() / tcp(7, data=b"ipip")
    yield eth / outer(proto=41) / v6() / tcp(8, data=b"sit")
    yield eth / IPv6(src="2001:db8:f::1", dst="2001:db8:f::2") / v4() / tcp(9)
    yield eth / outer() / GRE(proto=0x0800) / v4() / UDP(sport=1, dport=2) / Raw(b"no TCP")
    yield eth / outer() / UDP(sport=5555, dport=53) / Raw(b"no tunnel")


def sll(way, hardware, mac, proto):
    return Raw(struct.pack(">HHH8sH", way, hardware, len(mac), mac, proto))


def sll2(way, hardware, mac, proto, interface):
    return Raw(struct.pack(">HHIHBB8s", proto, 0, interface, hardware, way, len(mac), mac))


def cooked():
    mac = b"\2\0\0\0\0\1"
    yield sll(4, 1, mac, 0x800) / v4() / tcp(1, data=b"sll")
    yield sll(0, 772, bytes(6), 0x86dd) / v6() / tcp(2)
    yield sll(3, 1, mac, 0x8100) / Dot1Q(vlan=9, type=0x800) / v4() / tcp(3)
    yield sll(0, 1, mac, 0x806) / Raw(bytes(28))


def cooked2():
    yield sll2(0, 1, b"\2\0\0\0\0\1", 0x800, 3) / v4() / tcp(1, data=b"sll2")
    yield sll2(4, 772, bytes(6), 0x86dd, 7) / v6() / tcp(2)


def raw():
    yield v4() / tcp(1)
    yield v6() / tcp(2, data=b"raw")


def loopback():
    yield Loopback(type=2) / v4() / tcp(1)
    yield Loopback(type=30) / v6() / tcp(2, data=b"bsd")


def write(name, packets, linktype, **how):
    for number, packet in enumerate(packets := list(packets)):
        packet.time = START + number * 0.125
    with PcapWriter(name, linktype=linktype, **how) as file:
        for packet in packets:
            file.write(packet)


def run(*command, **how):
    subprocess.run(command, check=True, **how)


FIELDS = """frame.number frame.time_epoch frame.protocols ip.src ip.dst ipv6.src ipv6.dst tcp.srcport tcp.dstport tcp.seq_raw
    tcp.ack_raw tcp.flags tcp.window_size_value tcp.len ip.ttl ipv6.hlim ip.id tcp.options.timestamp.tsval
    tcp.options.timestamp.tsecr tcp.options.wscale.shift tcp.urgent_pointer""".split()


def told(name):
    fields = [arg for field in FIELDS for arg in ("-e", field)]
    settings = ["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE",
                "tcp.relative_sequence_numbers:FALSE", "ip.tso_support:TRUE"]
    options = [arg for setting in settings for arg in ("-o", setting)]
    # The innermost of each; not what ICMP quotes.
    with open(name + ".tshark", "w", encoding="utf-8") as out:
        run("tshark", "-r", name, "-n", "-Y", "tcp && !icmp", "-T", "fields", "-E", "occurrence=l", *options, *fields,
            stdout=out)


write("ethernet.pcap", ethernet(), 1)
write("tunnels.pcap", tunnels(), 1)
write("cooked.pcap", cooked(), 113)
write("cooked2-big-endian-ns.pcap", cooked2(), 276, endianness=">", nano=True)
write("raw.pcap", raw(), 101)
write("loopback.pcap", loopback(), 0)
run("mergecap", "-F", "pcapng", "-w", "merged.pcapng", "ethernet.pcap", "cooked.pcap", "raw.pcap", "loopback.pcap")
run("editcap", "-F", "pcapng", "-s", "70", "ethernet.pcap", "cut.pcapng")
run("editcap", "-F", "nsecpcap", "raw.pcap", "ns.pcap")
run("sh", "-c", "(gzip -9nc raw.pcap; tail -c +25 cooked.pcap | head -c 0 | gzip -9nc) > gzip.pcap.gz; zstd -qf tunnels.pcap -o zstd.pcap")
for name in sorted(os.listdir(".")):
    if name.endswith((".pcap", ".pcapng", ".gz")):
        told(name)
