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
ECHO6, ECHO_REPLY6 = 128, 129  # RFC 4443
HEAD = struct.Struct(">BBHHH")  # type, code, checksum, id, sequence
RAW = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
ICMP_FILTER = 1  # linux/icmp.h: of a raw socket, a mask of the types that it does not hear
SOL_RAW = 255
ICMP6_FILTER = 1  # linux/icmpv6.h: the same, of 256 bits
COOKIE_BYTES = 16


class Icmp(Asking):
    """A raw socket where that is allowed, else the kernel's own socket for pings."""

    __slots__ = ("cookie", "number", "raw", "six")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.number = random.getrandbits(16)
        self.cookie = random.randbytes(COOKIE_BYTES)  # noqa: S311
        self.raw = True
        self.six = place.family == socket.AF_INET6

    def open(self) -> SocketType:
        try:
            sock = self.place.echoes(RAW)
        except Ours as trouble:
            if trouble.kind != errno.errorcode[errno.EPERM]:
                raise
            self.raw = False
            return self.place.echoes(DATAGRAM)
        if self.six:
            sock.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, all_but(ECHO_REPLY6))
        else:
            sock.setsockopt(SOL_RAW, ICMP_FILTER, ~(1 << ECHO_REPLY) & 0x7FFFFFFF)
        return sock

    def payload(self) -> bytes:
        if self.six:  # the kernel sums up, for it knows the addresses that count too
            return HEAD.pack(ECHO6, 0, 0, self.number, 1) + self.cookie
        plain = HEAD.pack(ECHO, 0, 0, self.number, 1) + self.cookie
        return HEAD.pack(ECHO, 0, checksum(plain), self.number, 1) + self.cookie

    def judge(self, data: bytes) -> Verdict | None:
        if self.raw and data and not self.six:
            data = data[(data[0] & 0xF) * 4 :]  # the IP header comes with it
        wanted = ECHO_REPLY6 if self.six else ECHO_REPLY
        if len(data) < HEAD.size or data[0] != wanted:
            return None
        if data[HEAD.size :] != self.cookie:
            return None
        return Verdict(ok=True, reason="echo reply")


def all_but(kind: int) -> bytes:
    """Give the filter that lets one type of ICMPv6 in: a bit that is set keeps one out."""
    words = [0xFFFFFFFF] * 8
    words[kind >> 5] &= ~(1 << (kind & 31))
    return struct.pack("=8I", *words)


def checksum(data: bytes) -> int:
    """Sum up as RFC 1071 says; data is of even length."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
