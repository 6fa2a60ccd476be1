"""What look() brings: what is there and not ours to set, as frozen values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Optional, TypeVar

from onearm.again import Again
from onearm.lean import lean
from onearm.model import Action, Address, Key, Mark, MarkRule, Network, Resource, state_key

T = TypeVar("T")


@dataclass(frozen=True)
class LinkFact:
    """A link as rtnetlink shows it. `up` is what somebody set, `carrier` whether it has a peer;
    `master` is the link that this one is enslaved to.
    """

    index: int
    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    carrier: bool = True
    loopback: bool = False
    arp: bool = True
    master: str = ""
    master_kind: str = ""


@dataclass(frozen=True)
class AddressFact:
    """An address on a link; scope as rtnetlink's number (0 global, 253 link, 254 host)."""

    link: str
    address: Address
    prefix_length: int
    scope: int = 0


@dataclass(frozen=True)
class RouteFact:
    """A unicast route of the main table; no gateway means on-link."""

    network: Network
    link: str
    gateway: Optional[Address] = None
    source: Optional[Address] = None
    metric: int = 0


@dataclass(frozen=True)
class NeighbourFact:
    """An entry of the neighbour (ARP) table; state as the kernel's NUD_* bits."""

    link: str
    address: Address
    mac: str
    state: int


@dataclass(frozen=True)
class PathFact:
    """How the kernel itself would send to `address` (RTM_GETROUTE)."""

    address: Address
    link: str = ""
    gateway: Optional[Address] = None
    source: Optional[Address] = None
    error: str = ""


@lean
@dataclass(frozen=True)
class Counters:
    """The kernel's 64-bit statistics of a service or destination; rates per second."""

    connections: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    connections_per_s: int = 0
    packets_in_per_s: int = 0
    packets_out_per_s: int = 0
    bytes_in_per_s: int = 0
    bytes_out_per_s: int = 0


@lean
@dataclass(frozen=True)
class DestinationFact:
    """A destination as the kernel counts it."""

    server: Address
    port: int
    weight: int
    forwarding: str
    active: int = 0
    inactive: int = 0
    persistent: int = 0
    counters: Counters = Counters()
    tunnel: str = ""  # ipip, gre, or gue with its port: `gue 6080`


def tunnel_words(kind: str, port: int) -> str:
    """Name a kind of tunnel with the UDP port that it may have."""
    return f"{kind} {port}" if port else kind


@lean
@dataclass(frozen=True)
class ServiceFact:
    """A virtual service as the kernel counts it, ours or not. `fwmark` 0: by address.

    One by firewall mark has no VIP, unless it is a group of ours: then it has what names the group.
    """

    protocol: str
    vip: Optional[Address]
    port: int
    fwmark: int
    scheduler: str
    flags: tuple[str, ...] = ()
    persistence_s: int = 0
    counters: Counters = Counters()
    destinations: tuple[DestinationFact, ...] = ()
    persistence_mask: Optional[int] = None
    engine: str = ""

    @property
    def key(self) -> Key:
        """The key of the Service that this is a fact about."""
        key = (self.protocol, self.vip, self.port)
        return (*key, self.fwmark) if self.fwmark else key

    @property
    def identity(self) -> Key:
        """What a service of a spec has as `identity`, which knows no number of a mark."""
        return (self.protocol, self.vip, self.port, bool(self.fwmark))


DESTINATIONS_AT_ONCE = 1000  # a service with more goes over the wire in several pieces


def split(services: Iterable[ServiceFact]) -> Iterator[ServiceFact]:
    """Cut services with very many destinations into pieces that fit a line of the wire."""
    for service in services:
        for start in range(0, len(service.destinations) or 1, DESTINATIONS_AT_ONCE):
            piece = service.destinations[start : start + DESTINATIONS_AT_ONCE]
            yield replace(service, destinations=piece)


def joined(pieces: Iterable[ServiceFact]) -> tuple[ServiceFact, ...]:
    """Put the pieces of services together again."""
    found: dict[tuple[object, ...], ServiceFact] = {}
    for piece in pieces:
        key = (piece.protocol, piece.vip, piece.port, piece.fwmark)
        before = found.get(key)
        held = before.destinations if before else ()
        found[key] = replace(piece, destinations=held + piece.destinations)
    return tuple(found.values())


@dataclass(frozen=True)
class ClaimFact:
    """A machine that answered an ARP request for `address` on `link`."""

    address: Address
    link: str
    mac: str


@dataclass(frozen=True)
class ArpRuleFact:
    """A foreign or own filter rule that drops ARP with `address` as the sender, on its way out."""

    tool: str
    text: str
    address: str = ""


@dataclass(frozen=True)
class OutFact:
    """A destination that a daemon serves otherwise than the spec alone would, or that fails.

    `weight` is the one that the kernel should have; None: it should not be in the table.
    """

    protocol: str
    vip: Address
    port: int
    host: str
    state: str
    reason: str = ""
    weight: Optional[int] = None


@dataclass(frozen=True)
class DaemonFact:
    """The daemon of this host, as it says itself. `left` is what it has yet to do; `spec_error`
    why it did not take the file as it is now; `out` who is not in rotation, and why.
    """

    name: str
    spec_path: str
    spec_digest: str = ""
    converged: bool = False
    left: tuple[str, ...] = ()
    spec_error: str = ""
    out: tuple[OutFact, ...] = ()


@dataclass(frozen=True)
class HostFacts:
    """One host at one moment. `lacks` names features that its role needs, each with the reason.

    `boot` is what brings its links up (networkd, networkmanager, ifupdown; unit: systemd, by a
    unit of ours; unknown), empty in a namespace that nobody boots; `network_files` are those of
    systemd-networkd by link.
    """

    hostname: str = ""
    kernel: str = ""
    links: tuple[LinkFact, ...] = ()
    addresses: tuple[AddressFact, ...] = ()
    routes: tuple[RouteFact, ...] = ()
    neighbours: tuple[NeighbourFact, ...] = ()
    paths: tuple[PathFact, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    services: tuple[ServiceFact, ...] = ()
    claims: tuple[ClaimFact, ...] = ()
    arp_drops: tuple[ArpRuleFact, ...] = ()
    marks: tuple[Mark, ...] = ()
    known_hosts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lacks: dict[str, str] = field(default_factory=dict)
    daemon: Optional[DaemonFact] = None
    boot: str = ""
    network_files: dict[str, str] = field(default_factory=dict)
    mark_rules: tuple[MarkRule, ...] = ()

    def link(self, name: str) -> Optional[LinkFact]:
        return next((link for link in self.links if link.name == name), None)

    def on_link(self, name: str) -> tuple[AddressFact, ...]:
        return tuple(a for a in self.addresses if a.link == name)

    def path(self, address: Address) -> Optional[PathFact]:
        return next((path for path in self.paths if path.address == address), None)

    def mark(self, resource: Resource) -> Optional[Mark]:
        """Find the mark of a thing, whatever its values are now."""
        return self._marks_by_key.get(state_key(resource))

    @cached_property
    def _marks_by_key(self) -> dict[Key, Mark]:
        return {state_key(mark.resource): mark for mark in self.marks}

    def marks_of(self, kind: type) -> list[Mark]:
        """List the marks of one kind of thing; most are of destinations, and few ask for these."""
        return _marks_by_kind(self.hostname, self.marks).get(kind, [])

    def marked(self, kind: type[T]) -> list[T]:
        """List the things of one kind that carry anybody's mark."""
        return [m.resource for m in self.marks_of(kind) if isinstance(m.resource, kind)]

    def holds(self, address: Address) -> tuple[AddressFact, ...]:
        return tuple(a for a in self.addresses if a.address == address)


def _sorted_marks(marks: tuple[Mark, ...]) -> dict[type, list[Mark]]:
    found: defaultdict[type, list[Mark]] = defaultdict(list)
    for mark in marks:
        found[type(mark.resource)].append(mark)
    return dict(found)


_marks_by_kind = Again(_sorted_marks)

Facts = dict[str, HostFacts]


def mark_of(facts: Facts, action: Action) -> Optional[Mark]:
    """Find the mark of the thing that an action changes, as it was when we looked."""
    host = facts.get(action.place)
    return host.mark(action.resource) if host else None
