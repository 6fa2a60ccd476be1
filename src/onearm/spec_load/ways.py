"""How packets get to real servers: the word or map of `forwarding`, and what must agree."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from onearm.model import IPV4
from onearm.spec import DIRECT, Forwarding, VirtualService
from onearm.spec_load import fields
from onearm.spec_load.ends import Ends
from onearm.spec_load.notes import Complaints, known, shown

METHODS = ("direct", "tunnel", "masq")
TUNNELS = ("ipip", "gue", "gre")
WAY = ("method", "type", "port")
GUE_PORT = 6080  # registered for generic UDP encapsulation with IANA


def read_way(complaints: Complaints, node: yaml.Node | None) -> Forwarding | None:
    """Read `tunnel`, or `{method: tunnel, type: gue, port: 6080}`; None when it is not said."""
    if node is None:
        return None
    if not isinstance(node, yaml.MappingNode):
        method = complaints.take(node, lambda n: _one_of(n, "forwarding", METHODS, complaints))
        return _way(method or DIRECT.method, "", None)
    given = known(complaints, node, "forwarding", WAY) or {}
    if "method" not in given:
        complaints.add(node, "forwarding has no method: write method: tunnel, or the word alone")
        return DIRECT
    method = _word(complaints, given.get("method"), "method", METHODS) or DIRECT.method
    tunnel = _word(complaints, given.get("type"), "type", TUNNELS) or ""
    port = complaints.optional(given, "port", port_number, None)
    for key, of, what in (("type", "tunnel", method), ("port", "gue", tunnel)):
        if key in given and what != of:
            complaints.add(given[key], f"{key} of forwarding goes with {of} only")
    return _way(method, tunnel, port)


def _word(
    complaints: Complaints, node: yaml.Node | None, what: str, words: tuple[str, ...]
) -> str | None:
    if node is None:
        return None
    return complaints.take(node, lambda n: _one_of(n, f"forwarding {what}", words, complaints))


def _one_of(node: yaml.Node, what: str, words: tuple[str, ...], complaints: Complaints) -> str:
    return fields.one_of(node, what, words, complaints)


def _way(method: str, tunnel: str, port: int | None) -> Forwarding:
    if method != "tunnel":
        return Forwarding(method)
    kind = tunnel or TUNNELS[0]
    return Forwarding(method, kind, (port or GUE_PORT) if kind == "gue" else 0)


def port_number(node: yaml.Node) -> int:
    """Read a port without a protocol."""
    return fields.whole(node, "port", 1, fields.HIGHEST_PORT)


def own_port(complaints: Complaints, node: yaml.Node | None, way: Forwarding, ends: Ends) -> int:
    """Read the port that a real server behind masq answers on; 0 where it is the service's."""
    if node is None:
        return 0
    if way.method != "masq":
        text = (
            f"port {shown(node)}: with forwarding {way.method} a real server has no port of its"
            " own, it is the VIP's port; forwarding: masq maps ports"
        )
        complaints.add(node, text)
        return 0
    port = complaints.take(node, port_number) or 0
    if len(ends.all) > 1 or any(end.port != end.last for end in ends.all):
        text = f"port {shown(node)}: packets of a group keep their port, whichever it is"
        complaints.add(node, f"{text}; write a service of its own for what is mapped")
        return 0
    return 0 if ends.port is not None and port == ends.port[0] else port


def agree(complaints: Complaints, node: yaml.Node, services: Iterable[VirtualService]) -> None:
    """Complain of a real server that is behind masq in one service and not in another.

    Its way back leads over the director, which a server that answers clients itself must avoid.
    IPv6 has ways back of its own, and no masq.
    """
    masq: dict[str, VirtualService] = {}
    other: dict[str, VirtualService] = {}
    for service in services:
        for host in service.hosts if service.vip.version == IPV4 else ():
            (masq if service.way(host).method == "masq" else other).setdefault(host, service)
    for host in sorted(masq.keys() & other.keys()):
        said, answers = masq[host], other[host]
        text = (
            f"real server {host!r} is behind masq for {said.vip} {said.port}/{said.protocol} and"
            f" not for {answers.vip} {answers.port}/{answers.protocol}: its way back leads over the"
            " director or past it, so say masq in all its IPv4 services or in none"
        )
        complaints.add(node, text)


def one_family(complaints: Complaints, node: yaml.Node, service: VirtualService) -> None:
    """Complain of ways that are built for IPv4 alone."""
    other = [h for h in service.hosts if service.way(h).method != "direct"]
    if service.vip.version != IPV4 and other:
        text = (
            f"vip {service.vip} is IPv6, and {other[0]!r} is reached by"
            f" {service.way(other[0]).method}: IPv6 has forwarding direct only"
        )
        complaints.add(node, text)


def no_masq(complaints: Complaints, node: yaml.Node, service: VirtualService) -> None:
    """Complain of masq with ops: what the kernel keeps of a connection translates its replies."""
    behind = [h for h in service.hosts if service.way(h).method == "masq"]
    if behind:
        text = (
            f"flag ops keeps no connection, and {behind[0]!r} is reached by masq, whose replies are"
            " translated by it: leave ops out, or reach it by direct or tunnel"
        )
        complaints.add(node, text)


def without_a_cloud(
    complaints: Complaints, node: yaml.Node | None, services: Iterable[VirtualService]
) -> None:
    """Complain of ways that need other rules of a cloud than those that are planned."""
    if node is None:
        return
    for service in services:
        for host in service.hosts:
            method = service.way(host).method
            if method != "direct":
                text = (
                    f"openstack plans the ports of direct routing, and {host!r} is reached by"
                    f" {method}: leave the section out and set those ports yourself"
                )
                complaints.add(node, text)
                return
