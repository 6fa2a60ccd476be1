"""What a cloud shows: its network, ports, groups, driver and rights, in few requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from typing import Any

from onearm.cloud_facts import (
    CloudFacts,
    FloatingFact,
    GroupFact,
    NetworkFact,
    PortFact,
    RouterFact,
    RuleFact,
)
from onearm.errors import Denied, PlaceError
from onearm.model import Mark, SecurityGroup, state_key
from onearm.places import neutron_hosts, neutron_marks
from onearm.places.neutron_api import Api, Json, path
from onearm.places.neutron_rows import VIP_OWNER, group, group_fact, port_fact, ports, vip_port
from onearm.spec import Cloud, Spec

WIDTH = 6
FORBIDDEN, STALE = 403, 412
DISTRIBUTED_LEG = "network:router_interface_distributed"  # neutron_lib.constants
SNAT_LEG = "network:router_centralized_snat"
LEGS = ("network:router_interface", SNAT_LEG, "network:ha_router_replicated_interface")
HYBRID, OPENFLOW, OVN = "iptables_hybrid", "openvswitch", "ovn"


def look(api: Api, spec: Spec, cloud: Cloud) -> CloudFacts:
    """Read all facts of one spec's cloud. Errors that name hosts come together."""
    project, roles = api.identity()
    named = neutron_hosts.named_ports(api, cloud)
    network = neutron_hosts.network_row(api, cloud, list(named.values()))
    network_id = str(network["id"]) if network else ""
    found = _lists(api, spec, network_id)
    rows = {str(r["id"]): r for r in (*found["ports"], *found["ours"], *named.values())}
    hosts = (*spec.directors, *spec.real_servers)
    matched, errors = neutron_hosts.match(api, hosts, named, list(rows.values()))
    if errors:
        raise Denied("\n".join(str(error) for error in errors))
    by_id = {port_id: host for host, port_id in matched.items()}
    groups = tuple(group_fact(row) for row in found["groups"])
    rows |= _members_elsewhere(api, groups, rows)
    facts = tuple(port_fact(row, by_id.get(key, "")) for key, row in sorted(rows.items()))
    mine = [port for port in facts if port.host]
    network_fact = _network(network, found["subnets"]) if network else None
    rights = _rights(api, project, roles, network_fact, mine)
    vips = {vip for service in spec.services for vip in service.vips}
    vip_ports = tuple(port for port in facts if vips & set(port.addresses))
    routed = "router" in {e.get("alias") for e in found["extensions"]}
    directors = {director.name for director in spec.directors}
    ends = {port.id for port in (*vip_ports, *mine) if port in vip_ports or port.host in directors}
    return CloudFacts(
        project_id=project,
        roles=roles,
        extensions=tuple(sorted(str(e.get("alias")) for e in found["extensions"])),
        network=network_fact,
        ports=facts,
        groups=groups,
        members=_members(facts),
        referenced_by=_references(groups),
        vip_ports=vip_ports,
        firewall=firewall(mine, found["agents"]),
        pairs_right=rights[0],
        port_security_right=rights[1],
        quota=_quota(api, project),
        routers=_routers(api, facts, network_id) if routed else (),
        floating=_floating(api, ends) if routed else (),
        marks=marks(rows.values(), found["groups"]),
    )


def _lists(api: Api, spec: Spec, network_id: str) -> dict[str, list[Json]]:
    """Read the collections that need nothing of each other, at once."""
    near: dict[str, Any] = {"network_id": network_id}
    tag = neutron_marks.tag(spec.name)
    jobs = {
        "extensions": lambda: api.list("cannot list extensions", "extensions"),
        "subnets": lambda: api.list("cannot list subnets", "subnets", **near) if near else [],
        "ports": lambda: ports(api, "cannot list ports", **near) if network_id else [],
        "ours": lambda: ports(api, "cannot list ports", tags=tag),
        "groups": lambda: api.list("cannot list groups", "security_groups"),
        "agents": lambda: _maybe(api, "agents"),
    }
    with ThreadPoolExecutor(max_workers=WIDTH) as pool:
        futures = {name: pool.submit(job) for name, job in jobs.items()}
        return {name: future.result() for name, future in futures.items()}


def _members_elsewhere(
    api: Api, groups: Sequence[GroupFact], rows: Mapping[str, Json]
) -> dict[str, Json]:
    """Find the ports on other networks that rules by remote group admit: they are members, too.

    All visible ports are listed once, for not every cloud can filter them by group.
    """
    remote = {rule.remote_group_id for known in groups for rule in known.rules}
    if not remote - {None}:
        return {}
    return {
        str(row["id"]): row
        for row in ports(api, "cannot list the members of groups")
        if str(row["id"]) not in rows and remote & set(row.get("security_groups") or ())
    }


def _maybe(api: Api, kind: str) -> list[Json]:
    """List what these rights may not show."""
    found = api.find(f"cannot list {kind}", f"/{kind}")
    return list((found or {}).get(kind) or ())


def _network(row: Json, subnets: Sequence[Json]) -> NetworkFact:
    """Read the network. Only an administrator sees its segments; that there are some is shown by
    `l2_adjacency`, and each subnet is then in one of them.
    """
    apart = row.get("l2_adjacency") is False
    mine = [subnet for subnet in subnets if subnet.get("network_id") == row["id"]]
    segments = {
        str(s["id"]): str(s.get("segment_id") or (f"that of {s['id']}" if apart else ""))
        for s in mine
    }
    return NetworkFact(
        id=str(row["id"]),
        name=str(row.get("name") or ""),
        project_id=str(row.get("project_id") or ""),
        shared=bool(row.get("shared")),
        external=bool(row.get("router:external")),
        mtu=int(row.get("mtu") or 0),
        segments=max(len(row.get("segments") or ()), 2 if apart else 1),
        subnets={str(s["id"]): ip_network(s["cidr"], strict=False) for s in mine},
        subnet_segments={subnet: segment for subnet, segment in segments.items() if segment},
    )


def firewall(mine: Sequence[PortFact], agents: Sequence[Json]) -> str:
    """Name the driver that filters, where these rights show it; empty for unknown."""
    for port in mine:
        details = port.vif_details or {}
        if details.get("ovs_hybrid_plug") == "True":
            return HYBRID
        drivers = details.get("bound_drivers", "")
        if "'ovn'" in drivers:
            return OVN
        if "'openvswitch'" in drivers:
            return OPENFLOW
    kinds = {str(agent.get("agent_type") or "") for agent in agents}
    if any(kind.startswith("OVN Controller") for kind in kinds):
        return OVN
    switches = [a for a in agents if a.get("agent_type") == "Open vSwitch agent"]
    hybrid = {bool((a.get("configurations") or {}).get("ovs_hybrid_plug")) for a in switches}
    if len(hybrid) == 1:
        return HYBRID if hybrid.pop() else OPENFLOW
    return ""


def _rights(
    api: Api,
    project: str,
    roles: Sequence[str],
    network: NetworkFact | None,
    mine: Sequence[PortFact],
) -> tuple[bool | None, bool | None]:
    """Foresee a 403: Neutron lets administrators and the network's owners set pairs and filtering.

    Where that rule does not say yes, the cloud is asked by a request that changes nothing.
    """
    owner = bool(project) and network is not None and network.project_id == project
    if "admin" in roles or (owner and "member" in roles):
        return True, True
    if not mine:
        return (None, None)
    port = mine[0]
    pairs = [{"ip_address": p.text, "mac_address": p.mac} for p in port.pairs]
    return (
        _may(api, port, {"allowed_address_pairs": pairs}),
        _may(api, port, {"port_security_enabled": port.port_security}),
    )


def _may(api: Api, port: PortFact, unchanged: Json) -> bool | None:
    what = f"cannot ask for the rights on port {port.id}"
    reply = api.send(what, "PUT", path("ports", port.id), {"port": unchanged}, port.revision)
    if reply.good:
        return True
    return False if reply.status == FORBIDDEN else None


def _quota(api: Api, project: str) -> dict[str, int]:
    """Give what is free; an unlimited kind is left out."""
    if not project:
        return {}
    try:
        found = api.find("cannot read the quota", path("quotas", project, "details.json"))
    except PlaceError:
        return {}
    quota = (found or {}).get("quota") or {}
    return {
        kind: int(row["limit"]) - int(row.get("used") or 0) - int(row.get("reserved") or 0)
        for kind, row in quota.items()
        if kind in ("port", "security_group", "security_group_rule")
        if isinstance(row, dict) and int(row.get("limit", -1)) >= 0
    }


def _members(facts: Sequence[PortFact]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for port in facts:
        for group_id in port.groups:
            found.setdefault(group_id, []).append(port.id)
    return {group_id: tuple(ids) for group_id, ids in found.items()}


def _references(groups: Sequence[GroupFact]) -> dict[str, tuple[RuleFact, ...]]:
    found: dict[str, list[RuleFact]] = {}
    for rule in (rule for known in groups for rule in known.rules):
        if rule.remote_group_id:
            found.setdefault(rule.remote_group_id, []).append(rule)
    return {group_id: tuple(rules) for group_id, rules in found.items()}


def _routers(api: Api, facts: Sequence[PortFact], network_id: str) -> tuple[RouterFact, ...]:
    """Give the routers with a leg in the network; what only an administrator sees of them is told
    by the owners of their ports.
    """
    owners: dict[str, set[str]] = {}
    for port in facts:
        if port.device_owner.startswith(LEGS) and port.network_id == network_id:
            owners.setdefault(port.device_id, set()).add(port.device_owner)
    if not owners:
        return ()
    rows = {row["id"]: row for row in api.list("cannot list routers", "routers", id=sorted(owners))}
    return tuple(_router(key, legs, rows.get(key, {})) for key, legs in sorted(owners.items()))


def _router(router_id: str, legs: set[str], row: Json) -> RouterFact:
    nat = bool((row.get("external_gateway_info") or {}).get("enable_snat")) or SNAT_LEG in legs
    distributed = bool(row.get("distributed")) or DISTRIBUTED_LEG in legs
    return RouterFact(str(row.get("name") or router_id), distributed, nat)


def _floating(api: Api, ids: Iterable[str]) -> tuple[FloatingFact, ...]:
    """Give the floating IPs of ports."""
    wanted = sorted(ids)
    rows = api.list("cannot list floating IPs", "floatingips", port_id=wanted) if wanted else []
    return tuple(
        FloatingFact(ip_address(row["floating_ip_address"]), ip_address(row["fixed_ip_address"]))
        for row in rows
        if row.get("fixed_ip_address")
    )


def marks(rows: Any, groups: Sequence[Json]) -> tuple[Mark, ...]:
    """Read every mark of ours, of all names."""
    found: list[Mark] = []
    for row in rows:
        held = neutron_marks.read(row.get("tags") or (), str(row["id"]))
        was = {w.tag: w.group or w.pair or "yes" for w in held.was} or None
        found += [
            Mark(next(iter(holders.values())), tuple(sorted(holders)), was)
            for holders in held.wants.values()
        ]
        vip = vip_port(row) if row.get("device_owner") in ("", VIP_OWNER) else None
        names = neutron_marks.whole_names(row.get("tags") or (), str(row.get("description") or ""))
        if vip and names:
            found.append(Mark(vip, names, was))
    for row in groups:
        home = group(row)
        if home.names:
            found.append(Mark(SecurityGroup(home.name, home.stateful), home.names))
    return tuple(sorted(found, key=lambda mark: str(state_key(mark.resource))))
