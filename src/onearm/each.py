"""The one thread pool: one blocking job per place, bounded; jobs share nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from onearm.errors import PlaceError, UsageError

WIDTH_VARIABLE = "ONEARM_PARALLEL"
WIDTH, MOST = 32, 1000  # places at once

T = TypeVar("T")


class Watch:
    """Who is told how jobs go on, from whatever thread; this one makes nothing of it."""

    def begin(self, what: str, places: Collection[str]) -> None:
        """Hear what is done now, and where."""

    def ended(self, place: str) -> None:
        """Hear that the job of a place ended, well or not."""


def at_once() -> int:
    """Say how many places may be at work at once: $ONEARM_PARALLEL, or 32."""
    said = os.environ.get(WIDTH_VARIABLE)
    if not said:
        return WIDTH
    if not said.isascii() or not said.isdigit() or not 1 <= int(said[:9]) <= MOST:
        raise UsageError(f"{WIDTH_VARIABLE}={said!r}: write how many hosts at once, 1 to {MOST}")
    return int(said)


def each(
    jobs: Mapping[str, Callable[[], T]],
    width: int | None = None,
    *,
    watch: Watch | None = None,
    what: str = "",
) -> tuple[dict[str, T], dict[str, PlaceError]]:
    """Run one job per place; return what each brought, and the error of each that failed.

    A place keeps its own deadline, so that no job hangs. Anything but a PlaceError is a bug of ours
    and comes through. `watch` is told that this is `what` is done.
    """
    if not jobs:
        return {}, {}
    told = watch or Watch()
    told.begin(what, jobs.keys())
    done: dict[str, T] = {}
    failed: dict[str, PlaceError] = {}
    with ThreadPoolExecutor(max_workers=min(width or at_once(), len(jobs))) as pool:
        futures = {place: pool.submit(_tell, told, place, job) for place, job in jobs.items()}
        for place, future in futures.items():
            try:
                done[place] = future.result()
            except PlaceError as error:
                failed[place] = error
    return done, failed


def _tell(watch: Watch, place: str, job: Callable[[], T]) -> T:
    try:
        return job()
    finally:
        watch.ended(place)
