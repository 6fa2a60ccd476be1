"""The tcp check: the handshake is answered, which is as far as the kernel goes by itself."""

from __future__ import annotations

from select import EPOLLONESHOT, EPOLLOUT

from onearm.checks.probe import BROKEN, Probe, Watch, fault
from onearm.checks.verdict import Verdict

EVENTS = EPOLLOUT | EPOLLONESHOT  # it comes once, so closing needs no epoll_ctl
UP = Verdict(ok=True, reason="connected")
CLOSED = Verdict(ok=False, reason="connection closed")


class Tcp(Probe):
    """Connects, and resets before the handshake's last packet: no program there is woken."""

    __slots__ = ()

    def begin(self, watch: Watch) -> Verdict | None:
        self.sock = sock = self.place.stream()
        watch.watch(sock.fileno(), EVENTS, self)
        return None

    def ready(self, events: int, watch: Watch, /) -> Verdict | None:
        sock = self.sock
        if sock is None or events & BROKEN:
            return (sock and fault(sock)) or CLOSED
        watch.forget(sock.fileno())
        sock.close()
        self.sock = None
        return UP
