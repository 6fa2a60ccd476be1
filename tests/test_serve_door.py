"""The daemon's local socket: everybody may read, few may command, and nobody can do it harm."""

import json
import os
import socket
import stat
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pictures
from onearm import wire
from onearm.errors import Busy, Missing, PlaceError, Refused, Unreachable, UsageError
from onearm.serve import client, crowd, door
from onearm.serve.ends import Here, here

pytestmark = pytest.mark.enable_socket
NOBODY = 64911


class Owner:
    """A daemon's owner: keeps what it was asked, answers as told."""

    def __init__(self, snapshot):
        self.snapshot, self.asked, self.answer = snapshot, [], {"host": "server-2"}

    def ask(self, verb, fields):
        self.asked.append((verb, fields))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def owner():
    return Owner(pictures.large())


@pytest.fixture
def path(tmp_path, owner):
    tmp_path.chmod(0o755)
    opened = door.Door(tmp_path / "web.sock", lambda: owner.snapshot, owner.ask)
    opened.open()
    yield tmp_path / "web.sock"
    opened.close()
    assert not (tmp_path / "web.sock").exists()


def connect(path):
    sock = client._connect(path, 20)
    sock.settimeout(20)
    return sock


def lines(sock):
    with sock.makefile("rb") as file:
        yield from map(json.loads, file)


def talkative(number):
    return pictures.server(number % 200, history=((60.0, "up", "x" * 200),) * 50)


def test_what_comes_out_is_what_went_in(path, owner):
    assert Here(path).snapshot() == owner.snapshot
    owner.snapshot = pictures.hostile()
    assert Here(path).snapshot() == owner.snapshot


def test_every_line_says_what_it_is_and_is_bounded(path, owner):
    servers = [
        pictures.server(n % 200, history=((60.0, "up", "x" * 200),) * 50) for n in range(500)
    ]
    owner.snapshot = pictures.snapshot([pictures.service(servers)])
    with connect(path) as sock, sock.makefile("rb") as file:
        sock.sendall(b'{"do": "snapshot"}\n')
        raw = []
        while not raw or b'"part"' in raw[-1][:40]:
            raw.append(file.readline())
    assert len(raw) > 3
    assert max(map(len, raw)) <= wire.LINE_LIMIT
    heads = [list(json.loads(line).items())[:2] for line in raw]
    assert heads == [[("onearm", 1), ("kind", "part")]] * (len(raw) - 1) + [
        [("onearm", 1), ("kind", "reply")]
    ]
    assert Here(path).snapshot() == owner.snapshot


def test_everybody_may_open_it(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def as_nobody(path, request):
    """Ask as a user without rights; what came back, as text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with connect(path) as sock:
                sock.sendall(request)
                os.write(writer, next(iter(sock.makefile("rb")))[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_without_rights_may_read_and_not_command(path, owner, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o111)
    assert '"kind":"part"' in as_nobody(path, b'{"do": "snapshot"}\n')
    said = as_nobody(path, b'{"do": "drain", "host": "server-2"}\n')
    assert "Denied" in said and f"user {NOBODY}" in said
    assert owner.asked == []


def test_a_command_reaches_the_owner_and_its_answer_comes_back(path, owner):
    assert Here(path).ask("drain", host="server-2", deadline_s=30) == {"host": "server-2"}
    assert Here(path).ask("left") == {"host": "server-2"}
    assert owner.asked == [("drain", {"host": "server-2", "deadline_s": 30.0}), ("left", {})]


@pytest.mark.parametrize(("verb", "level"), [("left", "DEBUG"), ("withdraw", "INFO")])
def test_what_changes_something_is_logged_and_what_every_plan_reads_is_not(
    path, caplog, verb, level
):
    caplog.set_level("DEBUG", "onearm")
    Here(path).ask(verb)
    assert [r.levelname for r in caplog.records if f"{verb} asked by" in r.message] == [level]


@pytest.mark.parametrize("error", [UsageError("a"), Refused("b"), Busy("c"), Unreachable("d")])
def test_an_error_comes_back_as_what_it_is(path, owner, error):
    owner.answer = error
    with pytest.raises(type(error), match=str(error)):
        Here(path).ask("undrain", host="server-2")


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "boom"},
        {"do": ["drain"]},
        {"do": "drain"},
        {"do": "drain", "host": 5},
        {"do": "drain", "host": "a", "more": 1},
        {"do": "drain", "host": "a", "deadline_s": "soon"},
        {"do": "drain", "host": "a", "deadline_s": float("nan")},
        {"do": "snapshot", "host": "a"},
        {},
    ],
)
def test_what_is_no_request_is_told_and_asks_nothing(path, owner, request_):
    with connect(path) as sock:
        sock.sendall(json.dumps(request_).encode() + b"\n")
        assert "error" in next(lines(sock))
    assert owner.asked == []


def test_a_bug_costs_its_peer_the_connection_and_nobody_else(path, owner, caplog):
    owner.answer = ZeroDivisionError()
    with pytest.raises(Unreachable, match="hung up"):
        Here(path).ask("left")
    assert Here(path).snapshot() == owner.snapshot
    assert "ended in a bug" in caplog.text


@settings(max_examples=60)
@given(st.binary(max_size=9000))
def test_no_bytes_do_it_harm(shared, data):
    with connect(shared) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            for line in lines(sock):
                assert line["kind"] in ("reply", "part")
        except (ConnectionError, BrokenPipeError):
            pass  # it hung up on garbage that went on
    assert Here(shared).snapshot().name == "web"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    snapshot = pictures.small()
    opened = door.Door(tmp_path_factory.mktemp("d") / "web.sock", lambda: snapshot, lambda *_: {})
    opened.open()
    yield opened._path
    opened.close()


def test_a_line_without_an_end_is_told_so(path):
    with connect(path) as sock:
        sock.sendall(b"x" * 5000)
        assert "4096 bytes" in next(lines(sock))["error"]["text"]


def test_a_crowd_that_fills_the_house_sends_away_its_own(path, owner):
    before = threading.active_count()
    crowd_ = [connect(path) for _ in range(3 * door.MOST)]
    assert Here(path).snapshot() == owner.snapshot
    assert threading.active_count() <= before + door.MOST + 2
    gone = sum(1 for sock in crowd_[: door.MOST] if sock.recv(1) == b"")
    assert gone == door.MOST  # the oldest
    for sock in crowd_:
        sock.close()


def test_who_does_not_read_is_dropped_and_others_are_served(path, owner, monkeypatch):
    monkeypatch.setattr(door, "SEND_S", 0.3)
    servers = [
        pictures.server(n % 200, history=((60.0, "up", "x" * 200),) * 50) for n in range(500)
    ]
    owner.snapshot = pictures.snapshot([pictures.service(servers)])
    with connect(path) as sock:
        sock.sendall(b'{"do": "snapshot"}\n')
        assert Here(path).snapshot() == owner.snapshot
        while sock.recv(1 << 20):
            time.sleep(0.2)  # slower than it is patient: the end of the answer never comes


def test_a_slow_line_has_one_deadline_in_all(monkeypatch, tmp_path):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        guest = crowd.Guest(ours, "x")
        stop = threading.Event()

        def trickle():
            while not stop.wait(0.05):
                theirs.send(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(TimeoutError):
            guest.until(b"\n", 1000, 0.4)
        stop.set()
        thread.join()


def test_those_who_wait_for_a_command_are_not_sent_away():
    held, served = [], threading.Event()

    def serve(guest):
        guest.stays = True
        held.append(guest)
        served.wait(20)

    listener = socket.create_server(("127.0.0.1", 0))
    full = crowd.Crowd(listener, serve, lambda _: "one", 2)
    full.start()
    socks = [socket.create_connection(listener.getsockname()) for _ in range(2)]
    while len(held) < 2:
        time.sleep(0.01)
    with socket.create_connection(listener.getsockname()) as third:
        assert third.recv(1) == b""
    assert len(full) == 2
    served.set()
    full.stop()
    for sock in socks:
        sock.close()


def test_a_daemon_that_follows_a_dead_one_takes_its_place(tmp_path, owner):
    path = tmp_path / "web.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert client.names(tmp_path) == []
    opened = door.Door(path, lambda: owner.snapshot, owner.ask)
    opened.open()
    assert client.names(tmp_path) == ["web"]
    opened.close()


def test_without_a_daemon_it_says_what_to_do(tmp_path):
    with pytest.raises(Missing, match="onearm director SPEC"):
        Here(tmp_path / "web.sock").snapshot()
    with pytest.raises(Missing, match="onearm director SPEC"):
        here(folder=tmp_path)


def test_the_only_daemon_is_meant_and_of_several_one_is_named(tmp_path, owner):
    doors = [door.Door(tmp_path / f"{n}.sock", lambda: owner.snapshot, owner.ask) for n in "ab"]
    doors[0].open()
    assert here(folder=tmp_path).snapshot() == owner.snapshot
    doors[1].open()
    with pytest.raises(UsageError, match=r"a, b.*--name"):
        here(folder=tmp_path)
    assert here("b", tmp_path).snapshot() == owner.snapshot
    for opened in doors:
        opened.close()


def test_a_daemon_that_is_silent_is_waited_for_no_longer_than_was_said(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "web.sock"))
    listener.listen(1)
    with listener, pytest.raises(Unreachable, match="no answer within"):
        client.ask(tmp_path / "web.sock", {"do": "left"}, deadline_s=0.2)


@pytest.mark.parametrize("answer", [b"garbage\n", b"[]\n", b'{"error": 5}\n', b"x" * 70000, b""])
def test_a_liar_behind_the_socket_ends_in_an_error(tmp_path, answer):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "web.sock"))
    listener.listen(1)

    def lie():
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(answer)

    thread = threading.Thread(target=lie)
    thread.start()
    with listener, pytest.raises((wire.WireError, Unreachable)):
        client.ask(tmp_path / "web.sock", {"do": "left"}, deadline_s=10)
    thread.join()


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path, owner):
    made = door.Door(tmp_path / "gone" / "web.sock", lambda: owner.snapshot, owner.ask)
    with pytest.raises(PlaceError, match=r"nothing can listen at .*web.sock \(No such file"):
        made.open()
