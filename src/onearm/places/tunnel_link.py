"""A real server's tunnel links: shown, made and taken down, with their reverse path filter."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Optional

from onearm.errors import Denied
from onearm.kernel import sysctl, tools, tunnels
from onearm.kernel.faults import translate
from onearm.kernel.links import Links
from onearm.kernel.tunnels import Tunnel
from onearm.model import Action, Resource, TunnelLink
from onearm.places.effective import effective

STRICT, LOOSE = "1", "2"
LINK_SCOPE = 253  # RT_SCOPE_LINK: such addresses come by themselves
MODULES = {"ipip": ("ipip", "CONFIG_NET_IPIP"), "gre": ("ip_gre", "CONFIG_NET_IPGRE")}


def read(wanted: Iterable[TunnelLink]) -> list[Resource]:
    """Show the links that stand under the wanted names."""
    by_name = {link.name: link for link in wanted}
    if not by_name:
        return []
    return [
        TunnelLink(
            name=found.name,
            kind=found.kind or "physical",
            local=found.local or tunnels.ANY,
            remote=found.remote,
            loose=effective(found.name, "rp_filter") != STRICT,
            up=found.up,
        )
        for found in tunnels.tunnels()
        if found.name in by_name
    ]


def put(action: Action, wanted: TunnelLink) -> None:
    """Make the link as it is wanted, or take it down; doing it twice is the same as once."""
    standing = _standing(wanted)
    if action.after is None:
        if standing is not None:
            _delete(standing, wanted)
        return
    if standing is None:
        _add(wanted)
    elif standing.kind != wanted.kind:
        raise Denied(
            f"the link {wanted.name} is no {wanted.kind} tunnel but"
            f" {standing.kind or 'a real NIC'}: rename or remove it"
        )
    elif (standing.local, standing.remote) != (wanted.local, wanted.remote):
        tunnels.change(standing, wanted.local, wanted.remote)
    if wanted.loose and effective(wanted.name, "rp_filter") == STRICT:
        sysctl.write(f"net/ipv4/conf/{wanted.name}/rp_filter", LOOSE)
    made = _standing(wanted)
    if made is not None:
        tunnels.set_up(made)


def _standing(wanted: TunnelLink) -> Optional[Tunnel]:
    return next((t for t in tunnels.tunnels() if t.name == wanted.name), None)


def _add(wanted: TunnelLink) -> None:
    try:
        tunnels.add(wanted.name, wanted.kind, wanted.local, wanted.remote)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise Denied(
                f"a {wanted.kind} tunnel from {wanted.remote or 'anybody'} to {wanted.local} stands"
                " under another name, and the kernel has but one: remove it"
            ) from error
        raise translate(error, f"making the {wanted.kind} link {wanted.name}") from error


def _delete(standing: Tunnel, wanted: TunnelLink) -> None:
    if standing.kind != wanted.kind:
        raise Denied(f"the link {wanted.name} is no {wanted.kind} tunnel, so it is not ours")
    with Links() as links:
        left = [a for a in links.addresses() if a.link == wanted.name and a.scope < LINK_SCOPE]
    if left:
        raise Denied(
            f"{wanted.name} holds {left[0].address}/{left[0].prefix_length}, which is not ours, so"
            " the link stays: remove the address first"
        )
    try:
        tunnels.delete(standing)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def trial(kind: str) -> str:
    """Return why this host cannot make links of a kind; an empty text when it can."""

    def work() -> str:
        try:
            tunnels.add("onearm-trial", kind, IPv4Address("192.0.2.1"), None)
        except OSError as error:
            module, config = MODULES[kind]
            if error.errno == errno.EOPNOTSUPP:
                return (
                    f"this kernel has no {kind} links: load the module {module} (modprobe"
                    f" {module}), or take a kernel built with {config}"
                )
            return str(translate(error, f"{kind} link"))
        return ""

    return tools.apart(work)
