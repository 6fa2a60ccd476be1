"""Found -> Found that a spec can say: services once, hosts in one role, VIPs nobody's own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from onearm.imports.found import Found, Lost, Note, Server, Service
from onearm.model import IPV4, Address
from onearm.spec import Forwarding
from onearm.spec_load.services import ONE_PACKET

DIRECTOR = "it is the director itself, and a host of a spec is director or real server"
FAMILY = "it is IPv{} and the VIP IPv{}: a service is of one family"
TWICE = "this service stands here already"
OWN = "{} is a real server's own address: a VIP is nobody's own"
OURS = "{} is the director's own address: a VIP is nobody's own"
EMPTY = "it has no real server that could be carried"
BESIDE = "it is one of this service's real servers: a sorry server is not"
SIX = "IPv6 has direct routing only"
BEHIND = "it is {}behind NAT in a service above: a spec has a server so in all services or in none"
NO_OPS = "NAT needs what the kernel keeps of a connection, and one-packet scheduling keeps nothing"
AGAIN = "it is one of this service's real servers already"


def settle(found: Found, own: Collection[Address]) -> Found:
    """Give up what together cannot be, each with its reason."""
    once: set[tuple[str, Address, int]] = set()
    behind: dict[Address, bool] = {}  # whether NAT leads to it in what is kept
    settled: list[Service | Lost] = []
    for one in found.services:
        service = _with_its_servers(one, own, behind) if isinstance(one, Service) else one
        if isinstance(service, Service):
            key = (service.protocol, service.vip, service.port)
            service = service.lost(TWICE) if key in once else service
            once.add(key)
        if isinstance(service, Service):
            behind |= {address: _masq(way) for address, way in _ways(service)}
        settled.append(service)
    return replace(found, services=tuple(_nobodys(settled, own)))


def _with_its_servers(
    service: Service, own: Collection[Address], behind: Mapping[Address, bool]
) -> Service | Lost:
    """Leave out real servers that cannot be, and what goes with them."""
    kept: dict[Address, Server] = {}
    for server in service.servers:
        why = _no_server(server.address, service.vip, own) or (server.address in kept and AGAIN)
        why = why or _no_way(server.address, server.way, behind)
        if why:
            service = service.noted(Note("", _shown(server), why, differs=True))
        else:
            kept[server.address] = server
    if not kept:
        lost = service.lost(EMPTY)
        return replace(lost, notes=(*lost.notes, *service.notes))
    sorry = service.sorry
    wrong = sorry and (_no_server(sorry, service.vip, own) or (sorry in kept and BESIDE))
    wrong = wrong or (sorry and _no_way(sorry, service.sorry_way, behind))
    if wrong:
        service = service.noted(Note("", f"sorry server {sorry}", str(wrong), differs=True))
        service = replace(service, sorry=None)
    service = _without_ops(replace(service, servers=tuple(kept.values())))
    keys = tuple(
        (key, min(value, len(kept)) if key == "quorum" and isinstance(value, int) else value)
        for key, value in service.keys
    )
    return replace(service, keys=keys)


def _without_ops(service: Service) -> Service:
    """Leave one-packet scheduling out where it does not go with NAT."""
    keys = dict(service.keys)
    flags = keys.get("flags", ())
    if not isinstance(flags, tuple) or ONE_PACKET not in flags:
        return service
    if not any(_masq(way) for _, way in _ways(service)):
        return service
    left = tuple(flag for flag in flags if flag != ONE_PACKET)
    keys = {key: left if key == "flags" else value for key, value in keys.items()}
    kept = tuple((key, value) for key, value in keys.items() if value or key != "flags")
    noted = service.noted(Note(service.at, ONE_PACKET, NO_OPS, differs=True))
    return replace(noted, keys=kept)


def _ways(service: Service) -> Iterator[tuple[Address, Forwarding]]:
    """Give each host of a service, the sorry server among them, with the way to it."""
    yield from ((server.address, server.way) for server in service.servers)
    if service.sorry:
        yield service.sorry, service.sorry_way


def _masq(way: Forwarding) -> bool:
    return way.method == "masq"


def _no_way(address: Address, way: Forwarding, behind: Mapping[Address, bool]) -> str:
    """Say why a host cannot be reached so; nothing where it can."""
    if address.version != IPV4:
        return "" if way.method == "direct" else SIX
    if behind.get(address, _masq(way)) == _masq(way):
        return ""
    return BEHIND.format("not " if _masq(way) else "")


def _no_server(address: Address, vip: Address, own: Collection[Address]) -> str:
    """Say why an address cannot be a real server's of a VIP; nothing where it can."""
    if address in own:
        return DIRECTOR
    return FAMILY.format(address.version, vip.version) if address.version != vip.version else ""


def _shown(server: Server) -> str:
    return f"real server {server.address} of weight {server.weight}"


def _nobodys(services: list[Service | Lost], own: Collection[Address]) -> Iterable[Service | Lost]:
    """Give up services whose VIP is a host's own address."""
    theirs = set(hosts_of(services))
    for one in services:
        if isinstance(one, Service) and one.vip in theirs:
            yield one.lost(OWN.format(one.vip))
        elif isinstance(one, Service) and one.vip in own:
            yield one.lost(OURS.format(one.vip))
        else:
            yield one


def hosts_of(services: Iterable[Service | Lost]) -> list[Address]:
    """Give the addresses of all real servers and sorry servers, each once, in their order."""
    found: dict[Address, None] = {}
    for one in services:
        if isinstance(one, Service):
            found |= dict.fromkeys(server.address for server in one.servers)
            found |= {one.sorry: None} if one.sorry else {}
    return list(found)
