"""What the director's former groups granted, carried over into a stateless group; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from onearm.cloud_facts import CloudFacts, GroupFact, PortFact, RuleFact, former_groups
from onearm.cloud_prefixes import anywhere, is_wide, pair_networks, single, union
from onearm.cloud_rules import EGRESS, ICMP, ICMPS, INGRESS, Owner, rule
from onearm.model import (
    AddressPair,
    GroupMembership,
    GroupRule,
    Mark,
    Network,
    PortSecurity,
    SecurityGroup,
)
from onearm.spec import Spec

# Where Linux takes the ports of outgoing connections from (net.ipv4.ip_local_port_range).
EPHEMERAL = (32768, 60999)
WITH_PORTS = frozenset({"tcp", "6", "udp", "17", "sctp", "132", "dccp", "33", "udplite", "136"})
# These answer with the same protocol number and have no ports.
WITHOUT_PORTS = frozenset(
    {"ah", "egp", "esp", "gre", "igmp", "ipip", "ipv6-encap", "ospf", "pgm", "rsvp", "vrrp"}
    | {"51", "8", "50", "47", "2", "4", "41", "89", "113", "46", "112"}
)


class CannotCarryError(ValueError):
    """A sentence why a rule cannot be expressed in a stateless group of prefixes."""


@dataclass
class Carried:
    """What is carried over, the replies among it, and the rules for which that is impossible."""

    rules: list[GroupRule] = field(default_factory=list)
    replies: list[GroupRule] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def director_group(spec: Spec) -> str:
    """Name the director's group."""
    return f"onearm-{spec.name}-director"


def real_server_group(spec: Spec) -> str:
    """Name the real servers' group, or what the names begin with where there are several."""
    return f"onearm-{spec.name}-real-server"


def is_ours(spec: Spec, facts: CloudFacts, group_id: str) -> bool:
    """Say whether a group is one of onearm's, by this spec or by another."""
    group = facts.group(group_id)
    if group is None:
        return False
    made = {m.resource.name for m in facts.marks if isinstance(m.resource, SecurityGroup)}
    own = group.name == director_group(spec) or group.name.startswith(real_server_group(spec))
    return own or group.name in made


def others(spec: Spec, facts: CloudFacts, port: PortFact) -> list[str]:
    """List the groups that a port is in and that are not ours, by id."""
    return [group for group in port.groups if not is_ours(spec, facts, group)]


def former(spec: Spec, facts: CloudFacts, port: PortFact) -> list[str]:
    """List the groups whose rights a port should keep: those it was in before, and is in."""
    return list(
        dict.fromkeys([*_before(spec, facts, port, facts.marks), *others(spec, facts, port)])
    )


def _before(spec: Spec, facts: CloudFacts, port: PortFact, marks: Iterable[Mark]) -> Iterator[str]:
    """List the groups that marks keep for a port, and that are not ours."""
    for mark in marks:
        held = mark.resource
        if isinstance(held, (GroupMembership, PortSecurity)) and held.port_id == port.id:
            yield from (g for g in former_groups(mark) if not is_ours(spec, facts, g))


def left_alone(spec: Spec, facts: CloudFacts, port: PortFact) -> list[str]:
    """List the groups that a port is in once this spec manages none: what it replaced is back."""
    marks = [mark for mark in facts.marks if mark.names == (spec.name,)]
    own = {m.resource.name for m in marks if isinstance(m.resource, SecurityGroup)}
    named = ((group, facts.group(group)) for group in port.groups)
    stay = [group for group, known in named if known is None or known.name not in own]
    return list(dict.fromkeys([*stay, *_before(spec, facts, port, marks)]))


def label(facts: CloudFacts, group_id: str) -> str:
    """Name a group for people."""
    group = facts.group(group_id)
    return repr(group.name) if group and group.name else group_id


def carry(spec: Spec, facts: CloudFacts, port: PortFact, owner: Owner) -> Carried:
    """Express every right that the port's former groups grant in rules by prefix."""
    found = Carried()
    for group_id in former(spec, facts, port):
        group = facts.group(group_id)
        if group is None:
            found.refused.append(f"all of the group {group_id}: it cannot be seen any more")
            continue
        for fact in group.rules:
            try:
                remotes = _remotes(spec, facts, port, fact)
                replies = list(_replies(owner, group, fact, remotes))
            except CannotCarryError as reason:
                found.refused.append(f"{spoken(facts, fact)} of {group.name!r}: {reason}")
                continue
            found.rules += [*_same(owner, group, fact, remotes), *replies]
            found.replies += replies
    return found


def _same(
    owner: Owner, group: GroupFact, fact: RuleFact, remotes: list[Network | None]
) -> Iterator[GroupRule]:
    ports = (fact.port_min, fact.port_max)
    why = f"from {group.name}"[:255]
    for remote in remotes:
        yield rule(
            owner, fact.direction, remote, fact.protocol, ports, family=fact.ethertype, why=why
        )


def _remotes(spec: Spec, facts: CloudFacts, port: PortFact, fact: RuleFact) -> list[Network | None]:
    if fact.remote_address_group_id:
        raise CannotCarryError("its remote is an address group, whose addresses are not read")
    if not fact.remote_group_id:
        return [fact.remote]
    version = 6 if fact.ethertype == "IPv6" else 4
    found = _members(spec, facts, port, fact.remote_group_id)
    return [network for network in union(found) if network.version == version]


def _members(spec: Spec, facts: CloudFacts, port: PortFact, group_id: str) -> Iterator[Network]:
    """Give the addresses of a group's members, the port itself aside.

    A member's pairs belong to them, as the drivers by ipset and flows have it, but for ours, which
    were not there when the group was left; a wide pair is the hole that this must not hand on.
    """
    own = {mark.resource.key for mark in facts.marks if isinstance(mark.resource, AddressPair)}
    vips = {single(vip) for service in spec.services for vip in service.vips}
    _all_members_are_seen(facts, group_id)
    for member_id in facts.members.get(group_id, ()):
        member = facts.by_id(member_id)
        if member is None:
            raise CannotCarryError(
                f"the member {member_id} of {label(facts, group_id)} cannot be seen"
            )
        if member.id == port.id:
            continue
        yield from (single(address) for address in member.addresses)
        pairs = [n for n in pair_networks(member) if n not in vips and (member.id, n) not in own]
        if not is_wide(pairs):
            yield from pairs


def _all_members_are_seen(facts: CloudFacts, group_id: str) -> None:
    group = facts.group(group_id)
    foreign = group is None or (facts.project_id not in ("", group.project_id))
    if foreign and "admin" not in facts.roles:
        raise CannotCarryError(
            f"its remote is the group {label(facts, group_id)}, whose members cannot all be seen"
        )


def _replies(
    owner: Owner, group: GroupFact, fact: RuleFact, remotes: list[Network | None]
) -> Iterator[GroupRule]:
    """Admit what answers the connections that a stateful rule lets out.

    A rule has no source port, so the answers are told by the ports that they come to.
    """
    if fact.direction != EGRESS or group.stateful is False:
        return
    why = f"replies to what {group.name} lets out"[:255]
    for remote in remotes:
        source = remote if remote is not None else anywhere(6 if fact.ethertype == "IPv6" else 4)
        for protocol, ports in _answers(fact):
            yield rule(owner, INGRESS, source, protocol, ports, why=why)


def _answers(fact: RuleFact) -> list[tuple[str, tuple[int | None, int | None]]]:
    protocol = fact.protocol
    if protocol is None:
        return [("tcp", EPHEMERAL), ("udp", EPHEMERAL), (ICMP[fact.ethertype], (None, None))]
    if protocol in WITH_PORTS:
        return [(protocol, EPHEMERAL)]
    if protocol in ICMPS or protocol in WITHOUT_PORTS:
        return [(ICMP[fact.ethertype] if protocol in ICMPS else protocol, (None, None))]
    raise CannotCarryError(f"what answers protocol {protocol} is not known")


def spoken(facts: CloudFacts, fact: RuleFact) -> str:
    """Say a rule in a few words."""
    ports = ""
    if fact.port_min is not None or fact.port_max is not None:
        ports = f" {fact.port_min}-{fact.port_max}"
    remote = str(fact.remote or "anywhere")
    if fact.remote_group_id:
        remote = f"the group {label(facts, fact.remote_group_id)}"
    elif fact.remote_address_group_id:
        remote = f"the address group {fact.remote_address_group_id}"
    way = "from" if fact.direction == INGRESS else "to"
    return f"{fact.direction} {fact.ethertype} {fact.protocol or 'any'}{ports} {way} {remote}"
