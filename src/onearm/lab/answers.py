"""What the responder says: who served whom from which address, or that many bytes, maybe paced."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import time
from urllib.parse import parse_qs, urlsplit

PORTION = 65536
LONGEST = 1 << 40
STEP_S = 0.1  # how finely a paced answer is paced; without steps it goes byte by byte, all the time
WORDS = 3  # of a request's first line: method, target, version


class Answer:
    """The bytes of one answer and how fast they may go."""

    def __init__(self, head: bytes, length: int, rate: int, *, last: bool) -> None:
        """`length` filler bytes follow the head."""
        self.head = head
        self.left = length
        self.rate = rate
        self.last = last
        self.begun = time.monotonic()
        self.paid = 0

    @property
    def over(self) -> bool:
        return not self.head and not self.left

    def portion(self, now: float) -> bytes:
        """What may go now."""
        if self.head:
            return self.head
        most = min(PORTION, self.left)
        if self.rate:
            steps = int((now - self.begun) / STEP_S)
            most = min(most, int(steps * STEP_S * self.rate) - self.paid)
        return FILLER[: max(0, most)]

    def sent(self, count: int) -> None:
        if self.head:
            self.head = self.head[count:]
        else:
            self.left -= count
            self.paid += count


FILLER = b"0123456789abcde\n" * (PORTION // 16)


@functools.cache
def name() -> str:
    """Name this host, asking once: the kernel is asked more than enough per answer."""
    return socket.gethostname()


def line(client: str, local: str) -> str:
    return f"{name()} {client} {local}\n"


def reply(head: str, client: str, local: str) -> Answer:
    """Answer one request head; what is not HTTP/1.x is told so and ends the talk."""
    first, _, rest = head.partition("\r\n")
    words = first.split(" ")
    if len(words) != WORDS or not words[2].startswith("HTTP/1."):
        return _answer("400 Bad Request", b"HTTP/1.x only\n", last=True)
    method, target, version = words
    headers = rest.lower()
    body = "content-length:" in headers or "transfer-encoding:" in headers
    closing = "connection: close" in headers or (
        version == "HTTP/1.0" and "connection: keep-alive" not in headers
    )
    last = closing or body
    size = _size(target)
    if size:
        return _answer("200 OK", b"", size[0] if method != "HEAD" else 0, *size, last=last)
    text = line(client, local)
    if urlsplit(target).path == "/json":
        host, client, local = text.split()
        text = json.dumps({"host": host, "client": client, "local": local}) + "\n"
    return _answer("200 OK", text.encode(), last=last, silent=method == "HEAD")


def _size(target: str) -> tuple[int, int] | None:
    """Return N and RATE of `/bytes/N?rate=RATE`; None for any other target."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(target)
        _, name, count = parts.path.split("/")
        rate = parse_qs(parts.query).get("rate", ["0"])[0]
        if name == "bytes" and count.isdecimal() and rate.isdecimal():
            return min(int(count), LONGEST), min(int(rate), LONGEST)
    return None


def _answer(status: str, text: bytes, *numbers: int, last: bool, silent: bool = False) -> Answer:
    """Build an answer of a text, or of `numbers`: bytes to send, bytes to announce, rate."""
    length, announced, rate = numbers or (0, len(text), 0)
    head = (
        f"HTTP/1.1 {status}\r\nServer: {name()}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {announced}\r\nConnection: {'close' if last else 'keep-alive'}\r\n\r\n"
    )
    return Answer(head.encode() + (b"" if silent else text), length, rate, last=last)
