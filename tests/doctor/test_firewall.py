"""What recorded firewalls do with packets; the rulesets were printed by the real tools."""

import json
import re
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.doctor import iptables, nft
from onearm.doctor.packets import ACK, FIN, SYN, Packet, decide

RECORDED = Path(__file__).parent / "recorded"
VIP, CLIENT = ip_address("203.0.113.2"), ip_address("198.51.100.10")
INPUT, OUTPUT = ("prerouting", "input"), ("output", "postrouting")
OPEN = Packet("SYN", "tcp", CLIENT, VIP, 40000, 80, link_in="eth0", flags=SYN)
NEXT = replace(OPEN, flags=ACK)
ICMP = Packet("3/4", "icmp", CLIENT, VIP, link_in="eth0", state="RELATED", icmp=(3, 4))


def firewall(name):
    text = (RECORDED / name).read_text()
    if name.endswith(".json"):
        return nft.tables(text)
    return iptables.tables(text, name.rpartition(".")[2])


def verdict(name, packet, hooks=INPUT):
    found = decide(firewall(name), hooks, packet)
    return found.verdict if found.certain else f"perhaps {found.verdict}"


CASES = [
    # what most distributions call a sane firewall takes the SYN, and nothing after it
    ("established-or-reject.iptables-nft", OPEN, "ACCEPT"),
    ("established-or-reject.iptables-nft", NEXT, "REJECT"),
    ("established-or-reject.iptables-nft", replace(NEXT, state="INVALID"), "REJECT"),
    ("established-or-reject.iptables-nft", replace(NEXT, state="ESTABLISHED"), "ACCEPT"),
    ("established-or-reject.iptables-nft", replace(OPEN, target_port=81), "REJECT"),
    ("established-or-reject.iptables-nft", ICMP, "ACCEPT"),
    ("established-or-reject.nft.json", OPEN, "ACCEPT"),  # the other tool's to tell
    ("debian.nft.json", OPEN, "ACCEPT"),
    ("debian.nft.json", NEXT, "ACCEPT"),
    ("debian.nft.json", replace(NEXT, state="INVALID"), "DROP"),
    ("debian.nft.json", replace(OPEN, target_port=8080), "DROP"),
    ("debian.nft.json", replace(OPEN, target_port=22), "DROP"),
    ("debian.nft.json", replace(OPEN, target_port=22, source=ip_address("192.0.2.9")), "ACCEPT"),
    ("debian.nft.json", replace(ICMP, state="NEW"), "perhaps DROP"),  # a limit
    ("debian.nft.json", ICMP, "ACCEPT"),
    ("debian.nft.json", replace(OPEN, link_in="lo", target_port=1), "ACCEPT"),
    ("stateless.nft.json", OPEN, "ACCEPT"),
    ("stateless.nft.json", replace(NEXT, state="INVALID"), "ACCEPT"),  # no longer tracked
    ("stateless.nft.json", replace(OPEN, target_port=443), "REJECT"),
    ("stateless.nft.json", ICMP, "ACCEPT"),
    ("flags.nft.json", OPEN, "ACCEPT"),
    ("flags.nft.json", NEXT, "DROP"),
    ("flags.nft.json", replace(NEXT, flags=FIN | ACK, state="INVALID"), "ACCEPT"),
    ("flags.nft.json", replace(OPEN, protocol="udp", flags=0), "DROP"),
    ("flags.nft.json", replace(OPEN, protocol="udp", flags=0, target_port=2000), "DROP"),
    ("chains.iptables-legacy", OPEN, "perhaps ACCEPT"),  # by `recent`, once back from its chain
    ("chains.iptables-legacy", replace(OPEN, source=ip_address("192.0.2.9")), "DROP"),
    ("chains.iptables-legacy", replace(NEXT, state="INVALID"), "DROP"),
    ("chains.iptables-legacy", replace(OPEN, target=ip_address("203.0.113.4")), "ACCEPT"),
    ("chains.iptables-legacy", replace(OPEN, target_port=22, link_in="eth1"), "ACCEPT"),
]


@pytest.mark.parametrize(("name", "packet", "wanted"), CASES)
def test_a_packet_meets_its_rule(name, packet, wanted):
    assert verdict(name, packet) == wanted


def test_the_rule_is_named():
    found = decide(firewall("debian.nft.json"), INPUT, replace(NEXT, state="INVALID"))
    assert found.rule == "nft: inet filter input: drop"
    found = decide(firewall("established-or-reject.iptables-nft"), INPUT, NEXT)
    assert found.rule == "iptables-nft: -A INPUT -j REJECT --reject-with icmp-host-prohibited"


def test_what_is_not_known_is_never_certain():
    text = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m u32 --u32 0=1 -j ACCEPT\n-A INPUT -j DROP\n"
    found = decide(iptables.tables(text, "iptables-legacy"), INPUT, OPEN)
    assert (found.verdict, found.certain) == ("DROP", False)


def test_chains_in_a_circle_end():
    text = "*filter\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n-A INPUT -j a\n-A a -j a\n"
    assert decide(iptables.tables(text, "iptables-legacy"), INPUT, OPEN).verdict == "ACCEPT"


WORDS = st.sampled_from(
    [*(RECORDED / "chains.iptables-legacy").read_text().split(" "), "1.2.3.4/33", "x:y", "'", "3/"]
)
KEYS = st.sampled_from(
    sorted(
        {
            key
            for file in RECORDED.glob("*.json")
            for key in re.findall(r'"([^"]+)":', file.read_text())
        }
    )
)


@given(st.lists(WORDS).map(" ".join) | st.text())
def test_any_text_is_read(text):
    decide(iptables.tables(text, "iptables-legacy"), INPUT, OPEN)
    decide(nft.tables(text), INPUT, OPEN)


JSON = st.recursive(
    st.none() | st.integers(-9, 300) | st.sampled_from(["tcp", "dport", "ip", "syn", "@s", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4))
def test_any_rule_is_read(expressions):
    rows = [
        {"table": {"family": "ip", "name": "t"}},
        {"chain": {"family": "ip", "table": "t", "name": "c", "hook": "input", "prio": 0}},
        {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": expressions}},
    ]
    decide(nft.tables(json.dumps({"nftables": rows})), INPUT, OPEN)
