"""The ledger: written whole or not at all, root's alone, and never guessed at."""

import json
import os
import stat
from dataclasses import replace
from ipaddress import ip_address

import pytest

from onearm.errors import Denied
from onearm.ledger import Ledger
from onearm.model import ArpSilence, Destination, Link, Mark, Sysctl, state_key

VIP = ip_address("203.0.113.2")
CONNTRACK = Sysctl("net/ipv4/vs/conntrack", "0")
LINK = Link("eth-vip")
DRAINS = Destination("tcp", VIP, 80, VIP, 0, host="r1", draining_since="2026-01-01T00:00:00+00:00")
UNTOLD = ArpSilence("eth0", announced=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "onearm" / "ledger.json"


def test_without_a_file_nothing_is_ours(path):
    assert not Ledger(path).marks
    assert not path.parent.exists()


def test_marks_survive_with_what_only_they_know(path):
    Ledger(path).mark("web", [DRAINS, UNTOLD], {})
    found = Ledger(path)
    assert found.marks == {state_key(r): Mark(r, ("web",)) for r in (DRAINS, UNTOLD)}
    kept = found.marks[state_key(DRAINS)].resource
    assert (kept.host, kept.draining_since) == ("r1", "2026-01-01T00:00:00+00:00")
    assert not found.marks[state_key(UNTOLD)].resource.announced


def test_what_was_there_is_recorded_once(path):
    key = state_key(CONNTRACK)
    ledger = Ledger(path)
    ledger.mark("web", [CONNTRACK], {key: {"value": "1"}})
    ledger.mark("web", [CONNTRACK], {key: {"value": "0"}})
    ledger.mark("mail", [CONNTRACK], {key: {"value": "0"}})
    assert Ledger(path).marks[key] == Mark(CONNTRACK, ("mail", "web"), {"value": "1"})
    ledger.unmark("web", [key])
    assert Ledger(path).marks[key] == Mark(CONNTRACK, ("mail",), {"value": "1"})


def test_with_the_last_mark_the_file_goes(path):
    ledger = Ledger(path)
    ledger.mark("web", [LINK], {})
    ledger.unmark("mail", [state_key(LINK), state_key(CONNTRACK)])
    assert ledger.names(state_key(LINK)) == ("web",)
    ledger.unmark("web", [state_key(LINK)])
    assert not path.exists()


def test_names_of_hosts_are_kept_for_each_spec(path):
    Ledger(path).remember_hosts("web", ["b", "a"])
    Ledger(path).remember_hosts("mail", ["c"])
    assert Ledger(path).hosts == {"web": ("a", "b"), "mail": ("c",)}
    Ledger(path).remember_hosts("web", [])
    assert Ledger(path).hosts == {"mail": ("c",)}
    Ledger(path).remember_hosts("mail", [])
    assert not path.exists()


def test_what_is_known_already_is_not_written_again(path):
    Ledger(path).remember_hosts("web", ["a"])
    before = path.stat()
    Ledger(path).remember_hosts("web", ["a"])
    assert path.stat() == before


def test_a_disk_that_is_full_refuses_only_what_is_news(path, monkeypatch):
    ledger = Ledger(path)
    ledger.mark("web", [DRAINS, LINK], {})
    monkeypatch.setattr(ledger, "_write", full)
    ledger.mark("web", [LINK, DRAINS], {})
    ledger.unmark("mail", [state_key(LINK)])
    for news in (replace(DRAINS, draining_since=None), CONNTRACK):
        with pytest.raises(Denied, match=r"cannot be written \(No space left.*make room"):
            ledger.mark("web", [news], {})
    assert set(ledger.marks) == {state_key(DRAINS), state_key(LINK)}


def test_a_file_that_other_hands_changed_is_read_anew(path, monkeypatch):
    Ledger(path).mark("web", [LINK], {})
    with monkeypatch.context() as context:
        context.setattr(Ledger, "_parse", full)  # what was just written needs no reading
        assert set(Ledger(path).marks) == {state_key(LINK)}
    path.write_text(json.dumps(GOOD))
    assert Ledger(path).marks == {}
    path.write_text("no JSON")
    with pytest.raises(Denied):
        Ledger(path)
    path.unlink()
    assert Ledger(path).marks == {}


def test_nobody_else_may_read_it(path):
    path.parent.parent.chmod(0o755)
    previous = os.umask(0)
    try:
        Ledger(path).mark("web", [LINK], {})
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("left", ["file", "symlink", "hard link"])
def test_a_fresh_file_left_by_a_killed_run_is_no_way_in(path, tmp_path, left):
    path.parent.mkdir()
    fresh, other = path.with_suffix(".new"), tmp_path / "other"
    other.write_text("precious")
    if left == "file":
        fresh.write_text("half")
        fresh.chmod(0o666)
    elif left == "symlink":
        fresh.symlink_to(other)
    else:
        os.link(other, fresh)
    Ledger(path).mark("web", [LINK], {})
    assert other.read_text() == "precious"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Ledger(path).names(state_key(LINK)) == ("web",)


GOOD = {"onearm": 1, "kind": "ledger", "marks": [], "hosts": {}}
CORRUPT = {
    "empty": "",
    "half": '{"onearm": 1, "kind": "led',
    "no JSON": "\0\0\0\0",
    "a list": "[]",
    "a word": '"ledger"',
    "null": "null",
    "another kind": json.dumps(GOOD | {"kind": "plan"}),
    "another version": json.dumps(GOOD | {"onearm": 2}),
    "without marks": json.dumps({"onearm": 1, "kind": "ledger", "hosts": {}}),
    "without hosts": json.dumps({"onearm": 1, "kind": "ledger", "marks": []}),
    "marks of another shape": json.dumps(GOOD | {"marks": {"a": 1}}),
    "an unknown thing": json.dumps(GOOD | {"marks": [{"resource": {"is": "X"}, "names": []}]}),
    "a mark without names": json.dumps(GOOD | {"marks": [{"resource": {"is": "Link"}}]}),
    "hosts of another shape": json.dumps(GOOD | {"hosts": {"web": "a"}}),
    "deep": "[" * 100_000,
    "a huge number": json.dumps(GOOD)[:-1] + ', "x": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("corrupt", CORRUPT)
def test_what_cannot_be_read_stops_everything_in_one_sentence(path, corrupt):
    path.parent.mkdir()
    path.write_text(CORRUPT[corrupt])
    with pytest.raises(
        Denied, match=r"cannot be read .* nothing here is changed: repair it"
    ) as caught:
        Ledger(path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == CORRUPT[corrupt]


def test_neither_bytes_nor_links_nor_folders_are_read(path, tmp_path):
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Denied, match="cannot be read"):
        Ledger(path)
    path.unlink()
    (tmp_path / "real").write_text(json.dumps(GOOD))
    path.symlink_to(tmp_path / "real")
    with pytest.raises(Denied, match="cannot be read"):
        Ledger(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(Denied, match="cannot be read"):
        Ledger(path)


def full(*_args, **_options):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["open", "fsync", "replace"])
def test_a_full_disk_changes_neither_file_nor_memory(path, monkeypatch, where):
    ledger = Ledger(path)
    ledger.mark("web", [LINK, DRAINS], {})
    before = path.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(f"os.{where}" if where != "replace" else "pathlib.Path.replace", full)
        for change in (
            lambda: ledger.mark("web", [CONNTRACK], {}),
            lambda: ledger.unmark("web", [state_key(LINK)]),
            lambda: ledger.remember_hosts("web", ["a"]),
        ):
            with pytest.raises(Denied, match=r"cannot be written .No space left on device"):
                change()
        assert ledger.names(state_key(CONNTRACK)) == ()
        assert ledger.names(state_key(LINK)) == ("web",)
        assert ledger.hosts == {}
    assert path.read_text() == before
    ledger.mark("web", [CONNTRACK], {})
    assert len(Ledger(path).marks) == 3
