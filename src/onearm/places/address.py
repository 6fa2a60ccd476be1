"""A VIP on a link, read and changed: what directors and real servers share."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Union

from onearm.facts import AddressFact
from onearm.kernel.faults import translate
from onearm.kernel.links import Links
from onearm.model import AnnouncedVip, HeldVip, Key, Resource

Vip = (HeldVip, AnnouncedVip)
AnyVip = Union[HeldVip, AnnouncedVip]
NOT_THERE = (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENOENT)


def read(wanted: Iterable[Resource]) -> list[Resource]:
    """Show the VIPs of `wanted` that stand, with the prefix length that they have."""
    vips = [r for r in wanted if isinstance(r, Vip)]
    if not vips:
        return []
    with Links() as links:
        addresses = links.addresses()
    standing: dict[Key, list[int]] = {}
    for fact in addresses:
        standing.setdefault((fact.address, fact.link), []).append(fact.prefix_length)
    found: list[Resource] = []
    for vip in vips:
        lengths = standing.get(vip.key)
        if lengths:
            whole = vip.vip.max_prefixlen
            length = whole if whole in lengths else lengths[0]
            found.append(type(vip)(vip.vip, vip.link, length))
    return found


def add(vip: AnyVip) -> None:
    """Add the VIP with its prefix length, then delete it with any other; twice is as once."""
    with Links() as links:
        try:
            links.add_address(vip.link, vip.vip, vip.prefix_length, vip=True)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise translate(error, f"adding {vip.vip} to {vip.link}") from error
        for other in _others(links.addresses(), vip):
            links.delete_address(vip.link, vip.vip, other.prefix_length)


def _others(addresses: list[AddressFact], vip: AnyVip) -> list[AddressFact]:
    same = [a for a in addresses if (a.address, a.link) == vip.key]
    return [a for a in same if a.prefix_length != vip.prefix_length]


def delete(vip: AnyVip) -> None:
    """Delete the VIP; what is not there is fine."""
    with Links() as links:
        try:
            links.delete_address(vip.link, vip.vip, vip.prefix_length)
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise translate(error, f"deleting {vip.vip} from {vip.link}") from error
