"""What counts can show of a scheduler."""

from dataclasses import replace

import pytest

from onearm import schedule
from onearm.spec import Member
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
