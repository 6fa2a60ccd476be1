"""The https check: an HTTP request within TLS."""

from __future__ import annotations

import ssl

from onearm.checks.http import TLS_PORT, asked
from onearm.checks.http_reply import Reply
from onearm.checks.place import Place
from onearm.checks.stream import PIECE
from onearm.checks.tls import Secured
from onearm.checks.verdict import Verdict


class Https(Secured):
    """Asks as soon as TLS stands."""

    __slots__ = ("reply",)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.reply = Reply(place.check)

    def agree(self, tls: ssl.SSLObject) -> None:
        tls.write(asked(self.place, TLS_PORT))

    def inside(self, tls: ssl.SSLObject) -> Verdict | None:
        while True:
            data = spoken(tls)
            if not data:
                return self.reply.end()
            verdict = self.reply.feed(data)
            if verdict is not None:
                return verdict

    def broken_off(self) -> Verdict:
        return self.reply.end() if self.agreed else super().broken_off()

    def expired(self) -> Verdict:
        return self.reply.known or super().expired()

    def waits_for(self) -> str:
        return self.reply.waits_for() if self.agreed else super().waits_for()


def spoken(tls: ssl.SSLObject) -> bytes:
    """Read a piece of what the server says within TLS; b"" when it has closed TLS."""
    try:
        return tls.read(PIECE)
    except ssl.SSLZeroReturnError:
        return b""
