"""Probes over TCP. In a conversation words are sent, and what is heard goes to the kind's part."""

from __future__ import annotations

from abc import abstractmethod
from select import EPOLLIN, EPOLLOUT, EPOLLRDHUP

from onearm.checks.place import Place
from onearm.checks.probe import BROKEN, Probe, Watch, fault
from onearm.checks.verdict import Verdict, early, late

PIECE = 16 * 1024
CLOSED = Verdict(ok=False, reason="connection closed without an answer")
HEARD_MOST = 256 * 1024  # of one probe, TLS and HTTP framing included


class Stream(Probe):
    """A probe over a TCP connection, which begins at once and ends with a reset."""

    __slots__ = ()

    def begin(self, watch: Watch) -> Verdict | None:
        self.sock = watch.connect(self)
        return None

    def close(self, watch: Watch) -> None:
        sock, self.sock = self.sock, None
        if sock is not None:
            watch.hang_up(self, sock)


class Conversation(Stream):
    """Edge-triggered, so what is there is read to its end, which HEARD_MOST bounds."""

    __slots__ = ("connected", "heard", "unsent")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.connected = False
        self.unsent = b""
        self.heard = 0

    @abstractmethod
    def opened(self) -> None:
        """Fill `unsent` with the first words."""

    @abstractmethod
    def hear(self, data: bytes) -> Verdict | None:
        """Take the next piece; may add to `unsent`."""

    def ended(self) -> Verdict:
        """Judge when the server closes in good order."""
        return CLOSED

    @abstractmethod
    def waits_for(self) -> str:
        """Say what has not come yet."""

    def ready(self, events: int, _watch: Watch, /) -> Verdict | None:
        if self.sock is None:
            return None
        if not self.connected:
            if events & BROKEN:
                return fault(self.sock) or CLOSED
            if not events & EPOLLOUT:
                return None
            self.connected = True
            self.opened()
        if self.unsent:
            self._send()
        if not events & (EPOLLIN | EPOLLRDHUP | BROKEN):
            return None
        return self._listen()

    def expired(self) -> Verdict:
        if not self.connected:
            return super().expired()
        within = f"within {self.place.check.timeout_s:g} s"
        return Verdict(ok=False, reason=f"connected, but {self.waits_for()} {within}")

    def _send(self) -> None:
        """Send what fits; the rest when there is room again, of which the edge tells."""
        if self.sock is None:
            return
        try:
            sent = self.sock.send(self.unsent)
        except BlockingIOError:
            return
        except OSError as error:
            early(error.errno or 0, f"nothing can be sent to {self.place.target.host}")
            return  # its own fault is told where it is read: an answer may have come before
        self.unsent = self.unsent[sent:]

    def _listen(self) -> Verdict | None:
        while self.sock is not None:
            try:
                data = self.sock.recv(PIECE)
            except BlockingIOError:
                return None
            except OSError as error:
                return late(error.errno or 0)
            if not data:
                return self.ended()
            self.heard += len(data)
            verdict = self.hear(data)
            if verdict is not None:
                return verdict
            if self.heard > HEARD_MOST:
                return Verdict(ok=False, reason=f"more than {HEARD_MOST >> 10} KiB and no end")
            if self.unsent:
                self._send()
        return None
