"""What traffic proves of tunnels and of masq: encapsulated there, back over the director; pure."""

from __future__ import annotations

from collections import Counter

from onearm.case import Case
from onearm.flows import Way
from onearm.verdicts import FAIL, PASS, UNPROVED

Judgement = tuple[str, ...]


def hosts_by(case: Case, *methods: str) -> list[str]:
    """List the real servers of a service that are reached by one of these methods."""
    return [host for host in case.service.hosts if case.service.way(host).method in methods]


def ways_to(case: Case, some: list[str]) -> list[Way]:
    """List the connections that were handed to some of the real servers, or came to them."""
    wanted = set(some)
    return [way for way in case.ways if wanted & (way.handed_to | way.at_servers)]


def encapsulated(case: Case) -> Judgement:
    """Judge whether the director sends in the tunnel that is wanted, to the server's own address;
    nothing is said of a service without tunnels.
    """
    some = hosts_by(case, "tunnel")
    if not some:
        return ()
    if case.director_blind:
        return UNPROVED, f"{case.director_blind} could not be watched"
    handed = [(way, host) for way in ways_to(case, some) for host in some if host in way.handed_to]
    wrong = Counter(_wrong(case, way, host) for way, host in handed)
    told = [f"{n} to {text}" for text, n in sorted(wrong.items()) if text]
    if told:
        return (FAIL, *told)
    unseen = [host for host in some if host in case.wanted and not case.handed[host]]
    if unseen or not handed:
        return UNPROVED, f"nothing was sent to {', '.join(unseen) or 'any of them'}"
    shown = Counter(
        f"{way.wrapped[host][0]} to {host} ({way.wrapped[host][1]})" for way, host in handed
    )
    text = f"{len(handed)} connections went in the tunnel to the real servers' own addresses"
    return (PASS, text, *(f"{what}: {n} connections" for what, n in sorted(shown.items())))


def _wrong(case: Case, way: Way, host: str) -> str:
    wanted = case.service.way(host).tunnel
    if host not in way.wrapped:
        return f"{host} went in no tunnel"
    kind = way.wrapped[host][0]
    return "" if kind == wanted else f"{host} went in {kind}, not in {wanted}"


def reply_through_director(case: Case) -> Judgement:
    """Judge whether replies from behind masq cross the director and leave it in the VIP's name;
    nothing is said of a service without masq.
    """
    some = hosts_by(case, "masq")
    if not some:
        return ()
    ways = [way for way in ways_to(case, some) if way.answered & set(some) or way.returned]
    if case.director_blind:
        return UNPROVED, f"{case.director_blind} could not be watched"
    fault = _fault(case, ways)
    if fault:
        return FAIL, fault
    if not ways:
        return UNPROVED, "no reply was seen"
    replies = sum(max(way.returned.values()) for way in ways)
    return PASS, f"{replies} replies crossed the director and left it as {case.service.vip}"


def _fault(case: Case, ways: list[Way]) -> str:
    past = [way for way in ways if not way.returned]
    if past:
        return f"{_gone_past(case, past)}: behind masq the way back leads over the director"
    raw = [way for way in ways if way.untranslated]
    if raw:
        return f"{len(raw)} crossed the director in the real server's own name, untranslated"
    lost = [way for way in ways if not way.translated]
    if lost:
        return f"replies of {len(lost)} came to the director and did not leave it"
    silent = [way for way in ways if case.watched(way.client) and not way.came_back]
    return f"{len(silent)} left the director and never reached the client" if silent else ""


def _gone_past(case: Case, past: list[Way]) -> str:
    sent = {(host, mac) for way in past for host, mac in way.sent()}
    shown = ", ".join(f"{host} -> {case.names.name(mac)}" for host, mac in sorted(sent))
    return f"replies of {len(past)} connections went past the director ({shown or 'not seen'})"
