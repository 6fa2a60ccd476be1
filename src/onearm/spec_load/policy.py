"""What health does to weights: on_failure, panic, quorum, sorry server, slow start."""

from __future__ import annotations

from collections.abc import Collection

import yaml

from onearm.spec import Member, Policy
from onearm.spec_load import fields
from onearm.spec_load.notes import Complaints, Fields, Wrong, shown, text

POLICY = ("on_failure", "panic", "quorum", "sorry_server", "slow_start")
ON_FAILURE = ("remove", "weight 0")
WEIGHING = ("wrr", "wlc")  # schedulers for which a weight is a share of new connections
LONGEST_SLOW_START_S = 3600


def read_policy(
    notes: Complaints,
    given: Fields,
    servers: Collection[str],
    scheduler: str,
    members: tuple[Member, ...],
) -> Policy:
    """Read the keys of one service that say what health does."""

    def most(what: str, highest: int) -> int:
        node = given.get(what)
        least = 0 if what == "panic" else 1
        found = notes.take(node, lambda n: fields.whole(n, what, least, highest)) if node else None
        return least if found is None else found

    sorry = None
    if "sorry_server" in given:
        sorry = notes.take(given["sorry_server"], lambda n: _sorry(n, servers, members, notes))
    slow_start_s = notes.optional(given, "slow_start", lambda n: _slow_start(n, scheduler), 0.0)
    on_failure = notes.optional(
        given, "on_failure", lambda n: fields.one_of(n, "on_failure", ON_FAILURE, notes), "remove"
    )
    return Policy(
        on_failure=on_failure or "remove",
        panic=most("panic", 100),
        quorum=most("quorum", max(1, len(members))),
        sorry=sorry,
        slow_start_s=slow_start_s or 0.0,
    )


def _slow_start(node: yaml.Node, scheduler: str) -> float:
    right = "write 30s or 2m; 0 gives the whole weight at once"
    seconds = fields.duration(
        node, "slow_start", right, "is longer than 1h, the longest", LONGEST_SLOW_START_S
    )
    if seconds and scheduler not in WEIGHING:
        raise Wrong(
            f"slow_start {shown(node)}: scheduler {scheduler!r} does not share by weight; choose"
            f" {' or '.join(WEIGHING)}, or leave slow_start out"
        )
    return seconds


def _sorry(
    node: yaml.Node, servers: Collection[str], members: tuple[Member, ...], notes: Complaints
) -> str:
    name = text(node, "sorry_server")
    if servers and name not in servers:
        raise Wrong(
            f"sorry_server {shown(node)} is not in real_servers; {notes.meant(name, servers)}"
        )
    if name in {member.host for member in members}:
        raise Wrong(
            f"sorry_server {shown(node)} is one of this service's real servers: name one that is"
            " not, so that it can serve when they do not"
        )
    return name
