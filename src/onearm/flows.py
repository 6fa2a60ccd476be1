"""Which way each connection went: attempts matched with the frames of every host; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from onearm.evidence import Evidence, Trial
from onearm.facts import HostFacts
from onearm.kernel.frames import Frame
from onearm.spec import Spec
from onearm.traffic import Attempt

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10  # RFC 9293 §3.1
Flow = tuple[str, int]  # the client's address and port


@dataclass
class Way:
    """One connection on its way: what each host saw of it. MACs where a choice was made."""

    attempt: Attempt
    client: str
    at_director: bool = False
    handed_to: set[str] = field(default_factory=set)  # hosts, by the MAC the director chose
    at_servers: set[str] = field(default_factory=set)
    by_director: set[str] = field(default_factory=set)  # servers that got it from the director
    around: set[str] = field(default_factory=set)  # servers that got it from somebody else
    followed: set[str] = field(default_factory=set)  # servers that got what followed the SYN
    answered: set[str] = field(default_factory=set)
    reset: set[str] = field(default_factory=set)
    unreachable: set[str] = field(default_factory=set)  # servers that sent an ICMP error
    replies: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    crossed: int = 0  # replies seen on the director
    director_answered: bool = False  # the director itself answered: no service took it

    @property
    def arrived(self) -> bool:
        """Say whether the client got something back."""
        return self.attempt.result in ("connected", "answered")


@dataclass
class Names:
    """From MACs to the names of machines."""

    by_mac: dict[str, str]

    @classmethod
    def of(cls, machines: Mapping[str, HostFacts]) -> Names:
        """Collect the MACs of all machines of which there are facts."""
        return cls({link.mac: n for n, f in machines.items() for link in f.links if link.mac})

    def name(self, mac: str) -> str:
        """Name the machine behind a MAC, or the MAC when it is nobody's we know."""
        found = self.by_mac.get(mac)
        return f"{found} ({mac})" if found else mac

    def macs(self, machine: str) -> set[str]:
        """List the MACs of a machine."""
        return {mac for mac, name in self.by_mac.items() if name == machine}


def ways(spec: Spec, evidence: Evidence, trials: list[Trial], names: Names) -> list[Way]:
    """Match the attempts at one service with the frames that the hosts saw."""
    found: dict[Flow, Way] = {}
    for trial in trials:
        for attempt in trial.attempts:
            found[(str(attempt.source), attempt.source_port)] = Way(attempt, trial.client)
    if not trials:
        return []
    service = trials[0].service
    directors = {d.name for d in spec.directors}
    servers = {s.name for s in spec.real_servers}
    near = {mac for d in directors for mac in names.macs(d)}
    end = (str(service.vip), service.port)
    for host in directors | servers:
        for frame in evidence.frames.get(host, []):
            if frame.kind not in (service.protocol, "icmp"):
                continue
            way, back = _way(found, frame, end)
            if way is None:
                continue
            if host in directors:
                _at_director(way, frame, names, back=back)
            else:
                _at_server(way, frame, host, near, back=back)
    return list(found.values())


def _way(found: dict[Flow, Way], frame: Frame, end: tuple[str, int]) -> tuple[Way | None, bool]:
    if (frame.target, frame.target_port) == end and frame.kind != "icmp":
        return found.get((frame.source, frame.source_port)), False
    if (frame.source, frame.source_port) == end:
        return found.get((frame.target, frame.target_port)), True
    if frame.kind == "icmp" and frame.source == end[0] and frame.outgoing:
        return _by_address(found, frame.target), True
    return None, False


def _by_address(found: dict[Flow, Way], address: str) -> Way | None:
    """Find a way by the client's address alone: an ICMP error's head does not show more here."""
    return next((way for (source, _), way in found.items() if source == address), None)


def _at_director(way: Way, frame: Frame, names: Names, *, back: bool) -> None:
    if back and frame.outgoing and not way.crossed:
        way.director_answered = True
    elif back and (frame.to_us or frame.outgoing):
        way.crossed += not frame.outgoing
    elif not back and frame.outgoing:
        way.handed_to.add(names.by_mac.get(frame.target_mac, frame.target_mac))
    elif not back and frame.to_us:
        way.at_director = True


def _at_server(way: Way, frame: Frame, host: str, near: set[str], *, back: bool) -> None:
    if frame.kind == "icmp":
        way.unreachable.add(host)
    elif back and frame.outgoing:
        way.replies[(host, frame.target_mac)] += 1
        if frame.kind == "tcp" and frame.tcp_flags & RST:
            way.reset.add(host)
        elif frame.kind != "tcp" or frame.tcp_flags & SYN:
            way.answered.add(host)
    elif not back and not frame.outgoing and frame.to_us:
        way.at_servers.add(host)
        (way.by_director if frame.source_mac in near else way.around).add(host)
        if frame.kind == "tcp" and not frame.tcp_flags & SYN:
            way.followed.add(host)


def strangers(
    spec: Spec, evidence: Evidence, trials: list[Trial]
) -> dict[tuple[str, str], set[int]]:
    """List (server, source) of packets to the service that use our ports but not our addresses."""
    ours = {(str(a.source), a.source_port) for t in trials for a in t.attempts}
    ports = {port for _, port in ours}
    service = trials[0].service
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for server in spec.real_servers:
        for frame in evidence.frames.get(server.name, []):
            to_service = (frame.target, frame.target_port) == (str(service.vip), service.port)
            flow = (frame.source, frame.source_port)
            if to_service and not frame.outgoing and flow not in ours and flow[1] in ports:
                found[(server.name, frame.source)].add(frame.source_port)
    return found
