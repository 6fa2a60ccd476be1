"""How packets get to each real server, and what that asks of it and of the director; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from onearm.facts import HostFacts, ServiceFact
from onearm.model import (
    VIP_LINK,
    Address,
    CheckMark,
    Destination,
    GuePort,
    HeldVip,
    Key,
    Link,
    Resource,
    Sysctl,
    TunnelLink,
)
from onearm.spec import End, Forwarding, Host, Spec, VirtualService

Left = Mapping[Key, tuple[End, ...]]  # the endpoints of groups that drain, by the service's key
NOTHING_LEFT: Left = {}
TUNNEL_LINKS = {"ipip": "ipip-vip", "gue": "ipip-vip", "gre": "gre-vip"}
LANES = 4
# A full packet no longer fits once it is wrapped. With 0 the director cuts it into fragments, two
# for each, and many a firewall drops those; with 1 it asks the client for smaller ones.
TUNNEL_SYSCTLS = {"net/ipv4/vs/pmtu_disc": "1"}
LINK_KINDS = {"ipip": "ipip", "gue": "ipip", "gre": "gre"}


@dataclass(frozen=True)
class Hold:
    """A VIP that a real server holds, and the way by which packets for it come."""

    vip: Address
    way: Forwarding

    @property
    def link(self) -> str:
        """The link that holds it: the tunnel's own, which so has an address of its own."""
        return TUNNEL_LINKS.get(self.way.tunnel, VIP_LINK)


def destination_key(service: VirtualService, host: str, server: Address, mark: int = 0) -> Key:
    """Identify the destination that a real server of a service is; `mark`: of a group."""
    own = own_port(service.port_at(host), service)
    return (*service.key, *((mark,) if mark else ()), server, *own)


def own_port(port: int, service: VirtualService | ServiceFact) -> tuple[int, ...]:
    """Give what a port adds to the key of a destination: nothing where it is the service's."""
    return () if port == service.port else (port,)


def way_of(destination: Destination | CheckMark) -> Forwarding:
    """Give the way to a real server as the spec would have said it."""
    return Forwarding(destination.forwarding, destination.tunnel, destination.tunnel_port)


def holds(
    spec: Spec, kept: Iterable[Destination], left: Left = NOTHING_LEFT
) -> dict[str, set[Hold]]:
    """List what each real server holds, by the spec and for destinations that still drain.

    One behind masq holds no VIP: packets come for its own address. `left` are the endpoints of
    groups that drain.
    """
    found: dict[str, set[Hold]] = {}
    for service in spec.services:
        for host in service.hosts:
            some = found.setdefault(host, set())
            some |= {Hold(vip, service.way(host)) for vip in service.vips}
    for destination in kept:
        ends = left.get(destination.service_key, ())
        vips = {destination.vip, *(end.vip for end in ends)}
        some = found.setdefault(destination.host, set())
        some |= {Hold(vip, way_of(destination)) for vip in vips}
    return {host: {h for h in some if h.way.method != "masq"} for host, some in found.items()}


def lanes(spec: Spec) -> dict[tuple[str, Address, int], tuple[int, int]]:
    """Deal the ports that verify's connections start from among services behind masq.

    Two of them may lead to one port of one real server, and there nothing but the client's port
    tells their connections apart. Few lanes: fewer ports are soon used again.
    """
    found: dict[str, list[VirtualService]] = {}
    for service in spec.services:
        if any(service.way(host).method == "masq" for host in service.hosts):
            found.setdefault(service.protocol, []).append(service)
    return {
        (s.protocol, s.vip, s.port): (n % LANES, min(len(some), LANES))
        for some in found.values()
        for n, s in enumerate(some)
    }


def vip_links(spec: Spec, host: str) -> set[str]:
    """Name the links on which a real server holds VIPs."""
    ways = (service.way(host) for service in spec.services if host in service.hosts)
    return {TUNNEL_LINKS.get(way.tunnel, VIP_LINK) for way in ways if way.method != "masq"}


def tunnel_needs(spec: Spec, host: str) -> set[str]:
    """Name what a real server's kernel needs for its tunnels: ipip or gre links, gue ports."""
    ways = [service.way(host) for service in spec.services if host in service.hosts]
    tunnels = {way.tunnel for way in ways if way.tunnel}
    return {LINK_KINDS[tunnel] for tunnel in tunnels} | (tunnels & {"gue"})


def holding(
    spec: Spec, own: Host | None, host: HostFacts, held: Iterable[Hold]
) -> Iterator[Resource]:
    """List the links and VIPs of a real server."""
    tunnels = {h.way.tunnel for h in held if h.way.tunnel}
    vips = {(h.vip, h.link) for h in held}
    if any(link == VIP_LINK for _, link in vips):
        yield Link(VIP_LINK)
    for kind in sorted({LINK_KINDS[tunnel] for tunnel in tunnels}):
        yield from _tunnel_link(spec, own, host, kind)
    for port in sorted({h.way.port for h in held if h.way.tunnel == "gue"}):
        yield GuePort(port)
    for vip, link in sorted(vips, key=lambda pair: (int(pair[0]), pair[1])):
        yield HeldVip(vip, link, vip.max_prefixlen)


def _tunnel_link(spec: Spec, own: Host | None, host: HostFacts, kind: str) -> Iterator[TunnelLink]:
    """Let in only what the director sent; a host that left the spec keeps the end that it has."""
    name = TUNNEL_LINKS[kind]
    if own is not None:
        only = spec.directors[0].address if len(spec.directors) == 1 else None
        yield TunnelLink(name, kind, own.address, only)
        return
    marks = (mark.resource for mark in host.marks if spec.name in mark.names)
    yield from (r for r in marks if isinstance(r, TunnelLink) and r.name == name)


def tunnel_sysctls(destinations: Iterable[Destination]) -> dict[str, str]:
    """Give the net.ipv4.vs values that a director needs for tunnels."""
    return TUNNEL_SYSCTLS if any(d.forwarding == "tunnel" for d in destinations) else {}


def masq_sysctls(link: str, destinations: Iterable[Destination]) -> Iterator[Sysctl]:
    """List what the director needs to carry the replies of real servers behind masq.

    A redirect would send their replies past the director; `all` and the link both must forbid them
    (IN_DEV_TX_REDIRECTS, include/linux/inetdevice.h).
    """
    if any(destination.forwarding == "masq" for destination in destinations):
        for name in ("all", *([link] if link else ())):
            yield Sysctl(f"net/ipv4/conf/{name}/send_redirects", "0")
        yield Sysctl("net/ipv4/ip_forward", "1")
