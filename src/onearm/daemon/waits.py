"""Who waits for a round: for a spec that stands, and for a drain that the ledger holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from onearm.errors import PlaceError
from onearm.model import Drain

Reply = Callable[[Any], None]


@dataclass(frozen=True)
class ForSpec:
    """Somebody who waits for the world to stand as a spec says, or for that moment."""

    reply: Reply
    digest: str | None
    until: float


@dataclass(frozen=True)
class ForDrain:
    """Somebody who had a host drained, or let it serve again: what is wanted, what was before."""

    reply: Reply
    host: str
    wanted: Drain | None
    before: Drain | None


@dataclass
class Waits:
    """All who wait; each is answered once."""

    specs: list[ForSpec] = field(default_factory=list)
    drains: list[ForDrain] = field(default_factory=list)

    def met(self, digest: str, *, stands: bool, hopeless: bool) -> Iterator[ForSpec]:
        """Give, and forget, those who have what they wait for, or never will."""
        for one in list(self.specs):
            taken = one.digest in {None, digest}
            over = time.monotonic() >= one.until
            if (taken and stands) or (not taken and hopeless) or over:
                self.specs.remove(one)
                yield one

    def drain(self, one: ForDrain) -> None:
        """Let somebody wait for a drain; who asked before for the same host was overtaken."""
        for other in [other for other in self.drains if other.host == one.host]:
            self.drains.remove(other)
            other.reply(PlaceError(f"{one.host}: somebody else asked otherwise at the same time"))
            one = replace(one, before=other.before)
        self.drains.append(one)

    def settle(self, noted: Mapping[str, Drain] | None, why: str) -> dict[str, Drain | None]:
        """Answer for every drain by what the marks say after a round: it is so, and outlives a
        crash, or it is refused (None: the marks cannot be read). Returns what to go back to.
        """
        undone: dict[str, Drain | None] = {}
        for one in self.drains:
            if noted is not None and noted.get(one.host) == one.wanted:
                one.reply({"host": one.host})
                continue
            undone[one.host] = one.before
            changed = "drained" if one.wanted else "let serve again"
            one.reply(PlaceError(f"{one.host} could not be {changed}: {why}"))
        self.drains.clear()
        return undone
