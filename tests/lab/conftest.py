"""Labs for test modules: one has it after the other, as long as it is left as it was found."""

import os
import re

import pytest
from labs import HOSTS, WarmLab, furnish

from onearm.lab import client

# These change what STATE does not show (port security, filter rules, what a real server runs) or
# promise a fresh lab; kill leaves others' things there on purpose.
OWN = re.compile(r"test_(enforce.*|doctor.*|faults|vitals|apache|native|commands|kill|ssh)")
STATE = """
cat /proc/net/ip_vs
printf 'link\\naddress\\nroute\\n' | ip -d -o -batch -
grep -r . /proc/sys/net/ipv4
arptables-legacy -S
cat /proc/net/tcp
"""
# This reads the counts of connections, which a director keeps for a real server that went and came
# back: the lab it takes is new, but goes on to the next.
NEW = re.compile(r"test_reference")
SOCKET = re.compile(r"^ +\d+: (\S+ \S+ (\S+)).*\n", re.MULTILINE)
LISTENS = "0A"
FAILED = pytest.StashKey[bool]()


class Labs:
    """The lab that goes from module to module."""

    def __init__(self, folder):
        self.folder, self.lab, self.found = folder, None, {}

    def take(self, stem):
        if self.lab is None:
            name = f"lt-{stem}-{os.getpid()}"[:40]
            info = client.up(name)
            up = f"{info.backend}, kernel {info.kernel}, up after {info.boot_s:.1f} s"
            print(f"proved: lab {name} up: {up}")
            furnish(name)
            self.lab = WarmLab(name, self.folder)
            self.found = self._state()
        return self.lab

    def _state(self):
        everyone = (*HOSTS, "router", "neighbour")
        return {host: _plain(self.lab.sh(host, STATE, check=False)) for host in everyone}

    def give_back(self):
        """Keep it for the next only if nothing in it is different now."""
        if self.lab is not None and self._state() != self.found:
            self.end()

    def end(self):
        if self.lab is not None:
            self.lab.nodes.end()
            client.down(self.lab.name)
            self.lab = None


def _plain(shown):
    """Leave out what comes and goes: every socket but those that listen, with their inodes."""
    listen = sorted(ends for ends, state in SOCKET.findall(shown) if state == LISTENS)
    return SOCKET.sub("", shown).replace(" tentative", ""), listen


@pytest.fixture(scope="session")
def labs(tmp_path_factory):
    labs = Labs(tmp_path_factory.mktemp("lab"))
    yield labs
    labs.end()


@pytest.fixture(scope="module")
def lab(request, labs):
    """A lab; each test leaves it as it found it."""
    stem = request.module.__name__.rpartition(".")[2]
    apart = OWN.fullmatch(stem)
    if apart or NEW.fullmatch(stem):
        labs.end()
    yield labs.take(stem.replace("_", "-"))
    labs.end() if apart else labs.give_back()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember whether a test failed, so that its re-run and those after it start clean."""
    report = yield
    before = call.when != "setup" and item.stash[FAILED]
    item.stash[FAILED] = before or report.failed
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item):
    """End every fixture with a test that failed: what it left behind would fail the next."""
    if item.stash[FAILED]:
        item.session._setupstate.teardown_exact(None)
