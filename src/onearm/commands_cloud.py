"""What is done in Neutron, as the `openstack` commands that an engineer would have typed; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onearm.cloud_facts import VIP_OWNER, CloudFacts, former_groups
from onearm.model import (
    Action,
    AddressPair,
    GroupMembership,
    GroupRule,
    Mark,
    PortSecurity,
    SecurityGroup,
    VipPort,
)

Argv = list[str]
PORT = ["openstack", "port"]
GROUP = ["openstack", "security", "group"]
ICMPS = ("icmp", "ipv6-icmp", "icmpv6", "1", "58")


def _project(cloud: CloudFacts | None) -> list[str]:
    """Name the project where somebody of another one has to do it: else it would be theirs."""
    if cloud is None or not cloud.project_id:
        return []
    reads_only = bool(cloud.roles) and set(cloud.roles) <= {"reader"}
    return ["--project", cloud.project_id] if reads_only or cloud.pairs_right is False else []


def _pair_text(resource: AddressPair) -> str:
    return str(resource.network.network_address) if resource.bare else str(resource.network)


def _group_word(resource: GroupRule | GroupMembership, cloud: CloudFacts | None) -> str:
    """Name a group; by its id where the name alone would not do."""
    name = resource.group
    known = [g for g in cloud.groups if g.name == name] if cloud else []
    if len(known) > 1:
        return next((g.id for g in known if (g.stateful is not False) == resource.stateful), name)
    return name


def _group(action: Action, _mark: Mark | None, cloud: CloudFacts | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, SecurityGroup):
        return []
    if action.after is None:
        return [[*GROUP, "delete", resource.name]]
    kind = [] if resource.stateful else ["--stateless"]
    made = [
        *GROUP,
        "create",
        *_project(cloud),
        *kind,
        "--description",
        "made by onearm",
        resource.name,
    ]
    return [made] if action.before is None else []


def _rule(action: Action, _mark: Mark | None, cloud: CloudFacts | None) -> list[Argv]:
    rule = action.resource
    if not isinstance(rule, GroupRule):
        return []
    if action.after is None:
        found = _rule_id(rule, cloud)
        return [[*GROUP, "rule", "delete", found]] if found else []
    if action.before is not None:
        return []
    words = [*GROUP, "rule", "create", f"--{rule.direction}", "--ethertype", rule.ethertype]
    words += ["--protocol", rule.protocol or "any", *_ports(rule)]
    words += ["--remote-ip", str(rule.remote)] if rule.remote is not None else []
    words += ["--description", rule.description] if rule.description else []
    words += _project(cloud)
    return [[*words, _group_word(rule, cloud)]]


def _ports(rule: GroupRule) -> list[str]:
    if rule.port_min is None:
        return []
    if rule.protocol in ICMPS:
        code = [] if rule.port_max is None else ["--icmp-code", str(rule.port_max)]
        return ["--icmp-type", str(rule.port_min), *code]
    return ["--dst-port", f"{rule.port_min}:{rule.port_max}"]


def _rule_id(rule: GroupRule, cloud: CloudFacts | None) -> str:
    group = cloud.named_group(rule.group, stateful=rule.stateful) if cloud else None
    return next((fact.id for fact in group.rules if fact.says(rule)), "") if group else ""


def _vip_port(action: Action, _mark: Mark | None, cloud: CloudFacts | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, VipPort) or action.verb in ("keep", "update"):
        return []
    if action.after is None:
        owners = [p for p in cloud.vip_ports if resource.address in p.addresses] if cloud else []
        return [[*PORT, "delete", port.id] for port in owners]
    words = [*PORT, "create", *_project(cloud), "--network", resource.network_id]
    words += ["--fixed-ip", f"ip-address={resource.address}", "--disable"]
    words += ["--device-owner", VIP_OWNER, "--no-security-group"]
    return [[*words, f"onearm-vip-{resource.address}"]]


def _address_pair(action: Action, _mark: Mark | None, _cloud: CloudFacts | None) -> list[Argv]:
    before, after = action.before, action.after
    typed: list[Argv] = []
    if before == after:
        return typed
    if isinstance(before, AddressPair):
        gone = f"ip-address={_pair_text(before)}"
        typed.append([*PORT, "unset", "--allowed-address", gone, before.port_id])
    if isinstance(after, AddressPair):
        made = f"ip-address={_pair_text(after)}"
        typed.append([*PORT, "set", "--allowed-address", made, after.port_id])
    return typed


def _former(mark: Mark | None) -> list[str]:
    return [word for group in former_groups(mark) for word in ("--security-group", group)]


def _membership(action: Action, mark: Mark | None, cloud: CloudFacts | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, GroupMembership) or action.before == action.after:
        return []
    group = _group_word(resource, cloud)
    if action.after is not None:
        alone = ["--no-security-group"] if resource.only else []
        return [[*PORT, "set", *alone, "--security-group", group, resource.port_id]]
    former = _former(mark) if resource.only else []
    if former:
        return [[*PORT, "set", "--no-security-group", *former, resource.port_id]]
    return [[*PORT, "unset", "--security-group", group, resource.port_id]]


def _security(action: Action, mark: Mark | None, _cloud: CloudFacts | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, PortSecurity) or action.before == action.after:
        return []
    if action.after is not None and not resource.enabled:
        off = ["--no-security-group", "--no-allowed-address", "--disable-port-security"]
        return [[*PORT, "set", *off, resource.port_id]]
    return [[*PORT, "set", "--enable-port-security", *_former(mark), resource.port_id]]


CLOUD_TYPED: dict[type, Callable[[Action, Any, Any], list[Argv]]] = {
    SecurityGroup: _group,
    GroupRule: _rule,
    VipPort: _vip_port,
    AddressPair: _address_pair,
    GroupMembership: _membership,
    PortSecurity: _security,
}
