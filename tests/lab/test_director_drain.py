"""What a daemon keeps through everything: drains, and who its health took out."""

import json

import pytest
from directors import CHECKED, HOST, director, rotation
from loads import load

from onearm.lab.faults import planted

pytestmark = pytest.mark.lab


def test_one_drained_and_one_down_is_no_drift_and_survives_sigkill(lab):
    with director(lab) as daemon:
        daemon.wait(lambda: len(rotation(lab)) == 2)
        lab.onearm("drain", "server-2", "--spec", daemon.spec, code=0)
        planted.add(lab.name, "listen-nowhere", "server-3")
        daemon.wait(lambda: "server-3" not in rotation(lab))
        drained = rotation(lab)
        assert not drained.get("server-2")

        def unchanged():
            lab.onearm("plan", daemon.spec, "--check", code=0)
            assert lab.onearm("apply", daemon.spec, "--yes", "--json", code=0).json()["done"] == []
            assert rotation(lab) == drained

        unchanged()
        daemon.kill()
        assert rotation(lab) == drained
        daemon.start()
        unchanged()
        planted.clear(lab.name)
        daemon.wait(lambda: rotation(lab).get("server-3") == 1)
        assert not rotation(lab).get("server-2")
        lab.onearm("undrain", "server-2", "--spec", daemon.spec, code=0)
        daemon.wait(lambda: rotation(lab) == {"server-2": 1, "server-3": 1})
        again = lab.onearm("undrain", "server-2", "--spec", daemon.spec, code=2)
        assert "server-2 is not drained by hand" in again.err


def test_what_was_answered_outlives_the_sigkill_that_follows(lab):
    with director(lab) as daemon:
        daemon.wait(lambda: len(rotation(lab)) == 2)
        assert daemon.last_word(do="drain", host="server-2") == {"host": "server-2"}
        daemon.start()
        daemon.wait(lambda: not rotation(lab).get("server-2"))
        assert daemon.last_word(do="undrain", host="server-2") == {"host": "server-2"}
        daemon.start()
        daemon.wait(lambda: rotation(lab) == {"server-2": 1, "server-3": 1})


def test_a_server_that_comes_and_goes_is_noted_for_the_next_apply(lab):
    """The daemon alone writes the ledger of its host, also the names of an apply's hosts."""

    def noted():
        return json.loads(lab.on(HOST, "cat", "/var/lib/onearm/ledger.json"))["hosts"]["default"]

    with director(lab) as daemon:
        less = CHECKED.replace("  server-3: 203.0.113.5\n", "")
        for text, more in ((less, []), (CHECKED, ["server-3"])):
            lab.onearm("apply", lab.spec(text, "hosts.yaml"), "--yes", code=0)
            assert noted() == ["server-1", "server-2", *more]
        daemon.wait(lambda: len(rotation(lab)) == 2)


def test_a_deadline_cuts_who_is_not_ready_and_counts_them(lab):
    """Of 50 transfers on server-2, 25 end by themselves and 25 would go on for ever."""
    many = ("--rate", "0", "--transfers", "50")
    with (
        director(lab, CHECKED) as daemon,
        load(lab, *many, "--pace", "5000", "--timeout", "20") as endless,
        load(lab, *many, "--pace", "20000", "--length", "200000") as short,
    ):
        short.wait(lambda last: last["transfers"]["on"] == {"server-2": 25, "server-3": 25})
        endless.wait(lambda last: last["transfers"]["on"] == {"server-2": 25, "server-3": 25})
        drain = lab.start("drain", "server-2", "--deadline", "25s", "--spec", daemon.spec)
        short.wait(lambda last: set(last["transfers"]["on"]) == {"server-3"})
        assert endless.second()["transfers"]["on"]["server-2"] == 25
        out, err = drain.communicate(timeout=60)
        assert drain.returncode == 0, (out, err)
        endless.wait(lambda last: set(last["transfers"]["on"]) == {"server-3"})
        cut, finished = endless.stop()["transfers"], short.stop()["transfers"]
    assert sum(cut["interrupted"].values()) == 25 and not cut["failed"]
    assert not finished["interrupted"] and not finished["failed"]
    assert finished["servers"]["server-2"] >= 25
    assert "25 connections cut" in out + err, (out, err)


def test_who_starts_to_answer_for_the_vip_is_named(lab):
    with director(lab) as daemon:
        planted.add(lab.name, "arp-answers", "server-2")
        daemon.wait(lambda: daemon.said("arp"))
        planted.clear(lab.name)
        (vip,) = daemon.snapshot()["vips"]
    assert [(one["mac"], one["host"]) for one in vip["claimants"]] == [
        ("02:00:00:00:00:04", "server-2")
    ]
    assert "server-2" in daemon.said("arp")[0] and "02:00:00:00:00:04" in daemon.said("arp")[0]


def test_a_dead_server_never_makes_a_healthy_one_fail(lab):
    """Both are probed until every source port was used more than once."""
    quick = CHECKED.replace("interval: 500ms, timeout: 500ms", "interval: 100ms, timeout: 100ms")
    with director(lab, quick) as daemon:
        planted.add(lab.name, "vip-missing", "server-2")
        daemon.wait(lambda: rotation(lab) == {"server-3": 1})

        def checks():
            ((two, three),) = [one["servers"] for one in daemon.snapshot()["services"]]
            return two["check"], three["check"]

        for _ in range(4):  # each wait has its patience; snapshots cost the guest time
            enough = checks()[1]["good"] + 80
            daemon.wait(lambda enough=enough: checks()[1]["good"] >= enough)
        dead, alive = checks()
        planted.clear(lab.name)
    # A probe may be late in a busy guest; one that goes astray would be so each time.
    assert dead["bad"] > 100 and alive.get("bad", 0) < 10, (dead, alive)
    assert not [line for line in daemon.said("health") if "server-3" in line][1:]
