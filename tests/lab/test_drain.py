"""Connections while a spec changes: those of others go on, those of a leaving server may end."""

import json
import signal

import pytest
from labs import reference
from runs import stopped_after, transfers, wait_for

pytestmark = pytest.mark.lab

DRAINING = "^draining:"
ALONE = {"  server-3: 203.0.113.5\n": "", "[server-2, server-3]": "[server-2]"}


def _drains(seconds):
    return {"scheduler: rr": f"scheduler: rr\n    drain: {seconds}s"}


def _weights(lab):
    rows = [line.split() for line in lab.on("server-1", "ipvsadm", "-Sn").splitlines()]
    return {row[4]: row[7] for row in rows if row[0] == "-a"}


def _since(lab):
    """Read since when a destination drains from its mark."""
    ledger = json.loads(lab.on("server-1", "cat", "/var/lib/onearm/ledger.json"))
    found = [mark["resource"].get("draining_since") for mark in ledger["marks"]]
    return [since for since in found if since]


def _nothing_of_ours(lab, host):
    return lab.sh(host, "ls /var/lib/onearm; ip -o address | grep -c 203.0.113.2/ || true") == "0\n"


def test_a_real_server_that_leaves_ends_its_connections_first(lab):
    lab.onearm("apply", lab.spec(reference(**_drains(300))), "--yes", code=0)
    alone = lab.spec(reference(**ALONE, **_drains(300)), "alone.yaml")
    with transfers(lab, 41001, 41002) as open_:
        run = lab.start("apply", alone, "--yes")
        wait_for(lambda: _weights(lab) == {"203.0.113.4:80": "1", "203.0.113.5:80": "0"})
        open_["server-3"].goes_on()
        assert run.poll() is None
        open_["server-3"].end()
        out, err = run.communicate(timeout=60)
        assert run.returncode == 0, (out, err)
        assert "draining: waiting for connections to end, or for the deadline" in err
        open_["server-2"].goes_on()
    assert _weights(lab) == {"203.0.113.4:80": "1"}
    assert _nothing_of_ours(lab, "server-3")


def test_killed_or_interrupted_it_goes_on_to_the_first_deadline(lab):
    lab.onearm("apply", lab.spec(reference(**_drains(300))), "--yes", code=0)
    alone = lab.spec(reference(**ALONE, **_drains(300)), "alone.yaml")
    with transfers(lab, 41003, 41004) as open_:
        ended = stopped_after(lab, DRAINING, "apply", alone, "--yes", number=signal.SIGINT)
        assert ended[0] == 130, ended
        assert "interrupted: ending after the batch in hand" in ended[2]
        assert "interrupted: run it again to go on from here" in ended[1]
        first = _since(lab)
        assert len(first) == 1
        assert stopped_after(lab, DRAINING, "apply", alone, "--yes")[0] == -signal.SIGKILL
        assert _since(lab) == first
        open_["server-3"].goes_on()
        over = lab.spec(reference(**ALONE, **_drains(1)), "over.yaml")
        assert "draining" not in lab.onearm("apply", over, "--yes", code=0).err
        open_["server-2"].goes_on()
    assert _nothing_of_ours(lab, "server-3")


def test_without_drain_the_plan_says_how_many_connections_are_cut(lab):
    lab.onearm("apply", lab.spec(reference()), "--yes", code=0)
    alone = lab.spec(reference(**ALONE), "alone.yaml")
    with transfers(lab, 41005, 41006, 41007, 41008):
        assert "cuts 2 connections" in lab.onearm("plan", alone, code=0).out


def test_destroy_drains_too(lab):
    spec = lab.spec(reference(**_drains(300)))
    lab.onearm("apply", spec, "--yes", code=0)
    with transfers(lab, 41009) as open_:
        run = lab.start("destroy", spec, "--yes")
        wait_for(lambda: set(_weights(lab).values()) == {"0"})
        (transfer,) = open_.values()
        transfer.goes_on()
        assert run.poll() is None
        transfer.end()
        out, err = run.communicate(timeout=60)
        assert run.returncode == 0, (out, err)
    assert all(_nothing_of_ours(lab, host) for host in ("server-1", "server-2", "server-3"))


def test_a_long_transfer_goes_on_whatever_happens_to_others(lab):
    members = "{server-2: {weight: 1}, server-3: {weight: 5}}"
    heavy = reference(**{"rr": "wrr", "[server-2, server-3]": members})
    more = (
        "  - {vip: 203.0.113.2, port: 8080/tcp}\n  - {vip: 203.0.113.9, port: 80/tcp}\nreach: lab"
    )
    more = reference(**{"reach: lab": more})
    lab.onearm("apply", lab.spec(reference()), "--yes", code=0)
    with transfers(lab, 41011, 41012) as open_:
        long = open_["server-2"]
        for text in (heavy, reference(**ALONE), more, reference()):
            lab.onearm("apply", lab.spec(text), "--yes", code=0)
            assert long.server_now() == "server-2"
            long.goes_on()
    lab.onearm("destroy", lab.spec(reference()), "--yes", code=0)
