"""Rules about the network, its routers, the API's extensions and quotas; pure."""

from __future__ import annotations

from collections.abc import Iterator

from onearm.cloud import driver, unfiltered, wanted
from onearm.cloud_check_groups import managed
from onearm.cloud_check_ports import stands, used_hosts
from onearm.cloud_facts import CloudFacts
from onearm.facts import Facts
from onearm.finding import ERROR, NOTE, WARNING, Finding
from onearm.model import IPV6, NEUTRON, GroupRule, SecurityGroup, VipPort
from onearm.spec import Spec


def extensions(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """What the plan needs of the API is there. No list at all says nothing."""
    needs = {"allowed-address-pairs": "pairs cannot be set", "standard-attr-tag": "no marks"}
    if managed(spec):
        needs["security-group"] = "there are no groups"
        if not unfiltered(spec, cloud):
            needs["stateful-security-group"] = "the director needs a stateless group"
    if unfiltered(spec, cloud):
        needs["port-security"] = "a port's filtering cannot be turned off"
    for name, why in needs.items() if cloud.extensions else ():
        if name not in cloud.extensions:
            yield Finding(
                "ext.present",
                ERROR,
                NEUTRON,
                f"this Neutron lacks the extension {name}: {why}",
                "have it turned on, or use another cloud; with manage_security_groups: false no"
                " group is touched",
            )


def families(spec: Spec, _facts: Facts, _cloud: CloudFacts) -> Iterator[Finding]:
    """The cloud's part has been tried with IPv4 alone."""
    six = [
        str(vip)
        for vip in dict.fromkeys(v for s in spec.services for v in s.vips)
        if vip.version == IPV6
    ]
    if six:
        yield Finding(
            "cloud.ipv6",
            ERROR,
            NEUTRON,
            f"the cloud's part does not do IPv6 yet, and the spec has {', '.join(six)}",
            "leave the openstack section out of the spec with IPv6 VIPs, and give the ports their"
            " pairs and rules by hand: VIP/128 on every port, clients' prefixes on the director's",
        )


def same_segment(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """All hosts are in one L2: direct routing hands frames to a MAC."""
    ports = {h.name: port for h in used_hosts(spec) if (port := cloud.port(h.name))}
    networks = {port.network_id for port in ports.values()}
    cure = "put all of them into one segment: direct routing hands frames to a MAC address"
    if len(networks) > 1:
        said = ", ".join(f"{name} in {port.network_id}" for name, port in sorted(ports.items()))
        text = f"the ports are in different networks: {said}"
        yield Finding("same_segment", ERROR, NEUTRON, text, cure)
    network = cloud.network
    if network is None or network.segments <= 1:
        return
    segments = {
        network.subnet_segments.get(subnet, "")
        for port in ports.values()
        for subnet in port.subnets or ("",)
    }
    if len(segments) != 1 or "" in segments:
        text = f"{network.name} is made of several segments, and the ports may be in different ones"
        yield Finding("same_segment", ERROR, NEUTRON, text, cure)
    else:
        text = f"{network.name} is made of several segments, and all ports are in one of them"
        cure = "let hosts that come later be in the same one"
        yield Finding("same_segment", NOTE, NEUTRON, text, cure)


def mtu(spec: Spec, facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """No host sends larger packets than the network takes, or than the others do."""
    seen: dict[str, int] = {}
    for host in used_hosts(spec):
        known = facts.get(host.name)
        links = [fact.link for fact in known.holds(host.address)] if known else []
        link = known.link(links[0]) if known and links else None
        if link is not None and link.mtu:
            seen[host.name] = link.mtu
    limit = cloud.network.mtu if cloud.network else 0
    said = ", ".join(f"{name} {number}" for name, number in sorted(seen.items()))
    if len(set(seen.values())) > 1 or any(limit and number > limit for number in seen.values()):
        allowed = f", and the network's is {limit}" if limit else ""
        yield Finding(
            "net.mtu_equal",
            WARNING,
            NEUTRON,
            f"the MTUs differ: {said}{allowed}; larger packets are lost or sent back",
            f"ip link set dev LINK mtu {min([*seen.values(), *([limit] if limit else [])])}",
        )


def routers(_spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Tell what a router of Neutron's in the path does to replies that go straight back."""
    for router in cloud.routers:
        if router.distributed:
            yield Finding(
                "router.distributed",
                WARNING,
                NEUTRON,
                f"router {router.name} is distributed: it knows the addresses of pairs without"
                " asking in ARP, so it may send to a real server what is for the director",
                "use a router that is not distributed, or a provider network",
            )
        else:
            nat = (
                "; it also translates addresses (SNAT), so clients outside need a floating IP on"
                " the port that reserves the VIP"
            )
            yield Finding(
                "router.nat",
                WARNING,
                NEUTRON,
                f"router {router.name} has a leg in this network: all replies to clients beyond it"
                f" pass its one namespace, however many real servers send{nat * router.snat}",
                "a provider network, whose router is the fabric's own, avoids it",
            )


def floating(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Tell of floating IPs: one belongs to the port that reserves the VIP, and to no other."""
    directors = {director.address for director in spec.directors}
    distributed = any(router.distributed for router in cloud.routers)
    for found in cloud.floating:
        on_vip = found.fixed not in directors
        severity = NOTE if on_vip and not distributed else WARNING
        text = f"the floating IP {found.address} leads to {found.fixed}"
        if not on_vip:
            text += ", the director's own address, where no service is"
        elif distributed:
            text += " by a distributed router, which may choose a real server: it has the pair, too"
        else:
            text += ": its clients' packets and all replies pass one router's namespace"
        yield Finding(
            "fip.on_vip_port",
            severity,
            NEUTRON,
            text,
            "associate it with the port that reserves the VIP, by a router that is not distributed",
        )


def quotas(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Count what is to be made against what is free."""
    missing = [r for r in wanted(spec, cloud) if not stands(cloud, r)]
    kinds = {"security_group": SecurityGroup, "security_group_rule": GroupRule, "port": VipPort}
    for name, kind in kinds.items():
        need = sum(isinstance(resource, kind) for resource in missing)
        free = cloud.quota.get(name, -1)
        if 0 <= free < need:
            yield Finding(
                "quota.free",
                ERROR,
                NEUTRON,
                f"{need} more of {name} are needed, and the quota leaves {free}",
                f"have the project's quota for {name} raised, or remove what is not used",
            )


def firewall(spec: Spec, _facts: Facts, cloud: CloudFacts) -> Iterator[Finding]:
    """Say which firewall driver the plan is for, where that is not certain."""
    said = spec.openstack.firewall if spec.openstack else "auto"
    if said != "auto" and cloud.firewall not in ("", said):
        yield Finding(
            "firewall.driver",
            WARNING,
            NEUTRON,
            f"the spec says firewall: {said}, and this cloud shows {cloud.firewall}",
            "say firewall: auto, or correct it",
        )
    elif not driver(spec, cloud) and not unfiltered(spec, cloud) and managed(spec):
        yield Finding(
            "firewall.driver",
            NOTE,
            NEUTRON,
            "which firewall driver filters the ports is not shown to this identity, so the director"
            " gets a stateless group, which the openvswitch driver ignores",
            "say firewall: in the spec's openstack section, where it is known; else `onearm apply`"
            " tries it by connections, and where they hang it is that driver, whose consent is"
            ' director_port_security: "off"',
        )
