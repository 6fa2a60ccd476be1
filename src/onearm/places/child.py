"""One child process between pipes: fed by a thread, read within deadlines, ended as a group."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from typing import IO

CHUNK = 65536
TAIL = 400  # characters of a foreign message that are shown
GRACE_S = 1.0  # how long each way of ending is given


class Child:
    """A process whose output is hostile: it may be endless, late, or never come.

    It leads a session of its own, so that Ctrl-C at the operator's terminal does not cut a batch
    short, and so that all that it started ends with it.
    """

    def __init__(self, argv: Sequence[str], *, keep: bool = False) -> None:
        """Start it; OSError when it cannot be started.

        `keep`: what it leaves behind when it ends by itself may stay, as a shared ssh connection
        and the one to its jump host do.
        """
        self._keep = keep
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, bufsize=0
        )
        streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._stdin, self._stdout, self._stderr = (_made(stream) for stream in streams)
        self._complaints = b""  # the last of what it wrote to stderr
        self._feeder: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        os.set_blocking(self._stderr.fileno(), False)
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)

    def feed(self, data: Iterable[bytes], *, last: bool = False) -> None:
        """Write to its input without waiting for it to be read; `last` ends the input."""
        self._feeder = threading.Thread(target=self._feed, args=(data, last), daemon=True)
        self._feeder.start()

    def _feed(self, data: Iterable[bytes], last: bool) -> None:  # noqa: FBT001 - a thread's target
        with contextlib.suppress(OSError):  # a child that is gone is noticed by the reader
            for lump in data:
                view = memoryview(lump)
                while view:
                    view = view[self._stdin.write(view) :]
            if last:
                self._stdin.close()

    def read(self, deadline: float) -> bytes:
        """Read some output, nothing at its end; TimeoutError once the deadline has passed."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready = [key.fileobj for key, _ in self._selector.select(left)]
            if self._stderr in ready:
                self._listen()
            if self._stdout in ready:
                return os.read(self._stdout.fileno(), CHUNK)

    def _listen(self) -> None:
        data = os.read(self._stderr.fileno(), CHUNK)
        self._complaints = (self._complaints + data)[-CHUNK:]
        if not data:
            self._selector.unregister(self._stderr)

    def wait(self, deadline: float) -> int:
        """Wait for its exit code; TimeoutError when there is none by the deadline."""
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None

    def complaint(self) -> str:
        """Show the last of what it wrote to stderr, on one line, without control characters."""
        for _ in range(16):  # its last words may still be in the pipe
            before = self._complaints
            with contextlib.suppress(OSError, KeyError):
                self._listen()
            if self._complaints == before:
                break
        text = self._complaints.decode("utf-8", "replace").strip()[-TAIL:]
        return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))

    def end(self) -> None:
        """End its input, give it a moment to finish, then end it and all that it started."""
        if not (self._hung_up() and self._keep):
            self._signal(signal.SIGTERM)
            self._ended()
            self._signal(signal.SIGKILL)
            self._ended()
        self._selector.close()
        if self._feeder is not None:
            self._feeder.join(GRACE_S)
        for stream in (self._stdout, self._stderr, self._stdin):
            self._close(stream)

    def _hung_up(self) -> bool:
        """End the input and say whether that was enough; what does not read cannot notice."""
        if self._feeder is not None and self._feeder.is_alive():
            return False
        self._close(self._stdin)
        return self._ended()

    def _close(self, stream: IO[bytes]) -> None:
        """Close a pipe, but never under a thread that writes to it: its number may be re-used."""
        busy = self._feeder is not None and self._feeder.is_alive()
        if not (busy and stream is self._stdin):
            with contextlib.suppress(OSError):
                stream.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):  # gone, or root's by sudo: that one ends with its input
            os.killpg(self._process.pid, number)

    def _ended(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
            return True
        return False


def _made(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("a pipe was asked for")
    return stream
