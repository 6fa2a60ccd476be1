"""What should stand where: (Spec, Facts, now) -> World; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from onearm.cloud import wanted
from onearm.cloud_facts import CloudFacts
from onearm.drain import draining, service_resource
from onearm.facts import Facts, HostFacts
from onearm.model import (
    NEUTRON,
    VIP_LINK,
    Address,
    AnnouncedVip,
    Destination,
    HeldVip,
    Key,
    Link,
    Resource,
    Service,
    Sysctl,
    World,
    state,
)
from onearm.silence import silences
from onearm.spec import Host, Spec

# Per network namespace, docs.kernel.org/networking/ipvs-sysctl.html. conntrack=1 costs a conntrack
# entry that never sees the reply, so that firewalls call every later packet INVALID; without
# expire_nodest_conn packets of a removed server vanish silently; a persistent client would stay on
# a drained server for ever without expire_quiescent_template.
DIRECTOR_SYSCTLS = {
    "net/ipv4/vs/conntrack": "0",
    "net/ipv4/vs/expire_nodest_conn": "1",
    "net/ipv4/vs/expire_quiescent_template": "1",
    "net/ipv4/vs/conn_reuse_mode": "1",
}

Pairs = list[tuple[Service, Destination]]


def desire(spec: Spec, facts: Facts, now: datetime, cloud: CloudFacts | None = None) -> World:
    """Say what should stand in every place of which there are facts.

    A host with facts that the spec does not name should hold nothing of ours, but for what a
    draining destination still leans on.
    """
    leftovers = draining(spec, facts, now)
    kept = [pair for pairs in leftovers.values() for pair in pairs]
    held = _held_vips(spec, kept)
    world: dict[str, dict[Key, Resource]] = {place: {} for place in facts}
    for place, vips in held.items():
        if place in facts:
            world[place] |= state(_real_server(spec, place, facts[place], vips))
    for place in facts:
        pairs = _pairs(spec, place) + leftovers.get(place, [])
        if pairs:
            world[place] |= state(_director(spec, facts[place], pairs))
    if cloud is not None:
        world[NEUTRON] = state(wanted(spec, cloud, [destination for _, destination in kept]))
    return world


def _held_vips(spec: Spec, kept: Pairs) -> dict[str, set[Address]]:
    found: dict[str, set[Address]] = {}
    for service in spec.services:
        for member in service.members:
            found.setdefault(member.host, set()).add(service.vip)
    for _, destination in kept:
        found.setdefault(destination.host, set()).add(destination.vip)
    return found


def _pairs(spec: Spec, place: str) -> Pairs:
    if place not in {director.name for director in spec.directors}:
        return []
    servers = {host.name: host.address for host in spec.real_servers}
    return [
        (
            service_resource(service),
            Destination(
                protocol=service.protocol,
                vip=service.vip,
                port=service.port,
                server=servers[member.host],
                weight=member.weight,
                host=member.host,
            ),
        )
        for service in spec.services
        for member in service.members
    ]


def _real_server(
    spec: Spec, place: str, host: HostFacts, vips: Iterable[Address]
) -> Iterator[Resource]:
    yield Link(VIP_LINK)
    for vip in sorted(vips, key=int):
        yield HeldVip(vip)
    yield from silences(spec, _own(spec, place), host, sorted(vips, key=int))


def _own(spec: Spec, place: str) -> Host | None:
    """Find the host in the spec; one that left it and drains has none."""
    return next((host for host in spec.real_servers if host.name == place), None)


def _director(spec: Spec, host: HostFacts, pairs: Pairs) -> Iterator[Resource]:
    if not unshared(spec, host):
        yield from _sysctls(host)
    yield from {service.key: service for service, _ in pairs}.values()
    for _, destination in sorted(pairs, key=lambda pair: int(pair[1].server)):
        yield destination
    link = director_link(spec, host)
    if link:
        yield from (AnnouncedVip(vip, link) for vip in {service.vip: None for service, _ in pairs})


def _sysctls(host: HostFacts) -> Iterator[Sysctl]:
    return (Sysctl(name, value) for name, value in DIRECTOR_SYSCTLS.items() if name in host.sysctls)


def unshared(spec: Spec, host: HostFacts) -> bool:
    """Say whether services that are not ours keep us from the director's net.ipv4.vs sysctls."""
    if spec.shared_director or _marked_sysctls(spec, host):
        return False
    marked = {m.resource.key for m in host.marks if isinstance(m.resource, Service)}
    return any((s.protocol, s.vip, s.port) not in marked or s.fwmark for s in host.services)


def _marked_sysctls(spec: Spec, host: HostFacts) -> bool:
    return any(isinstance(m.resource, Sysctl) and spec.name in m.names for m in host.marks)


def director_link(spec: Spec, host: HostFacts) -> str:
    """Name the link by which the director reaches the real servers; empty when there is no one."""
    paths = [host.path(server.address) for server in spec.real_servers]
    links = [path.link for path in paths if path and path.link]
    return max(sorted(set(links)), key=links.count) if links else _marked_link(spec, host)


def _marked_link(spec: Spec, host: HostFacts) -> str:
    marks = [m.resource for m in host.marks if spec.name in m.names]
    return next((r.link for r in marks if isinstance(r, AnnouncedVip)), "")
