"""The daemon's own host as a place, without a node between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from onearm.errors import PlaceError
from onearm.facts import HostFacts, ServiceFact
from onearm.model import Action, Key, Resource, Seen, State
from onearm.places import look
from onearm.places.host import HostPlace


@dataclass
class LocalPlace:
    """The host we run on. The ledger is read anew each time: every round starts from what is."""

    name: str
    adopt: bool = False
    tell: Callable[[str], None] = field(default=lambda _text: None)  # that no mark can be written
    told: str = ""

    def look(self, question: look.Question) -> HostFacts:
        """Gather the facts; raises PlaceError."""
        return look.look(question)

    def services(self) -> tuple[ServiceFact, ...]:
        """Read the IPVS table with its figures."""
        return look.services()

    def observe(self, wanted: State) -> dict[Key, Seen]:
        """Show what stands under the wanted keys, and what is ours."""
        return HostPlace(self.name).observe(wanted.values())

    def apply(
        self, batch: tuple[Action, ...], done: Callable[[Action], None]
    ) -> dict[Action, PlaceError]:
        """Try every action, return the refused."""
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
