"""A real daemon on a director of the lab, seen from everywhere that shows it."""

import json
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from labs import REFERENCE
from test_forward import forwarding

from browser import CHROMIUM, Browser

pytestmark = [pytest.mark.lab, pytest.mark.enable_socket]
ONEARM = str(Path(sys.executable).with_name("onearm"))
DIRECTOR = (ONEARM, "director", str(REFERENCE))


@pytest.fixture(scope="module")
def daemon(lab):
    """Run one with its page and file of metrics; its figures are those of the reference setup."""
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    lab.nodes.end()
    words = (*DIRECTOR, "--listen", "127.0.0.1:9611", "--metrics-file", "/run/onearm/onearm.prom")
    with lab.start("lab", "exec", "server-1", "--", *words, "--log-format", "json") as process:
        waited(lambda: "default" in status(lab, "server-1", check=False))
        yield lab
        lab.sh("server-1", "kill $(pgrep -fo 'onearm director')")
        log = process.communicate(timeout=60)[1]
    assert process.returncode == 0, log
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"start", "drain"} <= {line["event"] for line in lines}
    left = lab.sh("server-1", "ls /run/onearm")
    assert ".sock" not in left and ".prom" not in left
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


def waited(holds):
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.2)


def status(lab, host, *words, check=True):
    return lab.on(host, ONEARM, "status", *words, check=check)


def test_from_elsewhere_and_there_it_is_the_same(daemon):
    told = daemon.onearm("status", REFERENCE, "--json", code=0).json()
    there = told["directors"]["server-1"]["daemon"]
    here = json.loads(status(daemon, "server-1", "--json"))
    assert there["services"][0]["vip"] == here["services"][0]["vip"] == "203.0.113.2"
    assert (there["pid"], there["started"]) == (here["pid"], here["started"])
    said = daemon.onearm("status", REFERENCE, code=0).out
    assert "director server-1" in said and "● 203.0.113.2 on eth0" in said


def test_a_user_without_rights_may_look_and_not_drain(daemon):
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert "director server-1" in daemon.on("server-1", *nobody, ONEARM, "status")
    drain = " ".join((*nobody, ONEARM, "drain server-2 --no-wait"))
    said = daemon.sh("server-1", f"{drain} 2>&1; echo code $?", check=False)
    assert "drain is for root alone" in said and said.endswith("code 4\n")


def test_a_drain_from_elsewhere_takes_effect_and_back(daemon):
    done = daemon.onearm("drain", "server-2", "--spec", REFERENCE, "--deadline", "5s", code=0)
    assert "server-2 is drained, 0 connections cut" in done.out
    assert "203.0.113.4" not in daemon.on("server-1", "ipvsadm", "-Ln")
    daemon.onearm("undrain", "server-2", "--spec", REFERENCE, code=0)
    waited(lambda: "203.0.113.4" in daemon.on("server-1", "ipvsadm", "-Ln"))


def test_metrics_are_the_same_at_both_places(daemon):
    with forwarding(daemon, 9611, "server-1") as address:
        with urllib.request.urlopen(f"{address}metrics", timeout=60) as answer:  # noqa: S310 - ours
            page = answer.read().decode()
    file = daemon.on("server-1", "cat", "/run/onearm/onearm.prom")
    names = lambda text: {line.split()[2] for line in text.splitlines() if line[:6] == "# TYPE"}
    assert names(page) == names(file)
    assert 'onearm_vip_announced{vip="203.0.113.2"} 1.0' in page


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium: scripts/setup test")
def test_the_page_comes_out_of_the_lab_live(daemon):
    with forwarding(daemon, 9611, "server-1") as address, Browser() as browser:
        page = browser.page(address)
        page.wait("document.querySelectorAll('.service tbody tr').length == 2")
        before = daemon.on("client", "sh", "-c", "for i in $(seq 20); do curl -s 203.0.113.2; done")
        assert before.count("server-") == 20
        page.wait("document.body.innerText.includes('All is well: 2 of 2 in rotation')")
        page.wait("parseFloat(document.querySelector('.box.clients b').textContent) > 0")
        assert page.complaints() == []
        page.close()
