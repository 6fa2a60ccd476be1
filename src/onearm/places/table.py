"""The connection table of this host as a question is answered from it."""

from __future__ import annotations

from collections.abc import Iterable

from onearm.entries import Served, Wanted
from onearm.kernel import connections
from onearm.kernel.links import Links
from onearm.model import Address

__all__ = ["Served", "Wanted", "opened", "scan"]

GROUPS_MOST = 1 << 16  # some 40 MB; a destination has a few, whatever connections it has
opened = connections.table


def scan(
    wanted: Wanted, services: Iterable[Served]
) -> tuple[connections.Scan, tuple[Address, ...]]:
    """Prepare to read it; the second value has this host's own addresses."""
    with Links() as links:
        own = tuple(fact.address for fact in links.addresses())
    return connections.Scan(wanted, services, own, GROUPS_MOST), own
