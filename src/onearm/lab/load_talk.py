"""One connection of the load: connect, ask, read the whole answer, see it closed."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator

INTEREST = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
HEAD_LIMIT = 8192
OK = "HTTP/1.1 200 "
FINISHED = ""  # as an outcome; every other is the reason of a failure
TIMED_OUT, SHORT, WRONG = "timed_out", "short", "wrong"
REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: TIMED_OUT,
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
}
_buffer = bytearray(1 << 16)
_view = memoryview(_buffer)


def reason(number: int) -> str:
    return REASONS.get(number) or errno.errorcode.get(number, str(number))


class Talk:
    """Never blocks; what it is told by epoll, edge by edge, moves it on."""

    def __init__(self, request: bytes, now: float, *, long: bool) -> None:
        """Prepare; `connect` begins."""
        self.request = request
        self.long = long
        self.begun = self.last = now
        self.server = ""  # as it names itself
        self.bytes = 0  # of the body
        self.length: int | None = None  # of the body, once the head is read
        self.head = b""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def connect(self, sources: Iterator[tuple[str, int]], target: tuple[str, int]) -> str | None:
        """Begin, from the next source that is free; return the reason where that fails at once."""
        try:
            for source in sources:
                if self._bound(source):
                    break
            number = self.socket.connect_ex(target)
        except OSError as error:
            number = error.errno or 0
        return None if number in {0, errno.EINPROGRESS} else reason(number)

    def _bound(self, source: tuple[str, int]) -> bool:
        try:
            self.socket.bind(source)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def turn(self, mask: int, now: float) -> str | None:
        """Go on as far as it goes; return how it ended, None while it has not."""
        try:
            if mask & select.EPOLLERR:
                return reason(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            if mask & select.EPOLLOUT and self.request:
                self.request = self.request[self.socket.send(self.request) :]
            if mask & (select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP):
                return self._read(now, to_the_end=bool(mask & select.EPOLLRDHUP))
        except BlockingIOError:
            pass
        except OSError as error:
            return reason(error.errno or 0)
        return None

    def _read(self, now: float, *, to_the_end: bool) -> str | None:
        while True:
            count = self.socket.recv_into(_buffer)
            if not count:
                return FINISHED if self.bytes == self.length else SHORT
            self._take(count, now)
            if self.wrong:
                return WRONG
            if count < len(_buffer) and not to_the_end:
                return None

    def _take(self, count: int, now: float) -> None:
        self.last = now
        self.bytes += count if self.length is not None else self._learn(_view[:count])

    def _learn(self, data: memoryview) -> int:
        """Read the head; return how many bytes of the body came with it."""
        self.head += data
        head, end, body = self.head.partition(b"\r\n\r\n")
        if not end:
            return 0
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        self.server = fields.get("Server", "")
        length = fields.get("Content-Length", "")
        self.length = int(length) if length.isdecimal() and first.startswith(OK) else -1
        return len(body)

    @property
    def wrong(self) -> bool:
        """Whether this is no answer to what was asked: no such head, or more than it announced."""
        if self.length is None:
            return len(self.head) > HEAD_LIMIT
        return self.bytes > self.length

    def source(self) -> str:
        """Address and port that it came from, as `ipvsadm -Lcn` has them."""
        address, port = self.socket.getsockname()
        return f"{address}:{port}"

    def quiet_s(self, now: float) -> float:
        """How long nothing has come: a short one is timed from its beginning."""
        return now - (self.last if self.long else self.begun)
