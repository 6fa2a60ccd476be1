"""What one spec has a real server hold: the value that files and scripts are written from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onearm.model import (
    VIP_LINK,
    Address,
    ArpSilence,
    GuePort,
    HeldVip,
    Resource,
    TunnelLink,
)


@dataclass(frozen=True)
class Tunnel:
    """The end of tunnels, and the VIPs that its link holds."""

    link: TunnelLink
    vips: tuple[Address, ...]

    @property
    def remote(self) -> str:
        """Whom it takes packets from, in the word of every tool."""
        return str(self.link.remote or "any")


@dataclass(frozen=True)
class Share:
    """The VIPs on the dummy, the ends of tunnels with theirs, the UDP ports of those, and the links
    that are silent about all VIPs.
    """

    name: str
    vips: tuple[Address, ...] = ()
    silences: tuple[ArpSilence, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    ports: tuple[int, ...] = ()

    @property
    def by_rules(self) -> bool:
        """Whether packet filter rules silence the links, which only a script can bring back."""
        return any(silence.policy != "sysctl" for silence in self.silences)

    @property
    def all_vips(self) -> tuple[Address, ...]:
        """Every VIP, whichever link holds it."""
        return (*self.vips, *(vip for tunnel in self.tunnels for vip in tunnel.vips))


def share(name: str, made: Iterable[Resource], silences: Iterable[ArpSilence]) -> Share:
    """Gather a share from what should stand on the real server."""
    found = list(made)
    held: dict[str, list[Address]] = {}
    for one in found:
        if isinstance(one, HeldVip):
            held.setdefault(one.link, []).append(one.vip)
    ends = [one for one in found if isinstance(one, TunnelLink)]
    return Share(
        name,
        tuple(held.get(VIP_LINK, ())),
        tuple(silences),
        tuple(Tunnel(end, tuple(held.get(end.name, ()))) for end in ends),
        tuple(one.port for one in found if isinstance(one, GuePort)),
    )


def whole(vip: Address) -> str:
    """Write a VIP with the prefix length of one address."""
    return f"{vip}/{vip.max_prefixlen}"
