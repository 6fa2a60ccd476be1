"""`onearm lab forward`: many connections at once through one pipe, byte for byte, to its end."""

import contextlib
import hashlib
import signal
import socket
import threading
import urllib.request

import pytest

from onearm.lab.answers import FILLER

pytestmark = [pytest.mark.lab, pytest.mark.enable_socket]
COUNT = 20
SIZE = 300_000


@contextlib.contextmanager
def forwarding(lab, port, host="server-2"):
    """Forward to a port of a host; give the address, and end it as Ctrl-C does."""
    with lab.start("lab", "forward", host, str(port)) as process:
        yield process.stdout.readline().split()[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, process.stderr.read()


@pytest.fixture
def forwarded(lab):
    with forwarding(lab, 80) as address:
        yield address


def port_of(address):
    return int(address.rstrip("/").rpartition(":")[2])


def fetched(address, path):
    with urllib.request.urlopen(f"{address}{path}", timeout=60) as answer:  # noqa: S310 - ours
        return answer.read()


def test_many_connections_at_once_come_through_whole(forwarded):
    found = {}

    def fetch(turn):
        found[turn] = fetched(forwarded, f"bytes/{SIZE + turn}")

    threads = [threading.Thread(target=fetch, args=(turn,)) for turn in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    wanted = {turn: (FILLER * 5)[: SIZE + turn] for turn in range(COUNT)}
    digest = lambda data: hashlib.sha256(data).hexdigest()
    assert {turn: digest(data) for turn, data in found.items()} == {
        turn: digest(data) for turn, data in wanted.items()
    }


def test_the_host_is_the_one_that_was_named(forwarded):
    assert fetched(forwarded, "").split()[0] == b"server-2"


def test_who_goes_in_the_middle_harms_nobody_else(forwarded):
    with socket.create_connection(("127.0.0.1", port_of(forwarded))) as sock:
        sock.sendall(b"GET /bytes/50000000 HTTP/1.0\r\n\r\n")
        assert sock.recv(1000)
    assert len(fetched(forwarded, f"bytes/{SIZE}")) == SIZE


def test_a_port_where_nobody_listens_hangs_up(lab):
    with forwarding(lab, 9) as address:
        with socket.create_connection(("127.0.0.1", port_of(address)), 30) as sock:
            assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(("nowhere", "80"), 4, "no host named 'nowhere'"), (("server-2", "0"), 2, "0 is not in")],
)
def test_what_cannot_be_forwarded_is_told(lab, words, code, said):
    assert said in lab.onearm("lab", "forward", *words, code=code).err


def test_without_a_lab_it_says_so(lab):
    done = lab.onearm("lab", "forward", "--name", "nobody", "server-2", "80", code=4)
    assert "onearm lab up --name nobody" in done.err
