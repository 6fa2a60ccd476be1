"""Single values of a spec: a node goes in, a value or a sentence about it comes out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

import yaml

from onearm.addresses import shared
from onearm.model import IPV4, Address, Network
from onearm.spec import NAME
from onearm.spec_load.notes import (
    BOOLEAN,
    INTEGER,
    NULL,
    READS_AS,
    TEXT,
    Complaints,
    Wrong,
    shown,
    text,
)

DECIMAL = re.compile(r"[+-]?(0|[1-9][0-9]*)", re.ASCII)
DURATION = re.compile(r"(0|[1-9][0-9]{0,8})([smh])", re.ASCII)
PORT = re.compile(r"(0|[1-9][0-9]{0,8})(?:-(0|[1-9][0-9]{0,8}))?/([A-Za-z]+)", re.ASCII)
PREFIX = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}", re.ASCII)

PROTOCOLS = ("tcp", "udp", "sctp")
SECONDS = {"s": 1, "m": 60, "h": 3600}
LONGEST_DRAIN_S = 24 * 3600
HIGHEST_PORT = 65535
HIGHEST_WEIGHT = 65535  # what ipvsadm and keepalived take


def name(node: yaml.Node, what: str) -> str:
    found = text(node, what)
    if not NAME.fullmatch(found):
        raise Wrong(
            f"{what} {shown(node)}: up to 63 letters, digits and . _ - "
            "are allowed, the first a letter or digit"
        )
    return found


def one_of(node: yaml.Node, what: str, known: Collection[str], notes: Complaints) -> str:
    found = text(node, what)
    if found not in known:
        raise Wrong(f"unknown {what} {shown(node)}; {notes.meant(found, known)}")
    return found


def boolean(node: yaml.Node, what: str) -> bool:
    if not isinstance(node, yaml.ScalarNode) or node.tag != BOOLEAN:
        raise Wrong(f"{what} is {shown(node)}: write true or false")
    return str(node.value).lower() in {"true", "yes", "on"}


def weight(node: yaml.Node) -> int:
    return whole(node, "weight", 0, HIGHEST_WEIGHT)


def whole(node: yaml.Node, what: str, least: int, most: int) -> int:
    right = f"write a whole number from {least} to {most}, without quotes"
    if not isinstance(node, yaml.ScalarNode) or not DECIMAL.fullmatch(node.value):
        raise Wrong(f"{what} is {shown(node)}: {right}")
    if node.tag != INTEGER or len(node.value) > 6 or not least <= int(node.value) <= most:  # noqa: PLR2004
        raise Wrong(f"{what} {shown(node)}: {right}")
    return int(node.value)


class Ports(NamedTuple):
    """Ports of a protocol, from the first to the last; mostly one."""

    first: int
    last: int
    protocol: str


def ports(node: yaml.Node) -> Ports:
    """Read `80/tcp`, or `5000-5100/udp`."""
    if isinstance(node, yaml.ScalarNode) and DECIMAL.fullmatch(node.value):
        raise Wrong(f"port {node.value[:9]} lacks its protocol: write 80/tcp or 80/udp")
    found = PORT.fullmatch(text(node, "port"))
    if not found:
        raise Wrong(f"port {shown(node)}: write it like 80/tcp or 53/udp")
    if found[3] not in PROTOCOLS:
        raise Wrong(f"port {shown(node)}: the protocol is tcp, udp or sctp, in small letters")
    first, last = int(found[1]), int(found[2] or found[1])
    if not (1 <= first <= HIGHEST_PORT and 1 <= last <= HIGHEST_PORT):
        raise Wrong(f"port {shown(node)}: ports go from 1 to {HIGHEST_PORT}")
    if first > last:
        raise Wrong(f"port {shown(node)}: the first port of a range is the lesser one")
    return Ports(first, last, found[3])


def duration(
    node: yaml.Node,
    what: str = "drain",
    right: str = "write 30s, 5m or 1h; 0 cuts connections at once",
    longest: str = "is longer than 24h, the longest that is waited",
    most_s: int = LONGEST_DRAIN_S,
) -> float:
    """Read `30s`, `5m`, `1h` or 0."""
    if isinstance(node, yaml.ScalarNode) and node.value == "0" and node.tag in {INTEGER, TEXT}:
        return 0.0
    if isinstance(node, yaml.ScalarNode) and node.tag in READS_AS and node.tag != NULL:
        raise Wrong(f"{what} {shown(node)} has no unit: {right}")
    found = DURATION.fullmatch(text(node, what))
    if not found:
        raise Wrong(f"{what} {shown(node)}: {right}")
    seconds = int(found[1]) * SECONDS[found[2]]
    if seconds > most_s:
        raise Wrong(f"{what} {shown(node)} {longest}")
    return float(seconds)


def address(node: yaml.Node, what: str) -> Address:
    """Read an address of either family that one host can have."""
    found = text(node, what)
    if "/" in found:
        raise Wrong(f"{what} {shown(node)}: write the address alone, without /prefix length")
    if "%" in found:
        raise Wrong(f"{what} {shown(node)}: write the address alone, without %LINK")
    try:
        value = ip_address(found)
    except ValueError:
        raise Wrong(
            f"{what} {shown(node)} is no address: write one like 203.0.113.2 or 2001:db8:203::2"
        ) from None
    for bad, why in unusable(value):
        if bad:
            raise Wrong(f"{what} {found} is {why}: one host's own unicast address belongs here")
    return shared(value)


def unusable(value: Address) -> Iterable[tuple[bool, str]]:
    """Say of each kind of address that no host can have whether this is one."""
    if isinstance(value, IPv6Address):
        yield value.is_unspecified, "the unspecified address (::)"
        yield value.is_loopback, "the loopback address (::1)"
        yield value.is_link_local, "a link-local address (fe80::/10)"
        yield value.is_multicast, "a multicast address (ff00::/8)"
        yield value.ipv4_mapped is not None, "an IPv4 address in IPv6's clothes (::ffff:0:0/96)"
        return
    yield value.packed[0] == 0, "an unspecified address (0.0.0.0/8)"
    yield value.is_loopback, "a loopback address (127.0.0.0/8)"
    yield value.is_link_local, "a link-local address (169.254.0.0/16)"
    yield value.is_multicast, "a multicast address (224.0.0.0/4)"
    yield value == IPv4Address("255.255.255.255"), "the broadcast address"


def address6(node: yaml.Node, what: str) -> Address:
    """Read the IPv6 address that stands beside an IPv4 one."""
    found = address(node, what)
    if found.version == IPV4:
        raise Wrong(f"{what} {shown(node)} is no IPv6 address: write one like 2001:db8:203::4")
    return found


def network(node: yaml.Node) -> Network:
    """Read a CIDR prefix whose host bits are zero."""
    found = text(node, "clients prefix")
    try:
        value = ip_network(found, strict=False)
    except ValueError:
        raise Wrong(
            f"clients prefix {shown(node)}: write one like 198.51.100.0/24 or 2001:db8:5::/64"
        ) from None
    if not PREFIX.fullmatch(found):
        raise Wrong(f"clients prefix {shown(node)}: write it as {value}")
    if ip_address(found.split("/")[0]) != value.network_address:
        raise Wrong(f"clients prefix {found} has host bits set: the prefix is {value}")
    return value


def words(node: yaml.Node) -> tuple[str, ...]:
    """Read a command prefix: words without control characters; none means here."""
    found = tuple(text(word, "a word of reach") for word in node.value)
    for word in found:
        if not word or not word.isprintable():
            raise Wrong(f"reach: {word[:60]!r} is no word of a command: empty or unprintable")
    return found
