"""What becomes of a load: counted second by second, and each failure by itself."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from typing import Any, NamedTuple

from onearm.lab.load_talk import FINISHED, Talk

MOST_FAILURES = 10_000  # that are told one by one


class Wish(NamedTuple):
    """What load is wanted."""

    vip: str
    port: int
    rate: float  # new connections per second
    transfers: int  # at any time
    pace: int  # bytes per second of each transfer
    length: int  # bytes of each transfer
    timeout: float  # seconds without an answer, or without more of one
    seconds: float  # 0: until told to stop


class Count:
    """Connections of one kind, in one second or in all."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.started = self.finished = self.bytes = 0
        self.failed: Counter[str] = Counter()  # by reason, before the first byte of an answer
        self.interrupted: Counter[str] = Counter()  # by reason, after it
        self.servers: Counter[str] = Counter()  # of those that finished
        self.slowest_s = self.longest_gap_s = 0.0

    def received(self, count: int, gap_s: float) -> None:
        self.bytes += count
        self.longest_gap_s = max(self.longest_gap_s, gap_s)

    def ended(self, talk: Talk, outcome: str, now: float) -> None:
        if outcome == FINISHED:
            self.finished += 1
            self.servers[talk.server] += 1
            self.slowest_s = max(self.slowest_s, now - talk.begun)
        else:
            (self.interrupted if talk.bytes else self.failed)[outcome] += 1

    def add(self, other: Count) -> None:
        """Take in what another second had."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            setattr(self, name, max(mine, value) if name.endswith("_s") else mine + value)

    def as_object(self) -> dict[str, Any]:
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in vars(self).items()
        }


class Second(NamedTuple):
    """One second of both kinds, and what was open at its end, transfers by their server."""

    short: Count
    long: Count
    open: int
    on: Counter[str]

    def as_object(self, number: int) -> dict[str, Any]:
        short, long = self.short.as_object(), self.long.as_object()
        return {
            "second": number,
            "connections": {**short, "open": self.open},
            "transfers": {**long, "open": self.on.total(), "on": self.on},
        }


class Tally:
    """Everything that is counted: `short` and `long` are the second that runs."""

    def __init__(self, wish: Wish, now: float) -> None:
        """Start the clock."""
        self.wish = wish
        self.begun = now
        self.begun_at = datetime.now(timezone.utc)
        self.short, self.long = Count(), Count()
        self.seconds: list[Second] = []
        self.failures: list[dict[str, Any]] = []
        self.omitted = self.skipped = 0
        self.behind_s = 0.0

    def of(self, talk: Talk) -> Count:
        return self.long if talk.long else self.short

    def ended(self, talk: Talk, outcome: str, now: float) -> None:
        self.of(talk).ended(talk, outcome, now)
        if outcome != FINISHED and len(self.failures) < MOST_FAILURES:
            self.failures.append(self._failure(talk, outcome, now))
        elif outcome != FINISHED:
            self.omitted += 1

    def _failure(self, talk: Talk, outcome: str, now: float) -> dict[str, Any]:
        return {
            "kind": "transfer" if talk.long else "connection",
            "reason": outcome,
            "begun_s": round(talk.begun - self.begun, 3),
            "at_s": round(now - self.begun, 3),
            "source": talk.source(),
            "server": talk.server or None,
            "bytes": talk.bytes,
        }

    def close(self, opened: int, on: Counter[str]) -> Second:
        """End a second; return it."""
        self.seconds.append(Second(self.short, self.long, opened, on))
        self.short, self.long = Count(), Count()
        return self.seconds[-1]

    def whole(self) -> tuple[Count, Count]:
        """Add all seconds up."""
        short, long = Count(), Count()
        for second in self.seconds:
            short.add(second.short)
            long.add(second.long)
        return short, long

    def as_object(self, now: float, cpu_s: float) -> dict[str, Any]:
        (short, long), last = self.whole(), self.seconds[-1]
        return {
            "onearm": 1,
            "kind": "load",
            "target": f"{self.wish.vip}:{self.wish.port}",
            "rate_per_s": self.wish.rate,
            "pace_bytes_per_s": self.wish.pace,
            "timeout_s": self.wish.timeout,
            "begun": self.begun_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "lasted_s": round(now - self.begun, 3),
            "cpu_s": round(cpu_s, 3),
            "behind_s": round(self.behind_s, 3),
            "skipped": self.skipped,
            "connections": {**short.as_object(), "open": last.open},
            "transfers": {**long.as_object(), "open": last.on.total(), "on": last.on},
            "failures": self.failures,
            "failures_omitted": self.omitted,
            "seconds": [second.as_object(n) for n, second in enumerate(self.seconds)],
        }
