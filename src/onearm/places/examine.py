"""What a host's vitals() gathers: all that only a diagnosis asks, each part on its own."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import TypeVar

from onearm.errors import OnearmError
from onearm.facts import ServiceFact
from onearm.kernel import connections, counters, offloads, rulesets, sockets
from onearm.kernel.faults import translate
from onearm.kernel.links import Links
from onearm.model import Address
from onearm.places import look
from onearm.vitals import BackFact, ConnectionsFact, Vitals

CONF = ("arp_filter", "log_martians", "send_redirects", "proxy_arp")
PLAIN = (
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/tcp_mtu_probing",
    "net/ipv4/vs/backup_only",
    "net/ipv4/vs/schedule_icmp",
    "net/ipv4/vs/sloppy_tcp",
    "net/ipv4/vs/sync_threshold",
    "net/netfilter/nf_conntrack_tcp_loose",
)
BACK_MOST = 4096
_T = TypeVar("_T")


class _Parts:
    """Reads one part after the other; what fails is noted, and the rest goes on."""

    def __init__(self) -> None:
        self.cannot: dict[str, str] = {}

    def read(self, what: str, work: Callable[[], _T], nothing: _T) -> _T:
        try:
            return work()
        except OnearmError as error:
            self.cannot[what] = str(error)
        except OSError as error:
            self.cannot[what] = str(translate(error, f"reading {what}"))
        return nothing

    def most(self, what: str, work: Callable[[], tuple[tuple[_T, ...], bool]]) -> tuple[_T, ...]:
        """Read what may be too much to tell it all."""
        nothing: tuple[_T, ...] = ()
        found, cut = self.read(what, work, (nothing, False))
        if cut:
            self.cannot[what] = f"{what}: there are too many, these {len(found)} are not all"
        return found


def examine(vips: Iterable[Address], back: Sequence[tuple[Address, Address]]) -> Vitals:
    """Gather the vitals of this host; `cannot` says by field what failed, and why.

    `vips` come first where not all fits. `back` are pairs of client and VIP.
    """
    parts, first = _Parts(), frozenset(vips)
    firewalls, unread = rulesets.rules()
    found = Vitals(
        listeners=parts.most("listeners", lambda: sockets.listeners(first)),
        back=parts.most("back", lambda: _back(back)),
        counters=parts.read("counters", counters.counters, {}),
        sysctls=parts.read("sysctls", _sysctls, {}),
        rules=firewalls,
        connections=parts.most("connections", lambda: _connections(first)),
        services=parts.read("services", _services, ()),
        offloads=parts.read("offloads", _offloads, {}),
        ip_vs=parts.read("ip_vs", connections.parameters, {}),
        cannot=parts.cannot,
    )
    parts.cannot.update({f"rules.{tool}": why for tool, why in unread.items()})
    return found


def _back(pairs: Sequence[tuple[Address, Address]]) -> tuple[tuple[BackFact, ...], bool]:
    with Links() as links:
        facts = tuple(links.route_back(client, vip) for client, vip in pairs[:BACK_MOST])
    return facts, len(pairs) > BACK_MOST


def _connections(first: Container[Address]) -> tuple[tuple[ConnectionsFact, ...], bool]:
    with Links() as links:
        own = [fact.address for fact in links.addresses()]
    return connections.connections(first, own=own)


def _offloads() -> dict[str, tuple[str, ...]]:
    with Links() as links:
        names = [link.name for link in links.links()]
    return offloads.offloads(names)


def _services() -> tuple[ServiceFact, ...]:
    return look.services() if connections.loaded() else ()


def _sysctls() -> dict[str, str]:
    return look.sysctls(CONF, PLAIN)
