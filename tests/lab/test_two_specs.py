"""Two specs on the same hosts: each has its own, and what they share goes with the last."""

import dumps
import pytest
from labs import reference

pytestmark = pytest.mark.lab

SHARED = ("net.ipv4.conf.eth0.arp_ignore", "net.ipv4.conf.eth0.arp_announce")


def _spec(lab, name, vip, port, scheduler="wlc"):
    text = reference(**{"203.0.113.2": vip, "80/tcp": f"{port}/tcp", "rr": scheduler})
    return lab.spec(f"name: {name}\n{text}", f"{name}.yaml")


@pytest.fixture(scope="module")
def before(lab):
    return dumps.whole(lab)


def test_specs_with_a_vip_each(lab, before):
    one = _spec(lab, "one", "203.0.113.2", 80)
    two = _spec(lab, "two", "203.0.113.20", 8080)
    lab.onearm("apply", one, "--yes", code=0)
    lab.onearm("apply", two, "--yes", code=0)
    lab.onearm("destroy", one, "--yes", code=0)
    lab.onearm("verify", two, "--cold", "--strict", code=0)
    assert lab.on("server-2", "sysctl", "-n", *SHARED).split() == ["1", "2"]
    lab.onearm("destroy", two, "--yes", code=0)
    left = dumps.difference(before, dumps.whole(lab))
    assert not left, left


def test_specs_that_share_a_vip(lab, before):
    one = _spec(lab, "one", "203.0.113.2", 80)
    two = _spec(lab, "two", "203.0.113.2", 8080)
    lab.onearm("apply", one, "--yes", code=0)
    lab.onearm("apply", two, "--yes", code=0)
    _refuse_a_third_that_wants_it_otherwise(lab)
    lab.onearm("destroy", two, "--yes", code=0)
    assert "203.0.113.2:8080" not in lab.on("server-1", "ipvsadm", "-Sn")
    lab.onearm("verify", one, "--cold", "--strict", code=0)
    lab.onearm("destroy", one, "--yes", code=0)
    left = dumps.difference(before, dumps.whole(lab))
    assert not left, left


def _refuse_a_third_that_wants_it_otherwise(lab):
    third = _spec(lab, "third", "203.0.113.2", 80, "rr")
    standing = dumps.small(lab)
    refused = lab.onearm("apply", third, "--yes", code=3)
    assert "nothing was changed" in refused.err
    assert "the spec 'one' wants" in refused.err
    assert "scheduler=wlc" in refused.err and "scheduler=rr" in refused.err
    left = dumps.difference(standing, dumps.small(lab))
    assert not left, left
