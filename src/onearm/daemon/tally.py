"""What checks told of one probe so far: its health, and figures for those who look on; pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from datetime import datetime

from onearm.checks import Result
from onearm.health import Health, step
from onearm.snapshot import DOWN, LATENCY_BOUNDS_S
from onearm.spec import Check


@dataclass
class Tally:
    """One probe's record. Only its owner changes it."""

    check: Check
    health: Health = field(default_factory=Health)
    good: int = 0
    bad: int = 0
    last_latency_s: float | None = None
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    latency_sum_s: float = 0.0
    answered: float = 0.0  # when the last good answer came that counted

    def take(self, result: Result, now: datetime) -> bool:
        """Take one result in; say whether the status changed."""
        before = self.health
        if not result.ok:
            self.bad += 1
        else:
            self._answered(result.latency_s)
            if self._hasty(result.at):
                return False
            self.answered = result.at
        rise, fall = self.check.rise, self.check.fall
        self.health = step(before, result.ok, result.reason, now, rise, fall)
        return self.health.status != before.status

    def _answered(self, latency_s: float) -> None:
        self.good += 1
        self.last_latency_s = latency_s
        self.latency_sum_s += latency_s
        self.latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1

    def _hasty(self, at: float) -> bool:
        """Say whether a good answer is too close to the one before to prove anything more.

        A bad result is of the moment of its question, and questions are an interval apart; a good
        one is of the moment of its answer, and a late answer is followed by the next at once.
        """
        rising = self.health.status == DOWN and self.health.streak > 0
        return rising and at - self.answered < self.check.interval_s / 2

    def explained(self, shadow: Tally | None) -> Health:
        """Say in the reason whether the server itself is up, where that is known."""
        health = self.health
        if shadow is None or not health.reason or shadow.health.status != "up":
            return health
        text = f"the server is up but does not serve the VIP: {health.reason}"
        return replace(health, reason=text)
