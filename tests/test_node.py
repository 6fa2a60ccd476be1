"""The real node file, as it runs on hosts: broken requests are told, or end it, and no more."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import pytest

from onearm import bundle, wire
from onearm.kernel.frames import Frame
from onearm.model import HeldVip, Link
from onearm.node import _of_interest
from onearm.vitals import BackFact

DIGEST, DATA = bundle.build()
USER = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
PRIVATE = ["unshare", *USER, "--net", "--mount", "--"]
SETUP = "mount -t tmpfs none /run && mkdir -p /var/lib && mount -t tmpfs none /var/lib && exec"
MINE = not subprocess.call([*PRIVATE, "sh", "-c", f"{SETUP} true"], stderr=subprocess.DEVNULL)
private = pytest.mark.skipif(not MINE, reason="needs namespaces of its own")


class Running:
    def __init__(self, process):
        self.process = process
        self.hello = self.line()

    def line(self):
        return json.loads(self.process.stdout.readline() or "null")

    def write(self, *lines):
        for line in lines:
            data = line if isinstance(line, bytes) else wire.line(line)
            self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, *lines):
        """Send lines; give the parts of the reply and what ends it."""
        self.write(*lines)
        parts = []
        while (reply := self.line()) and "part" in reply:
            parts.append(reply["part"])
        return parts, reply

    def error(self, *lines):
        _, reply = self.ask(*lines)
        return reply["error"]["text"]

    def ended(self):
        self.process.stdin.close()
        return self.process.wait(10), self.process.stdout.read()


@contextmanager
def node(folder, *prefix):
    file = folder / "node.pyz"
    file.write_bytes(DATA)
    argv = [*prefix, sys.executable, "-IS", str(file)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


@pytest.fixture
def here(tmp_path):
    with node(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    with node(tmp_path_factory.mktemp("node")) as running:
        yield running


def alone(tmp_path):
    return node(tmp_path, *PRIVATE, "sh", "-c", SETUP + ' "$@"', "sh")


def test_it_says_hello_first(here):
    assert (here.hello["onearm"], here.hello["kind"], here.hello["build"]) == (1, "hello", DIGEST)
    assert here.ended() == (0, b"")


def test_a_look_needs_no_role_and_no_rights(here):
    parts, reply = here.ask({"do": "look"})
    assert reply["ok"]["hostname"]
    assert all(isinstance(rows, list) for part in parts for rows in part.values())


FAKE_DAEMON = """
import os, signal, socket, sys
os.makedirs("/run/onearm")
door = socket.socket(socket.AF_UNIX)
door.bind("/run/onearm/web.sock")
door.listen(5)
if not os.fork():
    signal.alarm(60)
    sock = door.accept()[0]
    sock.recv(1000)
    sock.sendall(b'{"part": [1]}\\n{"part": [2]}\\n{"ok": {"name": "web"}}\\n')
"""


@private
def test_a_request_goes_on_to_the_daemon_of_that_name_and_its_answer_comes_back(tmp_path):
    file = tmp_path / "daemon.py"
    file.write_text(FAKE_DAEMON)
    started = f"{SETUP.removesuffix(' exec')} {sys.executable} {file} && exec"
    with node(tmp_path, *PRIVATE, "sh", "-c", started + ' "$@"', "sh") as running:
        asked = {"do": "daemon", "name": "web", "request": {"do": "snapshot"}}
        assert "named other" in running.error({**asked, "name": "other"})
        assert running.ask(asked) == ([[1], [2]], {"ok": {"name": "web"}})


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"name": "nobody-s", "request": {"do": "left"}}, "onearm director SPEC"),
        ({"name": "../../tmp/x", "request": {"do": "left"}}, "the name of one"),
        ({"name": "web", "request": "left"}, "a request for it"),
        ({"request": {"do": "left"}}, "expected text"),
    ],
)
def test_a_daemon_that_is_not_there_is_told(here, request_, said):
    assert said in here.error({"do": "daemon", **request_})


NO_RIGHTS = ["setpriv", "--bounding-set", "-all"]
VITALS = {
    "do": "vitals",
    "vips": ["203.0.113.2"],
    "back": [["127.0.0.1", "127.0.0.1"], ["127.0.0.9", "203.0.113.2"]],
}


def vitals(running):
    """Ask for vitals; give the rows by their names, and the rest."""
    parts, reply = running.ask(VITALS)
    rows = {}
    for part in parts:
        for name, found in part.items():
            rows.setdefault(name, []).extend(found)
    return rows, reply["ok"]


def test_vitals_come_row_by_row(here):
    rows, rest = vitals(here)
    assert set(rows) <= {"listeners", "back", "sysctls", "rules", "connections", "services"}
    assert not rows.keys() & rest.keys()
    near, far = wire.decode(tuple[BackFact, ...], rows["back"])
    assert (near.link, near.error) == ("lo", "")
    assert "no link of this host holds 203.0.113.2" in far.error
    names = {sysctl["name"] for sysctl in rows["sysctls"]}
    assert {"net/ipv4/conf/lo/arp_filter", "net/ipv4/ip_nonlocal_bind"} <= names
    assert rest["counters"]["Ip.DefaultTTL"]


@private
def test_what_may_not_be_looked_at_is_said_and_the_rest_is_told(tmp_path):
    rule = "nft add table ip t && nft add chain ip t c '{ type filter hook input priority 0; }'"
    rule += " && nft add rule ip t c drop && exec"
    for prefix in ([], NO_RIGHTS):
        argv = [*PRIVATE, "sh", "-ec", f'{rule} "$@"', "sh", *prefix]
        with node(tmp_path, *argv) as running:
            rows, rest = vitals(running)
            tools = {row["tool"] for row in rows.get("rules", ())}
            refused = {k for k, said in rest.get("cannot", {}).items() if "needs root" in said}
            assert ("nft" in tools) == (prefix == [])
            assert ("rules.nft" in refused) == (prefix != [])
            assert rows["sysctls"] and rest["counters"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "nonsense"}, "knows no 'nonsense'"),
        ({"do": ["look"]}, "knows no"),
        ({"do": None}, "knows no None"),
        ({"do": "\x1b[2J" * 100}, "knows no '\\x1b"),
        ({"do": "look", "extra": 1}, "look knows no field 'extra'"),
        ({"do": "look", "question": {"extra": 1}}, "Question without 'extra'"),
        ({"do": "look", "question": 7}, "expected Question"),
        ({"do": "observe"}, "expected text"),
        ({"do": "observe", "name": 7}, "expected text"),
        ({"do": "apply", "name": "web"}, "apply without the lock"),
        ({"do": "captured", "name": "x"}, "no capture 'x'"),
        ({"do": "who_has"}, "expected an address"),
        ({"do": "forget", "addresses": ["x"]}, "expected an address"),
        ({"do": "hosts", "name": "web", "hosts": "ab"}, "expected a list"),
        ({"do": "lock", "name": "web", "wait_s": "long"}, "expected a number"),
        ({"do": "vitals", "vips": ["x"]}, "expected an address"),
        ({"do": "vitals", "back": [["203.0.113.2"]]}, "expected a client and a VIP, got 1"),
        ({"do": "vitals", "back": ["203.0.113.2"]}, "expected a list"),
        ({"do": "vitals", "name": "web"}, "vitals knows no field 'name'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_it_does_not_know_is_an_error_and_it_goes_on(patient, request_, said):
    assert said in patient.error(request_)


ENDS = {
    "garbage": b"\xff\x00garbage\n",
    "a list": b"[1]\n",
    "neither request nor rows": b"{}\n",
    "rows of another shape": b'{"rows": 7}\n',
    "deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("what", ENDS)
def test_what_is_no_request_ends_it_with_an_error(here, what):
    assert "expected" in here.error(ENDS[what])
    assert here.ended() == (0, b"")


@pytest.mark.parametrize(
    "data",
    [b"x" * 2_000_000, b'{"rows": []}\n{"rows": [', b'{"do": "look"}', b""],
    ids=["long", "rows", "request", "nothing"],
)
def test_a_line_without_end_and_the_end_in_the_middle(here, data):
    with suppress(BrokenPipeError):  # it may end before it has read all
        here.write(data)
    with suppress(BrokenPipeError):
        here.process.stdin.close()
    assert here.process.wait(10) == 0
    assert here.process.stdout.read() == b""


def test_rows_come_in_many_lines(here):
    rows = [{"rows": [wire.encode(Link(f"nowhere{n}"))]} for n in range(50)]
    parts, reply = here.ask(*rows, {"do": "observe", "name": "nobody"})
    assert (parts, reply) == ([], {"ok": None})


def test_rows_of_a_kind_that_it_does_not_know(here):
    assert "known kind" in here.error({"rows": [{"is": "X"}]}, {"do": "observe", "name": "nobody"})


def test_a_hangup_does_not_end_it(here):
    here.process.send_signal(signal.SIGHUP)
    assert "knows no" in here.error({"do": "nonsense"})


def test_an_unread_reply_ends_it(here):
    here.process.stdout.close()
    here.write({"do": "look"}, {"do": "look"})
    here.process.stdin.close()
    assert here.process.wait(10) in (0, 120)  # 120: Python could not flush what nobody reads


@private
def test_one_run_holds_the_lock(tmp_path):
    with alone(tmp_path) as first:
        for _ in range(2):  # the second time it has it
            assert first.ask({"do": "lock", "name": "web"})[1] == {"ok": None}
        argv = [
            "nsenter",
            *(["--user", "--preserve-credentials"] if USER else []),
            f"--target={first.process.pid}",
            "--net",
            "--mount",
            "--",
        ]
        with node(tmp_path, *argv) as second:
            assert "a run of onearm, process" in second.error(
                {"do": "lock", "name": "web", "wait_s": 0.1}
            )
            assert "apply without the lock" in second.error({"do": "apply", "name": "web"})
            first.ended()
            assert second.ask({"do": "lock", "name": "web"})[1] == {"ok": None}


@private
def test_apply_marks_what_it_makes(tmp_path):
    vip = wire.encode(HeldVip(ip_address("203.0.113.2"), "lo"))
    make = [
        {"rows": [{"place": "h", "after": vip, "before": None}]},
        {"do": "apply", "name": "web"},
    ]
    take = [
        {"rows": [{"place": "h", "before": vip, "after": None}]},
        {"do": "apply", "name": "web"},
    ]
    look = [{"rows": [vip]}, {"do": "observe", "name": "web"}]
    with alone(tmp_path) as running:
        running.ask({"do": "lock", "name": "web"})
        for _ in range(2):  # twice is as once
            assert running.ask(*make) == ([{"done": 0}], {"ok": None})
            (((seen,),), _) = running.ask(*look)
            assert (seen["resource"], seen["names"]) == (vip, ["web"])
        for _ in range(2):
            assert running.ask(*take) == ([{"done": 0}], {"ok": None})
            assert running.ask(*look) == ([], {"ok": None})


@private
def test_what_the_kernel_refuses_is_told_and_not_marked(tmp_path):
    vip = wire.encode(HeldVip(ip_address("203.0.113.2"), "nowhere"))
    make = [
        {"rows": [{"place": "h", "after": vip, "before": None}]},
        {"do": "apply", "name": "web"},
    ]
    with alone(tmp_path) as running:
        running.ask({"do": "lock", "name": "web"})
        ((said,), reply) = running.ask(*make)
        assert (said["refused"], reply) == (0, {"ok": None})
        assert "no such link" in said["error"]["text"]
        assert "marks" not in {name for part in running.ask({"do": "look"})[0] for name in part}


def test_a_capture_tells_of_others_by_their_first_frame_alone():
    def frame(port, kind="tcp"):
        ends = {"source": "198.51.100.9", "target": "203.0.113.2", "target_port": 80}
        return Frame("eth0", outgoing=False, to_us=True, kind=kind, source_port=port, **ends)

    others = [frame(9), frame(9), frame(10), frame(9)]
    found = list(_of_interest([frame(7), *others, frame(7), frame(0, "arp-reply")], frozenset({7})))
    assert [f.source_port for f in found] == [7, 9, 10, 7, 0]
