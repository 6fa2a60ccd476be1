"""The endpoints of a service: its VIP and port, or the lists and ranges that make it a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import yaml

from onearm.model import Address
from onearm.spec import End
from onearm.spec_load import fields
from onearm.spec_load.notes import Complaints, Fields, line, shown

MOST = 64  # endpoints of a group: a packet is compared with the rule of each

Reader = Callable[[yaml.Node], Address | None]
Span = tuple[int, int, int]  # first and last port, line


class Ends(NamedTuple):
    """What a service says of its endpoints, as far as it can be read."""

    vips: list[Address]
    ports: list[fields.Ports]

    @property
    def vip(self) -> Address | None:
        return self.vips[0] if self.vips else None

    @property
    def port(self) -> tuple[int, str] | None:
        return (self.ports[0].first, self.ports[0].protocol) if self.ports else None

    @property
    def all(self) -> tuple[End, ...]:
        """Each VIP with each port."""
        return tuple(End(vip, one.first, one.last) for vip in self.vips for one in self.ports)

    @property
    def group(self) -> tuple[End, ...]:
        """All of them where they are more than one VIP with one port."""
        found = self.all
        return found if len(found) > 1 or found[0].port != found[0].last else ()


def read_ends(notes: Complaints, node: yaml.Node, given: Fields, vip: Reader) -> Ends:
    """Read `vip` or `vips`, `port` or `ports`; complain of what a group cannot be."""
    vips = [found for n in _nodes(notes, node, given, "vip", "203.0.113.2") if (found := vip(n))]
    nodes = _nodes(notes, node, given, "port", "80/tcp")
    ports = [read for n in nodes if (read := notes.take(n, fields.ports))]
    if len(vips) * len(ports) > MOST:
        text = f"a group of {len(vips) * len(ports)} endpoints: {MOST} are the most"
        notes.add(node, f"{text}, as each packet is compared with the rule of each; use ranges")
    if len({vip.version for vip in vips}) > 1:
        text = "vips are of IPv4 and IPv6, which the kernel has no common service for"
        notes.add(given["vips"], f"{text}: write a service for each")
    if len({one.protocol for one in ports}) > 1:
        names = " and ".join(sorted({one.protocol for one in ports}))
        notes.add(given["ports"], f"ports are of {names}: write a service for each protocol")
    return Ends(vips, ports)


def _nodes(
    notes: Complaints, node: yaml.Node, given: Fields, key: str, right: str
) -> list[yaml.Node]:
    """List the nodes of one key or of its plural; none where they cannot be read."""
    several = f"{key}s"
    if key in given and several in given:
        notes.add(given[several], f"a service has {key} and {several}: write one of the two")
    if several not in given:
        if key not in given:
            notes.add(node, f"a service has no {key}: write {key}: {right}")
        return [given[key]] if key in given else []
    found = given[several]
    if not isinstance(found, yaml.SequenceNode) or not found.value:
        seen = "empty" if isinstance(found, yaml.SequenceNode) else shown(found)
        notes.add(found, f"{several} is {seen}: write a list like [{right}], or {key}: {right}")
        return []
    return list(found.value)


class Claims:
    """Which endpoints were given to a service before: none may belong to two."""

    def __init__(self, notes: Complaints) -> None:
        """Begin with none."""
        self.notes = notes
        self.lines: dict[tuple[str, Address, int], int] = {}
        self.spans: dict[tuple[str, Address], list[Span]] = {}

    def claim(self, node: yaml.Node, protocol: str, end: End) -> None:
        """Complain of what is taken; take it."""
        at = self._taken(protocol, end)
        if at is not None:
            self.notes.add(node, f"service {end.vip} {_overlap(end, protocol, at)}")
        if end.port == end.last:
            self.lines.setdefault((protocol, end.vip, end.port), line(node))
        else:
            span = (end.port, end.last, line(node))
            self.spans.setdefault((protocol, end.vip), []).append(span)

    def _taken(self, protocol: str, end: End) -> int | None:
        """Give the line of what has one of its ports."""
        for first, last, at in self.spans.get((protocol, end.vip), ()):
            if first <= end.last and end.port <= last:
                return at
        if end.port == end.last:
            return self.lines.get((protocol, end.vip, end.port))
        several = (
            at
            for (other, vip, port), at in self.lines.items()
            if (other, vip) == (protocol, end.vip) and end.port <= port <= end.last
        )
        return next(several, None)


def _overlap(end: End, protocol: str, at: int) -> str:
    if end.port == end.last:
        return f"{end.port}/{protocol} stands twice, first at line {at}: join them"
    ports = f"{end.port}-{end.last}/{protocol}"
    return f"{ports} has ports of the service at line {at}: a port belongs to one of them"
