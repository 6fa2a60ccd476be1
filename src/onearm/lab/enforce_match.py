"""Security group rules and addresses as nft matches, with what each driver reads into them."""

from __future__ import annotations

from collections.abc import Iterator

from onearm.lab.enforce_state import OPENVSWITCH, OVN, Member, PortState, Rule
from onearm.model import Address, Network

PORTED = {"tcp", "udp", "sctp", "dccp", "udplite"}
ICMP = {"icmp": "icmp", "ipv6-icmp": "icmpv6", "icmpv6": "icmpv6", "1": "icmp", "58": "icmpv6"}
NUMBERS = {"6": "tcp", "17": "udp", "132": "sctp", "33": "dccp", "136": "udplite"}
IPV4 = 4


def family(network: Network | Address) -> str:
    return "ip" if network.version == IPV4 else "ip6"


def ip(network: Network | Address, side: str) -> str:
    """Match an address on one side (saddr, daddr); nft knows no prefix of length 0."""
    kind = family(network)
    everything = "/" in str(network) and str(network).endswith("/0")
    return f"ether type {kind}" + ("" if everything else f" {kind} {side} {network}")


def arp(network: Network | Address) -> str | None:
    """Match the address that an ARP frame says it comes from."""
    if network.version != IPV4:
        return None
    return "ether type arp" + ("" if str(network).endswith("/0") else f" arp saddr ip {network}")


def own(state: PortState) -> Iterator[tuple[str, Network | Address]]:
    """Yield what the port may send from, with the MAC that goes with it."""
    for address in state.addresses:
        yield state.mac, address
    for pair in state.pairs:
        yield pair.mac or state.mac, pair.network


def link_local(mac: str) -> str:
    """Return the IPv6 address that a link gives itself, which Neutron always allows."""
    octets = [int(part, 16) for part in mac.split(":")]
    eui = [octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]]
    return "fe80::" + ":".join(f"{eui[i] << 8 | eui[i + 1]:x}" for i in range(0, 8, 2))


def rule(mode: str, of: Rule) -> list[str]:
    """Give the matches of a rule: several where a remote group has several members."""
    kind = "ip" if of.ethertype == "IPv4" else "ip6"
    side = "saddr" if of.direction == "ingress" else "daddr"
    tail = _protocol(of, kind)
    if of.members is not None:
        far = [match for m in of.members for match in _member(mode, m, kind, side)]
    elif of.remote is not None:
        far = [ip(of.remote, side)]
    else:
        far = [f"ether type {kind}"]
    return [f"{match}{tail}" for match in dict.fromkeys(far)]


def _member(mode: str, member: Member, kind: str, side: str) -> Iterator[str]:
    """Count a member's pairs in, as the driver does.

    OVN's address sets hold fixed addresses only. openvswitch ties a pair of length 0 to its MAC,
    and no other; iptables' ipset holds two halves of everything for it.
    """
    for address in member.addresses:
        if family(address) == kind:
            yield ip(address, side)
    for pair in member.pairs if mode != OVN else ():
        if family(pair.network) == kind:
            tied = mode == OPENVSWITCH and not pair.network.prefixlen
            frame = f"ether {side} {pair.mac or member.mac} " if tied else ""
            yield frame + ip(pair.network, side)


def _protocol(of: Rule, kind: str) -> str:
    name = (of.protocol or "any").lower()
    name = NUMBERS.get(name, name)
    if name in {"any", "0"}:
        return ""
    if name in ICMP:
        return _icmp(of, "icmp" if kind == "ip" else "icmpv6")
    if name in PORTED and of.port_min is not None:
        last = of.port_min if of.port_max is None else of.port_max
        return (
            f" {name} dport {of.port_min}-{last}"
            if last != of.port_min
            else (f" {name} dport {of.port_min}")
        )
    return f" meta l4proto {name}"


def _icmp(of: Rule, name: str) -> str:
    if of.port_min is None:
        return f" meta l4proto {'icmp' if name == 'icmp' else 'ipv6-icmp'}"
    code = "" if of.port_max is None else f" {name} code {of.port_max}"
    return f" {name} type {of.port_min}{code}"
