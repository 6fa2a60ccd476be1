"""What should stand in Neutron, by role and firewall driver; pure.

driver         the director's port                                    a real server's port
ovn, iptables  clients and the bare VIP as pairs; alone in a          VIP/32 as a pair; a group
               stateless group, for a stateful one never sees the     for clients beside its
               replies and calls the clients' packets invalid         own ones
openvswitch    unfiltered: it ignores that a group is stateless       the same
unknown        as ovn, unless the spec lets it be unfiltered          the same
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from onearm.cloud_facts import CloudFacts, PortFact
from onearm.cloud_groups import carry, director_group, former, others, real_server_group
from onearm.cloud_prefixes import network_of_pair, single
from onearm.cloud_rules import (
    Endpoint,
    Owner,
    clients,
    director_rules,
    endpoints_of,
    families,
    minimal,
    of_ends,
    real_server_rules,
)
from onearm.model import (
    Address,
    AddressPair,
    Destination,
    GroupMembership,
    Key,
    PortSecurity,
    Resource,
    SecurityGroup,
    VipPort,
)
from onearm.spec import Cloud, End, Host, Spec

OVN, OPENVSWITCH, IPTABLES = "ovn", "openvswitch", "iptables_hybrid"
LONGEST_GROUP_NAME = 255
Left = Mapping[Key, tuple[End, ...]]
NOTHING_LEFT: Left = {}
Served = Mapping[str, frozenset[Endpoint]]


def driver(spec: Spec, facts: CloudFacts) -> str:
    """Name the firewall driver: as the spec says, else as found; empty when unknown."""
    said = _cloud(spec).firewall
    return facts.firewall if said == "auto" else said


def _cloud(spec: Spec) -> Cloud:
    return spec.openstack or Cloud()


def unfiltered(spec: Spec, facts: CloudFacts) -> bool:
    """Say whether the director's port is to be unfiltered: only by consent, and where it helps.

    On OVN an unfiltered port is sent a copy of every reply; with iptables it is not needed.
    """
    consent = _cloud(spec).director_port_security == "off"
    return consent and driver(spec, facts) in (OPENVSWITCH, "")


def open_already(facts: CloudFacts, port: PortFact) -> bool:
    """Say whether a port is unfiltered, and not by us: it then needs no pairs and no groups."""
    return port.port_security is False and not _marked_security(facts, port)


def _marked_security(facts: CloudFacts, port: PortFact) -> bool:
    marks = (mark.resource for mark in facts.marks)
    return any(isinstance(r, PortSecurity) and r.port_id == port.id for r in marks)


def served(
    spec: Spec, draining: Iterable[Destination] = (), left: Left = NOTHING_LEFT
) -> dict[str, frozenset[Endpoint]]:
    """List what each real server serves; one that drains goes on serving.

    `left` are the endpoints of groups that drain, by the service's key.
    """
    found: dict[str, set[Endpoint]] = {}
    for service in spec.services:
        for host in service.hosts:
            found.setdefault(host, set()).update(endpoints_of(service))
    for gone in draining:
        ends = left.get(gone.service_key) or (End(gone.vip, gone.port, gone.port),)
        found.setdefault(gone.host, set()).update(of_ends(gone.protocol, ends))
    return {host: frozenset(endpoints) for host, endpoints in found.items()}


def wanted(
    spec: Spec,
    facts: CloudFacts,
    draining: Iterable[Destination] = (),
    left: Left = NOTHING_LEFT,
) -> Iterator[Resource]:
    """List what should stand in Neutron. A host whose port is not known has nothing there."""
    leaving = list(draining)
    serving = served(spec, leaving, left)
    endpoints = sorted({e for found in serving.values() for e in found})
    if not endpoints:
        return
    yield from _vip_ports(spec, facts, endpoints)
    for director in spec.directors:
        port = facts.port(director.name)
        if port is not None:
            yield from _director(spec, facts, director, port, endpoints)
    yield from _real_servers(spec, facts, serving, leaving)


def _vip_ports(spec: Spec, facts: CloudFacts, endpoints: Iterable[Endpoint]) -> Iterator[VipPort]:
    network = network_id(spec, facts)
    if network and _cloud(spec).reserve_vip:
        yield from (VipPort(network, vip) for vip in vips(endpoints))


def vips(endpoints: Iterable[Endpoint]) -> list[Address]:
    """List the VIPs, each once."""
    return list(dict.fromkeys(endpoint.vip for endpoint in endpoints))


def network_id(spec: Spec, facts: CloudFacts) -> str:
    """Name the VIPs' network: the spec's, or that of the director's port."""
    if facts.network is not None:
        return facts.network.id
    ports = (facts.port(director.name) for director in spec.directors)
    return next((port.network_id for port in ports if port), "")


def _director(
    spec: Spec, facts: CloudFacts, host: Host, port: PortFact, endpoints: list[Endpoint]
) -> Iterator[Resource]:
    if unfiltered(spec, facts):
        yield PortSecurity(port.id, enabled=False, host=host.name)
        return
    if open_already(facts, port):
        return
    if _marked_security(facts, port):  # so that it is filtered again in the same request
        yield PortSecurity(port.id, enabled=True, host=host.name)
    yield from director_pairs(spec, facts, host, port, endpoints)
    if _cloud(spec).manage_security_groups:
        yield from _director_group(spec, facts, host, port, endpoints)


def director_pairs(
    spec: Spec, facts: CloudFacts, host: Host, port: PortFact, endpoints: Iterable[Endpoint]
) -> Iterator[AddressPair]:
    """Let the director send in the clients' names, and own the VIP.

    The bare form makes it the parent of the VIP's virtual port in OVN, which it must be.
    """
    for vip in vips(endpoints):
        bare = _form(spec, facts, port, vip, bare=True)
        yield AddressPair(port.id, single(vip), bare=bare, host=host.name)
    known = {single(vip) for vip in vips(endpoints)}
    for version in families(endpoints):
        for client in clients(spec, version):
            if client not in known:
                yield AddressPair(port.id, client, host=host.name)


def _form(spec: Spec, facts: CloudFacts, port: PortFact, vip: Address, *, bare: bool) -> bool:
    """Choose how a VIP is written; where the driver takes both forms alike, as it is already."""
    if driver(spec, facts) in (IPTABLES, OPENVSWITCH):
        present = [pair for pair in port.pairs if network_of_pair(pair) == single(vip)]
        return present[0].bare if present else bare
    return bare


def _director_group(
    spec: Spec, facts: CloudFacts, host: Host, port: PortFact, endpoints: list[Endpoint]
) -> Iterator[Resource]:
    owner = Owner(director_group(spec), stateful=False)
    servers = [server.address for server in spec.real_servers if server.name in served(spec)]
    only = alone(spec, facts, port)
    carried = carry(spec, facts, port, owner).rules if only else []
    yield SecurityGroup(*owner)
    yield from minimal([*director_rules(spec, owner, endpoints, servers), *carried])
    yield GroupMembership(port.id, owner.name, owner.stateful, only=only, host=host.name)


def alone(spec: Spec, facts: CloudFacts, port: PortFact) -> bool:
    """Say whether the director's port is to be in no group but ours: by consent, once given.

    Where it is so already, it stays so, since its former groups are out of its reach by now.
    """
    replaced = bool(former(spec, facts, port)) and not others(spec, facts, port)
    return _cloud(spec).director_groups == "replace" or replaced


def _real_servers(
    spec: Spec, facts: CloudFacts, serving: Served, leaving: Iterable[Destination]
) -> Iterator[Resource]:
    addresses = {gone.host: gone.server for gone in leaving}
    owners: dict[Owner, set[Endpoint]] = {}
    for host, endpoints in sorted(serving.items()):
        port = facts.port(host) or _port_by_address(facts, addresses.get(host))
        if port is None or open_already(facts, port):
            continue
        for vip in vips(sorted(endpoints)):
            bare = _form(spec, facts, port, vip, bare=False)
            yield AddressPair(port.id, single(vip), bare=bare, host=host)
        if _cloud(spec).manage_security_groups:
            owner = Owner(_group_name(spec, serving, host), _stateful(spec, facts, port))
            owners.setdefault(owner, set()).update(endpoints)
            yield GroupMembership(port.id, owner.name, owner.stateful, host=host)
    for owner, found in owners.items():
        yield SecurityGroup(*owner)
        yield from minimal(real_server_rules(spec, owner, sorted(found)))


def _port_by_address(facts: CloudFacts, address: Address | None) -> PortFact | None:
    """Find the port of a host that left the spec and still drains."""
    network = facts.network.id if facts.network else ""
    return next(
        (p for p in facts.ports if address in p.addresses and network in ("", p.network_id)), None
    )


def _stateful(spec: Spec, facts: CloudFacts, port: PortFact) -> bool:
    """Do as the port's other groups do: Neutron mixes the two kinds on no port."""
    groups = [facts.group(group_id) for group_id in others(spec, facts, port)]
    return not any(group is not None and group.stateful is False for group in groups)


def _group_name(spec: Spec, serving: Served, host: str) -> str:
    """Name a real server's group; servers of different services have different groups."""
    ports = {name: {(e.protocol, *e.ports) for e in found} for name, found in serving.items()}
    if all(found == ports[host] for found in ports.values()):
        return real_server_group(spec)
    text = "-".join(
        f"{protocol}{port}" + (f"-{last}" if last > port else "")
        for protocol, port, last in sorted(ports[host])
    )
    name = f"{real_server_group(spec)}-{text}"
    if len(name) <= LONGEST_GROUP_NAME:
        return name
    return f"{real_server_group(spec)}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
