"""Which links of a real server must say nothing of a VIP in ARP, and how; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from onearm.facts import AddressFact, HostFacts, LinkFact
from onearm.model import IPV4, Address, ArpSilence, Network
from onearm.spec import Host, Spec

ETHERNET_LENGTH = 17  # characters of a MAC address as text
LINK_SCOPE = 253  # RT_SCOPE_LINK: addresses of smaller scope never leave the host


def silences(
    spec: Spec, own: Host | None, host: HostFacts, vips: Sequence[Address]
) -> Iterator[ArpSilence]:
    """List the silences of a real server that holds `vips`.

    IPv6 needs none: a link answers solicitations for its own addresses alone, and asks in the name
    of one of them (net/ipv6/ndisc.c, ndisc_recv_ns and ndisc_solicit), so a VIP on a dummy is
    silent as it is.
    Deaf on every link in the VIP's L2 (arp_ignore acts on the link that receives the request), mute
    on every link by which replies leave (arp_announce acts on the link that sends; net/ipv4/arp.c).
    A host that left the spec keeps the silence that is in its marks until its VIPs are gone.
    """
    if own is None:
        marks = (mark.resource for mark in host.marks if spec.name in mark.names)
        yield from (resource for resource in marks if isinstance(resource, ArpSilence))
        return
    vips = [vip for vip in vips if vip.version == IPV4]
    for link in host.links if vips else ():
        if speaks_arp(link):
            deaf = in_l2(spec, own, host, link, vips)
            mute = deaf or replies_leave_by(spec, host, link)
            yield from _on_link(own, host, link, vips if deaf or mute else (), deaf=deaf, mute=mute)


def speaks_arp(link: LinkFact) -> bool:
    """Say whether a link takes part in ARP: Ethernet, not a dummy, not a port of a bridge or bond.

    The ports of a bridge or bond hand their frames on before ARP sees them; those of a VRF do not.
    The module ip_gre makes links without a MAC, which nobody uses.
    """
    mac = len(link.mac) == ETHERNET_LENGTH and bool(link.mac.strip("0:"))
    ethernet = mac and not link.loopback
    own = not link.master or link.master_kind == "vrf"
    return ethernet and own and link.arp and link.kind != "dummy"


def in_l2(spec: Spec, own: Host, host: HostFacts, link: LinkFact, vips: Sequence[Address]) -> bool:
    """Say whether a link may be in the VIPs' L2: an address of it shares a network with them, or it
    is up and has no address, so that nothing says where it leads.
    """
    addresses = arp_addresses(host, link.name)
    if not addresses:
        return link.up
    near = [one.own(IPV4) for one in (own, *spec.directors)]
    known = [*(address for address in near if address is not None), *vips]
    return any(address in network_of(fact) for fact in addresses for address in known)


def replies_leave_by(spec: Spec, host: HostFacts, link: LinkFact) -> bool:
    """Say whether a route to some client leads over the link."""
    routes = [route.network for route in host.routes if route.link == link.name]
    return any(
        route.version == client.version == IPV4 and route.overlaps(client)
        for route in routes
        for client in spec.clients
    )


def _on_link(
    own: Host, host: HostFacts, link: LinkFact, vips: Sequence[Address], *, deaf: bool, mute: bool
) -> Iterator[ArpSilence]:
    if not vips:
        return
    if own.arp == "sysctl":
        yield ArpSilence(link.name, "sysctl", deaf=deaf, mute=mute)
        return
    source = _source(own, host, link)
    for vip in vips:
        yield ArpSilence(link.name, own.arp, vip, source)


def _source(own: Host, host: HostFacts, link: LinkFact) -> Address:
    """Choose the address that stands in for the VIP in the host's own ARP requests."""
    addresses = [fact.address for fact in arp_addresses(host, link.name)]
    named = own.own(IPV4)
    if named is not None and (named in addresses or not addresses):
        return named
    return next(iter(addresses), own.address)


def arp_addresses(host: HostFacts, link: str) -> list[AddressFact]:
    """List the IPv4 addresses of a link that others may know: what ARP can ask with."""
    found = host.on_link(link)
    return [f for f in found if f.address.version == IPV4 and f.scope < LINK_SCOPE]


def network_of(fact: AddressFact) -> Network:
    """Give the network that an address with its prefix length stands in."""
    return ip_network((fact.address, fact.prefix_length), strict=False)
