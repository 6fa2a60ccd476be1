"""A director with a daemon: what it holds out is no fault, and its cause is named before it."""

from dataclasses import replace

import pytest

import worlds
from observed import (
    ADDRESSES,
    DOWN,
    ISOLATED,
    MARK,
    STATEFUL,
    VIP,
    checking,
    daemon,
    healthy,
    ids,
    with_facts,
    with_service,
    with_vitals,
)
from onearm.doctor.rank import diagnose
from onearm.facts import DestinationFact, ServiceFact
from onearm.finding import ERROR, NOTE
from onearm.preflight import preflight
from onearm.spec import Check, Forwarding, Member, Policy
from onearm.vitals import BackFact, Vitals

BOTH = (DOWN, replace(DOWN, host="r2", reason="no answer within 1 s"))
RAMPING = replace(DOWN, state="ramping", reason="34 of 100", weight=34)
FORWARDING = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/eth0/accept_local": "1"}


def with_spec(o, **changed):
    return replace(
        o, spec=replace(o.spec, services=(replace(worlds.SERVICE, **changed),)),
    )  # fmt: skip


def weighing(*weights, o=None):
    """Give the table these weights."""
    o = o or healthy()
    (table,) = o.facts["d"].services
    held = [replace(d, weight=w) for d, w in zip(table.destinations, weights, strict=True)]
    services = (replace(table, destinations=tuple(held)),)
    return replace(o, facts={**o.facts, "d": replace(o.facts["d"], services=services)})


CAUSES = [
    ("vip.missing", with_facts("r1", addresses=worlds.facts()["r1"].addresses)),
    ("listen.on_vip", with_vitals("r1", listeners=())),
    ("host.unreachable", replace(healthy(), out={"r1": "r1: no answer"})),
]


@pytest.mark.parametrize(("cause", "observed"), CAUSES, ids=[case[0] for case in CAUSES])
def test_the_cause_on_the_real_server_is_named_and_explains_it(cause, observed):
    (one,) = diagnose(daemon(DOWN, o=observed, gone=["r1"])).named
    assert one.finding.id == cause
    assert [effect.id for effect in one.because] == ["health.down"]


def test_one_that_is_isolated_is_so_for_its_answers_in_arp():
    loud = with_facts("r1", sysctls={"net/ipv4/conf/eth0/arp_announce": "2"})
    (one,) = diagnose(daemon(ISOLATED, o=loud, gone=["r1"])).named
    assert one.finding.id == "arp.answers"
    assert [effect.id for effect in one.because] == ["health.isolated"]
    named = diagnose(daemon(DOWN, o=loud, gone=["r1"])).named
    assert {one.finding.id for one in named} == {"arp.answers", "health.down"}


OTHERS = [
    ("listen.on_vip", with_vitals("r2", listeners=())),  # of another server
    ("route.none", with_vitals("r1", back=(BackFact(worlds.VIP, VIP, error="no route"),))),
]


@pytest.mark.parametrize(("other", "observed"), OTHERS, ids=["another server", "the way back"])
def test_what_does_not_touch_the_checks_does_not_explain_it(other, observed):
    named = diagnose(daemon(DOWN, o=observed, gone=["r1"])).named
    assert {one.finding.id for one in named} == {other, "health.down"}


def test_without_a_known_cause_the_reason_is_quoted():
    (found,) = diagnose(daemon(DOWN, gone=["r1"])).findings
    assert (found.id, found.severity, found.party) == ("health.down", ERROR, "r1")
    assert "connection refused" in found.cause and "out of rotation" in found.observed


def test_one_that_a_panic_serves_is_down_all_the_same():
    served = replace(DOWN, weight=1, reason="served all the same (panic): connection refused")
    (found,) = diagnose(daemon(served)).findings
    assert (found.id, "served all the same in" in found.observed) == ("health.down", True)


def test_a_service_that_nobody_serves_is_a_consequence_of_who_is_down():
    for observed in (daemon(*BOTH, gone=["r1", "r2"]), daemon(*BOTH, o=weighing(0, 0))):
        named = diagnose(observed).named
        assert [one.finding.id for one in named] == ["health.down", "health.down"]
        assert [effect.id for effect in named[0].because] == ["health.none"]


def test_missing_without_the_word_of_its_own_daemon_is_a_fault():
    for observed in (
        daemon(gone=["r1"]),
        daemon(DOWN, gone=["r2"], o=daemon(DOWN)),
        daemon(DOWN, gone=["r1"], name="other"),
    ):
        assert "ipvs.destination" in ids(observed)


def test_a_weight_that_is_not_the_daemons_is_found():
    assert ids(weighing(7, 1)) == ["ipvs.weight"]
    assert ids(daemon(DOWN, o=weighing(0, 1))) == ["health.down"]
    assert ids(daemon(DOWN)) == ["health.down", "ipvs.weight"]  # it has weight 1 in the table


def test_a_slow_start_has_weights_in_its_own_scale():
    slow = Policy(slow_start_s=30)
    assert ids(with_spec(weighing(100, 100), policy=slow)) == []
    assert ids(with_spec(weighing(100, 1), policy=slow)) == ["ipvs.weight"]
    assert ids(with_spec(daemon(RAMPING, o=weighing(33, 100)), policy=slow)) == []


def test_a_sorry_server_that_serves_is_wanted():
    standing = (DestinationFact(ADDRESSES["r2"], 80, 1, "direct"),)
    o = with_service(destinations=standing)
    sorry = replace(DOWN, host="r2", state="unchecked", reason="the sorry server", weight=1)
    changed = {"members": (Member("r1"),), "policy": Policy(sorry="r2")}
    assert ids(with_spec(daemon(DOWN, sorry, o=o), **changed)) == ["health.down"]
    assert "ipvs.unwanted" in ids(with_spec(daemon(DOWN, o=o), **changed))


def checked(*, marks=(MARK,), **more):
    """Give a director with the way of a check in its table."""
    way = (DestinationFact(ADDRESSES["r1"], 0, 1, "direct"),)
    (table,) = healthy().facts["d"].services
    service = ServiceFact("", None, 0, MARK.resource.mark, "rr", destinations=way)
    director = replace(healthy().facts["d"], marks=marks, services=(table, service))
    return replace(healthy(), facts={**healthy().facts, "d": replace(director, **more)})


def test_the_ways_of_its_checks_are_no_finding_while_it_runs():
    observed = checked()
    facts = {**observed.facts, "d": replace(daemon().facts["d"], marks=observed.facts["d"].marks)}
    assert ids(replace(observed, facts=facts)) == []


def test_a_dead_daemon_explains_what_it_left_undone():
    (table,) = healthy().facts["d"].services
    gone = replace(table, destinations=table.destinations[1:])
    (one,) = diagnose(with_facts("d", marks=(MARK,), services=(gone,))).named
    assert (one.finding.id, one.fix, one.finding.severity) == ("daemon.dead", True, ERROR)
    assert [effect.id for effect in one.because] == ["ipvs.destination"]
    assert ids(daemon(marks=(MARK,), name="other")) == ["daemon.dead"]
    assert ids(daemon(marks=(MARK,))) == []


def test_a_drain_needs_a_daemon_to_end():
    drained = replace(DOWN, state="draining", reason="3 connections may end", weight=0)
    (found,) = diagnose(daemon(drained, o=weighing(0, 1))).findings
    assert (found.id, found.severity) == ("health.drained", NOTE)
    assert found.cure.startswith("`onearm undrain r1")


def test_a_director_that_forwards_hides_what_checks_should_show():
    spec = replace(worlds.SPEC, services=(replace(worlds.SERVICE, check=Check()),))
    host = replace(spec, services=(replace(worlds.SERVICE, check=Check(through="host")),))

    def warnings(known, **sysctls):
        director = replace(healthy().facts["d"], sysctls=sysctls)
        seen = preflight(known, {**healthy().facts, "d": director})
        return [f for f in seen if f.id == "director.forwards"]

    def found(known, **sysctls):
        return [f.id for f in warnings(known, **sysctls)]

    assert found(spec, **FORWARDING) == ["director.forwards"]
    assert found(spec, **{"net/ipv4/ip_forward": "0"}) == []
    assert found(host, **FORWARDING) == []
    behind = Member("r2", forwarding=Forwarding("masq"))
    mixed = replace(spec.services[0], members=(Member("r1"), behind))
    (alone,), (beside,) = (
        warnings(replace(spec, services=(some,)), **FORWARDING) for some in (*spec.services, mixed)
    )
    assert "ip_forward=0" in alone.cure
    assert "ip_forward=0" not in beside.cure, "replies from behind masq are forwarded"
    observed = with_facts("d", sysctls=healthy().facts["d"].sysctls | FORWARDING)
    warned = tuple(f for f in preflight(spec, observed.facts) if f.id == "director.forwards")
    (one,) = diagnose(replace(observed, preflight=warned)).named
    assert one.finding.id == "forward.accept_local"
    assert [effect.id for effect in one.because] == ["director.forwards"]


def test_a_firewall_that_drops_answers_to_checks_explains_who_is_down():
    rules = Vitals(rules=(STATEFUL,))

    def named(o, **how):
        found = diagnose(checking(replace(o, vitals={**o.vitals, "d": rules}), **how)).named
        return [(one.finding.id, [effect.id for effect in one.because]) for one in found]

    out = daemon(*BOTH, gone=["r1", "r2"])
    assert named(out) == [("fw.d.checks", ["health.down", "health.down", "health.none"])]
    assert "fw.d.checks" not in dict(named(out, through="host"))
    assert "fw.d.checks" not in dict(named(out, kind="icmp"))
    tracked = replace(out.facts["d"], sysctls={"net/ipv4/vs/conntrack": "1"})
    assert "fw.d.checks" not in dict(named(replace(out, facts={**out.facts, "d": tracked})))
