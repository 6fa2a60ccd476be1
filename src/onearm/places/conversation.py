"""One node process behind a command prefix: started, greeted, asked, and ended in time."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any

from onearm import bundle, wire
from onearm.errors import OnearmError, PlaceError, Unreachable, UsageError, revive
from onearm.places.child import Child
from onearm.places.obstacles import explained, obstacle

FOREIGN_LIMIT = 65536  # bytes of banners and the like that may precede the node's hello
REPLY_LIMIT = 1 << 29  # bytes of one reply: the largest table is a tenth of it
PAUSES_S = (0.2, 0.5, 1.0, 2.0)  # between tries, doubled at most by chance
STREAM_LIMIT = 1 << 34  # bytes of a reply of which nothing is kept: some hundred million lines
NOT_THERE = (1, 2)  # python3's exit codes when the file is not all there, or not at all


class Ended(Unreachable):
    """The process behind the prefix ended by itself."""

    def __init__(self, text: str, code: int, said: str = "") -> None:
        """Keep the exit code, and whether the cause may be gone at the next try."""
        super().__init__(text)
        self.code = code
        found = obstacle(said)
        self.passing = found is not None and found.passing


class Conversation:
    """Requests and replies with the node of one host, each within a deadline.

    What comes back is hostile until parsed: whatever it is, it ends in a reply or a PlaceError.
    """

    def __init__(self, host: str, prefix: Sequence[str], deadline_s: float) -> None:
        """Keep how the host is reached; nothing is started yet."""
        self._host, self._prefix, self._deadline_s = host, list(prefix), deadline_s
        self._child: Child | None = None
        self._buffer = bytearray()
        self._digest, self._data = bundle.build()
        self._file = f"/run/onearm/node-{self._digest}.pyz"

    def open(self) -> None:
        """Start the node if it does not run yet, so that the next request costs one round trip."""
        self._within(lambda deadline: self._child or self._start(deadline))

    def ask(self, request: dict[str, Any], rows: Iterable[Any], part: Callable[[Any], None]) -> Any:
        """Send one request and hand over the parts of its reply; return what ends it."""

        def talk(deadline: float) -> Any:
            child = self._child or self._start(deadline)
            child.feed(_lines(request, rows))
            return self._reply(part, lambda: deadline, REPLY_LIMIT)

        return self._within(talk)

    def stream(
        self, request: dict[str, Any], rows: Iterable[Any], part: Callable[[Any], None]
    ) -> Any:
        """Ask for what may take long and is not kept: each line has the whole time to come."""

        def talk(deadline: float) -> Any:
            child = self._child or self._start(deadline)
            child.feed(_lines(request, rows))
            return self._reply(part, lambda: time.monotonic() + self._deadline_s, STREAM_LIMIT)

        return self._within(talk)

    def _within(self, talk: Callable[[float], Any]) -> Any:
        try:
            return talk(time.monotonic() + self._deadline_s)
        except TimeoutError:
            self.close()
            raise Unreachable(f"{self._host}: no answer within {self._deadline_s:g} s") from None
        except wire.WireError as error:
            self.close()  # what follows on the line would be taken for the next reply
            raise PlaceError(f"{self._host}: {error}") from error

    def _reply(self, part: Callable[[Any], None], deadline: Callable[[], float], limit: int) -> Any:
        reply = wire.ending(lambda: self._line(deadline()), part, limit)
        if "ok" in reply:
            return reply["ok"]
        raise self._revived(reply.get("error"))

    def _revived(self, error: Any) -> OnearmError:
        """Rebuild the node's error: control characters go, the lines of a traceback stay."""
        lines = error.get("text") if isinstance(error, dict) else None
        if not isinstance(lines, str):
            raise wire.WireError("the node sent neither a reply nor an error of ours")
        text = "\n".join(wire.decode(str, line) for line in lines.splitlines())
        if error.get("kind") == "bug":
            return OnearmError(f"{self._host}: the node failed:\n{text}")
        told = f"{self._host}: {text}"
        found = revive(str(error.get("kind")), told)
        return found if isinstance(found, (PlaceError, UsageError)) else PlaceError(told)

    def _start(self, deadline: float) -> Child:
        """Start the node; many at once may be too many for a jump host, which some try again."""
        for pause_s in PAUSES_S:
            try:
                return self._started(deadline)
            except Ended as ended:
                wait_s = pause_s * (1 + random.random())  # noqa: S311 - not all at one moment
                if not ended.passing or time.monotonic() + wait_s > deadline:
                    raise
            time.sleep(wait_s)
        return self._started(deadline)

    def _started(self, deadline: float) -> Child:
        """Start the node; when its file is not there yet, put it there and start again."""
        try:
            return self._greeted(deadline)
        except Ended as ended:
            if ended.code not in NOT_THERE or not self._installed(deadline):
                raise
        return self._greeted(deadline)

    def _launch(self, *command: str) -> Child:
        argv = [*self._prefix, *command]
        try:
            # ssh may leave a connection to the next one: ours, or one that its operator shares.
            self._child = Child(argv, keep=PurePath(argv[0]).name == "ssh")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise Unreachable(
                f"{self._host}: {argv[0]} could not be started ({why}):"
                " correct `reach` in the spec, or install it"
            ) from error
        return self._child

    def _installed(self, deadline: float) -> bool:
        """Put the node's file there; False when that fails without a word, as the start did."""
        child = self._launch("install", "-D", "-m", "0700", "/dev/stdin", self._file)
        child.feed([self._data], last=True)
        while child.read(deadline):
            pass
        code = child.wait(deadline)
        said = child.complaint()
        self.close()
        if code and said:
            why = explained(said)
            raise Unreachable(f"{self._host}: {why}{self._file} could not be put there: {said}")
        return not code

    def _greeted(self, deadline: float) -> Child:
        """Start the node and read its hello; it needs nothing that the host's `site` would load."""
        child = self._launch("python3", "-IS", self._file)
        skipped = 0
        while skipped <= FOREIGN_LIMIT:
            data = self._line(deadline, FOREIGN_LIMIT)
            with contextlib.suppress(wire.WireError):
                hello = wire.parse_line(data)
                if hello.get("onearm") == 1 and hello.get("kind") == "hello":
                    self._check_build(hello)
                    return child
            skipped += len(data)
        raise self._chatter()

    def _chatter(self) -> Unreachable:
        self.close()
        return Unreachable(
            f"{self._host}: it says much, but no hello of ours: look at what"
            f" {' '.join(self._prefix) or 'python3'} prints"
        )

    def _check_build(self, hello: dict[str, Any]) -> None:
        if hello.get("build") != self._digest:
            self.close()
            raise Unreachable(
                f"{self._host}: {self._file} is not what its name says: remove it and try again"
            )

    def _line(self, deadline: float, limit: int = wire.LINE_LIMIT) -> bytes:
        """Read one line; TimeoutError when none comes in time, Ended when none ever will."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > limit:
                raise (
                    self._chatter()
                    if limit == FOREIGN_LIMIT
                    else wire.WireError(f"a line of over {limit} bytes came back")
                )
            self._buffer += self._chunk(deadline)
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def _chunk(self, deadline: float) -> bytes:
        child = self._child
        if child is None:
            raise Unreachable(f"{self._host}: the connection is closed")
        data = child.read(deadline)
        if data:
            return data
        code = child.wait(deadline)
        said = child.complaint()
        self.close()
        command = self._prefix[0] if self._prefix else "python3"
        ended = f"{command} ended with code {code}" + (f": {said}" if said else "")
        raise Ended(f"{self._host}: {explained(said) or 'no answer, '}{ended}", code, said)

    def close(self) -> None:
        """End the node, after the batch in hand if it is quick; twice is as once."""
        child, self._child = self._child, None
        self._buffer.clear()
        if child is not None:
            child.end()


def _lines(request: dict[str, Any], rows: Iterable[Any]) -> Iterable[bytes]:
    yield from wire.bulk(("rows",), rows)
    yield wire.line(request)
