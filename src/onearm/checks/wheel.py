"""Timers in ticks: what is due at the same tick is done in one go, for one wake-up costs more."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Generic, TypeVar

TICK_S = 0.05

Begin = TypeVar("Begin")
Expiry = TypeVar("Expiry")


@dataclass(slots=True)
class Slot(Generic[Begin, Expiry]):
    """What is due at one tick; expiries come first."""

    expiries: list[Expiry] = field(default_factory=list)
    begins: list[Begin] = field(default_factory=list)


class Wheel(Generic[Begin, Expiry]):
    """Slots by tick. `pause` lets the wheel stand still for a while that was nobody's but ours."""

    def __init__(self, now: float) -> None:
        self._origin = now
        self._slots: dict[int, Slot[Begin, Expiry]] = {}
        self._ticks: list[int] = []  # a heap of the slots' ticks

    def time(self, now: float) -> float:
        """Give the wheel's own time, which its pauses do not count in."""
        return now - self._origin

    def slot(self, when: float) -> Slot[Begin, Expiry]:
        """Give the slot of the first tick that is not before a time of the wheel's."""
        tick = math.ceil(when / TICK_S)
        found = self._slots.get(tick)
        if found is None:
            found = self._slots[tick] = Slot()
            heapq.heappush(self._ticks, tick)
        return found

    def wait_s(self, now: float) -> float | None:
        """Say how long nothing is due; None when nothing ever is."""
        if not self._ticks:
            return None
        return max(0.0, self._origin + self._ticks[0] * TICK_S - now)

    def late_s(self, now: float) -> float | None:
        """Say how late the first slot is; None when none is due."""
        if not self._ticks:
            return None
        late = now - (self._origin + self._ticks[0] * TICK_S)
        return late if late >= 0 else None

    def take(self) -> Slot[Begin, Expiry]:
        return self._slots.pop(heapq.heappop(self._ticks))

    def pause(self, seconds: float) -> None:
        self._origin += seconds
