"""Sums over groups of connections: by kind, state and real server, and who waits; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from onearm.entries import CONNECTION, Served
from onearm.model import Address
from onearm.vitals import ConnectionsFact

MANY = 10  # connections


@dataclass
class Sums:
    """What the table holds for one real server of a service, or for all of them.

    `states` and `old` are of connections alone: a template waits for nobody.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    old: int = 0

    def add(self, fact: ConnectionsFact) -> None:
        """Count one group."""
        self.kinds[fact.kind] += fact.count
        if fact.kind == CONNECTION:
            self.states[fact.state] += fact.count
            self.old += fact.old

    @property
    def connections(self) -> int:
        """Count the connections."""
        return self.kinds[CONNECTION]

    @property
    def half_open(self) -> bool:
        """Say whether most never got past their first packet: the second never came through."""
        return self.old >= MANY and 2 * self.old >= self.connections


Slot = tuple[Served, Address]  # a service, and a real server behind it


def by_server(facts: Iterable[ConnectionsFact]) -> dict[Slot, Sums]:
    """Sum up for each real server of each service."""
    found: dict[Slot, Sums] = {}
    for fact in facts:
        slot = Served(fact.protocol, fact.vip, fact.port), fact.server
        found.setdefault(slot, Sums()).add(fact)
    return found


def half_open(facts: Iterable[ConnectionsFact]) -> Iterator[tuple[Slot, Sums]]:
    """Find the real servers most of whose connections stay in SYN_RECV."""
    return ((slot, sums) for slot, sums in by_server(facts).items() if sums.half_open)


def together(facts: Iterable[ConnectionsFact]) -> Sums:
    """Sum up all of them."""
    sums = Sums()
    for fact in facts:
        sums.add(fact)
    return sums
