"""One entry of the IPVS connection table, from the line that the kernel writes of it; pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from string import hexdigits
from typing import Optional

from onearm.model import IPV4, PROBE_PORTS, Address, Network

CONNECTION, TEMPLATE, PROBE = "connection", "template", "probe"
KINDS = (CONNECTION, TEMPLATE, PROBE)
TEMPLATE_STATES = ("NONE", "ASSURED")  # include/net/ip_vs.h, ip_vs_state_name
SYN_RECV = "SYN_RECV"
SYN_RECV_S = 60  # net/netfilter/ipvs/ip_vs_proto_tcp.c, tcp_timeouts
OLD_S = 3  # after that long the client's SYN has been sent again at least once
WORDS = 9  # what every line has; names of a persistence engine may follow
_LEFT_S = SYN_RECV_S - OLD_S
_PORT_DIGITS = 4


@dataclass(frozen=True)
class Entry:
    """One line: a connection, a template that keeps a persistent client, or a probe of checks.

    `pe` is a persistence engine and `pe_data` what it keeps of the client's words: anything.
    """

    kind: str
    protocol: str
    client: Address
    client_port: int
    vip: Address
    port: int
    server: Address
    server_port: int
    state: str
    expires_s: int
    pe: str = ""
    pe_data: str = ""


@dataclass(frozen=True)
class Served:
    """A virtual service by what its entries carry; `last`: the last of several ports."""

    protocol: str
    vip: Address
    port: int
    last: int = 0

    def within(self, wider: Served) -> bool:
        """Say whether one of several ports is meant."""
        same = (self.protocol, self.vip) == (wider.protocol, wider.vip)
        return same and wider.port <= self.port <= (wider.last or wider.port)


@dataclass(frozen=True)
class Marked:
    """A group by what stands for its VIP where an entry keeps a persistent client of it: its mark,
    written as an address.
    """

    mark: Address
    served: Served


@dataclass(frozen=True)
class Wanted:
    """Which entries are asked for. `every`: of any service, whatever services are named beside it.

    `limit`: so many of them at most are shown, all are counted.
    """

    every: bool = False
    vip: Optional[Address] = None
    client: Optional[Network] = None
    state: str = ""
    limit: Optional[int] = None


MARKED = "ip"  # the protocol of what keeps a client of a group, whatever its port


def marked_as(mark: int, version: int) -> Address:
    """Write a mark as the kernel does in place of a VIP (ip_vs_sched_persist, ip_vs_core.c)."""
    if version == IPV4:
        return IPv4Address(mark)
    return IPv6Address(mark << 96)


def parse(line: str, own: Container[Address] = ()) -> Optional[Entry]:
    """Read a line; None for the heading and for what no kernel writes.

    `own` are the addresses of the director itself, from which its checks come.
    """
    words = line.split(None, WORDS + 1)
    if len(words) < WORDS or not (words[0] + words[7]).isprintable():
        return None
    try:
        addresses = [address(words[n]) for n in (1, 3, 5)]
        ports = [port(words[n]) for n in (2, 4, 6)]
        expires_s = seconds(words[8])
    except ValueError:
        return None
    client, vip, server = addresses
    mine = client in own
    return Entry(
        kind_of(words, mine=mine), words[0].lower(), client, ports[0], vip, ports[1], server,
        ports[2], words[7], expires_s, *(word.strip() for word in words[WORDS:]),
    )  # fmt: skip


def kind_of(words: list[str], *, mine: bool) -> str:
    """Tell what a line is of; `mine`: its client is an address of the director itself."""
    if words[2] == "0000" and words[7] in TEMPLATE_STATES:
        return TEMPLATE
    return PROBE if mine and _probes(words[2]) else CONNECTION


def _probes(digits: str) -> bool:
    return _is_port(digits) and int(digits, 16) in PROBE_PORTS


def _is_port(digits: str) -> bool:
    return len(digits) == _PORT_DIGITS and not digits.strip(hexdigits)


def port(digits: str) -> int:
    """Read a port in four hexadecimal digits; ValueError."""
    if not _is_port(digits):
        raise ValueError(digits)
    return int(digits, 16)


def seconds(digits: str) -> int:
    """Read a time in seconds; ValueError for what is no number, or for ever."""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len("4294967295")):
        raise ValueError(digits)
    return int(digits)


def address(word: str) -> Address:
    """Read an IPv4 address in eight hexadecimal digits, or an IPv6 one as it is written."""
    if ":" in word:
        if "%" in word:
            raise ValueError(word)
        return IPv6Address(word)
    if len(word) != len("C633640A") or word.strip(hexdigits):
        raise ValueError(word)
    return IPv4Address(int(word, 16))


def old(state: str, left: str) -> bool:
    """Tell whether an entry is in SYN_RECV for more than 3 s, by the time that is left to it."""
    if state != SYN_RECV:
        return False
    try:
        return seconds(left) <= _LEFT_S
    except ValueError:
        return False
