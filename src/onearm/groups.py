"""Groups: endpoints that share one service by a firewall mark, and which mark that is; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from onearm.facts import HostFacts
from onearm.model import GROUP_MARKS, Destination, Key, MarkRule, Service
from onearm.spec import End, Spec, VirtualService

Marks = Mapping[Key, int]  # by the service's key in the spec


def allocate(spec: Spec, host: HostFacts) -> dict[Key, int]:
    """Give each group of the spec its mark on a host.

    It is the one that the ledger tells of, so that it stays what it is. Where the ledger was lost
    the rule that stands for the group's first endpoint still tells; else it is the lowest that
    nobody uses, in the kernel or in the ledger.
    """
    grouped = [service for service in spec.services if service.ends]
    if not grouped:
        return {}
    noted = {r.key[:3]: r.mark for r in _marked(host) if isinstance(r, Service) and r.mark}
    standing = {rule.key: rule.mark for rule in host.mark_rules if rule.mark in GROUP_MARKS}
    found = {service.key: noted[service.key] for service in grouped if service.key in noted}
    for service in grouped:
        first = service.ends[0]
        mark = standing.get((service.protocol, first.vip, first.port, first.last))
        if service.key not in found and mark and mark not in {*found.values(), *noted.values()}:
            found[service.key] = mark
    taken = {*found.values(), *_used(host)}
    free = (mark for mark in GROUP_MARKS if mark not in taken)
    for service in grouped:
        if service.key not in found:
            found[service.key] = next(free)
    return found


def _marked(host: HostFacts) -> Iterator[object]:
    return (mark.resource for mark in host.marks)


def _used(host: HostFacts) -> set[int]:
    """List the marks that somebody has a use for."""
    found = {service.fwmark for service in host.services}
    found |= {rule.mark for rule in host.mark_rules}
    return found | {r.mark for r in _marked(host) if isinstance(r, (Service, MarkRule))}


def rules(spec: Spec, marks: Marks) -> Iterator[MarkRule]:
    """List the rules that set the marks: one for each endpoint of a group."""
    for service in spec.services:
        yield from of_service(service, known(service, marks))


def of_service(service: VirtualService, mark: int) -> Iterator[MarkRule]:
    """List the rules of one service; none of one that is no group."""
    protocol, ends = service.protocol, service.ends
    return (MarkRule(protocol, end.vip, end.port, end.last, mark) for end in ends)


def left_rules(
    spec: Spec, host: HostFacts, kept: Iterable[Destination]
) -> dict[Key, list[MarkRule]]:
    """List the rules of groups that left the spec and drain, by the service's key.

    As long as it drains, such a service answers as any other that drains, on all its endpoints.
    """
    services = {gone.mark: gone.service_key for gone in kept if gone.mark}
    found: dict[Key, list[MarkRule]] = {}
    for mark in host.marks if services else ():
        rule = mark.resource
        if isinstance(rule, MarkRule) and spec.name in mark.names and rule.mark in services:
            found.setdefault(services[rule.mark], []).append(rule)
    return found


def ends_of(rules_: Iterable[MarkRule]) -> tuple[End, ...]:
    """Give the endpoints that rules are for."""
    return tuple(End(rule.vip, rule.port, rule.last) for rule in rules_)


def known(service: VirtualService, marks: Marks) -> int:
    """Give the mark of a service; 0 for one that is no group."""
    return marks.get(service.key, 0)
