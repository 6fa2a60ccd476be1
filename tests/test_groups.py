"""Groups: which mark each has, what stands for it, and what a draining one leaves behind."""

from dataclasses import replace
from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

from onearm import groups, spec
from onearm.cloud_rules import Endpoint, Owner, endpoints_of, service_rules
from onearm.commands import commands
from onearm.desire import desire, unshared
from onearm.drain import draining
from onearm.facts import DestinationFact, ServiceFact
from onearm.model import (
    GROUP_MARKS,
    Action,
    AnnouncedVip,
    Destination,
    HeldVip,
    Mark,
    MarkRule,
    Seen,
    Service,
    state_key,
)
from onearm.reconcile import held
from onearm.spec import End
from onearm.words import describe
from worlds import SERVERS, SERVICE, SPEC, VIP, facts

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
OTHER = ip_address("203.0.113.9")
ENDS = (End(VIP, 80, 80), End(VIP, 443, 443), End(OTHER, 80, 80))
GROUP = replace(SERVICE, ends=ENDS)
RANGE = replace(SERVICE, protocol="udp", port=5000, ends=(End(VIP, 5000, 5100),))
SPEC_G = replace(SPEC, services=(GROUP, RANGE))
FIRST, SECOND, THIRD = GROUP_MARKS[:3]
R1 = SERVERS[0].address
PLAIN = Destination("tcp", VIP, 80, R1)


def director(**changed):
    return replace(facts(SPEC_G)["d"], **changed)


def noted(*resources, names=("default",)):
    return tuple(Mark(resource, names) for resource in resources)


def marks(host, of=SPEC_G):
    return [groups.allocate(of, host).get(service.key) for service in of.services]


def test_a_list_or_a_range_makes_a_group_and_one_end_does_not():
    text = """
directors: {d: 203.0.113.3}
real_servers: {r1: 203.0.113.4}
services:
  - {vips: [203.0.113.2, 203.0.113.9], ports: [80/tcp, 8000-8010/tcp]}
  - {vip: 203.0.113.2, port: 5000-5100/udp}
  - {vips: [203.0.113.2], ports: [81/tcp]}
  - {vip: 203.0.113.2, port: 90-90/tcp}
"""
    first, second, *rest = spec.parse(text, "x").services
    assert first.ends == tuple(
        End(vip, *ports) for vip in (VIP, OTHER) for ports in ((80, 80), (8000, 8010))
    )
    assert (first.key, first.vips) == (("tcp", VIP, 80), (VIP, OTHER))
    assert (second.key, second.ends) == (("udp", VIP, 5000), (End(VIP, 5000, 5100),))
    assert [(one.key, one.ends) for one in rest] == [
        (("tcp", VIP, 81), ()),
        (("tcp", VIP, 90), ()),
    ]


def test_a_mark_is_the_lowest_that_nobody_uses():
    assert marks(director()) == [FIRST, SECOND]
    assert marks(director(), SPEC) == [None]
    foreign = ServiceFact("0", None, 0, FIRST, "rr")
    assert marks(director(services=(foreign,))) == [SECOND, THIRD]
    other = Service("tcp", OTHER, 99, mark=SECOND)
    assert marks(director(services=(foreign,), marks=noted(other, names=("b",))))[0] == THIRD


def test_a_mark_stays_what_it_is():
    mine = Service("udp", VIP, 5000, mark=FIRST)
    assert marks(director(marks=noted(mine))) == [SECOND, FIRST]
    standing = ServiceFact("udp", VIP, 5000, FIRST, "rr")
    assert marks(director(marks=noted(mine), services=(standing,))) == [SECOND, FIRST]


def test_a_lost_ledger_is_made_up_for_by_the_rules_that_stand():
    rules = (MarkRule("tcp", VIP, 80, 80, THIRD), MarkRule("udp", VIP, 5000, 5100, FIRST))
    services = tuple(ServiceFact("0", None, 0, mark, "rr") for mark in (THIRD, FIRST))
    host = director(mark_rules=rules, services=services)
    assert marks(host) == [THIRD, FIRST]
    assert not unshared(SPEC_G, host)
    # a rule that still leads to another group of ours tells nothing, nor does a stranger's mark
    other = Service("tcp", OTHER, 99, mark=THIRD)
    assert marks(director(mark_rules=rules, marks=noted(other)))[0] == SECOND
    assert marks(director(mark_rules=(replace(rules[0], mark=7),))) == [FIRST, SECOND]


def world(of=SPEC_G, **changed):
    found = facts(of)
    return found | {"d": replace(found["d"], **changed)}


def test_what_stands_for_a_group():
    wanted = desire(SPEC_G, world(), NOW)
    things = list(wanted["d"].values())
    assert [r for r in things if isinstance(r, MarkRule)] == [
        *(MarkRule("tcp", end.vip, end.port, end.last, FIRST) for end in ENDS),
        MarkRule("udp", VIP, 5000, 5100, SECOND),
    ]
    assert {r.vip for r in things if isinstance(r, AnnouncedVip)} == {VIP, OTHER}
    assert {(r.key, r.mark) for r in things if isinstance(r, Service)} == {
        (("tcp", VIP, 80, FIRST), FIRST),
        (("udp", VIP, 5000, SECOND), SECOND),
    }
    assert all(r.mark for r in things if isinstance(r, Destination))
    for server in ("r1", "r2"):
        held_there = {r.vip for r in wanted[server].values() if isinstance(r, HeldVip)}
        assert held_there == {VIP, OTHER}


def test_a_group_that_left_the_spec_drains_at_all_its_ends():
    service = Service("tcp", VIP, 80, "rr", drain_s=300, mark=FIRST)
    gone = Destination("tcp", VIP, 80, R1, host="r1", mark=FIRST)
    rules = tuple(MarkRule("tcp", end.vip, end.port, end.last, FIRST) for end in ENDS)
    figures = DestinationFact(R1, 80, 1, "direct", 3)
    standing = ServiceFact("tcp", VIP, 80, FIRST, "rr", destinations=(figures,))
    seen = world(marks=noted(service, gone, *rules), services=(standing,), mark_rules=rules)
    empty = replace(SPEC_G, services=())
    ((kept_service, kept),) = draining(empty, seen, NOW)["d"]
    assert (kept_service, kept.weight, kept.key) == (service, 0, gone.key)
    wanted = desire(empty, seen, NOW)
    things = wanted["d"].values()
    assert tuple(r for r in things if isinstance(r, MarkRule)) == rules
    assert {r.vip for r in things if isinstance(r, AnnouncedVip)} == {VIP, OTHER}
    assert {r.vip for r in wanted["r1"].values() if isinstance(r, HeldVip)} == {VIP, OTHER}


def test_a_service_that_becomes_a_group_is_another_to_the_kernel():
    plain = Destination("tcp", VIP, 80, R1, host="r1")
    figures = DestinationFact(R1, 80, 1, "direct", 3)
    standing = ServiceFact("tcp", VIP, 80, 0, "rr", destinations=(figures,))
    slow = replace(SPEC_G, services=(replace(GROUP, drain_s=300),))
    service = Service("tcp", VIP, 80, "rr", drain_s=300)
    seen = world(marks=noted(service, plain), services=(standing,))
    assert [d.key for _, d in draining(slow, seen, NOW)["d"]] == [plain.key]


@pytest.mark.parametrize(
    ("standing", "before", "waits"),
    [
        ([PLAIN], None, True),
        (
            [Destination("tcp", VIP, 80, R1), Destination("tcp", VIP, 80, R1, mark=FIRST)],
            None,
            False,
        ),
        ([Destination("tcp", VIP, 80, R1, 0)], None, False),
        ([Destination("tcp", VIP, 81, R1)], None, False),
        ([], None, False),
        ([], SECOND, True),
        ([Destination("tcp", VIP, 80, R1, 0, mark=FIRST)], SECOND, True),
        ([Destination("tcp", VIP, 80, R1, mark=FIRST)], SECOND, False),
    ],
)
def test_while_a_host_is_out_no_rule_leads_away_from_weight(standing, before, waits):
    rule = MarkRule("tcp", VIP, 80, 80, FIRST)
    old = replace(rule, mark=before) if before else None
    seen = {"d": {state_key(d): Seen(d, ("default",)) for d in standing}}
    action = Action("d", old, rule)
    assert held(action, {"r2": None}, seen, {"d": {}}) is waits
    assert not held(action, {}, seen, {"d": {}})
    assert held(Action("d", rule, None), {"r2": None}, seen, {"d": {}})


def test_a_group_in_words_and_commands():
    def typed(resource, verb="create"):
        pair = (None, resource) if verb == "create" else (resource, None)
        action = Action("d", *pair)
        return describe(action), [" ".join(words) for words in commands(action)]

    service = Service("tcp", VIP, 80, "rr", persistence_s=300, mark=FIRST)
    assert typed(service) == (
        "create virtual service 203.0.113.2:80/tcp by mark 0x6f670001 rr, persistent for 300 s",
        ["ipvsadm -A -f 1869021185 -s rr -p 300"],
    )
    assert typed(Destination("tcp", VIP, 80, R1, mark=FIRST))[1] == [
        "ipvsadm -a -f 1869021185 -r 203.0.113.4:0 -g -w 1"
    ]
    six = Service("tcp", ip_address("2001:db8::2"), 80, "rr", mark=FIRST)
    assert typed(six)[1] == ["ipvsadm -A -f 1869021185 -6 -s rr"]
    rule = MarkRule("udp", VIP, 5000, 5100, SECOND)
    words = (
        "PREROUTING -d 203.0.113.2/32 ! -i lo -p udp -m udp --dport 5000:5100 -m comment"
        " --comment onearm -j MARK --set-xmark 0x6f670002/0xffffffff"
    )
    assert typed(rule) == (
        "create mark of 203.0.113.2:5000-5100/udp = 0x6f670002",
        [f"iptables -t mangle -A {words}"],
    )
    assert typed(rule, "delete")[1] == [f"iptables -t mangle -D {words}"]
    changed = Action("d", rule, replace(rule, mark=FIRST))
    assert [c[3] for c in commands(changed)] == ["-A", "-D"]


def test_a_cloud_admits_every_end():
    ends = [*endpoints_of(GROUP), *endpoints_of(RANGE)]
    assert ends == [
        Endpoint("tcp", VIP, 80),
        Endpoint("tcp", VIP, 443),
        Endpoint("tcp", OTHER, 80),
        Endpoint("udp", VIP, 5000, 5100),
    ]
    rules = list(service_rules(SPEC_G, Owner("g", stateful=True), ends))
    assert {(r.protocol, r.port_min, r.port_max) for r in rules} == {
        ("tcp", 80, 80),
        ("tcp", 443, 443),
        ("udp", 5000, 5100),
    }
    assert "clients of 5000-5100/udp" in {r.description for r in rules}
