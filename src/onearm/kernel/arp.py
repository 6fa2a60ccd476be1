"""ARP policies by filter: a real server that neither answers for a VIP nor asks in its name."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Optional

from onearm import errors
from onearm.kernel import arp_nft, arp_tables, tools
from onearm.kernel.faults import translate
from onearm.kernel.links import Links
from onearm.model import Address

POLICIES = ("arptables", "nft")
# What both tools take literally: no quotes, no wildcard (`+`, `*`), no leading dash.
_LINK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}")


@dataclass(frozen=True)
class Silence:
    """What stands for one VIP on one link: deaf (input drop), mute (rewrite to `source`)."""

    link: str
    vip: IPv4Address
    deaf: bool = False
    mute: bool = False
    source: Optional[IPv4Address] = None


def _checked(policy: str, vip: Address, link: str) -> IPv4Address:
    if policy not in POLICIES:
        raise errors.Denied(f"ARP policy {policy!r}: it is one of {', '.join(POLICIES)}")
    if not isinstance(vip, IPv4Address):
        raise errors.Denied(
            f"{vip}: ARP is for IPv4; an IPv6 VIP on a dummy link is silent as it is"
        )
    if not _LINK.fullmatch(link):
        raise errors.Denied(f"link {link!r}: neither tool takes such a name literally; rename it")
    return vip


def _standing(policy: str) -> Iterator[tuple[IPv4Address, str, Optional[IPv4Address]]]:
    if policy == "nft":
        return (rule.silence for rule in arp_nft.rules() if rule.silence)
    return (found for _, found in arp_tables.standing())


def silences(policy: str) -> list[Silence]:
    """Return what stands in the form of ours under `arptables` or `nft`; loads no module.

    Rules of any other form are not seen. Of two rewrites for one VIP and link the first acts.
    """
    found: dict[tuple[IPv4Address, str], Silence] = {}
    for vip, link, source in _standing(policy):
        old = found.get((vip, link), Silence(link, vip))
        new_source = old.source if old.mute else source
        mute = old.mute or source is not None
        deaf = old.deaf or source is None
        found[(vip, link)] = Silence(link, vip, deaf, mute, new_source)
    return list(found.values())


def add(policy: str, vip: Address, link: str, source: Address) -> None:
    """Make `link` deaf and mute for `vip`; requests go out in the name of `source`. Idempotent.

    Missing: no tool or kernel part for it; Denied: the tool refused, in its own words.
    """
    vip, source = _checked(policy, vip, link), _checked(policy, source, link)
    if policy == "nft":
        arp_nft.add(vip, link, source)
    else:
        arp_tables.add(arp_tables.working(), vip, link, source)


def remove(policy: str, vip: Address, link: str) -> None:
    """Delete exactly our rules for `vip` on `link`; nothing there is fine."""
    vip = _checked(policy, vip, link)
    if policy == "nft":
        arp_nft.remove(vip, link)
    else:
        arp_tables.remove(vip, link)


def trial(policy: str) -> str:
    """Return why this host cannot do `policy`; an empty text when it can.

    The very rules are added, listed and deleted in a network namespace of their own: the host's
    rules are untouched, though the kernel may load the modules that the rules need.
    """
    if policy == "nft":
        return tools.apart(functools.partial(arp_nft.trial, *arp_tables.TRIAL))
    return arp_tables.chosen()[1]


def trial_dummy() -> str:
    """Return why this host cannot make dummy links; an empty text when it can."""

    def work() -> str:
        with Links() as links:
            try:
                links.add_dummy("onearm-trial")
            except OSError as error:
                return str(translate(error, "dummy link"))
        return ""

    return tools.apart(work)
