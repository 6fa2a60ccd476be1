"""What becomes of a connection: how much came back, and whether the peer ended it in order."""

import contextlib
import itertools
import socket
import struct
import threading
from ipaddress import ip_address

import pytest

from onearm import traffic
from onearm.traffic import COUNT_LIMIT, READ_LIMIT, Errand

pytestmark = pytest.mark.enable_socket
HERE = ip_address("127.0.0.1")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


@contextlib.contextmanager
def serving(answer):
    """Let `answer(connection)` serve one connection; yield the port."""
    with socket.create_server((str(HERE), 0)) as server:

        def serve():
            with server.accept()[0] as connection, contextlib.suppress(OSError):
                connection.recv(100)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def ask(answer, request=b"?", timeout_s=5.0):
    with serving(answer) as port:
        (found,) = traffic.run(Errand("tcp", HERE, port, (HERE,), request.hex(), timeout_s))
    return found


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.mark.parametrize("size", [0, 1, READ_LIMIT, READ_LIMIT + 1, 300_000])
def test_an_answer_is_counted_to_its_end(size):
    found = ask(lambda connection: connection.sendall(bytes(size)))
    assert (found.received, found.complete) == (size, True)
    assert found.result == ("answered" if size else "connected")


def test_the_head_of_a_long_answer_is_kept():
    found = ask(lambda c: c.sendall(b"HTTP/1.0 200\r\n\r\nhello " + b"x" * 200_000))
    assert found.reply.startswith("hello xxx")
    assert (len(found.reply), found.received) == (200, 200_022)


def test_an_answer_without_end_is_left_after_a_bound():
    def answer(connection):
        while True:
            connection.sendall(bytes(65536))

    found = ask(answer, timeout_s=30)
    assert COUNT_LIMIT <= found.received < COUNT_LIMIT + READ_LIMIT
    assert (found.result, found.complete) == ("answered", False)


def test_a_peer_that_stops_in_the_middle_has_not_ended():
    gone = threading.Event()

    def answer(connection):
        connection.sendall(b"abc")
        gone.wait(10)

    with serving(answer) as port:
        (found,) = traffic.run(Errand("tcp", HERE, port, (HERE,), "00", 0.3))
        gone.set()
    assert (found.result, found.received, found.complete) == ("answered", 3, False)


def test_a_reset_is_no_end():
    found = ask(reset)
    assert (found.result, found.complete) == ("error", False)


def test_without_a_request_nothing_is_read():
    found = ask(lambda connection: connection.sendall(b"banner"), request=b"")
    assert (found.result, found.received, found.complete) == ("connected", 0, False)


@pytest.mark.parametrize(("times", "result"), [(2, "answered"), (0, "sent")])
def test_a_datagram_has_no_end(times, result):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((str(HERE), 0))
        server.settimeout(5)

        def serve():
            data, client = server.recvfrom(100)
            server.sendto(data * times, client)

        thread = threading.Thread(target=serve)
        thread.start()
        errand = Errand("udp", HERE, server.getsockname()[1], (HERE,), b"ab".hex(), 5)
        (found,) = traffic.run(errand)
        thread.join(10)
    assert (found.result, found.reply, found.received) == (result, "ab" * times, 2 * times)
    assert not found.complete


def test_ports_go_on_with_the_clock_and_come_again_only_after_minutes():
    def first(now, count=100, source=HERE):
        return set(itertools.islice(traffic.in_turn(32768, 60999, now, source), count))

    assert len(first(1.0)) == 100
    assert all(32768 <= port <= 60999 for port in first(0.0, 40_000))
    assert all(first(1.0).isdisjoint(first(later)) for later in (3.0, 120.0, 400.0, 438.0))
    assert first(1.0) & first(442.0)
    others = map(ip_address, ("127.0.0.2", "127.0.0.3", "127.0.1.1", "198.51.100.10", "::1"))
    every = [first(1.0, source=source) for source in (HERE, *others, ip_address("203.0.113.10"))]
    assert len(set.union(*every)) == 700


def test_errands_of_other_lanes_share_no_port_however_long_they_go_on():
    def ports(lane, count=40_000):
        return set(itertools.islice(traffic.in_turn(32768, 60999, 1.0, HERE, lane), count))

    dealt = [ports((lane, 3)) for lane in range(3)]
    assert sum(map(len, dealt)) == len(set.union(*dealt)) > 28_000
    assert all(32768 <= port <= 60999 for port in set.union(*dealt))


def test_a_port_that_somebody_has_is_passed_over(monkeypatch):
    with socket.create_server((str(HERE), 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(traffic, "in_turn", lambda *_: iter((port, port, 0)))
        found = ask(lambda connection: connection.sendall(b"yes"))
    assert found.received == 3
    assert found.source_port != port


def test_each_connection_of_a_run_has_a_port_of_its_own():
    found = traffic.run(Errand("tcp", HERE, 1, (HERE,) * 200))
    assert {attempt.result for attempt in found} == {"refused"}
    low, high = traffic.port_range()
    assert len({attempt.source_port for attempt in found}) == 200
    assert all(low <= attempt.source_port <= high for attempt in found)


def test_connections_go_to_the_ends_of_an_errand_in_turn():
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(serving(lambda c: c.sendall(b"x"))) for _ in range(2)]
        goals = tuple(traffic.Goal(HERE, port) for port in ports)
        errand = Errand("tcp", HERE, 1, (HERE, HERE), b"?".hex(), ends=goals)
        found = traffic.run(errand)
    assert [(one.target, one.target_port) for one in found] == [(HERE, port) for port in ports]
    assert {one.result for one in found} == {"answered"}
