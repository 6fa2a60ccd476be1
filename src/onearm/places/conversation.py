"""One node process behind a command prefix: started, greeted, asked, and ended in time."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

from onearm import bundle, wire
from onearm.errors import OnearmError, PlaceError, Unreachable, revive

FOREIGN_LIMIT = 65536  # bytes of banners and the like that may precede the node's hello
NO_SUCH_FILE = 2  # python3's exit code when it cannot open the file
TAIL = 400  # characters of a foreign message that are shown
CHUNK = 65536


class Conversation:
    """Requests and replies with the node of one host, each within a deadline."""

    def __init__(self, host: str, prefix: Sequence[str], deadline_s: float) -> None:
        """Keep how the host is reached; nothing is started yet."""
        self._host, self._prefix, self._deadline_s = host, list(prefix), deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._buffer = bytearray()
        self._digest, self._data = bundle.build()
        self._file = f"/run/onearm/node-{self._digest}.pyz"

    def ask(self, request: dict[str, Any], rows: Iterable[Any], part: Callable[[Any], None]) -> Any:
        """Send one request and hand over the parts of its reply; return what ends it."""
        deadline = time.monotonic() + self._deadline_s
        if self._process is None:
            self._start(deadline)
        sender = threading.Thread(target=self._send, args=(_lines(request, rows),), daemon=True)
        sender.start()
        try:
            return self._reply(part, deadline)
        finally:
            sender.join(1.0)

    def _reply(self, part: Callable[[Any], None], deadline: float) -> Any:
        while True:
            reply = wire.parse_line(self._line(deadline))
            if "part" in reply:
                part(reply["part"])
            elif "ok" in reply:
                return reply["ok"]
            else:
                raise self._revived(reply.get("error"))

    def _revived(self, error: Any) -> OnearmError:
        found = wire.decode(dict[str, str], error)
        if found.get("kind") == "bug":
            return OnearmError(f"{self._host}: the node failed:\n{error['text']}")
        return revive(found.get("kind", ""), f"{self._host}: {found.get('text', '')}")

    def _start(self, deadline: float) -> None:
        """Start the node; when its file is not there yet, put it there and start again."""
        self._launch()
        try:
            self._hello(deadline)
        except Unreachable:
            process = self._process
            code = process.wait() if process else None
            if code != NO_SUCH_FILE:
                raise
            self.close(keep_errors=True)
            self._install(deadline)
            self._launch()
            self._hello(deadline)

    def _launch(self) -> None:
        self._errors.seek(0)
        self._errors.truncate()
        argv = [*self._prefix, "python3", "-I", self._file]
        try:
            # a session of its own: Ctrl-C at the operator's terminal must not cut a batch short
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise self._not_started(error) from error

    def _not_started(self, error: OSError) -> Unreachable:
        return Unreachable(
            f"{self._host}: {self._prefix[0] if self._prefix else 'python3'} could not be started"
            f" ({error.strerror}): correct `reach` in the spec, or install it"
        )

    def _install(self, deadline: float) -> None:
        argv = [*self._prefix, "install", "-D", "-m", "0700", "/dev/stdin", self._file]
        try:
            done = subprocess.run(
                argv,
                input=self._data,
                capture_output=True,
                timeout=max(0.1, deadline - time.monotonic()),
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._late() from error
        except OSError as error:
            raise self._not_started(error) from error
        if done.returncode:
            said = _tail(done.stderr)
            raise Unreachable(f"{self._host}: {self._file} could not be put there: {said}")

    def _hello(self, deadline: float) -> None:
        skipped = 0
        while skipped <= FOREIGN_LIMIT:
            data = self._line(deadline)
            with contextlib.suppress(wire.WireError):
                hello = wire.parse_line(data)
                if hello.get("onearm") == 1 and hello.get("kind") == "hello":
                    self._check_build(hello)
                    return
            skipped += len(data)
        self.close()
        raise Unreachable(
            f"{self._host}: it says much, but no hello of ours: look at what"
            f" {' '.join(self._prefix) or 'python3'} prints"
        )

    def _check_build(self, hello: dict[str, Any]) -> None:
        if hello.get("build") != self._digest:
            self.close()
            raise PlaceError(
                f"{self._host}: {self._file} is not what its name says: remove it and try again"
            )

    def _send(self, lines: Iterable[bytes]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):  # a node that is gone is noticed by the reader
            for data in lines:
                _write_all(process.stdin, data)

    def _line(self, deadline: float) -> bytes:
        """Read one line; Unreachable when none comes in time, or never will."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > wire.LINE_LIMIT:
                self.close()
                raise Unreachable(f"{self._host}: a line of over {wire.LINE_LIMIT} bytes came back")
            self._buffer += self._chunk(deadline)
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def _chunk(self, deadline: float) -> bytes:
        process = self._process
        if process is None or process.stdout is None:
            raise Unreachable(f"{self._host}: the connection is closed")
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise self._late()
        data = os.read(process.stdout.fileno(), CHUNK)
        if not data:
            code = process.wait()
            raise Unreachable(f"{self._host}: no answer, {self._why(code)}")
        return data

    def _why(self, code: int) -> str:
        self._errors.seek(0)
        said = _tail(self._errors.read(CHUNK))
        command = self._prefix[0] if self._prefix else "python3"
        return f"{command} ended with code {code}" + (f": {said}" if said else "")

    def _late(self) -> Unreachable:
        self.close()
        return Unreachable(f"{self._host}: no answer within {self._deadline_s:g} s")

    def close(self, *, keep_errors: bool = False) -> None:
        """End the input, give the node a moment to finish, then end it; twice is as once."""
        process, self._process = self._process, None
        self._buffer.clear()
        if process is not None:
            _end(process)
        if not keep_errors and not self._errors.closed and process is None:
            self._errors.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
            return


def _write_all(pipe: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]


def _lines(request: dict[str, Any], rows: Iterable[Any]) -> Iterable[bytes]:
    yield from wire.bulk(("rows",), rows)
    yield wire.line(request)


def _tail(data: bytes) -> str:
    text = data.decode("utf-8", "replace").strip()[-TAIL:]
    shown = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in shown)
