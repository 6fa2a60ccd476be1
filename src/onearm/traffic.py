"""Real connections from a client: opened, asked, closed, and what became of each."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Optional

from onearm.kernel import sysctl
from onearm.model import Address

READ_LIMIT = 65536  # bytes of a reply that are kept: it comes from somebody else's server
COUNT_LIMIT = 1 << 20  # bytes of a reply that are read at all
AT_ONCE = 64
OTHERS = {"sctp": socket.IPPROTO_SCTP}  # protocols that a kind of socket does not tell
PORTS_TRIED = 1000
PORTS_PER_S = 64  # that the clock moves on: the usual range lasts for seven minutes
APART = 7919  # ports between two neighbours' first ones
PORT_RANGE = "net/ipv4/ip_local_port_range"  # of both families
USUAL_PORTS = "32768 60999"


@dataclass(frozen=True)
class Attempt:
    """One connection (or datagram) that a client tried.

    `result`: connected, answered (data came back), refused, timeout, unreachable, sent (UDP, no
    answer), or error. `reply`: the first bytes of the answer as text, for UDP and where a request
    was sent. `received`: the bytes of the answer in all, read to the end or to a bound;
    `complete`: the peer ended its side in order (TCP) before the time was over. `target` and its
    port are where it went, when the errand had several ends.
    """

    source: Address
    source_port: int
    result: str
    detail: str = ""
    reply: str = ""
    received: int = 0
    complete: bool = False
    target: Optional[Address] = None
    target_port: int = 0


@dataclass(frozen=True)
class Goal:
    """Where one connection goes."""

    vip: Address
    port: int


@dataclass(frozen=True)
class Errand:
    """What to open: `sources` are used in turn, one connection each; `request_hex` may be empty.

    `{client}` in the request stands for the source's address. Of every `lanes` ports the one of
    this `lane` is taken: errands of other lanes share none with it. `ends`: where each of the
    connections goes, when not all go to the VIP and port.
    """

    protocol: str
    vip: Address
    port: int
    sources: tuple[Address, ...]
    request_hex: str = ""
    timeout_s: float = 3.5
    lane: int = 0
    lanes: int = 1
    ends: tuple[Goal, ...] = ()


class _Connection:
    """One socket on its way through connect, request and reply."""

    def __init__(self, errand: Errand, source: Address, end: Optional[Goal] = None) -> None:
        kind = socket.SOCK_DGRAM if errand.protocol == "udp" else socket.SOCK_STREAM
        family = socket.AF_INET if source.version == 4 else socket.AF_INET6  # noqa: PLR2004
        self.errand, self.connected, self.reply = errand, False, b""
        self.socket = socket.socket(
            family, kind | socket.SOCK_NONBLOCK, OTHERS.get(errand.protocol, 0)
        )
        self.end = end or Goal(errand.vip, errand.port)
        self.attempt = Attempt(source, 0, "timeout")
        if end is not None:
            self.attempt = replace(self.attempt, target=end.vip, target_port=end.port)

    def open(self, ports: Iterator[int]) -> bool:
        """Start from the next of the ports; say whether there is something to wait for."""
        try:
            self._bind(ports)
            code = self.socket.connect_ex((str(self.end.vip), self.end.port))
        except OSError as error:
            return self._end(_result(error), error.strerror or str(error))
        self.attempt = replace(self.attempt, source_port=self.socket.getsockname()[1])
        if code not in (0, errno.EINPROGRESS):
            return self._end(_result(OSError(code, "")), _words(code))
        if self.errand.protocol == "udp":
            return self._ask("sent")
        return True

    def _bind(self, ports: Iterator[int]) -> None:
        """Take a port of our own: it alone tells whose connection it is after NAT."""
        for port in islice(ports, PORTS_TRIED):
            try:
                self.socket.bind((str(self.attempt.source), port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return
        raise OSError(errno.EADDRINUSE, f"{PORTS_TRIED} ports in turn are in use")

    def ready(self) -> bool:
        """Go on after the socket has news; say whether there is more to wait for."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return self._end(_result(OSError(code, "")), _words(code))
        if not self.connected and self.errand.protocol != "udp":
            return self._ask("connected")
        return self._read()

    def _ask(self, result: str) -> bool:
        self.connected = True
        self.attempt = replace(self.attempt, result=result)
        request = bytes.fromhex(self.errand.request_hex)
        request = request.replace(b"{client}", str(self.attempt.source).encode())
        if not request and self.errand.protocol != "udp":
            return False
        try:
            self.socket.send(request)
        except OSError as error:
            return self._end(_result(error), error.strerror or str(error))
        return True

    def _read(self) -> bool:
        try:
            data = self.socket.recv(READ_LIMIT)
        except BlockingIOError:
            return True
        except OSError as error:
            return self._end(_result(error), error.strerror or str(error))
        self.reply += data[: READ_LIMIT - len(self.reply)]
        stream = self.errand.protocol != "udp"
        if data:
            received = self.attempt.received + len(data)
            self.attempt = replace(self.attempt, result="answered", received=received)
        else:
            self.attempt = replace(self.attempt, complete=stream)
        return bool(data) and stream and self.attempt.received < COUNT_LIMIT

    def _end(self, result: str, detail: str) -> bool:
        self.attempt = replace(self.attempt, result=result, detail=detail)
        return False

    def finished(self) -> Attempt:
        self.socket.close()
        text = self.reply.rpartition(b"\r\n\r\n")[2][:200].decode("ascii", "replace").strip()
        return replace(self.attempt, reply=text)


def _result(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "refused"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "unreachable"
    return "timeout" if error.errno == errno.ETIMEDOUT else "error"


def _words(code: int) -> str:
    return OSError(code, errno.errorcode.get(code, str(code))).strerror or ""


def run(errand: Errand) -> list[Attempt]:
    """Open one connection per source, a bounded number at once; each ends within its timeout."""
    sources = list(errand.sources)
    ends: list[Optional[Goal]] = [*errand.ends] or [None for _ in sources]
    found: list[Attempt] = []
    lane = (errand.lane, errand.lanes)
    ports = in_turn(*port_range(), time.monotonic(), sources[0], lane) if sources else iter(())
    for start in range(0, len(sources), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        found += _wave(errand, list(zip(sources[some], ends[some])), ports)
    return found


def port_range() -> tuple[int, int]:
    """Return the first and the last port that connections of this machine start from."""
    low, high = (sysctl.read(PORT_RANGE) or USUAL_PORTS).split()
    return int(low), int(high)


def in_turn(
    low: int, high: int, now: float, source: Address, lane: tuple[int, int] = (0, 1)
) -> Iterator[int]:
    """Give ports without end, from where the clock stands: runs one after the other share none.

    A director remembers a closed connection for minutes, and hands one that comes from the same
    port to the same real server, out of turn: the shares would seem wrong. Clients that connect at
    the same time begin apart, for NAT may give them one address.
    """
    own, lanes = lane
    size = (high - low + 1) // lanes
    begin = int(now * PORTS_PER_S) + int(source) * APART
    return (low + own + lanes * (n % size) for n in count(begin))


def _wave(
    errand: Errand, ways: Sequence[tuple[Address, Optional[Goal]]], ports: Iterator[int]
) -> list[Attempt]:
    connections = [_Connection(errand, source, end) for source, end in ways]
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            if connection.open(ports):
                selector.register(connection.socket, _events(connection), connection)
        deadline = time.monotonic() + errand.timeout_s
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                _advance(selector, key.data)
    return [connection.finished() for connection in connections]


def _advance(selector: selectors.BaseSelector, connection: _Connection) -> None:
    if connection.ready():
        selector.modify(connection.socket, selectors.EVENT_READ, connection)
    else:
        selector.unregister(connection.socket)


def _events(connection: _Connection) -> int:
    return selectors.EVENT_READ if connection.connected else selectors.EVENT_WRITE
