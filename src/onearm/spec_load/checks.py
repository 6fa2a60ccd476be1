"""The `check:` of a spec and of its services: one kind each, and the keys that this kind knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from onearm.spec import Check
from onearm.spec_load import fields, probes
from onearm.spec_load.notes import NULL, Complaints, Fields, Wrong, entries, shown

Port = tuple[int, str]
Reader = Callable[[yaml.Node], Any]

COMMON = ("kind", "through", "interval", "timeout", "rise", "fall", "port", "address")
HTTP = ("method", "path", "host", "codes", "body")
TLS = ("verify", "ca")
KINDS: dict[str, tuple[str, ...]] = {  # and the keys that each knows beside the common ones
    "tcp": (),
    "http": HTTP,
    "https": (*HTTP, *TLS),
    "tls": ("host", *TLS),
    "udp": ("send", "expect"),
    "dns": ("query", "record", "answer"),
    "script": ("argv",),
    "icmp": (),
}
NONE = "none"
THROUGH = ("vip", "host")
NEEDS = {"dns": ("query", "query: www.example.org"), "script": ("argv", "argv: [/path/to/script]")}
UDP = ("udp", "dns")  # kinds whose packets are datagrams
FREE = ("script", "icmp")  # kinds of which onearm sends no packet to a port itself
HOST_ONLY = {
    "script": "a script opens its own connections, which do not carry the mark that leads there",
    "icmp": "IPVS hands on no echo requests",
}
SHORTEST_S, LONGEST_S = 0.1, 3600.0
LONGEST_TIMEOUT_S = 60.0
MOST_TIMES = 100  # of rise and fall
SPECIFIC = {key: [k for k, keys in KINDS.items() if key in keys] for key in (*HTTP, *TLS)}
SPECIFIC |= {key: [kind] for kind in ("udp", "dns", "script") for key in KINDS[kind]}
ALL = (*COMMON, *SPECIFIC)


class Checks:
    """The checks read so far: the file's own is what a service has that says nothing."""

    def __init__(self, notes: Complaints, default: yaml.Node | None) -> None:
        self.notes = notes
        self.default = default
        self.made: dict[tuple[int, str], Check | None] = {}  # by node and the service's protocol

    def read(self, service: yaml.Node, given: yaml.Node | None, port: Port | None) -> Check | None:
        """Give a service's check; None when it has none."""
        node = self.default if given is None else given
        protocol = port[1] if port else "tcp"
        check = None if node is None else self._made(node, protocol)
        if check and port and check.port is None and check.kind not in FREE:
            sends = "udp" if check.kind in UDP else "tcp"
            if sends != protocol:
                text = (
                    f"a check of kind {check.kind} asks a {sends} port, and the service's is"
                    f" {port[0]}/{protocol}: write the check's own port, like port: {port[0]}"
                )
                self.notes.add(given or service, text)
        return check

    def settle(self) -> None:
        """Read the file's own check even where every service has one of its own."""
        if self.default is not None and not any(key[0] == id(self.default) for key in self.made):
            self._made(self.default, "tcp")

    def _made(self, node: yaml.Node, protocol: str) -> Check | None:
        key = (id(node), protocol)
        if key not in self.made:
            self.made[key] = self._check(node, protocol)
        return self.made[key]

    def _check(self, node: yaml.Node, protocol: str) -> Check | None:
        if isinstance(node, yaml.ScalarNode):
            kind = self.notes.take(node, self._word)
            return None if kind in {None, NONE} else self._filled(node, {}, kind or _own(protocol))
        found = entries(self.notes, node, "check")
        if found is None:
            return None
        kind, known = self._kind(found, protocol)
        given: Fields = {}
        for key, (key_node, value) in found.items():
            if kind is None or key in (*COMMON, *KINDS[kind]):
                given[key] = value
            else:
                self.notes.add(key_node, self._misplaced(key, key_node, kind, known=known))
        return None if kind is None else self._filled(node, given, kind)

    def _kind(self, found: Any, protocol: str) -> tuple[str | None, bool]:
        if "kind" not in found:
            return _own(protocol), False
        return self.notes.take(found["kind"][1], self._named), True

    def _word(self, node: yaml.Node) -> str:
        if node.tag == NULL:
            raise Wrong(f"check is nothing: write a kind such as tcp, a map, or {NONE}")
        return fields.one_of(node, "check", (*KINDS, NONE), self.notes)

    def _named(self, node: yaml.Node) -> str:
        return fields.one_of(node, "kind of check", tuple(KINDS), self.notes)

    def _misplaced(self, key: str, node: yaml.Node, kind: str, *, known: bool) -> str:
        if key not in SPECIFIC:
            return f"unknown key {shown(node)} in check; {self.notes.meant(key, ALL)}"
        owners = SPECIFIC[key]
        cure = f"it goes with {', '.join(owners)}"
        if not known:
            cure += f": add kind: {owners[0]}"
        return f"a check of kind {kind} has no {key}; {cure}"

    def _filled(self, node: yaml.Node, given: Fields, kind: str) -> Check | None:
        if kind in NEEDS and NEEDS[kind][0] not in given:
            key, right = NEEDS[kind]
            self.notes.add(
                node, f"a check of kind {kind} has no {key}: write {{kind: {kind}, {right}}}"
            )
        values = self._times(node, given) | self._where(given, kind)
        readers: dict[str, Reader] = {
            "method": lambda n: fields.one_of(n, "method", probes.METHODS, self.notes),
            "record": lambda n: fields.one_of(n, "record", probes.RECORDS, self.notes),
            **probes.READERS,
        }
        for key in KINDS[kind]:
            if key in given:
                value = self.notes.take(given[key], readers[key])
                if value is not None:
                    values[key] = value
        check = Check(kind=kind, **values)
        self._suited(given, check)
        return check

    def _times(self, node: yaml.Node, given: Fields) -> dict[str, Any]:
        def span(key: str, most: float, default: float) -> float:
            read = lambda n: probes.span(n, key, SHORTEST_S, most)  # noqa: E731
            return self.notes.optional(given, key, read, default) or default

        def times(key: str, default: int) -> int:
            read = lambda n: fields.whole(n, key, 1, MOST_TIMES)  # noqa: E731
            return self.notes.optional(given, key, read, default) or default

        interval = span("interval", LONGEST_S, Check.interval_s)
        timeout = span("timeout", LONGEST_TIMEOUT_S, min(Check.timeout_s, interval))
        if timeout > interval:
            text = (
                f"timeout {timeout:g} s is longer than interval {interval:g} s: a check ends before"
                " the next one begins"
            )
            self.notes.add(given.get("timeout", node), text)
        return {
            "interval_s": interval,
            "timeout_s": timeout,
            "rise": times("rise", Check.rise),
            "fall": times("fall", Check.fall),
        }

    def _where(self, given: Fields, kind: str) -> dict[str, Any]:
        def through(node: yaml.Node) -> str:
            return fields.one_of(node, "through", THROUGH, self.notes)

        default = "host" if kind in HOST_ONLY else "vip"
        way = self.notes.optional(given, "through", through, default) or default
        if way == "vip" and kind in HOST_ONLY:
            text = f"a check of kind {kind} goes through host: {HOST_ONLY[kind]}"
            self.notes.add(given["through"], text)
        found: dict[str, Any] = {"through": way}
        if "port" in given and kind == "icmp":
            self.notes.add(given["port"], "a check of kind icmp has no port: leave the key out")
        elif "port" in given:
            found["port"] = self.notes.take(given["port"], probes.port)
        if "address" in given:
            found["address"] = self.notes.take(
                given["address"], lambda n: fields.address(n, "address of a check")
            )
            if way == "vip":
                text = (
                    "address goes with through: host, for through vip it is the VIP that is asked"
                )
                self.notes.add(given["address"], text)
        return found

    def _suited(self, given: Fields, check: Check) -> None:
        """Complain of keys that say nothing beside the others."""
        if check.body is not None and check.method == "HEAD":
            self.notes.add(given["body"], "an answer to HEAD has no body: write method: GET")
        if check.ca is not None and not check.verify:
            self.notes.add(given["ca"], "ca says nothing without verify: true beside it")
        if check.answer is not None:
            read = lambda n: probes.answer(n, check.record)  # noqa: E731
            self.notes.take(given["answer"], read)


def _own(protocol: str) -> str:
    """Give the kind of a check that says none: there is none of SCTP's own."""
    return "udp" if protocol == "udp" else "tcp"
