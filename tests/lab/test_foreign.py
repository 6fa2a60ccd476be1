"""What is not ours: left as it is, said, adopted only when asked for."""

import dumps
import pytest
from labs import REFERENCE, reference

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def before(lab):
    return dumps.whole(lab)


@pytest.fixture
def untouched(lab, before):
    """Whatever the test does, all is as before at its end."""
    yield
    left = dumps.difference(before, dumps.whole(lab))
    assert not left, left


def test_a_shared_director_keeps_its_sysctls_and_the_plan_says_what_that_costs(lab, untouched):
    lab.sh("server-1", "ipvsadm -A -t 203.0.113.20:80 -s rr")
    plan = lab.onearm("plan", REFERENCE, "--json", code=0).json()
    assert [f["id"] for f in plan["findings"]] == ["director.shared"]
    assert "shared_director: true" in plan["findings"][0]["cure"]
    assert not [a for a in plan["actions"] if "sysctl net.ipv4.vs" in a["text"]]
    consent = lab.spec(reference() + "shared_director: true\n")
    plan = lab.onearm("plan", consent, "--json", code=0).json()
    assert plan["findings"] == []
    assert len([a for a in plan["actions"] if "sysctl net.ipv4.vs" in a["text"]]) == 2
    lab.sh("server-1", "ipvsadm -D -t 203.0.113.20:80")


def test_a_destination_of_others_inside_our_service_is_left_alone(lab):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    lab.sh("server-1", "ipvsadm -a -t 203.0.113.2:80 -r 203.0.113.9:80 -g -w 5")
    weighty = lab.spec(
        reference(**{"rr": "wrr", "[server-2, server-3]": "{server-2: {weight: 2}}"})
    )
    lab.onearm("apply", weighty, "--yes", code=0)
    table = lab.on("server-1", "ipvsadm", "-Sn")
    assert "-a -t 203.0.113.2:80 -r 203.0.113.9:80 -g -w 5" in table
    assert "-a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 2" in table
    assert "203.0.113.5" not in table
    lab.onearm("destroy", weighty, "--yes", code=0)


def test_a_table_that_stands_is_adopted_in_one_run(lab, untouched):
    lab.sh(
        "server-1",
        "ipvsadm -A -t 203.0.113.2:80 -s rr;ipvsadm -a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 5",
    )
    lab.onearm("apply", REFERENCE, "--adopt", "--yes", code=0)
    lab.onearm("plan", REFERENCE, "--check", code=0)
    assert lab.onearm("apply", REFERENCE, "--adopt", "--yes", "--json", code=0).json()["done"] == []
    lab.onearm("destroy", REFERENCE, "--yes", code=0)
    assert "203.0.113.2" not in lab.on("server-1", "ipvsadm", "-Sn")


def test_what_differs_and_is_not_ours_is_refused_until_adopted(lab, untouched):
    lab.sh(
        "server-1", "ipvsadm -A -t 203.0.113.2:80 -s wlc; ip address add 203.0.113.2/27 dev eth0"
    )
    standing = dumps.small(lab)
    refused = lab.onearm("apply", REFERENCE, "--yes", code=3).err
    assert "nothing was changed" in refused and "--adopt" in refused
    assert "scheduler=wlc" in refused
    left = dumps.difference(standing, dumps.small(lab))
    assert not left, left
    lab.onearm("apply", REFERENCE, "--yes", "--adopt", code=0)
    lab.onearm("verify", REFERENCE, "--cold", "--strict", code=0)
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


def test_what_is_right_already_is_not_ours_and_stays(lab, untouched):
    lab.sh("server-1", "ipvsadm -A -t 203.0.113.2:80 -s rr")
    lab.sh("server-3", "ip link add eth-vip up type dummy; ip address add 192.0.2.3/32 dev eth-vip")
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    lab.onearm("destroy", REFERENCE, "--yes", code=0)
    assert lab.on("server-1", "ipvsadm", "-Sn") == "-A -t 203.0.113.2:80 -s rr\n"
    assert "192.0.2.3/32" in lab.on("server-3", "ip", "address", "show", "eth-vip")
    lab.sh("server-1", "ipvsadm -D -t 203.0.113.2:80")
    lab.sh("server-3", "ip link del eth-vip")
