"""The IPVS connection table, grouped while it streams by: it may have millions of entries."""

from __future__ import annotations

from collections.abc import Container, Iterable
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path
from string import hexdigits
from typing import Optional

from onearm.model import PROBE_PORTS, Address
from onearm.vitals import ConnectionsFact

FOLDER = "/proc/thread-self/net"
PARAMETERS = "/sys/module/ip_vs/parameters"
LINES_MOST = 3_000_000  # some seconds' worth; the asker waits
GROUPS_MOST = 4096
SYN_RECV_S = 60  # net/netfilter/ipvs/ip_vs_proto_tcp.c, tcp_timeouts
OLD_S = 3  # after that long the client's SYN has been sent again at least once
_LEFT_S = SYN_RECV_S - OLD_S

# What a line says of a group, still as text, and its entries: all, and old ones.
_Groups = dict[tuple[str, ...], list[int]]


def parse(
    lines: Iterable[str], first: Container[Address] = (), own: Iterable[Address] = ()
) -> tuple[tuple[ConnectionsFact, ...], bool]:
    """Group the lines of /proc/net/ip_vs_conn; the second value tells whether groups are left out.

    Groups of the VIPs in `first` go before the rest. Memory is bounded by the number of groups.
    What health checks leave there, from the host's `own` addresses, is left out: no client's.
    """
    checkers = {f"{int(address):08X}" for address in own}
    groups: _Groups = {}
    cut = False
    for line in lines:
        words = line.split(None, 9)
        if len(words) < 9 or (words[1] in checkers and _probes(words[2])):
            continue
        key = (words[0], *words[3:6], words[7])
        counts = groups.get(key)
        if counts is None:
            if len(groups) >= 2 * GROUPS_MOST:
                cut = True
                continue
            counts = groups[key] = [0, 0]
        counts[0] += 1
        counts[1] += words[7] == "SYN_RECV" and _old(words[8])
    found = [fact for fact in (_fact(key, *counts) for key, counts in groups.items()) if fact]
    found.sort(key=lambda fact: fact.vip not in first)
    return tuple(found[:GROUPS_MOST]), cut or len(found) > GROUPS_MOST


def _probes(port: str) -> bool:
    return len(port) == 4 and not port.strip(hexdigits) and int(port, 16) in PROBE_PORTS


def _old(left: str) -> bool:
    return left.isascii() and left.isdigit() and len(left) < 8 and int(left) <= _LEFT_S


def _fact(key: tuple[str, ...], count: int, old: int) -> Optional[ConnectionsFact]:
    protocol, vip, port, server, state = key
    try:
        number = int(port, 16)  # the header has words here
        addresses = _address(vip), _address(server)
    except ValueError:
        return None
    if not 0 <= number <= 0xFFFF:
        return None
    return ConnectionsFact(protocol.lower(), addresses[0], number, addresses[1], state, count, old)


def _address(word: str) -> Address:
    """Read an IPv4 address in eight hexadecimal digits, or an IPv6 one as it is written."""
    if len(word) == 8 and ":" not in word:
        return IPv4Address(bytes.fromhex(word))
    if "%" in word:
        raise ValueError(word)
    return IPv6Address(word)


def connections(
    first: Container[Address], folder: str = FOLDER, own: Iterable[Address] = ()
) -> tuple[tuple[ConnectionsFact, ...], bool]:
    """Return the groups, and whether something is left out. Without IPVS there are none.

    Raises OSError. Reading loads no module: the file is there when IPVS is.
    """
    try:
        with Path(folder, "ip_vs_conn").open(encoding="ascii", errors="replace") as lines:
            found, cut = parse(islice(lines, LINES_MOST), first, own)
            return found, cut or next(lines, None) is not None
    except FileNotFoundError:
        return (), False


def loaded(folder: str = FOLDER) -> bool:
    """Tell whether IPVS is there for this namespace; asking does not load it."""
    return Path(folder, "ip_vs").exists()


def parameters(folder: str = PARAMETERS) -> dict[str, str]:
    """Return the parameters of the module ip_vs; raises OSError."""
    base = Path(folder)
    if not base.is_dir():
        return {}
    return {
        path.name: path.read_text(encoding="ascii", errors="replace").strip()
        for path in sorted(base.iterdir())
    }
