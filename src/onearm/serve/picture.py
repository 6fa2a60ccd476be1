"""A snapshot as bytes, made once for all who ask: as one object, and as lines of bounded length."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

from onearm import wire
from onearm.serve.answer import as_object
from onearm.serve.client import HEAD
from onearm.snapshot import Snapshot, split

Latest = Callable[[], Snapshot]


class Rendered(NamedTuple):
    """A snapshot with what was made of it."""

    snapshot: Snapshot
    data: bytes


class Once:
    """Makes bytes of the latest snapshot, and keeps them as long as it stays the latest."""

    def __init__(self, latest: Latest, make: Callable[[Snapshot], bytes]) -> None:
        """Make nothing before somebody asks."""
        self._latest, self._make = latest, make
        self._lock = threading.Lock()
        self._kept: Rendered | None = None

    def __call__(self) -> bytes:
        """Give the bytes; who asks at the same time waits and takes the same."""
        with self._lock:
            snapshot = self._latest()
            if self._kept is None or self._kept.snapshot is not snapshot:
                self._kept = Rendered(snapshot, self._make(snapshot))
            return self._kept.data


class Picture:
    """The latest snapshot for the socket and for the page."""

    def __init__(self, latest: Latest) -> None:
        """Ask `latest` each time."""
        self._object = Once(latest, lambda snapshot: wire.line(as_object(snapshot)))
        self._lines = Once(latest, _lines)

    def object(self) -> bytes:
        """Give the snapshot as one object, with the clock of this host at this moment."""
        return self._object()[:-2] + b"," + wire.line({"now": now()})[1:]

    def lines(self) -> tuple[bytes, ...]:
        """Give the lines of a reply."""
        return (self._lines(),)


def _lines(snapshot: Snapshot) -> bytes:
    bare, placed = split(snapshot)
    head = wire.line({**HEAD, "kind": "part"})[:-2] + b","
    parts = b"".join(head + line[1:] for line in wire.bulk(("part",), placed))
    return parts + wire.line({**HEAD, "kind": "reply", "ok": wire.encode(bare)})


def now() -> str:
    """Give this host's clock, RFC 3339 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
