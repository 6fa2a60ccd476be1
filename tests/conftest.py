"""What all tests share: the order of files, no clock over examples, and no skip in CI."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A machine may be busy: how long an example takes says nothing about the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# Files go to the workers whole and in this order: the longest first, or one would run on alone at
# the end; and those that want a lab of their own before those that pass one on.
FIRST = """
cloud_lab cloud_refusals ssh import_rounds boot director_drain director_load unit docs_lab
daemon_proof doctor kill boot_tunnels boot_unit
ipv6 service_kinds import manners load conflicts faults kinds wanted doctor_healthy native
doctor_command commands demo apache lab enforce enforce_changes enforce_rules vitals
reference
"""


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest."""
    rank = {f"test_{name}.py": turn for turn, name in enumerate(FIRST.split())}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Turn a skip into a failure in CI: what ran nowhere is not shown to work."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where every test must run: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter):
    """Print what was proved where: on which kernel a policy ran, which back end a lab had."""
    reports = terminalreporter.getreports("passed")
    lines = {
        line.removeprefix("proved: ")
        for report in reports
        for line in report.capstdout.splitlines()
        if line.startswith("proved: ")
    }
    if lines:
        terminalreporter.section("proved where")
        for line in sorted(lines):
            terminalreporter.write_line(line)
