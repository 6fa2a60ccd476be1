"""Real hosts: a real sshd, a user with sudo, a jump host, and the distribution's python3 alone."""

import contextlib
import re
from typing import NamedTuple

import pytest
from labs import REFERENCE
from sshd import BEHIND, CONFIG, HOME, Fleet

pytestmark = pytest.mark.lab


SPEC = re.sub(r"(?m)^reach:.*\n", "", REFERENCE.read_text())


def ids(part):
    return ", ".join(fault.name for fault in part)


@pytest.fixture(scope="module")
def fleet(lab):
    fleet = Fleet(lab)
    fleet.spec(SPEC)
    return fleet


def test_all_of_it_over_ssh_alone(fleet):
    """From the first plan, which puts the node's file there, to the end."""
    before = {
        host: fleet.lab.sh(host, "python3 -c 'import onearm' 2>&1 || true") for host in BEHIND
    }
    assert all("No module named 'onearm'" in said for said in before.values()), before
    assert "10 to create" in fleet.onearm("plan", "web.yaml", code=0)
    assert {host: fleet.logins(host) for host in BEHIND} == dict.fromkeys(BEHIND, 1)
    assert "12 changes done" in fleet.onearm("apply", "web.yaml", "--yes", code=0)
    proof = fleet.onearm("verify", "web.yaml", "--cold", "--strict", "--client env", code=0)
    assert "5 pass; 8 connections, cold caches" in proof
    assert "nothing to do" in fleet.onearm("plan", "web.yaml", "--check", code=0)
    assert "12 changes done" in fleet.onearm("destroy", "web.yaml", "--yes", code=0)
    links = fleet.lab.sh("server-2", "ip -br link")
    assert "eth-vip" not in links


def test_a_way_of_the_operators_own_is_left_alone(fleet):
    """Where ssh_config has a master, or may have one elsewhere, no option of ours overrides it."""
    own = CONFIG + "Host *\n    ControlPath /run/operator/own-%C\n    ControlMaster auto\n"
    own += "    ControlPersist 30\n"
    fleet.configure(own)
    fleet.onearm("plan", "web.yaml", code=0, apart=True)
    fleet.configure()
    assert fleet.lab.sh("client", "ls /run/operator").count("own-") == len(BEHIND) + 1


class Fault(NamedTuple):
    """What is broken on a host or in the operator's files, and what onearm says of it."""

    name: str
    said: str
    breaks: str = "true"
    mends: str = "true"
    config: str = ""
    reach: str = ""


KEYS, SUDOERS = f"{HOME}/.ssh/authorized_keys", "/etc/sudoers.d/ops"
SECURE = "echo 'Defaults secure_path={}' > /etc/sudoers.d/path; mkdir -p /run/tools\n"
OLD = """\
printf '%s\\n' '#!/usr/bin/python3 -IS' 'import sys, runpy' 'sys.version_info = (3, 6, 9)' \\
    'runpy.run_path(sys.argv[2])' > /run/tools/python3
chmod +x /run/tools/python3
"""
UNMOUNT = "umount -l /run/onearm"
MOUNT = "mkdir -p /run/onearm; mount -t tmpfs -o {} none /run/onearm"
FAULTS = (
    Fault("name", "its name is not known here", config="HostName nowhere.invalid\nProxyJump none"),
    Fault("port", "the jump host does not reach its sshd: look whether it", config="Port 2222"),
    Fault("strange key", "its ssh host key is not known here: compare the fingerprint"),
    Fault("changed key", "its ssh host key is another one than the one on record"),
    Fault("no key", "ssh was let in with no key", f"mv {KEYS} /run/k", f"mv /run/k {KEYS}"),
    Fault(
        "no sudo",
        "sudo asks for a password there: allow it without one: USER ALL=(root) NOPASSWD",
        f"mv {SUDOERS} /run/s",
        f"mv /run/s {SUDOERS}",
    ),
    Fault(
        "no python",
        "python3 is not there: install it; nothing else is needed",
        SECURE.format("/run/tools") + "ln -s /usr/bin/install /run/tools",
        "rm -r /etc/sudoers.d/path /run/tools",
    ),
    Fault(
        "old python",
        "its python3 is too old: install Python 3.9 or later",
        SECURE.format("/run/tools:/usr/bin") + OLD,
        "rm -r /etc/sudoers.d/path /run/tools",
    ),
    Fault("full", "a file system there is full: make room in", MOUNT.format("size=8k"), UNMOUNT),
    Fault("read-only", "a file system there is read-only: make", MOUNT.format("ro"), UNMOUNT),
    Fault("no root", "who comes that way is not root there", reach="[ssh, {host}]"),
    Fault(
        "garbage",
        "it says much, but no hello of ours: look at what",
        f"echo 'head -c 1048576 /dev/urandom' > {HOME}/.ssh/rc",
        f"rm {HOME}/.ssh/rc",
    ),
)


def test_a_banner_is_no_obstacle(fleet):
    """Whatever a login says before the node does, on both streams."""
    rc = f'echo \'echo Welcome; printf "\\033[2J{{}}\\n"; echo "[1]" >&2\' > {HOME}/.ssh/rc'
    with mended(fleet, dict.fromkeys(BEHIND, (rc, f"rm {HOME}/.ssh/rc"))):
        fleet.onearm("plan", "web.yaml", code=0, apart=True)


@pytest.mark.parametrize("part", [FAULTS[n : n + 2] for n in range(0, len(FAULTS), 2)], ids=ids)
def test_what_stands_in_the_way_is_named_with_its_cure(fleet, part):
    """Each of two real servers with a fault has its own sentence, with what to do."""
    faults = dict(zip(BEHIND[1:], part, strict=True))
    config = "".join(f"Host {h}\n{f.config}\n" for h, f in faults.items() if f.config)
    fleet.configure(config + CONFIG, known(fleet, faults))
    reach = "".join(f"  {h}: {f.reach.format(host=h)}\n" for h, f in faults.items() if f.reach)
    fleet.spec(SPEC + (f"reach:\n{reach}" if reach else ""))
    with mended(fleet, {host: (f.breaks, f.mends) for host, f in faults.items()}):
        out = fleet.onearm("plan", "web.yaml", code=4, apart=True)
    fleet.configure()
    fleet.spec(SPEC)
    said = " ".join(out.split())
    for host, fault in faults.items():
        assert f"{host}: {fault.said}" in said, (fault.name, out)
    assert "Traceback" not in out


def test_a_host_that_hangs_costs_one_deadline(fleet):
    """Its sshd is stopped: the connection stands, and nothing ever comes."""
    stop = "kill -STOP $(cat /run/sshd/pid)", "kill -CONT $(cat /run/sshd/pid)"
    with mended(fleet, {"server-3": stop}):
        out = fleet.onearm("plan", "web.yaml", code=4, apart=True, timeout="25s")
    assert "server-3: no answer within 25 s" in out


@pytest.mark.parametrize("victim", ["sshd: ops", "sudo"])
def test_a_way_that_is_cut_in_mid_run_is_said_and_the_next_run_goes_on(fleet, victim):
    """The batch in hand is not lost: what was done carries its mark, and the rest follows."""
    cut = f"(until ip link show eth-vip; do :; done; pkill -KILL -f '^{victim}') >/dev/null 2>&1 &"
    fleet.lab.sh("server-2", cut)
    out = fleet.onearm("apply", "web.yaml", "--yes", code=4, apart=True)
    assert re.search(r"server-2: .*ended with code", " ".join(out.split())), out
    fleet.onearm("apply", "web.yaml", "--yes", code=0, apart=True)
    assert "nothing to do" in fleet.onearm("plan", "web.yaml", "--check", code=0)
    fleet.onearm("destroy", "web.yaml", "--yes", code=0)


def known(fleet, faults):
    """Write the host keys on record, wrong or missing where that is the fault."""
    lines = dict(line.split(" ", 1) for line in fleet.known.splitlines())
    for host, fault in faults.items():
        if fault.name == "strange key":
            del lines[host]
        if fault.name == "changed key":
            lines[host] = lines["router"]
    return "".join(f"{host} {key}\n" for host, key in lines.items())


@contextlib.contextmanager
def mended(fleet, scripts):
    """Break hosts, and mend them in the end."""
    try:
        for host, (breaks, _) in scripts.items():
            fleet.lab.sh(host, breaks)
        yield
    finally:
        for host, (_, mends) in scripts.items():
            fleet.lab.sh(host, mends)
