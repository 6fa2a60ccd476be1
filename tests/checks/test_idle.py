"""Sockets that serve one probe after the other: nothing of the one before is seen by the next."""

import errno
import queue
import socket
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from select import epoll

import pytest
from asking import (
    PATIENCE_S,
    Heard,
    Tcp,
    check,
    free_port,
    http,
    says,
    says_and_closes,
    target,
    until_closed,
)

from onearm.checks.idle import KEPT_MOST, Idle
from onearm.checks.place import Place

FINE = says(http(b"200 OK", b"fine"))
KINDS = ("tcp", "http", "https", "tls")


@pytest.fixture
def idle():
    found = Idle()
    yield found
    found.close()


def connected(port, idle=None):
    """Connect as the loop does, and wait until it stands or fails."""
    place = Place(target(check("http"), port))
    sock = idle and idle.take(place.family)
    if sock is None:
        sock = place.stream()
    else:
        place.connect(sock)
    with epoll() as watch:
        watch.register(sock.fileno())
        watch.poll(PATIENCE_S)
    return sock


def said(sock):
    """Ask, and hear all of the answer."""
    sock.send(b"GET / HTTP/1.1\r\n\r\n")
    with socket.socket(fileno=socket.dup(sock.fileno())) as other:
        other.settimeout(PATIENCE_S)
        return other.recv(4096)


def test_a_socket_is_as_good_as_new_whatever_became_of_its_connection(idle):
    rude, silent = says_and_closes(b"\0" * 100_000), until_closed
    with Tcp(FINE) as good, Tcp(rude) as wild, Tcp(silent) as hangs:
        sock = connected(good.port)
        for port in (good.port, free_port(), wild.port, hangs.port, free_port(), wild.port):
            assert idle.give(socket.AF_INET, sock)
            assert connected(port, idle) is sock
            if port == wild.port:
                assert said(sock)
        assert idle.give(socket.AF_INET, sock)
        assert connected(good.port, idle) is sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert said(sock).endswith(b"fine")
        assert idle.give(socket.AF_INET, sock)


def test_each_connection_has_a_port_of_its_own_and_ends_with_a_reset(idle):
    seen, ends = queue.SimpleQueue(), queue.SimpleQueue()

    def listen(connection):
        seen.put(connection.getpeername())
        try:
            ends.put(connection.recv(1))
        except OSError as error:
            ends.put(error.errno)

    with Tcp(listen) as server:
        sock = connected(server.port)
        for _ in range(5):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # let it be accepted
            seen.get(timeout=PATIENCE_S)
            assert idle.give(socket.AF_INET, sock)
            assert ends.get(timeout=PATIENCE_S) == errno.ECONNRESET
            with pytest.raises(OSError, match="not connected"):
                sock.getpeername()
            assert connected(server.port, idle) is sock
        assert idle.give(socket.AF_INET, sock)


def test_no_more_are_kept_than_that(idle):
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(KEPT_MOST + 1)]
        assert [idle.give(socket.AF_INET, sock) for sock in socks] == [True] * KEPT_MOST + [False]
        assert idle.take(socket.AF_INET6) is None


def test_what_the_kernel_does_not_let_go_is_not_kept(idle):
    sock = socket.socket()
    sock.close()
    assert not idle.give(socket.AF_INET, sock)


@pytest.mark.parametrize(
    ("more", "plain"),
    [
        ({}, True),
        ({"address": IPv6Address("::1")}, True),
        ({"mark": 7}, False),
        ({"source": IPv4Address("127.0.0.9")}, False),
        ({"source_ports": range(7, 9)}, False),
    ],
)
def test_a_socket_with_a_mark_or_an_address_of_its_own_is_shared_with_nobody(more, plain):
    assert {Place(target(check(kind), 1, **more)).plain for kind in KINDS} == {plain}
    assert not Place(target(check("udp"), 1, **more)).plain


def test_the_loop_asks_on_few_sockets_and_keeps_none_when_nobody_is_asked(monkeypatch):
    made = []
    stream = Place.stream
    monkeypatch.setattr(Place, "stream", lambda place: made.append(place) or stream(place))
    with Tcp(FINE) as good, Tcp(says_and_closes(b"x")) as bad:
        fine, wrong = check("http", timeout_s=5), check("http", timeout_s=5)
        both = target(fine, good.port, key="good"), target(wrong, bad.port, key="bad")
        with Heard(*both) as heard:
            results = [heard.next() for _ in range(40)]
            assert all(result.ok == (result.key == "good") for result in results)
            assert heard.troubles.empty()
            assert len(made) <= 2
            assert heard.checks._idle._kept
            heard.checks.set_targets(())
            while heard.checks.counts.targets:
                pass
            assert not heard.checks._idle._kept
