"""All rules about the cloud: what forbids a plan, and what is worth knowing; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onearm import cloud_check_groups as groups
from onearm import cloud_check_network as network
from onearm import cloud_check_own as own
from onearm import cloud_check_ports as ports
from onearm.cloud_facts import CloudFacts
from onearm.facts import Facts
from onearm.finding import Finding, by_severity
from onearm.model import NEUTRON, Action
from onearm.spec import Spec

Rule = Callable[[Spec, Facts, CloudFacts], Iterator[Finding]]


def cloud_findings(spec: Spec, facts: Facts, cloud: CloudFacts) -> list[Finding]:
    """Try every rule on a cloud."""
    rules = RULES if spec.services else (groups.in_use,)
    return by_severity(finding for rule in rules for finding in rule(spec, facts, cloud))


def for_an_admin(action: Action, cloud: CloudFacts) -> bool:
    """Say whether somebody else has to do an action, because this identity may not."""
    return action.place == NEUTRON and isinstance(action.resource, ports.denied_kinds(cloud))


RULES: tuple[Rule, ...] = (
    network.families,
    network.extensions,
    ports.found,
    network.same_segment,
    groups.wide_pair,
    groups.stateful_director,
    groups.carried_over,
    groups.in_use,
    ports.pair_quota,
    ports.multicast,
    ports.pair_form,
    ports.vip_port,
    ports.rights,
    network.quotas,
    ports.unfiltered_ports,
    ports.spoofing,
    own.client_cidr,
    own.director_rules,
    network.firewall,
    network.mtu,
    network.routers,
    network.floating,
)
