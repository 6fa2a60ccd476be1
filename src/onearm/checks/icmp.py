"""The icmp check: an echo request and its reply; says that the host is there, and no more."""

from __future__ import annotations

import errno
import random
import socket
import struct
from socket import SocketType

from onearm.checks.place import DATAGRAM, Place
from onearm.checks.udp import Asking
from onearm.checks.verdict import Ours, Verdict

ECHO, ECHO_REPLY = 8, 0
HEAD = struct.Struct(">BBHHH")  # type, code, checksum, id, sequence
RAW = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
ICMP_FILTER = 1  # linux/icmp.h: of a raw socket, a mask of the types that it does not hear
SOL_RAW = 255
COOKIE_BYTES = 16


class Icmp(Asking):
    """A raw socket where that is allowed, else the kernel's own socket for pings."""

    __slots__ = ("cookie", "number", "raw")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.number = random.getrandbits(16)
        self.cookie = random.randbytes(COOKIE_BYTES)  # noqa: S311
        self.raw = True

    def open(self) -> SocketType:
        if self.place.target.address.version != 4:  # noqa: PLR2004 - IPv4
            raise Ours("icmp", f"{self.place.target.address}: echo requests are for IPv4 alone")
        try:
            sock = self.place.echoes(RAW)
        except Ours as trouble:
            if trouble.kind != errno.errorcode[errno.EPERM]:
                raise
            self.raw = False
            return self.place.echoes(DATAGRAM)
        sock.setsockopt(SOL_RAW, ICMP_FILTER, ~(1 << ECHO_REPLY) & 0x7FFFFFFF)
        return sock

    def payload(self) -> bytes:
        plain = HEAD.pack(ECHO, 0, 0, self.number, 1) + self.cookie
        return HEAD.pack(ECHO, 0, checksum(plain), self.number, 1) + self.cookie

    def judge(self, data: bytes) -> Verdict | None:
        if self.raw and data:
            data = data[(data[0] & 0xF) * 4 :]  # the IP header comes with it
        if len(data) < HEAD.size or data[0] != ECHO_REPLY:
            return None
        if data[HEAD.size :] != self.cookie:
            return None
        return Verdict(ok=True, reason="echo reply")


def checksum(data: bytes) -> int:
    """Sum up as RFC 1071 says; data is of even length."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
