"""The connection table of this host as a question is answered from it."""

from __future__ import annotations

from collections.abc import Iterable

from onearm.entries import Marked, Served, Wanted, marked_as
from onearm.kernel import connections
from onearm.kernel.links import Links
from onearm.ledger import Ledger
from onearm.model import Address, Service

__all__ = ["Served", "Wanted", "opened", "scan"]

GROUPS_MOST = 1 << 16  # some 40 MB; a destination has a few, whatever connections it has
opened = connections.table


def scan(
    wanted: Wanted, services: Iterable[Served]
) -> tuple[connections.Scan, tuple[Address, ...], tuple[Marked, ...]]:
    """Prepare to read it; the second value has this host's own addresses, the third the groups."""
    with Links() as links:
        own = tuple(fact.address for fact in links.addresses())
    marked = groups(Ledger())
    return connections.Scan(wanted, services, own, GROUPS_MOST, marked), own, marked


def groups(ledger: Ledger) -> tuple[Marked, ...]:
    """List the groups of ours, by what stands for them in the table."""
    ours = (mark.resource for mark in ledger.marks.values())
    return tuple(
        Marked(marked_as(r.mark, r.vip.version), Served(r.protocol, r.vip, r.port))
        for r in ours
        if isinstance(r, Service) and r.mark
    )
