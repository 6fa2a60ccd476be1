"""What counts can show of a scheduler."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from onearm import schedule
from onearm.spec import End, Member
from onearm.spec_load.services import SCHEDULERS
from worlds import SERVICE, VIP


def service(scheduler, *weights, flags=()):
    members = tuple(Member(f"r{n}", weight) for n, weight in enumerate(weights))
    return replace(SERVICE, scheduler=scheduler, members=members, flags=flags)


@pytest.mark.parametrize(
    ("scheduler", "weights", "total", "counts"),
    [
        ("rr", (1, 1), 8, {"r0": 4, "r1": 4}),
        ("rr", (9, 1), 8, {"r0": 4, "r1": 4}),
        ("rr", (1, 0), 8, {"r0": 8}),
        ("rr", (1, 1), 7, None),
        ("wrr", (4, 2), 9, {"r0": 6, "r1": 3}),
        ("wrr", (4, 2), 8, None),
        ("wlc", (1, 1), 8, None),
        ("fo", (1, 3, 2), 8, {"r1": 8}),
        ("fo", (3, 3), 8, None),
        ("rr", (0, 0), 8, None),
        ("wrr", (), 8, None),
    ],
)
def test_exact_counts(scheduler, weights, total, counts):
    assert schedule.expected(service(scheduler, *weights), total) == counts


def test_as_many_connections_as_prove_something():
    assert len(schedule.sources_for(service("rr", 1, 1, 1), [VIP])) == 9
    assert len(schedule.sources_for(service("wrr", 60000, 1), [VIP])) == schedule.AT_MOST
    assert len(schedule.sources_for(service("rr"), [VIP])) >= 1
    assert len(schedule.sources_for(service("sh", 1, 1), [VIP] * 64)) == 128


def test_who_promises_exact_shares():
    promised = {name for name in SCHEDULERS if schedule.exact(service(name, 2, 1))}
    assert promised == {"rr", "wrr", "fo"}
    assert not schedule.exact(service("fo", 2, 2))


def test_who_must_keep_its_server():
    assert schedule.sticks(service("sh", 1))
    assert not schedule.sticks(service("mh", 1, flags=("mh-port",)))
    assert not schedule.sticks(service("rr", 1))


def grouped(scheduler="rr", **more):
    ends = (End(VIP, 80, 80), End(VIP, 443, 8443))
    return replace(service(scheduler, 1, 1), ends=ends, **more)


def test_a_group_is_tried_at_each_end_and_of_a_range_at_both():
    ends = [(VIP, 80), (VIP, 443), (VIP, 8443)]
    assert list(schedule.ends(grouped())) == ends
    assert schedule.ends(service("rr", 1, 1)) == ()
    assert schedule.ends_for(service("rr", 1, 1), [VIP]) == ()
    sources = schedule.sources_for(grouped(), [VIP])
    tried = schedule.ends_for(grouped(), sources)
    # each end has a whole turn, so that it meets both real servers
    assert (len(tried) % 2, tried[:6]) == (0, tuple(end for end in ends for _ in range(2)))
    assert schedule.expected(grouped(), len(sources)) is not None


def test_a_client_that_stays_goes_to_every_end():
    sources = [ip_address(f"198.51.100.{n}") for n in range(1, 150)]
    stays = grouped(persistence_s=300)
    used = schedule.sources_for(stays, sources)
    tried = list(zip(used, schedule.ends_for(stays, used), strict=True))
    assert len(used) == schedule.AT_MOST // 3 * 3
    for source in set(used):
        assert {end for who, end in tried if who == source} == set(schedule.ends(stays))


def test_a_group_of_many_ends_is_tried_at_all_of_them():
    many = replace(grouped(), ends=tuple(End(VIP, port, port) for port in range(1, 65)))
    for scheduler in ("rr", "wlc", "mh", "sh"):
        one = replace(many, scheduler=scheduler)
        used = schedule.sources_for(one, [VIP])
        assert set(schedule.ends_for(one, used)) == set(schedule.ends(one)), scheduler
