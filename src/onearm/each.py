"""The one thread pool: one blocking job per place, bounded; jobs share nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from onearm.errors import PlaceError

WIDTH = 32  # places at once

T = TypeVar("T")


def each(
    jobs: Mapping[str, Callable[[], T]], width: int = WIDTH
) -> tuple[dict[str, T], dict[str, PlaceError]]:
    """Run one job per place; return what each brought, and the error of each that failed.

    A place keeps its own deadline, so that no job hangs. Anything but a PlaceError is a bug of ours
    and comes through.
    """
    if not jobs:
        return {}, {}
    done: dict[str, T] = {}
    failed: dict[str, PlaceError] = {}
    with ThreadPoolExecutor(max_workers=min(width, len(jobs))) as pool:
        futures = {place: pool.submit(job) for place, job in jobs.items()}
        for place, future in futures.items():
            try:
                done[place] = future.result()
            except PlaceError as error:
                failed[place] = error
    return done, failed
