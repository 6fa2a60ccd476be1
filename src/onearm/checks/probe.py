"""What every kind of probe is: begun once, woken by its sockets, ended by a verdict or by time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from select import EPOLLERR, EPOLLHUP
from socket import SO_ERROR, SOL_SOCKET, SocketType
from typing import Protocol

from onearm.checks.place import Place
from onearm.checks.verdict import Verdict, late

BROKEN = EPOLLERR | EPOLLHUP


class Watch(Protocol):
    """The loop, as a probe sees it."""

    def watch(self, fd: int, events: int, probe: Probe) -> None: ...
    def unwatch(self, fd: int) -> None: ...
    def connect(self, probe: Probe) -> SocketType: ...  # begins a stream, and watches it
    def hang_up(self, probe: Probe, sock: SocketType) -> None: ...  # ends one


class Probe(ABC):
    """One probe of one target. Any verb may raise Down or Ours; close() is called in every case."""

    __slots__ = ("begun", "over", "place", "sock")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.begun = 0.0
        self.over = False
        self.sock: SocketType | None = None

    @abstractmethod
    def begin(self, watch: Watch) -> Verdict | None:
        """Open what is needed."""

    @abstractmethod
    def ready(self, events: int, watch: Watch, /) -> Verdict | None:
        """Go on; None while there is no verdict."""

    def expired(self) -> Verdict:
        """Judge by what there is when the time is over."""
        return Verdict(ok=False, reason=f"no answer within {self.place.check.timeout_s:g} s")

    def close(self, watch: Watch) -> None:
        """Leave nothing open."""
        if self.sock is not None:
            watch.unwatch(self.sock.fileno())
            self.sock.close()
            self.sock = None


def fault(sock: SocketType) -> Verdict | None:
    """Take what went wrong on a socket, if anything did."""
    code = sock.getsockopt(SOL_SOCKET, SO_ERROR)
    return late(code) if code else None
