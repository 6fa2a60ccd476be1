"""The marks of groups by nft on this machine's own kernel, for the guest's has no such families."""

import json
import os
import platform
import subprocess
import sys
from ipaddress import ip_address

import pytest
from namespaces import Namespace

from onearm.kernel import mark_rules
from onearm.model import GROUP_MARKS, Action, MarkRule
from onearm.places import director

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of this machine need root"),
]
VIPS = {4: "203.0.113.2", 6: "2001:db8:203::2"}
NEAR_SIDE = f"""
ip link set lo up
ip link set s0 up
ip address add 203.0.113.3/27 dev s0
ip address add 2001:db8:203::3/64 dev s0 nodad
ip address add {VIPS[4]}/32 dev s0
ip address add {VIPS[6]}/128 dev s0 nodad
nft add table ip others
nft 'add chain ip others mine {{ type filter hook prerouting priority 0; }}'
nft add rule ip others mine tcp dport 22 meta mark set 7
nft 'add chain ip others seen {{ type filter hook input priority 0; }}'
nft add rule ip others seen meta mark {GROUP_MARKS[0]} counter
nft 'add table ip6 others'
nft 'add chain ip6 others seen {{ type filter hook input priority 0; }}'
nft add rule ip6 others seen meta mark {GROUP_MARKS[0]} counter
"""
FAR_SIDE = """
ip link set r0 up
ip address add 203.0.113.1/27 dev r0
ip address add 2001:db8:203::1/64 dev r0 nodad
"""
CONNECT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family); s.settimeout(5)
try: s.connect((sys.argv[1], int(sys.argv[2])))
except ConnectionRefusedError: print("refused")
"""


@pytest.fixture
def sides():
    near, far = Namespace(), Namespace()
    try:
        add = ["ip", "link", "add", "s0", "netns", str(near.holder.pid), "type", "veth", "peer"]
        subprocess.run([*add, "name", "r0", "netns", str(far.holder.pid)], check=True)
        near.sh(NEAR_SIDE)
        far.sh(FAR_SIDE)
        yield near, far
    finally:
        near.end()
        far.end()


def connect(side, vip, port):
    return side.sh(f"{sys.executable} -Ic '{CONNECT}' {vip} {port}").strip()


def counted(near, version, table="onearm"):
    """The packets that each rule of a table has counted."""
    family = "ip" if version == 4 else "ip6"
    found = json.loads(near.sh(f"nft -j list table {family} {table}"))["nftables"]
    rules = [row["rule"]["expr"] for row in found if "rule" in row]
    return [e["counter"]["packets"] for expr in rules for e in expr if "counter" in e]


def apply(near, before, after):
    ((_, error),) = near.call(lambda: list(director.apply([Action("here", before, after)], {})))
    assert error is None, error


@pytest.mark.parametrize("version", [4, 6])
def test_packets_that_come_in_for_a_group_are_marked_and_no_others(sides, version):
    near, far = sides
    vip = ip_address(VIPS[version])
    rules = [
        MarkRule("tcp", vip, 80, 80, GROUP_MARKS[0]),
        MarkRule("tcp", vip, 5000, 5100, GROUP_MARKS[0]),
    ]
    before = near.sh("nft -s list ruleset")
    assert near.call(lambda: mark_rules.chosen(version)) == ("nft", "")
    for rule in rules:
        apply(near, None, rule)
    assert list(near.call(lambda: director.read(rules)).values()) == rules
    for port in (80, 5000, 5100, 81, 4999, 5101):
        assert connect(far, vip, port) == "refused"
    assert counted(near, version) == [1, 2]
    assert counted(near, version, "others") == [3], "the marks are on the packets"
    assert connect(near, vip, 80) == "refused"
    assert counted(near, version) == [1, 2], "what the host itself sends is left alone"
    other = MarkRule("tcp", vip, 80, 80, GROUP_MARKS[1])
    apply(near, rules[0], other)
    assert near.call(lambda: mark_rules.standing(version)) == [rules[1], other]
    print(f"proved: marks of IPv{version} by nft on the running kernel {platform.release()}")
    for rule in (other, rules[1]):
        apply(near, rule, None)
    assert near.sh("nft -s list ruleset") == before


def test_a_rule_in_another_form_is_not_taken_for_ours(sides):
    near, _ = sides
    vip = ip_address(VIPS[4])
    rule = MarkRule("tcp", vip, 80, 80, GROUP_MARKS[0])
    apply(near, None, rule)
    handle = near.sh("nft -a list table ip onearm | grep -o 'handle [0-9]*$' | tail -n1").strip()
    near.sh(f"nft delete rule ip onearm prerouting {handle}")
    near.sh(
        f"nft add rule ip onearm prerouting ip daddr {vip} tcp dport 80 counter meta mark set"
        f' {rule.mark} comment \\"onearm {vip} tcp 80-80\\"'
    )
    assert near.call(lambda: mark_rules.standing(4)) == []
    apply(near, None, rule)
    assert near.call(lambda: mark_rules.standing(4)) == [rule]
    apply(near, rule, None)
    assert "onearm" in near.sh("nft list tables ip"), "a table with somebody's rule stays"
