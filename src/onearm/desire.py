"""What should stand where: (Spec, Facts, now) -> World; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from onearm import groups
from onearm.again import Again
from onearm.boot import files
from onearm.boot.files import Files, Share
from onearm.cloud import wanted
from onearm.cloud_facts import CloudFacts
from onearm.drain import draining, service_resource
from onearm.facts import DaemonFact, Facts, HostFacts
from onearm.groups import Marks, allocate, ends_of, known, left_rules
from onearm.lean import like
from onearm.model import (
    IPV4,
    NEUTRON,
    VIP_LINK,
    Address,
    AnnouncedVip,
    ArpSilence,
    CheckMark,
    Destination,
    Drain,
    HeldVip,
    Key,
    MarkRule,
    Resource,
    Service,
    SpecFile,
    State,
    Sysctl,
    Timeout,
    World,
    state,
)
from onearm.rotation import Decision, Rotation, Scene, decide, drains_in
from onearm.silence import silences
from onearm.spec import (
    Forwarding,
    Host,
    Member,
    Spec,
    VirtualService,
    portable_text,
    servers_of,
)
from onearm.ways import Hold, holding, holds, masq_sysctls, tunnel_needs, tunnel_sysctls

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


@dataclass(frozen=True)
class Watch:
    """What the daemon of a director adds: who serves with which weight, who is drained by hand, and
    the marks of its probes by host and way.
    """

    rotation: Rotation = field(default_factory=Rotation)
    drains: Mapping[str, Drain] = field(default_factory=dict)
    marks: Mapping[tuple[str, Forwarding], int] = field(default_factory=dict)


def desire(
    spec: Spec,
    facts: Facts,
    now: datetime,
    cloud: CloudFacts | None = None,
    watch: Watch | None = None,
) -> World:
    """Say what should stand in every place of which there are facts.

    A host with facts that the spec does not name should hold nothing of ours, but for what a
    draining destination still leans on. `watch` is what the daemon itself knows. To anybody else
    a director with a daemon is one file: the daemon answers for the rest.
    """
    leftovers = draining(spec, facts, now)
    kept = [destination for pairs in leftovers.values() for _, destination in pairs]
    rules = {p: left_rules(spec, facts[p], [d for _, d in left]) for p, left in leftovers.items()}
    left = {key: ends_of(some) for found in rules.values() for key, some in found.items()}
    looked = any(place in own for place in facts for own in spec.servers.values())
    held = holds(spec, kept, left) if looked or kept else {}
    world: dict[str, dict[Key, Resource]] = {place: {} for place in facts}
    for place, some in held.items():
        if place in facts:
            made = list(_real_server(spec, place, facts[place], some))
            world[place] |= state([*made, *_boot_files(spec, place, facts[place], made)])
    for place, host in facts.items():
        if host.daemon is not None and host.daemon.name == spec.name:
            world[place] = state(_spec_file(spec, place, host.daemon))
        elif _is_director(spec, place) or place in leftovers:
            seen = watch or _by_hand(spec, host, now)
            marks = allocate(spec, host) if _is_director(spec, place) else {}
            set_by = [r for some in rules.get(place, {}).values() for r in some]
            set_by += groups.rules(spec, marks) if marks else ()
            parts = _parts(spec, place, seen, marks)
            world[place] |= _director(spec, host, parts, leftovers.get(place, []), set_by)
            world[place] |= state(_probes(spec, host, seen))
            world[place] |= state(_kept(spec, host, world[place]) if watch is None else ())
    if cloud is not None:
        world[NEUTRON] = state(wanted(spec, cloud, kept, left))
    return world


def _is_director(spec: Spec, place: str) -> bool:
    return place in {director.name for director in spec.directors}


def _spec_file(spec: Spec, place: str, daemon: DaemonFact) -> Iterator[Resource]:
    if spec.services and _is_director(spec, place):
        yield SpecFile(daemon.spec_path, json.dumps(portable_text(spec)))


def _by_hand(spec: Spec, host: HostFacts, now: datetime) -> Watch:
    """Trust every real server that is not drained: nobody checks."""
    drains = drains_in(host, spec.name)
    scene = Scene(spec, host, now, None, drains)
    return Watch(decide(Rotation(), scene), drains)


class Part(NamedTuple):
    """What a director should hold for one service of the spec; `ways`: of it what is not direct."""

    service: Service
    behind: dict[Key, Resource]
    ways: list[Destination]


def _parts(spec: Spec, place: str, watch: Watch, marks: Marks) -> list[Part]:
    """List the services of the spec, with or without destinations."""
    if not _is_director(spec, place):
        return []
    decisions = watch.rotation.decisions
    found = []
    for service in spec.services:
        near, mark = servers_of(spec, service.vip.version), known(service, marks)
        part = _part(service.key, service, decisions[service.key], near, mark)
        found.append(_noted(part, service, watch.drains) if watch.drains else part)
    return found


def _noted(part: Part, service: VirtualService, drains: Mapping[str, Drain]) -> Part:
    """Note with a service who of its real servers is drained by hand."""
    found = tuple([drains[host] for host in service.hosts if host in drains])
    return part._replace(service=replace(part.service, drains=found)) if found else part


def _one_part(
    service: VirtualService, decision: Decision, near: Mapping[str, Address], mark: int
) -> Part:
    members = {member.host: member for member in service.members}
    behind: list[Destination] = []
    before: tuple[object, ...] = ()
    for host, verdict in decision.verdicts.items():
        weight, member = verdict.weight, members.get(host) or Member(host)
        if weight is None:
            continue
        settings = (weight, member.upper, member.lower, member.forwarding, member.port)
        if settings == before:
            behind.append(like(behind[-1], server=near[host], host=host))
        else:
            behind.append(_destination(service, member, weight, near[host], mark))
        before = settings
    ways = [destination for destination in behind if destination.forwarding != "direct"]
    return Part(service_resource(service, mark), state(behind), ways)


_part = Again(_one_part)


def _destination(
    service: VirtualService, member: Member, weight: int, server: Address, mark: int
) -> Destination:
    way, port = member.forwarding or service.forwarding, member.port or service.port
    return Destination(
        protocol=service.protocol,
        vip=service.vip,
        port=service.port,
        server=server,
        weight=weight,
        upper=member.upper,
        lower=member.lower,
        host=member.host,
        forwarding=way.method,
        tunnel=way.tunnel,
        tunnel_port=way.port,
        own_port=port if port != service.port else 0,
        mark=mark,
    )


def _probes(spec: Spec, host: HostFacts, watch: Watch) -> Iterator[Resource]:
    """List what checks through a VIP need: a mark for each real server, and replies let in.

    A reply's source is the VIP, which is local here: the kernel takes it for a martian unless
    accept_local is set on the link that receives it; there alone is enough (fib_frontend.c). IPv6
    has no such test. Behind masq a reply comes in the real server's own name, and is translated
    only then.
    """
    if not watch.marks:
        return
    asked = [s for s in spec.services if s.check is not None and s.check.through == "vip"]
    for version in sorted({service.vip.version for service in asked}):
        servers = servers_of(spec, version)
        slots = {(h, s.way(h)) for s in asked if s.vip.version == version for h in s.hosts}
        for name, way in sorted(slots & watch.marks.keys(), key=str):
            mark, how = watch.marks[name, way], (way.method, way.tunnel, way.port)
            yield CheckMark(mark, servers[name], name, version, *how)
    link = director_link(spec, host)
    four = [s for s in asked if s.vip.version == IPV4]
    if link and any(s.way(host).method != "masq" for s in four for host in s.hosts):
        yield Sysctl(f"net/ipv4/conf/{link}/accept_local", "1")


def _real_server(
    spec: Spec, place: str, host: HostFacts, held: Iterable[Hold]
) -> Iterator[Resource]:
    own, vips = _own(spec, place), sorted({hold.vip for hold in held}, key=int)
    yield from holding(spec, own, host, held)
    yield from silences(spec, own, host, vips)


def _boot_files(spec: Spec, place: str, host: HostFacts, made: Iterable[Resource]) -> Files:
    """List the files by which a real server of the spec has the same after a reboot.

    None where some packets come in tunnels: no manager's files bring all of their ends back.
    """
    manager = boot_manager(spec, host)
    if not manager or _own(spec, place) is None or tunnel_needs(spec, place):
        return []
    found = list(made)
    vips = tuple(r.vip for r in found if isinstance(r, HeldVip) and r.link == VIP_LINK)
    quiet = tuple(r for r in found if isinstance(r, ArpSilence))
    return files.real_server(manager, Share(spec.name, vips, quiet))


def boot_manager(spec: Spec, host: HostFacts) -> str:
    """Name what brings a host's links up at boot; empty where nothing is to be written."""
    chosen = host.boot if spec.boot == "auto" else spec.boot
    return chosen if chosen in files.names() else ""


def _kept(spec: Spec, host: HostFacts, made: State) -> Files:
    """List what keeps a director's VIP over a restart of systemd-networkd, which rules its link."""
    if boot_manager(spec, host) != "networkd" or not host.network_files:
        return []
    links = {one.link for one in made.values() if isinstance(one, AnnouncedVip)}
    found = [host.network_files[link] for link in sorted(links) if link in host.network_files]
    return [one for path in found for one in files.kept(spec.name, path)]


def _own(spec: Spec, place: str) -> Host | None:
    """Find the host in the spec; one that left it and drains has none."""
    return next((host for host in spec.real_servers if host.name == place), None)


def _director(
    spec: Spec, host: HostFacts, parts: list[Part], leftovers: Pairs, rules: list[MarkRule]
) -> dict[Key, Resource]:
    """Give all that a director should hold, what still drains included."""
    services = {s.key: s for s in [*(s for s, _ in leftovers), *(part.service for part in parts)]}
    if not services:
        return {}
    link = director_link(spec, host)
    ways = [d for part in parts for d in part.ways] + [d for _, d in leftovers]
    found: dict[Key, Resource] = {}
    if not unshared(spec, host):
        found |= state(_sysctls(host, ways))
        found |= state(Timeout(name, seconds) for name, seconds in spec.timeouts)
    found |= state(masq_sysctls(link, ways))
    found |= state(services.values())
    for part in parts:
        found.update(part.behind)
    found |= state(destination for _, destination in leftovers)
    found |= state(rules)
    if link:
        vips = dict.fromkeys([*(s.vip for s in services.values()), *(rule.vip for rule in rules)])
        found |= state(AnnouncedVip(vip, link, vip.max_prefixlen) for vip in vips)
    return found


def _sysctls(host: HostFacts, destinations: list[Destination]) -> Iterator[Sysctl]:
    wanted = {**DIRECTOR_SYSCTLS, **tunnel_sysctls(destinations)}
    return (Sysctl(name, value) for name, value in wanted.items() if name in host.sysctls)


def unshared(spec: Spec, host: HostFacts) -> bool:
    """Say whether services that are not ours keep us from the director's net.ipv4.vs sysctls.

    Those that the spec itself names are no others', marked or not: that one is to be adopted, or
    stands as wanted.
    """
    if spec.shared_director or _marked_sysctls(spec, host):
        return False
    ours: list[Service | CheckMark] = [*host.marked(Service), *host.marked(CheckMark)]
    named = {r.key for r in ours} | {service.key for service in spec.services}
    marks = {r.mark for r in ours} | {rule.mark for rule in host.mark_rules}
    return any(s.fwmark not in marks if s.fwmark else s.key not in named for s in host.services)


def _marked_sysctls(spec: Spec, host: HostFacts) -> bool:
    return any(spec.name in m.names for m in host.marks_of(Sysctl))


def director_link(spec: Spec, host: HostFacts) -> str:
    """Name the link by which the director reaches the real servers; empty when there is no one."""
    near = {path.address: path.link for path in reversed(host.paths)}
    servers = spec.real_servers if near else ()
    links = [link for s in servers for own in s.addresses if (link := near.get(own))]
    return max(sorted(set(links)), key=links.count) if links else _marked_link(spec, host)


def _marked_link(spec: Spec, host: HostFacts) -> str:
    marks = [m.resource for m in host.marks_of(AnnouncedVip) if spec.name in m.names]
    return next((r.link for r in marks if isinstance(r, AnnouncedVip)), "")
