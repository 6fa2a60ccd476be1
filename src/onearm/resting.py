"""Whom a director serves otherwise than its spec says, by its daemon's word or by hand; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from onearm.facts import Facts, HostFacts, OutFact
from onearm.model import Key
from onearm.rotation import drains_in, full_weight
from onearm.snapshot import DRAINED
from onearm.spec import Member, Spec, VirtualService

Resting = Mapping[str, OutFact]  # by host


def resting(spec: Spec, facts: Facts) -> dict[Key, Resting]:
    """Give the destinations that are out of rotation, or not fully in it, by service.

    The directors of which there are facts say so: a daemon itself, and where none runs the marks
    of those that are drained by hand. Another spec's daemon has no say.
    """
    found: dict[Key, dict[str, OutFact]] = {}
    for host in (facts[d.name] for d in spec.directors if d.name in facts):
        for fact in _said(spec, host):
            found.setdefault((fact.protocol, fact.vip, fact.port), {})[fact.host] = fact
    return dict(found)


def _said(spec: Spec, host: HostFacts) -> Iterable[OutFact]:
    if host.daemon is not None and host.daemon.name == spec.name:
        return host.daemon.out
    return _by_hand(spec, host)


def _by_hand(spec: Spec, host: HostFacts) -> Iterator[OutFact]:
    drains = drains_in(host, spec.name)
    for service in spec.services:
        for member in service.members:
            if member.host in drains:
                at = (service.protocol, service.vip, service.port, member.host)
                yield OutFact(*at, DRAINED, "drained by hand; undrain brings it back")


def of_service(service: VirtualService, told: Mapping[Key, Resting]) -> Resting:
    """Pick those of one service."""
    return told.get((service.protocol, service.vip, service.port), {})


def held(service: VirtualService, found: Resting) -> dict[str, OutFact]:
    """Pick those that should get connections by the spec, and get no new ones."""
    wanted = {member.host for member in service.members if member.weight}
    return {host: fact for host, fact in found.items() if host in wanted and not fact.weight}


def partly(service: VirtualService, found: Resting) -> dict[str, OutFact]:
    """Pick those that get connections, but not the share of the spec's weight."""
    full = {m.host: full_weight(service, m) for m in service.members}
    return {h: f for h, f in found.items() if f.weight and f.weight != full.get(h)}


def weight(service: VirtualService, member: Member, found: Resting) -> int | None:
    """Give the weight that the kernel should have for a member; None: it should not be there."""
    fact = found.get(member.host)
    return full_weight(service, member) if fact is None else fact.weight


def without(service: VirtualService, hosts: Iterable[str]) -> VirtualService:
    """Give a service as if some of its real servers had no weight."""
    gone = set(hosts)
    members = (replace(m, weight=0) if m.host in gone else m for m in service.members)
    return replace(service, members=tuple(members))


def words(found: Resting) -> str:
    """Say who rests and why: `server-2 (down: connection refused)`."""
    return ", ".join(f"{host} ({_why(fact)})" for host, fact in sorted(found.items()))


def _why(fact: OutFact) -> str:
    if fact.reason.startswith(fact.state):
        return fact.reason
    return f"{fact.state}: {fact.reason}" if fact.reason else fact.state
