"""What a host's port becomes: from its state, its marks and a batch to one request; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from onearm.model import (
    Action,
    AddressPair,
    GroupMembership,
    Key,
    Network,
    PortSecurity,
    Resource,
    state_key,
)
from onearm.places import neutron_marks
from onearm.places.neutron_marks import Marks, Was, pair_of, pair_text

GroupId = Callable[[GroupMembership], "str | None"]


@dataclass(frozen=True)
class PortState:
    """What a write needs of a port."""

    id: str
    mac: str
    filtered: bool | None  # None: the cloud has no port security
    groups: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]  # text and MAC, as stored
    tags: frozenset[str]
    revision: int

    @property
    def marks(self) -> Marks:
        return neutron_marks.read(self.tags, self.id)

    def own(self, pair: tuple[str, str], network: Network) -> bool:
        """Say whether a stored pair admits a network with the port's own MAC."""
        text, mac = pair
        return same_mac(mac, self.mac) and pair_of(self.id, text).network == network


def same_mac(one: str, other: str) -> bool:
    return one.lower().replace("-", ":") == other.lower().replace("-", ":")


def state(row: dict[str, Any]) -> PortState:
    """Read a port as the API shows it."""
    pairs = row.get("allowed_address_pairs") or []
    return PortState(
        id=str(row["id"]),
        mac=str(row.get("mac_address") or ""),
        filtered=row.get("port_security_enabled"),
        groups=tuple(row.get("security_groups") or ()),
        pairs=tuple((str(p["ip_address"]), str(p.get("mac_address") or "")) for p in pairs),
        tags=frozenset(row.get("tags") or ()),
        revision=int(row.get("revision_number") or 0),
    )


@dataclass
class Target:
    """What a port shall be: the tags before the request, the request, the tags after it."""

    body: dict[str, Any] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    stale: list[str] = field(default_factory=list)  # in the order in which they go
    lost: tuple[str, ...] = ()  # groups that were there before and exist no more


def unmarked(port: PortState, batch: Iterable[Action]) -> frozenset[Key]:
    """List what nobody of ours had wanted on this port before."""
    wants = port.marks.wants
    return frozenset({state_key(a.resource) for a in batch} - wants.keys())


class _Change:
    """One port on its way: lists to be changed, marks to be kept."""

    def __init__(self, port: PortState, fresh: frozenset[Key], group_id: GroupId) -> None:
        self.port, self.fresh, self.group_id = port, fresh, group_id
        self.marks = port.marks
        if not self.marks.wants:
            self.marks.was.clear()  # left over from a run that ended while it cleaned up
        self.filtered = port.filtered
        self.groups, self.pairs = list(port.groups), list(port.pairs)
        self.lost: list[str] = []

    @property
    def wanted(self) -> list[Resource]:
        return [next(iter(held.values())) for held in self.marks.wants.values()]

    def record(self, name: str, batch: Sequence[Action]) -> list[Resource]:
        """Note what is wanted now; return what nobody wants any more."""
        gone: list[Resource] = []
        for action in batch:
            key = state_key(action.resource)
            held = self.marks.wants.get(key, {})
            if action.after is not None:
                self.marks.wants[key] = {name: action.after} | {
                    n: r for n, r in held.items() if n != name
                }
            elif held.pop(name, None) is not None and not held:
                del self.marks.wants[key]
                gone.append(action.resource)
        used = {n for held in self.marks.wants.values() for n in held}
        self.marks.names = (self.marks.names - {name}) | used
        return gone

    def release(self, resource: Resource) -> None:
        if isinstance(resource, AddressPair):
            self.pairs = [p for p in self.pairs if not self.port.own(p, resource.network)]
        elif isinstance(resource, GroupMembership):
            gone = self.group_id(resource)
            self.groups = [g for g in self.groups if g != gone]
        elif isinstance(resource, PortSecurity):
            self.filtered = Was(unfiltered=True) not in self.marks.was

    def build_pair(self, pair: AddressPair) -> None:
        form = (pair_text(pair), self.port.mac)
        there = [p for p in self.pairs if self.port.own(p, pair.network)]
        if state_key(pair) in self.fresh:
            self.marks.was |= {Was(pair=text) for text, _ in there}
        if [text for text, _ in there] != [form[0]]:
            self.pairs = [p for p in self.pairs if p not in there] + [form]

    def build_membership(self, membership: GroupMembership) -> None:
        group = self.group_id(membership)
        if group is None:
            return
        if group not in self.groups:
            self.groups.append(group)
        elif state_key(membership) in self.fresh:
            self.marks.was.add(Was(group=group))

    def settle(self, alive: Callable[[str], bool]) -> None:
        """Displace what may not stay, put back what nothing displaces any more."""
        wanted = self.wanted
        members = [r for r in wanted if isinstance(r, GroupMembership)]
        marked = {self.group_id(m) for m in members}
        nets = {r.network for r in wanted if isinstance(r, AddressPair)}
        off = next((r for r in wanted if isinstance(r, PortSecurity) and not r.enabled), None)
        only = any(m.only for m in members)
        if only or off:
            self.marks.was |= {Was(group=g) for g in self.groups if g not in marked}
            self.groups = [g for g in self.groups if g in marked]
        if off:
            self._switch_off(off, nets)
            return
        if not only:
            self._regroup(marked, alive)
        for was in [w for w in self.marks.was if w.pair]:
            if was.mac or pair_of(self.port.id, was.pair).network not in nets:
                self.marks.was.discard(was)
                pair = (was.pair, was.mac or self.port.mac)
                if pair not in self.pairs:
                    self.pairs.append(pair)
        if not any(isinstance(r, PortSecurity) for r in wanted):
            self.marks.was.discard(Was(unfiltered=True))

    def _switch_off(self, off: PortSecurity, nets: set[Network]) -> None:
        if state_key(off) in self.fresh and self.port.filtered is False:
            self.marks.was.add(Was(unfiltered=True))
        for text, mac in self.pairs:
            own = same_mac(mac, self.port.mac)
            if not own or pair_of(self.port.id, text).network not in nets:
                self.marks.was.add(Was(pair=text, mac="" if own else mac))
        self.filtered, self.groups, self.pairs = False, [], []

    def _regroup(self, marked: set[str | None], alive: Callable[[str], bool]) -> None:
        for was in sorted((w for w in self.marks.was if w.group), key=lambda w: w.group):
            if was.group in marked:
                continue
            self.marks.was.discard(was)
            if not alive(was.group):
                self.lost.append(was.group)
            elif was.group not in self.groups:
                self.groups.append(was.group)


def target(  # noqa: PLR0917 - one verb over plain values
    port: PortState,
    name: str,
    batch: Sequence[Action],
    fresh: frozenset[Key],
    group_id: GroupId,
    alive: Callable[[str], bool],
) -> Target:
    """Say what a batch makes of a port. `fresh` is what was unmarked before the batch began."""
    change = _Change(port, fresh, group_id)
    for resource in change.record(name, batch):
        change.release(resource)
    off = any(isinstance(r, PortSecurity) and not r.enabled for r in change.wanted)
    for resource in change.wanted:
        if isinstance(resource, AddressPair) and not off:
            change.build_pair(resource)
        elif isinstance(resource, GroupMembership) and not off:
            change.build_membership(resource)
        elif isinstance(resource, PortSecurity) and resource.enabled:
            change.filtered = True
    change.settle(alive)
    tags = change.marks.tags()
    return Target(_body(port, change), tags, _stale(port, tags, name), tuple(change.lost))


def _body(port: PortState, change: _Change) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if change.filtered != port.filtered and port.filtered is not None:
        body["port_security_enabled"] = change.filtered
    if set(change.groups) != set(port.groups):
        body["security_groups"] = change.groups
    if sorted(change.pairs) != sorted(port.pairs):
        body["allowed_address_pairs"] = [
            {"ip_address": text, "mac_address": mac} for text, mac in change.pairs
        ]
    return body


def _stale(port: PortState, tags: set[str], name: str) -> list[str]:
    """List our tags that have to go: single things, then what was there, the plain one last.

    Killed in between, the plain one still shows that something is to be cleaned up.
    """
    plain = neutron_marks.tag(name)
    whole = f"{neutron_marks.OURS}{name}:"
    past = f"{neutron_marks.OURS}:"
    old = sorted(port.tags - tags)
    return [
        *(t for t in old if t.startswith(whole)),
        *(t for t in old if t.startswith(past)),
        *(t for t in old if t == plain),
    ]
