"""The daemon's unit under a real systemd that booted a guest with ip_vs: its whole life, limited.

A system call that the unit does not allow kills here, instead of being refused: so whatever came
back in one life went through its filter.
"""

import re
import subprocess
import sys
import textwrap

import pytest
from booted import UNIT, told

from onearm.kernel.capabilities import NET_ADMIN, NET_RAW
from pages import ROOT

pytestmark = pytest.mark.lab

SPEC = """
name: web
directors: {server-1: 203.0.113.3}
real_servers: {server-2: 203.0.113.4}
check: {kind: tcp, interval: 1s, fall: 9}
services:
  - {vip: 203.0.113.2, port: 22/tcp}
  - {vip: 203.0.113.2, port: 80/tcp, check: {kind: http}}
  - {vip: 203.0.113.2, port: 443/tcp, check: {kind: https, fall: 9}}
  - {vip: 203.0.113.2, port: 8443/tcp, check: {kind: tls, fall: 9}}
  - {vip: 203.0.113.2, port: 53/udp, check: {kind: dns, query: www.example.org, fall: 9}}
  - {vip: 203.0.113.2, port: 514/udp, check: {kind: udp, send: ping, expect: ping, fall: 9}}
  - {vip: 203.0.113.2, port: 81/tcp, check: {kind: icmp, fall: 9}}
  - {vip: 203.0.113.2, ports: [83/tcp, 90-99/tcp], check: {kind: icmp, fall: 9}}
  - vip: 203.0.113.2
    port: 82/tcp
    check:
      kind: script
      argv: [/bin/sh, -c, "grep -E '^(Cap|NoNew)' /proc/self/status >/run/onearm/script"]
      interval: 5s
      timeout: 5s
"""
SERVICES = {f"{p}/tcp" for p in (22, 80, 81, 82, 83, 443, 8443)} | {f"{p}/udp" for p in (53, 514)}
GROUPS = {"83/tcp"}  # by a mark, which a rule sets that a program makes
UNITS = {
    "proof.target": """
        [Unit]
        DefaultDependencies=no
        Wants=systemd-journald.service server-2.service proof.service
        """,
    "server-2.service": """
        [Unit]
        DefaultDependencies=no
        [Service]
        NetworkNamespacePath=/run/netns/server-2
        ExecStart=/usr/bin/python3 -IsB /opt/world/inside/booted_inside.py serve
        StandardError=null
        """,
    "proof.service": """
        [Unit]
        DefaultDependencies=no
        After=systemd-journald.service
        [Service]
        Type=oneshot
        TimeoutStartSec=infinity
        ExecStart=/usr/bin/python3 -IsB /opt/world/inside/booted_inside.py prove
        StandardOutput=tty
        StandardError=tty
        TTYPath=/dev/console
        ExecStopPost=systemctl poweroff -ff
        """,
}
# A forbidden call shows as a death; a watchdog that this machine's pace does not rouse.
DROP_IN = "[Service]\nSystemCallErrorNumber=kill\nWatchdogSec=15\n"
OPTIONS = "--listen 127.0.0.1:9611 --metrics-file /var/lib/prometheus/node-exporter/onearm.prom"
STANDS = "director server-1 of the spec web: all stands as wanted"


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    folder = tmp_path_factory.mktemp("booted")
    (folder / "web.yaml").write_text(SPEC)
    (folder / "web.env").write_text(f'OPTIONS="{OPTIONS}"\n')
    (folder / "limits.conf").write_text(DROP_IN)
    subject = ("-subj", "/CN=server-2", "-days", "30", "-nodes", "-newkey", "rsa:2048")
    files = ("-keyout", folder / "key.pem", "-out", folder / "cert.pem")
    subprocess.run(["openssl", "req", "-x509", *subject, *files], check=True, capture_output=True)
    units = {name: textwrap.dedent(text) for name, text in UNITS.items()}
    life = told(folder, units)
    assert "failed" not in life, life["failed"]
    return life


def test_it_starts_and_every_kind_of_check_goes_through(life):
    assert life["status"] == ["active", STANDS]
    assert life["up"] == dict.fromkeys(SERVICES, "up")
    assert life["up_again"] == life["up"]


def test_no_thread_may_do_more_than_the_network(life):
    mask = f"{1 << NET_ADMIN | 1 << NET_RAW:016x}"
    sets = {"CapInh": "0" * 16, "CapPrm": mask, "CapEff": mask, "CapBnd": mask, "CapAmb": "0" * 16}
    wanted = [f"{name}:\t{value}" for name, value in sets.items()]
    assert len(life["rights"]) > 3
    for seen in life["rights"].values():
        # a thread that sets a rule lends the program that does it the two that it has itself
        found = [re.sub(rf"(?<=Cap(?:Inh|Amb):\t){mask}", "0" * 16, line) for line in seen]
        assert found == [*wanted, "NoNewPrivs:\t1", "Seccomp:\t2"]


def test_what_it_runs_may_do_nothing(life):
    none = [f"Cap{name}:\t{0:016x}" for name in ("Inh", "Prm", "Eff")]
    assert life["script"][:3] == none
    assert life["script"][-1] == "NoNewPrivs:\t1"


def test_it_can_write_to_its_own_folders_and_to_the_kernels_network_alone(life):
    assert life["writable"] == [
        "/proc/sys/net/ipv4/ip_default_ttl",
        "/run/onearm/x",
        "/var/lib/onearm/x",
    ]


def test_all_that_it_shows_is_shown(life):
    assert life["shown"] == {"page": True, "metrics": True, "file": True}
    drained, undrained = life["commands"]
    assert drained == ["server-2 gets no new connections", "server-2 is drained, 0 connections cut"]
    assert undrained == ["server-2 may serve again"]


def test_a_reload_tells_systemd_how_it_went(life):
    (first, bad), (second, good) = life["reload"]
    assert (first, second) == ("active", "active")
    assert "the spec in the file is not taken" in bad
    assert good == STANDS


def test_nothing_troubles_it_and_no_system_call_was_forbidden(life):
    assert [e["text"] for e in life["events"] if e["kind"] in ("trouble", "arp", "round")] == []
    assert life["restarts"] == "0"


@pytest.mark.parametrize("fall", ["killed", "hangs"])
def test_it_is_started_again_and_nothing_is_taken_down_meanwhile(life, fall):
    before, meanwhile, after = life[fall]["tables"]
    assert before == meanwhile == after
    assert len([row for row in before if " -r " in f" {row} "]) == len(SERVICES - GROUPS)
    assert life[fall]["up"] == life["up"]


def test_a_stop_takes_nothing_down(life):
    before, after = life["stop"]["tables"]
    assert before == after != []
    assert life["stop"]["vip"]
    assert life["stop"]["is"] == ["inactive", "success"]
    assert "lock" in life["stop"]["left"]
    assert life["log"][-1] == "start: director server-1 ends; what serves goes on"


# What systemd's own tools say.


@pytest.fixture
def instance(tmp_path):
    """The unit as an instance whose program is there."""
    text = UNIT.read_text().replace("ExecStart=onearm", f"ExecStart={sys.executable}")
    (tmp_path / "onearm-director@web.service").write_text(text)
    return tmp_path / "onearm-director@web.service"


def analyze(*words):
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True)


def test_systemd_finds_nothing_wrong_with_the_unit(instance):
    assert complaints(instance) == []
    instance.write_text(instance.read_text() + "Nonsense=1\n")
    assert "Nonsense" in complaints(instance)[0]


def complaints(unit):
    """List what `verify` says of this unit; it reads those of other packages, too."""
    said = analyze("verify", unit).stderr.splitlines()
    return [line for line in said if unit.name in line]


def test_the_figure_in_the_documentation_is_systemds(instance):
    done = analyze("security", "--offline=true", "--no-pager", instance)
    (figure,) = re.findall(r"exposure level for \S+: ([\d.]+)", done.stdout)
    page = (ROOT / "docs/how-to/run-the-daemon.md").read_text()
    assert f"exposure level {figure}" in page
