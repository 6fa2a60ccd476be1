"""TCP sockets that are used again: making one, watching it and closing it cost more than asking.

connect(2) to an address of the family AF_UNSPEC dissolves a TCP connection, with a reset where it
stood, and leaves a socket as good as new: the next connect() chooses a source and a port anew.
"""

from __future__ import annotations

import ctypes
from socket import SocketType

KEPT_MOST = 128  # of each family
NOWHERE = ctypes.create_string_buffer(16)  # a struct sockaddr of the family AF_UNSPEC
_connect = ctypes.CDLL(None).connect  # socket's own knows no such address


class Idle:
    """Sockets that are connected to nobody, by family; each is watched by epoll all the while."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[int, list[SocketType]] = {}

    def take(self, family: int) -> SocketType | None:
        kept = self._kept.get(family)
        return kept.pop() if kept else None

    def give(self, family: int, sock: SocketType) -> bool:
        """End its connection and keep it; False when it is to be closed."""
        kept = self._kept.setdefault(family, [])
        if len(kept) >= KEPT_MOST or _connect(sock.fileno(), NOWHERE, len(NOWHERE)):
            return False
        kept.append(sock)
        return True

    def close(self) -> None:
        """Close them all."""
        for kept in self._kept.values():
            for sock in kept:
                sock.close()
        self._kept.clear()
