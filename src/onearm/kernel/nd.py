"""Neighbour discovery spoken by hand: who has an IPv6 address, and where a VIP is from now on."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address
from typing import Optional

from onearm.kernel.frames import (
    ETH_P_IPV6,
    ICMP6,
    ND_ADVERTISEMENT,
    ND_HOP_LIMIT,
    ND_SOLICITATION,
    SOURCE_MAC,
    TARGET_MAC,
)

ALL_NODES = IPv6Address("ff02::1")
UNSPECIFIED = IPv6Address("::")
OVERRIDE = 0x20000000  # RFC 4861 §4.4: also neighbours that know another MAC take this one
TIMES_MOST = 3  # MAX_NEIGHBOR_ADVERTISEMENT, of one news
_IPV6 = struct.Struct("!IHBB16s16s")
_MESSAGE = struct.Struct("!BBHI16s")


def checksum(source: IPv6Address, target: IPv6Address, payload: bytes) -> int:
    """Return the checksum of an ICMPv6 message (RFC 4443 §2.3), its own field being 0."""
    pseudo = source.packed + target.packed + struct.pack("!II", len(payload), ICMP6)
    data = pseudo + payload + b"\0" * (len(payload) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def solicited_node(address: IPv6Address) -> IPv6Address:
    """Return the multicast address to which an address is asked for (RFC 4291 §2.7.1)."""
    return IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | (int(address) & 0xFFFFFF))


def _multicast_mac(group: IPv6Address) -> bytes:
    return b"\x33\x33" + group.packed[12:]  # RFC 2464 §7


def _frame(mac: bytes, source: IPv6Address, target: IPv6Address, message: bytes) -> bytes:
    head = _IPV6.pack(6 << 28, len(message), ICMP6, ND_HOP_LIMIT, source.packed, target.packed)
    filled = message[:2] + struct.pack("!H", checksum(source, target, message)) + message[4:]
    return _multicast_mac(target) + mac + struct.pack("!H", ETH_P_IPV6) + head + filled


def solicitation(mac: bytes, own: Optional[IPv6Address], address: IPv6Address) -> bytes:
    """Return the frame that asks for an address; without `own` as a probe in nobody's name."""
    message = _MESSAGE.pack(ND_SOLICITATION, 0, 0, 0, address.packed)
    message += bytes([SOURCE_MAC, 1]) + mac if own else b""
    return _frame(mac, own or UNSPECIFIED, solicited_node(address), message)


def advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """Return the unsolicited frame that tells everybody where an address is (RFC 4861 §7.2.6)."""
    message = _MESSAGE.pack(ND_ADVERTISEMENT, 0, 0, OVERRIDE, address.packed)
    return _frame(mac, address, ALL_NODES, message + bytes([TARGET_MAC, 1]) + mac)


def packet_socket(link: str) -> socket.socket:
    """Open a packet socket for IPv6 on one link. Raises OSError."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        s.bind((link, ETH_P_IPV6))
    except BaseException:
        s.close()
        raise
    return s
