"""Many TCP connections through one pair of pipes: the same code at both ends.

Frames as everywhere in the lab: OPEN a connection, STDIN data (an empty one: no more of it), GRANT
room for more, GONE. No more than WINDOW bytes of one connection are under way in a direction.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from typing import Optional

from onearm.lab.frames import CHUNK, GRANT, WINDOW, Decoder, Frame, Kind, pack

Connect = Callable[[], socket.socket]
CHOKED = 1 << 20  # bytes that wait for the pipe; until they go, nothing more is read


class Stream:
    """One connection at this end."""

    def __init__(self, sock: socket.socket) -> None:
        """Take the socket over."""
        sock.settimeout(0)
        self.sock = sock
        self.waiting = bytearray()
        self.credit = WINDOW
        self.reads = True  # its peer may say more
        self.ends = False  # the other end has said all
        self.closed = False  # what it said is passed on, and so is the end of it

    def read(self) -> Optional[bytes]:
        """Read what is there: None for nothing yet, empty for the end; raises OSError."""
        try:
            return self.sock.recv(min(CHUNK, self.credit))
        except BlockingIOError:
            return None

    def write(self) -> int:
        """Write what goes now; pass the end on once all is written; raises OSError."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            sent = self.sock.send(self.waiting) if self.waiting else 0
        del self.waiting[:sent]
        if self.ends and not self.waiting and not self.closed:
            self.closed = True
            self.sock.shutdown(socket.SHUT_WR)
        return sent


class Streams:
    """All connections at this end, and the pipes to the other."""

    def __init__(self, inn: int, out: int, connect: Optional[Connect] = None) -> None:
        """Speak over two descriptors; `connect` answers an OPEN of the other end."""
        os.set_blocking(inn, False)
        os.set_blocking(out, False)
        self.inn, self.out, self.connect = inn, out, connect
        self.decoder, self.outgoing = Decoder(), bytearray()
        self.streams: dict[int, Stream] = {}
        self.last = 0

    def run(self, listener: Optional[socket.socket] = None) -> None:
        """Carry bytes until the other end is gone."""
        while True:
            ready = dict(self._poll(listener).poll())
            if listener is not None and listener.fileno() in ready:
                self._accept(listener)
            by_fd = {s.sock.fileno(): (n, s) for n, s in self.streams.items()}
            for fd, events in ready.items():
                if fd in by_fd:
                    self._serve(*by_fd[fd], events)
            if self.inn in ready and not self._hear():
                return
            self._flush()

    def _poll(self, listener: Optional[socket.socket]) -> select.poll:
        poll = select.poll()
        poll.register(self.inn, select.POLLIN)
        if self.outgoing:
            poll.register(self.out, select.POLLOUT)
        if listener is not None:
            poll.register(listener, select.POLLIN)
        choked = len(self.outgoing) > CHOKED
        for stream in self.streams.values():
            events = select.POLLIN if stream.reads and stream.credit and not choked else 0
            events |= select.POLLOUT if stream.waiting else 0
            if events:
                poll.register(stream.sock, events)
        return poll

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            self.last += 1
            self.streams[self.last] = Stream(sock)
            self._send(self.last, Kind.OPEN)

    def _serve(self, number: int, stream: Stream, events: int) -> None:
        try:
            if events & select.POLLOUT:
                self._write(number, stream)
            if events & ~select.POLLOUT and stream.reads:
                self._read(number, stream)
        except OSError:
            self._drop(number, told=False)
            return
        self._close_if_over(number)

    def _read(self, number: int, stream: Stream) -> None:
        data = stream.read()
        if data is not None:
            stream.reads = bool(data)
            stream.credit -= len(data)
            self._send(number, Kind.STDIN, data)

    def _write(self, number: int, stream: Stream) -> None:
        sent = stream.write()
        if sent:
            self._send(number, Kind.GRANT, GRANT.pack(Kind.STDIN, sent))

    def _close_if_over(self, number: int) -> None:
        stream = self.streams.get(number)
        if stream is not None and stream.closed and not stream.reads:
            self._drop(number, told=True)

    def _drop(self, number: int, *, told: bool) -> None:
        stream = self.streams.pop(number, None)
        if stream is not None:
            stream.sock.close()
            if not told:
                self._send(number, Kind.GONE)

    def _hear(self) -> bool:
        """Take in what the other end says; False when it has gone."""
        try:
            data = os.read(self.inn, CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        for frame in self.decoder.feed(data):
            self._take(frame)
        return True

    def _take(self, frame: Frame) -> None:
        number = frame.stream
        if frame.kind == Kind.OPEN and self.connect is not None:
            self._open(number, self.connect)
        stream = self.streams.get(number)
        if stream is None or frame.kind == Kind.OPEN:
            return
        if frame.kind == Kind.GRANT:
            stream.credit += GRANT.unpack(frame.payload)[1]
        elif frame.kind == Kind.GONE:
            self._drop(number, told=True)
        elif frame.kind == Kind.STDIN:
            stream.waiting += frame.payload
            stream.ends = stream.ends or not frame.payload
            self._serve(number, stream, select.POLLOUT)

    def _open(self, number: int, connect: Connect) -> None:
        try:
            self.streams[number] = Stream(connect())
        except OSError:
            self._send(number, Kind.GONE)

    def _send(self, number: int, kind: int, payload: bytes = b"") -> None:
        self.outgoing += pack(number, kind, payload)

    def _flush(self) -> None:
        """Write what goes now; an end that is gone is noticed by reading."""
        while self.outgoing:
            try:
                sent = os.write(self.out, memoryview(self.outgoing)[:CHUNK])
            except BlockingIOError:
                return
            except OSError:
                self.outgoing.clear()
                return
            del self.outgoing[:sent]
