"""The rules as text: what each driver reads into groups, and what a change makes anew."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from enforced import APART, EGRESS, EVERYTHING, TOGETHER, WEB, port, reference

from onearm.lab import client, enforce, enforce_match, enforce_rules, enforce_stages
from onearm.lab.enforce import IPTABLES, MODES, OPENVSWITCH, OVN, Member, Pair, Rule

HALF = Pair(ip_network("0.0.0.0/1"))
SIX = Pair(ip_network("2001:db8::/64"))
MEMBER = Member("02:00:00:00:00:03", (ip_address("203.0.113.3"),), (EVERYTHING, HALF, SIX))
OWN = "ether type ip ip saddr 203.0.113.3"


@pytest.mark.parametrize(
    ("mode", "matches"),
    [
        (IPTABLES, [OWN, "ether type ip", "ether type ip ip saddr 0.0.0.0/1"]),
        (
            OPENVSWITCH,
            [
                OWN,
                "ether saddr 02:00:00:00:00:03 ether type ip",
                "ether type ip ip saddr 0.0.0.0/1",
            ],
        ),
        (OVN, [OWN]),
    ],
)
def test_a_members_pairs_count_as_the_driver_counts_them(mode, matches):
    assert enforce_match.rule(mode, Rule("ingress", members=(MEMBER,))) == matches


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        (Rule("ingress"), "ether type ip"),
        (Rule("egress", "IPv6"), "ether type ip6"),
        (WEB, "ether type ip tcp dport 80"),
        (Rule("ingress", protocol="17", port_min=1, port_max=9), "ether type ip udp dport 1-9"),
        (Rule("ingress", protocol="112"), "ether type ip meta l4proto 112"),
        (
            Rule("ingress", protocol="icmp", port_min=3, port_max=4),
            "ether type ip icmp type 3 icmp code 4",
        ),
        (Rule("ingress", "IPv6", "ipv6-icmp"), "ether type ip6 meta l4proto ipv6-icmp"),
        (Rule("egress", remote=ip_network("10.0.0.0/8")), "ether type ip ip daddr 10.0.0.0/8"),
    ],
)
def test_a_rule_is_one_match(rule, match):
    assert enforce_match.rule(OVN, rule) == [match]


def test_a_group_without_members_matches_nothing():
    assert enforce_match.rule(IPTABLES, Rule("ingress", members=())) == []


@pytest.mark.parametrize("mode", MODES)
def test_invalid_is_dropped_before_the_rules_but_by_iptables(mode):
    text = enforce_rules.rules(mode, {"server-1": port("server-1")}, ("server-1",))
    text = text.partition("chain server-1-in")[2]
    allowed, invalid = text.index("tcp dport 80 return"), text.index("ct state invalid")
    assert (invalid > allowed) == (mode == IPTABLES)


@pytest.mark.parametrize("mode", MODES)
def test_stateless_ports_are_not_tracked_but_by_openvswitch(mode):
    text = enforce_rules.rules(mode, {"server-1": port("server-1", stateful=False)}, ("server-1",))
    assert ("ct state" in text) == (mode == OPENVSWITCH)


def test_openvswitch_alone_has_a_zone_per_node():
    states = reference(APART, port("server-1"))
    found = {mode: set(enforce_stages.plan(mode, states).hosts.values()) for mode in MODES}
    alone = {("server-1",), ("server-2",), ("server-3",), ("neighbour",)}
    nodes = {("server-1",), ("server-2", "server-3"), ("neighbour",)}
    assert found == {IPTABLES: alone, OPENVSWITCH: nodes, OVN: alone}


def test_a_change_of_rules_sends_only_what_differs(monkeypatch):
    sent = []
    monkeypatch.setattr(client, "call", lambda *call: (sent.append(call[3]), (0, b"", b""))[1])
    states = reference(TOGETHER, port("server-1"))
    plan = enforce.apply("lab", OVN, states)
    assert enforce.apply("lab", OVN, states, plan) == plan
    assert len(sent) == 1
    changed = {**states, "server-3": replace(states["server-3"], rules=(EGRESS,))}
    enforce.apply("lab", OVN, changed, plan)
    changes = sent[1].split(b"else")[0]
    assert changes.count(b"flush table") == 1 and b"server-3-in" in changes
    # another layout is sent whole, whatever is the same
    enforce.apply("lab", IPTABLES, states, plan)
    assert sent[2].split(b"else")[0].count(b"flush table") == 4
