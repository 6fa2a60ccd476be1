"""Rules that mark packets: one form of words for each tool, and no other form is taken for ours."""

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm import mark_words
from onearm.doctor import iptables, nft
from onearm.doctor.packets import Packet, decide
from onearm.kernel import mark_rules
from onearm.model import GROUP_MARKS, MarkRule

VIP, VIP6 = ip_address("203.0.113.2"), ip_address("2001:db8::2")
RULE = MarkRule("tcp", VIP, 80, 80, GROUP_MARKS[0])
RANGE = MarkRule("udp", VIP6, 5000, 5100, GROUP_MARKS[1])
LINE = (
    "-A PREROUTING -d 203.0.113.2/32 ! -i lo -p tcp -m tcp --dport 80 -m comment --comment onearm"
    " -j MARK --set-xmark 0x6f670001/0xffffffff"
)
RULES = st.builds(
    MarkRule,
    st.sampled_from(["tcp", "udp", "sctp"]),
    st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda a: a.scope_id is None),
    st.integers(1, 32768),
    st.integers(32769, 65535),
    st.sampled_from(GROUP_MARKS),
)


def shown(rule):
    """As nft shows it."""
    expr = mark_words.expressions(rule)
    expr.insert(-1, {"counter": {"packets": 9, "bytes": 999}})
    remark = mark_words.remark(rule)
    return {
        "family": "ip",
        "table": "onearm",
        "chain": "prerouting",
        "comment": remark,
        "expr": expr,
    }


def test_the_words_of_each_tool():
    assert " ".join(["-A", *mark_words.written(RULE, mark_words.IPTABLES)]) == LINE
    assert " ".join(mark_words.written(RANGE, mark_words.NFT)) == (
        'ip6 onearm prerouting iifname != "lo" ip6 daddr 2001:db8::2 udp dport 5000-5100 counter'
        ' meta mark set 0x6f670002 comment "onearm 2001:db8::2 udp 5000-5100"'
    )


@given(RULES)
def test_what_is_written_is_read_again(rule):
    words = mark_words.written(rule, mark_words.IPTABLES)
    assert mark_rules.parse_iptables(f"-A {' '.join(words)}") == rule
    assert mark_rules.parse_nft(json.loads(json.dumps(shown(rule)))) == rule


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace("PREROUTING", "INPUT"),
        LINE.replace("! -i lo ", ""),
        LINE.replace("! -i lo", "-i lo"),
        LINE.replace("/0xffffffff", "/0xff"),
        LINE.replace(" -m comment --comment onearm", ""),
        LINE.replace("onearm", "twoarm"),
        LINE.replace("/32", "/31"),
        LINE + " --more",
        LINE.replace("--dport 80", "--dport x"),
        LINE.replace("-j MARK", "-s 198.51.100.1/32 -j MARK"),
        '-A PREROUTING -m comment --comment "it',
        "-P PREROUTING ACCEPT",
        "",
    ],
)
def test_another_rule_of_iptables_is_not_ours(line):
    assert mark_rules.parse_iptables(LINE) == RULE
    assert mark_rules.parse_iptables(line) is None


def test_another_rule_of_nft_is_not_ours():
    whole = shown(RULE)
    assert mark_rules.parse_nft(whole) == RULE
    without = [e for e in whole["expr"] if "counter" not in e]
    for bad in (
        {"expr": without},
        {"expr": whole["expr"][1:]},
        {"expr": [*whole["expr"], {"accept": None}]},
        {"expr": shown(replace(RULE, port=79, last=79))["expr"]},
        {"expr": None},
        {"expr": []},
        {
            "expr": [
                *whole["expr"][:-1],
                {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {}}},
            ]
        },
        {"comment": "somebody's own"},
        {"comment": None},
        {"comment": "onearm 203.0.113.2 tcp x-y"},
        {"chain": "other"},
    ):
        assert mark_rules.parse_nft({**whole, **bad}) is None, bad


def test_the_diagnosis_of_firewalls_takes_our_rules_for_harmless():
    chain = {"family": "ip", "table": "onearm", "name": "prerouting", "type": "filter"}
    chain |= {"hook": "prerouting", "prio": -150, "policy": "accept"}
    text = json.dumps(
        {
            "nftables": [
                {"table": {"family": "ip", "name": "onearm"}},
                {"chain": chain},
                {"rule": shown(RULE)},
            ]
        }
    )
    saved = f"*mangle\n:PREROUTING ACCEPT [0:0]\n{LINE}\nCOMMIT"
    client = ip_address("198.51.100.10")
    packet = Packet("a SYN", "tcp", client, VIP, 40000, 80, link_in="eth0")
    for tables in (nft.tables(text), iptables.tables(saved, "iptables-legacy")):
        assert tables
        found = decide(tables, ("prerouting", "input"), packet)
        assert (found.verdict, found.certain) == ("ACCEPT", True), found
