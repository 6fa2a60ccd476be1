"""Whole answers of an API, however slowly or badly they come."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

LONGEST_BODY = 64 << 20


class Reply(NamedTuple):
    """A whole answer: its status, and its body as bytes."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own numbers


class _CutShortError(OSError):
    """The connection ended before the answer did."""


class _LateTimeoutError(OSError):
    """The answer trickles."""


def whole(response: Any, end: float) -> bytes:
    """Read a body within the deadline, however slowly it comes."""
    parts: list[bytes] = []
    size = 0
    raw = response.raw
    read = getattr(raw, "read1", None)
    try:
        while True:
            part = read(65536, decode_content=True) if read else raw.read(512, decode_content=True)
            if not part:
                break
            parts.append(part)
            size += len(part)
            if time.monotonic() > end:
                raise _LateTimeoutError
            if size > LONGEST_BODY:
                raise _CutShortError(f"the answer is longer than {LONGEST_BODY} bytes")
    finally:
        response.close()
    told = response.headers.get("Content-Length", "")
    plain = "Content-Encoding" not in response.headers
    if told.isdigit() and plain and size != int(told):
        raise _CutShortError(f"the answer ended after {size} of {told} bytes")
    return b"".join(parts)


def asked_wait(reply: Reply, tries: int) -> float:
    """Give the seconds that Retry-After asks for, else a growing pause."""
    told = next((v for k, v in reply.headers.items() if k.lower() == "retry-after"), "")
    if told.strip().isdigit():
        return float(told)
    try:
        return max(parsedate_to_datetime(told).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, IndexError):
        return min(2.0**tries, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311 - a pause, no secret
