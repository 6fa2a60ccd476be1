"""What a snapshot means to who is on duty: alerts, the gravest first, and one sentence for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onearm.snapshot import DOWN, DRAINED, DRAINING, ServerView, ServiceView, Snapshot, VipView

BAD, WARN, WELL = "bad", "warn", "well"
GRAVITY = (BAD, WARN, WELL)
MOST_DOWN = 4  # named one by one


@dataclass(frozen=True)
class Alert:
    """Something that wants a look: how grave, what it is, and what follows or why."""

    level: str
    head: str
    text: str = ""


def title(service: ServiceView) -> str:
    """Name a service."""
    vip = f"[{service.vip}]" if service.vip.version == 6 else f"{service.vip}"  # noqa: PLR2004 - IPv6
    return f"{vip}:{service.port}/{service.protocol}"


def in_rotation(service: ServiceView) -> int:
    """Count the servers that get new connections: the kernel's weight decides, nothing else."""
    return sum(1 for server in service.servers if server.weight)


def alerts(snapshot: Snapshot) -> tuple[Alert, ...]:
    """List what is wrong, the gravest first."""
    found = [
        *(alert for vip in snapshot.vips for alert in _of_vip(vip)),
        *(alert for service in snapshot.services for alert in _of_service(service)),
        *_down(snapshot),
        *_own(snapshot),
    ]
    return tuple(sorted(found, key=lambda alert: GRAVITY.index(alert.level)))


def _of_vip(vip: VipView) -> Iterator[Alert]:
    for one in vip.claimants:
        who = f"{one.host} ({one.mac})" if one.host else one.mac
        yield Alert(
            BAD,
            f"{who} answers ARP for {vip.vip}",
            "Clients may be led past the director. Silence that machine; onearm doctor says how.",
        )
    if not vip.announced:
        yield Alert(BAD, f"{vip.vip} is not announced", "No client is led to this director.")


def _of_service(service: ServiceView) -> Iterator[Alert]:
    name = title(service)
    if service.panic:
        yield Alert(BAD, f"{name}: too few are healthy", "All are served, healthy or not (panic).")
    elif service.sorry:
        yield Alert(BAD, f"{name}: nobody is healthy", "The sorry server answers.")
    elif service.servers and not in_rotation(service):
        yield Alert(BAD, f"{name}: no server is in rotation", "Clients get no answer.")
    elif not service.quorum_met:
        yield Alert(WARN, f"{name}: fewer than its quorum of {service.quorum} are healthy")


def _down(snapshot: Snapshot) -> Iterator[Alert]:
    """Name each real server that is down once, with the services, unless it is all of them."""
    held: dict[str, list[tuple[ServiceView, ServerView]]] = {}
    for service in snapshot.services:
        for server in service.servers:
            held.setdefault(server.host, []).append((service, server))
    down = {
        host: [(service, server) for service, server in pairs if server.state == DOWN]
        for host, pairs in held.items()
    }
    down = {host: pairs for host, pairs in down.items() if pairs}
    for host in list(down)[:MOST_DOWN]:
        where = ", ".join(title(service) for service, _ in down[host])
        what = f" for {where}" if len(down[host]) < len(held[host]) else ""
        yield Alert(WARN, f"{host} is down{what}", down[host][0][1].reason)
    if len(down) > MOST_DOWN:
        yield Alert(WARN, f"{len(down) - MOST_DOWN} more servers are down")


def _own(snapshot: Snapshot) -> Iterator[Alert]:
    if snapshot.spec_error:
        yield Alert(WARN, "The new spec was not taken; the old one goes on", snapshot.spec_error)
    if snapshot.left:
        number = len(snapshot.left)
        what = f"{number} difference{'' if number == 1 else 's'} could not be mended"
        yield Alert(WARN, what, "; ".join(snapshot.left[:3]))
    for text in snapshot.troubles:
        yield Alert(WARN, "The daemon itself has trouble", text)


def verdict(snapshot: Snapshot) -> Alert:
    """Say in one sentence how it stands."""
    found = alerts(snapshot)
    if found:
        more = len(found) - 1
        rest = f" · and {more} more thing{'' if more == 1 else 's'}" if more else ""
        return Alert(found[0].level, found[0].head + rest)
    if not snapshot.rounds:
        return Alert(WARN, "The daemon has just begun")
    servers = [server for service in snapshot.services for server in service.servers]
    rotation = sum(map(in_rotation, snapshot.services))
    resting = sum(1 for server in servers if server.state in (DRAINING, DRAINED))
    rest = f", {resting} drained or draining" if resting else ""
    return Alert(WELL, f"All is well: {rotation} of {len(servers)} in rotation{rest}")
