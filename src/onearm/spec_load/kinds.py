"""What kind of service it is: how long clients stay with their real server."""

from __future__ import annotations

from typing import NamedTuple

import yaml

from onearm.model import Address
from onearm.spec_load import fields
from onearm.spec_load.notes import Complaints, Fields, Wrong, known, shown

PERSISTENCE = ("timeout", "netmask", "engine")
ENGINES = ("sip",)
LONGEST_S = 31 * 24 * 3600  # as ipvsadm has it
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


def _timeout(node: yaml.Node) -> int:
    seconds = fields.duration(
        node, "persistence", TIMEOUT, "is longer than 744h, the longest", LONGEST_S
    )
    if not seconds:
        raise Wrong(f"persistence {shown(node)}: {TIMEOUT}")
    return int(seconds)
