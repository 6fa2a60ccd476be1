"""Which way each connection went: attempts matched with the frames of every host; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from onearm.evidence import Evidence, Trial
from onearm.facts import HostFacts
from onearm.kernel.frames import Frame
from onearm.model import PROBE_PORTS, STREAMS
from onearm.spec import Spec, VirtualService, names_of
from onearm.traffic import Attempt

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10  # RFC 9293 §3.1
Flow = tuple[str, int]  # the client's address and port
MOST_LIKELY = 2  # connections from one address with ports of ours: no coincidence


@dataclass
class Way:
    """One connection on its way: what each host saw of it. MACs where a choice was made.

    Frames are counted by link: a VLAN, bond or bridge shows the same frame once more.
    """

    attempt: Attempt
    client: str
    seen_as: set[str] = field(default_factory=set)  # addresses that stood in for the client's
    at_director: bool = False
    data_at_director: bool = False  # what followed the SYN came to the director
    director_said: set[str] = field(default_factory=set)  # reset, icmp or answer: its own
    handed_to: set[str] = field(default_factory=set)  # hosts, by the MAC the director chose
    at_servers: set[str] = field(default_factory=set)
    by_director: set[str] = field(default_factory=set)  # servers that got it from the director
    around: set[str] = field(default_factory=set)  # servers that got it from somebody else
    followed: set[str] = field(default_factory=set)  # servers that got what followed the SYN
    answered: set[str] = field(default_factory=set)
    sent_data: set[str] = field(default_factory=set)  # servers that sent more than a SYN-ACK
    reset: set[str] = field(default_factory=set)
    unreachable: set[str] = field(default_factory=set)  # servers that sent an ICMP error
    replies: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    crossing: Counter[str] = field(default_factory=Counter)  # replies that came to the director
    came_back: bool = False  # the client's host saw a reply
    wrapped: dict[str, tuple[str, str]] = field(default_factory=dict)  # host: tunnel, its target
    out_of_tunnel: set[str] = field(default_factory=set)  # servers where it came out of the tunnel
    returned: Counter[str] = field(default_factory=Counter)  # replies of servers behind masq
    translated: Counter[str] = field(default_factory=Counter)  # those in the VIP's name again
    untranslated: Counter[str] = field(default_factory=Counter)  # those in the server's own name

    @property
    def arrived(self) -> bool:
        """Say whether the client got something back."""
        return self.attempt.result in ("connected", "answered")

    @property
    def crossed(self) -> int:
        """Count the replies that crossed the director."""
        return max(self.crossing.values(), default=0)

    def sent(self) -> Counter[tuple[str, str]]:
        """Count the replies by server and by the MAC that they were sent to."""
        return Counter({way: max(links.values()) for way, links in self.replies.items()})


@dataclass
class Names:
    """From MACs to the names of machines."""

    by_mac: dict[str, str]

    @classmethod
    def of(cls, machines: Mapping[str, HostFacts], more: Mapping[str, str]) -> Names:
        """Collect the MACs of all machines of which there are facts, and `more` by name."""
        links = ((name, link) for name, facts in machines.items() for link in facts.links)
        known = {link.mac: name for name, link in links if link.mac and not link.loopback}
        return cls({**{mac: name for name, mac in more.items()}, **known})

    def name(self, mac: str) -> str:
        """Name the machine behind a MAC, or the MAC when it is nobody's we know."""
        found = self.by_mac.get(mac)
        return f"{found} ({mac})" if found else mac

    def macs(self, machine: str) -> set[str]:
        """List the MACs of a machine."""
        return {mac for mac, name in self.by_mac.items() if name == machine}


@dataclass(frozen=True)
class Sight:
    """A frame of the service as one host saw it; `back` when it goes to the client. `behind` is
    the real server behind masq whose own address and port it shows in place of the VIP's.
    """

    host: str
    flow: Flow
    back: bool
    frame: Frame
    behind: str = ""


def follow(
    spec: Spec, evidence: Evidence, trials: list[Trial], names: Names
) -> tuple[list[Way], set[Flow]]:
    """Match the attempts at one service with the frames that the hosts saw.

    The second is what arrived for the service besides: flows that are none of ours.
    """
    if not trials:
        return [], set()
    found = {
        (str(attempt.source), attempt.source_port): Way(attempt, trial.client)
        for trial in trials
        for attempt in trial.attempts
    }
    directors = {d.name for d in spec.directors}
    servers = {s.name for s in spec.real_servers}
    near = {mac for d in directors for mac in names.macs(d)}
    near |= {str(d.address) for d in spec.directors}
    by_address = {str(s.address): s.name for s in spec.real_servers}
    ends = _ends(spec, trials[0].service)
    sights = [
        sight
        for host in (*sorted(directors), *sorted(servers))
        for sight in _sights(trials[0].service, ends, host, evidence.frames.get(host, ()))
    ]
    there = {sight.flow for sight in sights if not sight.back}
    aliases = _aliases(found, there)
    for flow, way in aliases.items():
        way.seen_as.add(flow[0])
    for sight in sights:
        matched = found.get(sight.flow) or aliases.get(sight.flow) or _by_address(found, sight)
        if matched is None:
            continue
        if sight.host in directors:
            _at_director(matched, sight, names, by_address)
        else:
            _at_server(matched, sight, near)
    _at_clients(found, trials, evidence)
    strange = there - found.keys() - aliases.keys()
    return list(found.values()), {flow for flow in strange if not _checks(spec, flow)}


def _checks(spec: Spec, flow: Flow) -> bool:
    """Tell the checks of a director's daemon from connections: no scheduler chose for them."""
    return flow[1] in PROBE_PORTS and flow[0] in set(map(str, names_of(spec.directors)))


Ends = dict[tuple[str, int], str]


def _ends(spec: Spec, service: VirtualService) -> Ends:
    """Give the service's own ends, and those of its real servers behind masq with their names."""
    found = _own_ends(service)
    ports = {port for _, port in found}
    for server in spec.real_servers:
        if server.name in service.hosts and service.way(server.name).method == "masq":
            at = ports if service.ends else {service.port_at(server.name)}
            found |= {(str(server.address), port): server.name for port in at}
    return found


def _own_ends(service: VirtualService) -> Ends:
    return {
        (str(end.vip), port): ""
        for end in service.endpoints
        for port in range(end.port, end.last + 1)
    }


def _sights(
    service: VirtualService, ends: Ends, host: str, frames: Iterable[Frame]
) -> Iterator[Sight]:
    """Pick the frames to and from the service, and the ICMP errors that its VIP sends."""
    vips = set(map(str, service.vips))
    for frame in frames:
        source, target = (frame.source, frame.source_port), (frame.target, frame.target_port)
        if frame.kind == service.protocol and target in ends:
            yield Sight(host, source, back=False, frame=frame, behind=ends[target])
        elif frame.kind not in (service.protocol, "icmp"):
            continue
        elif source in ends or _unquoted(frame, vips):
            yield Sight(host, target, back=True, frame=frame, behind=ends.get(source, ""))


def _unquoted(frame: Frame, vips: set[str]) -> bool:
    """Tell an ICMP error whose head does not show the flow that it is about."""
    return frame.kind == "icmp" and frame.source in vips and not frame.source_port


def _by_address(found: dict[Flow, Way], sight: Sight) -> Way | None:
    """Find a way by the client's address alone, for an ICMP error that shows no more."""
    if sight.flow[1]:
        return None
    return next((way for flow, way in found.items() if flow[0] == sight.flow[0]), None)


def _aliases(found: dict[Flow, Way], there: set[Flow]) -> dict[Flow, Way]:
    """Find connections of ours whose client address was changed on the way, by their ports.

    Source NAT keeps ports where it can. One strange address that shows several ports of one
    client's missing connections, and most of them, is no coincidence.
    """
    aliases: dict[Flow, Way] = {}
    for client in {way.client for way in found.values()}:
        missing = {
            flow[1]: way
            for flow, way in found.items()
            if way.client == client and flow not in there
        }
        candidates: dict[str, list[Flow]] = defaultdict(list)
        for flow in there - found.keys():
            if flow[1] in missing:
                candidates[flow[0]].append(flow)
        for flows in candidates.values():
            if len(flows) >= MOST_LIKELY and 2 * len(flows) >= len(missing):
                aliases |= {flow: missing[flow[1]] for flow in flows}
    return aliases


def _at_director(way: Way, sight: Sight, names: Names, by_address: dict[str, str]) -> None:
    frame = sight.frame
    if sight.back and frame.outgoing:
        _replied(way, sight)
    elif sight.back and frame.to_us:
        (way.returned if sight.behind else way.crossing)[frame.link] += 1
    elif frame.outgoing and frame.tunnel:
        host = by_address.get(frame.outer_target, frame.outer_target)
        way.handed_to.add(host)
        way.wrapped[host] = (frame.tunnel, frame.outer_target)
    elif frame.outgoing:
        way.handed_to.add(sight.behind or names.by_mac.get(frame.target_mac, frame.target_mac))
    elif frame.to_us and not sight.back:
        way.at_director = True
        way.data_at_director |= frame.kind in STREAMS and not frame.tcp_flags & SYN


def _replied(way: Way, sight: Sight) -> None:
    """Note a reply that the director sends: of its own, or a server's behind masq."""
    frame = sight.frame
    if sight.behind:
        way.untranslated[frame.link] += 1
    elif way.returned:
        way.translated[frame.link] += 1
    elif not way.crossed:
        way.director_said.add(_said(frame))


def _said(frame: Frame) -> str:
    if frame.kind == "icmp":
        return "icmp"
    return "reset" if frame.kind in STREAMS and frame.tcp_flags & RST else "answer"


def _at_server(way: Way, sight: Sight, near: set[str]) -> None:
    frame, host = sight.frame, sight.host
    if sight.back and frame.outgoing:
        if frame.kind == "icmp":
            way.unreachable.add(host)
            return
        way.replies[(host, frame.target_mac)][frame.link] += 1
        if frame.payload:
            way.sent_data.add(host)
        if frame.kind in STREAMS and frame.tcp_flags & RST:
            way.reset.add(host)
        elif frame.kind not in STREAMS or frame.tcp_flags & SYN:
            way.answered.add(host)
    elif not sight.back and frame.to_us and not frame.outgoing:
        way.at_servers.add(host)
        _came_by(way, sight, near)
        if frame.kind in STREAMS and not frame.tcp_flags & SYN:
            way.followed.add(host)


def _came_by(way: Way, sight: Sight, near: set[str]) -> None:
    """Note whether the director sent what came to a server. Behind masq, what a client says to a
    stranger's answer is no way around.
    """
    frame, host = sight.frame, sight.host
    sender = frame.outer_source if frame.tunnel else frame.source_mac
    if not sender:  # it has no Ethernet header any more
        way.out_of_tunnel.add(host)
    elif sender in near:
        way.by_director.add(host)
    elif not (sight.behind and host in way.by_director):
        way.around.add(host)


def _at_clients(found: dict[Flow, Way], trials: list[Trial], evidence: Evidence) -> None:
    for client in {trial.client for trial in trials}:
        own = _own_ends(trials[0].service)
        for sight in _sights(trials[0].service, own, client, evidence.frames.get(client, [])):
            way = found.get(sight.flow)
            if way and way.client == client and sight.back and not sight.frame.outgoing:
                way.came_back = True
