"""One connection as a ladder: what was seen of it at each stop on its path; pure.

Stops are in the order of the path, and times are each host's own: clocks of different hosts are
never compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from onearm.evidence import Evidence
from onearm.flows import ACK, FIN, RST, SYN, Way
from onearm.kernel.frames import Frame
from onearm.spec import Spec, VirtualService

# What a connection consists of, in its own order: (label, whether it goes back to the client).
TCP = (
    ("SYN", False),
    ("SYN ACK", True),
    ("ACK", False),
    ("data", False),
    ("data", True),
    ("ACK", True),
    ("FIN", True),
    ("FIN", False),
    ("RST", False),
    ("RST", True),
    ("ICMP", True),
    ("ICMP", False),
)
UDP = (("data", False), ("data", True), ("ICMP", True))
# Each must be followed by the next one, or something is missing.
CHAIN = (("SYN", False), ("SYN ACK", True), ("ACK", False))


@dataclass(frozen=True)
class Stop:
    """One link of one host on the path. `frames` 0: not seen; `missing`: it should have been."""

    host: str
    link: str
    outgoing: bool
    source_mac: str = ""
    target_mac: str = ""
    frames: int = 0
    payload: int = 0
    time_s: float = 0.0
    missing: bool = False


@dataclass(frozen=True)
class Rung:
    """Packets of one kind in one direction, with what each stop saw of them."""

    label: str
    back: bool
    stops: tuple[Stop, ...]

    @property
    def missing(self) -> Stop | None:
        """Give the stop where it should have been seen, and was not."""
        return next((stop for stop in self.stops if stop.missing), None)


def label(frame: Frame) -> str:
    """Name what a frame is in its connection."""
    if frame.kind == "icmp":
        return "ICMP"
    if frame.kind != "tcp":
        return "data"
    for name, bits in (("RST", RST), ("SYN ACK", SYN | ACK), ("SYN", SYN)):
        if frame.tcp_flags & bits == bits:
            return name
    if frame.payload:
        return "data"
    return "FIN" if frame.tcp_flags & FIN else "ACK"


@dataclass(frozen=True)
class _Path:
    """The hosts that a connection leads over, and its two ends as frames show them."""

    client: str
    director: str
    server: str
    ends: tuple[tuple[str, int], tuple[str, int]]  # the client's address and port, the VIP's
    links: Mapping[str, str]  # by which each host takes part
    behind: tuple[str, int] | None = None  # the server's own end, where it is behind masq

    def stops(self, *, back: bool, around: bool) -> list[tuple[str, bool]]:
        """List (host, outgoing) in the order of the path."""
        over = [] if around else [(self.director, False), (self.director, True)]
        if back:
            return [(self.server, True), *(over if self.behind else ()), (self.client, False)]
        return [(self.client, True), *over, (self.server, False)]


def ladder(spec: Spec, evidence: Evidence, service: VirtualService, way: Way) -> list[Rung]:
    """Build the ladder of one connection; after a missing stop nothing more is expected."""
    path = _path(spec, evidence, service, way)
    rungs = [_rung(evidence, path, way, kind, back=back) for kind, back in _kinds(service)]
    return list(_until_missing([rung for rung in rungs if rung is not None], path, service))


def server_of(way: Way) -> str:
    """Name the real server that a connection was for, as far as it was seen."""
    found = sorted(way.at_servers) or sorted(way.handed_to)
    return found[0] if found else ""


def _kinds(service: VirtualService) -> Sequence[tuple[str, bool]]:
    return TCP if service.protocol == "tcp" else UDP


def _path(spec: Spec, evidence: Evidence, service: VirtualService, way: Way) -> _Path:
    attempt = way.attempt
    target = attempt.target or service.vip, attempt.target_port or service.port
    ends = ((str(attempt.source), attempt.source_port), (str(target[0]), target[1]))
    director = spec.directors[0].name if spec.directors else ""
    server = server_of(way)
    behind = _behind(spec, service, server, target[1])
    return _Path(way.client, director, server, ends, _links(spec, evidence), behind)


def _behind(spec: Spec, service: VirtualService, server: str, port: int) -> tuple[str, int] | None:
    """Give the address and port that frames of a server behind masq show in place of the VIP's."""
    if service.way(server).method != "masq":
        return None
    version = service.vip.version
    own = next((h.own(version) for h in spec.real_servers if h.name == server), None)
    return (str(own), port if service.ends else service.port_at(server)) if own else None


def _links(spec: Spec, evidence: Evidence) -> dict[str, str]:
    """Name the link that holds each host's own address."""
    found = {}
    for host in (*spec.directors, *spec.real_servers):
        facts = evidence.machines.get(host.name)
        for fact in facts.holds(host.address) if facts else ():
            found[host.name] = fact.link
    return found


def _rung(evidence: Evidence, path: _Path, way: Way, kind: str, *, back: bool) -> Rung | None:
    """Collect what was seen of one kind; None when nobody saw any."""
    around = bool(way.around) and not way.handed_to
    stops = []
    for host, outgoing in path.stops(back=back, around=around):
        if host not in evidence.frames:
            continue
        found = [
            frame
            for frame in evidence.frames[host]
            if _is(frame, path, back=back) and label(frame) == kind
            if frame.outgoing == outgoing and (outgoing or frame.to_us)
        ]
        stops.append(_stop(host, outgoing, found, _start(evidence, path, host)))
    crossing = _crossing(evidence, path, kind) if back and not path.behind else []
    rung = Rung(kind, back, (*stops[:1], *crossing, *stops[1:]))
    return rung if any(stop.frames for stop in rung.stops) else None


def _crossing(evidence: Evidence, path: _Path, kind: str) -> list[Stop]:
    """Show replies at the director too, where they have no business to be."""
    found = [
        f
        for f in evidence.frames.get(path.director, ())
        if _is(f, path, back=True) and label(f) == kind
    ]
    start = _start(evidence, path, path.director)
    stops = []
    for outgoing in (False, True):
        mine = [f for f in found if f.outgoing == outgoing and (outgoing or f.to_us)]
        stops += [_stop(path.director, outgoing, mine, start)] if mine else []
    return stops


def _is(frame: Frame, path: _Path, *, back: bool) -> bool:
    client, vip = path.ends
    source, target = (frame.source, frame.source_port), (frame.target, frame.target_port)
    if path.behind in (source, target):
        vip = path.behind
    if frame.kind == "icmp":  # an error has the ports of its flow, and a router's own address
        ports = (frame.source_port, frame.target_port)
        return ports == (vip[1], client[1]) if back else ports == (client[1], vip[1])
    return (source, target) == ((vip, client) if back else (client, vip))


def _start(evidence: Evidence, path: _Path, host: str) -> float:
    """Give the time of the first frame of the connection at a host."""
    seen = evidence.frames.get(host, ())
    times = [f.time_s for f in seen if _is(f, path, back=False) or _is(f, path, back=True)]
    return min(times, default=0.0)


def _stop(host: str, outgoing: bool, found: Sequence[Frame], start: float) -> Stop:  # noqa: FBT001
    if not found:
        return Stop(host, "", outgoing=outgoing)
    # A VLAN, bond or bridge shows a frame on each of its links: the first one is counted.
    first = found[0]
    same = [f for f in found if f.link == first.link]
    return Stop(
        host,
        first.link,
        outgoing,
        first.source_mac,
        first.target_mac,
        len(same),
        sum(f.payload for f in same),
        max(first.time_s - start, 0.0),
    )


def _until_missing(rungs: Sequence[Rung], path: _Path, service: VirtualService) -> Iterator[Rung]:
    """Mark the first stop that is missing."""
    told = False
    for rung in rungs:
        gap = None if told else _gap(rung, path)
        if gap is None:
            yield replace(rung, stops=tuple(s for s in rung.stops if s.frames))
        else:
            told = True
            yield replace(rung, stops=gap)
    if not told:
        yield from _never_began(rungs, path, service)


def _gap(rung: Rung, path: _Path) -> tuple[Stop, ...] | None:
    """Give the stops up to the first that was not seen, marked; None when all of them were."""
    for n, stop in enumerate(rung.stops):
        if not stop.frames and any(s.frames for s in rung.stops[:n]):
            return (
                *rung.stops[:n],
                replace(stop, link=path.links.get(stop.host, ""), missing=True),
            )
    return None


def _never_began(rungs: Sequence[Rung], path: _Path, service: VirtualService) -> Iterator[Rung]:
    """Say which packet should have come next and was sent by nobody."""
    seen = {(rung.label, rung.back) for rung in rungs}
    if any(name in {"RST", "ICMP"} for name, _ in seen):
        return  # that was the answer
    chain = CHAIN if service.protocol == "tcp" else ()
    lacking = [step for step in chain if step not in seen]
    if not lacking and ("data", False) in seen and ("data", True) not in seen:
        lacking = [("data", True)]
    for name, back in lacking[:1]:
        host = path.server if back else path.client
        if host:
            stop = Stop(host, path.links.get(host, ""), outgoing=True, missing=True)
            yield Rung(name, back, (stop,))
