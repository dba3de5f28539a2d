"""Writes and reads whole frames. Arguments: interfaces of this namespace, `fd:NAME` for the file end of a tun device.

Input, a line each: END HEX, to be sent there. Output: first `ready`, then END HEX for each frame that came in there.
"""

import errno
import fcntl
import os
import selectors
import socket
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
ETH_P_ALL, SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 3, 263, 8, 4
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6


class Tun:
    def __init__(self, name):
        self.fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))

    def fileno(self):
        return self.fd

    def send(self, frame):
        os.write(self.fd, frame)

    def receive(self):
        return os.read(self.fd, 65536)


class Interface:
    def __init__(self, name):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.bind((name, ETH_P_ALL))

    def fileno(self):
        return self.socket.fileno()

    def send(self, frame):
        self.socket.send(frame)

    def receive(self):
        try:
            frame, ancillary, _, address = self.socket.recvmsg(65536, 256)
        except OSError as error:
            # Said once when the interface goes, as at the end of a test.
            if error.errno == errno.ENETDOWN:
                return None
            raise
        if address[2] == PACKET_OUTGOING:
            return None
        # The kernel takes the outer VLAN tag off and tells it beside the frame.
        for level, kind, data in ancillary:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, tci, tpid = struct.unpack("I12xHH", data[:20])
                if status & TP_STATUS_VLAN_VALID:
                    tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                    frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame


ends = {}
selector = selectors.DefaultSelector()
for name in sys.argv[1:]:
    ends[name] = Tun(name[3:]) if name.startswith("fd:") else Interface(name)
    selector.register(ends[name], selectors.EVENT_READ, name)
selector.register(sys.stdin, selectors.EVENT_READ, None)
rest = b""
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        if key.data is None:
            more = os.read(sys.stdin.fileno(), 1 << 16)
            if not more:
                sys.exit()
            *orders, rest = (rest + more).split(b"\n")
            for order in orders:
                end, frame = order.decode().split()
                ends[end].send(bytes.fromhex(frame))
        else:
            frame = key.fileobj.receive()
            if frame is not None:
                print(key.data, frame.hex(), flush=True)
