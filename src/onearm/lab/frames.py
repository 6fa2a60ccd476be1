"""The one frame codec of the lab, and a line: a descriptor that carries frames and never blocks.

A frame is `stream id, kind, length, payload`. Data is acknowledged end to end with GRANT, so that
no more than WINDOW bytes of one pipe are ever under way and every queue between is bounded.
"""

from __future__ import annotations

import os
import selectors
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("!IBI")
GRANT = struct.Struct("!BI")
NUMBER = struct.Struct("!I")
WINDOW = 256 * 1024
CHUNK = 32 * 1024
GRANT_AT = WINDOW // 4
NEVER_BLOCKS = 4096  # PIPE_BUF: a pipe that polls as writable takes this much at once
LONGEST = 4 * 1024 * 1024  # an argument list at its longest; data frames are CHUNK at most


class Kind(IntEnum):
    """What a frame says."""

    OPEN = 1  # start a command: host, TERM and argv, each ended by NUL
    STDIN = 2  # data; an empty one is the end
    STDOUT = 3
    STDERR = 4
    GRANT = 5  # that many more bytes of a pipe (kind, count) may come
    SHUT = 6  # nobody reads that pipe (kind) any more
    SIGNAL = 7  # a signal number for the process group
    EXIT = 8  # the command's exit code, as a shell counts it
    REFUSED = 9  # there is no such host: the sentence
    GONE = 10  # who asked for the command is dead
    HELLO = 11  # the agent is ready: JSON
    TAKEN = 12  # the agent has read that many bytes from the channel
    HALT = 13  # end the lab
    FAILED = 14  # the agent could not build the network: the sentence
    ASK = 15  # to the controller: `info` or `down`
    REPLY = 16  # its answer: JSON


class Frame(NamedTuple):
    """One frame."""

    stream: int
    kind: int
    payload: bytes


def pack(stream: int, kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(stream, kind, len(payload)) + payload


class Decoder:
    """Bytes in any portions -> whole frames."""

    def __init__(self) -> None:
        """Start between two frames."""
        self.rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self.rest += data
        while len(self.rest) >= HEADER.size:
            stream, kind, length = HEADER.unpack_from(self.rest)
            if length > LONGEST:
                raise ValueError(f"a frame of {length} bytes is longer than the lab ever sends")
            end = HEADER.size + length
            if len(self.rest) < end:
                return
            payload = bytes(self.rest[HEADER.size : end])
            del self.rest[:end]
            yield Frame(stream, kind, payload)


class Line:
    """A descriptor that carries frames both ways; what cannot be written now waits in `out`.

    `credit` is for a receiver that chokes (the tty of the guest): that many bytes may be under way
    until it says TAKEN. None means that the kernel's own flow control is enough.
    """

    def __init__(self, fd: int, credit: int | None = None) -> None:
        """Take the descriptor over and stop it from blocking."""
        os.set_blocking(fd, False)
        self.fd = fd
        self.credit = credit
        self.out = bytearray()
        self.decoder = Decoder()
        self.took = 0

    def fileno(self) -> int:
        return self.fd

    def send(self, stream: int, kind: int, payload: bytes = b"") -> None:
        self.out += pack(stream, kind, payload)
        self.flush()

    def flush(self) -> None:
        """Write what goes now; a peer that is gone is noticed by the reading side."""
        while self.out and self.credit != 0:
            room = len(self.out) if self.credit is None else self.credit
            try:
                sent = os.write(self.fd, memoryview(self.out)[: min(room, CHUNK)])
            except BlockingIOError:
                return
            except OSError:
                self.out.clear()
                return
            del self.out[:sent]
            if self.credit is not None:
                self.credit -= sent

    def receive(self) -> list[Frame]:
        """The frames that have come; EOFError at the end."""
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        self.took = len(data)
        return [frame for frame in self.decoder.feed(data) if not self._is_credit(frame)]

    def _is_credit(self, frame: Frame) -> bool:
        if frame.kind != Kind.TAKEN or self.credit is None:
            return False
        self.credit += NUMBER.unpack(frame.payload)[0]
        self.flush()
        return True

    @property
    def events(self) -> int:
        """What a selector should wait for now."""
        stuck = bool(self.out) and self.credit != 0
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if stuck else 0)

    def close(self) -> None:
        os.close(self.fd)
