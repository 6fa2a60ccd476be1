"""Rules about security groups: what breaks direct routing, and what opens other servers; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onearm.cloud import (
    IPTABLES,
    OPENVSWITCH,
    OVN,
    alone,
    driver,
    open_already,
    unfiltered,
    wanted,
)
from onearm.cloud_facts import CloudFacts, PortFact, RuleFact
from onearm.cloud_groups import (
    Carried,
    carry,
    director_group,
    former,
    label,
    left_alone,
    others,
    real_server_group,
)
from onearm.cloud_prefixes import is_wide, network_of_pair, pair_networks
from onearm.cloud_rules import Owner
from onearm.facts import Facts
from onearm.finding import CRITICAL, ERROR, NOTE, WARNING, Finding
from onearm.model import AddressPair, GroupMembership, Network, SecurityGroup
from onearm.spec import Host, Spec

SHOWN = 5  # ports that are named; the others are counted
HANGS = (
    "it sees the client's packets and never the replies, so it calls them invalid and drops them:"
    " clients connect, and the first data hangs"
)


def filtered_directors(spec: Spec, cloud: CloudFacts) -> Iterator[tuple[Host, PortFact]]:
    """Give the directors whose ports Neutron filters after the plan."""
    for director in spec.directors:
        port = cloud.port(director.name)
        if port and not unfiltered(spec, cloud) and not open_already(cloud, port):
            yield director, port


def managed(spec: Spec) -> bool:
    """Say whether groups are ours to plan."""
    return spec.openstack is None or spec.openstack.manage_security_groups


def names(cloud: CloudFacts, groups: Iterable[str]) -> str:
    """Name groups for people."""
    return ", ".join(label(cloud, group) for group in groups)


def stateful_director(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Refuse what makes connections through the director hang."""
    for host, port in filtered_directors(spec, cloud):
        if driver(spec, cloud) == OPENVSWITCH:
            yield _needs_no_filter(host, port)
            continue
        mixed = _mixed(spec, cloud, port)
        standing = mixed if managed(spec) else left_alone(spec, cloud, port)
        bad = [g for g in standing if _is_stateful(cloud, g)]
        if bad and (managed(spec) or driver(spec, cloud) != IPTABLES):
            yield from _stateful(spec, cloud, host, bad)


def _is_stateful(cloud: CloudFacts, group_id: str) -> bool:
    group = cloud.group(group_id)
    return group is None or group.stateful is not False


def _mixed(spec: Spec, cloud: CloudFacts, port: PortFact) -> list[str]:
    return [] if alone(spec, cloud, port) else others(spec, cloud, port)


def _needs_no_filter(host: Host, port: PortFact) -> Finding:
    return Finding(
        "sg.d.stateless_or_psec_off",
        ERROR,
        host.name,
        f"the openvswitch firewall filters the port {port.id} of {host.name}, and takes every"
        f" group for stateful: {HANGS}",
        "director_port_security: off in the spec's openstack section lets onearm turn the port's"
        " filtering off (its groups are kept and put back by destroy; until then only the host's"
        " own firewall guards it)",
    )


def _stateful(spec: Spec, cloud: CloudFacts, host: Host, bad: list[str]) -> Iterator[Finding]:
    said = names(cloud, bad)
    if not managed(spec):
        cure = "make the director's groups stateless, or let onearm do it: manage_security_groups"
        text = f"{host.name} is in the stateful group {said}: {HANGS}"
        yield Finding("sg.d.stateless_or_psec_off", ERROR, host.name, text, cure)
        return
    breaks = "" if driver(spec, cloud) == IPTABLES else f": {HANGS}"
    yield Finding(
        "sg.d.stateless_or_psec_off",
        ERROR,
        host.name,
        f"{host.name} is in the stateful group {said}, and has to be in a stateless one{breaks}",
        "director_groups: replace in the spec's openstack section lets onearm put the port into"
        f" {director_group(spec)} alone, which first takes over every rule of {said}; destroy puts"
        " the former groups back",
    )
    yield Finding(
        "sg.mixed",
        ERROR,
        host.name,
        f"Neutron lets no port be in a stateful group ({said}) and in a stateless one"
        f" ({director_group(spec)}) at once",
        "director_groups: replace in the spec's openstack section",
    )


def carried_over(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Refuse to lose a rule of the former groups; say what the replies need."""
    for host, port in filtered_directors(spec, cloud) if managed(spec) else ():
        if not alone(spec, cloud, port):
            continue
        owner = Owner(director_group(spec), stateful=False)
        found = carry(spec, cloud, port, owner)
        if found.refused:
            yield _lost(host, owner, found)
        if found.replies:
            yield _replies(spec, cloud, host, port, owner)
        yield from _left(spec, cloud, host, port)


def _lost(host: Host, owner: Owner, found: Carried) -> Finding:
    return Finding(
        "sg.d.carry_over",
        ERROR,
        host.name,
        f"{owner.name} would lack what the former groups of {host.name} grant, and nobody is to be"
        f" locked out: {'; '.join(found.refused)}",
        "write these rules by prefix, or take them out of the group; or run this as somebody who"
        " sees all members",
    )


def _replies(spec: Spec, cloud: CloudFacts, host: Host, port: PortFact, owner: Owner) -> Finding:
    said = names(cloud, former(spec, cloud, port))
    return Finding(
        "sg.d.return_rules",
        NOTE,
        host.name,
        f"a stateless group knows no replies, and a rule has no source port: {owner.name} admits"
        f" the ports 32768-60999 from wherever {said} let {host.name} connect to",
        "what listens there on the director is now open to it: bind it elsewhere, or narrow the"
        " egress rules of that group; a program that connects from a fixed low port (ntpd: 123)"
        " needs a rule of its own",
    )


def _left(spec: Spec, cloud: CloudFacts, host: Host, port: PortFact) -> Iterator[Finding]:
    for group_id in others(spec, cloud, port):
        rules = cloud.referenced_by.get(group_id, ())
        if rules:
            where = names(cloud, dict.fromkeys(rule.group_id for rule in rules))
            yield Finding(
                "sg.d.left_group",
                WARNING,
                host.name,
                f"{host.name} leaves {label(cloud, group_id)}, so rules of {where} that admit the"
                f" members of {label(cloud, group_id)} admit it no longer",
                f"where {host.name} itself connects to such servers, other than for its services,"
                " add a rule by its address",
            )


def wide_pair(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Find pairs by which a rule for the members of a group admits strangers."""
    after = pairs_after(spec, cloud)
    for host in (*spec.directors, *spec.real_servers):
        port = cloud.port(host.name)
        if port is None or open_already(cloud, port):
            continue
        networks = [n for n in after[port.id] if n.num_addresses > 1]
        groups = _groups_after(spec, cloud, host, port)
        rules = [r for group in groups for r in cloud.referenced_by.get(group, ())]
        if networks and rules:
            yield _exposed(spec, cloud, host, networks, rules)


def pairs_after(spec: Spec, cloud: CloudFacts) -> dict[str, list[Network]]:
    """List the networks of each port's pairs, by its id, as they are after the plan."""
    found: dict[str, dict[Network, None]] = {port.id: {} for port in cloud.ports}
    for resource in wanted(spec, cloud):
        if isinstance(resource, AddressPair):
            found[resource.port_id][resource.network] = None
    marks = [m for m in cloud.marks if m.names == (spec.name,)]
    going = {m.resource.key for m in marks if isinstance(m.resource, AddressPair)}
    for port in cloud.ports:
        staying = (n for n in pair_networks(port) if (port.id, n) not in going)
        found[port.id] |= dict.fromkeys(staying)
    return {port_id: list(networks) for port_id, networks in found.items()}


def _groups_after(spec: Spec, cloud: CloudFacts, host: Host, port: PortFact) -> list[str]:
    is_director = host in spec.directors
    if is_director and unfiltered(spec, cloud):
        return []
    if not managed(spec):
        return left_alone(spec, cloud, port)
    own = director_group(spec) if is_director else real_server_group(spec)
    ours = [g.id for g in cloud.groups if g.name == own]
    if is_director and alone(spec, cloud, port):
        return ours
    return list(dict.fromkeys([*port.groups, *ours]))


def _exposed(
    spec: Spec, cloud: CloudFacts, host: Host, networks: list[Network], rules: list[RuleFact]
) -> Finding:
    wide = is_wide(networks)
    severity = CRITICAL if wide else WARNING
    group_ids = list(dict.fromkeys(rule.group_id for rule in rules))
    exposed = sorted({p for group in group_ids for p in cloud.members.get(group, ())})
    source = "anybody" if wide else "whoever sends from there"
    said = ", ".join(map(str, networks))
    remote = names(cloud, dict.fromkeys(r.remote_group_id or "" for r in rules))
    text = (
        f"the pair {said} on the port of {host.name} makes its addresses members of {remote},"
        f" which rules of {names(cloud, group_ids)} name as their remote group: {source} could"
        f" reach the {len(exposed)} ports in there ({_some(cloud, exposed)})"
    )
    cure = (
        f"let {host.name} be in no such group (director_groups: replace), write those rules by"
        " prefix, or narrow `clients` in the spec; two /1 in place of a /0 change nothing"
    )
    if driver(spec, cloud) == OVN:
        severity = NOTE
        text += "; OVN does not count pairs as members, other firewall drivers do"
    return Finding("sg.wide_pair_referenced", severity, host.name, text, cure)


def _some(cloud: CloudFacts, ports: list[str]) -> str:
    """Name a few ports, as people call them."""
    found = ((port, cloud.by_id(port)) for port in ports)
    called = sorted((fact and fact.name) or port for port, fact in found)
    more = [f"{len(ports) - SHOWN} more"] if len(ports) > SHOWN else []
    return ", ".join([*called[:SHOWN], *more])


def in_use(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Refuse to remove a group that others have come to use."""
    stays = {r.key for r in wanted(spec, cloud) if isinstance(r, SecurityGroup)}
    for mark in cloud.marks:
        going = mark.resource
        if not isinstance(going, SecurityGroup) or mark.names != (spec.name,):
            continue
        group = cloud.named_group(going.name, stateful=going.stateful)
        if going.key not in stays and group is not None:
            yield from _users(cloud, group.id, _own_members(spec, cloud, going.name))


def _own_members(spec: Spec, cloud: CloudFacts, group: str) -> set[str]:
    """List the ports of which we know why they are in a group of ours."""
    marks = [mark.resource for mark in cloud.marks if spec.name in mark.names]
    members = {r.port_id for r in marks if isinstance(r, GroupMembership) and r.group == group}
    return members | {port.id for port in cloud.ports if port.host}


def _users(cloud: CloudFacts, group_id: str, known: set[str]) -> Iterator[Finding]:
    strangers = sorted(set(cloud.members.get(group_id, ())) - known)
    rules = [r for r in cloud.referenced_by.get(group_id, ()) if r.group_id != group_id]
    if not strangers and not rules:
        return
    users = [f"the port {port}" for port in strangers]
    users += [f"a rule of {label(cloud, r.group_id)}" for r in rules]
    yield Finding(
        "sg.in_use",
        ERROR,
        "neutron",
        f"{label(cloud, group_id)} would be removed, and is used by {', '.join(users)}",
        "take them out of the group, and those rules away: Neutron deletes a rule together with the"
        " group that it names",
    )


def foreign_form(port: PortFact, network: Network) -> bool | None:
    """Say whether a prefix stands on a port in its bare form; None when it does not stand."""
    forms = [pair.bare for pair in port.pairs if network_of_pair(pair) == network]
    return forms[0] if forms else None
