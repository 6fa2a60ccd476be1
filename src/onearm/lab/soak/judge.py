"""What a soak found, judged: every failure must have its trouble, and nothing may grow; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

GRACE_S = 1.5  # clocks of guest and machine differ, and what was under way fails a little later
WARM_S = 20.0  # of a daemon's life, in which it may still fill its books
GROWTH = 0.05
LEAST_KB = 1500  # less than that is no leak, over so short a time
SPARE = 6  # descriptors of probes that happen to be under way


class Window(NamedTuple):
    """When a trouble was on, from its planting until all was right again, and whom it may cost."""

    begun: float
    over: float
    what: str
    costs: frozenset[str]


class Sample(NamedTuple):
    """The daemon at one moment."""

    at: float
    pid: int
    rss_kb: int
    fds: int
    sockets: int
    marks: int
    entries: int


def unexplained(result: dict[str, Any], windows: Sequence[Window]) -> list[dict[str, Any]]:
    """Give the failures that no trouble accounts for."""
    began = datetime.fromisoformat(result["begun"].replace("Z", "+00:00")).timestamp()
    timeout = result["timeout_s"]
    return [
        {**one, "at": began + one["at_s"]}
        for one in result["failures"]
        if not any(_explains(w, one, began, timeout) for w in windows)
    ]


def _explains(window: Window, one: dict[str, Any], began: float, timeout: float) -> bool:
    """A connection lives as long as its trouble; a transfer is told by its last seconds."""
    at = began + one["at_s"]
    since = max(began + one["begun_s"], at - timeout)
    there = one["server"] is None or one["server"] in window.costs
    during = since <= window.over + GRACE_S and at >= window.begun - GRACE_S
    return bool(window.costs) and there and during


class Fit(NamedTuple):
    """A straight line through the memory of one daemon's life."""

    pid: int
    samples: int
    lasted_s: float
    first_kb: float
    kb_per_minute: float

    @property
    def growth_kb(self) -> float:
        return self.kb_per_minute * self.lasted_s / 60

    @property
    def grows(self) -> bool:
        return self.growth_kb > max(LEAST_KB, GROWTH * self.first_kb)


def fits(samples: Sequence[Sample]) -> list[Fit]:
    """Fit each life that lasted long enough to say something."""
    lives: dict[int, list[Sample]] = {}
    for sample in samples:
        lives.setdefault(sample.pid, []).append(sample)
    warm = [[s for s in life if s.at >= life[0].at + WARM_S] for life in lives.values()]
    return [_fit(life) for life in warm if len(life) > 2]  # noqa: PLR2004 - two points fit always


def _fit(life: Sequence[Sample]) -> Fit:
    xs = [sample.at - life[0].at for sample in life]
    ys = [float(sample.rss_kb) for sample in life]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    return Fit(life[0].pid, len(life), xs[-1], mean_y - slope * mean_x, slope * 60)


def leaks(quiet: Sample, end: Sample) -> list[str]:
    """Compare a quiet daemon at the end with a quiet one at the beginning."""
    said = []
    if end.fds > quiet.fds + SPARE:
        said.append(f"descriptors: {quiet.fds} at the beginning, {end.fds} at the end")
    if end.sockets > quiet.sockets + SPARE:
        said.append(f"sockets: {quiet.sockets} at the beginning, {end.sockets} at the end")
    if end.marks != quiet.marks:
        said.append(f"marks: {quiet.marks} at the beginning, {end.marks} at the end")
    return said
