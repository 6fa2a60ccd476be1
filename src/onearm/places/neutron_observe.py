"""What stands under the wanted keys, and what carries our mark; pure, from rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from onearm.model import (
    AddressPair,
    GroupMembership,
    GroupRule,
    Key,
    PortSecurity,
    Resource,
    SecurityGroup,
    Seen,
    state_key,
)
from onearm.places import neutron_port
from onearm.places.neutron_api import Json
from onearm.places.neutron_marks import (
    Marks,
    birth_name,
    pair_of,
    pair_text,
    rule_names,
    whole_names,
)
from onearm.places.neutron_port import PortState
from onearm.places.neutron_rows import Groups, canonical, vip_port

Wanted = Mapping[Key, Resource]
Found = dict[Key, Seen]
ON_PORTS = (AddressPair, GroupMembership, PortSecurity)


def observe(name: str, wanted: Wanted, rows: Iterable[Json], groups: Groups) -> Found:
    """Show all that matters to one spec."""
    found: Found = {}
    for row in rows:
        if not _vip(found, name, wanted, row):
            _port(found, name, wanted, neutron_port.state(row), groups)
    for home in groups.rows:
        group = SecurityGroup(home.name, home.stateful)
        asked = state_key(group) in wanted
        if not asked and name not in home.names:
            continue
        if groups.named(home.name, stateful=home.stateful) != home:
            continue
        if home.born or not asked:  # begun and not finished: it is made again, which finishes it
            found[state_key(group)] = Seen(group, home.names, group if home.names else None)
    _rules(found, name, wanted, groups)
    return found


def _rules(found: Found, name: str, wanted: Wanted, groups: Groups) -> None:
    asked = {canonical(r): r for r in wanted.values() if isinstance(r, GroupRule)}
    homes = {(r.group, r.stateful) for r in asked}
    for home in groups.rows:
        if name not in home.names and (home.name, home.stateful) not in homes:
            continue
        if not home.born or groups.named(home.name, stateful=home.stateful) != home:
            continue
        for rule, row in home.standing():
            same = canonical(rule)
            names = rule_names(home.tags, birth_name(row.get("description")), same)
            shown = asked.get(same, rule)
            if same in asked or name in names:
                found[state_key(shown)] = Seen(shown, names, shown if names else None)


def _vip(found: Found, name: str, wanted: Wanted, row: Json) -> bool:
    """Show a port that reserves a VIP; False if it is none, or nobody's that matters here."""
    vip = vip_port(row)
    if vip is None:
        return False
    names = whole_names(row.get("tags") or (), str(row.get("description") or ""))
    shown = state_key(vip) in wanted or (name in names and not neutron_port.state(row).marks.wants)
    if shown:
        found[state_key(vip)] = Seen(vip, names, vip if names else None)
    return shown


def _port(found: Found, name: str, wanted: Wanted, port: PortState, groups: Groups) -> None:
    marks = port.marks
    asked = {k: r for k, r in wanted.items() if getattr(r, "port_id", None) == port.id}
    ours = {k: held[name] for k, held in marks.wants.items() if name in held}
    for key, resource in {**ours, **asked}.items():
        now = _now(resource, port, marks, groups)
        if now is None and key in asked:
            continue
        held = marks.wants.get(key, {})
        marked = held.get(name) or next(iter(held.values()), None)
        shown = _with_host(now or resource, resource)
        found[key] = Seen(shown, tuple(sorted(held)), marked)
    if name in marks.names and not ours:
        _left_over(found, name, asked, port)


def _with_host(shown: Resource, asked: Resource) -> Resource:
    if isinstance(shown, ON_PORTS) and isinstance(asked, ON_PORTS):
        return replace(shown, host=asked.host)
    return shown


def _left_over(found: Found, name: str, asked: Wanted, port: PortState) -> None:
    """Show a mark that stands for nothing any more, so that the next plan takes it down."""
    left = PortSecurity(port.id, enabled=True)
    if not asked:
        found[state_key(left)] = Seen(left, (name,), left)


def _now(resource: Resource, port: PortState, marks: Marks, groups: Groups) -> Resource | None:
    if isinstance(resource, AddressPair):
        return _pair_now(resource, port)
    if isinstance(resource, GroupMembership):
        group = groups.of(resource)
        if group is None or group not in port.groups:
            return None
        members = {r for held in marks.wants.values() for r in held.values()}
        ours = {groups.of(m) for m in members if isinstance(m, GroupMembership)} | {group}
        alone = set(port.groups) <= ours
        said = [
            r.only
            for r in marks.wants.get(state_key(resource), {}).values()
            if isinstance(r, GroupMembership)
        ]
        return replace(resource, only=alone and (resource.only or any(said)))
    if isinstance(resource, PortSecurity):
        return _filtering_now(resource, port)
    return None


def _filtering_now(resource: PortSecurity, port: PortState) -> PortSecurity | None:
    """A port is filtered unless told otherwise: that is no thing of its own."""
    if port.filtered is False or (port.filtered and resource.enabled):
        return PortSecurity(port.id, enabled=bool(port.filtered))
    return None


def _pair_now(resource: AddressPair, port: PortState) -> AddressPair | None:
    forms = [text for text, mac in port.pairs if port.own((text, mac), resource.network)]
    if not forms:
        return None
    if forms == [pair_text(resource)]:
        return resource
    there = [pair_of(port.id, text) for text in forms]
    bare = any(pair.bare for pair in there)
    if bare == resource.bare:
        return resource  # an odd form beside, such as host bits: it admits the same
    return replace(resource, bare=bare)
