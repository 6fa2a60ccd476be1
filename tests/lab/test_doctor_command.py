"""`onearm doctor` and `onearm trace` as users call them, and that they change nothing."""

import json
import os
import signal
import sys
import time

import dumps
import pytest
from labs import HOSTS, REFERENCE, Lab, reference
from runs import wait_for

from onearm.lab import client
from onearm.lab.faults import planted

pytestmark = pytest.mark.lab
EVERYWHERE = (*HOSTS, "client", "neighbour", "router")
# Processes of ours and packet sockets: what a diagnosis uses and may not leave.
LEFT = (
    "ps -eo args | grep -c '[o]nearm/node-' || true; ss -H0 | wc -l; ls /run/onearm; ipvsadm -Sn;"
    " iptables-legacy-save | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'"
)
SILENT_HOST = """\
reach:
  server-1: [{python}, -Im, onearm, lab, exec, server-1, --]
  server-2: [sh, -c, sleep 1000]
  server-3: [{python}, -Im, onearm, lab, exec, server-3, --]"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab of its own, where every command line is a process: what one leaves is the question."""
    name = f"lt-doctor-command-{os.getpid()}"
    info = client.up(name)
    print(f"proved: lab {name} up: {info.backend}, kernel {info.kernel}")
    yield Lab(name, tmp_path_factory.mktemp("doctor"))
    client.down(name)


@pytest.fixture(scope="module", autouse=True)
def applied(lab):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    lab.onearm("doctor", REFERENCE, code=0)  # from now on every host has the node's file


@pytest.fixture
def fault(lab):
    """Plant faults that are gone after the test."""
    yield lambda identity, host=None: planted.add(lab.name, identity, host)
    planted.clear(lab.name)


def state(lab):
    return dumps.whole(lab), {host: lab.sh(host, LEFT, check=False) for host in EVERYWHERE}


def unfinished(lab):
    """Name the hosts where something of a diagnosis still runs."""
    return [h for h in EVERYWHERE if not lab.sh(h, LEFT, check=False).startswith("0\n0\n")]


def test_a_healthy_lab_is_proved_and_nothing_is_changed(lab):
    before = state(lab)
    said = lab.onearm("doctor", REFERENCE, code=0).out
    assert said == "nothing wrong was found; 5 of 5 properties proved by 16 connections\n"
    after = state(lab)
    assert not dumps.difference(before[0], after[0])
    assert before[1] == after[1]


def test_passive_sends_nothing_and_says_that_it_proved_nothing(lab):
    counted = "ipvsadm -Ln --stats --exact | grep TCP; ip -s link show eth0 | sed -n 4p"
    before = lab.sh("server-1", counted)
    said = lab.onearm("doctor", REFERENCE, "--passive", code=0).out
    assert "nothing was sent, so nothing is proved" in said
    assert lab.sh("server-1", counted) == before


def test_a_fault_is_told_in_80_columns_and_as_an_object(lab, fault):
    fault("vip-missing")
    said = lab.onearm("doctor", REFERENCE, code=5).out
    assert said.startswith("error vip.missing  server-2\n")
    assert "because of it: server-2 got 8 connections" in said
    assert max(map(len, said.splitlines())) <= 80
    data = lab.onearm("doctor", REFERENCE, "--json", code=5).json()
    (found,) = data["findings"]
    assert (found["id"], found["party"], found["severity"]) == ("vip.missing", "server-2", "error")
    assert found["cure"].endswith("ip address add 203.0.113.2/32 dev eth-vip")
    assert found["explains"][0]["id"] == "hop.server_unanswered"
    assert data["exit_code"] == 5
    assert lab.onearm("doctor", REFERENCE, "--passive", "--json", code=5).json()["passive"]


def test_the_printed_cure_cures(lab, fault):
    fault("vip-missing")
    (found,) = lab.onearm("doctor", REFERENCE, "--json", code=5).json()["findings"]
    lab.sh("server-2", found["cure"])
    lab.onearm("doctor", REFERENCE, code=0)


def test_fix_applies_what_onearm_can_cure_and_no_more(lab, fault):
    fault("destination-gone")
    assert lab.onearm("doctor", REFERENCE, "--fix", code=2).err  # nobody can be asked
    said = lab.onearm("doctor", REFERENCE, "--fix", "--yes", code=0).out
    assert "error ipvs.destination  server-1" in said
    assert "create destination server-2" in said
    lab.onearm("doctor", REFERENCE, code=0)
    planted.clear(lab.name)
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    fault("listen-nowhere")
    said = lab.onearm("doctor", REFERENCE, "--fix", "--yes", code=5).out
    assert "onearm itself can cure none of it" in said


def test_a_host_that_does_not_answer_is_a_finding(lab):
    spec = reference(**{"reach: lab": SILENT_HOST.format(python=sys.executable)})
    began = time.monotonic()
    prefix = f"{sys.executable} -Im onearm lab exec client --"
    data = lab.onearm("doctor", lab.spec(spec), "--client", prefix, "--json", code=5).json()
    found = {f["id"]: f["party"] for f in data["findings"]}
    print(f"proved: doctor with a host that hangs: {time.monotonic() - began:.1f} s")
    assert found == {"host.unreachable": "server-2"}
    assert data["unproved"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_it_leaves_nothing_behind(lab, number):
    before = state(lab)
    for wait in (0.8, 2.0, 3.0):
        process = lab.start("doctor", REFERENCE)
        time.sleep(wait)
        process.send_signal(number)
        process.communicate(timeout=30)
    wait_for(lambda: not unfinished(lab), lambda: unfinished(lab))
    after = state(lab)
    assert not dumps.difference(before[0], after[0])
    assert before[1] == after[1]


def test_a_trace_shows_the_whole_ladder(lab):
    said = lab.onearm("trace", REFERENCE, "--via", "server-3", code=0).out
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    back = lines[lines.index(" <- SYN ACK") + 1].split()
    assert back[1:4] == ["server-3", "eth0", "out"]
    assert back[4:] == ["02:00:00:00:00:05", ">", "02:00:00:00:00:01", "router"]
    assert "the client saw: answered" in lines[-1]
    rungs = [line.split()[:2] for line in lines if line.startswith((" -", " <"))]
    assert rungs[:5] == [
        ["->", "SYN"],
        ["<-", "SYN"],
        ["->", "ACK"],
        ["->", "data"],
        ["<-", "data"],
    ]


MISSING = [
    ("pair-missing-director", ["server-2", "eth0", "in"], "SYN"),
    ("pair-missing-server", ["client", "", "in"], "SYN ACK"),
    ("server-drops", ["server-2", "eth0", "out"], "SYN ACK"),
    ("group-stateful", ["server-1", "eth0", "in"], "ACK"),
    ("router-drops", ["server-1", "eth0", "in"], "SYN"),
    ("director-out-drops", ["server-1", "eth0", "out"], "SYN"),
]


@pytest.mark.parametrize(("identity", "stop", "label"), MISSING, ids=[m[0] for m in MISSING])
def test_a_trace_says_where_it_ends(lab, fault, identity, stop, label):
    one = fault(identity)
    data = lab.onearm("trace", REFERENCE, "--json", *via(identity), code=5).json()
    missing = [(r["label"], s) for r in data["rungs"] for s in r["stops"] if s["missing"]]
    assert len(missing) == 1
    found, where = missing[0]
    way = "out" if where["outgoing"] else "in"
    assert [where["host"], where["link"], way] == stop
    assert found == label
    assert data["findings"][:1] == [one.fault.finding]


def via(identity):
    hit = identity not in ("router-drops", "director-out-drops", "group-stateful")
    return ("--via", "server-2") if hit else ()


def test_what_cannot_be_traced_is_said(lab, fault):
    assert "name one" in lab.onearm("trace", REFERENCE, "--service", "x", code=2).err
    assert "name one" in lab.onearm("trace", REFERENCE, "--via", "server-9", code=2).err
    fault("destination-gone")
    said = lab.onearm("trace", REFERENCE, "--via", "server-2", code=5).out
    assert "server-2 was not hit in 32 connections" in said
    assert "ipvs.destination" in said


def test_the_object_of_a_trace_is_one(lab):
    data = json.loads(lab.onearm("trace", REFERENCE, "--json", code=0).out)
    assert (data["onearm"], data["kind"], data["exit_code"]) == (1, "trace", 0)
