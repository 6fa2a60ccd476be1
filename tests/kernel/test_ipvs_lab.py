"""A real kernel with ip_vs: what we write is what ipvsadm shows, and the other way round."""

import os
from pathlib import Path

import pytest

from onearm.lab import client

HERE = Path(__file__).parent
LAB = f"kt-ipvs-{os.getpid()}"  # others may be testing on this machine
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab():
    client.up(LAB)
    yield LAB
    client.down(LAB)


def inside(lab, module, name, *prefix):
    """Run one function of a module beside this file on a host of the lab."""
    paths = [str(HERE), str(HERE.parents[1] / "src")]
    code = f"import sys; sys.path[:0] = {paths}; import {module}; {module}.{name}()"
    argv = [*prefix, "/usr/bin/python3", "-IB", "-c", code]
    status, out, err = client.call(lab, "server-1", argv)
    assert status == 0, (out + err).decode()
    print(out.decode())


@pytest.mark.parametrize(
    "name",
    [
        "programs_what_ipvsadm_shows",
        "reads_what_ipvsadm_wrote",
        "refuses_one_by_one",
        "thousands_in_a_few_sends",
        "counts_and_times",
        "runs_sync_daemons",
        "makes_dummy_links",
        "writes_sysctls",
    ],
)
def test_on_a_director(lab, name):
    inside(lab, "inside_lab", name)


@pytest.mark.parametrize("name", ["reads_by_layout_what_the_walk_reads", "mh_depends_on_the_order"])
def test_in_a_namespace_of_its_own(lab, name):
    inside(lab, "inside_lab", name, "unshare", "-n")


def test_figures_in_a_namespace_of_its_own(lab):
    inside(lab, "inside_figures", "counts_what_ipvsadm_prints", "unshare", "-n")


@pytest.mark.parametrize(
    "name",
    [
        "reads_as_ip_does",
        "ways_back_as_ip_says",
        "reads_legacy_firewalls_and_loads_none",
        "changes_and_their_refusals",
        "captures_what_concerns_the_vip",
        "silences_by_arptables",
        "half_a_silence_is_completed",
        "trials_leave_the_host_alone",
        "sees_foreign_drops",
    ],
)
def test_the_lab_kernel_in_a_namespace(lab, name):
    """The same checks as on the running kernel: here arptables is the legacy one."""
    inside(lab, "inside", name, "unshare", "-n")
