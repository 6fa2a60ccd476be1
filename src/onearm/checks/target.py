"""What goes into the checks and what comes out: targets, results, troubles and counts."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

from onearm.model import Address
from onearm.spec import Check


@dataclass(frozen=True)
class Target:
    """One real server to ask, over and over.

    `key` is the caller's own and comes back in each result. `address` and `port` are what is
    asked: the VIP (then `mark` leads to the server) or the server's own. `source` is bound, with
    the ports of `source_ports` in turn where they are given. `vip`, `protocol` and `host` are only
    told to scripts and in messages.
    """

    key: Hashable
    check: Check
    address: Address
    port: int
    host: str
    mark: int = 0
    source: Address | None = None
    source_ports: range | None = None
    vip: Address | None = None
    protocol: str = "tcp"


class Result(NamedTuple):
    """What one probe found: `reason` is one clause for people, `at` monotonic seconds."""

    key: Hashable
    ok: bool
    reason: str
    latency_s: float
    at: float


class Trouble(NamedTuple):
    """Something of our own that kept a probe from being made; it says nothing of a server's health.

    `kind` is an errno's name (EMFILE, EADDRNOTAVAIL, ...) or `starved`, `tls`, `bug`.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Counts:
    """Figures since the start. `late_s` is how late the last tick was, `late_most_s` the latest.

    A tick that is late by more than one is made up for by stopping the wheel: all that is due then
    is due later, so that a stall of ours is no timeout of a server's. `paused_s` sums that up.
    """

    targets: int = 0
    in_flight: int = 0
    started: int = 0
    good: int = 0
    bad: int = 0
    starved: int = 0
    troubled: int = 0
    late_s: float = 0.0
    late_most_s: float = 0.0
    paused_s: float = 0.0
