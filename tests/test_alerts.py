"""What a snapshot means: every trouble is named, the gravest first, and health is health."""

from dataclasses import replace

import pytest

import pictures
from onearm.alerts import BAD, WARN, WELL, alerts, verdict
from onearm.snapshot import Claimant

SMALL = pictures.small()
(SERVICE,) = SMALL.services


def service(**fields):
    return replace(SMALL, services=(replace(SERVICE, **fields),))


def servers(**fields):
    return service(servers=(replace(SERVICE.servers[0], **fields), SERVICE.servers[1]))


STRANGER = Claimant("02:00:00:00:00:05")
CASES = [
    (replace(SMALL, vips=(pictures.vip(claimants=(STRANGER,)),)), BAD, "02:00:00:00:00:05 answers"),
    (replace(SMALL, vips=(replace(pictures.vip(), announced=False),)), BAD, "is not announced"),
    (service(panic=True), BAD, "too few are healthy"),
    (service(sorry=True), BAD, "nobody is healthy"),
    (
        service(servers=tuple(replace(s, weight=0) for s in SERVICE.servers)),
        BAD,
        "no server is in rotation",
    ),
    (service(quorum_met=False, quorum=2), WARN, "fewer than its quorum of 2"),
    (servers(state="down", weight=0, reason="why"), WARN, "server-2 is down"),
    (replace(SMALL, spec_error="line 3"), WARN, "The new spec was not taken"),
    (replace(SMALL, left=("a", "b"), converged=False), WARN, "2 differences could not be mended"),
    (replace(SMALL, troubles=("no port",)), WARN, "The daemon itself has trouble"),
]


@pytest.mark.parametrize(("snapshot", "level", "head"), CASES)
def test_each_trouble_is_an_alert_and_the_verdict(snapshot, level, head):
    (alert,) = alerts(snapshot)
    assert alert.level == level and head in alert.head
    assert verdict(snapshot) == replace(alert, text="")


def test_health_is_no_alert():
    assert alerts(SMALL) == ()
    found = verdict(SMALL)
    assert (found.level, found.head) == (WELL, "All is well: 2 of 2 in rotation")


def test_a_drain_is_told_and_is_no_alert():
    drained = servers(state="drained", weight=None)
    assert alerts(drained) == ()
    assert verdict(drained).head == "All is well: 1 of 2 in rotation, 1 drained or draining"


def test_the_gravest_comes_first_and_the_rest_is_counted():
    found = alerts(pictures.trouble())
    assert [alert.level for alert in found] == [BAD, WARN]
    assert verdict(pictures.trouble()).head.endswith("and 1 more thing")


def test_a_server_that_is_down_for_some_services_is_named_with_them():
    (alert,) = alerts(pictures.large())
    assert alert.head == "server-8 is down for 203.0.113.2:443/tcp"


def test_of_many_that_are_down_a_few_are_named():
    down = [pictures.server(n, "down") for n in range(2, 12)] + [pictures.server(12)]
    heads = [alert.head for alert in alerts(pictures.snapshot([pictures.service(down)]))]
    assert len(heads) == 5 and heads[-1] == "6 more servers are down"


def test_a_daemon_that_has_just_begun_says_so():
    assert verdict(replace(SMALL, rounds=0)).head == "The daemon has just begun"
