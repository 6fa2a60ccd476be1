"""Where the connections of a load on the lab come from."""

from ipaddress import IPv4Address
from itertools import islice

from onearm.lab import load


def test_they_come_from_every_ipv4_address_of_the_client():
    """Its sockets are of IPv4: half of them failed once the client had addresses of IPv6."""
    found = [address for address, _ in islice(load.sources(0.0), 500)]
    assert len({IPv4Address(address) for address in found}) == 64
