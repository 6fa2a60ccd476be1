"""What prefixes cover: wide ones, redundant ones, and those of a port's pairs; pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from onearm.cloud_facts import PairFact, PortFact
from onearm.model import Address, Network

WIDE_LENGTH = 8  # as much as a /8, in one pair or in several, is the world and no address list
IPV4 = 4


def single(address: Address) -> Network:
    """Give the prefix of one address."""
    return ip_network(address)


def anywhere(version: int = IPV4) -> Network:
    """Give the prefix of all addresses."""
    return ip_network("0.0.0.0/0" if version == IPV4 else "::/0")


def ethertype(network: Network) -> str:
    """Name the family as Neutron does."""
    return "IPv4" if network.version == IPV4 else "IPv6"


def within(narrow: Network, wide: Network) -> bool:
    """Say whether all of `narrow` lies in `wide`; families never mix."""
    if isinstance(narrow, IPv4Network) and isinstance(wide, IPv4Network):
        return narrow.subnet_of(wide)
    if isinstance(narrow, IPv6Network) and isinstance(wide, IPv6Network):
        return narrow.subnet_of(wide)
    return False


def covered(network: Network, by: Iterable[Network]) -> bool:
    """Say whether the union of several prefixes holds all of one."""
    return any(within(network, wide) for wide in union(by))


def union(networks: Iterable[Network]) -> list[Network]:
    """Join prefixes into the fewest that hold exactly the same addresses."""
    found = list(networks)
    four = [n for n in found if isinstance(n, IPv4Network)]
    six = [n for n in found if isinstance(n, IPv6Network)]
    return [*collapse_addresses(four), *collapse_addresses(six)]


def without_redundant(networks: Iterable[Network]) -> list[Network]:
    """Leave out what another prefix of the list holds; nothing is joined, for a joined one is new
    text, which a cloud may refuse.
    """
    found = list(dict.fromkeys(networks))
    return [n for n in found if not any(n != other and within(n, other) for other in found)]


def is_wide(networks: Iterable[Network]) -> bool:
    """Say whether prefixes together hold as much as a /8 of their family."""
    sizes: dict[int, float] = {}
    for network in union(networks):
        share = 2.0**-network.prefixlen
        sizes[network.version] = sizes.get(network.version, 0.0) + share
    return any(share >= 2.0**-WIDE_LENGTH for share in sizes.values())


def network_of_pair(pair: PairFact) -> Network | None:
    """Read the text of a pair; None for what no version of Neutron should hold."""
    try:
        return ip_network(pair.text.strip(), strict=False)
    except ValueError:
        return None


def pair_networks(port: PortFact) -> list[Network]:
    """List what the pairs of a port let it send as, those with its own MAC."""
    own = [pair for pair in port.pairs if pair.mac.lower() in ("", port.mac.lower())]
    return [network for pair in own if (network := network_of_pair(pair)) is not None]
