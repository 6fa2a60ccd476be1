"""IPVS on generic netlink: the values, their bytes, and the names of the flags; pure."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Optional

from onearm.addresses import unpacked
from onearm.facts import Counters
from onearm.kernel.netlink import attribute, attributes, nested, number, text, text_attribute
from onearm.lean import lean
from onearm.model import Address

# include/uapi/linux/ip_vs.h. The command that empties the whole table is left out on purpose.
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE = 1, 2, 3, 4
NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = 5, 6, 7, 8
SET_CONFIG, GET_CONFIG, SET_INFO, GET_INFO, ZERO = 12, 13, 14, 15, 16
FAMILY, VERSION = "IPVS", 1
CMD_SERVICE, CMD_DEST, CMD_TCP, CMD_TCP_FIN, CMD_UDP = 1, 2, 4, 5, 6
SVC_AF, SVC_PROTOCOL, SVC_ADDR, SVC_PORT, SVC_FWMARK, SVC_SCHED = 1, 2, 3, 4, 5, 6
SVC_FLAGS, SVC_TIMEOUT, SVC_NETMASK, SVC_STATS, SVC_PE, SVC_STATS64 = 7, 8, 9, 10, 11, 12
DEST_ADDR, DEST_PORT, DEST_FWD, DEST_WEIGHT, DEST_UPPER, DEST_LOWER = 1, 2, 3, 4, 5, 6
DEST_ACTIVE, DEST_INACTIVE, DEST_PERSISTENT, DEST_STATS = 7, 8, 9, 10
DEST_AF, DEST_STATS64, DEST_TUN_TYPE, DEST_TUN_PORT, DEST_TUN_FLAGS = 11, 12, 13, 14, 15
INFO_VERSION, INFO_TABLE_SIZE = 1, 2
STATS_KINDS = range(1, 11)  # in the order of facts.Counters

MASQ, LOCAL, TUNNEL, DIRECT = 0, 1, 2, 3  # IP_VS_CONN_F_*: the forwarding methods
PERSISTENT, HASHED, ONE_PACKET = 1, 2, 4  # IP_VS_SVC_F_*
ALL_BITS = 0xFFFFFFFF
HOST_MASK, HOST_MASK6 = 0xFFFFFFFF, 128

GENL = struct.Struct("=BBH")
_FLAGS = struct.Struct("=II")
# The three bits that belong to the scheduler, and ipvsadm's words for them.
_SCHEDULER_BITS = (8, 16, 32)
_WORDS = {"sh": ("sh-fallback", "sh-port"), "mh": ("mh-fallback", "mh-port")}
_PLAIN = ("flag-1", "flag-2", "flag-3")


@lean
@dataclass(frozen=True)
class IpvsService:
    """A virtual service. `fwmark` other than 0: by mark, then protocol, address and port are 0.

    `family` and `protocol` are the kernel's numbers; `flags` its bits, with HASHED as the kernel
    sets it. `netmask` groups persistent clients: for IPv4 the mask as a number, for IPv6 a prefix
    length; None means that of one host. `pe` is the persistence engine.
    """

    family: int = socket.AF_INET
    protocol: int = 0
    address: Optional[Address] = None
    port: int = 0
    fwmark: int = 0
    scheduler: str = "wlc"
    flags: int = 0
    timeout_s: int = 0
    netmask: Optional[int] = None
    pe: str = ""
    counters: Counters = field(default=Counters(), compare=False)

    def __hash__(self) -> int:
        """Know it: what is read of a table is looked up several times a round by its service."""
        held: Optional[int] = self.__dict__.get("_hash")
        if held is None:
            key = (self.family, self.protocol, self.address, self.port, self.fwmark)
            held = self.__dict__["_hash"] = hash(key)
        return held


@lean
@dataclass(frozen=True)
class IpvsDestination:
    """A real server behind a service; `forwarding` is MASQ, LOCAL, TUNNEL or DIRECT.

    Tunnel: type 0 IPIP, 1 GUE, 2 GRE; `tunnel_port` for GUE; `tunnel_flags` for checksums.
    """

    address: Address
    port: int
    forwarding: int = DIRECT
    weight: int = 1
    upper: int = 0
    lower: int = 0
    tunnel_type: int = 0
    tunnel_port: int = 0
    tunnel_flags: int = 0
    active: int = field(default=0, compare=False)
    inactive: int = field(default=0, compare=False)
    persistent: int = field(default=0, compare=False)
    counters: Counters = field(default=Counters(), compare=False)


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def _port(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!H", value))


def _family_of(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _address(kind: int, address: Address) -> bytes:
    return attribute(kind, address.packed.ljust(16, b"\0"))


def service_key(service: IpvsService) -> bytes:
    """Return the service attribute with only what identifies it."""
    return nested(CMD_SERVICE, _service_key(service))


def _service_key(service: IpvsService) -> bytes:
    if service.fwmark or service.address is None:
        return _u16(SVC_AF, service.family) + _u32(SVC_FWMARK, service.fwmark)
    return (
        _u16(SVC_AF, _family_of(service.address))
        + _u16(SVC_PROTOCOL, service.protocol)
        + _address(SVC_ADDR, service.address)
        + _port(SVC_PORT, service.port)
    )


def service_whole(service: IpvsService) -> bytes:
    """Return the service attribute with every setting, as ipvsadm sends it."""
    family = _family_of(service.address) if service.address else service.family
    if family == socket.AF_INET6:
        mask = struct.pack("=I", HOST_MASK6 if service.netmask is None else service.netmask)
    else:
        mask = struct.pack("!I", HOST_MASK if service.netmask is None else service.netmask)
    return nested(
        CMD_SERVICE,
        _service_key(service),
        text_attribute(SVC_SCHED, service.scheduler),
        attribute(SVC_FLAGS, _FLAGS.pack(service.flags & ~HASHED, ALL_BITS)),
        _u32(SVC_TIMEOUT, service.timeout_s),
        attribute(SVC_NETMASK, mask),
        text_attribute(SVC_PE, service.pe) if service.pe else b"",
    )


def destination_key(destination: IpvsDestination) -> bytes:
    """Return the destination attribute with only what identifies it."""
    return nested(CMD_DEST, _destination_key(destination))


def _destination_key(destination: IpvsDestination) -> bytes:
    return (
        _u16(DEST_AF, _family_of(destination.address))
        + _address(DEST_ADDR, destination.address)
        + _port(DEST_PORT, destination.port)
    )


def destination_whole(destination: IpvsDestination) -> bytes:
    """Return the destination attribute with every setting; tunnel settings only for tunnels."""
    tunnel = (
        attribute(DEST_TUN_TYPE, bytes([destination.tunnel_type]))
        + _port(DEST_TUN_PORT, destination.tunnel_port)
        + _u16(DEST_TUN_FLAGS, destination.tunnel_flags)
    )
    return nested(
        CMD_DEST,
        _destination_key(destination),
        _u32(DEST_FWD, destination.forwarding),
        _u32(DEST_WEIGHT, destination.weight),
        _u32(DEST_UPPER, destination.upper),
        _u32(DEST_LOWER, destination.lower),
        tunnel if destination.forwarding == TUNNEL else b"",
    )


def body(command: int, *attributes_: bytes) -> bytes:
    """Return what follows the netlink header: the generic netlink header and the attributes."""
    return GENL.pack(command, VERSION, 0) + b"".join(attributes_)


_COMMANDS = {
    "add": (NEW_SERVICE, NEW_DEST),
    "set": (SET_SERVICE, SET_DEST),
    "delete": (DEL_SERVICE, DEL_DEST),
}


def change_body(
    command: str, service: IpvsService, destination: Optional[IpvsDestination]
) -> bytes:
    """Return the body of `add`, `set` or `delete` of a service, or of a destination behind it."""
    of_service, of_destination = _COMMANDS[command]
    if destination is None:
        key = command == "delete"
        return body(of_service, service_key(service) if key else service_whole(service))
    if command == "delete":
        return body(of_destination, service_key(service), destination_key(destination))
    return body(of_destination, service_key(service), destination_whole(destination))


def _parse_address(family: int, packed: bytes) -> Optional[Address]:
    if family == socket.AF_INET6 and len(packed) >= 16:
        return unpacked(packed[:16])
    if family == socket.AF_INET and len(packed) >= 4:
        return unpacked(packed[:4])
    return None


def parse_counters(wide: bytes, narrow: bytes) -> Counters:
    """Read the statistics: 64 bits, or the 32-bit ones of kernels before 4.1."""
    found = attributes(wide or narrow)
    return Counters(*(number(found.get(kind, b"")) for kind in STATS_KINDS))


def parse_service(payload: bytes) -> Optional[IpvsService]:
    """Read one entry of a service dump (netlink payload); None when it holds no service."""
    found = attributes(attributes(payload, GENL.size).get(CMD_SERVICE, b""))
    if SVC_AF not in found:
        return None
    n = {kind: number(data) for kind, data in found.items()}
    family = n[SVC_AF]
    six = family == socket.AF_INET6
    return IpvsService(
        family=family,
        protocol=n.get(SVC_PROTOCOL, 0),
        address=_parse_address(family, found.get(SVC_ADDR, b"")),
        port=number(found.get(SVC_PORT, b""), "big"),
        fwmark=n.get(SVC_FWMARK, 0),
        scheduler=text(found.get(SVC_SCHED, b"")),
        flags=number(found.get(SVC_FLAGS, b"")[:4]),
        timeout_s=n.get(SVC_TIMEOUT, 0),
        netmask=number(found.get(SVC_NETMASK, b""), "" if six else "big"),
        pe=text(found.get(SVC_PE, b"")),
        counters=parse_counters(found.get(SVC_STATS64, b""), found.get(SVC_STATS, b"")),
    )


def parse_destination(payload: bytes, family: int = socket.AF_INET) -> Optional[IpvsDestination]:
    """Read one entry of a destination dump; `family` is the service's, for kernels before 3.18."""
    found = attributes(attributes(payload, GENL.size).get(CMD_DEST, b""))
    n = {kind: number(data) for kind, data in found.items()}
    address = _parse_address(n.get(DEST_AF, family), found.get(DEST_ADDR, b""))
    if address is None:
        return None
    return IpvsDestination(
        address=address,
        port=number(found.get(DEST_PORT, b""), "big"),
        forwarding=n.get(DEST_FWD, 0) & 7,
        weight=n.get(DEST_WEIGHT, 0),
        upper=n.get(DEST_UPPER, 0),
        lower=n.get(DEST_LOWER, 0),
        tunnel_type=n.get(DEST_TUN_TYPE, 0),
        tunnel_port=number(found.get(DEST_TUN_PORT, b""), "big"),
        tunnel_flags=n.get(DEST_TUN_FLAGS, 0),
        active=n.get(DEST_ACTIVE, 0),
        inactive=n.get(DEST_INACTIVE, 0),
        persistent=n.get(DEST_PERSISTENT, 0),
        counters=parse_counters(found.get(DEST_STATS64, b""), found.get(DEST_STATS, b"")),
    )


def _bit_names(scheduler: str) -> dict[str, int]:
    """Return every name that ipvsadm takes for this scheduler, the one that it prints last."""
    names = {"ops": ONE_PACKET}
    names.update(zip(_PLAIN, _SCHEDULER_BITS))
    names.update(zip(_WORDS.get(scheduler, ()), _SCHEDULER_BITS))
    return names


def flags_to_bits(scheduler: str, names: Iterable[str]) -> int:
    """Return the kernel's bits for ipvsadm's words; ValueError names what this one may have."""
    known = _bit_names(scheduler)
    bits = 0
    for name in names:
        if name not in known:
            raise ValueError(f"{scheduler} has no flag {name!r}; it has {', '.join(known)}")
        bits |= known[name]
    return bits


def bits_to_flags(scheduler: str, bits: int) -> tuple[str, ...]:
    """Return ipvsadm's words, sorted, for the kernel's bits; PERSISTENT and HASHED have none."""
    printed = {bit: name for name, bit in _bit_names(scheduler).items()}
    return tuple(sorted(name for bit, name in printed.items() if bits & bit))
