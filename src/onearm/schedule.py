"""What a scheduler promises, as far as counts can show it; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from itertools import cycle, islice

from onearm.model import Address, Network
from onearm.spec import VirtualService

End = tuple[Address, int]

AT_LEAST = 8  # connections per client and service
AT_MOST = 256
BY_CHANCE = 16  # connections per server; of two servers one is then missed once in 2**31
HASHING = ("sh", "mh")
IN_TURN = ("rr", "wrr")
SPARE = ("fo", "dh", "lblc", "lblcr")  # those that may leave a real server without any


def weights(service: VirtualService) -> dict[str, int]:
    """Return the weight of each real server that takes connections."""
    return {member.host: member.weight for member in service.members if member.weight}


def shares(service: VirtualService) -> dict[str, int]:
    """Return how many connections of one full turn each server gets; empty: nothing exact.

    rr gives each server one in turn whatever its weight; wrr gives weight/gcd of a turn; fo gives
    all to the greatest weight (net/netfilter/ipvs/ip_vs_rr.c, ip_vs_wrr.c, ip_vs_fo.c).
    """
    found = weights(service)
    if service.scheduler == "fo":
        greatest = [host for host, weight in found.items() if weight == max(found.values())]
        return {greatest[0]: 1} if len(greatest) == 1 else {}
    if service.scheduler == "rr":
        return dict.fromkeys(found, 1)
    if service.scheduler == "wrr" and found:
        divisor = math.gcd(*found.values())
        return {host: weight // divisor for host, weight in found.items()}
    return {}


def ends(service: VirtualService) -> tuple[End, ...]:
    """List the endpoints of a group that are tried: of a range its first and its last port.

    A service of one endpoint has none to choose from.
    """
    found = ((end.vip, port) for end in service.ends for port in (end.port, end.last))
    return tuple(dict.fromkeys(found))


def sources_for(service: VirtualService, sources: Sequence[Address]) -> tuple[Address, ...]:
    """Choose the source address of each connection a client opens: whole turns of the scheduler.

    Where it ties an address to one server, each address is used twice in a row: a scheduler that
    takes turns instead would give it two. A group is tried at each of its ends.
    """
    several = len(ends(service))
    if sticks(service):
        times = max(2, several)
        return tuple(source for source in sources for _ in range(times))[: _most(times)]
    if service.scheduler in HASHING:  # by port as well: so many that each server is met by chance
        count = max(len(sources), BY_CHANCE * len(weights(service)), several)
        return tuple(islice(cycle(sources), min(AT_MOST, count)))
    turn = _turn(service)
    count = min(_most(turn), turn * max(math.ceil(AT_LEAST / turn), several))
    return tuple(islice(cycle(sources), count))


def _most(turn: int) -> int:
    """Give the most connections that are whole turns."""
    return AT_MOST // turn * turn or AT_MOST


def _turn(service: VirtualService) -> int:
    return sum(shares(service).values()) or len(weights(service)) or 1


def ends_for(service: VirtualService, sources: Sequence[Address]) -> tuple[End, ...]:
    """Choose where each of these connections goes: nothing but for a group.

    A client that is tied to a server tries each end in turn; else each end gets a whole turn of the
    scheduler before the next does, so that it meets every real server.
    """
    found = ends(service)
    if not found:
        return ()
    step = 1 if sticks(service) or service.scheduler in HASHING else _turn(service)
    return tuple(found[n // step % len(found)] for n in range(len(sources)))


def expected(service: VirtualService, total: int) -> dict[str, int] | None:
    """Return the exact count of each server after `total` connections; None when there is none."""
    turn = shares(service)
    length = sum(turn.values())
    if not length or total % length:
        return None
    return {host: share * (total // length) for host, share in turn.items()}


def exact(service: VirtualService) -> bool:
    """Say whether its scheduler promises exact shares."""
    return service.scheduler in IN_TURN or bool(shares(service))


def sticks(service: VirtualService) -> bool:
    """Say whether one client must always get the same server, as long as verify takes."""
    if service.persistence_s:
        return True
    return service.scheduler in HASHING and not any("port" in flag for flag in service.flags)


def one_client(service: VirtualService, source: Address) -> Network:
    """Give the clients that persistence takes for one: those of a prefix, or a single address."""
    mask = service.persistence_mask
    length = source.max_prefixlen if mask is None or not service.persistence_s else mask
    return ip_network(f"{source}/{length}", strict=False)


def strays(chosen: Mapping[Network, Sequence[str]]) -> list[Network]:
    """List the clients that got more than one server."""
    return [source for source, hosts in chosen.items() if len(Counter(hosts)) > 1]
