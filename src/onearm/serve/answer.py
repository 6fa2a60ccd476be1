"""A snapshot as other processes get it: read back from a reply, and as the documented object."""

from __future__ import annotations

from typing import Any

from onearm import wire
from onearm.alerts import alerts, verdict
from onearm.serve.client import HEAD
from onearm.snapshot import Placed, Snapshot, joined


def assembled(bare: Any, rows: list[Any]) -> Snapshot:
    """Put a reply to `snapshot` together: what ended it, and the rows of its parts."""
    placed: tuple[Placed, ...] = wire.decode(tuple[Placed, ...], rows)
    snapshot: Snapshot = wire.decode(Snapshot, bare)
    return joined(snapshot, placed)


def as_object(snapshot: Snapshot) -> dict[str, Any]:
    """Give the object that is printed and that the page reads."""
    said = {
        "verdict": wire.encode(verdict(snapshot)),
        "alerts": wire.encode(alerts(snapshot)),
    }
    return {**HEAD, "kind": "snapshot", **wire.encode(snapshot), **said}
