"""Real connections and their frames on every host: the evidence of verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from typing import TypeVar

from onearm.each import each
from onearm.errors import PlaceError, Refused
from onearm.evidence import Evidence, Trial
from onearm.facts import AddressFact, HostFacts
from onearm.model import Address
from onearm.places.look import Question
from onearm.places.remote import RemotePlace
from onearm.preflight import vips_of
from onearm.reach import lab_prefix
from onearm.resting import held, of_service, resting, without
from onearm.schedule import ends_for, sources_for
from onearm.session import Session
from onearm.silence import network_of
from onearm.spec import Host, Spec, VirtualService
from onearm.traffic import Errand, Goal
from onearm.ways import lanes

T = TypeVar("T")
CAPTURE = "verify"
ARP_S = 0.6  # how long answers to an ARP request are awaited
SETTLE_S = 0.3  # the last frames of a connection come after its last byte
CONNECT_S = 3.5  # a SYN is repeated after 1 and 3 s (RFC 6298 §2)
LINK_SCOPE = 253
PERMANENT = 0x80 | 0x40  # NUD_PERMANENT | NUD_NOARP: not learned, so never forgotten
LAB_REQUEST = b"GET / HTTP/1.0\r\n\r\n"  # only in the lab: elsewhere a guess is not harmless
# The engine reads the Call-ID: what has none is dropped. A call each client, so that a client's
# connections are one call. OPTIONS asks what a server can do, and is SIP's own ping (RFC 3261 §11).
SIP_REQUEST = b"\r\n".join(
    (
        b"OPTIONS sip:onearm@{client} SIP/2.0",
        b"Via: SIP/2.0/UDP {client};branch=z9hG4bKonearm",
        b"From: <sip:onearm@{client}>;tag=onearm",
        b"To: <sip:onearm@{client}>",
        b"Call-ID: onearm-{client}",
        b"CSeq: 1 OPTIONS",
        b"Max-Forwards: 0",
        b"Content-Length: 0",
        b"",
        b"",
    )
)
LAB_CLIENTS = ("client", "neighbour")
LAB_ROUTER = "router"


@dataclass(frozen=True)
class Stand:
    """How a client reaches the VIPs of a family: by which link, from which address of its own, and
    through which gateway; none when it stands in their L2.
    """

    link: str
    address: Address | None
    gateway: Address | None


@dataclass(frozen=True)
class Client:
    """A machine that connections are opened from: its place and facts, the source addresses that
    the spec's `clients` admit, and for each address family how it stands to the VIPs.
    """

    name: str
    place: RemotePlace
    facts: HostFacts
    sources: tuple[Address, ...]
    stands: Mapping[int, Stand] = field(default_factory=dict)

    def towards(self, vip: Address) -> tuple[Address, ...]:
        """Give the source addresses for a VIP: those of its family."""
        return tuple(source for source in self.sources if source.version == vip.version)


Bystander = tuple[RemotePlace, HostFacts]


@dataclass
class Probe:
    """One gathering of evidence over the hosts of a session and some clients.

    `services` are those that are tried, None for all; without `arp` nobody is asked for a VIP.
    """

    session: Session
    clients: list[Client]
    cold: bool
    timeout_s: float = CONNECT_S
    request: bytes | None = None  # what is sent once a connection stands; None: verify's own
    also: tuple[Address, ...] = ()  # addresses whose frames are recorded besides the VIPs'
    limit: int = 0  # connections per client; 0: what the scheduler's promise takes
    evidence: Evidence = field(default_factory=Evidence)
    bystanders: dict[str, Bystander] = field(default_factory=dict)
    services: tuple[VirtualService, ...] | None = None
    arp: bool = True

    @property
    def _spec(self) -> Spec:
        return self.session.spec

    @property
    def _watched(self) -> dict[str, RemotePlace]:
        """The hosts whose frames are recorded: director, real servers, clients."""
        return self.session.reached | {client.name: client.place for client in self.clients}

    def gather(self) -> Evidence:
        """Record, ask for the VIPs, make caches cold, connect, and collect what was recorded."""
        found = self.evidence
        found.machines = dict(self.session.facts) | {c.name: c.facts for c in self.clients}
        found.machines |= {name: facts for name, (_, facts) in self.bystanders.items()}
        vips = vips_of(self._spec)
        recorded = [*vips, *self._named_in_frames(), *self.also]
        self._each(self._watched, lambda place: place.capture(CAPTURE, recorded))
        for vip in vips if self.arp else ():
            found.answers[vip] = self._ask_for(vip)
        found.macs = self._macs_of_the_lost()
        if self.cold:
            self._flush()
        found.before = self._directors()
        found.rest_before = resting(self._spec, found.before)
        dealt = lanes(self._spec)
        for service in self._spec.services if self.services is None else self.services:
            key = (service.protocol, service.vip, service.port)
            self._try(service, dealt.get(key, (0, 1)))
        time.sleep(SETTLE_S)
        found.after = self._directors()
        found.rest_after = resting(self._spec, found.after)
        ports = {attempt.source_port for trial in found.trials for attempt in trial.attempts}
        for name, (frames, lost) in self._each(
            self._watched, lambda place: place.captured(CAPTURE, ports)
        ).items():
            found.frames[name], found.lost[name] = frames, lost
        return found

    def _named_in_frames(self) -> list[Address]:
        """List the real servers whose own addresses stand in frames, by a tunnel or masq."""
        return [
            server.address
            for server in self._spec.real_servers
            if any(s.way(server.name).method != "direct" for s in self._spec.services)
        ]

    def _each(
        self, places: Mapping[str, RemotePlace], verb: Callable[[RemotePlace], T]
    ) -> dict[str, T]:
        return self._do({name: partial(verb, place) for name, place in places.items()})

    def _do(self, jobs: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """Run one job per host; one that failed before is not asked again."""
        done, failed = each({n: job for n, job in jobs.items() if n not in self.evidence.out})
        self.evidence.out |= failed
        return done

    def _ask_for(self, vip: Address) -> dict[str, list[str]]:
        """Ask for a VIP from every host on its L2; list who answered whom."""
        jobs = {
            name: partial(self._watched[name].who_has, link, vip, sender, ARP_S)
            for name, (link, sender) in self._vantage_points(vip.version).items()
        }
        return self._do(jobs)

    def _macs_of_the_lost(self) -> dict[str, str]:
        """Learn the MACs of the real servers that we cannot reach, so as to name them."""
        found: dict[str, str] = {}
        for server in self._spec.real_servers:
            points = self._vantage_points(server.address.version)
            asker = next((d.name for d in self._spec.directors if d.name in points), "")
            if asker and server.name not in self.evidence.machines:
                place, (link, sender) = self._watched[asker], points[asker]
                ask = partial(place.who_has, link, server.address, sender, ARP_S)
                macs = self._do({asker: ask}).get(asker, [])
                found |= {server.name: macs[0]} if macs else {}
        return found

    def _vantage_points(self, version: int) -> dict[str, tuple[str, Address]]:
        """List the hosts in the VIPs' L2, each with the link and the address with which it asks."""
        found: dict[str, tuple[str, Address]] = {}
        for host in (*self._spec.directors, *self._spec.real_servers):
            facts, sender = self.session.facts.get(host.name), host.own(version)
            own = facts.holds(sender) if facts and sender else ()
            link = facts.link(own[0].link) if facts and own else None
            there = link is not None and link.up and self._beside_a_vip(host, own[0])
            if link is not None and there and sender is not None:
                found[host.name] = (link.name, sender)
        for client in self.clients:
            stand = client.stands.get(version)
            if stand is not None and stand.gateway is None and stand.address is not None:
                found[client.name] = (stand.link, stand.address)
        return found

    def _beside_a_vip(self, host: Host, own: AddressFact) -> bool:
        """Say whether a host's ARP reaches the VIPs' L2: one behind a tunnel may be elsewhere."""
        near = (*(d.address for d in self._spec.directors), *vips_of(self._spec))
        ways = {s.way(host.name).method for s in self._spec.services if host.name in s.hosts}
        return bool(ways & {"direct", "masq"}) or any(a in network_of(own) for a in near)

    def _flush(self) -> None:
        """Forget what hosts learned of each other, so that every question is asked anew."""
        addresses = self._neighbours()
        places = self._watched | {name: place for name, (place, _) in self.bystanders.items()}
        self.evidence.flushed = self._each(places, lambda place: place.forget(addresses))
        machines = self.evidence.machines
        reached = [facts for name, facts in machines.items() if name in self.evidence.flushed]
        known = {a.address for facts in reached for a in facts.addresses}
        self.evidence.not_flushed = [str(a) for a in addresses if not known & {a}] + [
            f"{name} (a permanent entry for {entry.address})"
            for name, facts in sorted(machines.items())
            for entry in facts.neighbours
            if entry.address in addresses and entry.state & PERMANENT
        ]

    def _neighbours(self) -> list[Address]:
        """List gateways, clients, hosts and VIPs: all that anyone on the path may have learned, in
        the address families of the VIPs.
        """
        vips = vips_of(self._spec)
        families = {vip.version for vip in vips}
        everyone = (*self._spec.directors, *self._spec.real_servers)
        hosts = [own for host in everyone for own in host.addresses]
        gateways = {
            route.gateway
            for facts in self.evidence.machines.values()
            for route in facts.routes
            if route.gateway is not None and not route.network.prefixlen
        }
        clients = {source for client in self.clients for source in client.sources}
        found = {*hosts, *vips, *gateways, *clients}
        return sorted((a for a in found if a.version in families), key=_by_family)

    def _directors(self) -> dict[str, HostFacts]:
        """Look at the directors' tables, and whom they serve at this moment."""
        directors = {d.name for d in self._spec.directors}
        places = {n: p for n, p in self.session.reached.items() if n in directors}
        return self._each(places, lambda place: place.look(Question(role="director")))

    def _try(self, service: VirtualService, lane: tuple[int, int]) -> None:
        """Open connections from all clients at once, but for one that took the VIP itself."""
        own = LAB_REQUEST if self._spec.reach.default == "lab" else b""
        request = own if self.request is None else self.request
        request = SIP_REQUEST if service.engine == "sip" else request
        jobs = {
            client.name: partial(
                client.place.connect,
                Errand(
                    protocol=service.protocol,
                    vip=service.vip,
                    port=service.port,
                    sources=sources,
                    ends=tuple(Goal(*end) for end in ends_for(service, sources)),
                    request_hex=request.hex(),
                    timeout_s=self.timeout_s,
                    lane=lane[0],
                    lanes=lane[1],
                ),
            )
            for client in self.clients
            if client.towards(service.vip) and not any(map(client.facts.holds, service.vips))
            for sources in [self._sources(service, client)]
        }
        for name, attempts in self._do(jobs).items():
            self.evidence.trials.append(Trial(service, name, tuple(attempts)))

    def _sources(self, service: VirtualService, client: Client) -> tuple[Address, ...]:
        sources = client.towards(service.vip)
        if self.limit:
            return tuple(islice(cycle(sources), self.limit))
        told = of_service(service, self.evidence.rest_before)
        return sources_for(without(service, held(service, told)), sources)


def _by_family(address: Address) -> tuple[int, int]:
    return address.version, int(address)


def bystand(
    session: Session, reached: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Bystander], dict[str, PlaceError]]:
    """Reach machines that are neither of the spec nor clients, but learn neighbours, as routers."""
    for name, words in reached.items():
        if name not in session.places:  # kept, so that their nodes end with the session's
            place = RemotePlace(name, words, session.spec.name, session.deadline_s)
            session.places[name] = place
    places = {name: session.places[name] for name in reached}
    near = tuple(vips_of(session.spec))
    facts, failed = each({n: partial(p.look, Question(near=near)) for n, p in places.items()})
    return {name: (places[name], seen) for name, seen in facts.items()}, failed


def meet(
    session: Session, reached: Mapping[str, Sequence[str]]
) -> tuple[list[Client], dict[str, PlaceError]]:
    """Reach the clients and learn their addresses; a director or real server is refused."""
    met, failed = bystand(session, reached)
    clients = [_client(session.spec, name, *found) for name, found in met.items()]
    if clients and not any(client.sources for client in clients):
        said = ", ".join(client.name for client in clients)
        raise Refused(
            f"{said}: no address there is in the spec's `clients`, so connections from it prove"
            " nothing: name another machine with --client, or add its prefix to `clients`"
        )
    return clients, failed


def _client(spec: Spec, name: str, place: RemotePlace, facts: HostFacts) -> Client:
    for host in (*spec.directors, *spec.real_servers):
        if any(map(facts.holds, host.addresses)):
            raise Refused(
                f"the client {name} is {host.name} itself, whose connections to the VIP prove"
                " nothing: choose a machine that is neither director nor real server"
            )
    stands: dict[int, Stand] = {}
    for vip in vips_of(spec):
        stand = _stand(facts, vip)
        stands |= {vip.version: stand} if stand else {}
    if not stands:
        vip = vips_of(spec)[0]
        path = facts.path(vip)
        why = path.error if path else "no path"
        raise Refused(f"the client {name} has no route to the VIP ({why}): choose another")
    own = [
        fact.address
        for version, stand in stands.items()
        for fact in facts.on_link(stand.link)
        if fact.address.version == version and fact.scope < LINK_SCOPE
    ]
    sources = tuple(a for a in own if not spec.clients or any(a in n for n in spec.clients))
    return Client(name, place, facts, sources, stands)


def _stand(facts: HostFacts, vip: Address) -> Stand | None:
    """Say how a machine reaches a VIP; None when it does not."""
    path = facts.path(vip)
    if path is None or path.error:
        return None
    own = (fact for fact in facts.on_link(path.link) if fact.address.version == vip.version)
    address = next((fact.address for fact in own if fact.scope < LINK_SCOPE), None)
    return Stand(path.link, address, path.gateway)


def default_clients(spec: Spec) -> dict[str, list[str]]:
    """Name the clients where nobody said which: the lab's, else this machine."""
    return lab_clients() if spec.reach.default == "lab" else {"this machine": []}


def lab_clients() -> dict[str, list[str]]:
    """Name the lab's clients and how they are reached."""
    return {name: lab_prefix(name) for name in LAB_CLIENTS}
