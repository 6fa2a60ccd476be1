"""Neutron's port security at the ports of the segment, with address pairs; off by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network

from onearm.errors import PlaceError, UsageError
from onearm.lab import client
from onearm.lab.topology import GUARDED, HOSTS, SEGMENT

TABLE = "table bridge port_security"
IPV4 = 4


def port_security(name: str | None, pairs: Mapping[str, Sequence[str]] | None) -> None:
    """Let each guarded host send from its own addresses and its pairs alone; None turns it off.

    As Neutron does it: the sender's MAC must be the port's, the sender's address in IPv4, IPv6 and
    ARP one of those allowed.
    """
    strangers = set(pairs or ()) - set(GUARDED)
    if strangers:
        raise UsageError(f"no port of the lab is guarded for {sorted(strangers)}; have {GUARDED}")
    rules = f"{TABLE} {{\n}}\ndelete {TABLE}\n"  # the first line makes the second never fail
    if pairs is not None:
        rules += f"{TABLE} {{\n chain forwarded {{\n  type filter hook forward priority 0\n"
        for host in GUARDED:
            rules += "".join(f"  {rule}\n" for rule in _port(host, pairs.get(host, ())))
        rules += " }\n}\n"
    code, _, complaint = client.call(name, SEGMENT, ["nft", "-f", "-"], rules.encode())
    if code:
        text = complaint.decode(errors="replace").strip()
        raise PlaceError(f"nft on the lab's segment refused port security: {text}")


def _port(host: str, pairs: Sequence[str]) -> list[str]:
    own = [address.split("/")[0] for address, _ in HOSTS[host].addresses]
    frame = f'iifname "{host}" ether saddr {HOSTS[host].wires[0].mac}'
    rules = [f"{frame} {match} accept" for pair in [*own, *pairs] for match in _matches(pair)]
    link_local = f"{frame} ether type ip6 ip6 saddr {{ ::, fe80::/10 }} accept"
    return [*rules, link_local, f'iifname "{host}" counter drop']


def _matches(pair: str) -> list[str]:
    network = ip_network(pair)
    if network.version != IPV4:
        return [f"ether type ip6 ip6 saddr {network}"]
    if not network.prefixlen:  # nft knows no prefix of length 0
        return ["ether type ip", "ether type arp"]
    return [f"ether type ip ip saddr {network}", f"ether type arp arp saddr ip {network}"]
