"""The tcp check: the handshake is answered, which is as far as the kernel goes by itself."""

from __future__ import annotations

from select import EPOLLOUT

from onearm.checks.probe import BROKEN, Watch, fault
from onearm.checks.stream import Stream
from onearm.checks.verdict import Verdict

UP = Verdict(ok=True, reason="connected")
CLOSED = Verdict(ok=False, reason="connection closed")


class Tcp(Stream):
    """Connects, and resets before the handshake's last packet: no program there is woken."""

    __slots__ = ()

    def ready(self, events: int, _watch: Watch, /) -> Verdict | None:
        if self.sock is None or events & BROKEN:
            return (self.sock and fault(self.sock)) or CLOSED
        return UP if events & EPOLLOUT else None
