"""DNS messages (RFC 1035): one question written, one answer read, each offset checked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
}
IN = 1
HEADER = struct.Struct(">HHHHHH")
RECORD = struct.Struct(">HHIH")
RESPONSE, RECURSION = 0x8000, 0x0100
CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
RECORDS_MOST = 200  # read of one answer
JUMPS_MOST = 20  # of one name's compression
NAME_MOST = 255
LABEL_MOST = 63
POINTER = 0xC0


class Malformed(ValueError):  # noqa: N818 - about the bytes, not of ours
    """The bytes are no DNS message."""


class Answer(NamedTuple):
    """The code, and the records of the type asked for, as text."""

    code: str
    records: tuple[str, ...]


def question(number: int, name: str, record: str) -> bytes:
    """Write a query with recursion desired."""
    head = HEADER.pack(number, RECURSION, 1, 0, 0, 0)
    return head + _asked(name, record)


def _asked(name: str, record: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return wire + struct.pack(">HH", TYPES[record], IN)


def answer(data: bytes, number: int, name: str, record: str) -> Answer | None:
    """Read the answer to a question; None when the message answers another. Raises Malformed."""
    if len(data) < HEADER.size:
        return None
    found, flags, questions, answers, _, _ = HEADER.unpack_from(data)
    if found != number or not flags & RESPONSE:
        return None
    code = flags & 0xF
    word = CODES[code] if code < len(CODES) else f"code {code}"
    if code:
        return Answer(word, ())
    asked = _asked(name, record)
    start = HEADER.size + len(asked)
    if questions != 1 or data[HEADER.size : start].lower() != asked.lower():
        return None
    rows = _rows(data, start, min(answers, RECORDS_MOST))
    texts = (_text(data, at, size, record) for kind, at, size in rows if kind == TYPES[record])
    return Answer(word, tuple(texts))


def _rows(data: bytes, at: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Give type, offset and size of each record's data."""
    for _ in range(count):
        at = _name(data, at)[1]
        if at + RECORD.size > len(data):
            raise Malformed("it ends within a record")
        kind, group, _, size = RECORD.unpack_from(data, at)
        at += RECORD.size
        if at + size > len(data):
            raise Malformed("it ends within a record's data")
        if group == IN:
            yield kind, at, size
        at += size


def _text(data: bytes, at: int, size: int, record: str) -> str:
    """Give a record's data in the form in which a spec writes it."""
    raw = data[at : at + size]
    if record in {"A", "AAAA"}:
        if size != (4 if record == "A" else 16):
            raise Malformed(f"a record {record} of {size} bytes")
        return str(IPv4Address(raw) if record == "A" else IPv6Address(raw))
    if record in {"NS", "CNAME", "PTR"}:
        return _name(data, at)[0]
    if record == "TXT":
        return _strings(raw)
    return raw.hex()


def _strings(raw: bytes) -> str:
    """Join the strings of a TXT record."""
    at, parts = 0, []
    while at < len(raw):
        end = at + 1 + raw[at]
        if end > len(raw):
            raise Malformed("a string ends behind its record")
        parts.append(raw[at + 1 : end])
        at = end
    return b"".join(parts).decode("latin-1")


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Read a name, which may go on elsewhere; give it with the offset behind it."""
    labels: list[str] = []
    behind, jumps, length = None, 0, 0
    while True:
        if at >= len(data):
            raise Malformed("it ends within a name")
        size = data[at]
        if size >= POINTER:
            if at + 2 > len(data):
                raise Malformed("it ends within a name")
            behind = at + 2 if behind is None else behind
            at = (size & ~POINTER) << 8 | data[at + 1]
            jumps += 1
            if jumps > JUMPS_MOST:
                raise Malformed("a name that goes round in circles")
            continue
        if size > LABEL_MOST:
            raise Malformed("a label of an unknown kind")
        if size == 0:
            return ".".join(labels), at + 1 if behind is None else behind
        length += size + 1
        if at + 1 + size > len(data) or length > NAME_MOST:
            raise Malformed("a name that is too long")
        labels.append(data[at + 1 : at + 1 + size].decode("latin-1"))
        at += 1 + size
