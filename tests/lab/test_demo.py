"""The demo is a promise of the README: it runs, fits one screen, and leaves nothing behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from onearm.lab import client

pytestmark = pytest.mark.lab
DEMO = Path(__file__).parents[2] / "scripts" / "demo"
PARTS = ("1 The plan", "2 The ARP problem", "3 After apply", "4 The reference's trap", "5 Why")


def start(*before, **more):
    """Start the demo; its lab is named after its pid."""
    pipe, argv = subprocess.PIPE, [*before, DEMO]
    return subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, env=os.environ | more)


@pytest.fixture(scope="module")
def told():
    demo = start(TERM="xterm-256color", COLUMNS="200")
    out, err = demo.communicate(timeout=180)
    assert demo.returncode == 0, out + err
    assert f"demo-{demo.pid}" not in client.names()
    return out


def test_it_fits_one_screen_without_colours_in_a_pipe(told):
    lines = told.splitlines()
    assert len(lines) <= 62
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in told


def test_it_tells_every_part(told):
    for part in PARTS:
        assert f"\n{part}" in told
    for seen in (
        "ipvsadm -A -t 203.0.113.2:80 -s rr",
        "server-1, server-2, server-3 all answer",
        "0: the director is bypassed",
        "all 8 time out",
        "all 8 answered after the same flush",
    ):
        assert seen in told


def test_it_shows_all_five_properties_and_the_frames_of_each_hop(told):
    rows = [line.split() for line in told.splitlines()]
    assert len([row for row in rows if row[:1] == ["pass"]]) == 5
    hops = {(row[-6], row[-4]): int(row[-2]) for row in rows if row[-1:] == ["frames"]}
    outside, inside = hops["router", "server-1"], hops["neighbour", "server-1"]
    assert outside + inside == hops["server-1", "server-2"] + hops["server-1", "server-3"]
    assert min(outside, inside) >= 8 * 3  # SYN, the request, FIN
    assert min(hops["server-2", "router"], hops["server-3", "neighbour"]) >= 4 * 3
    assert hops["replies", "server-1"] == 0


def test_terminated_it_ends_its_lab():
    """In the background of a script too, where SIGINT is ignored from the start."""
    demo = start("env", "--ignore-signal=INT")
    name = f"demo-{demo.pid}"
    until = time.monotonic() + 60
    while name not in client.names() and time.monotonic() < until:
        time.sleep(0.1)
    demo.send_signal(signal.SIGTERM)
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 130, out + err
    assert name not in client.names()
