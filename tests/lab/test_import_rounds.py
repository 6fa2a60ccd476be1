"""Every case in a kernel: what the spec makes of an empty director, its own tool makes too."""

import os

import pytest
import rounds
from imported import CASES
from labs import WarmLab, furnish
from runs import wait_for

from onearm.lab import client

pytestmark = pytest.mark.lab
# Services that the tool has otherwise, or alone: each is a comment, and exit code 5.
V, SIX = "-t 203.0.113.2:", "-t [2001:db8:203::2]:80"
OTHERWISE = {
    "ipvsadm-beyond": {f"{V}0", f"{V}81", f"{V}90", "-f 7", "-u 203.0.113.2:5060", SIX},
    "keepalived-groups": {"-f 3"},
    "ldirectord-connect": {f"{V}9001"},
    "keepalived-loose": {f"{V}0"},
    "keepalived-nat": {f"{V}0", f"{V}82", f"{V}83", f"{V}84", "-f 3", SIX},
    "keepalived-schedulers": {f"{V}80", f"{V}82"},
    "keepalived-twice": {f"{V}80", f"{V}81", f"{V}82", "-t 203.0.113.4:80"},
}
# What holds a line at which the tool that is installed here ends: an option of a newer one, a name
# that nobody knows, a real server of the other family.
ENDS = ("keepalived-newer", "ldirectord-names", "ldirectord-nat")
# ldirectord cannot raise the weight of a real server that is written without a port: it adds one
# of port 0 then, which fails.
STAYS = ("ldirectord-loose",)
ROUND = [case for case in CASES if case.name not in (*ENDS, *STAYS)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = WarmLab(f"lt-rounds-{os.getpid()}", tmp_path_factory.mktemp("rounds"))
    try:
        client.up(lab.name)
        furnish(lab.name)
        yield lab
    finally:
        lab.nodes.end()
        client.down(lab.name)


@pytest.fixture(scope="module")
def hosts(lab):
    return rounds.Hosts(lab)


@pytest.mark.parametrize("case", ROUND, ids=lambda case: case.name)
def test_a_file_and_its_spec_fill_the_table_alike_and_nothing_is_left_to_do(lab, hosts, case):
    case = rounds.moved(lab, case)
    path, code = rounds.imported(lab, hosts, case)
    otherwise = OTHERWISE.get(case.name, set())
    assert code == 5 if otherwise else code in {0, 5}
    try:
        lab.onearm("apply", path, "--yes", code=0)
        made = rounds.table(lab), rounds.bounds(lab), rounds.times(lab)
        lab.onearm("plan", path, "--check", code=0)
        rounds.begin(lab, case)
        wait_for(
            lambda: differing(made[0], rounds.table(lab)) == otherwise,
            lambda: f"{made[0]} is not {rounds.table(lab)}\n{rounds.log(lab)}",
        )
        rounds.still(lab)
        if not otherwise:
            assert (rounds.bounds(lab), rounds.times(lab)) == made[1:]
            lab.onearm("plan", path, "--check", code=0)
    finally:
        rounds.end(lab)
        lab.onearm("destroy", path, "--yes", code=0)
    assert rounds.table(lab) == {}


def differing(made, own):
    return {key for key in made.keys() | own.keys() if made.get(key) != own.get(key)}
