"""The daemon's local socket: anybody on the host may read, only root and the daemon may command."""

from __future__ import annotations

import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from onearm import wire
from onearm.errors import Denied, OnearmError, PlaceError
from onearm.serve.client import HEAD
from onearm.serve.crowd import Crowd, Guest, TooLong
from onearm.serve.picture import Latest, Picture

LOG = logging.getLogger(__name__)
Ask = Callable[[str, dict[str, Any]], dict[str, Any]]

MOST = 64
REQUEST_LIMIT = 4096  # bytes
IDLE_S = 60.0  # between two requests of one connection
SEND_S = 10.0
PACE_S = 0.05  # at least, between two answers to one peer
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

# What may be asked of the daemon's owner, each field with its type.
COMMANDS: dict[str, dict[str, Any]] = {
    "drain": {"host": str, "deadline_s": Optional[float]},  # noqa: UP045 - as wire.py reads it
    "undrain": {"host": str},
    "drained": {"host": str},
    "converge": {"digest": Optional[str], "deadline_s": float},  # noqa: UP045 - as above
    "left": {},
    "hosts": {"hosts": tuple[str, ...]},
    "withdraw": {},
}
READS = ("drained", "left")  # asked again and again: no event


class Door:
    """Answers `snapshot` to all, and commands to who may give them."""

    def __init__(self, path: Path, latest: Latest, ask: Ask) -> None:
        """Prepare; `open` lets peers in."""
        self._path, self._ask, self._picture = path, ask, Picture(latest)
        self._crowd: Crowd | None = None

    def open(self) -> None:
        """Listen; raises PlaceError."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            self._bind(listener)
        except OSError as error:
            listener.close()
            raise PlaceError(
                f"nothing can listen at {self._path} ({error.strerror}): its folder must be there,"
                " root's, and not full"
            ) from error
        self._crowd = Crowd(listener, self._serve, lambda sock: _peer(sock)[1], MOST)
        self._crowd.start()

    def _bind(self, listener: socket.socket) -> None:
        """The name changes hands in one step: a reader never finds it missing."""
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(0o666)
        listener.listen(MOST)
        fresh.replace(self._path)

    def close(self) -> None:
        """Listen no more."""
        if self._crowd is not None:
            self._path.unlink(missing_ok=True)
            self._crowd.stop()

    def _serve(self, guest: Guest) -> None:
        while True:
            try:
                line = guest.until(b"\n", REQUEST_LIMIT, IDLE_S)
            except TooLong:
                refused = _error(PlaceError(f"a request is at most {REQUEST_LIMIT} bytes long"))
                guest.send(wire.line(refused), SEND_S)
                return
            if not line:
                return
            for answer in self._answers(guest, line):
                guest.send(answer, SEND_S)
            time.sleep(PACE_S)

    def _answers(self, guest: Guest, line: bytes) -> tuple[bytes, ...]:
        try:
            request = wire.parse_line(line)
            if request.get("do") == "snapshot":
                _only(request, {})
                return self._picture.lines()
            return (wire.line({**HEAD, "kind": "reply", "ok": self._command(guest, request)}),)
        except OnearmError as error:
            return (wire.line(_error(error)),)

    def _command(self, guest: Guest, request: dict[str, Any]) -> dict[str, Any]:
        verb = request.get("do")
        if not isinstance(verb, str) or verb not in COMMANDS:
            raise PlaceError(f"the daemon knows no {ascii(verb)[:60]}")
        fields = _only(request, COMMANDS[verb])
        pid, uid, _ = _peer(guest.sock)
        if uid not in (0, os.geteuid()):
            raise Denied(f"{verb} is for root alone, and this is user {uid}: use sudo")
        level = logging.DEBUG if verb in READS else logging.INFO
        LOG.log(level, "%s asked by process %d of user %d: %s", verb, pid, uid, fields)
        guest.stays = True
        try:
            return self._ask(verb, fields)
        finally:
            guest.stays = False


def _only(request: dict[str, Any], types: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of a request, of the right types and no others; one left out is null."""
    unknown = request.keys() - {"onearm", "kind", "do", *types}
    if unknown:
        raise PlaceError(f"{request['do']} knows no field {ascii(min(unknown))[:60]}")
    return {name: wire.decode(hint, request.get(name)) for name, hint in types.items()}


def _peer(sock: socket.socket) -> tuple[int, int, int]:
    """Say who connected: process, user and group, by the kernel's word."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, gid = CREDENTIALS.unpack(data)
    return pid, uid, gid


def _error(error: OnearmError) -> dict[str, Any]:
    said = {"kind": type(error).__name__, "text": str(error)}
    return {**HEAD, "kind": "reply", "error": said}
