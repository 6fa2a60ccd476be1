"""A destination that is no longer wanted keeps its connections for a while, and no longer."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from onearm.desire import desire
from onearm.drain import draining
from onearm.facts import DestinationFact, ServiceFact
from onearm.model import Destination, HeldVip, Mark, Service, state_key
from worlds import SERVERS, SERVICE, SPEC, VIP, facts

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
R1, R2 = (server.address for server in SERVERS)
SPEC_1 = replace(SPEC, services=(replace(SERVICE, members=SERVICE.members[:1], drain_s=300),))
GONE = Destination("tcp", VIP, 80, R2, host="r2")


def world(since=None, *, active=3, inactive=0, drain_s=300, protocol="tcp", names=("default",)):
    service = Service(protocol, VIP, 80, "rr", drain_s=drain_s)
    gone = replace(GONE, protocol=protocol, draining_since=since)
    figures = DestinationFact(R2, 80, 1, "direct", active, inactive)
    found = facts()
    found["d"] = replace(
        found["d"],
        services=(ServiceFact(protocol, VIP, 80, 0, "rr", destinations=(figures,)),),
        marks=(Mark(service, names), Mark(gone, names)),
    )
    return found


def kept(spec=SPEC_1, **how):
    return [d for pairs in draining(spec, world(**how), NOW).values() for _, d in pairs]


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat()


def test_draining_begins_now_and_is_remembered():
    (found,) = kept()
    assert (found.weight, found.draining_since, found.host) == (0, NOW.isoformat(), "r2")
    assert kept(since=ago(299))[0].draining_since == ago(299)


@pytest.mark.parametrize(
    "how",
    [
        {"since": ago(300)},
        {"active": 0, "inactive": 9},
        {"names": ("web",)},
        {"spec": SPEC},
        {"spec": replace(SPEC_1, services=(replace(SPEC_1.services[0], drain_s=0),))},
    ],
    ids=str,
)
def test_what_does_not_drain(how):
    assert kept(**how) == []


def test_udp_drains_until_its_entries_are_gone():
    spec = replace(SPEC_1, services=())
    assert kept(spec, protocol="udp", active=0, inactive=1)
    assert not kept(spec, protocol="udp", active=0, inactive=0)


@pytest.mark.parametrize(
    "since", ["", "soon", "2026-01-01T00:00:00", "9999-12-31T23:59:59+00:00", "\0"]
)
def test_a_moment_that_is_none_is_now(since):
    assert kept(since=since)[0].draining_since == NOW.isoformat()


@pytest.mark.parametrize("drain_s", [1e15, -1e15, 1e9])
def test_a_deadline_that_cannot_be_is_a_day(drain_s):
    spec = replace(SPEC_1, services=())
    assert not kept(spec, since=ago(24 * 3600), drain_s=drain_s)


def test_the_server_keeps_its_vip_while_it_drains():
    wanted = desire(SPEC_1, world(), NOW)
    assert ("HeldVip", VIP, "eth-vip") in wanted["r2"]
    assert wanted["d"][state_key(Destination("tcp", VIP, 80, R2))].weight == 0
    assert HeldVip(VIP) not in desire(SPEC_1, world(active=0), NOW)["r2"].values()
