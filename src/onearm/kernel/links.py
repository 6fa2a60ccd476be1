"""Links, addresses, routes and neighbours of a host over rtnetlink."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Optional, final

from onearm import errors
from onearm.facts import AddressFact, LinkFact, NeighbourFact, PathFact, RouteFact
from onearm.kernel.netlink import (
    F_CREATE,
    F_EXCL,
    NETLINK_ROUTE,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    nested,
    number,
    text,
    text_attribute,
)
from onearm.model import Address
from onearm.vitals import BackFact

# include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h
NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
GETROUTE = 26
DELNEIGH, GETNEIGH = 29, 30
IFINFO = struct.Struct("=BxHiII")
MOST_INDEX = (1 << 31) - 1  # an int in the kernel, include/linux/netdevice.h
IFADDR = struct.Struct("=BBBBI")
RTM = struct.Struct("=BBBBBBBBI")
NDM = struct.Struct("=BxxxiHBB")
NEXTHOP = struct.Struct("=HBBi")
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_EXT_MASK, SKIP_STATS, INFO_KIND = 29, 8, 1
IFF_UP, IFF_LOOPBACK, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x8, 0x80, 0x10000
IFA_ADDRESS, IFA_LOCAL, IFA_CACHEINFO, IFA_F_NODAD = 1, 2, 6, 0x02
CACHEINFO = struct.Struct("=IIII")  # preferred, valid, created, updated
FOR_EVER = 0xFFFFFFFF
RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 2, 4, 5, 6, 7
RTA_METRICS, RTA_MULTIPATH, RTA_TABLE, RTA_VIA, RTAX_MTU = 8, 9, 15, 18, 2
TABLE_MAIN, RTN_UNICAST = 254, 1
DEAD_ENDS = {6: "blackhole", 7: "unreachable", 8: "prohibited"}  # RTN_*
NDA_DST, NDA_LLADDR = 1, 2
FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 16}


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _address(packed: bytes) -> Optional[Address]:
    """Read an address by its length alone: the families that have others are not ours."""
    if len(packed) == 4:
        return IPv4Address(packed)
    return IPv6Address(packed) if len(packed) == 16 else None


def _mac(packed: bytes) -> str:
    return packed.hex(":") if len(packed) == 6 else ""


def _via(found: dict[int, bytes]) -> Optional[Address]:
    """Return the gateway; RTA_VIA holds one of the other family, behind its number."""
    return _address(found.get(RTA_GATEWAY, b"")) or _address(found.get(RTA_VIA, b"")[2:])


def parse_link(payload: bytes) -> tuple[LinkFact, int]:
    """Read one RTM_NEWLINK; the second value is the master's index, 0 for none."""
    payload = payload.ljust(IFINFO.size, b"\0")
    _, _, index, flags, _ = IFINFO.unpack_from(payload)
    found = attributes(payload, IFINFO.size)
    fact = LinkFact(
        index=index,
        name=text(found.get(IFLA_IFNAME, b"")),
        kind=text(attributes(found.get(IFLA_LINKINFO, b"")).get(INFO_KIND, b"")),
        mac=_mac(found.get(IFLA_ADDRESS, b"")),
        mtu=number(found.get(IFLA_MTU, b"")),
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        loopback=bool(flags & IFF_LOOPBACK),
        arp=not flags & IFF_NOARP,
    )
    return fact, number(found.get(IFLA_MASTER, b""))


def parse_address(payload: bytes, names: dict[int, str]) -> Optional[AddressFact]:
    """Read one RTM_NEWADDR; IFA_LOCAL is ours, IFA_ADDRESS may be the peer's."""
    payload = payload.ljust(IFADDR.size, b"\0")
    family, length, _, scope, index = IFADDR.unpack_from(payload)
    found = attributes(payload, IFADDR.size)
    address = _address(found.get(IFA_LOCAL) or found.get(IFA_ADDRESS, b""))
    if family not in FAMILIES or address is None:
        return None
    return AddressFact(names.get(index, ""), address, length, scope)


def parse_routes(payload: bytes, names: dict[int, str]) -> Iterator[RouteFact]:
    """Read one RTM_NEWROUTE: a fact per next hop; nothing unless unicast in the main table."""
    payload = payload.ljust(RTM.size, b"\0")
    family, length, _, _, table, _, _, kind, _ = RTM.unpack_from(payload)
    found = attributes(payload, RTM.size)
    table = number(found[RTA_TABLE]) if RTA_TABLE in found else table
    if family not in FAMILIES or table != TABLE_MAIN or kind != RTN_UNICAST:
        return
    target = found.get(RTA_DST, bytes(FAMILIES[family]))
    if len(target) != FAMILIES[family] or length > 8 * len(target):
        return
    network = ip_network((target, length), strict=False)
    source = _address(found.get(RTA_PREFSRC, b""))
    metric = number(found.get(RTA_PRIORITY, b""))
    for index, gateway in _hops(found):
        yield RouteFact(network, names.get(index, ""), gateway, source, metric)


def _hops(found: dict[int, bytes]) -> Iterator[tuple[int, Optional[Address]]]:
    if RTA_MULTIPATH not in found:
        yield number(found.get(RTA_OIF, b"")), _via(found)
        return
    rest = found[RTA_MULTIPATH]
    while len(rest) >= NEXTHOP.size:
        length, _, _, index = NEXTHOP.unpack_from(rest)
        if not NEXTHOP.size <= length <= len(rest):
            return
        yield index, _via(attributes(rest[:length], NEXTHOP.size))
        rest = rest[(length + 3) & ~3 :]


def parse_neighbour(payload: bytes, names: dict[int, str]) -> Optional[NeighbourFact]:
    """Read one RTM_NEWNEIGH of either family."""
    payload = payload.ljust(NDM.size, b"\0")
    family, index, state, _, _ = NDM.unpack_from(payload)
    found = attributes(payload, NDM.size)
    address = _address(found.get(NDA_DST, b""))
    if family not in FAMILIES or address is None:
        return None
    return NeighbourFact(names.get(index, ""), address, _mac(found.get(NDA_LLADDR, b"")), state)


@final
class Links:
    """rtnetlink of the network namespace in which it was opened.

    Every method raises NetlinkError with the kernel's errno: EEXIST for what stands already,
    ENODEV for an unknown link, EADDRNOTAVAIL or ENOENT for what was not there to delete.
    """

    def __init__(self, timeout_s: float = 10.0) -> None:
        """Open the socket."""
        self._netlink = Netlink(NETLINK_ROUTE, timeout_s)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def __enter__(self) -> Links:
        """Return it open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.close()

    def links(self) -> list[LinkFact]:
        """Return every link, with its master and the master's kind."""
        asked = IFINFO.pack(0, 0, 0, 0, 0) + attribute(IFLA_EXT_MASK, struct.pack("=I", SKIP_STATS))
        parsed = [parse_link(payload) for payload in self._netlink.dump(GETLINK, asked)]
        by_index = {fact.index: fact for fact, _ in parsed}
        return [_enslaved(fact, by_index.get(master)) for fact, master in parsed]

    def _names(self) -> dict[int, str]:
        return {link.index: link.name for link in self.links()}

    def addresses(self) -> list[AddressFact]:
        """Return every IPv4 and IPv6 address."""
        names = self._names()
        dumped = self._netlink.dump(GETADDR, IFADDR.pack(0, 0, 0, 0, 0))
        return [fact for fact in (parse_address(p, names) for p in dumped) if fact]

    def routes(self) -> list[RouteFact]:
        """Return the unicast routes of the main table, one fact for each next hop."""
        names = self._names()
        dumped = self._netlink.dump(GETROUTE, RTM.pack(0, 0, 0, 0, 0, 0, 0, 0, 0))
        return [fact for payload in dumped for fact in parse_routes(payload, names)]

    def neighbours(self) -> list[NeighbourFact]:
        """Return the ARP and neighbour discovery tables."""
        names = self._names()
        dumped = self._netlink.dump(GETNEIGH, NDM.pack(0, 0, 0, 0, 0))
        return [fact for fact in (parse_neighbour(p, names) for p in dumped) if fact]

    def _route(self, address: Address, source: Optional[Address]) -> tuple[int, dict[int, bytes]]:
        """Ask which way a packet to `address` would go; return the route's kind and attributes."""
        own = source.max_prefixlen if source else 0
        body = RTM.pack(_family(address), address.max_prefixlen, own, 0, 0, 0, 0, 0, 0)
        body += attribute(RTA_DST, address.packed)
        body += attribute(RTA_SRC, source.packed) if source else b""
        replies = self._netlink.request(GETROUTE, body)
        reply = replies[0].ljust(RTM.size, b"\0") if replies else bytes(RTM.size)
        return RTM.unpack_from(reply)[7], attributes(reply, RTM.size)

    def route_get(self, address: Address) -> PathFact:
        """Return how the kernel would send to `address` now; `error` says why it would not."""
        names = self._names()
        try:
            kind, found = self._route(address, None)
        except NetlinkError as error:
            return PathFact(address, error=os.strerror(error.errno or 0))
        return PathFact(
            address,
            link=names.get(number(found.get(RTA_OIF, b"")), ""),
            gateway=_via(found),
            source=_address(found.get(RTA_PREFSRC, b"")),
            error=DEAD_ENDS.get(kind, ""),
        )

    def route_back(self, client: Address, vip: Address) -> BackFact:
        """Return how the kernel would send a reply from `vip` to `client`, policy rules included.

        The MTU is the route's own, a learned path MTU included, else the link's. A source that no
        link of this host holds is refused (EINVAL or ENETUNREACH, net/ipv4/route.c): then `error`
        says so, and the rest is the way without a source, so that the gateway is still known.
        """
        if client.version != vip.version:
            return BackFact(client, vip, error=f"{client} and {vip} are of two families")
        try:
            return self._back(client, vip, vip)
        except NetlinkError as refused:
            error = self._why_not(vip, refused)
        try:
            return replace(self._back(client, vip, None), error=error)
        except NetlinkError:
            return BackFact(client, vip, error=error)

    def _back(self, client: Address, vip: Address, source: Optional[Address]) -> BackFact:
        kind, found = self._route(client, source)
        link = self._link_at(number(found.get(RTA_OIF, b"")))
        metrics = attributes(found.get(RTA_METRICS, b""))
        return BackFact(
            client,
            vip,
            link=link.name if link else "",
            gateway=_via(found),
            mtu=number(metrics.get(RTAX_MTU, b"")) or (link.mtu if link else 0),
            error=DEAD_ENDS.get(kind, ""),
        )

    def _link_at(self, index: int) -> Optional[LinkFact]:
        if not 0 < index <= MOST_INDEX:
            return None
        replies = self._netlink.request(GETLINK, IFINFO.pack(0, 0, index, 0, 0))
        return parse_link(replies[0])[0] if replies else None

    def _why_not(self, vip: Address, refused: NetlinkError) -> str:
        if any(fact.address == vip for fact in self.addresses()):
            return os.strerror(refused.errno or 0)
        return f"no link of this host holds {vip}, so nothing is sent from it"

    def add_dummy(self, name: str, *, up: bool = True) -> None:
        """Make a dummy link. EEXIST: a link of this name is there; EOPNOTSUPP: no dummy here."""
        body = IFINFO.pack(0, 0, 0, IFF_UP if up else 0, IFF_UP)
        body += text_attribute(IFLA_IFNAME, name)
        body += nested(IFLA_LINKINFO, text_attribute(INFO_KIND, "dummy"))
        self._netlink.request(NEWLINK, body, F_CREATE | F_EXCL)

    def delete_dummy(self, name: str) -> None:
        """Delete a dummy link. ENODEV: not there. Raises errors.Denied for any other kind."""
        link = self._link(name)
        if link.kind != "dummy":
            raise errors.Denied(
                f"link {name}: it is no dummy link (kind {link.kind or 'physical'}), "
                "so it is not ours to delete; give the dummy link another name"
            )
        self._netlink.request(DELLINK, IFINFO.pack(0, 0, link.index, 0, 0))

    def set_up(self, name: str, *, up: bool = True) -> None:
        """Set a link up or down."""
        index = self._link(name).index
        self._netlink.request(NEWLINK, IFINFO.pack(0, 0, index, IFF_UP if up else 0, IFF_UP))

    def _link(self, name: str) -> LinkFact:
        for link in self.links():
            if link.name == name:
                return link
        raise NetlinkError(errno.ENODEV, name)

    def _ifaddr(self, link: str, address: Address, length: int, flags: int) -> bytes:
        head = IFADDR.pack(_family(address), length, flags, 0, self._link(link).index)
        local = attribute(IFA_LOCAL, address.packed)
        return head + local + attribute(IFA_ADDRESS, address.packed)

    def add_address(
        self, link: str, address: Address, prefix_length: int, *, vip: bool = False
    ) -> None:
        """Add an address. EEXIST: it is there.

        An IPv6 address that is a `vip` gets no duplicate address detection, for it is meant to be
        on several hosts, and a preferred lifetime of 0: it is used when it is asked for, and never
        chosen as the source of the host's own connections (RFC 6724 §5 would prefer its /128).
        """
        special = vip and address.version == 6
        body = self._ifaddr(link, address, prefix_length, IFA_F_NODAD if special else 0)
        if special:
            body += attribute(IFA_CACHEINFO, CACHEINFO.pack(0, FOR_EVER, 0, 0))
        self._netlink.request(NEWADDR, body, F_CREATE | F_EXCL)

    def delete_address(self, link: str, address: Address, prefix_length: int) -> None:
        """Delete an address. EADDRNOTAVAIL: it is not there with this prefix length."""
        self._netlink.request(DELADDR, self._ifaddr(link, address, prefix_length, 0))

    def delete_neighbour(self, link: str, address: Address) -> None:
        """Delete a neighbour entry, so that the kernel asks anew. ENOENT: it is not there."""
        head = NDM.pack(_family(address), self._link(link).index, 0, 0, 0)
        self._netlink.request(DELNEIGH, head + attribute(NDA_DST, address.packed))


def _enslaved(fact: LinkFact, master: Optional[LinkFact]) -> LinkFact:
    if master is None:
        return fact
    return replace(fact, master=master.name, master_kind=master.kind)
