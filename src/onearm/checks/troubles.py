"""Trouble of our own: told once for each kind and spell of it, not once for each probe."""

from __future__ import annotations

from collections.abc import Callable

from onearm.checks.target import Trouble

SPELL_S = 60.0  # without it, and a spell is over
KINDS_MOST = 64


class Troubles:
    """What has troubled us lately, by kind."""

    def __init__(self, tell: Callable[[Trouble], object]) -> None:
        self._tell = tell
        self._seen: dict[str, tuple[float, Trouble]] = {}

    def add(self, trouble: Trouble, now: float) -> None:
        last = self._seen.pop(trouble.kind, None)
        self._seen[trouble.kind] = (now, trouble)
        if last is None or now - last[0] > SPELL_S:
            self._tell(trouble)
        if len(self._seen) > KINDS_MOST:
            del self._seen[next(iter(self._seen))]

    def lately(self, now: float) -> tuple[Trouble, ...]:
        """Give those whose spell is not over."""
        return tuple(found for at, found in [*self._seen.values()] if now - at <= SPELL_S)
