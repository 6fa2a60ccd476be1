"""Which destinations that are no longer wanted may still keep their connections; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from onearm.facts import DestinationFact, Facts, HostFacts
from onearm.groups import Marks, allocate, known
from onearm.model import STREAMS, Action, Destination, Key, Mark, Service
from onearm.spec import Spec, VirtualService, servers_of
from onearm.ways import destination_key, own_port

LONGEST_S = 24 * 3600  # as in a spec; a mark that says more was not written by us


def live(protocol: str, fact: DestinationFact) -> int:
    """Count the connections that a removal would cut.

    TCP and SCTP: those established. UDP knows no end, so every entry counts until the kernel's own
    timeout (300 s by default) removes it.
    """
    return fact.active if protocol in STREAMS else fact.active + fact.inactive


def wanted_keys(spec: Spec, marks: Marks) -> set[Key]:
    """List the keys of all destinations in the spec; `marks` are those of its groups."""
    servers = {version: servers_of(spec, version) for version in spec.versions}
    return {
        destination_key(service, member.host, near[member.host], known(service, marks))
        for service in spec.services
        for near in [servers[service.vip.version]]
        for member in service.members
    }


def draining(
    spec: Spec, facts: Facts, now: datetime
) -> dict[str, list[tuple[Service, Destination]]]:
    """List, by director, the marked destinations to keep at weight 0, each with its service.

    A destination drains while it has connections and until its service's deadline; the deadline of
    a service that left the spec is the one in its mark.
    """
    found: dict[str, list[tuple[Service, Destination]]] = {}
    patient = [place for place, host in facts.items() if _patient(spec, host)]
    for place in patient:
        host = facts[place]
        marks = allocate(spec, host)
        wanted = wanted_keys(spec, marks)
        for mark in _ours(host, spec.name, Destination):
            if isinstance(mark.resource, Destination) and mark.resource.key not in wanted:
                kept = _keep(spec, host, mark.resource, now, marks)
                if kept:
                    found.setdefault(place, []).append(kept)
    return found


def _patient(spec: Spec, host: HostFacts) -> bool:
    """Say whether any service, of the spec or of a mark, lets its connections end."""
    marked = (mark.resource for mark in _ours(host, spec.name, Service))
    return any(service.drain_s > 0 for service in spec.services) or any(
        isinstance(resource, Service) and resource.drain_s > 0 for resource in marked
    )


def _ours(host: HostFacts, name: str, kind: type) -> Iterator[Mark]:
    return (mark for mark in host.marks_of(kind) if name in mark.names)


def _keep(
    spec: Spec, host: HostFacts, gone: Destination, now: datetime, of_groups: Marks
) -> tuple[Service, Destination] | None:
    service = _service_of(spec, host, gone, of_groups)
    fact = destination_fact(host, gone)
    if service is None or fact is None or service.drain_s <= 0:
        return None
    since = _since(gone, now)
    patience = timedelta(seconds=min(service.drain_s, LONGEST_S))
    if not live(gone.protocol, fact) or now >= since + patience:
        return None
    return service, replace(gone, weight=0, draining_since=since.isoformat())


def _since(gone: Destination, now: datetime) -> datetime:
    """Read when draining began; what is no such moment, by whoever wrote the mark, is now."""
    try:
        since = datetime.fromisoformat(gone.draining_since or "")
        return since if abs(since - now) < timedelta(days=365) else now
    except (ValueError, TypeError):  # TypeError: a time without its zone
        return now


def _service_of(spec: Spec, host: HostFacts, gone: Destination, of_groups: Marks) -> Service | None:
    for service in spec.services:
        if service.key == gone.service_key[:3] and known(service, of_groups) == gone.mark:
            return service_resource(service, gone.mark)
    marks = (mark.resource for mark in _ours(host, spec.name, Service))
    return next((r for r in marks if isinstance(r, Service) and r.key == gone.service_key), None)


def service_resource(service: VirtualService, mark: int = 0) -> Service:
    """Turn a service of the spec into the kernel's; a group has a `mark`."""
    return Service(
        protocol=service.protocol,
        vip=service.vip,
        port=service.port,
        scheduler=service.scheduler,
        flags=tuple(sorted(service.flags)),
        drain_s=service.drain_s,
        persistence_s=service.persistence_s,
        persistence_mask=service.persistence_mask,
        engine=service.engine,
        mark=mark,
    )


def destination_fact(host: HostFacts, wanted: Destination) -> DestinationFact | None:
    """Find a destination among the kernel's figures."""
    for service in host.services:
        if service.key == wanted.service_key:
            for fact in service.destinations:
                if (fact.server, fact.port) == (wanted.server, wanted.server_port):
                    return fact
    return None


def connections_cut(plan: Iterable[Action], facts: Facts) -> dict[Action, int]:
    """Count the connections that each action would cut; those without any are left out."""
    gone = [a for a in plan if a.after is None and isinstance(a.before, Destination)]
    live_at = {place: _live(facts[place]) for place in {a.place for a in gone} & facts.keys()}
    counted = {a: live_at.get(a.place, {}).get(a.resource.key, 0) for a in gone}
    return {action: number for action, number in counted.items() if number}


def _live(host: HostFacts) -> dict[Key, int]:
    """Count the connections of each destination that has any."""
    return {
        (*key, fact.server, *own_port(fact.port, service)): number
        for service in host.services
        for key in [service.key]
        for fact in service.destinations
        if (number := live(service.protocol, fact))
    }
