"""What the director's daemon shows of itself: one frozen picture, made anew after each round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Optional

from onearm.facts import Counters
from onearm.model import Address

# The states of a real server.
UP, DOWN, UNKNOWN = "up", "down", "unknown"
DRAINING, DRAINED, RAMPING, UNCHECKED = "draining", "drained", "ramping", "unchecked"
ISOLATED = "isolated"  # how the reason of one that is down begins where it answers for a VIP


@dataclass(frozen=True)
class Change:
    """One change of a server's state: when (RFC 3339), to what, and why."""

    at: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class CheckView:
    """What checks found: how many ended well and ill, how long the last took, the last reason.

    `latencies` counts those that ended well by the upper bounds LATENCY_BOUNDS_S; the last count
    is of all that took longer.
    """

    kind: str
    through: str
    good: int = 0
    bad: int = 0
    last_latency_s: Optional[float] = None
    latencies: tuple[int, ...] = ()
    latency_sum_s: float = 0.0
    reason: str = ""


LATENCY_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True)
class ServerView:
    """A real server behind a service: its `state`, one of the words above, since when and why.

    `weight` is the kernel's (None: not in its table), `wanted` what it is when all is well, in the
    same scale.
    """

    host: str
    address: Address
    state: str
    since: str
    reason: str = ""
    weight: Optional[int] = None
    wanted: int = 1
    active: int = 0
    inactive: int = 0
    counters: Counters = field(default_factory=Counters)
    check: Optional[CheckView] = None
    history: tuple[Change, ...] = ()
    drain_deadline: Optional[str] = None  # RFC 3339; None while draining: it waits for ever
    sorry: bool = False


@dataclass(frozen=True)
class ServiceView:
    """A virtual service. `panic`: too few are healthy, so all are served (fail open)."""

    vip: Address
    port: int
    protocol: str
    scheduler: str
    servers: tuple[ServerView, ...] = ()
    counters: Counters = field(default_factory=Counters)
    panic: bool = False
    sorry: bool = False  # only the sorry server is served
    quorum: int = 1
    quorum_met: bool = True


@dataclass(frozen=True)
class Claimant:
    """Somebody else who answers for a VIP, by MAC, and the host's name where it is known."""

    mac: str
    host: str = ""
    first_seen: str = ""
    last_seen: str = ""


@dataclass(frozen=True)
class VipView:
    """A VIP: the link that announces it here, our MAC, and who else claims it."""

    vip: Address
    link: str = ""
    mac: str = ""
    announced: bool = False
    claimants: tuple[Claimant, ...] = ()


@dataclass(frozen=True)
class Event:
    """Something that happened, as it was logged."""

    at: str
    kind: str  # health, drift, spec, drain, arp, round, start
    text: str
    level: str = "info"  # info, warning, error


@dataclass(frozen=True)
class Snapshot:
    """The daemon at one moment. `left` is what the last round could not do, `spec_error` why a new
    file was not taken (the old one goes on).
    """

    name: str
    host: str
    at: str
    started: str
    spec_path: str
    spec_digest: str
    build: str
    pid: int
    services: tuple[ServiceView, ...] = ()
    vips: tuple[VipView, ...] = ()
    events: tuple[Event, ...] = ()  # the newest last, at most 200
    rounds: int = 0
    rounds_failed: int = 0
    last_round_s: float = 0.0
    drift_healed: int = 0
    drain_cut: int = 0
    reloads: int = 0
    reloads_failed: int = 0
    converged: bool = False
    left: tuple[str, ...] = ()
    spec_error: str = ""
    troubles: tuple[str, ...] = ()  # of our own, such as no free source port


@dataclass(frozen=True)
class Placed:
    """A server with its service's place among the services: how it travels in a line of its own."""

    service: int
    server: ServerView


def split(snapshot: Snapshot) -> tuple[Snapshot, tuple[Placed, ...]]:
    """Take the servers out, of which there may be more than a line of the wire holds."""
    placed = tuple(
        Placed(turn, server)
        for turn, service in enumerate(snapshot.services)
        for server in service.servers
    )
    return replace(
        snapshot, services=tuple(replace(s, servers=()) for s in snapshot.services)
    ), placed


def joined(bare: Snapshot, placed: Iterable[Placed]) -> Snapshot:
    """Put the servers back behind their services; one without a service is dropped."""
    servers: dict[int, list[ServerView]] = {}
    for one in placed:
        servers.setdefault(one.service, []).append(one.server)
    services = (
        replace(service, servers=tuple(servers.get(turn, ())))
        for turn, service in enumerate(bare.services)
    )
    return replace(bare, services=tuple(services))
