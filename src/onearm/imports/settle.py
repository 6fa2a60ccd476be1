"""Found -> Found that a spec can say: services once, hosts in one role, VIPs nobody's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address

from onearm.imports.found import Found, Lost, Note, Server, Service

DIRECTOR = "it is the director itself, and a host of a spec is director or real server"
TWICE = "this service stands here already"
OWN = "{} is a real server's own address: a VIP is nobody's own"
OURS = "{} is the director's own address: a VIP is nobody's own"
EMPTY = "it has no real server that could be carried"
BESIDE = "it is one of this service's real servers: a sorry server is not"
AGAIN = "it is one of this service's real servers already"


def settle(found: Found, director: IPv4Address | None) -> Found:
    """Give up what together cannot be, each with its reason."""
    once: set[tuple[str, IPv4Address, int]] = set()
    settled: list[Service | Lost] = []
    for one in found.services:
        service = _with_its_servers(one, director) if isinstance(one, Service) else one
        if isinstance(service, Service):
            key = (service.protocol, service.vip, service.port)
            service = service.lost(TWICE) if key in once else service
            once.add(key)
        settled.append(service)
    return replace(found, services=tuple(_nobodys(settled, director)))


def _with_its_servers(service: Service, director: IPv4Address | None) -> Service | Lost:
    """Leave out real servers that stand twice or are the director, and what goes with them."""
    kept: dict[IPv4Address, Server] = {}
    for server in service.servers:
        if server.address == director or server.address in kept:
            why = DIRECTOR if server.address == director else AGAIN
            service = service.noted(Note("", _shown(server), why, differs=True))
        else:
            kept[server.address] = server
    if not kept:
        lost = service.lost(EMPTY)
        return replace(lost, notes=(*lost.notes, *service.notes))
    sorry = service.sorry
    if sorry and (sorry == director or sorry in kept):
        why = DIRECTOR if sorry == director else BESIDE
        service = service.noted(Note("", f"sorry server {sorry}", why, differs=True))
        service = replace(service, sorry=None)
    keys = tuple(
        (key, min(value, len(kept)) if key == "quorum" and isinstance(value, int) else value)
        for key, value in service.keys
    )
    return replace(service, servers=tuple(kept.values()), keys=keys)


def _shown(server: Server) -> str:
    return f"real server {server.address} of weight {server.weight}"


def _nobodys(
    services: list[Service | Lost], director: IPv4Address | None
) -> Iterable[Service | Lost]:
    """Give up services whose VIP is a host's own address."""
    own = set(hosts_of(services))
    for one in services:
        if isinstance(one, Service) and one.vip in own:
            yield one.lost(OWN.format(one.vip))
        elif isinstance(one, Service) and one.vip == director:
            yield one.lost(OURS.format(one.vip))
        else:
            yield one


def hosts_of(services: Iterable[Service | Lost]) -> list[IPv4Address]:
    """Give the addresses of all real servers and sorry servers, each once, in their order."""
    found: dict[IPv4Address, None] = {}
    for one in services:
        if isinstance(one, Service):
            found |= dict.fromkeys(server.address for server in one.servers)
            found |= {one.sorry: None} if one.sorry else {}
    return list(found)
