"""Tunnel links over rtnetlink: ipip and gre by their two ends, read, made, changed, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Optional

from onearm.kernel.links import (
    DELLINK,
    GETLINK,
    IFF_UP,
    IFINFO,
    IFLA_IFNAME,
    IFLA_LINKINFO,
    INFO_KIND,
    NEWLINK,
    parse_link,
)
from onearm.kernel.netlink import (
    F_CREATE,
    F_EXCL,
    NETLINK_ROUTE,
    Netlink,
    attribute,
    attributes,
    nested,
    text_attribute,
)
from onearm.model import Address

INFO_DATA = 2  # include/uapi/linux/if_link.h
ENDS = {"ipip": (2, 3), "gre": (6, 7)}  # IFLA_IPTUN_LOCAL, _REMOTE; IFLA_GRE_LOCAL, _REMOTE
ANY = IPv4Address(0)


@dataclass(frozen=True)
class Tunnel:
    """A link and, where it is a tunnel of a kind that we know, its ends; None is any address."""

    name: str
    kind: str
    local: Optional[Address] = None
    remote: Optional[Address] = None
    up: bool = False
    index: int = 0


def parse_tunnel(payload: bytes) -> Tunnel:
    """Read one RTM_NEWLINK of any kind."""
    link = parse_link(payload)[0]
    info = attributes(attributes(payload, IFINFO.size).get(IFLA_LINKINFO, b""))
    data = attributes(info.get(INFO_DATA, b""))
    ends = [_end(data.get(number, b"")) for number in ENDS.get(link.kind, ())] or [None, None]
    return Tunnel(link.name, link.kind, ends[0], ends[1], link.up, link.index)


def _end(packed: bytes) -> Optional[Address]:
    found = IPv4Address(packed) if len(packed) == len(ANY.packed) else ANY
    return None if found == ANY else found


def tunnels() -> list[Tunnel]:
    """List every link, with the ends of those that are tunnels."""
    with _Socket() as netlink:
        return list(_tunnels(netlink))


def _tunnels(netlink: Netlink) -> Iterator[Tunnel]:
    return map(parse_tunnel, netlink.dump(GETLINK, IFINFO.pack(0, 0, 0, 0, 0)))


class _Socket:
    """A netlink socket for one task."""

    def __enter__(self) -> Netlink:
        """Open it."""
        self._netlink = Netlink(NETLINK_ROUTE)
        return self._netlink

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._netlink.close()


def _info(kind: str, local: Optional[Address], remote: Optional[Address]) -> bytes:
    ends = zip(ENDS[kind], (local or ANY, remote or ANY))
    data = [attribute(number, address.packed) for number, address in ends]
    return nested(IFLA_LINKINFO, text_attribute(INFO_KIND, kind), nested(INFO_DATA, *data))


def add(name: str, kind: str, local: Optional[Address], remote: Optional[Address]) -> None:
    """Make a tunnel link that is down. EEXIST: its name or its ends are another's; EOPNOTSUPP: the
    kernel has no such links. Raises NetlinkError.
    """
    body = IFINFO.pack(0, 0, 0, 0, 0) + text_attribute(IFLA_IFNAME, name)
    with _Socket() as netlink:
        netlink.request(NEWLINK, body + _info(kind, local, remote), F_CREATE | F_EXCL)


def change(standing: Tunnel, local: Optional[Address], remote: Optional[Address]) -> None:
    """Give a standing tunnel link other ends."""
    body = IFINFO.pack(0, 0, standing.index, 0, 0)
    with _Socket() as netlink:
        netlink.request(NEWLINK, body + _info(standing.kind, local, remote))


def set_up(standing: Tunnel) -> None:
    """Set a link up."""
    with _Socket() as netlink:
        netlink.request(NEWLINK, IFINFO.pack(0, 0, standing.index, IFF_UP, IFF_UP))


def delete(standing: Tunnel) -> None:
    """Delete a link. ENODEV: it is gone."""
    with _Socket() as netlink:
        netlink.request(DELLINK, IFINFO.pack(0, 0, standing.index, 0, 0))
