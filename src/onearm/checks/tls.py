"""The tls check: the handshake alone; and the layer that https speaks HTTP over."""

from __future__ import annotations

import ssl
from abc import abstractmethod
from functools import lru_cache
from pathlib import Path

from onearm.checks.place import Place
from onearm.checks.probe import Watch
from onearm.checks.stream import Conversation
from onearm.checks.verdict import Ours, Verdict, clean
from onearm.spec import Check


class Secured(Conversation):
    """TLS between two buffers in memory: nothing in it can block."""

    __slots__ = ("agreed", "incoming", "outgoing", "tls")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.agreed = False
        self.tls: ssl.SSLObject | None = None

    def begin(self, watch: Watch) -> Verdict | None:
        name = (self.place.check.host or self.place.address).rstrip(".")
        context = context_for(self.place.check)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        return super().begin(watch)

    def agree(self, tls: ssl.SSLObject) -> None:
        """Say the first words within TLS."""

    @abstractmethod
    def inside(self, tls: ssl.SSLObject) -> Verdict | None:
        """Go on within TLS: at once when it stands, and whenever something came."""

    def opened(self) -> None:
        self._step()

    def hear(self, data: bytes) -> Verdict | None:
        self.incoming.write(data)
        return self._step()

    def ended(self) -> Verdict:
        self.incoming.write_eof()
        return self._step() or self.broken_off()

    def broken_off(self) -> Verdict:
        """Judge when the server closes and nothing more can be read."""
        return Verdict(ok=False, reason="connection closed within the TLS handshake")

    def waits_for(self) -> str:
        return "no end of the TLS handshake"

    def _step(self) -> Verdict | None:
        if self.tls is None:
            return None
        try:
            self._handshake(self.tls)
            return self.inside(self.tls)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLCertVerificationError as error:
            return Verdict(ok=False, reason=f"certificate refused: {clean(error.verify_message)}")
        except ssl.SSLEOFError:
            return None
        except ssl.SSLError as error:
            why = clean((error.reason or str(error)).replace("_", " ").lower())
            return Verdict(ok=False, reason=f"TLS failed: {why}")
        finally:
            self.unsent += self.outgoing.read()

    def _handshake(self, tls: ssl.SSLObject) -> None:
        if not self.agreed:
            tls.do_handshake()
            self.agreed = True
            self.agree(tls)


class Tls(Secured):
    """The handshake is all."""

    __slots__ = ()

    def inside(self, tls: ssl.SSLObject) -> Verdict | None:
        return Verdict(ok=True, reason=f"{tls.version()} handshake")


def context_for(check: Check) -> ssl.SSLContext:
    """Give the settings of a check; a file of certificates is read again when it has changed."""
    if check.ca is None:
        return _context(check.verify, None, 0)
    try:
        changed = Path(check.ca).stat().st_mtime_ns
    except OSError as error:
        raise Ours("tls", f"ca {check.ca} cannot be read: {error.strerror}") from None
    return _context(check.verify, check.ca, changed)


@lru_cache(maxsize=64)
def _context(verify: bool, ca: str | None, _changed: int) -> ssl.SSLContext:  # noqa: FBT001 - a key
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError is one
        raise Ours("tls", f"ca {ca} cannot be used: {clean(str(error))}") from None
    return context
