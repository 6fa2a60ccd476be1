"""What a director's daemon will do with a new spec: the same desire and diff, seen ahead; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from onearm.desire import Watch, desire
from onearm.diff import Plan, diff
from onearm.facts import HostFacts
from onearm.health import Health
from onearm.model import CheckMark, Key, Observed, State, endpoint
from onearm.rotation import Rotation, Scene, Slot, decide, drains_in
from onearm.snapshot import DOWN, RAMPING, UNKNOWN, UP
from onearm.spec import Forwarding, Spec, names_of
from onearm.ways import way_of


@dataclass(frozen=True)
class Foresight:
    """What will stand there, and who joins only after a first good check."""

    place: str
    wanted: State
    joins: tuple[str, ...] = ()

    def plan(self, name: str, seen: Mapping[Key, object]) -> Plan:
        """Say what changes from what was seen there."""
        observed: Observed = {self.place: dict(seen)}
        return diff(name, {self.place: self.wanted}, observed)


def foresee(spec: Spec, place: str, host: HostFacts, now: datetime) -> Foresight:
    """Say what the daemon of a director will want when it has taken this spec.

    A server that the daemon serves now counts as healthy, one that it holds out as what it says.
    """
    if not spec.services:
        return Foresight(place, {})
    served = _served(spec, host)
    healths = _healths(spec, host, served)
    drains = drains_in(host, spec.name)
    scene = Scene(spec, host, now, healths, drains)
    rotation = decide(Rotation(frozenset(served)), scene)
    watch = Watch(rotation, drains, _marks(spec, host))
    wanted = desire(spec, {place: replace(host, daemon=None)}, now, watch=watch)[place]
    return Foresight(place, wanted, tuple(_joins(rotation)))


def scripts(spec: Spec) -> list[tuple[str, ...]]:
    """List the commands that checks of this spec run on its director, as root there."""
    checks = (service.check for service in spec.services)
    return list(dict.fromkeys(c.argv for c in checks if c and c.kind == "script"))


def _served(spec: Spec, host: HostFacts) -> set[Slot]:
    names = names_of(spec.real_servers)
    ports = {(s.protocol, s.vip, s.port, h): s.port_at(h) for s in spec.services for h in s.hosts}
    groups = {service.identity for service in spec.services if service.ends}
    return {
        slot
        for service in host.services
        if service.vip is not None and bool(service.fwmark) == (service.identity in groups)
        for fact in service.destinations
        if fact.server in names
        for slot in [(service.protocol, service.vip, service.port, names[fact.server])]
        if fact.port == ports.get(slot, service.port)
    }


def _healths(spec: Spec, host: HostFacts, served: set[Slot]) -> dict[Slot, Health]:
    out = host.daemon.out if host.daemon else ()
    said = {(o.protocol, o.vip, o.port, o.host): o for o in out}
    found: dict[Slot, Health] = {}
    for service in spec.services:
        for member in service.members if service.check else ():
            slot = (service.protocol, service.vip, service.port, member.host)
            held = said.get(slot)
            if held is not None and held.state in {DOWN, UNKNOWN}:
                found[slot] = Health(held.state, reason=held.reason)
            else:
                healthy = slot in served or (held is not None and held.state == RAMPING)
                found[slot] = Health(UP if healthy else UNKNOWN)
    return found


def _marks(spec: Spec, host: HostFacts) -> dict[tuple[str, Forwarding], int]:
    """Give the marks that stand; new ones are the daemon's to choose."""
    wanted = {
        (h, s.way(h))
        for s in spec.services
        if s.check and s.check.through == "vip"
        for h in s.hosts
    }
    ours = [mark.resource for mark in host.marks if spec.name in mark.names]
    found = {(r.host, way_of(r)): r.mark for r in ours if isinstance(r, CheckMark)}
    return {slot: mark for slot, mark in found.items() if slot in wanted}


def _joins(rotation: Rotation) -> list[str]:
    return [
        f"{host} joins {endpoint(vip, port)}/{protocol} after its first good check"
        for (protocol, vip, port), decision in rotation.decisions.items()
        for host, verdict in decision.verdicts.items()
        if verdict.state == UNKNOWN and verdict.weight is None
    ]
