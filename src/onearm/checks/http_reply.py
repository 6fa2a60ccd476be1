"""An HTTP/1 answer, fed in pieces: a verdict comes out as soon as one is possible. No sockets."""

from __future__ import annotations

import re
from functools import lru_cache

from onearm.checks.verdict import Verdict, clean
from onearm.pattern import compiled
from onearm.spec import Check

HEAD_MOST = 16 * 1024
BODY_MOST = 64 * 1024

_VERSION = b"HTTP/1."
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r\n]")
_END = re.compile(rb"\r?\n\r?\n")
_SIZE = re.compile(rb"(?:\r?\n)?([0-9a-fA-F]{1,8})[ \t]*(?:;[^\n]{0,999})?\r?\n")
_DIGITS_MOST = 18  # of a content-length
LINE_MOST = 1024  # of a chunk's size with its extensions
INFORMATIONAL = range(100, 200)
BODYLESS = {204, 304}


def request(check: Check, host: str) -> bytes:
    """Write the request; the connection is for this one alone."""
    lines = [f"{check.method} {check.path} HTTP/1.1", f"Host: {host}", "User-Agent: onearm"]
    lines += ["Accept: */*", "Connection: close"]
    if check.method == "POST":
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class Reply:
    """What was heard so far: the status decides, and with a pattern the body too.

    An answer is heard to its end before that is told: many a program logs a page of complaints
    when it is reset within one.
    """

    __slots__ = ("_body", "_buffer", "_check", "_search", "known", "status")

    def __init__(self, check: Check) -> None:
        self._check = check
        self._search = None if check.body is None else compiled(check.body).search()
        self._buffer = b""
        self._body: _Body | None = None
        self.status = 0
        self.known: Verdict | None = None

    def feed(self, data: bytes) -> Verdict | None:
        if self._body is not None:
            return self._read(self._body, data)
        self._buffer += data
        return self._head()

    def end(self) -> Verdict:
        """Judge when no more comes."""
        if self._body is not None:
            return self._judged()
        if self._buffer:
            return Verdict(ok=False, reason="connection closed within the HTTP head")
        return Verdict(ok=False, reason="connection closed without an answer")

    def waits_for(self) -> str:
        if self._body is not None:
            return f"HTTP {self.status} and no end of the body"
        return "no end of the HTTP head" if self._buffer else "no HTTP answer"

    def _head(self) -> Verdict | None:
        while True:
            buffer = self._buffer
            found = _STATUS.match(buffer, 0, HEAD_MOST)
            if found is None:
                return self._unfinished(buffer)
            end = buffer.find(b"\r\n\r\n", 0, HEAD_MOST) + 4
            if end < 4:  # noqa: PLR2004 - not found; some end lines without the \r
                loosely = _END.search(buffer, 0, HEAD_MOST)
                if loosely is None:
                    return self._too_long(buffer)
                end = loosely.end()
            self.status = int(found[1])
            self._buffer = buffer[end:]
            if self.status not in INFORMATIONAL:
                return self._begin_body(buffer[:end])

    def _begin_body(self, head: bytes) -> Verdict | None:
        if not self._wanted():
            why = f"HTTP {self.status}, wanted {self._codes()}"
            self.known = Verdict(ok=False, reason=why)
        elif self._search is None:
            self.known = _served(self.status)
        self._body = _Body(head, none=self.status in BODYLESS or self._check.method == "HEAD")
        rest, self._buffer = self._buffer, b""
        return self._read(self._body, rest)

    def _read(self, body: _Body, data: bytes) -> Verdict | None:
        piece = body.take(data)
        search = self._search
        if search is not None and self.known is None and (search.feed(piece) or search.exhausted):
            self.known = self._judged()
        return self._judged() if body.over else None

    def _judged(self) -> Verdict:
        search = self._search
        if self.known is not None or search is None:
            return self.known or _served(self.status)
        if search.end():
            return Verdict(ok=True, reason=f"HTTP {self.status}, body as wanted")
        why = "body too intricate for" if search.exhausted else "body without"
        shown = clean(self._check.body or "", 40)
        return Verdict(ok=False, reason=f"HTTP {self.status}, {why} the pattern {shown!r}")

    def _wanted(self) -> bool:
        for low, high in self._check.codes:  # noqa: SIM110 - any() takes five times as long
            if low <= self.status <= high:
                return True
        return False

    def _codes(self) -> str:
        return ", ".join(
            str(low) if low == high else f"{low}-{high}" for low, high in self._check.codes
        )

    def _unfinished(self, buffer: bytes) -> Verdict | None:
        start = buffer[: len(_VERSION)]
        if start != _VERSION[: len(start)] or b"\n" in buffer[:HEAD_MOST]:
            return Verdict(ok=False, reason=f"no HTTP/1 answer but {clean(buffer, 40)!r}")
        return self._too_long(buffer)

    def _too_long(self, buffer: bytes) -> Verdict | None:
        if len(buffer) < HEAD_MOST:
            return None
        return Verdict(ok=False, reason=f"more than {HEAD_MOST >> 10} KiB of HTTP head")


@lru_cache(maxsize=512)
def _served(status: int) -> Verdict:
    return Verdict(ok=True, reason=f"HTTP {status}")


def _value(head: bytes, name: bytes) -> bytes:
    """Find the value of a header in a lower-case head."""
    at = head.find(name)
    return b"" if at < 0 else head[at + len(name) : head.find(b"\n", at + 1)].strip()


class _Body:
    """Takes the framing off a body: by length, in chunks, or to the end of the connection."""

    __slots__ = ("_chunked", "_left", "_line", "_room", "over")

    def __init__(self, head: bytes, *, none: bool) -> None:
        head = head.lower()
        self._chunked = _value(head, b"\ntransfer-encoding:").endswith(b"chunked")
        self._line = b""  # where the size of the next chunk is read
        self._room = BODY_MOST
        self._left = 0  # of the body or the chunk
        if not self._chunked and not none:
            length = _value(head, b"\ncontent-length:")
            known = length.isdigit() and len(length) <= _DIGITS_MOST
            self._left = int(length) if known else BODY_MOST
        self.over = none or (not self._left and not self._chunked)

    def take(self, data: bytes) -> bytes:
        """Give the body's own bytes; `over` once it ends, or breaks off, or enough was seen."""
        if not self._chunked:
            return self._piece(data)
        pieces = []
        while data and not self.over:
            if not self._left:
                data = self._size(data)
                continue
            pieces.append(self._piece(data))
            data = data[len(pieces[-1]) :]
        return b"".join(pieces)

    def _piece(self, data: bytes) -> bytes:
        piece = data[: min(self._left, self._room)]
        self._left -= len(piece)
        self._room -= len(piece)
        self.over = not self._room or (not self._left and not self._chunked)
        return piece

    def _size(self, data: bytes) -> bytes:
        """Read a chunk's size, and give what is left behind it; anything else ends the body."""
        self._line += data
        found = _SIZE.match(self._line)
        if found is None:
            self.over = len(self._line) > LINE_MOST or b"\n" in self._line[2:]
            return b""
        self._left = int(found[1], 16)
        self.over = not self._left
        rest, self._line = self._line[found.end() :], b""
        return rest
