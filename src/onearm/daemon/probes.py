"""Which probes go where: marks, blocks of source ports, and the targets of checks; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from onearm.checks import Target
from onearm.errors import PlaceError
from onearm.facts import HostFacts
from onearm.model import PROBE_PORTS, Address, CheckMark, Key
from onearm.rotation import Slot
from onearm.spec import Check, Forwarding, Host, Spec, VirtualService, names_of
from onearm.ways import way_of

MARK_BASE = 0x6F610000  # "oa": marks of ours are this plus a number
MARKS = 0x10000
# Entries of IPVS are keyed by source address and port, not by mark: what a failed probe leaves
# behind would send a probe of another server, from the same port, to the first one for a minute.
# So each server probes from its own block.
LARGEST_BLOCK = 256
SHADOWED = {"tcp", "http", "https", "tls", "dns", "udp"}  # kinds that can ask the host itself too


Marks = Mapping[tuple[str, Forwarding], int]


def allocate(
    spec: Spec, host: HostFacts, rules: Iterable[tuple[int, int]]
) -> dict[tuple[str, Forwarding], int]:
    """Give each real server that is checked through a VIP a mark of its own, by its name and way.

    What it had before it keeps; other people's marks, in IPVS and in routing rules, are left alone.
    """
    checked = sorted(
        {(h, s.way(h)) for s in spec.services if through_vip(s.check) for h in _checked(s)}, key=str
    )
    ours = [m.resource for m in host.marks if spec.name in m.names]
    had = {(r.host, way_of(r)): r.mark for r in ours if isinstance(r, CheckMark)}
    kept = {slot: mark for slot, mark in had.items() if slot in checked}
    foreign = {s.fwmark for s in host.services} - {r.mark for r in ours if isinstance(r, CheckMark)}
    free = _free({*kept.values(), *foreign}, list(rules))
    return {name: kept[name] if name in kept else next(free) for name in checked}


def _free(taken: set[int], rules: list[tuple[int, int]]) -> Iterator[int]:
    for mark in range(MARK_BASE + 1, MARK_BASE + MARKS):
        if mark not in taken and not any(mark & mask == wanted for wanted, mask in rules):
            yield mark
    raise PlaceError(
        f"all {MARKS} marks from {MARK_BASE:#x} are taken by routing rules, so nobody can be"
        " checked through the VIP: look at `ip rule`, or say `through: host` in the checks"
    )


def through_vip(check: Check | None) -> bool:
    """Say whether a check goes the clients' way."""
    return check is not None and check.through == "vip"


def _checked(service: VirtualService) -> list[str]:
    return [member.host for member in service.members]


def probe_key(spec_host: Host, service: VirtualService, check: Check) -> Key:
    """Name a probe: services that would probe the same share it; only the host's own path is shared
    by all VIPs, and not by scripts, which are told theirs. Behind masq a mark's service keeps the
    port, so the server's own is asked for.
    """
    apart = check.through == "vip" or check.kind == "script"
    vip: Address | None = service.vip if apart else None
    own = spec_host.own(service.vip.version) or spec_host.address
    return (vip, own, check.port or service.port_at(spec_host.name), check)


def probes_by_slot(spec: Spec) -> dict[Slot, Key]:
    """Give the probe that each destination's health comes from; the unchecked have none."""
    servers = {host.name: host for host in spec.real_servers}
    return {
        (s.protocol, s.vip, s.port, h): probe_key(servers[h], s, s.check)
        for s in spec.services
        if s.check is not None
        for h in _checked(s)
    }


def targets(
    spec: Spec,
    marks: Marks,
    sources: Mapping[int, Address],
    failing: Iterable[Key] = (),
) -> tuple[Target, ...]:
    """List every probe. One that fails through the VIP is accompanied by its shadow, which asks the
    server itself: that tells a dead server from one that lacks the VIP.
    """
    found: dict[Key, Target] = {}
    blocks = _blocks(spec)
    names = names_of(spec.real_servers)
    ways = {(s.protocol, s.vip, s.port, h): s.way(h) for s in spec.services for h in s.hosts}
    for slot, key in probes_by_slot(spec).items():
        vip, server, port, check = key
        name, protocol = names[server], slot[0]
        way = (name, ways[slot])
        if check.through == "host":
            address = check.address or server
            found[key] = Target(key, check, address, port, name, vip=vip, protocol=protocol)
        elif way in marks:
            block = blocks[vip, port, server]
            own = sources[vip.version]
            found[key] = Target(key, check, vip, port, name, marks[way], own, block)
    for key in failing:
        other = shadow(key)
        if other is not None and key in found:
            found.setdefault(other, Target(other, other[3], other[1], other[2], names[other[1]]))
    return tuple(found.values())


def shadow(key: Key) -> Key | None:
    """Name the same probe on the server's own path; None for one that has no other."""
    vip, server, port, check = key
    if check.through == "host" or check.kind not in SHADOWED:
        return None
    return (None, server, port, replace(check, through="host", host=check.host or str(vip)))


def _blocks(spec: Spec) -> dict[Key, range]:
    """Share the ports out: a block for each (VIP, port, real server)."""
    groups: dict[Key, dict[Address, None]] = {}
    for vip, server, port, check in probes_by_slot(spec).values():
        if check.through == "vip":
            groups.setdefault((vip, port), {})[server] = None
    found = {}
    for (vip, port), servers in groups.items():
        size = min(LARGEST_BLOCK, max(1, len(PROBE_PORTS) // len(servers)))
        for n, server in enumerate(sorted(servers, key=int)):
            start = PROBE_PORTS.start + n * size
            found[vip, port, server] = range(start, start + size)
    return found
