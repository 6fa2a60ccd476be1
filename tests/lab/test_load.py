"""The load generator tells the truth: what it counts is what the director's kernel counted."""

from collections import Counter

import pytest
from labs import REFERENCE
from loads import failed, load
from runs import wait_for

from onearm.lab.faults import planted

pytestmark = pytest.mark.lab
VIP = "203.0.113.2"
SERVERS = {"203.0.113.4:80": "server-2", "203.0.113.5:80": "server-3"}
# What is broken, where, how new connections fail there, and how transfers that are there.
FAULTS = (
    ("server-rejects", "server-2", "refused", {"timed_out"}),
    ("server-resets", "server-3", "refused", {"reset"}),
    ("listen-nowhere", "server-2", "refused", {"reset", "short"}),
    ("vip-missing", "server-3", "timed_out", {"timed_out"}),
    ("server-hangs", "server-2", "timed_out", {"timed_out"}),
    ("pair-missing-ovn", "server-2", "timed_out", {"timed_out"}),
    ("pair-missing-server", "server-3", "timed_out", {"timed_out"}),
)


@pytest.fixture(scope="module")
def healthy(lab):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    yield lab
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


def connections(lab):
    """How many connections the director has handed to each real server."""
    rows = [
        line.split()
        for line in lab.on("server-1", "ipvsadm", "-Ln", "--stats", "--exact").splitlines()
    ]
    return Counter(
        {SERVERS[row[1]]: int(row[2]) for row in rows if row[0] == "->" and row[1] in SERVERS}
    )


def handed(lab, before, expected):
    """See that the director handed out that many; its figures come every two seconds."""

    def now():
        found = connections(lab)
        found.subtract(before)
        return found

    def why():
        entries = lab.on("server-1", "ipvsadm", "-Lcn")
        return f"{now()} are not {expected}; entries:\n{entries}"

    wait_for(lambda: now() == expected, why)


def ended(result, server):
    """How many connections came to an end, well or not, at a server that answered, or at none."""
    kinds = (result["connections"], result["transfers"])
    ours = sum(kind["servers"].get(server or "", 0) for kind in kinds)
    ours += result["transfers"]["on"].get(server or "", 0)
    return ours + sum(one["server"] == server for one in result["failures"])


def test_without_a_fault_nothing_fails(healthy):
    before = connections(healthy)
    with load(healthy, "--seconds", "10") as running:
        assert running.process.wait(timeout=60) == 0
        result = running.stop()
    short, long = result["connections"], result["transfers"]
    assert not failed(result) and not result["failures"]
    assert short["started"] == short["finished"] > 500 and not short["open"]
    assert long["started"] == long["open"] == 20 and long["bytes"] > 20 * 50_000 * 5
    assert result["skipped"] + short["started"] == pytest.approx(1000, abs=10)
    handed(healthy, before, {server: ended(result, server) for server in SERVERS.values()})


@pytest.mark.parametrize(("fault", "host", "new", "old"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_fault_is_counted_as_the_director_counts(healthy, fault, host, new, old):
    other = next(server for server in SERVERS.values() if server != host)
    before = connections(healthy)
    with load(healthy, "--timeout", "2", "--rate", "50", "--transfers", "10") as running:
        was = running.second()["transfers"]["on"]
        planted.add(healthy.name, fault, host)
        running.wait(lambda last: host not in last["transfers"]["on"])
        running.pass_seconds(1)
        planted.clear(healthy.name)
        running.wait(lambda last: host in last["connections"]["servers"])
        running.pass_seconds(2)
        result = running.stop()
    short, long = result["connections"], result["transfers"]
    assert Counter(short["failed"]).most_common(1)[0][0] == new  # some were half way
    assert set(long["interrupted"]) <= old
    assert sum(long["interrupted"].values()) == was[host]
    assert {one["server"] for one in result["failures"]} <= {host, None}
    broken = ended(result, host) + ended(result, None)
    handed(healthy, before, {other: ended(result, other), host: broken})
    assert not running.lines()[-2]["connections"]["failed"]  # it is over


def test_a_transfer_that_has_all_its_bytes_is_followed_by_another(healthy):
    with load(healthy, "--rate", "0", "--transfers", "4", "--length", "20000") as running:
        running.wait(lambda last: last["second"] >= 3)
        result = running.stop()
    long = result["transfers"]
    assert not failed(result) and not result["connections"]["started"]
    assert long["finished"] >= 12
    assert long["bytes"] - 20_000 * long["finished"] in range(20_000 * long["open"] + 1)


def test_nobody_at_the_vip_is_counted_without_a_server(healthy):
    with load(healthy, "--vip", "203.0.113.29", "--timeout", "1", "--rate", "20") as running:
        running.pass_seconds(2)
        result = running.stop()
    assert not result["connections"]["finished"] and not result["transfers"]["bytes"]
    assert sum(result["connections"]["failed"].values()) == result["connections"]["started"]
    assert {one["server"] for one in result["failures"]} == {None}


def test_people_see_who_answers(healthy):
    said = healthy.process("lab", "load", "--seconds", "3", code=0).out.splitlines()
    assert all(len(line) <= 80 for line in said)
    assert "server-2" in said[0] and "server-3" in said[0]
    assert said[-1] == "nothing failed or was interrupted"


def test_its_exit_code_says_whether_something_failed(healthy):
    words = ("lab", "load", "--vip", "203.0.113.29", "--timeout", "1", "--seconds", "2")
    assert "connections failed: " in healthy.process(*words, code=5).out
