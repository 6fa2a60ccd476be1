"""Hosts that do not answer, are left aside, leave, or change what they are."""

import dumps
import pytest
from labs import HOSTS, REFERENCE, reference

pytestmark = pytest.mark.lab

ALONE = {"  server-3: 203.0.113.5\n": "", "[server-2, server-3]": "[server-2]"}
HEAVY = {"rr": "wrr", "[server-2, server-3]": "{server-2: {weight: 5}, server-3: {weight: 6}}"}
SILENT = {"reach: lab": 'reach: {default: lab, server-3: ["false"]}'}
MOVED = {"server-1: 203.0.113.3": "neighbour: 203.0.113.10"}


@pytest.fixture(scope="module", autouse=True)
def untouched(lab):
    before = dumps.whole(lab, (*HOSTS, "neighbour"))
    yield
    left = dumps.difference(before, dumps.whole(lab, (*HOSTS, "neighbour")))
    assert not left, left


@pytest.fixture
def applied(lab):
    lab.onearm("apply", REFERENCE, "--yes", code=0)


def _table(lab):
    rows = [line.split() for line in lab.on("server-1", "ipvsadm", "-Sn").splitlines()]
    return {row[4]: row[7] for row in rows if row[0] == "-a"}


def test_the_rest_goes_on_while_a_real_server_does_not_answer(lab, applied):
    outcome = lab.onearm("apply", lab.spec(reference(**HEAVY, **SILENT)), "--yes", code=4)
    assert "out server-3: no answer, false ended with code 1" in outcome.out
    assert _table(lab) == {"203.0.113.4:80": "5", "203.0.113.5:80": "6"}
    outcome = lab.onearm("apply", REFERENCE, "--yes", "--limit", "server-1", "--json", code=4)
    assert set(outcome.json()["out"]) == {"server-2", "server-3"}
    assert _table(lab) == {"203.0.113.4:80": "1", "203.0.113.5:80": "1"}
    standing = dumps.small(lab)
    lab.onearm("destroy", lab.spec(reference(**SILENT)), "--yes", code=4)
    now = dumps.small(lab)
    assert now["server-2"] == standing["server-2"]
    assert "203.0.113.2/32" in now["server-1"] and _table(lab)


def test_a_host_that_left_is_cleaned_or_named_and_forgotten(lab, applied):
    silent = lab.spec(reference(**ALONE, **SILENT), "silent.yaml")
    done = lab.onearm("apply", silent, "--yes", code=0)
    assert "forgotten server-3, which left the spec" in done.out
    assert "nothing to do" in lab.onearm("plan", silent, "--check", code=0).out
    assert "eth-vip" in lab.on("server-3", "ip", "-br", "link")
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    lab.onearm("apply", lab.spec(reference(**ALONE)), "--yes", code=0)
    assert "eth-vip" not in lab.on("server-3", "ip", "-br", "link")
    assert lab.on("server-3", "find", "/var/lib/onearm", "-type", "f") == ""


def test_a_director_moves_but_becomes_no_real_server(lab, applied):
    swapped = (
        reference().replace("server-1: 203.0.113.3", "x").replace("server-2: 203.0.113.4", "y")
    )
    swapped = swapped.replace("x", "server-2: 203.0.113.4").replace("y", "server-1: 203.0.113.3")
    swapped = lab.spec(swapped.replace("[server-2, server-3]", "[server-1, server-3]"))
    standing = dumps.small(lab)
    refused = lab.onearm("apply", swapped, "--yes", code=3).err
    assert "server-1 is a director so far and would become a real server" in refused
    assert "server-2 is a real server so far and would become a director" in refused
    assert not dumps.difference(standing, dumps.small(lab))

    moved = lab.spec(reference(**MOVED), "moved.yaml")
    lab.onearm("apply", moved, "--yes", code=0)
    assert lab.on("server-1", "ipvsadm", "-Sn") == ""
    assert "203.0.113.2/" not in lab.on("server-1", "ip", "-o", "address")
    url = "http://203.0.113.2/"
    lab.on("client", "curl", "-s", "-m", "10", "--local-port", "44001", url)
    assert ":44001 " in lab.on("neighbour", "ipvsadm", "-Lcn")
    lab.onearm("destroy", moved, "--yes", code=0)
