"""The page, its data and the metrics: a read-only HTTP server that hostile peers do not harm."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import NamedTuple

from onearm.errors import PlaceError, UsageError
from onearm.serve.crowd import Crowd, Guest, TooLong
from onearm.serve.metrics import exposition
from onearm.serve.picture import Latest, Once, Picture

LOG = logging.getLogger(__name__)
MOST = 32
HEAD_LIMIT = 8192  # bytes of a request's head
HEAD_S, SEND_S = 5.0, 15.0
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Nothing but our own files: what a name or a reason may smuggle in has nowhere to go.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = (
    f"Content-Security-Policy: {POLICY}",
    "X-Content-Type-Options: nosniff",
    "X-Frame-Options: DENY",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
    "Cache-Control: no-store",
    "Connection: close",
)
OK, BAD, FOREIGN = "200 OK", "400 Bad Request", "403 Forbidden"
ABSENT, NOT_ALLOWED = "404 Not Found", "405 Method Not Allowed"
UNAVAILABLE = "503 Service Unavailable"


class Reply(NamedTuple):
    """An answer before it is written."""

    status: str
    type: str
    body: bytes


class Web:
    """Listens on one address. `names` are names besides addresses by which browsers may call it."""

    def __init__(
        self, listen: tuple[str, int], latest: Latest, names: tuple[str, ...] = ()
    ) -> None:
        """Prepare; `open` lets peers in."""
        picture = Picture(latest)
        self._listen = listen
        self._names = {"localhost", socket.gethostname().lower(), *(n.lower() for n in names)}
        self._pages = _pages()
        self._made: dict[str, Callable[[], Reply]] = {
            "/snapshot.json": lambda: Reply(OK, "application/json", picture.object()),
            "/metrics": partial(_metrics, Once(latest, exposition)),
        }
        self._crowd: Crowd | None = None
        self.address = listen

    def open(self) -> None:
        """Listen."""
        host, port = self._listen
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family, backlog=MOST)
        except OSError as error:
            raise UsageError(
                f"--listen {shown(host, port)}: nothing can listen there ({error.strerror}):"
                " choose another address or port"
            ) from error
        self.address = listener.getsockname()[:2]
        self._crowd = Crowd(listener, self._serve, lambda sock: sock.getpeername()[0], MOST)
        self._crowd.start()

    def close(self) -> None:
        """Listen no more."""
        if self._crowd is not None:
            self._crowd.stop()

    def _serve(self, guest: Guest) -> None:
        try:
            head = guest.until(b"\r\n\r\n", HEAD_LIMIT, HEAD_S)
        except TooLong:
            guest.send(_written(_said(BAD, "the head is too long")), SEND_S)
            return
        if head:
            method, reply = self._answer(head)
            guest.send(_written(reply, bodiless=method == "HEAD"), SEND_S)

    def _answer(self, head: bytes) -> tuple[str, Reply]:
        first, *rest = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target, version
            return "", _said(BAD, "not an HTTP/1 request")
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return method, _said(NOT_ALLOWED, "this page is for reading")
        hosts = [v.strip() for k, _, v in (h.partition(":") for h in rest) if k.lower() == "host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return method, _said(FOREIGN, "this server is not called so; call it by its address")
        return method, self._page(target.partition("?")[0])

    def _is_ours(self, host: str) -> bool:
        """Tell a call by address or own name from a foreign name that was pointed here."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.lower() in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def _page(self, path: str) -> Reply:
        if path in self._made:
            return self._made[path]()
        return self._pages.get(path, _said(ABSENT, "there is no such page"))


def _pages() -> dict[str, Reply]:
    """Read the page's files, once."""
    found = {}
    for file in (files("onearm.serve") / "page").iterdir():
        suffix = file.name.rpartition(".")[2]
        if suffix in TYPES:
            found[f"/{file.name}"] = Reply(OK, TYPES[suffix], file.read_bytes())
    return {**found, "/": found["/index.html"]}


def _metrics(made: Once) -> Reply:
    try:
        return Reply(OK, METRICS_TYPE, made())
    except PlaceError as error:
        return _said(UNAVAILABLE, str(error))


def _said(status: str, text: str) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def _written(reply: Reply, *, bodiless: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {reply.status}",
        f"Content-Type: {reply.type}",
        f"Content-Length: {len(reply.body)}",
        *ALWAYS,
    )
    return "\r\n".join((*head, "", "")).encode() + (b"" if bodiless else reply.body)


def shown(host: str, port: int) -> str:
    """Write an address and a port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parsed(text: str) -> tuple[str, int]:
    """Read `ADDRESS:PORT` as --listen has it."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        if colon and 0 < int(port) < 1 << 16:
            return host, int(port)
    except ValueError:
        pass
    raise UsageError(f"--listen {text}: write an address and a port, such as 127.0.0.1:9611")
