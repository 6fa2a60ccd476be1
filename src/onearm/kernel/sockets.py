"""Who listens: the sockets of /proc/net/{tcp,udp}{,6} that wait for somebody to come."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path
from typing import Optional

from onearm.model import Address
from onearm.vitals import Listener

FOLDER = "/proc/thread-self/net"
LISTENERS_MOST = 4096
LINES_MOST = 200_000  # of one table: what stands in it are connections, should they precede
_LISTEN, _UNCONNECTED = "0A", "07"  # TCP_LISTEN, TCP_CLOSE: include/net/tcp_states.h
_WAITING = {"tcp": _LISTEN, "udp": _UNCONNECTED}


def parse(lines: Iterable[str], protocol: str) -> Iterator[Listener]:
    """Read a table of either family; lines that are not what the kernel writes are passed over.

    A UDP socket that is connected waits for one peer alone, so it is no listener.
    """
    for line in lines:
        words = line.split(None, 4)
        if len(words) > 3 and words[3] == _WAITING[protocol]:
            found = _end(words[1])
            if found and found[1]:
                yield Listener(protocol, *found)


def _end(word: str) -> Optional[tuple[Address, int]]:
    """Read ADDRESS:PORT; the address stands in words of 32 bits in the machine's own order."""
    digits, _, port = word.partition(":")
    try:
        address, number = _address(digits), int(port, 16)
    except ValueError:
        return None
    return (address, number) if address is not None and 0 <= number <= 0xFFFF else None


def _address(digits: str) -> Optional[Address]:
    packed = bytes.fromhex(digits)
    if sys.byteorder == "little":
        packed = b"".join(packed[n : n + 4][::-1] for n in range(0, len(packed), 4))
    if len(packed) == 4:
        return IPv4Address(packed)
    if len(packed) != 16:
        return None
    six = IPv6Address(packed)
    return six.ipv4_mapped or six


def listeners(first: Container[Address], folder: str = FOLDER) -> tuple[tuple[Listener, ...], bool]:
    """Return who listens, on every address or one of `first` before the rest, and whether cut.

    Raises OSError. A kernel without IPv6 has no table for it.
    """
    found: dict[Listener, None] = {}
    for table in ("tcp", "udp", "tcp6", "udp6"):
        try:
            with Path(folder, table).open(encoding="ascii", errors="replace") as lines:
                found.update(dict.fromkeys(parse(islice(lines, LINES_MOST), table[:3])))
        except FileNotFoundError:
            if not table.endswith("6"):
                raise
    ranked = sorted(found, key=lambda f: not (f.address.is_unspecified or f.address in first))
    return tuple(ranked[:LISTENERS_MOST]), len(ranked) > LISTENERS_MOST
