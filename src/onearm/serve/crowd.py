"""Many peers, some of them slow or hostile: each has a thread, all have bounds and deadlines.

When there are too many, the newest is let in and the oldest of whoever has the most is sent away:
who fills the house with connections sends away connections of his own.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable

LOG = logging.getLogger(__name__)
CHUNK = 16384
BREATH_S = 0.1  # after an accept that failed, for want of descriptors as a rule


class TooLong(Exception):  # noqa: N818 - what it says of a line
    """What a peer sends does not end within the limit."""


class Guest:
    """One connection."""

    def __init__(self, sock: socket.socket, who: Hashable) -> None:
        """Own the socket; `who` is whom its place counts for."""
        self.sock, self.who = sock, who
        self.stays = False  # not sent away: it waits for the end of a command
        self._buffer = bytearray()

    def until(self, end: bytes, limit: int, seconds: float) -> bytes:
        """Read up to `end`, all of it within the time; nothing at all when the peer is gone."""
        deadline = time.monotonic() + seconds
        while (found := self._buffer.find(end)) < 0:
            if len(self._buffer) >= limit:
                raise TooLong
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.sock.settimeout(left)
            data = self.sock.recv(CHUNK)
            if not data:
                return b""
            self._buffer += data
        if found > limit:
            raise TooLong
        line = bytes(self._buffer[: found + len(end)])
        del self._buffer[: found + len(end)]
        return line

    def send(self, data: bytes, seconds: float) -> None:
        """Write it all within the time (the standard library's sendall keeps one deadline)."""
        self.sock.settimeout(seconds)
        self.sock.sendall(data)

    def leave(self) -> None:
        """Let whatever its thread does with the socket fail at once."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


Serve = Callable[[Guest], None]
Who = Callable[[socket.socket], Hashable]


class Crowd:
    """All connections of one listening socket."""

    def __init__(self, listener: socket.socket, serve: Serve, who: Who, most: int) -> None:
        """Own the listener; nobody is let in before `start`."""
        self._listener, self._serve, self._who, self._most = listener, serve, who, most
        self._guests: list[Guest] = []  # the oldest first
        self._lock = threading.Lock()
        self._going = True
        self._thread = threading.Thread(target=self._accept, daemon=True, name="crowd")

    def start(self) -> None:
        """Let peers in."""
        self._thread.start()

    def stop(self) -> None:
        """Send all away; no thread is left that listens."""
        self._going = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            for guest in self._guests:
                guest.leave()

    def __len__(self) -> int:
        """Count those who are in."""
        with self._lock:
            return len(self._guests)

    def _accept(self) -> None:
        while self._going:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if self._going:
                    LOG.warning("no connection could be taken (%s)", error.strerror)
                    time.sleep(BREATH_S)
                continue
            self._let_in(sock)

    def _let_in(self, sock: socket.socket) -> None:
        try:
            guest = Guest(sock, self._who(sock))
        except OSError:
            sock.close()
            return
        if not self._has_room():
            sock.close()
            return
        with self._lock:
            self._guests.append(guest)
        try:
            threading.Thread(target=self._attend, args=(guest,), daemon=True).start()
        except RuntimeError:  # the system has no thread more
            self._forget(guest)

    def _has_room(self) -> bool:
        """Make room if need be; False when all who are in must stay."""
        with self._lock:
            if len(self._guests) < self._most:
                return True
            held = Counter(guest.who for guest in self._guests)
            movable = [guest for guest in self._guests if not guest.stays]
            if not movable:
                return False
            goes = max(movable, key=lambda guest: held[guest.who])  # the first of equals: oldest
            self._guests.remove(goes)
        goes.leave()
        return True

    def _attend(self, guest: Guest) -> None:
        try:
            self._serve(guest)
        except (OSError, TooLong):  # gone, slow or sent away: its own affair
            pass
        except Exception:  # a bug of ours costs this peer its connection, and nobody else
            LOG.exception("a connection ended in a bug")
        finally:
            self._forget(guest)

    def _forget(self, guest: Guest) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._guests.remove(guest)
        guest.sock.close()
