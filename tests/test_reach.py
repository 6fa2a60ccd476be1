"""How a host is reached is the operator's, and only a name becomes a word of it."""

import sys

import pytest

from onearm import reach
from onearm.errors import UsageError
from onearm.facts import HostFacts
from onearm.session import Session
from onearm.spec import Reach
from worlds import SPEC


def test_ssh_is_the_default(monkeypatch):
    monkeypatch.setattr(reach, "sharing", tuple)
    assert reach.prefix(Reach(), "r1") == ["ssh", "-o", "BatchMode=yes", "r1", "sudo", "-n"]


def test_a_prefix_of_its_own_comes_first():
    spoken = Reach("local", {"r1": ("sudo", "-n")}, {"r1": "ssh", "r2": "lab"})
    assert reach.prefix(spoken, "r1") == ["sudo", "-n"]
    assert reach.prefix(spoken, "r3") == []
    assert reach.prefix(spoken, "r2")[-2:] == ["r2", "--"]


@pytest.mark.parametrize(("set_", "name"), [(None, "lab"), ("", "lab"), ("other", "other")])
def test_the_lab_by_its_name(monkeypatch, set_, name):
    monkeypatch.delenv("ONEARM_LAB", raising=False)
    if set_ is not None:
        monkeypatch.setenv("ONEARM_LAB", set_)
    this = [sys.executable, "-I", "-m", "onearm", "lab", "exec", "--name"]
    assert reach.lab_prefix("r1") == [*this, name, "r1", "--"]


@pytest.mark.parametrize(
    "text", ["-oProxyCommand=touch /x", "", "a b", "a;b", "é", "x" * 64, "a\n", "../a"]
)
def test_a_text_in_a_ledger_that_is_no_name_is_not_visited(text):
    session = Session(SPEC)
    session.facts = {"d": HostFacts(known_hosts={"default": (text, "old", "r1"), "web": ("no",)})}
    assert session._left_behind(["d", "r1", "r2"]) == ["old"]


@pytest.mark.parametrize(("said", "seconds"), [(None, 20), ("", 20), ("45s", 45), ("2m", 120)])
def test_how_long_a_host_may_take(monkeypatch, said, seconds):
    monkeypatch.delenv("ONEARM_TIMEOUT", raising=False)
    if said is not None:
        monkeypatch.setenv("ONEARM_TIMEOUT", said)
    assert Session(SPEC).deadline_s == seconds


@pytest.mark.parametrize("said", ["0", "45", "2h", "-1s", "1.5s", "soon"])
def test_a_time_that_is_none_is_refused(monkeypatch, said):
    monkeypatch.setenv("ONEARM_TIMEOUT", said)
    with pytest.raises(UsageError, match=r"write 1s to 1h"):
        Session(SPEC)
