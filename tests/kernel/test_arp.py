"""ARP rules as the tools print them: ours by exact form, foreign drops by what they drop."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm import errors
from onearm.kernel import arp, arp_drops, arp_nft, arp_tables, tools

VIP, LINK, OWN = IPv4Address("203.0.113.2"), "eth0", IPv4Address("203.0.113.4")

# As printed by arptables 1.8.9 (nf_tables), and with a blank at each end by 0.0.5 (legacy).
LISTING = """Chain INPUT (policy ACCEPT)
-j DROP -i eth0 -d 203.0.113.2
-j DROP -i eth0 ! -d 203.0.113.2
-j DROP -i eth0 -d 203.0.113.2 --opcode 1

Chain OUTPUT (policy ACCEPT)
-j mangle -o eth0 -s 203.0.113.2 --mangle-ip-s 203.0.113.4
-j mangle -o eth0 -s 203.0.113.2 --mangle-ip-s 203.0.113.5 --mangle-target DROP
-j DROP -s 203.0.113.2
-j DROP -s 203.0.113.0/30
-j DROP ! -s 203.0.113.9
-j DROP -o eth0 -s 203.0.113.2 -d 203.0.113.1
-j DROP --opcode 2
-j DROP --opcode 1
-j ACCEPT -s 203.0.113.2
-j more -o eth0

Chain FORWARD (policy ACCEPT)

Chain more (1 references)
-j DROP -s 203.0.113.2 --h-type 1

Chain unused (0 references)
-j DROP -s 203.0.113.2
"""


def test_only_our_exact_form_is_a_silence():
    rules = arp_tables.parse("arptables-legacy", LISTING).rules
    found = [arp_tables.silence_of(rule) for rule in rules]
    assert [f for f in found if f] == [(VIP, LINK, None), (VIP, LINK, OWN)]
    assert len(rules) == 15


def test_a_rule_is_found_whatever_the_order_of_its_options():
    listing = arp_tables.parse("x", LISTING)
    words = arp_tables.mute_words(VIP, LINK, OWN)
    assert [r.line for r in arp_tables.matching(words, listing)] == [
        "-j mangle -o eth0 -s 203.0.113.2 --mangle-ip-s 203.0.113.4"
    ]
    assert not arp_tables.matching(arp_tables.deaf_words(VIP, "eth1"), listing)


def test_drops_that_starve_a_cold_cache():
    listing = arp_tables.parse("arptables", LISTING)
    found = arp_drops.tables_drops(listing, "arptables", [VIP, IPv4Address("203.0.113.9")])
    assert [(fact.text, fact.address) for fact in found] == [
        ("-A OUTPUT -j DROP -s 203.0.113.2", "203.0.113.2"),
        ("-A OUTPUT -j DROP -s 203.0.113.0/30", "203.0.113.2"),
        ("-A OUTPUT -j DROP ! -s 203.0.113.9", "203.0.113.2"),
        ("-A OUTPUT -j DROP --opcode 1", ""),
        ("-A more -j DROP -s 203.0.113.2 --h-type 1", "203.0.113.2"),
    ]
    closed = arp_tables.parse("arptables", "Chain OUTPUT (policy DROP)\n")
    (policy,) = arp_drops.tables_drops(closed, "arptables", [VIP])
    assert (policy.text, policy.address) == ("-P OUTPUT DROP", "")


def test_no_rule_of_ours_drops_what_goes_out():
    assert "DROP" not in arp_tables.mute_words(VIP, LINK, OWN)
    assert "drop" not in arp_nft.mute_text(VIP, LINK, OWN)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader_of_arptables(text):
    for start in ("", "Chain OUTPUT (policy ACCEPT)\n-j "):
        listing = arp_tables.parse("x", start + text)
        for rule in listing.rules:
            arp_tables.silence_of(rule)
        arp_drops.tables_drops(listing, "x", [VIP])


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


def payload(field):
    return {"payload": {"protocol": "arp", "field": field}}


SENDER, OUT = payload("saddr ip"), {"meta": {"key": "oifname"}}


def rule(*expr, chain="output", **more):
    return {
        "family": "arp",
        "table": "onearm",
        "chain": chain,
        "handle": 4,
        "expr": [*expr],
        **more,
    }


OURS_IN = rule(
    match({"meta": {"key": "iifname"}}, LINK),
    match(payload("daddr ip"), "203.0.113.2"),
    {"drop": None},
    chain="input",
    comment="onearm 203.0.113.2 eth0",
)
OURS_OUT = rule(
    match(OUT, LINK),
    match(SENDER, "203.0.113.2"),
    {"mangle": {"key": SENDER, "value": "203.0.113.4"}},
    comment="onearm 203.0.113.2 eth0",
)


def test_nft_rules_are_ours_only_in_our_exact_form():
    assert arp_nft.parse_rule(OURS_IN).silence == (VIP, LINK, None)
    assert arp_nft.parse_rule(OURS_OUT).silence == (VIP, LINK, OWN)
    for other in (
        {**OURS_IN, "comment": "onearm 203.0.113.9 eth0"},
        {**OURS_IN, "comment": "mine"},
        {**OURS_IN, "chain": "output"},
        {**OURS_OUT, "expr": OURS_OUT["expr"][1:]},
        {**OURS_OUT, "expr": [*OURS_OUT["expr"][:2], {"drop": None}]},
        {"chain": "input"},
    ):
        assert arp_nft.parse_rule(other).silence is None


def test_nft_drops_of_prefixes_ranges_sets_and_jumps():
    # as arptables-nft writes them: with the layout of ARP before the address
    layout = [match(payload(f), n) for f, n in (("htype", 1), ("hlen", 6), ("plen", 4))]
    drop, count = {"drop": None}, {"counter": {"packets": 0, "bytes": 0}}
    ruleset = [
        {"metainfo": {}},
        {"chain": {"table": "filter", "name": "OUT", "hook": "output", "policy": "accept"}},
        {"chain": {"table": "filter", "name": "IN", "hook": "input", "policy": "drop"}},
        {"chain": {"table": "other", "name": "o", "hook": "output", "policy": "drop"}},
    ]
    for handle, (chain, expr) in enumerate(
        [
            ("OUT", [*layout, match(SENDER, "203.0.113.2"), count, drop]),
            ("OUT", [match(SENDER, {"prefix": {"addr": "203.0.113.0", "len": 30}}), drop]),
            ("OUT", [match(SENDER, {"set": ["203.0.113.2", "203.0.113.9"]}), drop]),
            ("OUT", [match(SENDER, {"range": ["203.0.113.1", "203.0.113.3"]}), drop]),
            ("OUT", [match(SENDER, "203.0.113.9", "!="), drop]),
            ("OUT", [match(payload("operation"), "request"), drop]),
            ("OUT", [match(payload("operation"), "reply"), drop]),
            ("OUT", [match(SENDER, "203.0.113.8"), drop]),
            ("OUT", [match(SENDER, "@blocked"), drop]),
            ("OUT", [match(payload("daddr ip"), "203.0.113.1"), drop]),
            ("OUT", [match(OUT, "eth0"), {"jump": {"target": "more"}}]),
            ("more", [drop]),
            ("unused", [drop]),
            ("IN", [drop]),
        ]
    ):
        found = {"table": "filter", "chain": chain, "handle": handle, "expr": expr}
        ruleset.append({"rule": found})
    found = [(f.text.split()[-2], f.address) for f in arp_drops.nft_drops(ruleset, [VIP])]
    vip = str(VIP)
    assert found == [
        *[(f"{n}:", vip) for n in range(5)],
        ("5:", ""),
        ("11:", ""),
        ("policy", ""),
    ]


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["drop", "203.0.113.2"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["match", "left", "right", "op", "set", "drop"]), inner)
    ),
    max_leaves=10,
)


@given(JSON, JSON)
def test_no_json_breaks_the_readers_of_nft(expr, right):
    for inner in (expr, [expr], [match(SENDER, right), {"drop": None}]):
        item = rule(chain="o", comment="onearm 203.0.113.2 eth0")
        item["expr"] = inner
        arp_nft.parse_rule(item)
        chain = {"table": "onearm", "name": "o", "hook": "output"}
        arp_drops.nft_drops([{"chain": chain}, {"rule": item}], [VIP])


@pytest.mark.parametrize("link", ["", "eth+", "eth*", 'e"; drop', "-j", "a" * 16, "a b"])
def test_link_names_that_a_tool_would_not_take_literally_are_refused(link):
    for policy in arp.POLICIES:
        with pytest.raises(errors.Denied, match="takes such a name literally"):
            arp.add(policy, VIP, link, OWN)


def test_only_filters_are_policies_and_only_ipv4_has_arp():
    from ipaddress import ip_address

    with pytest.raises(errors.Denied, match="one of arptables, nft"):
        arp.remove("sysctl", VIP, LINK)
    with pytest.raises(errors.Denied, match="ARP is for IPv4"):
        arp.add("nft", ip_address("2001:db8::2"), LINK, OWN)


def test_a_module_that_is_not_loaded_is_not_asked(tmp_path):
    import os

    dep = tmp_path / "lib" / os.uname().release / "modules.dep"
    assert tools.module_there("nf_tables", str(tmp_path), str(tmp_path / "lib"))  # all built in
    dep.parent.mkdir(parents=True)
    dep.write_text("kernel/net/netfilter/nf_tables.ko.xz: kernel/net/netfilter/nfnetlink.ko.xz\n")
    assert not tools.module_there("nf_tables", str(tmp_path), str(tmp_path / "lib"))
    assert tools.module_there("ip_vs", str(tmp_path), str(tmp_path / "lib"))
    (tmp_path / "nf_tables").mkdir()
    assert tools.module_there("nf_tables", str(tmp_path), str(tmp_path / "lib"))


def test_a_tool_that_is_not_there_or_fails_says_so():
    with pytest.raises(errors.Missing, match="no-such-tool is not installed"):
        tools.run(["no-such-tool"])
    with pytest.raises(errors.Denied, match=r"ls /no/such: .*ls: cannot access"):
        tools.run(["ls", "/no/such"])
