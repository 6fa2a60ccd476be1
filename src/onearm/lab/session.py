"""The caller's end of one command: three descriptors on this side, frames on the other."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator

from onearm.errors import PlaceError, Unreachable
from onearm.lab.frames import (
    CHUNK,
    GRANT,
    GRANT_AT,
    NEVER_BLOCKS,
    WINDOW,
    Decoder,
    Frame,
    Kind,
    pack,
)

GONE = select.POLLERR | select.POLLNVAL


class Sink:
    """One of our outputs, with what it has not yet taken."""

    def __init__(self, fd: int) -> None:
        """Nothing waits."""
        self.fd = fd
        self.waiting = bytearray()
        self.written = 0  # since the last grant
        self.broken = False

    def write(self) -> None:
        """Write what never blocks; the descriptor is shared, so its flags are not ours."""
        try:
            sent = os.write(self.fd, self.waiting[:NEVER_BLOCKS])
        except BlockingIOError:
            return
        except OSError:
            self.broken = True
            sent = len(self.waiting)
        del self.waiting[:sent]
        self.written += sent


class Session:
    """One connection to a controller."""

    def __init__(
        self,
        door: socket.socket,
        fds: tuple[int, int, int] = (-1, -1, -1),
        signals: int | None = None,
    ) -> None:
        """Take over a connected socket."""
        self.door = door
        self.stdin = fds[0]
        self.stdin_open = fds[0] >= 0
        self.credit = WINDOW
        self.sinks = {Kind.STDOUT: Sink(fds[1]), Kind.STDERR: Sink(fds[2])}
        self.signals = signals
        self.decoder = Decoder()
        self.code: int | None = None

    def frames(self) -> Iterator[Frame]:
        """Yield every frame until the controller hangs up."""
        while True:
            data = self._received()
            if not data:
                return
            yield from self.decoder.feed(data)

    def _received(self) -> bytes:
        try:
            return self.door.recv(CHUNK)
        except ConnectionError:
            return b""

    def run(self, name: str, timeout: float | None) -> int:
        """Pump until the command has ended and everything that it wrote is written here."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.code is None or any(sink.waiting for sink in self.sinks.values()):
            left = None if until is None else max(0.0, until - time.monotonic())
            ready = self._poll(left)
            if not ready and left is not None and time.monotonic() >= (until or 0):
                raise Unreachable(f"a command in lab {name} took longer than {timeout:g} s")
            self._serve(ready, name)
        return self.code

    def _poll(self, left: float | None) -> dict[int, int]:
        poll = select.poll()
        if self.code is None:
            poll.register(self.door, select.POLLIN)
            if self.stdin_open and self.credit:
                poll.register(self.stdin, select.POLLIN)
            if self.signals is not None:
                poll.register(self.signals, select.POLLIN)
        for sink in self.sinks.values():
            if sink.waiting:
                poll.register(sink.fd, select.POLLOUT)
        return dict(poll.poll(None if left is None else left * 1000 + 1))

    def _serve(self, ready: dict[int, int], name: str) -> None:
        if self.signals in ready:
            for number in os.read(self.signals, CHUNK):
                self._send(Kind.SIGNAL, bytes([number]))
        if self.door.fileno() in ready:
            self._hear(name)
        for kind, sink in self.sinks.items():
            if sink.waiting and sink.fd in ready:
                sink.write()
                self._acknowledge(kind, sink)
        if self.stdin in ready and self.stdin_open:
            self._feed()

    def _send(self, kind: int, payload: bytes = b"") -> None:
        with contextlib.suppress(ConnectionError):  # its end is read, with what came before it
            self.door.sendall(pack(0, kind, payload))

    def _feed(self) -> None:
        """Pass a portion of our stdin on; an unreadable one is an empty one."""
        try:
            data = os.read(self.stdin, min(CHUNK, self.credit))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.stdin_open = bool(data)
        self.credit -= len(data)
        self._send(Kind.STDIN, data)

    def _acknowledge(self, kind: Kind, sink: Sink) -> None:
        if sink.broken:
            self._send(Kind.SHUT, bytes([kind]))
        elif sink.written >= GRANT_AT:
            self._send(Kind.GRANT, GRANT.pack(kind, sink.written))
            sink.written = 0

    def _hear(self, name: str) -> None:
        data = self._received()
        if not data:
            raise Unreachable(f"lab {name} ended before the command did")
        for frame in self.decoder.feed(data):
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.kind in self.sinks:
            sink = self.sinks[Kind(frame.kind)]
            if not sink.broken:
                sink.waiting += frame.payload
        elif frame.kind == Kind.GRANT:
            self.credit += GRANT.unpack(frame.payload)[1]
        elif frame.kind == Kind.SHUT:
            self.stdin_open = False
        elif frame.kind == Kind.EXIT:
            self.code = frame.payload[0]
        elif frame.kind == Kind.REFUSED:
            raise PlaceError(frame.payload.decode(errors="replace"))
