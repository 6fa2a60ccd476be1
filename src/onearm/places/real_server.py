"""A real server's kinds: its links, the VIPs that it holds, and their silence in ARP."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

from onearm.errors import Denied, PlaceError
from onearm.kernel import arp, sysctl
from onearm.kernel.faults import translate
from onearm.kernel.links import Links
from onearm.model import (
    Action,
    ArpSilence,
    GuePort,
    HeldVip,
    Key,
    Link,
    Resource,
    TunnelLink,
    state_key,
)
from onearm.places import address, gue_port, tunnel_link
from onearm.places.effective import effective

KINDS = (Link, TunnelLink, GuePort, ArpSilence, HeldVip)
IGNORES = ("1", "2")  # arp_ignore: answer only for addresses of the link that was asked on
ANNOUNCE = "2"  # arp_announce: never the VIP as sender, the best address of the link instead
DEFAULTS = {"arp_ignore": "1", "arp_announce": ANNOUNCE}
LINK_SCOPE = 253  # RT_SCOPE_LINK: such addresses come by themselves

Was = Mapping[Key, Optional[dict[str, str]]]
Verdict = tuple[Action, Optional[PlaceError]]


def read(wanted: Sequence[Resource]) -> dict[Key, Resource]:
    """Show what stands under the keys of `wanted`."""
    found = _links([r for r in wanted if isinstance(r, Link)])
    found += tunnel_link.read(r for r in wanted if isinstance(r, TunnelLink))
    found += gue_port.read(r for r in wanted if isinstance(r, GuePort))
    found += address.read(r for r in wanted if isinstance(r, HeldVip))
    found += _silences([r for r in wanted if isinstance(r, ArpSilence)])
    return {state_key(resource): resource for resource in found}


def _links(wanted: Sequence[Link]) -> list[Resource]:
    if not wanted:
        return []
    names = {link.name for link in wanted}
    with Links() as links:
        return [
            Link(fact.name, fact.kind or "physical", fact.up)
            for fact in links.links()
            if fact.name in names
        ]


def _silences(wanted: Sequence[ArpSilence]) -> list[Resource]:
    found: list[Resource] = [
        silence for w in wanted if w.policy == "sysctl" for silence in _by_sysctl(w)
    ]
    for policy in {w.policy for w in wanted} - {"sysctl"}:
        standing: dict[Key, arp.Silence] = {(s.link, s.vip): s for s in arp.silences(policy)}
        for silence in (w for w in wanted if w.policy == policy):
            rules = standing.get((silence.link, silence.vip))
            if rules is not None:
                found.append(
                    ArpSilence(
                        silence.link, policy, silence.vip, rules.source, rules.deaf, rules.mute
                    )
                )
    return found


def _by_sysctl(wanted: ArpSilence) -> Iterator[ArpSilence]:
    """Show what the kernel's effective values give, as far as it was asked for."""
    ignore = effective(wanted.link, "arp_ignore")
    announce = effective(wanted.link, "arp_announce")
    deaf, mute = ignore in IGNORES, announce == ANNOUNCE
    if deaf >= wanted.deaf and mute >= wanted.mute:
        yield ArpSilence(wanted.link, deaf=wanted.deaf, mute=wanted.mute)
    elif deaf or mute:
        yield ArpSilence(wanted.link, deaf=deaf, mute=mute)


def was(resource: Resource) -> Optional[dict[str, str]]:
    """Say what stands there before we set it, where that is to be put back."""
    if not isinstance(resource, ArpSilence) or resource.policy != "sysctl":
        return None
    values = {name: sysctl.read(f"net/ipv4/conf/{resource.link}/{name}") for name in DEFAULTS}
    return {name: value for name, value in values.items() if value is not None}


def apply(batch: Sequence[Action], marked: Was) -> Iterator[Verdict]:
    """Try every action; links before addresses when building, the other way when taking down."""
    for action in sorted(batch, key=_turn):
        yield action, _one(action, marked.get(state_key(action.resource)))


def _turn(action: Action) -> int:
    order = KINDS.index(type(action.resource))
    return -order if action.after is None else order


def _one(action: Action, before_us: Optional[dict[str, str]]) -> Optional[PlaceError]:
    resource = action.resource
    try:
        if isinstance(resource, Link):
            _set_link(action, resource)
        elif isinstance(resource, TunnelLink):
            tunnel_link.put(action, resource)
        elif isinstance(resource, GuePort):
            gue_port.put(action, resource)
        elif isinstance(resource, HeldVip):
            address.delete(resource) if action.after is None else address.add(resource)
        elif isinstance(resource, ArpSilence):
            _set_silence(action, resource, before_us)
    except PlaceError as error:
        return error
    except OSError as error:
        return translate(error, f"changing {resource}")
    return None


def _set_link(action: Action, link: Link) -> None:
    with Links() as links:
        standing = next((f for f in links.links() if f.name == link.name), None)
        if action.after is None:
            _delete_link(links, link)
        elif standing is None:
            links.add_dummy(link.name, up=True)
        elif standing.kind != link.kind:
            raise Denied(
                f"the link {link.name} is no {link.kind} but {standing.kind or 'a real NIC'}:"
                " rename or remove it"
            )
        else:
            links.set_up(link.name)


def _delete_link(links: Links, link: Link) -> None:
    left = [a for a in links.addresses() if a.link == link.name and a.scope < LINK_SCOPE]
    if left:
        raise Denied(
            f"{link.name} holds {left[0].address}/{left[0].prefix_length}, which is not ours, so"
            " the link stays: remove the address first"
        )
    try:
        links.delete_dummy(link.name)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def _set_silence(action: Action, silence: ArpSilence, before_us: Optional[dict[str, str]]) -> None:
    if silence.policy == "sysctl":
        _set_sysctls(action, silence, before_us or {})
    elif silence.vip is None or silence.source is None:
        raise Denied(f"a silence by {silence.policy} needs a VIP and an address to ask with")
    elif action.after is None:
        arp.remove(silence.policy, silence.vip, silence.link)
    else:
        _set_rules(action, silence)


def _set_rules(action: Action, silence: ArpSilence) -> None:
    before = action.before
    if silence.vip is None or silence.source is None:
        return
    if isinstance(before, ArpSilence) and before.mute and before.source != silence.source:
        arp.remove(silence.policy, silence.vip, silence.link)
    arp.add(silence.policy, silence.vip, silence.link, silence.source)


def _set_sysctls(action: Action, silence: ArpSilence, before_us: dict[str, str]) -> None:
    built = action.after is not None
    wanted = {"arp_ignore": silence.deaf, "arp_announce": silence.mute}
    for parameter, wants in wanted.items():
        name = f"net/ipv4/conf/{silence.link}/{parameter}"
        if built and wants:
            if not _enough(silence.link, parameter):
                sysctl.write(name, DEFAULTS[parameter])
        elif parameter in before_us and sysctl.read(name) is not None:
            sysctl.write(name, before_us[parameter])


def _enough(link: str, parameter: str) -> bool:
    allowed = IGNORES if parameter == "arp_ignore" else (ANNOUNCE,)
    return effective(link, parameter) in allowed
