"""Nobody but the director is ever heard of the VIP, and neighbours that were misled are told."""

import fcntl
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest
from labs import REFERENCE, reference
from runs import PATIENCE_S, VIP, transfers, wait_for

from onearm import reach
from onearm.places.remote import RemotePlace

pytestmark = pytest.mark.lab

OWN = "203.0.113.10"  # the neighbour's
MACS = {f"server-{n}": f"02:00:00:00:00:0{n + 2}" for n in (1, 2, 3)}
LOUD = "sysctl -q -w net.ipv4.conf.eth0.arp_ignore=0 net.ipv4.conf.eth0.arp_announce=0"
CLAIM = f"arping -q -c 1 -U -I eth0 {VIP}"


@pytest.fixture
def neighbour(lab, monkeypatch):
    """The machine beside the servers, which sees what they broadcast."""
    monkeypatch.setenv("ONEARM_LAB", lab.name)
    place = RemotePlace("neighbour", reach.lab_prefix("neighbour"), "test", PATIENCE_S)
    yield place
    place.close()


@pytest.fixture(autouse=True)
def clean(lab):
    """Take down what was applied, and what was made by hand."""
    yield
    lab.onearm("destroy", REFERENCE, "--yes", code=0)
    lab.sh("server-2", "ip link del eth-vip", check=False)


def _router_thinks(lab):
    words = lab.on("router", "ip", "neigh", "show", VIP).split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def _reached(lab, number):
    """Connect from one port over the router; the director knows of it."""
    url = f"http://{VIP}/"
    lab.on("client", "curl", "-s", "-m", "10", "--local-port", str(number), url)
    return f":{number} " in lab.on("server-1", "ipvsadm", "-Lcn")


def test_a_router_that_was_misled_reaches_the_director_after_apply(lab):
    lab.sh("server-2", f"ip link add eth-vip up type dummy; ip addr add {VIP}/32 dev eth-vip")
    lab.sh("router", f"ip neigh flush dev eth0; curl -s -m 5 http://{VIP}/")  # from others' tests
    assert _router_thinks(lab) == MACS["server-2"]
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    assert _router_thinks(lab) == MACS["server-1"]
    assert _reached(lab, 43001)


def test_it_is_told_also_when_the_run_died_after_the_silence(lab):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    lab.sh("router", f"curl -s -m 5 http://{VIP}/")  # only who knows somebody heeds a claim
    lab.sh("server-2", f"{LOUD}; {CLAIM}")
    assert _router_thinks(lab) == MACS["server-2"]
    _kill_at_the_first_line(lab)
    assert _router_thinks(lab) == MACS["server-2"]
    assert _untold(lab)
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    assert _router_thinks(lab) == MACS["server-1"]
    assert _reached(lab, 43002) and not _untold(lab)
    lab.onearm("plan", REFERENCE, "--check", code=0)


def _untold(lab):
    marks = json.loads(lab.on("server-2", "cat", "/var/lib/onearm/ledger.json"))["marks"]
    return [m for m in marks if m["resource"].get("announced") is False]


def _kill_at_the_first_line(lab):
    """Kill apply while it writes its first line: a full pipe keeps it from going on."""
    reader, writer = os.pipe()
    os.write(writer, b"." * fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096))
    process = lab.start("apply", REFERENCE, "--yes", stderr=writer)
    wait_for(lambda: _sysctls(lab) == ["1", "2"])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    os.close(writer)
    os.close(reader)


def test_a_change_of_policy_leaves_no_moment_without_silence(lab, neighbour):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    arptables = lab.spec("arp: arptables\n" + reference(), "arptables.yaml")
    neighbour.capture("all", [ip_address(VIP)])
    over = threading.Event()
    tempted = threading.Thread(target=_tempt, args=(lab, neighbour, over))
    tempted.start()
    try:
        with transfers(lab, 42001, 42002) as open_:
            lab.onearm("apply", arptables, "--yes", code=0)
            assert lab.on("server-2", "arptables-legacy", "-L", "-n").count(VIP) == 2
            assert _sysctls(lab) == ["0", "0"]
            lab.onearm("apply", REFERENCE, "--yes", code=0)
            assert VIP not in lab.on("server-2", "arptables-legacy", "-L", "-n")
            assert _sysctls(lab) == ["1", "2"]
            for transfer in open_.values():
                transfer.goes_on()
    finally:
        over.set()
        tempted.join()
    frames, lost = neighbour.captured("all")
    heard = [f.claimed_mac for f in frames if f.kind.startswith("arp") and f.source == VIP]
    assert lost == 0 and len(heard) > 5
    assert set(heard) == {MACS["server-1"]}


def _sysctls(lab):
    names = ("net.ipv4.conf.eth0.arp_ignore", "net.ipv4.conf.eth0.arp_announce")
    return lab.on("server-2", "sysctl", "-n", *names).split()


def _tempt(lab, neighbour, over):
    """Ask for the VIP, and make the servers ask for us with a reply from the VIP in hand."""
    with ThreadPoolExecutor(2) as pool:
        while not over.is_set():
            asked = pool.submit(neighbour.who_has, "eth0", ip_address(VIP), ip_address(OWN), 0.1)
            for host in ("server-2", "server-3"):
                lab.sh(host, f"ip neigh flush to {OWN}")
            lab.sh("neighbour", f"curl -s -m 2 http://{VIP}/ || true")
            asked.result()
