"""Rules about security groups that people keep themselves: checked, not changed; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onearm.cloud import open_already, served
from onearm.cloud_check_groups import filtered_directors, managed
from onearm.cloud_facts import CloudFacts, PortFact, RuleFact
from onearm.cloud_groups import EPHEMERAL, left_alone
from onearm.cloud_prefixes import IPV4, anywhere, covered, single
from onearm.cloud_rules import ICMPS, INGRESS, Endpoint, clients
from onearm.facts import Facts
from onearm.finding import WARNING, Finding
from onearm.model import Network
from onearm.spec import Spec

NUMBERS = {"6": "tcp", "17": "udp"}


def client_cidr(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """The clients are the source of what a real server gets, and so they must be admitted."""
    if managed(spec):
        return
    serving = served(spec)
    hosts = [(director.name, _all(serving.values())) for director in spec.directors]
    for host, endpoints in [*hosts, *serving.items()]:
        port = cloud.port(host)
        if port is None or port.port_security is False or open_already(cloud, port):
            continue
        for endpoint in sorted(endpoints):
            yield from _not_admitted(spec, cloud, host, port, endpoint)


def _all(found: Iterable[frozenset[Endpoint]]) -> frozenset[Endpoint]:
    return frozenset(endpoint for endpoints in found for endpoint in endpoints)


def _not_admitted(
    spec: Spec, cloud: CloudFacts, host: str, port: PortFact, endpoint: Endpoint
) -> Iterator[Finding]:
    admitted = list(_admitted(spec, cloud, port, endpoint.protocol, endpoint.ports))
    first, last = endpoint.ports
    for client in clients(spec, endpoint.vip.version):
        if not covered(client, admitted):
            yield Finding(
                "sg.r.client_cidr",
                WARNING,
                host,
                f"no rule by prefix admits {client} to"
                f" {_shown(first, last, '-')}/{endpoint.protocol} on the port of {host}:"
                f" the clients are the source there, not the director",
                f"openstack security group rule create --protocol {endpoint.protocol} --dst-port"
                f" {_shown(first, last, ':')} --remote-ip {client} GROUP",
            )


def _shown(first: int, last: int, between: str) -> str:
    return f"{first}{between}{last}" if last > first else f"{first}"


def _admitted(
    spec: Spec, cloud: CloudFacts, port: PortFact, protocol: str, ports: tuple[int, int]
) -> Iterator[Network]:
    for rule in _ingress(spec, cloud, port):
        known = NUMBERS.get(rule.protocol or "", rule.protocol)
        low, high = rule.port_min or 0, rule.port_max if rule.port_max is not None else 65535
        if known in (None, protocol) and low <= ports[0] and ports[1] <= high:
            yield rule.remote or anywhere(IPV4 if rule.ethertype == "IPv4" else 6)


def _ingress(spec: Spec, cloud: CloudFacts, port: PortFact) -> Iterator[RuleFact]:
    for group_id in left_alone(spec, cloud, port):
        group = cloud.group(group_id)
        for rule in group.rules if group else ():
            by_prefix = not rule.remote_group_id and not rule.remote_address_group_id
            if rule.direction == INGRESS and by_prefix:
                yield rule


def director_rules(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """A stateless director must be told of replies, and any one of ICMP errors."""
    if managed(spec):
        return
    for host, port in filtered_directors(spec, cloud):
        if not any(rule.protocol in (None, *ICMPS) for rule in _ingress(spec, cloud, port)):
            yield Finding(
                "sg.icmp",
                WARNING,
                host.name,
                f"no rule admits ICMP to {host.name}: errors about replies go to the VIP, so path"
                " MTU discovery fails and large replies stall",
                "openstack security group rule create --protocol icmp GROUP",
            )
        groups = [cloud.group(group_id) for group_id in left_alone(spec, cloud, port)]
        stateless = bool(groups) and all(g is not None and g.stateful is False for g in groups)
        admitted = list(_admitted(spec, cloud, port, "tcp", EPHEMERAL))
        used = [server for server in spec.real_servers if server.name in served(spec)]
        silent = [s.name for s in used if not covered(single(s.address), admitted)]
        if stateless and silent:
            yield Finding(
                "sg.d.return_rules",
                WARNING,
                host.name,
                f"{host.name} is in a stateless group that does not admit the replies of"
                f" {', '.join(silent)}: checks and the director's own connections to them hang",
                "openstack security group rule create --protocol tcp --dst-port 32768:60999"
                " --remote-ip REAL-SERVER GROUP",
            )
