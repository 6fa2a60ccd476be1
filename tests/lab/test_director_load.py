"""A daemon under load: what clients lose when something breaks, and when the daemon itself does."""

import pytest
from directors import CHECKED, HOME, HOST, director, rotation
from loads import failed, load, told

from onearm.lab.faults import planted

pytestmark = pytest.mark.lab
BOTH = {"server-2": 1, "server-3": 1}
RAMPED = CHECKED.replace("scheduler: wrr\n", "scheduler: wrr\n    slow_start: 5s\n")
SECOND = CHECKED.replace("reach:", "  - {vip: 203.0.113.9, port: 80/tcp, scheduler: wrr}\nreach:")
RELOADS = 100
# Every reload has another weight, and is waited for in the kernel itself.
RELOAD = f"""
for i in $(seq {RELOADS}); do
    sed "s/weight: [0-9]*/weight: $((i % 7 + 2))/" {HOME} >{HOME}.new
    mv {HOME}.new {HOME}
    [ $((i % 2)) = 0 ] || kill -HUP "$(cat /run/director.pid)"
    until ipvsadm -Sn | grep -q -e "-r 203.0.113.4:80 .*-w $((i % 7 + 2))$"; do sleep 0.02; done
done
"""


def healthy(daemon):
    daemon.wait(lambda: rotation(daemon.lab) == BOTH)


def test_a_server_that_lost_the_vip_leaves_and_only_who_was_there_loses(lab):
    with director(lab, RAMPED) as daemon, load(lab, "--timeout", "3") as running:
        daemon.wait(lambda: len(set(rotation(lab).values())) == 1)
        full = rotation(lab)
        planted.add(lab.name, "vip-missing", "server-2")
        daemon.wait(lambda: "server-2" not in rotation(lab))
        gone = daemon.at("round", "destination server-2")
        running.wait(lambda last: set(last["connections"]["servers"]) == {"server-3"})
        running.pass_seconds(4)
        planted.clear(lab.name)
        daemon.wait(lambda: 0 < rotation(lab).get("server-2", 0) < full["server-2"])  # it grows
        running.wait(lambda last: last["connections"]["servers"].get("server-2"))
        daemon.wait(lambda: rotation(lab) == full)
        result = running.stop()
    assert failed(result)
    assert {one["server"] for _, _, one in told(result)} <= {"server-2", None}
    assert [one for begun, _, one in told(result) if begun > gone] == []
    why = "the server is up but does not serve the VIP"
    assert [line for line in daemon.said("health") if why in line], daemon.log()


def test_a_server_that_lost_one_of_two_vips_keeps_the_other(lab):
    with director(lab, SECOND) as daemon:
        daemon.wait(lambda: rotation(lab) == rotation(lab, "203.0.113.9") == BOTH)
        lab.sh("server-2", "ip address del 203.0.113.9/32 dev eth-vip")
        daemon.wait(lambda: rotation(lab, "203.0.113.9") == {"server-3": 1})
        assert rotation(lab) == BOTH
        lab.sh("server-2", "ip address add 203.0.113.9/32 dev eth-vip")
        daemon.wait(lambda: rotation(lab, "203.0.113.9") == BOTH)
        assert not [line for line in daemon.said("health") if "server-2 of 203.0.113.2:80" in line][
            1:
        ]


def test_killed_and_started_again_it_costs_no_connection(lab):
    with director(lab) as daemon, load(lab) as running:
        healthy(daemon)
        daemon.kill()
        running.pass_seconds(3)
        assert rotation(lab) == BOTH
        daemon.start()
        running.pass_seconds(3)
        assert daemon.stop() == 0
        running.pass_seconds(2)
        assert rotation(lab) == BOTH
        daemon.start()  # as by an upgrade
        running.pass_seconds(3)
        healthy(daemon)
        result = running.stop()
    assert failed(result) == 0, result["failures"]
    assert result["connections"]["finished"] == result["connections"]["started"] > 500


def test_a_hundred_reloads_cost_no_connection(lab):
    members = "    real_servers: {server-2: {weight: 1}, server-3: {weight: 1}}\n"
    weighed = CHECKED.replace("reach:", f"{members}reach:")
    with director(lab, weighed) as daemon, load(lab, "--rate", "50") as running:
        healthy(daemon)
        lab.on(HOST, "sh", "-ec", RELOAD, timeout=300)
        assert daemon.snapshot()["reloads"] >= RELOADS
        running.pass_seconds(2)
        result = running.stop()
    assert failed(result) == 0, result["failures"]


def test_what_a_hostile_hand_clears_is_rebuilt(lab):
    with director(lab) as daemon, load(lab) as running:
        healthy(daemon)
        lab.on(HOST, "ipvsadm", "-C")
        daemon.wait(lambda: rotation(lab) == BOTH)
        back = daemon.at("round", "create destination server-")
        running.pass_seconds(3)
        result = running.stop()
    broken = told(result)
    assert broken
    assert [one for begun, _, one in broken if begun > back + 0.1] == []
    print(f"proved: ipvsadm -C: {failed(result)} of {result['connections']['started']} and 20 lost")
