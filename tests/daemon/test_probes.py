"""Where probes go: marks of their own, blocks of source ports that never meet, shadows."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.daemon.probes import (
    MARK_BASE,
    PROBE_PORTS,
    allocate,
    probes_by_slot,
    shadow,
    targets,
)
from onearm.errors import PlaceError
from onearm.facts import HostFacts, ServiceFact
from onearm.model import CheckMark, Mark
from onearm.spec import DIRECT, Check, Host, Member, Spec, VirtualService

SOURCE = ip_address("203.0.113.3")
VIPS = [ip_address(f"203.0.113.{n}") for n in (20, 21)]


PLAIN = Check()


def spec(servers=2, checks=(PLAIN,), vips=1):
    hosts = tuple(Host(f"r{n}", ip_address("10.0.0.0") + n) for n in range(1, servers + 1))
    members = tuple(Member(host.name) for host in hosts)
    services = tuple(
        VirtualService(VIPS[v], 80 + n, "tcp", members=members, check=check)
        for v in range(vips)
        for n, check in enumerate(checks)
    )
    return Spec(name="web", real_servers=hosts, services=services)


def marked(*marks, names=("web",)):
    return tuple(Mark(mark, names) for mark in marks)


def test_each_real_server_has_one_mark_and_keeps_it():
    first = allocate(spec(2), HostFacts(), [])
    assert sorted(first.values()) == [MARK_BASE + 1, MARK_BASE + 2]
    kept = CheckMark(MARK_BASE + 9, ip_address("10.0.0.2"), "r2")
    again = allocate(spec(3), HostFacts(marks=marked(kept)), [])
    assert again["r2", DIRECT] == MARK_BASE + 9
    assert len(set(again.values())) == 3


def test_other_peoples_marks_are_left_alone():
    services = (ServiceFact("0", None, 0, MARK_BASE + 1, "rr"),)
    rules = [(MARK_BASE + 2, 0xFFFFFFFF), (0x3, 0xFF)]
    found = allocate(spec(2), HostFacts(services=services), rules)
    assert sorted(found.values()) == [MARK_BASE + 4, MARK_BASE + 5]


def test_a_rule_that_takes_every_mark_is_told():
    with pytest.raises(PlaceError, match="are taken by routing rules"):
        allocate(spec(1), HostFacts(), [(MARK_BASE & 0xFFFF0000, 0xFFFF0000)])


def test_nobody_is_marked_for_checks_of_the_hosts_own_path():
    assert allocate(spec(2, checks=(Check(through="host"), None)), HostFacts(), []) == {}


def test_services_share_the_probe_that_would_be_the_same():
    two_ports = spec(2, checks=(Check(port=8080), Check(port=8080)))
    assert len(set(probes_by_slot(two_ports).values())) == 2
    two_vips = spec(2, vips=2)
    assert len(set(probes_by_slot(two_vips).values())) == 4
    own_path = spec(2, checks=(Check(through="host"),), vips=2)
    assert len(set(probes_by_slot(own_path).values())) == 2


def test_a_probe_through_the_vip_is_bound_and_marked():
    made = spec(1)
    (target,) = targets(made, {("r1", DIRECT): 7}, {4: SOURCE})
    assert (target.address, target.port, target.mark, target.source) == (VIPS[0], 80, 7, SOURCE)
    assert target.source_ports
    assert targets(made, {}, {4: SOURCE}) == ()  # without its mark it would ask this very host


def test_one_that_fails_through_the_vip_is_asked_itself_as_well():
    made = spec(1)
    (key,) = set(probes_by_slot(made).values())
    probe, other = targets(made, {("r1", DIRECT): 7}, {4: SOURCE}, [key])
    assert (other.address, other.mark, other.source) == (ip_address("10.0.0.1"), 0, None)
    assert other.key == shadow(probe.key)
    assert shadow(other.key) is None


@given(st.integers(1, 300), st.integers(1, 3), st.integers(1, 2))
def test_no_two_servers_probe_one_vip_and_port_from_the_same_source_port(servers, ports, vips):
    made = spec(servers, checks=(Check(),) * ports, vips=vips)
    marks = {(host.name, DIRECT): n for n, host in enumerate(made.real_servers, 1)}
    used = {}
    for target in targets(made, marks, {4: SOURCE}):
        block = set(target.source_ports)
        assert block
        assert block <= set(PROBE_PORTS)
        taken = used.setdefault((target.address, target.port), set())
        assert not block & taken
        taken |= block


def test_a_changed_check_is_another_probe():
    made = spec(1)
    (before,) = probes_by_slot(made).values()
    changed = replace(made.services[0], check=Check(interval_s=9))
    (after,) = probes_by_slot(replace(made, services=(changed,))).values()
    assert before != after
