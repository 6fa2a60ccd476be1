"""What was observed of real connections, as values: probe gathers it, verify judges it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onearm.errors import PlaceError
from onearm.facts import Facts, HostFacts, NeighbourFact, OutFact
from onearm.kernel.frames import Frame
from onearm.model import Address, Key
from onearm.spec import VirtualService
from onearm.traffic import Attempt


@dataclass(frozen=True)
class Trial:
    """What one client tried at one service."""

    service: VirtualService
    client: str
    attempts: tuple[Attempt, ...]


@dataclass
class Evidence:
    """All that was observed; judging it is verify's, and pure.

    `before` and `after` the connections are the directors as they were then, and by service who
    was at rest; `macs` those of machines of which there are no facts, learned by ARP.
    """

    trials: list[Trial] = field(default_factory=list)
    frames: dict[str, list[Frame]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    answers: dict[Address, dict[str, list[str]]] = field(default_factory=dict)
    before: Facts = field(default_factory=dict)
    after: Facts = field(default_factory=dict)
    rest_before: Mapping[Key, Mapping[str, OutFact]] = field(default_factory=dict)
    rest_after: Mapping[Key, Mapping[str, OutFact]] = field(default_factory=dict)
    flushed: dict[str, list[NeighbourFact]] = field(default_factory=dict)
    not_flushed: list[str] = field(default_factory=list)
    machines: dict[str, HostFacts] = field(default_factory=dict)
    macs: dict[str, str] = field(default_factory=dict)
    out: dict[str, PlaceError] = field(default_factory=dict)
