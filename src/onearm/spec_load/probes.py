"""Single values of a check: a node goes in, a value or a sentence about it comes out."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

import yaml

from onearm import pattern
from onearm.spec_load import fields
from onearm.spec_load.notes import INTEGER, READS_AS, TEXT, Wrong, shown, text

METHODS = ("GET", "HEAD", "OPTIONS", "POST")
RECORDS = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")
NAMED = ("CNAME", "NS", "PTR")  # records whose answer is a name
ANSWERED = ("A", "AAAA", *NAMED, "TXT")  # records whose answer can be asked for

SPAN = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h)", re.ASCII)
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
PATH = re.compile(r"/[!-~]*", re.ASCII)
CODES = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII)
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
DOMAIN = re.compile(rf"{LABEL}(?:\.{LABEL})*\.?", re.ASCII)

LONGEST_PATH = 2000
LONGEST_DOMAIN = 253
LONGEST_SEND = 1400  # bytes of a datagram that no link has to cut
LONGEST_FILE = 1000
LONGEST_TXT = 255
LOWEST_CODE, HIGHEST_CODE = 200, 599
MOST_WORDS = 64


def span(node: yaml.Node, what: str, least: float, most: float) -> float:
    """Read `2s`, `500ms`, `1m` or `1h`."""
    right = "write it like 2s, 500ms or 1m"
    if isinstance(node, yaml.ScalarNode) and node.tag in READS_AS and node.value:
        raise Wrong(f"{what} {shown(node)} has no unit: {right}")
    found = SPAN.fullmatch(text(node, what))
    if not found:
        raise Wrong(f"{what} {shown(node)}: {right}")
    seconds = round(int(found[1]) * UNITS[found[2]], 3)
    if not least <= seconds <= most:
        raise Wrong(f"{what} {shown(node)}: from {least * 1000:.0f}ms to {most:.0f}s are possible")
    return seconds


def port(node: yaml.Node) -> int:
    if isinstance(node, yaml.ScalarNode) and fields.PORT.fullmatch(node.value):
        raise Wrong(f"port {shown(node)} of a check: write the number alone, like port: 8080")
    return fields.whole(node, "port of a check", 1, fields.HIGHEST_PORT)


def path(node: yaml.Node) -> str:
    found = text(node, "path")
    if not PATH.fullmatch(found) or len(found) > LONGEST_PATH:
        raise Wrong(
            f"path {shown(node)}: it begins with / and has up to {LONGEST_PATH} ASCII characters"
            " without spaces"
        )
    return found


def host(node: yaml.Node) -> str:
    return _domain(node, "host")


def query(node: yaml.Node) -> str:
    return (
        "." if isinstance(node, yaml.ScalarNode) and node.value == "." else _domain(node, "query")
    )


def _domain(node: yaml.Node, what: str) -> str:
    found = text(node, what)
    if not DOMAIN.fullmatch(found) or len(found.rstrip(".")) > LONGEST_DOMAIN:
        raise Wrong(f"{what} {shown(node)}: write a name like www.example.org, in ASCII")
    return found


def codes(node: yaml.Node) -> tuple[tuple[int, int], ...]:
    """Read `200`, `200-299` or a list of them."""
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not nodes:
        raise Wrong("codes is empty: write one like 200, or leave the key out for 200-399")
    return tuple(dict.fromkeys(_code(child) for child in nodes))


def _code(node: yaml.Node) -> tuple[int, int]:
    fine = isinstance(node, yaml.ScalarNode) and node.tag in {INTEGER, TEXT}
    found = CODES.fullmatch(node.value) if fine else None
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not LOWEST_CODE <= low <= high <= HIGHEST_CODE:
        raise Wrong(
            f"codes {shown(node)}: write 204, 200-299 or a list of such, from {LOWEST_CODE} to"
            f" {HIGHEST_CODE}"
        )
    return low, high


def body(node: yaml.Node) -> str:
    return _pattern(node, "body", "utf-8")


def expect(node: yaml.Node) -> str:
    return _pattern(node, "expect", "latin-1")


def _pattern(node: yaml.Node, what: str, encoding: str) -> str:
    found = text(node, what)
    if not found:
        raise Wrong(f"{what} is empty, which every answer matches: leave the key out")
    try:
        pattern.compiled(found, encoding)
    except pattern.Flaw as flaw:
        raise Wrong(f"{what} {shown(node)} is no pattern that can be searched: {flaw}") from None
    return found


def verify(node: yaml.Node) -> bool:
    return fields.boolean(node, "verify")


def ca(node: yaml.Node) -> str:
    return _file(node, "ca")


def _file(node: yaml.Node, what: str) -> str:
    found = text(node, what)
    if not found.startswith("/") or not found.isprintable() or len(found) > LONGEST_FILE:
        raise Wrong(f"{what} {shown(node)}: write the whole path on the director, like /etc/x")
    return found


def send(node: yaml.Node) -> bytes:
    """Read a payload: one byte for each character."""
    found = text(node, "send")
    try:
        data = found.encode("latin-1")
    except UnicodeEncodeError:
        raise Wrong(
            f"send {shown(node)}: each character is one byte: write others as \\xNN"
        ) from None
    if len(data) > LONGEST_SEND:
        raise Wrong(f"send has {len(data)} bytes: up to {LONGEST_SEND} fit into a packet")
    return data


def answer(node: yaml.Node, record: str) -> str:
    """Read what an answer must hold, in the form that this type of record has."""
    found = text(node, "answer")
    if record not in ANSWERED:
        raise Wrong(f"answer goes with record {', '.join(ANSWERED)}, not {record}: leave it out")
    if record in NAMED:
        return _domain(node, "answer")
    if record == "TXT":
        if len(found) > LONGEST_TXT or not found.isascii():
            raise Wrong(f"answer {shown(node)}: up to {LONGEST_TXT} ASCII characters")
        return found
    try:
        (IPv4Address if record == "A" else IPv6Address)(found)
    except AddressValueError:
        raise Wrong(f"answer {shown(node)} is no address of a record {record}") from None
    return found


def any_answer(node: yaml.Node) -> str:
    return text(node, "answer")


def argv(node: yaml.Node) -> tuple[str, ...]:
    """Read a command: no shell takes it apart, so it is a list and begins with a whole path."""
    if not isinstance(node, yaml.SequenceNode):
        raise Wrong(
            f"argv is {shown(node)}: write a list of words, like [/usr/local/bin/check, -q]"
        )
    words = tuple(text(word, "a word of argv") for word in node.value)
    if not words or len(words) > MOST_WORDS:
        raise Wrong(f"argv has {len(words)} words: write 1 to {MOST_WORDS}")
    for word in words:
        if len(word) > LONGEST_FILE or (word and not word.isprintable()):
            raise Wrong(f"argv: {word[:60]!r} is no word of a command: unprintable or too long")
    if not words[0].startswith("/"):
        raise Wrong(f"argv: {words[0][:60]!r} is looked for nowhere: write its whole path")
    return words


READERS: dict[str, Callable[[yaml.Node], Any]] = {
    "path": path,
    "host": host,
    "codes": codes,
    "body": body,
    "verify": verify,
    "ca": ca,
    "send": send,
    "expect": expect,
    "query": query,
    "answer": any_answer,
    "argv": argv,
}
