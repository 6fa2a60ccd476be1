"""What kind of service it is: how long clients stay, how many a real server takes, timeouts."""

from __future__ import annotations

from typing import NamedTuple

import yaml

from onearm.model import Address
from onearm.spec_load import fields
from onearm.spec_load.notes import Complaints, Fields, Wrong, known, shown

PERSISTENCE = ("timeout", "netmask", "engine")
ENGINES = ("sip",)
MOST = 999_999  # connections
LONGEST_S = 31 * 24 * 3600  # as ipvsadm has it
TIMEOUTS = ("tcp", "tcp_fin", "udp")
IDLE = "write 900s, 15m or 1h; to leave the kernel's own, leave it out"
TIMEOUT = "write 300s, 5m or 1h; for none leave persistence out"


class Persistence(NamedTuple):
    """How long a client stays with its server, clients of which prefix are one, by which engine."""

    seconds: int = 0
    mask: int | None = None
    engine: str = ""


def read_persistence(
    notes: Complaints, given: Fields, vip: Address | None, protocol: str | None
) -> Persistence:
    """Read `persistence: 300s`, or the map with all that it can say."""
    if "persistence" not in given:
        return Persistence()
    node = given["persistence"]
    if not isinstance(node, yaml.MappingNode):
        return Persistence(notes.take(node, _timeout) or 0)
    found = known(notes, node, "persistence", PERSISTENCE) or {}
    if "timeout" not in found:
        notes.add(node, "persistence has no timeout: write {timeout: 300s}")
    seconds = notes.optional(found, "timeout", _timeout, 0)
    host: int = 32 if vip is None else vip.max_prefixlen
    mask = notes.optional(found, "netmask", lambda n: fields.whole(n, "netmask", 1, host), host)
    engine = notes.optional(
        found, "engine", lambda n: fields.one_of(n, "engine", ENGINES, notes), ""
    )
    if engine and protocol not in {"udp", None}:
        text = f"engine {engine} reads SIP in datagrams, and the service's protocol is {protocol}"
        notes.add(found["engine"], f"{text}: leave it out, or make it a service of udp")
    return Persistence(seconds or 0, None if mask == host else mask, engine or "")


def read_bounds(notes: Complaints, given: Fields) -> tuple[int, int]:
    """Read with how many connections a real server gets no new ones, and with how few again."""
    upper = notes.optional(given, "upper", lambda n: fields.whole(n, "upper", 1, MOST), 0) or 0
    lower = notes.optional(given, "lower", lambda n: fields.whole(n, "lower", 1, MOST), 0) or 0
    if lower and "upper" not in given:
        notes.add(given["lower"], f"lower {lower} goes with upper: the bound that is reached first")
    elif lower > upper > 0:
        text = f"lower {lower} is greater than upper {upper}"
        notes.add(given["lower"], f"{text}: write at most that, or leave lower out")
    return upper, lower


def read_timeouts(notes: Complaints, top: Fields) -> tuple[tuple[str, int], ...]:
    """Read how long idle connections are kept, as far as it is said."""
    if "timeouts" not in top:
        return ()
    given = known(notes, top["timeouts"], "timeouts", TIMEOUTS)
    if given is not None and not top["timeouts"].value:
        notes.add(top["timeouts"], "timeouts is empty: write {tcp: 900s}, or leave it out")
    made = [(name, _idle(notes, name, node)) for name, node in (given or {}).items()]
    return tuple(sorted((name, seconds) for name, seconds in made if seconds))


def _idle(notes: Complaints, name: str, node: yaml.Node) -> int:
    return notes.take(node, lambda n: _seconds(n, f"timeout {name}", IDLE)) or 0


def _timeout(node: yaml.Node) -> int:
    return _seconds(node, "persistence", TIMEOUT)


def _seconds(node: yaml.Node, what: str, right: str) -> int:
    seconds = fields.duration(node, what, right, "is longer than 744h, the longest", LONGEST_S)
    if not seconds:
        raise Wrong(f"{what} {shown(node)}: {right}")
    return int(seconds)
