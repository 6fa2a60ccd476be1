"""What traffic proves of a group: each endpoint is served, and one client by one server; pure."""

from __future__ import annotations

from collections import Counter, defaultdict

from onearm import schedule
from onearm.case import Case
from onearm.flows import Way
from onearm.model import Address, Network, endpoint
from onearm.verdicts import FAIL, PASS, UNPROVED

Judgement = tuple[str, ...]
End = tuple[Address, int]


def end_of(case: Case, way: Way) -> End:
    """Give the endpoint that a connection was for."""
    attempt = way.attempt
    return attempt.target or case.service.vip, attempt.target_port or case.service.port


def every_endpoint(case: Case) -> Judgement:
    """Judge whether connections to each endpoint of a group are handed on; of a range its first and
    its last port are tried. Nothing is said of a service that is no group.
    """
    if not case.service.ends:
        return ()
    if not case.ways or case.director_blind:
        why = f"{case.director_blind} could not be watched" if case.ways else "no connection"
        return UNPROVED, f"{why}: nothing is known of the endpoints"
    tried: dict[End, list[Way]] = {end: [] for end in schedule.ends(case.service)}
    for way in case.ways:
        tried.setdefault(end_of(case, way), []).append(way)
    lost = [_lost(end, ways) for end, ways in tried.items() if not _handed(ways)]
    if lost:
        if any(not tried[end] for end in tried):
            return (UNPROVED, *lost)
        return (FAIL, *lost)
    shown = ", ".join(f"{endpoint(*end)} {_handed(ways)}" for end, ways in tried.items())
    return PASS, f"connections to all {len(tried)} were handed on: {shown}"


def _handed(ways: list[Way]) -> int:
    return sum(bool(way.handed_to) for way in ways)


def _lost(end: End, ways: list[Way]) -> str:
    seen = Counter(way.attempt.result for way in ways)
    saw = ", ".join(f"{number} {result}" for result, number in seen.items()) or "none was tried"
    return (
        f"{endpoint(*end)}: none of {len(ways)} connections was handed on (the client saw: {saw})"
    )


def one_server(case: Case) -> Judgement:
    """Judge whether a client gets one server at all endpoints of a group; nothing is said of one
    without persistence, or of one that knows calls instead of clients.
    """
    service = case.service
    if not service.ends or not service.persistence_s or service.engine:
        return ()
    chosen: dict[Network, dict[str, set[End]]] = defaultdict(lambda: defaultdict(set))
    for way in case.ways:
        for host in way.handed_to:
            client = schedule.one_client(service, way.attempt.source)
            chosen[client][host].add(end_of(case, way))
    torn = {client: hosts for client, hosts in chosen.items() if len(hosts) > 1}
    if torn:
        return (FAIL, *(f"{client} got {_where(hosts)}" for client, hosts in torn.items()))
    several = [ends for hosts in chosen.values() for ends in hosts.values() if len(ends) > 1]
    if not several:
        return UNPROVED, "no client was seen at two endpoints"
    most = max(map(len, several))
    return PASS, f"each of {len(several)} clients got one real server at up to {most} endpoints"


def _where(hosts: dict[str, set[End]]) -> str:
    return " and ".join(
        f"{host} at {', '.join(sorted(endpoint(*end) for end in ends))}"
        for host, ends in sorted(hosts.items())
    )
