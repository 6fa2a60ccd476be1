"""`onearm status`, `drain` and `undrain` against a daemon's socket, as users call them."""

import dataclasses
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest

import pictures
from onearm import cli
from onearm.alerts import Alert
from onearm.errors import UsageError
from onearm.serve import door, ends
from onearm.snapshot import Snapshot

pytestmark = pytest.mark.enable_socket
CODE = """
import sys
from pathlib import Path
from onearm.serve import client, ends
folder = Path(sys.argv.pop(1))
ends.here.__defaults__ = (None, folder)
from onearm import cli
sys.exit(cli.run(sys.argv[1:]))
"""


class Daemon:
    def __init__(self, folder):
        self.folder, self.asked, self.told = folder, [], []
        self.snapshot = pictures.trouble()
        self.door = door.Door(folder / "web.sock", lambda: self.snapshot, self.ask)

    def ask(self, verb, fields):
        self.asked.append((verb, fields))
        if verb == "undrain" and fields["host"] == "server-3":
            raise UsageError("server-3 is not drained by hand: look at onearm status")
        return self.told.pop(0) if verb == "drained" else {"host": fields.get("host")}


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    found = Daemon(tmp_path)
    found.door.open()
    monkeypatch.setattr(ends.here, "__defaults__", (None, tmp_path))
    yield found
    found.door.close()


def test_it_shows_what_the_daemon_shows(daemon, capsys):
    assert cli.run(["status"]) == 0
    said = capsys.readouterr().out
    for wanted in ("director server-1", "✖ server-3 (fa:16:3e:00:00:05)", pictures.NO_VIP, "0/1"):
        assert wanted in said
    assert "\x1b" not in said and max(map(len, said.splitlines())) <= 160


def test_json_is_one_documented_object(daemon, capsys):
    assert cli.run(["status", "--name", "web", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found)[:3] == ["onearm", "kind", "name"] and found["kind"] == "snapshot"
    assert found["alerts"][0]["level"] == "bad"


def test_without_a_daemon_it_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ends.here, "__defaults__", (None, tmp_path))
    for words in (["status"], ["drain", "server-2"], ["undrain", "server-2"]):
        assert cli.run(words) == 4
        assert "onearm director SPEC" in capsys.readouterr().err
    assert cli.run(["status", "--name", "other"]) == 4


def test_a_drain_is_asked_for_and_waited_for(daemon, capsys):
    far = {"host": "server-2", "draining": True, "drained": False, "connections": 2, "cut": 0}
    daemon.told = [far, far, {**far, "connections": 0, "drained": True, "cut": 1}]
    assert cli.run(["drain", "server-2", "--deadline", "5m"]) == 0
    said = capsys.readouterr()
    assert said.out == "server-2 gets no new connections\nserver-2 is drained, 1 connection cut\n"
    assert said.err == "server-2: 2 connections left\n"
    assert daemon.asked[0] == ("drain", {"host": "server-2", "deadline_s": 300.0})


def test_a_drain_need_not_be_waited_for(daemon, capsys):
    assert cli.run(["drain", "server-2", "--no-wait"]) == 0
    assert daemon.asked == [("drain", {"host": "server-2", "deadline_s": None})]


def test_a_drain_that_another_ends_is_told(daemon, capsys):
    daemon.told = [{"draining": False, "drained": False, "connections": 2}]
    assert cli.run(["drain", "server-2"]) == 2
    assert "somebody let it serve again" in capsys.readouterr().err


def test_undrain_is_asked_for_and_its_error_told(daemon, capsys):
    assert cli.run(["undrain", "server-2"]) == 0
    assert daemon.asked == [("undrain", {"host": "server-2"})]
    assert cli.run(["undrain", "server-3"]) == 2
    assert "not drained by hand" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("drain", "server-4"), "did you mean server-"),
        (("undrain", "x"), "it has server-2, server-3"),
        (("drain", "server-2", "--deadline", "5"), "give it as 30s, 5m or 1h"),
        (("drain", "server-2", "--name", "a", "--spec", "b"), "leave --name out"),
        (("status", "spec.yaml", "--name", "a"), "leave SPEC or --name out"),
    ],
)
def test_what_cannot_be_is_told_and_asks_nothing(daemon, capsys, words, said):
    assert cli.run(list(words)) == 2
    assert said in capsys.readouterr().err
    assert daemon.asked == []


# --- on a terminal


class Terminal:
    """`onearm status --watch` on a terminal of its own."""

    def __init__(self, daemon, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            env = {**os.environ, "TERM": "xterm-256color"}
            argv = [sys.executable, "-c", CODE, str(daemon.folder), "status", "--watch"]
            os.execve(sys.executable, argv, env)  # noqa: S606 - ours
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(self.fd)
        self.said = ""

    def wait(self, pattern):
        """Read until something was written; forget all before it."""
        until = time.monotonic() + 30
        while not (found := re.search(pattern, self.said, re.DOTALL)):
            assert time.monotonic() < until, self.said[-3000:]
            if select.select([self.fd], [], [], 1)[0]:
                self.said += os.read(self.fd, 65536).decode(errors="replace")
        self.said = self.said[found.end() :]

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def end(self):
        """Wait for its end; give its exit code."""
        self.wait(r"\x1b\[\?1049l")
        _, status = os.waitpid(self.pid, 0)
        assert termios.tcgetattr(self.fd)[3] == self.before[3], "the terminal is as before"
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_it_lives_on_a_terminal_and_gives_it_back(daemon):
    terminal = Terminal(daemon)
    terminal.wait(r"\x1b\[\?1049h")
    terminal.wait("server-3 .*answers ARP")
    daemon.snapshot = pictures.small()
    terminal.wait("All is well: 2 of 2 in rotation")
    terminal.press("jd30s\r")
    terminal.wait("server-3 drains")
    assert daemon.asked == [("drain", {"host": "server-3", "deadline_s": 30.0})]
    terminal.press("uy")
    terminal.wait("server-3 is not drained by hand")
    daemon.door.close()
    terminal.wait("no answer for")
    daemon.door = door.Door(daemon.folder / "web.sock", lambda: daemon.snapshot, daemon.ask)
    daemon.door.open()
    terminal.wait("● live")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_order(daemon, number, code):
    terminal = Terminal(daemon)
    terminal.wait("● live")
    os.kill(terminal.pid, number)
    assert terminal.end() == code


# --- what is printed is documented


def shape(kind, at=""):
    """Give the path of every field of a type, as the page of JSON writes it."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        here = f"{at}{field.name}"
        yield here
        hint = hints[field.name]
        inner = [one for one in (*get_args(hint), hint) if dataclasses.is_dataclass(one)]
        if inner and field.name != "counters":
            yield from shape(inner[0], f"{here}[]." if get_origin(hint) is tuple else f"{here}.")


def test_every_field_of_a_snapshot_is_documented_and_no_other():
    page = (Path(__file__).parents[1] / "docs/reference/json.md").read_text()
    section = page.split("\n## snapshot\n")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
    added = {"onearm", "kind", "now", "verdict.level", "verdict.head"}
    added |= {"alerts", *(f"alerts[].{field.name}" for field in dataclasses.fields(Alert))}
    assert told == {*shape(Snapshot), *added}
