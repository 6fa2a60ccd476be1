"""The udp check: a datagram goes out; what comes back, or comes back as ICMP, decides."""

from __future__ import annotations

from abc import abstractmethod
from select import EPOLLIN
from socket import SocketType

from onearm.checks.probe import BROKEN, Probe, Watch, fault
from onearm.checks.verdict import Verdict, clean, early, late
from onearm.pattern import compiled

DATAGRAM_MOST = 16 * 1024
UNREACHABLE = Verdict(ok=False, reason="unreachable")
AT_ONCE = 16  # datagrams read at one wake-up: a flood waits for the others' turn


class Asking(Probe):
    """One datagram out; each one that comes in is judged by the kind."""

    __slots__ = ()

    @abstractmethod
    def payload(self) -> bytes:
        """Write the datagram."""

    @abstractmethod
    def judge(self, data: bytes) -> Verdict | None:
        """Judge a datagram; None for one that is not the answer."""

    def open(self) -> SocketType:
        return self.place.datagrams()

    def begin(self, watch: Watch) -> Verdict | None:
        self.sock = self.open()
        watch.watch(self.sock.fileno(), EPOLLIN, self)
        try:
            self.sock.send(self.payload())
        except OSError as error:
            return early(error.errno or 0, f"the probe of {self.place.target.host}")
        return None

    def ready(self, events: int, _watch: Watch, /) -> Verdict | None:
        if self.sock is None:
            return None
        if events & BROKEN:
            return fault(self.sock) or UNREACHABLE
        for _ in range(AT_ONCE):
            try:
                data = self.sock.recv(DATAGRAM_MOST)
            except BlockingIOError:
                return None
            except OSError as error:
                return late(error.errno or 0)
            verdict = self.judge(data)
            if verdict is not None:
                return verdict
        return None


class Udp(Asking):
    """Without `expect` silence is good: most services say nothing to what they do not know."""

    __slots__ = ()

    def payload(self) -> bytes:
        return self.place.check.send

    def judge(self, data: bytes) -> Verdict | None:
        wanted = self.place.check.expect
        if wanted is None:
            return Verdict(ok=True, reason="replied")
        search = compiled(wanted, "latin-1").search()
        if search.feed(data) or search.end():
            return Verdict(ok=True, reason="replied as wanted")
        return Verdict(
            ok=False, reason=f"replied {clean(data, 40)!r}, wanted {clean(wanted, 40)!r}"
        )

    def expired(self) -> Verdict:
        if self.place.check.expect is None:
            return Verdict(ok=True, reason="not refused")
        return super().expired()
