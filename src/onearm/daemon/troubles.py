"""What troubles the daemon itself, such as a dead link: each told once, and forgotten when over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from onearm.checks.troubles import SPELL_S

MOST = 20  # different ones at a time


@dataclass
class Troubles:
    """The troubles of the last minute, with the moment at which each was met last."""

    met: dict[str, float] = field(default_factory=dict)

    def add(self, text: str, now: float) -> bool:
        """Meet one; say whether that is news."""
        news = text not in self.lately(now)
        if not news or len(self.met) < MOST:
            self.met[text] = now
            return news
        return False

    def lately(self, now: float, still: Iterable[str] = ()) -> tuple[str, ...]:
        """List those that are not over, with those that somebody else knows of."""
        self.met = {text: at for text, at in self.met.items() if now - at <= SPELL_S}
        return tuple(dict.fromkeys([*self.met, *still]))
