"""The way of health checks in the kernel: firewall-mark services with one destination each."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Optional

from onearm.errors import PlaceError
from onearm.kernel.faults import translate
from onearm.kernel.ipvs import Change, Ipvs, IpvsDestination, IpvsService
from onearm.model import IPV4, IPV6, Action, CheckMark
from onearm.places.methods import FORWARDING, METHODS, TUNNELS, tunnel_name

SCHEDULER = "rr"  # any will do: there is one destination
FAMILIES = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}
VERSIONS: dict[int, int] = {family: version for version, family in FAMILIES.items()}
GONE = (errno.ENOENT, errno.ESRCH)
Verdict = tuple[Action, Optional[PlaceError]]


def read(wanted: Iterable[CheckMark]) -> list[CheckMark]:
    """Show what stands under the marks; anything but one destination has no server."""
    marks = {(resource.mark, FAMILIES[resource.version]) for resource in wanted}
    if not marks:
        return []
    try:
        with Ipvs() as ipvs:
            standing = [s for s in ipvs.services() if (s.fwmark, s.family) in marks]
            return [_shown(s, ipvs.destinations(s)) for s in standing]
    except OSError as error:
        raise translate(error, "reading the IPVS table") from error


def _shown(service: IpvsService, standing: Sequence[IpvsDestination]) -> CheckMark:
    unusable = CheckMark(service.fwmark, version=VERSIONS[service.family])
    if len(standing) != 1 or service.scheduler != SCHEDULER or service.flags & ~2:
        return unusable
    only = standing[0]
    if only.weight <= 0 or only.upper or only.port:
        return unusable
    return replace(
        unusable,
        server=only.address,
        forwarding=METHODS.get(only.forwarding, str(only.forwarding)),
        tunnel=tunnel_name(only),
        tunnel_port=only.tunnel_port,
    )


def apply(batch: Iterable[Action]) -> Iterator[Verdict]:
    """Build, mend or take down each; one that is already so counts as done."""
    for action in batch:
        try:
            with Ipvs() as ipvs:
                _one(ipvs, action)
        except OSError as error:
            yield action, translate(error, f"the firewall-mark service {action.resource.key[0]}")
        else:
            yield action, None


def _one(ipvs: Ipvs, action: Action) -> None:
    resource = action.resource
    if not isinstance(resource, CheckMark) or action.before == action.after:
        return
    family = FAMILIES[resource.version]
    service = IpvsService(family=family, fwmark=resource.mark, scheduler=SCHEDULER)
    if action.after is None:
        _send(ipvs, [("delete", service, None)], GONE)
        return
    _send(ipvs, [("add", service, None)], (errno.EEXIST,))
    _send(ipvs, [("set", service, None)], ())
    if resource.server is None:
        raise OSError(errno.EINVAL, "a mark without its real server")
    wanted = IpvsDestination(
        resource.server,
        0,
        FORWARDING[resource.forwarding],
        tunnel_type=TUNNELS[resource.tunnel],
        tunnel_port=resource.tunnel_port,
    )
    others = [d for d in ipvs.destinations(service) if (d.address, d.port) != (wanted.address, 0)]
    _send(ipvs, [("delete", service, other) for other in others], GONE)
    _send(ipvs, [("add", service, wanted)], (errno.EEXIST,))
    _send(ipvs, [("set", service, wanted)], ())


def _send(ipvs: Ipvs, changes: Sequence[Change], fine: tuple[int, ...]) -> None:
    for code in ipvs.change(changes).values():
        if code not in fine:
            raise OSError(code, "")
