"""Neutron's JSON as our values, and its collections read in few requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

from onearm.cloud_facts import GroupFact, PairFact, PortFact, RuleFact
from onearm.errors import Denied
from onearm.model import Address, GroupMembership, GroupRule, VipPort
from onearm.places.neutron_api import Api, Json
from onearm.places.neutron_marks import unborn, whole_names

VIP_OWNER = "onearm:vip"
CHUNK = 100  # ids in one request: an address of 8 KB is refused by some proxies
PORT_FIELDS = (
    "id", "name", "mac_address", "network_id", "fixed_ips", "allowed_address_pairs",
    "security_groups", "port_security_enabled", "device_id", "device_owner", "status",
    "revision_number", "tags", "description", "binding:vif_details", "binding:host_id",
)  # fmt: skip
PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp", "112": "vrrp", "0": None}
ALIASES = {"any": None, "icmpv6": "ipv6-icmp", "icmp6": "ipv6-icmp"}


def ports(api: Api, what: str, **query: Any) -> list[Json]:
    """List ports, with the fields that matter."""
    return api.list(what, "ports", fields=list(PORT_FIELDS), **query)


def ports_by_id(api: Api, ids: Iterable[str]) -> list[Json]:
    """List ports by their ids, many in one request."""
    wanted = sorted(set(ids))
    rows: list[Json] = []
    for start in range(0, len(wanted), CHUNK):
        rows += ports(api, "cannot list ports", id=wanted[start : start + CHUNK])
    return rows


def addresses(row: Json) -> tuple[Address, ...]:
    """Give the fixed addresses of a port."""
    return tuple(ip_address(fixed["ip_address"]) for fixed in row.get("fixed_ips") or ())


def port_fact(row: Json, host: str = "") -> PortFact:
    """Read a port."""
    details = row.get("binding:vif_details")
    return PortFact(
        id=str(row["id"]),
        name=str(row.get("name") or ""),
        host=host,
        mac=str(row.get("mac_address") or ""),
        network_id=str(row.get("network_id") or ""),
        addresses=addresses(row),
        subnets=tuple(str(fixed["subnet_id"]) for fixed in row.get("fixed_ips") or ()),
        pairs=tuple(
            PairFact(str(pair["ip_address"]), str(pair.get("mac_address") or ""))
            for pair in row.get("allowed_address_pairs") or ()
        ),
        groups=tuple(row.get("security_groups") or ()),
        port_security=row.get("port_security_enabled"),
        device_id=str(row.get("device_id") or ""),
        device_owner=str(row.get("device_owner") or ""),
        status=str(row.get("status") or ""),
        revision=int(row.get("revision_number") or 0),
        tags=tuple(sorted(row.get("tags") or ())),
        vif_details=None if details is None else {k: str(v) for k, v in details.items()},
        host_id=row.get("binding:host_id"),
    )


def rule_fact(row: Json) -> RuleFact:
    """Read a rule."""
    prefix = row.get("remote_ip_prefix")
    return RuleFact(
        id=str(row["id"]),
        group_id=str(row.get("security_group_id") or ""),
        direction=str(row.get("direction") or ""),
        ethertype=str(row.get("ethertype") or ""),
        protocol=_protocol(row.get("protocol")),
        port_min=row.get("port_range_min"),
        port_max=row.get("port_range_max"),
        remote=ip_network(prefix, strict=False) if prefix else None,
        remote_group_id=row.get("remote_group_id"),
        remote_address_group_id=row.get("remote_address_group_id"),
        description=str(row.get("description") or ""),
    )


def _protocol(value: object) -> str | None:
    if value is None:
        return None
    text = str(value).lower()
    return PROTOCOLS.get(text, ALIASES.get(text, text))


def group_fact(row: Json) -> GroupFact:
    """Read a group with its rules."""
    return GroupFact(
        id=str(row["id"]),
        name=str(row.get("name") or ""),
        project_id=str(row.get("project_id") or ""),
        stateful=row.get("stateful"),
        rules=tuple(rule_fact(rule) for rule in row.get("security_group_rules") or ()),
        tags=tuple(sorted(row.get("tags") or ())),
    )


def canonical(rule: GroupRule) -> GroupRule:
    """Give the form in which two rules that admit the same are equal."""
    remote = rule.remote if rule.remote is None or rule.remote.prefixlen else None
    protocol = _protocol(rule.protocol)
    return replace(rule, remote=remote, protocol=protocol, description="")


@dataclass(frozen=True)
class Group:
    """A group with what a write and an observation need."""

    id: str
    name: str
    stateful: bool
    project_id: str
    tags: frozenset[str]
    names: tuple[str, ...]
    born: bool  # tagged: it is as it should be; before that it is only being made
    rules: tuple[Json, ...] = ()

    @property
    def ours(self) -> bool:
        return bool(self.names)

    def standing(self) -> Iterator[tuple[GroupRule, Json]]:
        """List the rules that our own words can say."""
        for row in self.rules:
            if row.get("remote_group_id") or row.get("remote_address_group_id"):
                continue
            fact = rule_fact(row)
            yield (
                GroupRule(
                    self.name, self.stateful, fact.direction, fact.ethertype, fact.protocol,
                    fact.port_min, fact.port_max, fact.remote, unborn(fact.description),
                ),
                row,
            )  # fmt: skip


def group(row: Json) -> Group:
    """Read a group."""
    tags = frozenset(row.get("tags") or ())
    names = whole_names(tags, str(row.get("description") or ""))
    stateful = row.get("stateful")
    return Group(
        id=str(row["id"]),
        name=str(row.get("name") or ""),
        stateful=stateful is None or bool(stateful),
        project_id=str(row.get("project_id") or ""),
        tags=tags,
        names=names,
        born=not names or bool(whole_names(tags, "")),
        rules=tuple(row.get("security_group_rules") or ()),
    )


@dataclass
class Groups:
    """All groups that these rights show."""

    rows: list[Group] = field(default_factory=list)

    @classmethod
    def load(cls, api: Api) -> Groups:
        """Read them with their rules, in one list."""
        return cls([group(row) for row in api.list("cannot list groups", "security_groups")])

    def named(self, name: str, *, stateful: bool) -> Group | None:
        """Find a group by what identifies it here: ours first. Several foreign ones are refused."""
        found = [g for g in self.rows if g.name == name and g.stateful == stateful]
        ours = sorted((g for g in found if g.ours), key=lambda g: (not g.born, g.id))
        if ours or len(found) < 2:  # noqa: PLR2004 - several
            return next(iter(ours or found), None)
        raise Denied(
            f"neutron: {len(found)} security groups are called {name!r}"
            f" ({', '.join(sorted(g.id for g in found))}); rename or remove all but one"
        )

    def of(self, membership: GroupMembership) -> str | None:
        """Give the id of a membership's group."""
        found = self.named(membership.group, stateful=membership.stateful)
        return found.id if found else None

    def by_id(self, group_id: str) -> Group | None:
        return next((g for g in self.rows if g.id == group_id), None)


def vip_port(row: Json) -> VipPort | None:
    """Read a port as the reservation of its only address; None if it serves something."""
    held = addresses(row)
    owner = row.get("device_owner") or VIP_OWNER
    if len(held) != 1 or row.get("device_id") or owner != VIP_OWNER:
        return None
    return VipPort(str(row.get("network_id") or ""), held[0])
