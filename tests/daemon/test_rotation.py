"""Who serves with which weight: failures, panic, quorum, sorry server, drains, growing weights."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from onearm.facts import DestinationFact, HostFacts, ServiceFact
from onearm.health import Health
from onearm.model import Drain, Mark, Service
from onearm.rotation import Rotation, Scene, decide, drains_in, full_weight
from onearm.snapshot import DOWN, DRAINED, DRAINING, RAMPING, UNCHECKED, UNKNOWN, UP
from onearm.spec import Check, Host, Member, Policy, Spec, VirtualService

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
VIP = ip_address("203.0.113.2")
NAMES = ("r1", "r2", "r3")
SERVERS = tuple(Host(n, ip_address(f"203.0.113.{4 + i}")) for i, n in enumerate((*NAMES, "spare")))
ADDRESS = {host.name: host.address for host in SERVERS}


def spec(*, weights=(1, 1, 1), scheduler="wlc", **policy):
    members = tuple(Member(n, w) for n, w in zip(NAMES, weights, strict=False))
    service = VirtualService(VIP, 80, "tcp", scheduler, (), members, 0, Check(), Policy(**policy))
    return Spec(real_servers=SERVERS, services=(service,))


def kernel(weights, active=0):
    found = tuple(DestinationFact(ADDRESS[n], 80, w, "direct", active) for n, w in weights.items())
    return HostFacts(services=(ServiceFact("tcp", VIP, 80, 0, "wlc", destinations=found),))


def healths(**states):
    return {("tcp", VIP, 80, n): Health(s, NOW, "refused" * (s != UP)) for n, s in states.items()}


ALL_UP = healths(r1=UP, r2=UP, r3=UP)
ALL_DOWN = healths(r1=DOWN, r2=DOWN, r3=DOWN)


def decided(scene, before=None):
    rotation = decide(before or Rotation(frozenset()), scene)
    return rotation.decisions["tcp", VIP, 80], rotation


def weights(scene, before=None):
    return {h: v.weight for h, v in decided(scene, before)[0].verdicts.items()}


def test_the_healthy_have_the_weights_of_the_spec():
    assert weights(Scene(spec(weights=(3, 1, 0)), kernel({}), NOW, ALL_UP)) == {
        "r1": 3,
        "r2": 1,
        "r3": 0,
    }


def test_a_failing_one_is_removed_or_gets_no_new_connections():
    down = {**ALL_UP, **healths(r2=DOWN)}
    assert weights(Scene(spec(), kernel({}), NOW, down))["r2"] is None
    assert weights(Scene(spec(on_failure="weight 0"), kernel({}), NOW, down))["r2"] == 0


def test_the_unknown_keep_what_the_kernel_has_and_the_absent_wait():
    unknown = healths(r1=UNKNOWN, r2=UNKNOWN, r3=UNKNOWN)
    decision, _ = decided(Scene(spec(), kernel({"r1": 1, "r2": 0}), NOW, unknown))
    assert {h: (v.weight, v.state) for h, v in decision.verdicts.items()} == {
        "r1": (1, UNKNOWN),
        "r2": (0, UNKNOWN),
        "r3": (None, UNKNOWN),
    }


def test_without_a_daemon_and_without_a_check_all_are_trusted():
    decision, _ = decided(Scene(spec(), kernel({}), NOW, None))
    assert {v.state for v in decision.verdicts.values()} == {UNCHECKED}
    assert {v.weight for v in decision.verdicts.values()} == {1}


def test_in_panic_all_serve_but_those_taken_out_by_hand():
    down = {**ALL_DOWN, **healths(r1=UP)}
    scene = Scene(spec(panic=51), kernel({}), NOW, down, {"r3": Drain("r3", NOW.isoformat())})
    decision, _ = decided(scene)  # one of two is 50 %
    assert decision.panic
    assert {h: v.weight for h, v in decision.verdicts.items()} == {"r3": None, "r1": 1, "r2": 1}
    assert "panic" in decision.verdicts["r2"].reason
    assert not decided(replace(scene, spec=spec(panic=50)))[0].panic


def test_the_sorry_server_serves_alone_below_the_quorum():
    one = {**ALL_DOWN, **healths(r1=UP)}
    scene = Scene(spec(quorum=2, sorry="spare"), kernel({"r1": 1, "r2": 1}), NOW, one)
    decision, _ = decided(scene)
    assert decision.sorry
    assert not decision.quorum_met
    assert {h: v.weight for h, v in decision.verdicts.items()} == {
        "r1": 0,  # in the table: its connections may go on
        "r2": None,
        "r3": None,
        "spare": 1,
    }
    drained = replace(scene, drains={"spare": Drain("spare", NOW.isoformat())})
    assert not decided(drained)[0].sorry


def test_a_drained_one_keeps_its_connections_until_its_deadline():
    drain = Drain("r1", NOW.isoformat(), 60)
    busy, idle = kernel({"r1": 1}, active=5), kernel({"r1": 0})

    def verdict(host, seconds):
        scene = Scene(spec(), host, NOW + timedelta(seconds=seconds), ALL_UP, {"r1": drain})
        found = decided(scene)[0].verdicts["r1"]
        return found.weight, found.state

    assert verdict(busy, 59) == (0, DRAINING)
    assert verdict(busy, 60) == (None, DRAINED)
    assert verdict(idle, 1) == (0, DRAINING)  # a connection may be in the making
    assert verdict(idle, 3) == (None, DRAINED)
    assert verdict(kernel({}), 0) == (None, DRAINED)


def test_drains_are_read_from_the_marks_of_their_spec():
    drain = Drain("r1", NOW.isoformat())
    mark = Mark(Service("tcp", VIP, 80, drains=(drain,)), ("web",))
    assert drains_in(HostFacts(marks=(mark,)), "web") == {"r1": drain}
    assert drains_in(HostFacts(marks=(mark,)), "other") == {}


def test_the_weight_of_one_that_comes_back_grows():
    slow = spec(slow_start_s=10)
    full = full_weight(slow.services[0], slow.services[0].members[0])
    assert full == 100
    _, before = decided(
        Scene(slow, kernel({}), NOW, {**ALL_UP, **healths(r1=DOWN)}),
        Rotation(frozenset({("tcp", VIP, 80, n) for n in NAMES})),
    )
    seen = []
    for second in range(12):
        scene = Scene(slow, kernel({}), NOW + timedelta(seconds=second), ALL_UP)
        decision, before = decided(scene, before)
        seen.append(decision.verdicts["r1"].weight)
        assert decision.verdicts["r2"].weight == full
    assert seen == [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100]
    assert not before.ramps


def test_a_restart_goes_on_with_a_growing_weight():
    slow = spec(slow_start_s=10)
    table = kernel({"r1": 40, "r2": 100, "r3": 100})
    unknown = healths(r1=UNKNOWN, r2=UNKNOWN, r3=UNKNOWN)
    decision, before = decided(Scene(slow, table, NOW, unknown), Rotation())
    assert decision.verdicts["r1"].weight == 40
    later = Scene(slow, table, NOW + timedelta(seconds=2), ALL_UP)
    verdict = decided(later, before)[0].verdicts["r1"]
    assert (verdict.weight, verdict.state) == (60, RAMPING)


def test_an_isolated_one_gets_no_new_connections():
    scene = Scene(spec(), kernel({}), NOW, ALL_UP, isolated={"r2": "isolated: it answers"})
    assert weights(scene) == {"r2": 0, "r1": 1, "r3": 1}


STATES = st.sampled_from([UP, DOWN, UNKNOWN])


@given(
    st.tuples(*[st.integers(0, 5)] * 3),
    st.tuples(*[STATES] * 3),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 200)),
    st.sets(st.sampled_from((*NAMES, "spare"))),
    st.builds(
        Policy,
        st.sampled_from(["remove", "weight 0"]),
        st.integers(0, 100),
        st.integers(1, 3),
        st.sampled_from([None, "spare"]),
        st.integers(0, 20),
    ),
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
)
def test_whatever_happens(given_weights, states, table, drained, policy, seconds):  # noqa: PLR0917
    """No weight is above the full one, the drained never get packets, the healthy always do."""
    made = spec(weights=given_weights)
    made = replace(made, services=(replace(made.services[0], policy=policy),))
    service, rotation = made.services[0], Rotation()
    for second in seconds:
        scene = Scene(
            made,
            kernel(table, active=second % 2),
            NOW + timedelta(seconds=second),
            healths(**dict(zip(NAMES, states, strict=True))),
            {h: Drain(h, NOW.isoformat(), 5) for h in drained},
        )
        rotation = decide(rotation, scene)
        decision = rotation.decisions["tcp", VIP, 80]
        for member in service.members:
            verdict = decision.verdicts[member.host]
            full = full_weight(service, member)
            if verdict.state != UNKNOWN:
                assert (verdict.weight or 0) <= full
            if member.host in drained:
                assert not verdict.weight
            healthy = verdict.state in {UP, RAMPING} and member.host not in drained
            if healthy and full and not decision.sorry:
                assert verdict.weight
        if decision.sorry:
            fed = {h for h, v in decision.verdicts.items() if v.weight}
            assert fed == {"spare"}
