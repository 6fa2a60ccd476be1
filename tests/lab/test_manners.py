"""How the daemon behaves as a process: its rights, signals, no reader, no room, its size."""

import time
from pathlib import Path

import pytest
from daemoned import FILE, SPEC, director
from runs import wait_for

import onearm
from onearm.kernel.capabilities import NET_ADMIN, NET_RAW

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("real_servers")]

LISTENS = """
import socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.bind("/run/d.notify")
    while True:
        print(s.recv(4096).decode().replace("\\n", " "), flush=True)
"""


@pytest.fixture(scope="module")
def real_servers(lab):
    """They hold the VIP in silence; the director is left to the daemon."""
    spec = lab.spec(SPEC, "process.yaml")
    lab.onearm("apply", spec, "--yes", "--limit", "server-2", "--limit", "server-3")
    lab.nodes.end()  # each keeps the lock of its host
    yield
    lab.onearm("destroy", spec, "--yes", code=0)


def test_started_by_root_it_keeps_two_rights_and_what_it_runs_has_none(lab):
    mask = f"{1 << NET_ADMIN | 1 << NET_RAW:016x}"
    kept = {"CapInh": "0" * 16, "CapPrm": mask, "CapEff": mask, "CapBnd": mask, "CapAmb": "0" * 16}
    with director(lab) as daemon:
        daemon.up()
        found = daemon.status("Cap...", "NoNewPrivs", "Uid")
        threads = daemon.count("task")
    assert threads > 3
    assert [x for x in found if x[0] == "Uid:"] == [["Uid:", *"0000"]] * threads
    assert [x for x in found if x[0] == "NoNewPrivs:"] == [["NoNewPrivs:", "1"]] * threads
    caps = [x for x in found if x[0].startswith("Cap")]
    assert caps == [[f"{name}:", value] for name, value in kept.items()] * threads


CHILD = """
import sys, subprocess
sys.path.append("{src}")
from onearm.kernel import capabilities
capabilities.keep_only({{capabilities.NET_ADMIN, capabilities.NET_RAW}})
subprocess.run(["grep", "-E", "^Cap(Inh|Prm|Eff|Amb)|^NoNew", "/proc/self/status"], check=True)
done = subprocess.run(["ip", "link", "set", "lo", "mtu", "60000"])
print("ip", done.returncode, flush=True)
with capabilities.lent():
    subprocess.run(["grep", "-E", "^Cap(Inh|Prm|Eff|Amb)|^NoNew", "/proc/self/status"], check=True)
subprocess.run(["grep", "-E", "^Cap(Inh|Prm|Eff|Amb)", "/proc/self/status"], check=True)
"""


def test_a_program_of_root_has_no_right_left_but_what_is_lent(lab):
    mask = 1 << NET_ADMIN | 1 << NET_RAW
    script = CHILD.format(src=Path(onearm.__file__).parents[1])
    said = lab.on("server-1", "python3", "-Ic", script).splitlines()
    assert said == [
        *(f"Cap{name}:\t{0:016x}" for name in ("Inh", "Prm", "Eff", "Amb")),
        *("NoNewPrivs:\t1", "ip 2"),
        *(f"Cap{name}:\t{mask:016x}" for name in ("Inh", "Prm", "Eff", "Amb")),
        "NoNewPrivs:\t1",
        *(f"Cap{name}:\t{0:016x}" for name in ("Inh", "Prm", "Eff", "Amb")),
    ]


def test_every_signal_has_its_meaning_and_systemd_hears_of_it(lab):
    env = {"NOTIFY_SOCKET": "/run/d.notify", "WATCHDOG_USEC": "1000000"}
    script = lab.folder / "listens.py"
    script.write_text(LISTENS)
    before = f"(python3 -I {script} >/run/d.heard 2>&1 </dev/null & echo $! >/run/d.ear); sleep 2"
    with director(lab, before=before, **env) as daemon:
        heard = lambda: daemon.file("heard").splitlines()
        wait_for(lambda: heard().count("WATCHDOG=1") > 2 and daemon.up(), daemon.log)
        assert sum("READY=1" in line for line in heard()) == 1
        daemon.kill("HUP")
        wait_for(lambda: [line for line in heard() if "READY=1" in line][1:], daemon.log)
        (begun,) = [line for line in heard() if line.startswith("RELOADING=1 MONOTONIC_USEC=")]
        uptime = float(lab.sh("server-1", "cut -d' ' -f1 /proc/uptime"))
        assert 0 < int(begun.rpartition("=")[2]) < uptime * 1e6
        signals = [f"kill -{name} {daemon.pid}" for name in ("TERM", "TERM", "INT", "HUP")]
        lab.sh("server-1", "; ".join(signals), check=False)  # at once: it may be gone for the last
        assert daemon.code() == 0
        assert "STOPPING=1" in heard()
        lab.sh("server-1", "kill $(cat /run/d.ear)")
    assert daemon.servers() == []


def test_ctrl_c_ends_it_like_any_other_word(lab):
    with director(lab) as daemon:
        daemon.up().kill("INT")
        assert daemon.code() == 0
        assert "withdrew the VIP" in daemon.log()


def test_it_lives_on_when_nobody_reads_what_it_says(lab):
    with director(lab, reader="head -n 2") as daemon:
        daemon.up()
        lab.sh("server-1", "ipvsadm -C")
        daemon.up()
        daemon.write(SPEC.replace("rr", "wrr"))
        daemon.kill("HUP")
        wait_for(lambda: "wrr" in lab.on("server-1", "ipvsadm", "-Sn"), daemon.log)
        assert len(daemon.log().splitlines()) == 2
        daemon.kill("TERM")
        assert daemon.code() == 0


@pytest.mark.parametrize("without", ["/run/onearm", "/var/lib/onearm"])
def test_where_it_may_not_write_it_says_so(lab, without):
    """Without /run it does not begin; without a ledger it changes nothing, and goes on trying."""
    before = f"mkdir -p {without}; mount -t tmpfs -o ro none {without}"
    with director(lab, before=before) as daemon:
        if without == "/run/onearm":
            assert daemon.code() == 4
            said = "onearm: /run/onearm/lock cannot be opened (Read-only file system)"
            assert daemon.log().startswith(said)
        else:
            wait_for(lambda: "cannot be written (Read-only file system)" in daemon.log())
            assert daemon.servers() == []
            lab.sh("server-1", f"umount {without}")
            daemon.up()
    lab.sh("server-1", f"umount {without}", check=False)


QUIET = SPEC.replace("scheduler: rr", "scheduler: wrr, slow_start: 2s, on_failure: weight 0")


@pytest.mark.parametrize("text", [SPEC, QUIET], ids=["remove", "weight 0"])
def test_on_a_full_disk_health_goes_on(lab, text):
    """A dead server leaves and comes back: its mark is there already, but for its weight."""
    room = "mkdir -p /var/lib/onearm; mount -t tmpfs -o size=64k none /var/lib/onearm"
    with director(lab, before=room, text=text) as daemon:
        daemon.up()
        lab.sh("server-1", "cat /dev/zero >/var/lib/onearm/filler", check=False)
        lab.sh("server-2", "ip address del 203.0.113.2/32 dev eth-vip")
        wait_for(lambda: daemon.servers() == ["server-3"], daemon.log)
        wait_for(lambda: "cannot be written (No space left on device)" in daemon.log())
        lab.sh("server-2", "ip address add 203.0.113.2/32 dev eth-vip")
        daemon.up()
        lab.sh("server-1", "rm /var/lib/onearm/filler")
        wait_for(lambda: daemon.ask(do="left")["converged"], daemon.log)
    lab.sh("server-1", "umount /var/lib/onearm")


def test_a_ledger_that_somebody_removed_is_written_again(lab):
    """Else all would be foreign from then on, and a dead server stay in the table for good."""
    with director(lab) as daemon:
        daemon.up()
        before = lab.sh("server-1", "ipvsadm -Sn")
        lab.sh("server-1", "rm /var/lib/onearm/ledger.json")
        lab.sh("server-2", "ip address del 203.0.113.2/32 dev eth-vip")
        wait_for(lambda: daemon.servers() == ["server-3"], daemon.log)
        lab.sh("server-2", "ip address add 203.0.113.2/32 dev eth-vip")
        daemon.up()
        assert "the ledger lost" in daemon.log()
        assert sorted(lab.sh("server-1", "ipvsadm -Sn").split("\n")) == sorted(before.split("\n"))


def test_a_dead_link_of_the_director_takes_nobody_out(lab):
    """Connections would be cut that only wait for the link: nothing is known of the servers."""
    default = lab.sh("server-1", "ip route show default").strip()
    with director(lab) as daemon:
        daemon.up()
        lab.sh("server-1", "ip link set eth0 down")
        wait_for(lambda: "the link eth0 of this director is down" in daemon.log(), daemon.log)
        bad = daemon.log().count(" is down: ")
        time.sleep(3)  # longer than interval x fall
        assert daemon.servers() == ["server-2", "server-3"]
        lab.sh("server-1", f"ip link set eth0 up; ip route add {default}")
        time.sleep(3)
        assert daemon.servers() == ["server-2", "server-3"]
        assert daemon.log().count(" is down: ") == bad


WARM, MORE = 40, 160  # rounds, each with a new spec, a command, and a table that was emptied
GROWTH_KB = 3000
LIVES = """
import json, os, subprocess, sys
sys.path.append("{src}")
from onearm.serve import client
path, file, pid, text = client.path_of("process"), sys.argv[1], sys.argv[2], sys.argv[3]
for n in range(int(sys.argv[4])):
    with open(file + ".new", "w") as new:
        new.write(text.replace("rr", "wrr") if n % 2 else text)
    os.rename(file + ".new", file)
    if n % 5 == 0:
        subprocess.run(["ipvsadm", "-C"], check=True)
    if n % 10 == 0:
        os.kill(int(pid), 1)
    told = client.ask(path, {{"do": "converge", "deadline_s": 20}}, deadline_s=30)
    assert told["converged"], told
    client.ask(path, {{"do": "snapshot"}}, lambda rows: None)
"""


def test_over_many_rounds_and_reloads_it_does_not_grow(lab):
    script = LIVES.format(src=Path(onearm.__file__).parents[1])
    with director(lab) as daemon:
        daemon.up()

        def live(rounds):
            words = ("python3", "-Ic", script, FILE, daemon.pid, SPEC, str(rounds))
            lab.on("server-1", *words, timeout=300)
            wait_for(lambda: daemon.servers() == ["server-2", "server-3"], daemon.log)
            (kb,) = {int(line[1]) for line in daemon.status("VmRSS")}
            return kb, daemon.count("fd"), daemon.count("task")

        warm, later = live(WARM), live(MORE)
    print(f"proved: after {WARM} rounds {warm}, after {MORE} more {later} (kB, fds, threads)")
    assert later[0] - warm[0] < GROWTH_KB
    assert later[1:] == warm[1:]
