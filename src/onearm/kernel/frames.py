"""Frames as values: reading what a packet socket brings, from any bytes and without fail."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Callable, Optional

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD  # include/uapi/linux/if_ether.h
ARP_REQUEST, ARP_REPLY = 1, 2
PACKET_HOST, PACKET_OUTGOING = 0, 4  # include/uapi/linux/if_packet.h
ETHERNET_BYTES = 14
ICMP6 = 58
_TRANSPORTS = {1: "icmp", 6: "tcp", 17: "udp", 132: "sctp"}
_TRANSPORTS6 = {ICMP6: "icmp", 6: "tcp", 17: "udp", 132: "sctp"}
_FRAGMENT, _AUTHENTICATION = 44, 51
# RFC 8200 §4: headers that may stand between IPv6 and what it carries, and how long they are
_EXTENSIONS: dict[int, Callable[[int], int]] = {
    **dict.fromkeys((0, 43, 60), lambda units: 8 * (units + 1)),
    _FRAGMENT: lambda _: 8,
    _AUTHENTICATION: lambda units: 4 * (units + 2),
}
_EXTENSIONS_MOST = 8
_ICMP_ERRORS = (3, 4, 5, 11, 12)  # RFC 792: these quote the packet that they are about
_NEED_FRAGMENTS = (3, 4)
_TCP = struct.Struct("!4xIIBB")  # RFC 9293: sequence, acknowledgement, words of the header, flags
UDP_BYTES = 8
SCTP_BYTES = 12
SYN, RST, ACK = 0x02, 0x04, 0x10
_CHUNKS = {1: SYN, 2: SYN | ACK, 6: RST}  # RFC 9260 §3.2: INIT, INIT ACK, ABORT
_WITH_PORTS = ("tcp", "udp", "sctp")
_IPIP, _UDP, _GRE = 4, 17, 47  # protocols that tunnels come as
_ICMP6_ERRORS = (1, 2, 3, 4)  # RFC 4443
_TOO_BIG = 2
ND_SOLICITATION, ND_ADVERTISEMENT = 135, 136  # RFC 4861 §4.3, §4.4
ND_HOP_LIMIT = 255  # nothing that a router passed on is believed
SOURCE_MAC, TARGET_MAC = 1, 2  # options of neighbour discovery
_ND_BYTES = 24  # before the options
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_HEAD = (1, ETH_P_IP, 6, 4)  # RFC 826: Ethernet and IPv4
_ARP_KINDS = {ARP_REQUEST: "arp-request", ARP_REPLY: "arp-reply"}


@dataclass(frozen=True)
class Frame:
    """One frame as a host saw it: `outgoing` when it left, `to_us` when it came to our MAC.

    `kind` is tcp, udp, sctp, icmp (of either family), arp-request, arp-reply, nd-solicitation,
    nd-advertisement or other. For ARP and neighbour discovery `source` is the address that the
    sender claims, `claimed_mac` the MAC that it claims for it, `target` the one that is asked for.
    An ICMP error has the ports of the flow that it is about, as an answer in that flow would.
    `length` is the frame's own, in bytes, though only its head is kept; `time_s` the kernel's clock
    at that moment (epoch).
    Of SCTP `tcp_flags` say what the first chunk does: SYN begins, RST aborts.
    `payload` is what TCP or UDP carries, in bytes, as the IP header tells (0: none, or unknown),
    `ttl` also IPv6's hop limit. `icmp_mtu` is what "fragmentation needed" asks for (RFC 1191).
    Of a packet in a tunnel (`tunnel`: ipip, gre or gue) all else is the inner one's.
    """

    link: str
    outgoing: bool
    to_us: bool
    kind: str = "other"
    source_mac: str = ""
    target_mac: str = ""
    source: str = ""
    target: str = ""
    source_port: int = 0
    target_port: int = 0
    tcp_flags: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    claimed_mac: str = ""
    length: int = 0
    time_s: float = 0.0
    seq: int = 0
    ack: int = 0
    payload: int = 0
    ttl: int = 0
    icmp_mtu: int = 0
    tunnel: str = ""
    outer_source: str = ""
    outer_target: str = ""

    @property
    def claims(self) -> bool:
        """Whether it says at which MAC its `source` is, as ARP and neighbour discovery do."""
        return bool(self.claimed_mac) and self.kind.startswith(("arp", "nd"))


def arp(operation: int, sender: tuple[bytes, bytes], target: tuple[bytes, bytes]) -> bytes:
    """Return an ARP packet (RFC 826); both parties are (MAC, IPv4 address), packed."""
    return _ARP.pack(*_ARP_HEAD, operation, *sender, *target)


def parse(base: Frame, data: bytes, protocol: int, *, ethernet: bool = True) -> Optional[Frame]:
    """Read the head of a frame into a copy of `base`; None when cut off before its addresses.

    `protocol` is the kernel's word for the content (VLAN tags are already taken off). Without
    `ethernet` the data starts at the network header.
    """
    start = ETHERNET_BYTES if ethernet else 0
    if len(data) < start:
        return None
    if ethernet:
        base = replace(base, target_mac=data[:6].hex(":"), source_mac=data[6:12].hex(":"))
    if protocol == ETH_P_IP:
        return _ipv4(base, data[start:])
    if protocol == ETH_P_ARP:
        return _arp(base, data[start:])
    return _ipv6(base, data[start:]) if protocol == ETH_P_IPV6 else None


def _arp(base: Frame, data: bytes) -> Optional[Frame]:
    if len(data) < _ARP.size:
        return None
    fields = _ARP.unpack_from(data)
    if fields[:4] != _ARP_HEAD:
        return None
    return replace(
        base,
        kind=_ARP_KINDS.get(fields[4], "other"),
        claimed_mac=fields[5].hex(":"),
        source=str(IPv4Address(fields[6])),
        target=str(IPv4Address(fields[8])),
    )


def _ipv4(base: Frame, data: bytes) -> Optional[Frame]:
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    source, target = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    found = replace(base, source=str(source), target=str(target), ttl=data[8])
    later_fragment = (data[6] << 8 | data[7]) & 0x1FFF
    if later_fragment:  # it has no header of TCP, UDP or ICMP
        return found
    head = (data[0] & 15) * 4
    carried = (data[2] << 8 | data[3]) - head
    return _transport(found, _TRANSPORTS.get(data[9], "other"), data[head:], carried)


def unwrapped(outer: Frame, packet: bytes) -> Optional[Frame]:
    """Read the packet in a tunnel; None for what is none. `packet` starts at the outer header.

    For GUE any UDP port will do: who asks knows by the addresses whether it is one.
    """
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    rest = packet[(packet[0] & 15) * 4 :]
    found = _inner(packet[9], rest)
    if found is None or len(found[1]) < 20 or found[1][0] >> 4 != 4:
        return None
    around = (outer.source, outer.target)
    fresh = replace(outer, source_port=0, target_port=0, payload=0, kind="other")
    inner = _ipv4(fresh, found[1])
    if inner is None:
        return None
    return replace(inner, tunnel=found[0], outer_source=around[0], outer_target=around[1])


def _inner(protocol: int, rest: bytes) -> Optional[tuple[str, bytes]]:
    """Take the tunnel's header off: none for IPIP (RFC 2003), RFC 2784 for GRE, else GUE."""
    if protocol == _IPIP:
        return "ipip", rest
    if protocol == _GRE and len(rest) >= 4 and rest[2:4] == ETH_P_IP.to_bytes(2, "big"):
        optional = sum(bool(rest[0] & bit) for bit in (0x80, 0x20, 0x10))  # checksum, key, sequence
        return "gre", rest[4 + 4 * optional :]
    gue = rest[UDP_BYTES:]
    if protocol == _UDP and len(gue) >= 4 and gue[0] >> 5 == 0 and gue[1] == _IPIP:
        return "gue", gue[4 + 4 * (gue[0] & 31) :]
    return None


def _ipv6(base: Frame, data: bytes) -> Optional[Frame]:
    if len(data) < 40 or data[0] >> 4 != 6:
        return None
    source, target = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    found = replace(base, source=str(source), target=str(target), ttl=data[7])
    carried = data[4] << 8 | data[5]
    protocol, start = _behind_extensions(data)
    if protocol is None:
        return found
    kind = _TRANSPORTS6.get(protocol, "other")
    if kind == "icmp":
        return _icmp6(found, data[start:])
    return _transport(found, kind, data[start:], carried - (start - 40))


def _behind_extensions(data: bytes) -> tuple[Optional[int], int]:
    """Return what an IPv6 packet carries and where it starts; None when that cannot be told."""
    protocol, start = data[6], 40
    for _ in range(_EXTENSIONS_MOST):
        if protocol not in _EXTENSIONS:
            return protocol, start
        if len(data) < start + 8:
            return None, start
        if protocol == _FRAGMENT and (data[start + 2] << 8 | data[start + 3]) & 0xFFF8:
            return None, start  # a later fragment has no header of TCP, UDP or ICMP
        size = _EXTENSIONS[protocol](data[start + 1])
        protocol, start = data[start], start + size
    return None, start


def _transport(base: Frame, kind: str, data: bytes, carried: int) -> Frame:
    """Add what the transport header tells; a header cut short leaves its fields at 0.

    `carried` is how many bytes the IP header says that it carries.
    """
    found = replace(base, kind=kind)
    if kind == "icmp" and len(data) >= 2:
        return _icmp(found, data)
    if kind not in _WITH_PORTS or len(data) < 4:
        return found
    source, target = struct.unpack_from("!HH", data)
    found = replace(found, source_port=source, target_port=target)
    if kind == "udp":
        return replace(found, payload=max(0, carried - UDP_BYTES))
    if kind == "sctp":
        return _sctp(found, data, carried)
    return _tcp(found, data, carried) if len(data) >= _TCP.size else found


def _sctp(base: Frame, data: bytes, carried: int) -> Frame:
    """Say by TCP's flags what the first chunk does, and how much there is behind the header."""
    flags = _CHUNKS.get(data[SCTP_BYTES], ACK) if len(data) > SCTP_BYTES else 0
    begins = flags & (SYN | RST)
    return replace(base, tcp_flags=flags, payload=0 if begins else max(0, carried - SCTP_BYTES))


def _tcp(base: Frame, data: bytes, carried: int) -> Frame:
    seq, ack, words, flags = _TCP.unpack_from(data)
    payload = max(0, carried - (words >> 4) * 4)
    return replace(base, seq=seq, ack=ack, tcp_flags=flags, payload=payload)


def _icmp(base: Frame, data: bytes) -> Frame:
    found = replace(base, icmp_type=data[0], icmp_code=data[1])
    if (data[0], data[1]) == _NEED_FRAGMENTS and len(data) >= 8:
        found = replace(found, icmp_mtu=data[6] << 8 | data[7])
    return _quoted(found, data[8:]) if data[0] in _ICMP_ERRORS else found


def _icmp6(base: Frame, data: bytes) -> Frame:
    found = replace(base, kind="icmp")
    if len(data) < 2:
        return found
    found = replace(found, icmp_type=data[0], icmp_code=data[1])
    if data[0] in (ND_SOLICITATION, ND_ADVERTISEMENT):
        genuine = base.ttl == ND_HOP_LIMIT and not data[1] and len(data) >= _ND_BYTES
        return _discovery(found, data) if genuine else found
    if data[0] == _TOO_BIG and len(data) >= 8:
        found = replace(found, icmp_mtu=int.from_bytes(data[4:8], "big"))
    return _quoted(found, data[8:]) if data[0] in _ICMP6_ERRORS else found


def _discovery(base: Frame, data: bytes) -> Frame:
    about = str(IPv6Address(data[8:24]))
    if data[0] == ND_SOLICITATION:
        mac = _option(data, SOURCE_MAC)
        return replace(base, kind="nd-solicitation", target=about, claimed_mac=mac)
    mac = _option(data, TARGET_MAC) or base.source_mac  # RFC 4861 §4.4: it may be left out
    return replace(base, kind="nd-advertisement", source=about, claimed_mac=mac)


def _option(data: bytes, wanted: int) -> str:
    """Return the MAC in an option of neighbour discovery; empty when there is none."""
    start = _ND_BYTES
    while len(data) >= start + 8 and data[start + 1]:
        if data[start] == wanted and data[start + 1] == 1:
            return data[start + 2 : start + 8].hex(":")
        start += 8 * data[start + 1]
    return ""


def _quoted(base: Frame, data: bytes) -> Frame:
    """Add the ports of the packet that an ICMP error quotes, in the direction of the error."""
    ports = _quoted_ports(data)
    if ports is None or len(ports) < 4:
        return base
    source, target = struct.unpack("!HH", ports)
    return replace(base, source_port=target, target_port=source)


def _quoted_ports(data: bytes) -> Optional[bytes]:
    if len(data) >= 40 and data[0] >> 4 == 6:
        protocol, start = _behind_extensions(data)
        known = protocol is not None and _TRANSPORTS6.get(protocol) in _WITH_PORTS
        return data[start : start + 4] if known else None
    if len(data) < 20 or data[0] >> 4 != 4 or _TRANSPORTS.get(data[9]) not in _WITH_PORTS:
        return None
    later_fragment = (data[6] << 8 | data[7]) & 0x1FFF
    return None if later_fragment else data[(data[0] & 15) * 4 :][:4]
