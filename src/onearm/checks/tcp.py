"""The tcp check: the handshake is answered, which is as far as the kernel goes by itself."""

from __future__ import annotations

from select import EPOLLONESHOT, EPOLLOUT

from onearm.checks.place import Place
from onearm.checks.probe import BROKEN, Probe, Watch, fault
from onearm.checks.verdict import Verdict

EVENTS = EPOLLOUT | EPOLLONESHOT  # it comes once, so closing needs no epoll_ctl
UP = Verdict(ok=True, reason="connected")
CLOSED = Verdict(ok=False, reason="connection closed")


class Tcp(Probe):
    """Connects, and resets before the handshake's last packet: no program there is woken."""

    __slots__ = ("woken",)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.woken = False

    def begin(self, watch: Watch) -> Verdict | None:
        self.sock = sock = self.place.stream()
        watch.watch(sock.fileno(), EVENTS, self)
        return None

    def ready(self, events: int, /) -> Verdict | None:
        self.woken = True
        if events & BROKEN and self.sock is not None:
            return fault(self.sock) or CLOSED
        return UP

    def close(self, watch: Watch) -> None:
        if self.woken and self.sock is not None:
            watch.forget(self.sock.fileno())
            self.sock.close()
            self.sock = None
        super().close(watch)
