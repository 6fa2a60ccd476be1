"""Reading rtnetlink entries: two families, next hops, and any bytes."""

import struct
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from onearm.facts import AddressFact, RouteFact
from onearm.kernel import links
from onearm.kernel.netlink import attribute, nested, text_attribute

NAMES = {2: "eth0", 3: "eth1"}


def packed(text):
    return ip_address(text).packed


def test_a_link_tells_its_kind_and_that_it_speaks_no_arp():
    inner = text_attribute(links.INFO_KIND, "dummy"), attribute(2, b"data")
    payload = links.IFINFO.pack(0, 1, 9, links.IFF_UP | links.IFF_NOARP, 0) + b"".join(
        (
            text_attribute(links.IFLA_IFNAME, "eth-vip"),
            attribute(links.IFLA_ADDRESS, bytes.fromhex("02AABBCCDDEE")),
            attribute(links.IFLA_MASTER, struct.pack("=I", 4)),
            nested(links.IFLA_LINKINFO, *inner),
        )
    )
    fact, master = links.parse_link(payload)
    assert (fact.name, fact.kind, fact.mac, master) == ("eth-vip", "dummy", "02:aa:bb:cc:dd:ee", 4)
    assert (fact.up, fact.arp, fact.loopback, fact.index) == (True, False, False, 9)


def test_the_local_address_wins_over_the_peers():
    head = links.IFADDR.pack(2, 32, 0, 0, 2)
    peer = attribute(links.IFA_ADDRESS, packed("192.0.2.9"))
    local = attribute(links.IFA_LOCAL, packed("192.0.2.1"))
    fact = AddressFact("eth0", ip_address("192.0.2.1"), 32)
    assert links.parse_address(head + peer + local, NAMES) == fact
    six = links.IFADDR.pack(10, 64, 0, 253, 3) + attribute(links.IFA_ADDRESS, packed("fe80::1"))
    assert links.parse_address(six, NAMES) == AddressFact("eth1", ip_address("fe80::1"), 64, 253)


def route(family=2, length=0, table=254, kind=1, *attributes):
    return links.RTM.pack(family, length, 0, 0, table, 0, 0, kind, 0) + b"".join(attributes)


OUT = attribute(links.RTA_OIF, struct.pack("=I", 2))
GATEWAY = attribute(links.RTA_GATEWAY, packed("203.0.113.1"))


def test_only_unicast_routes_of_the_main_table_count():
    (default,) = links.parse_routes(route(2, 0, 254, 1, OUT, GATEWAY), NAMES)
    assert default == RouteFact(ip_network("0.0.0.0/0"), "eth0", ip_address("203.0.113.1"))
    big_table = attribute(links.RTA_TABLE, struct.pack("=I", 1000))
    for other in (
        route(2, 0, 255, 1, OUT),
        route(2, 0, 254, 2, OUT),
        route(7, 0, 254, 1, OUT),
        route(2, 0, 254, 1, OUT, big_table),
    ):
        assert list(links.parse_routes(other, NAMES)) == []


def test_each_next_hop_is_a_fact_and_a_gateway_may_be_of_the_other_family():
    via = attribute(links.RTA_VIA, struct.pack("=H", 10) + packed("fe80::1"))
    hops = b"".join(
        links.NEXTHOP.pack(8 + len(inner), 0, 0, index) + inner
        for index, inner in ((2, GATEWAY), (3, via))
    )
    data = attribute(links.RTA_DST, packed("198.51.100.0")), attribute(links.RTA_MULTIPATH, hops)
    found = list(links.parse_routes(route(2, 24, 254, 1, *data), NAMES))
    assert [(f.link, str(f.gateway)) for f in found] == [
        ("eth0", "203.0.113.1"),
        ("eth1", "fe80::1"),
    ]
    assert {f.network for f in found} == {ip_network("198.51.100.0/24")}


class Answers:
    """A netlink socket that answers each request with the same payloads."""

    def __init__(self, *payloads):
        self.payloads = payloads

    def request(self, kind, body):
        return list(self.payloads) if kind == links.GETROUTE else []


def test_a_way_back_over_no_link_of_the_kernels_is_one_over_an_unknown_link():
    vip = ip_address("203.0.113.2")
    for index in (0, 9, links.MOST_INDEX + 1, 0xFFFFFFFF):
        asked = links.Links.__new__(links.Links)
        asked._netlink = Answers(
            route(2, 0, 254, 1, attribute(links.RTA_OIF, struct.pack("=I", index)))
        )
        found = asked.route_back(ip_address("198.51.100.10"), vip)
        assert (found.link, found.mtu, found.error) == ("", 0, "")


@given(st.binary(max_size=200), st.sampled_from([2, 10, 0, 5]), st.integers(0, 255))
def test_no_bytes_break_the_readers(data, family, length):
    for head in (b"", links.IFADDR.pack(family, length, 0, 0, 2), route(family, length)):
        links.parse_link(head + data)
        links.parse_address(head + data, NAMES)
        links.parse_neighbour(head + data, NAMES)
        list(links.parse_routes(head + data, NAMES))
    hops = attribute(links.RTA_MULTIPATH, data)
    list(links.parse_routes(route(family, 0, 254, 1, hops), NAMES))
