"""What a service says of one of its real servers; the same words are read once."""

from __future__ import annotations

from typing import NamedTuple

import yaml

from onearm.spec import Forwarding
from onearm.spec_load import fields
from onearm.spec_load.kinds import read_bounds
from onearm.spec_load.notes import Complaints, known, shown
from onearm.spec_load.ways import read_way

MEMBER = ("weight", "upper", "lower", "forwarding", "port")

Words = tuple[str, ...]


class Body(NamedTuple):
    """What stands there, the port unread: what it may be depends on the service."""

    weight: int | None
    upper: int
    lower: int
    way: Forwarding | None
    port: yaml.Node | None


class Bodies:
    """The bodies read so far, by their words: a thousand services say few different things."""

    def __init__(self, notes: Complaints) -> None:
        """Begin with none."""
        self.notes = notes
        self.right: dict[Words, Body] = {}

    def read(self, key: yaml.Node, node: yaml.MappingNode) -> Body:
        """Read one anew, unless the same words were right before: a complaint has its own line."""
        words = _words(node)
        body = self.right.get(words)
        if body is None:
            complaints = len(self.notes.found)
            body = self._read(key, node)
            if words and body.port is None and len(self.notes.found) == complaints:
                self.right[words] = body
        return body

    def _read(self, key: yaml.Node, node: yaml.MappingNode) -> Body:
        what = f"real server {shown(key)} of a service"
        given = known(self.notes, node, what, MEMBER) or {}
        weight = self.notes.optional(given, "weight", fields.weight, 1)
        bounds = read_bounds(self.notes, given)
        way = read_way(self.notes, given.get("forwarding"))
        return Body(weight, *bounds, way, given.get("port"))


def _words(node: yaml.MappingNode) -> Words:
    """Give keys and values with their tags, as 5 is not "5"; nothing where a value is no scalar."""
    found: list[str] = []
    for pair in node.value:
        for part in pair:
            if not isinstance(part, yaml.ScalarNode):
                return ()
            found += (part.tag, part.value)
    return tuple(found)
