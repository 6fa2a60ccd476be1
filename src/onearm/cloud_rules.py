"""The rules of our groups, from services and clients: no more than is needed; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from onearm.cloud_prefixes import (
    IPV4,
    anywhere,
    ethertype,
    single,
    union,
    within,
    without_redundant,
)
from onearm.model import Address, GroupRule, Network
from onearm.spec import End, Spec, VirtualService

INGRESS, EGRESS = "ingress", "egress"
ICMP = {"IPv4": "icmp", "IPv6": "ipv6-icmp"}
ICMPS = frozenset({"icmp", "ipv6-icmp", "icmpv6", "1", "58"})
DHCP_CLIENT = {"IPv4": 68, "IPv6": 546}
NEED_FRAGMENTATION = (3, 4)  # ICMP type and code of path MTU discovery
PACKET_TOO_BIG = (2, None)
ECHO_REQUEST = (8, 0)
DATAGRAMS = frozenset({"udp", "dns"})  # the kinds of checks that send them

Ports = tuple[int | None, int | None]


class Endpoint(NamedTuple):
    """What a virtual service is to a packet filter; `last` is that of a range of ports."""

    protocol: str
    vip: Address
    port: int
    last: int = 0

    @property
    def ports(self) -> tuple[int, int]:
        """The first and the last port."""
        return self.port, self.last or self.port

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        """Order them, IPv4 first: addresses of two families have no order of their own."""
        return _order(*self) < _order(*other)


def _order(protocol: str, vip: Address, port: int, last: int = 0) -> tuple[str, int, int, int, int]:
    return protocol, vip.version, int(vip), port, last


def endpoints_of(service: VirtualService) -> Iterator[Endpoint]:
    """List the endpoints of a service."""
    return of_ends(service.protocol, service.endpoints)


def of_ends(protocol: str, ends: Iterable[End]) -> Iterator[Endpoint]:
    """Turn endpoints of a spec into those of a packet filter."""
    for end in ends:
        yield Endpoint(protocol, end.vip, end.port, end.last if end.last != end.port else 0)


class Owner(NamedTuple):
    """The group that a rule is made for."""

    name: str
    stateful: bool


def rule(
    owner: Owner,
    direction: str,
    remote: Network | None,
    protocol: str | None = None,
    ports: Ports = (None, None),
    *,
    family: str = "",
    why: str = "",
) -> GroupRule:
    """Make a rule; its family is the remote's where that says it."""
    return GroupRule(
        owner.name,
        owner.stateful,
        direction,
        ethertype(remote) if remote is not None else family or "IPv4",
        protocol,
        *ports,
        remote,
        why,
    )


def clients(spec: Spec, version: int = IPV4) -> list[Network]:
    """List the clients' prefixes of a family; nothing said is everybody."""
    found = [network for network in spec.clients if network.version == version]
    return without_redundant(found) or [anywhere(version)]


def families(endpoints: Iterable[Endpoint]) -> list[int]:
    """List the address families in use."""
    return sorted({endpoint.vip.version for endpoint in endpoints})


def service_rules(spec: Spec, owner: Owner, endpoints: Iterable[Endpoint]) -> Iterator[GroupRule]:
    """Admit the clients: they are the source, on the director and on the real servers alike."""
    for endpoint in sorted(endpoints):
        shown = f"{endpoint.port}-{endpoint.last}" if endpoint.last else f"{endpoint.port}"
        why = f"clients of {shown}/{endpoint.protocol}"
        for client in clients(spec, endpoint.vip.version):
            yield rule(owner, INGRESS, client, endpoint.protocol, endpoint.ports, why=why)


def real_server_rules(
    spec: Spec, owner: Owner, endpoints: Sequence[Endpoint]
) -> Iterator[GroupRule]:
    """Admit clients, and the director's checks on the service ports and on those that they name.

    A stateless group also needs the way out, and the ICMP error of path MTU discovery.
    """
    yield from service_rules(spec, owner, endpoints)
    for protocol, ports in _checked(spec, endpoints):
        for director in spec.directors:
            yield rule(owner, INGRESS, single(director.address), protocol, ports, why="checks")
    if not owner.stateful:
        for version in families(endpoints):
            family = ethertype(anywhere(version))
            error = NEED_FRAGMENTATION if version == IPV4 else PACKET_TOO_BIG
            yield rule(owner, EGRESS, None, family=family, why="replies")
            yield rule(owner, INGRESS, anywhere(version), ICMP[family], error, why="path MTU")


def _checked(spec: Spec, endpoints: Sequence[Endpoint]) -> list[tuple[str, Ports]]:
    """List what checks of these endpoints may be sent to: the service's port, and the check's."""
    found: dict[tuple[str, Ports], None] = {}
    for endpoint in sorted(endpoints):
        found[endpoint.protocol, endpoint.ports] = None
    for service in spec.services:
        check, key = service.check, next(endpoints_of(service))
        if check is None or key not in endpoints:
            continue
        port = check.port or service.port
        if check.kind == "icmp":
            found["icmp", ECHO_REQUEST] = None
        elif check.kind != "script":
            found["udp" if check.kind in DATAGRAMS else "tcp", (port, port)] = None
    return list(found)


def director_rules(
    spec: Spec, owner: Owner, endpoints: Sequence[Endpoint], servers: Iterable[Address]
) -> Iterator[GroupRule]:
    """Admit clients, and the replies that a stateless group does not know for replies.

    A check through the VIP's path is answered in the VIP's name, which no remote group matches on
    OVN; DHCP and ICMP come without having been asked for as well.
    """
    yield from service_rules(spec, owner, endpoints)
    for endpoint in sorted(endpoints):
        yield rule(
            owner, INGRESS, single(endpoint.vip), endpoint.protocol, why="replies from the VIP"
        )
    protocols = sorted({"tcp", *(endpoint.protocol for endpoint in endpoints)})
    for network in union(single(server) for server in servers):
        for protocol in protocols:
            yield rule(owner, INGRESS, network, protocol, why="replies of real servers to checks")
    for version in families(endpoints):
        family = ethertype(anywhere(version))
        port = DHCP_CLIENT[family]
        yield rule(owner, EGRESS, None, family=family, why="anything out")
        yield rule(owner, INGRESS, anywhere(version), ICMP[family], why="ICMP errors, path MTU")
        yield rule(owner, INGRESS, anywhere(version), "udp", (port, port), why="replies of DHCP")


def covers(wide: GroupRule, narrow: GroupRule) -> bool:
    """Say whether one rule admits all that the other does."""
    same = (wide.direction, wide.ethertype) == (narrow.direction, narrow.ethertype)
    if not same or wide.protocol not in (None, narrow.protocol):
        return False
    return _ports_cover(wide, narrow) and _remote_covers(wide.remote, narrow.remote)


def _ports_cover(wide: GroupRule, narrow: GroupRule) -> bool:
    if wide.port_min is None and wide.port_max is None:
        return True
    if wide.protocol in ICMPS:  # type and code
        return narrow.port_min == wide.port_min and wide.port_max in (None, narrow.port_max)
    low, high = wide.port_min or 0, wide.port_max if wide.port_max is not None else 65535
    return (
        narrow.port_min is not None
        and narrow.port_max is not None
        and low <= narrow.port_min
        and narrow.port_max <= high
    )


def _remote_covers(wide: Network | None, narrow: Network | None) -> bool:
    if wide is None or wide.prefixlen == 0:
        return True
    return narrow is not None and within(narrow, wide)


def minimal(rules: Iterable[GroupRule]) -> list[GroupRule]:
    """Leave out every rule that another one holds; of equals the first stays."""
    found = list({r.key: r for r in reversed(list(rules))}.values())[::-1]
    kept: list[GroupRule] = []
    for number, one in enumerate(found):
        others = (*kept, *found[number + 1 :])
        if not any(covers(other, one) for other in others):
            kept.append(one)
    return kept
