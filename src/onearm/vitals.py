"""What only a diagnosis asks a host: listeners, ways back, counters, firewall, connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Optional

from onearm.entries import CONNECTION
from onearm.facts import ServiceFact
from onearm.model import Address


@dataclass(frozen=True)
class Listener:
    """A socket that takes connections or datagrams: `tcp` in LISTEN, or unconnected `udp`.

    `address` 0.0.0.0 or :: is every address; :: takes IPv4 too unless its owner forbade it.
    """

    protocol: str
    address: Address
    port: int


@dataclass(frozen=True)
class BackFact:
    """How the kernel would send a reply from `vip` to `client` (RTM_GETROUTE with a source)."""

    client: Address
    vip: Address
    link: str = ""
    gateway: Optional[Address] = None
    mtu: int = 0
    error: str = ""


@dataclass(frozen=True)
class RulesFact:
    """All rules of one firewall as its own tool prints them, cut at a bound.

    `tool` is iptables-legacy (iptables-legacy-save), iptables-nft (iptables-nft-save), nft
    (`nft -j list ruleset`, JSON) or arptables (its listing as `-A CHAIN ...`).
    """

    tool: str
    text: str
    cut: bool = False


def split_rules(rules: Iterable[RulesFact]) -> Iterator[RulesFact]:
    """Cut rules into lines: each fits a line of the wire, where no text keeps its line ends."""
    for fact in rules:
        for line in fact.text.split("\n"):
            yield replace(fact, text=line)


def joined_rules(lines: Iterable[RulesFact]) -> tuple[RulesFact, ...]:
    """Put the lines of rules together again."""
    texts: dict[tuple[str, bool], list[str]] = {}
    for line in lines:
        texts.setdefault((line.tool, line.cut), []).append(line.text)
    return tuple(RulesFact(tool, "\n".join(text), cut) for (tool, cut), text in texts.items())


@dataclass(frozen=True)
class ConnectionsFact:
    """Entries of the IPVS connection table with one destination, state and kind.

    `old`: those in SYN_RECV for more than 3 s, by the time that is left to them. `kind`: whether
    they are connections, templates that keep persistent clients, or probes (entries.py).
    """

    protocol: str
    vip: Address
    port: int
    server: Address
    state: str
    count: int
    old: int = 0
    kind: str = CONNECTION


@dataclass(frozen=True)
class Vitals:
    """One host at one moment; `cannot` says what could not be looked at, and why.

    `counters` are the kernel's own by their names in /proc/net/snmp and netstat, with the group
    before a dot (`Ip.ForwDatagrams`, `TcpExt.IPReversePathFilter`), zeroes left out. `sysctls`
    are those that `HostFacts` lacks. `offloads` are by link, those that are on. `services` stand
    in its IPVS table, whatever its role. `ip_vs` has module parameters (`conn_tab_bits`).
    """

    listeners: tuple[Listener, ...] = ()
    back: tuple[BackFact, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    rules: tuple[RulesFact, ...] = ()
    connections: tuple[ConnectionsFact, ...] = ()
    services: tuple[ServiceFact, ...] = ()
    offloads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ip_vs: dict[str, str] = field(default_factory=dict)
    cannot: dict[str, str] = field(default_factory=dict)
