"""Which links fall silent: those of the VIP's L2, and those by which replies leave."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from onearm.facts import AddressFact, HostFacts, RouteFact
from onearm.model import ArpSilence, Mark
from onearm.silence import silences
from onearm.spec import Host
from worlds import ANYWHERE, LO, NEAR, SERVERS, SPEC, VIP, nic

OWN = SERVERS[0]
ETH0 = (AddressFact("eth0", OWN.address, 27),)
FAR = ip_network("192.0.2.0/24")
ELSEWHERE = AddressFact("eth1", ip_address("192.0.2.7"), 24)
BY_ETH0 = (RouteFact(NEAR, "eth0"), RouteFact(ANYWHERE, "eth0", ip_address("203.0.113.1")))
OTHER_VIP = ip_address("203.0.113.20")


def silent(*links, addresses=(), routes=BY_ETH0, spec=SPEC, own=OWN, vips=(VIP,), marks=()):
    seen = HostFacts(
        links=(LO, nic(), *links), addresses=(*ETH0, *addresses), routes=routes, marks=marks
    )
    return {s.link: (s.deaf, s.mute) for s in silences(spec, own, seen, vips)}


BOTH, MUTE = (True, True), (False, True)
SECOND = nic("eth1", 3)

CASES = {
    "one NIC": (silent(), {}),
    "a second NIC elsewhere": (
        silent(
            SECOND,
            addresses=[ELSEWHERE],
            routes=(*BY_ETH0, RouteFact(FAR, "eth1")),
            spec=replace(SPEC, clients=(ip_network("198.51.100.0/24"),)),
        ),
        {},
    ),
    "a second NIC with a route to clients": (
        silent(SECOND, addresses=[ELSEWHERE], routes=(*BY_ETH0, RouteFact(FAR, "eth1"))),
        {"eth1": MUTE},
    ),
    "replies leave by the second NIC": (
        silent(
            SECOND,
            addresses=[ELSEWHERE],
            routes=(RouteFact(NEAR, "eth0"), RouteFact(ANYWHERE, "eth1")),
        ),
        {"eth1": MUTE},
    ),
    "a second NIC in the same network": (
        silent(SECOND, addresses=[AddressFact("eth1", ip_address("203.0.113.9"), 27)]),
        {"eth1": BOTH},
    ),
    "a NIC without address, up": (silent(SECOND), {"eth1": BOTH}),
    "a NIC without address, down": (silent(replace(SECOND, up=False)), {}),
    "a NIC with only a link-local address": (
        silent(SECOND, addresses=[AddressFact("eth1", ip_address("169.254.1.1"), 16, 253)]),
        {"eth1": BOTH},
    ),
    "a NIC with only IPv6": (
        silent(SECOND, addresses=[AddressFact("eth1", ip_address("2001:db8::1"), 64)]),
        {"eth1": BOTH},
    ),
    "a port of a bridge": (silent(replace(SECOND, master="br0", master_kind="bridge")), {}),
    "a bridge without address": (silent(nic("br0", 4, kind="bridge")), {"br0": BOTH}),
    "docker0-like": (
        silent(
            nic("docker0", 4, kind="bridge"),
            addresses=[AddressFact("docker0", ip_address("172.17.0.1"), 16)],
        ),
        {},
    ),
    "a port of a bond": (silent(replace(SECOND, master="bond0", master_kind="bond")), {}),
    "a bond": (silent(nic("bond0", 4, kind="bond")), {"bond0": BOTH}),
    "a port of a VRF": (silent(replace(SECOND, master="vrf0", master_kind="vrf")), {"eth1": BOTH}),
    "a VLAN in the VIP's network": (
        silent(
            nic("eth0.7", 5, kind="vlan"),
            addresses=[AddressFact("eth0.7", ip_address("203.0.113.8"), 27)],
        ),
        {"eth0.7": BOTH},
    ),
    "a dummy": (silent(nic("dummy0", 6, kind="dummy")), {}),
    "NOARP": (silent(nic("eth1", 3, arp=False)), {}),
    "no Ethernet": (silent(nic("tun0", 7, kind="tun", mac="00:00:00:00")), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_which_links(case):
    found, more = CASES[case]
    assert found == {"eth0": BOTH} | more


def test_a_vip_outside_of_all_networks_is_silent_where_the_host_is():
    far = ip_address("192.0.2.200")
    assert silent(vips=(far,)) == {"eth0": BOTH}
    assert silent(
        SECOND, addresses=[ELSEWHERE], routes=(RouteFact(NEAR, "eth0"),), vips=(far,)
    ) == {"eth0": BOTH, "eth1": BOTH}


def test_a_second_nic_in_the_directors_network():
    spec = replace(SPEC, directors=(Host("d", ip_address("192.0.2.9")),), clients=(NEAR,))
    assert silent(SECOND, addresses=[ELSEWHERE], spec=spec)["eth1"] == BOTH


@pytest.mark.parametrize("policy", ["arptables", "nft"])
def test_rules_are_for_each_vip_and_speak_with_an_address_of_the_link(policy):
    own = replace(OWN, arp=policy)
    seen = HostFacts(
        links=(LO, nic(), SECOND),
        addresses=(*ETH0, AddressFact("eth1", ip_address("203.0.113.9"), 27)),
    )
    found = list(silences(SPEC, own, seen, (VIP, OTHER_VIP)))
    assert found == [
        ArpSilence(link, policy, vip, source)
        for link, source in (("eth0", OWN.address), ("eth1", ip_address("203.0.113.9")))
        for vip in (VIP, OTHER_VIP)
    ]


def test_a_link_without_address_asks_with_the_hosts_own():
    own = replace(OWN, arp="nft")
    seen = HostFacts(links=(LO, nic(), SECOND), addresses=ETH0)
    assert {s.source for s in silences(SPEC, own, seen, (VIP,))} == {OWN.address}


def test_a_host_that_left_keeps_what_is_in_its_marks():
    ours, theirs = ArpSilence("eth0"), ArpSilence("eth1")
    marks = (Mark(ours, ("default", "web")), Mark(theirs, ("web",)))
    seen = HostFacts(links=(LO, nic()), addresses=ETH0, marks=marks)
    assert list(silences(SPEC, None, seen, (VIP,))) == [ours]


def test_without_vips_nothing_is_silent():
    assert silent(vips=()) in ({}, {"eth0": BOTH})
