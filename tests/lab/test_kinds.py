"""Kinds of service as the kernel has them: what a spec says is what ipvsadm -Sn prints."""

import pytest

from onearm.spec_load.services import SCHEDULERS

pytestmark = pytest.mark.lab
HEAD = """
directors: {server-1: 203.0.113.3}
real_servers: {server-2: 203.0.113.4, server-3: 203.0.113.5}
reach: lab
services:
"""
ABSENT = "twos"  # the guest's kernel is built without it


def table(lab):
    """What ipvsadm saves of the director's table."""
    return lab.on("server-1", "ipvsadm", "-Sn").splitlines()


def rows(lab, word):
    return sorted(line for line in table(lab) if f" {word} " in f"{line} ")


def services(*lines):
    return HEAD + "".join(f"  - {{vip: 203.0.113.2, {line}}}\n" for line in lines)


def taken_there_and_back(lab, text, expected):
    """Apply a spec: the table is as expected, nothing is left to do, and nothing stays behind."""
    spec = lab.spec(text)
    lab.onearm("apply", spec, "--yes", code=0)
    try:
        made = sorted(line.strip() for line in table(lab))
        assert made == sorted(expected), made
        assert not lab.onearm("plan", spec, "--json", code=0).json()["actions"]
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)
    assert not table(lab)


def test_every_scheduler_of_the_kernel_with_its_flags(lab):
    wanted, expected = [], []
    for n, (name, flags) in enumerate(SCHEDULERS.items()):
        if name == ABSENT:
            continue
        port = 1000 + n
        said = f", flags: [{', '.join(flags)}]" if flags else ""
        wanted.append(f"port: {port}/tcp, scheduler: {name}{said}, real_servers: [server-2]")
        printed = f" -b {','.join(flags)}" if flags else ""
        expected += [
            f"-A -t 203.0.113.2:{port} -s {name}{printed}",
            f"-a -t 203.0.113.2:{port} -r 203.0.113.4:{port} -g -w 1",
        ]
    taken_there_and_back(lab, services(*wanted), expected)


def test_a_scheduler_that_the_kernel_lacks_is_refused_before_anything_is_changed(lab):
    spec = lab.spec(services(f"port: 80/tcp, scheduler: {ABSENT}", "port: 81/tcp, scheduler: rr"))
    said = lab.onearm("apply", spec, "--yes", code=3).err
    assert "host.scheduler: server-1: this kernel has no scheduler twos" in said.replace("\n", " ")
    assert "ip_vs_twos" in said
    assert not table(lab)
    found = lab.onearm("doctor", spec, "--json", code=5).json()["findings"]
    assert "host.scheduler" in {finding["id"] for finding in found}
