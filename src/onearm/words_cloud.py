"""Neutron's resources in people's words; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onearm.model import (
    Action,
    AddressPair,
    GroupMembership,
    GroupRule,
    PortSecurity,
    SecurityGroup,
    VipPort,
)


def pair(resource: AddressPair) -> str:
    """Write a pair as Neutron is to keep it."""
    return str(resource.network.network_address) if resource.bare else str(resource.network)


def ports(rule: GroupRule) -> str:
    """Write the ports of a rule, or the type and code of ICMP."""
    if rule.port_min is None:
        return ""
    if rule.port_max in (None, rule.port_min):
        return f" {rule.port_min}"
    return f" {rule.port_min}-{rule.port_max}"


def _group(name: str, *, stateful: bool) -> str:
    return f"{'' if stateful else 'stateless '}security group {name}"


def _rule(rule: GroupRule) -> str:
    way = "from" if rule.direction == "ingress" else "to"
    where = rule.remote if rule.remote is not None else "anywhere"
    what = f"{rule.protocol or 'anything'}{ports(rule)}"
    return f"rule of {rule.group}: {rule.direction} {rule.ethertype} {what} {way} {where}"


def _port(resource: AddressPair | GroupMembership | PortSecurity) -> str:
    return f"the port of {resource.host}" if resource.host else f"port {resource.port_id}"


def _security(resource: PortSecurity) -> str:
    return f"port security {'on' if resource.enabled else 'off'} on {_port(resource)}"


def _membership(resource: GroupMembership) -> str:
    return f"membership of {_port(resource)} in {resource.group}{' alone' if resource.only else ''}"


CLOUD_NAMES: dict[type, Callable[[Any], str]] = {
    SecurityGroup: lambda r: _group(r.name, stateful=r.stateful),
    VipPort: lambda r: f"reservation of {r.address} by an unbound port",
    GroupRule: _rule,
    AddressPair: lambda r: f"address pair {pair(r)} on {_port(r)}",
    GroupMembership: _membership,
    PortSecurity: _security,
}


def cloud_reason(action: Action) -> str:
    """Say why, where it is not obvious."""
    resource = action.resource
    if action.verb not in ("create", "update"):
        return ""
    reason = _REASONS.get(type(resource))
    return reason(resource) if reason else ""


def _why_pair(resource: AddressPair) -> str:
    if resource.bare:
        return "it owns the VIP; bare, so that OVN takes it for the owner"
    single = resource.network.num_addresses == 1
    return "" if single else "forwarded packets carry the clients' own addresses"


_ALONE = "its former groups are kept in the mark, and put back by destroy"
_OPEN = "nothing but the host's own firewall guards this port from now on"
_REASONS: dict[type, Callable[[Any], str]] = {
    GroupRule: lambda r: str(r.description),
    AddressPair: _why_pair,
    GroupMembership: lambda r: _ALONE if r.only else "",
    PortSecurity: lambda r: "" if r.enabled else _OPEN,
    VipPort: lambda _: "so that nobody else is given the address",
}
