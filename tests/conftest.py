"""What all tests share: lab tests that cannot run fail in CI, the rest may open no sockets."""

import os

import pytest
from hypothesis import settings

settings.register_profile("shared", deadline=None)  # timings are never asserted
settings.load_profile("shared")

pytest_plugins: list[str] = []


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
