"""A director's kinds: IPVS services and destinations, the VIP that it announces, its sysctls."""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from operator import attrgetter
from typing import Any, Optional

from onearm.again import Again
from onearm.errors import PlaceError
from onearm.kernel import packets, sysctl
from onearm.kernel.faults import translate
from onearm.kernel.ipvs import (
    PERSISTENT,
    Change,
    Ipvs,
    IpvsDestination,
    IpvsService,
    Row,
    Table,
    bits_to_flags,
    flags_to_bits,
)
from onearm.kernel.links import Links
from onearm.lean import like
from onearm.model import (
    Action,
    Address,
    AnnouncedVip,
    CheckMark,
    Destination,
    Key,
    MarkRule,
    Resource,
    Service,
    Sysctl,
    Timeout,
    by_kind,
    endpoint,
    state,
    state_key,
)
from onearm.places import address, check_marks, mark_rules, timeouts
from onearm.places.bodies import Wish, bodies
from onearm.places.check_marks import VERSIONS
from onearm.places.methods import FORWARDING, METHODS, TUNNELS, tunnel_name

KINDS = (Sysctl, Timeout, Service, CheckMark, Destination, MarkRule, AnnouncedVip)
PROTOCOLS = {
    "tcp": socket.IPPROTO_TCP,
    "udp": socket.IPPROTO_UDP,
    "sctp": socket.IPPROTO_SCTP,
}
NUMBERS = {number: name for name, number in PROTOCOLS.items()}
PLAIN = 3  # parts of the key of a service that is no group
GONE = (errno.ENOENT, errno.ESRCH)
Was = Mapping[Key, Optional[dict[str, str]]]
Verdict = tuple[Action, Optional[PlaceError]]


def read(wanted: Sequence[Resource], standing: Optional[Table] = None) -> dict[Key, Resource]:
    """Show what stands under the keys of `wanted`, and all of the IPVS table if any of it is asked.

    `standing` is the table as just read.
    """
    asked = by_kind(wanted)
    found: dict[Key, Resource] = {}
    if Service in asked or Destination in asked:
        found = _standing(table() if standing is None else standing, _groups(asked))
    others: list[Resource] = []
    others += address.read(asked.get(AnnouncedVip, ()))
    others += timeouts.read(asked.get(Timeout, ()))
    others += check_marks.read(asked.get(CheckMark, ()))
    others += mark_rules.read(asked.get(MarkRule, ()))
    for resource in asked.get(Sysctl, ()):
        value = sysctl.read(resource.name)
        others += [] if value is None else [Sysctl(resource.name, value)]
    return found | state(others)


Groups = dict[tuple[int, int], Key]  # the keys of groups of ours, by mark and address family


def _groups(asked: Mapping[type, Sequence[Any]]) -> Groups:
    found = {(r.mark, r.vip.version): r.key for r in asked.get(Service, ()) if r.mark}
    behind = [r for r in asked.get(Destination, ()) if r.mark]
    return {(r.mark, r.vip.version): r.service_key for r in behind} | found


def table() -> Table:
    """Read the whole IPVS table."""
    try:
        with Ipvs() as ipvs:
            return ipvs.table()
    except OSError as error:
        raise translate(error, "reading the IPVS table") from error


def _standing(rows: Table, groups: Groups) -> dict[Key, Resource]:
    """Turn the table into resources; of a row that is the very same as last time, the same ones."""
    found: dict[Key, Resource] = {}
    for row in rows:
        one = row[0]
        group = groups.get((one.fwmark, VERSIONS[one.family])) if one.fwmark else None
        found.update(_made(one, row, group))
    return found


def _resources(row: Row, group: Optional[Key]) -> dict[Key, Resource]:
    service = service_resource(row[0], group)
    return {} if service is None else state([service, *_destinations(service, row[1])])


_made = Again(_resources)


def service_resource(standing: IpvsService, group: Optional[Key] = None) -> Optional[Service]:
    """Turn the kernel's service into ours; None for one of another protocol, or by a firewall mark.

    `group` is the key of the group of ours that has its mark.
    """
    named = group or (NUMBERS.get(standing.protocol), standing.address, standing.port)
    protocol, vip, port = named[:PLAIN]
    if protocol is None or vip is None or (standing.fwmark and not group):
        return None
    return Service(
        protocol=protocol,
        vip=vip,
        port=port,
        mark=standing.fwmark,
        scheduler=standing.scheduler,
        flags=tuple(sorted(bits_to_flags(standing.scheduler, standing.flags))),
        **persistence(standing),
    )


def persistence(standing: IpvsService) -> dict[str, Any]:
    """Give what the kernel's service has of it, by our fields' names; the mask of one host is none.

    A mask of IPv4 that is no prefix is negative: nobody wants such a one.
    """
    if not standing.flags & PERSISTENT:
        return {}
    mask = standing.netmask
    if mask is not None and standing.family == socket.AF_INET:
        length = bin(mask).count("1")
        mask = length if mask == netmask(length) else -mask
    whole = 32 if standing.family == socket.AF_INET else 128
    return {
        "persistence_s": standing.timeout_s,
        "persistence_mask": None if mask == whole else mask,
        "engine": standing.pe,
    }


def netmask(length: int) -> int:
    """Give the mask of IPv4 for a prefix length, as a number."""
    return 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF


def _destinations(service: Service, standing: Iterable[IpvsDestination]) -> Iterator[Resource]:
    """Turn the kernel's destinations into ours, each with the port that is its own."""
    made: Optional[Destination] = None
    before: Any = None
    for found in standing:
        settings = _SETTINGS(found)
        if made is not None and settings == before:
            yield like(made, server=found.address)
            continue
        before = settings
        made = Destination(
            protocol=service.protocol,
            vip=service.vip,
            port=service.port,
            server=found.address,
            weight=found.weight,
            forwarding=METHODS.get(found.forwarding) or str(found.forwarding),
            upper=found.upper,
            lower=found.lower,
            tunnel=tunnel_name(found),
            tunnel_port=found.tunnel_port,
            own_port=found.port if found.port not in (service.port, 0) else 0,
            mark=service.mark,
        )
        yield made


# All of a destination but its address and figures: most of a service have equal ones.
_SETTINGS = attrgetter(
    "port", "forwarding", "weight", "upper", "lower", "tunnel_type", "tunnel_port", "tunnel_flags"
)


def was(resource: Resource) -> Optional[dict[str, str]]:
    """Say what stands there before we set it, where that is to be put back."""
    if isinstance(resource, Timeout):
        return timeouts.was(resource)
    if not isinstance(resource, Sysctl):
        return None
    value = sysctl.read(resource.name)
    return None if value is None else {"value": value}


def apply(batch: Sequence[Action], marked: Was) -> Iterator[Verdict]:
    """Try every action; all changes of the IPVS table go to the kernel in one send."""
    ours: list[Action] = []
    others: list[Action] = []
    for action in batch:
        kind = type(action.before if action.after is None else action.after)
        (ours if kind is Destination or kind is Service else others).append(action)
    yield from _change_table(ours)
    yield from check_marks.apply(a for a in others if isinstance(a.resource, CheckMark))
    yield from mark_rules.apply(a for a in others if isinstance(a.resource, MarkRule))
    for action in others:
        if isinstance(action.resource, (Sysctl, Timeout, AnnouncedVip)):
            yield action, _one(action, marked.get(state_key(action.resource)))


def _one(action: Action, before_us: Optional[dict[str, str]]) -> Optional[PlaceError]:
    resource = action.resource
    try:
        if isinstance(resource, Sysctl):
            _set_sysctl(action, resource, before_us)
        elif isinstance(resource, Timeout):
            timeouts.set_one(action, resource, before_us)
        elif isinstance(resource, AnnouncedVip):
            _set_vip(action, resource)
    except PlaceError as error:
        return error
    except OSError as error:
        return translate(error, f"changing {resource}")
    return None


def _set_sysctl(action: Action, resource: Sysctl, before_us: Optional[dict[str, str]]) -> None:
    if action.after is not None:
        sysctl.write(resource.name, resource.value)
    elif before_us and sysctl.read(resource.name) is not None:
        sysctl.write(resource.name, before_us["value"])


def _set_vip(action: Action, vip: AnnouncedVip) -> None:
    if action.after is None:
        address.delete(vip)
        return
    address.add(vip)
    with Links() as links:
        macs = [link.mac for link in links.links() if link.name == vip.link]
    # Whoever saw another MAC for the VIP, a router above all, would keep it for minutes or hours.
    packets.announce(vip.link, vip.vip, macs[0])


def _change_table(actions: Sequence[Action]) -> Iterator[Verdict]:
    builds: list[Wish] = []
    gone: list[Wish] = []
    for index, action in enumerate(actions):
        before, after = action.before, action.after
        if before is None:
            builds.append((index, "add", action.resource))
        elif after is None:
            gone.append((index, "delete", before))
        elif before != after:
            builds.append((index, "set", after))
    # The kernel lists the newest first, and searches from there: what is deleted in that order is
    # found at once. What we add is added in the plan's order, so the reverse is the kernel's.
    wishes = builds + gone[::-1]
    refused = _sent(actions, wishes) if wishes else {}
    if not refused:
        yield from zip(actions, itertools.repeat(None))
        return
    for index, action in enumerate(actions):
        code = refused.get(index)
        yield action, None if code is None else _sentence(action, code)


def _sent(actions: Sequence[Action], wishes: Sequence[Wish]) -> dict[int, int]:
    """Send changes, return {index of the action: errno} of those that did not take effect."""
    try:
        with Ipvs() as ipvs:
            return _send(ipvs, wishes)
    except OSError as error:
        code = error.errno or errno.EIO
        if code != errno.ENOBUFS:
            return dict.fromkeys((n for n, _, _ in wishes), code)
        # Answers were lost, not changes: the table says which of them took effect.
        standing = read([resource for _, _, resource in wishes])
        return {
            n: code
            for n, _, resource in wishes
            if standing.get(state_key(resource)) != actions[n].after
        }


def _send(ipvs: Ipvs, wishes: Sequence[Wish]) -> dict[int, int]:
    codes = ipvs.send(bodies(wishes, _change))
    refused = {wishes[at][0]: code for at, code in codes.items()}
    if not refused:
        return refused
    verbs = {n: verb for n, verb, _ in wishes}
    gone = {n for n, code in refused.items() if verbs[n] == "delete" and code in GONE}
    refused = {n: code for n, code in refused.items() if n not in gone}
    # Something is there already, perhaps by a run that was killed: set it as wanted.
    there = [(n, "set", r) for n, _, r in wishes if refused.get(n) == errno.EEXIST]
    if there:
        again = _send(ipvs, there)
        refused = {n: code for n, code in refused.items() if code != errno.EEXIST} | again
    return refused


def _change(verb: str, resource: Resource) -> Change:
    if isinstance(resource, Destination):
        return verb, _ipvs_key(resource), _ipvs_destination(resource)
    if not isinstance(resource, Service):
        raise TypeError(f"{resource} is nothing of IPVS")
    return verb, _ipvs_service(resource), None


def _family(address_: Address) -> int:
    return socket.AF_INET if isinstance(address_, IPv4Address) else socket.AF_INET6


def _ipvs_key(resource: Destination) -> IpvsService:
    if resource.mark:
        return IpvsService(_family(resource.vip), fwmark=resource.mark)
    return IpvsService(
        _family(resource.vip), PROTOCOLS[resource.protocol], resource.vip, resource.port
    )


def _ipvs_service(service: Service) -> IpvsService:
    bits = flags_to_bits(service.scheduler, service.flags)
    marked = bool(service.mark)
    return IpvsService(
        family=_family(service.vip),
        protocol=0 if marked else PROTOCOLS[service.protocol],
        address=None if marked else service.vip,
        port=0 if marked else service.port,
        fwmark=service.mark,
        scheduler=service.scheduler,
        flags=bits | (PERSISTENT if service.persistence_s else 0),
        timeout_s=service.persistence_s,
        netmask=_mask(service),
        pe=service.engine,
    )


def _mask(service: Service) -> Optional[int]:
    length = service.persistence_mask
    return netmask(length) if length is not None and service.vip.version == 4 else length  # noqa: PLR2004


def _ipvs_destination(destination: Destination) -> IpvsDestination:
    return IpvsDestination(
        address=destination.server,
        port=0 if destination.mark else destination.server_port,
        forwarding=FORWARDING[destination.forwarding],
        weight=destination.weight,
        upper=destination.upper,
        lower=destination.lower,
        tunnel_type=TUNNELS[destination.tunnel],
        tunnel_port=destination.tunnel_port,
    )


def _sentence(action: Action, code: int) -> PlaceError:
    resource = action.resource
    if isinstance(resource, Service) and code == errno.ENOENT:
        what = (
            f"{endpoint(resource.vip, resource.port)}/{resource.protocol} with {resource.scheduler}"
        )
        return translate(code, f"the virtual service {what}")
    return translate(code, f"{action.verb} {resource}")
