"""The daemon's own host as a place, without a node between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from onearm.errors import PlaceError
from onearm.facts import HostFacts, ServiceFact
from onearm.kernel.ipvs import Table
from onearm.model import Action, Key, Resource, Seen, State
from onearm.places import director, look
from onearm.places.host import HostPlace, Sight

FRESH_S = 1.0  # so old a reading is still what stands


@dataclass
class LocalPlace:
    """The host we run on. Every round starts from what is, and from the ledger's file."""

    name: str
    adopt: bool = False
    tell: Callable[[str], None] = field(default=lambda _text: None)  # that no mark can be written
    told: str = ""

    def __post_init__(self) -> None:
        """Begin with nothing read."""
        self._table: Table = ()
        self._fresh_until = 0.0
        self._sight = Sight()

    def look(self, question: look.Question) -> HostFacts:
        """Gather the facts; raises PlaceError. The IPVS table is kept for the observation."""
        return look.look(question, self._read)

    def _read(self) -> Table:
        self._table = director.table()
        self._fresh_until = time.monotonic() + FRESH_S
        return self._table

    def services(self) -> tuple[ServiceFact, ...]:
        """Read the IPVS table with its figures."""
        return look.services()

    def observe(self, wanted: State) -> dict[Key, Seen]:
        """Show what stands under the wanted keys, and what is ours.

        A round looks, decides and observes: the first observation after a look is of what was
        looked at, so that a table of many thousands is read once.
        """
        fresh = time.monotonic() < self._fresh_until
        table = self._table if fresh else None
        self._table, self._fresh_until = (), 0.0
        place = HostPlace(self.name, table=table, sight=self._sight, files=False)
        return place.observe(wanted)

    def apply(
        self, batch: tuple[Action, ...], done: Callable[[Action], None]
    ) -> dict[Action, PlaceError]:
        """Try every action, return the refused."""
        self._table, self._fresh_until = (), 0.0
        before, self.told = self.told, ""

        def unwritten(text: str) -> None:
            self.told = text
            if text != before:
                self.tell(text)

        return HostPlace(self.name, adopt=self.adopt, unwritten=unwritten).apply(batch, done)

    def note(self, resources: Sequence[Resource]) -> None:
        """Mark again what a lost ledger named; raises PlaceError."""
        HostPlace(self.name).note(resources)

    def remember_hosts(self, hosts: tuple[str, ...]) -> None:
        """Keep the host names of an apply."""
        HostPlace(self.name).remember_hosts(hosts)
