"""What checks told of one probe so far: its health, and figures for those who look on; pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from datetime import datetime

from onearm.health import Health, step
from onearm.snapshot import LATENCY_BOUNDS_S
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

    def take(self, ok: bool, reason: str, latency_s: float, now: datetime) -> bool:  # noqa: FBT001
        """Take one result in; say whether the status changed."""
        before = self.health.status
        self.health = step(self.health, ok, reason, now, self.check.rise, self.check.fall)
        if ok:
            self.good += 1
            self.last_latency_s = latency_s
            self.latency_sum_s += latency_s
            self.latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        else:
            self.bad += 1
        return self.health.status != before

    def explained(self, shadow: Tally | None) -> Health:
        """Say in the reason whether the server itself is up, where that is known."""
        health = self.health
        if shadow is None or not health.reason or shadow.health.status != "up":
            return health
        text = f"the server is up but does not serve the VIP: {health.reason}"
        return replace(health, reason=text)
