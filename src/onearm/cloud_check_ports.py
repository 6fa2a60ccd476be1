"""Rules about ports, pairs, the VIP's reservation and rights; pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from onearm.cloud import OVN, driver, network_id, open_already, served, unfiltered, vips, wanted
from onearm.cloud_check_groups import filtered_directors, foreign_form, pairs_after
from onearm.cloud_facts import CloudFacts, PortFact
from onearm.cloud_prefixes import IPV4, network_of_pair, single, within
from onearm.facts import Facts
from onearm.finding import ERROR, NOTE, WARNING, Finding
from onearm.model import (
    NEUTRON,
    AddressPair,
    GroupMembership,
    GroupRule,
    PortSecurity,
    Resource,
    SecurityGroup,
    VipPort,
)
from onearm.spec import Cloud, Host, Spec

OWN_DEVICE = ":vip"  # how the device_owner of a reservation ends, ours and others'


def used_hosts(spec: Spec) -> list[Host]:
    """List the director and the real servers that serve something."""
    serving = served(spec)
    return [*spec.directors, *(server for server in spec.real_servers if server.name in serving)]


def found(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Every host has a port with the address that the spec gives it."""
    for host in used_hosts(spec):
        port = cloud.port(host.name)
        if port is not None and (not port.addresses or host.address in port.addresses):
            continue
        said = "none was found"
        if port is not None:
            said = f"{port.id} has {', '.join(map(str, port.addresses))} instead"
        yield Finding(
            "port.found",
            ERROR,
            host.name,
            f"{host.name} should have a Neutron port with the address {host.address}: {said}",
            f"name it in the spec: openstack: {{ports: {{{host.name}: PORT}}}}",
        )


def unfiltered_ports(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Tell of ports that nothing filters, by our doing or not."""
    for host in used_hosts(spec):
        port = cloud.port(host.name)
        if port is None:
            continue
        is_director = host in spec.directors
        if is_director and unfiltered(spec, cloud):
            text = f"the port {port.id} of {host.name} is to be unfiltered, as the spec allows"
            cure = "guard the director by its own firewall: no security group does it any more"
            yield Finding("port.unfiltered", WARNING, host.name, text, cure)
        elif open_already(cloud, port):
            text = f"the port {port.id} of {host.name} is unfiltered, and not by onearm"
            flood = is_director and driver(spec, cloud) == OVN
            cure = "nothing needs to be done for it here"
            if flood:
                text += ": OVN sends an unfiltered port a copy of every reply"
                cure = f"openstack port set --enable-port-security {port.id}"
            severity = WARNING if flood else NOTE
            yield Finding("port.unfiltered", severity, host.name, text, cure)


def pair_quota(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Count the pairs that each port would have."""
    most = (spec.openstack or Cloud()).max_address_pairs
    after = pairs_after(spec, cloud)
    for host in used_hosts(spec):
        port = cloud.port(host.name)
        if port is None or open_already(cloud, port):
            continue
        count = len(after[port.id])
        if count > most:
            yield Finding(
                "pairs.quota",
                ERROR,
                host.name,
                f"the port {port.id} of {host.name} would have {count} allowed address pairs, and"
                f" {most} are allowed (Neutron's max_allowed_address_pair, which its API does not"
                " tell)",
                "use fewer VIPs or join the prefixes of `clients`, or remove pairs that are not"
                " needed any more; where this cloud allows more, say how many in the spec's"
                " openstack section: max_address_pairs",
            )


def multicast(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Foresee that a newer Neutron takes no pair with multicast in it, but for 0.0.0.0/0."""
    if "aap-reject-multicast" not in cloud.extensions:
        return
    for pair in (r for r in wanted(spec, cloud) if isinstance(r, AddressPair)):
        network = pair.network
        if str(network) == "0.0.0.0/0" or stands(cloud, pair):
            continue
        refused = ip_network("224.0.0.0/4" if network.version == IPV4 else "ff00::/8")
        if within(refused, network) or within(network, refused):
            yield Finding(
                "pairs.multicast",
                ERROR,
                pair.host,
                f"the pair {network} on the port of {pair.host} holds addresses of {refused}, and"
                " this Neutron refuses a pair with multicast in it",
                "name prefixes without it in the spec (`clients`): 128.0.0.0/2 and 192.0.0.0/3 in"
                " place of 128.0.0.0/1; 0.0.0.0/0 alone is an exception",
            )


def pair_form(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """On OVN a bare VIP makes a port a parent of the VIP's virtual port: the director, only."""
    if driver(spec, cloud) != OVN:
        return
    serving = served(spec)
    for host, endpoints in sorted(serving.items()):
        port = cloud.port(host)
        for vip in vips(sorted(endpoints)) if port else ():
            if port and foreign_form(port, single(vip)) is True:
                text = (
                    f"the pair {vip} on {port.id} makes {host} one that may own the VIP in OVN: a"
                    " single ARP moves it there"
                )
                yield Finding("port.r.vip_pair", WARNING, host, text, _cure(single(vip)))
    for director, port in filtered_directors(spec, cloud):
        for vip in vips(sorted({e for found in serving.values() for e in found})):
            if foreign_form(port, single(vip)) is False:
                text = (
                    f"the pair {single(vip)} on {port.id} does not make {director.name} the VIP's"
                    " owner in OVN, which then answers ARP with the reservation's own MAC"
                )
                yield Finding("port.d.vip_pair", WARNING, director.name, text, _cure(vip))


def _cure(wanted_form: object) -> str:
    return f"write it as {wanted_form}; where it is not onearm's, apply with --adopt does"


def spoofing(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Say what a pair for everybody takes away."""
    after = pairs_after(spec, cloud)
    for host, port in filtered_directors(spec, cloud):
        whole = [n for n in after[port.id] if n.prefixlen == 0]
        if whole:
            yield Finding(
                "port.d.pairs_cover_clients",
                WARNING,
                host.name,
                f"the pair {whole[0]} lets {host.name} send in any client's name, and also ends the"
                " protection against ARP spoofing on its port",
                "name the clients' prefixes in the spec (`clients`) where they are known",
            )


def vip_port(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """The VIP is reserved by an unbound port, and nobody has it."""
    endpoints = sorted({e for found in served(spec).values() for e in found})
    reserve = spec.openstack is None or spec.openstack.reserve_vip
    for vip in vips(endpoints):
        owners = [p for p in cloud.vip_ports if vip in p.addresses]
        for port in owners:
            if port.device_id or not (
                not port.device_owner or port.device_owner.endswith(OWN_DEVICE)
            ):
                device = port.device_owner or "a device"
                yield Finding(
                    "vip.reserved_unbound",
                    ERROR,
                    NEUTRON,
                    f"{vip} is an address of the port {port.id} ({port.name or 'no name'}), which"
                    f" belongs to {device} {port.device_id}".rstrip(),
                    "choose another VIP, or free the address: a VIP is the address of no port that"
                    " is bound to anything",
                )
        if not owners and not reserve:
            yield Finding(
                "vip.reserved_unbound",
                WARNING,
                NEUTRON,
                f"no port reserves {vip}: Neutron may give the address to somebody else",
                "leave out reserve_vip: false, or keep the VIP outside the allocation pools",
            )


def read_only(cloud: CloudFacts) -> bool:
    """Say whether this identity may change nothing at all."""
    return bool(cloud.roles) and set(cloud.roles) <= {"reader"}


def denied_kinds(cloud: CloudFacts) -> tuple[type[Resource], ...]:
    """List the kinds of things that this identity may not change, as far as that is known."""
    if read_only(cloud):
        return (SecurityGroup, VipPort, GroupRule, AddressPair, GroupMembership, PortSecurity)
    pairs: tuple[type[Resource], ...] = (AddressPair, VipPort)
    kinds = pairs if cloud.pairs_right is False else ()
    return (*kinds, PortSecurity) if cloud.port_security_right is False else kinds


def rights(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Foresee a 403, before anything is changed."""
    denied = denied_kinds(cloud)
    lacking = [r for r in wanted(spec, cloud) if isinstance(r, denied) and not stands(cloud, r)]
    if not lacking:
        return
    counted: dict[str, int] = {}
    for resource in lacking:
        counted[_WORDS[type(resource)]] = counted.get(_WORDS[type(resource)], 0) + 1
    said = ", ".join(f"{number} {word}" for word, number in counted.items())
    network = cloud.network.name if cloud.network else network_id(spec, cloud)
    why = "this identity may only read" if read_only(cloud) else f"{network} is not its project's"
    yield Finding(
        "net.owner",
        ERROR,
        NEUTRON,
        f"{why}, so Neutron would answer 403 to what is still to be set: {said}",
        "have an administrator, or the network's owner, run what `onearm plan --commands"
        " --as-admin` prints; then plan again",
    )


_WORDS: dict[type[Resource], str] = {
    SecurityGroup: "security group(s)",
    VipPort: "reservation(s) of a VIP",
    GroupRule: "group rule(s)",
    AddressPair: "address pair(s)",
    GroupMembership: "group membership(s)",
    PortSecurity: "port security setting(s)",
}


def stands(cloud: CloudFacts, resource: Resource) -> bool:
    """Say whether a thing stands as wanted, as far as the facts show it."""
    if isinstance(resource, VipPort):
        return any(resource.address in port.addresses for port in cloud.vip_ports)
    if isinstance(resource, SecurityGroup):
        return cloud.named_group(resource.name, stateful=resource.stateful) is not None
    if isinstance(resource, GroupRule):
        group = cloud.named_group(resource.group, stateful=resource.stateful)
        return group is not None and any(rule.says(resource) for rule in group.rules)
    port = cloud.by_id(str(getattr(resource, "port_id", "")))
    return port is not None and _stands_on(cloud, port, resource)


def _stands_on(cloud: CloudFacts, port: PortFact, resource: Resource) -> bool:
    if isinstance(resource, AddressPair):
        forms = [(network_of_pair(pair), pair.bare) for pair in port.pairs]
        return (resource.network, resource.bare) in forms
    if isinstance(resource, GroupMembership):
        group = cloud.named_group(resource.group, stateful=resource.stateful)
        return group is not None and group.id in port.groups
    return isinstance(resource, PortSecurity) and port.port_security == resource.enabled
