"""Who is out of rotation, by a director's daemon or by hand, and the daemon itself; rules, pure."""

from __future__ import annotations

from collections.abc import Iterator

from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.facts import HostFacts, OutFact
from onearm.model import CheckMark, endpoint
from onearm.resting import held, partly, words
from onearm.snapshot import DOWN, DRAINED, DRAINING, ISOLATED, UNKNOWN
from onearm.spec import Host, VirtualService
from onearm.verify import about

Found = tuple[Host, VirtualService, OutFact]


def _told(o: Observations, *states: str) -> Iterator[Found]:
    """List the destinations in some states, each with the director that says so."""
    for director, _ in o.directors:
        for service in o.spec.services:
            for _, fact in sorted(o.resting(service).items()):
                if fact.state in states:
                    yield director, service, fact


def _clue(  # noqa: PLR0917 - as a clue has them
    service: VirtualService, fact: OutFact, title: str, expected: str, cause: str, cure: str
) -> Clue:
    """Say something of one real server in one service."""
    where = about(service)
    return Clue(fact.host, title, expected, cause, cure, about=where, touches=(fact.host,))


def _runs(o: Observations, facts: HostFacts) -> bool:
    return facts.daemon is not None and facts.daemon.name == o.spec.name


def down(o: Observations) -> Iterator[Clue]:
    """Find real servers that fail their checks."""
    for director, service, fact in _told(o, DOWN):
        if fact.reason.startswith(ISOLATED):
            continue
        served = "is served all the same" if fact.weight else "is out of rotation"
        until = "" if fact.weight else "; no new connection goes there until checks end well again"
        yield _clue(
            service,
            fact,
            f"{fact.host} {served} in {about(service)}: it fails the checks of {director.name}",
            "checks that end well",
            f"the daemon says: {fact.reason}{until}",
            f"see what keeps {fact.host} from answering at {endpoint(service.vip, service.port)}"
            " (ss -lntu; its log); it comes back by itself. If the check asks for what it never"
            " had, correct `check` in the spec",
        )


def isolated(o: Observations) -> Iterator[Clue]:
    """Find real servers that are out because they answer for a VIP."""
    for director, service, fact in _told(o, DOWN):
        if fact.reason.startswith(ISOLATED):
            yield _clue(
                service,
                fact,
                f"{fact.host} is out of rotation in {about(service)}, by `isolate` in the spec",
                "silence in ARP for every VIP",
                f"the daemon says: {fact.reason}",
                f"silence it there; it comes back when {director.name} hears it no more",
            )


def none_left(o: Observations) -> Iterator[Clue]:
    """Find services all of whose real servers are out of rotation."""
    for director, _ in o.directors:
        for service in o.spec.services:
            found = o.resting(service)
            out = held(service, found)
            wanted = {member.host for member in service.members if member.weight}
            if out and wanted == out.keys() and not partly(service, found):
                yield Clue(
                    director.name,
                    f"nobody is in rotation for {about(service)}: {words(out)}",
                    "at least one real server that is up and not drained",
                    "no real server may be chosen, so the director refuses connections",
                    "cure what takes them out; `panic`, or a `sorry` server, in the spec serves"
                    " clients even then",
                    about=about(service),
                )


def drained(o: Observations) -> Iterator[Clue]:
    """Note real servers that somebody took out by hand."""
    for director, service, fact in _told(o, DRAINING, DRAINED):
        runs = _runs(o, o.facts[director.name])
        first = "" if runs else f"start `onearm director SPEC` on {director.name}, then "
        yield _clue(
            service,
            fact,
            f"{fact.host} gets no new connections of {about(service)}: it is {fact.state} by hand",
            "",
            fact.reason if fact.state == DRAINING else "",
            f"{first}`onearm undrain {fact.host} --spec SPEC`, when it may serve again",
        )


def unknown(o: Observations) -> Iterator[Clue]:
    """Note real servers that wait for their first good check."""
    for director, service, fact in _told(o, UNKNOWN):
        if not fact.weight:
            yield _clue(
                service,
                fact,
                f"{fact.host} waits for its first good check in {about(service)}",
                "",
                f"the daemon says: {fact.reason}",
                f"look again when the checks of {director.name} had their time",
            )


def daemon_dead(o: Observations) -> Iterator[Clue]:
    """Find what a daemon leaves only when it was killed: the ways of its checks."""
    for director, facts in o.directors:
        ours = [m.resource for m in facts.marks if o.spec.name in m.names]
        left = [r for r in ours if isinstance(r, CheckMark)]
        if left and not _runs(o, facts):
            marks = ", ".join(f"{mark.mark:#x}" for mark in left[:3])
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""  # noqa: PLR2004
            yield Clue(
                director.name,
                f"the daemon of {o.spec.name!r} runs no more; its check marks {marks}{more} stand",
                "a daemon that runs, or one that ended in order and took them away",
                "it was killed, or it crashed: nobody checks, who was out stays out, weights that"
                " grew stand still, and drift is not healed",
                f"start it on {director.name} again (`onearm director SPEC`, or its systemd unit):"
                " it goes on where it was; or `onearm apply SPEC`, to do without one",
            )
