"""`onearm trace`: one connection, followed through every host, printed as a ladder."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from onearm import planfile, wire
from onearm import spec as spec_module
from onearm.doctor.gather import LARGE_BYTES, LARGE_REQUEST, Gathering
from onearm.doctor.observations import Observations
from onearm.doctor.rank import Diagnosis, Named, diagnose
from onearm.errors import UsageError
from onearm.finding import CRITICAL, ERROR, NOTE
from onearm.flows import Way
from onearm.ladder import Rung, Stop, ladder, server_of
from onearm.model import endpoint
from onearm.render import SEVERITIES, indented, screen
from onearm.report import reached
from onearm.resting import words
from onearm.session import Session
from onearm.spec import Spec, VirtualService
from onearm.verify import about

FINE, DIFFERS = 0, 5
FIRST, MORE = 1, 32  # connections per client: one, and with --via what it takes to hit the server


@dataclass(frozen=True)
class Trace:
    """One traced connection; without a `way` there was none to follow."""

    service: VirtualService
    observed: Observations
    found: Diagnosis
    way: Way | None
    rungs: tuple[Rung, ...]

    @property
    def matching(self) -> list[Named]:
        """Give the findings that have to do with this connection's real server."""
        server = server_of(self.way) if self.way else ""
        return [
            one
            for one in self.found.named
            if one.finding.severity != NOTE
            and (not server or not one.touches or server in one.touches)
        ]

    @property
    def code(self) -> int:
        """A server that was never hit proves nothing, so it is no success either."""
        whole = self.way is not None and not any(rung.missing for rung in self.rungs)
        wrong = any(one.finding.severity in (CRITICAL, ERROR) for one in self.matching)
        return FINE if whole and not wrong else DIFFERS


def trace_command(
    path: Path,
    *,
    service: str | None,
    clients: Sequence[str],
    via: str | None,
    request: str | None,
    as_json: bool,
) -> int:
    """Follow one connection; 5 when it is missing somewhere or anything is wrong with it."""
    spec = spec_module.load(path)
    chosen = _service(spec, service)
    _check_via(chosen, via)
    observed, found = _examine(spec, chosen, clients, via, request)
    way = _chosen_way(observed, via)
    seen = observed.evidence
    rungs = tuple(ladder(spec, seen, chosen, way)) if way and seen else ()
    traced = Trace(chosen, observed, found, way, rungs)
    if as_json:
        sys.stdout.write(json.dumps(_data(traced), indent=1) + "\n")
    else:
        _show(screen(), traced, via)
    return traced.code


def _service(spec: Spec, wanted: str | None) -> VirtualService:
    names = {about(service): service for service in spec.services}
    if wanted is None and len(names) == 1:
        return spec.services[0]
    if wanted not in names:
        said = f"--service {wanted}" if wanted else "--service is missing"
        raise UsageError(f"{said}: the spec has {', '.join(names) or 'no service'}: name one")
    return names[wanted]


def _check_via(service: VirtualService, via: str | None) -> None:
    members = [member.host for member in service.members]
    if via is not None and via not in members:
        raise UsageError(f"--via {via}: {about(service)} has {', '.join(members)}: name one")


def _examine(
    spec: Spec, service: VirtualService, clients: Sequence[str], via: str | None, asked: str | None
) -> tuple[Observations, Diagnosis]:
    """Try until the wanted server was hit, at most twice; the rest is as in a diagnosis."""
    lab = spec.reach.default == "lab"
    request, size = (LARGE_REQUEST, LARGE_BYTES) if lab else (b"", 0)
    if asked is not None:
        request, size = asked.encode().decode("unicode_escape").encode("latin-1"), 0
    by = reached(spec, clients)
    narrow = replace(spec, services=(service,))
    first = dict(list(by.items())[:1])
    with Session(narrow, ask_drops=True) as session:
        session.open()
        for limit in (FIRST, MORE):
            gathering = Gathering(session, first, request, size, limit=limit)
            observed, _ = gathering.observe()
            if via is None or _chosen_way(observed, via) is not None or observed.untried:
                break
    return observed, diagnose(observed)


def _chosen_way(o: Observations, via: str | None) -> Way | None:
    ways = [way for case in o.cases for way in case.ways]
    if via is not None:
        ways = [way for way in ways if via in way.at_servers | way.handed_to]
    return ways[0] if ways else None


def _show(console: Console, traced: Trace, via: str | None) -> None:
    o, way = traced.observed, traced.way
    if way is None:
        tried = sum(len(case.ways) for case in o.cases)
        why = f"{via} was not hit in {tried} connections" if tried else "no connection was possible"
        indented(console, Text(why + _rest(traced, via), "bold yellow"), 0)
    else:
        source = endpoint(way.attempt.source, way.attempt.source_port)
        by = f" by {server}" if (server := server_of(way)) else ""
        console.print(Text(f"{about(traced.service)} from {way.client} {source}{by}", "bold"))
        console.print(Text(f"{'ms':>8}  {'host':<10} {'link':<6} way from MAC > to MAC", "dim"))
        for rung in traced.rungs:
            _rung(console, o, rung)
        console.print(Text(_result(way), "dim"))
    for one in traced.matching:
        _finding(console, one)


def _rest(traced: Trace, via: str | None) -> str:
    """Say so where the wanted server is not in rotation: then it cannot be hit."""
    told = traced.observed.resting(traced.service)
    found = {host: fact for host, fact in told.items() if host == via}
    return f": out of rotation: {words(found)}" if found else ""


def _rung(console: Console, o: Observations, rung: Rung) -> None:
    """Print one kind of packet; how many there were at each stop, where stops differ in that."""
    counts = {_count(stop) for stop in rung.stops if not stop.missing}
    same = len(counts) == 1
    head = f" {'<-' if rung.back else '->'} {rung.label}{counts.pop() if same else ''}"
    console.print(Text(head, "bold"))
    for stop in rung.stops:
        console.print(_stop(o, stop, counted=not same))


def _count(stop: Stop) -> str:
    count = f" x{stop.frames}" if stop.frames > 1 else ""
    return f"{count} {stop.payload} B" if stop.payload else count


def _stop(o: Observations, stop: Stop, *, counted: bool) -> Text:
    way = "out" if stop.outgoing else "in"
    where = f"{stop.host:<10.10} {stop.link:<6.6} {way:<3}"
    if stop.missing:
        return Text.assemble(f"{'':>8}  {where}  ", ("expected here, not seen", "bold red"))
    macs = f"{stop.source_mac} > {stop.target_mac}"
    name = o.names.by_mac.get(stop.target_mac, "") if stop.outgoing else ""
    tail = _count(stop) if counted else f" {name:.11}"
    return Text.assemble(f"{stop.time_s * 1000:>8.1f}  {where} ", (macs, "dim"), tail.rstrip())


def _result(way: Way) -> str:
    attempt = way.attempt
    size = f", {attempt.received} bytes" if attempt.received else ""
    whole = ", to its end" if attempt.complete else ""
    return f"the client saw: {attempt.result}{size}{whole}"


def _finding(console: Console, one: Named) -> None:
    found = one.finding
    head = Text.assemble((found.severity, SEVERITIES[found.severity]), f" {found.id}: ", found.said)
    indented(console, head, 0)
    indented(console, Text.assemble(("cure: ", "dim"), found.cure), 2)


def _data(traced: Trace) -> dict[str, Any]:
    way = traced.way
    return {
        **planfile.header("trace"),
        "name": traced.observed.spec.name,
        "service": about(traced.service),
        "attempt": wire.encode(way.attempt) if way else None,
        "client": way.client if way else None,
        "server": server_of(way) if way else None,
        "rungs": [_plain(rung) for rung in traced.rungs],
        "findings": [one.finding.id for one in traced.matching],
        "exit_code": traced.code,
    }


def _plain(rung: Rung) -> dict[str, Any]:
    stops = [{name: getattr(s, name) for name in s.__dataclass_fields__} for s in rung.stops]
    return {"label": rung.label, "back": rung.back, "stops": stops}
