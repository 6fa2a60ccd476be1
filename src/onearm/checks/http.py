"""The http check: one request, and what its answer says."""

from __future__ import annotations

from onearm.checks.http_reply import Reply, request
from onearm.checks.place import Place
from onearm.checks.stream import Conversation
from onearm.checks.target import Target
from onearm.checks.verdict import Verdict

PLAIN_PORT, TLS_PORT = 80, 443


def asked(place: Place, usual_port: int) -> bytes:
    """Give the request of a target, which is written once."""
    if not place.words:
        place.words = _written(place.target, usual_port)
    return place.words


def _written(target: Target, usual_port: int) -> bytes:
    """Write the request; the Host header is what a client of that address would say."""
    check = target.check
    address = str(target.address)
    if target.address.version != 4:  # noqa: PLR2004 - IPv4
        address = f"[{address}]"
    default = address if target.port == usual_port else f"{address}:{target.port}"
    return request(check, bracketed(check.host) if check.host else default)


def bracketed(host: str) -> str:
    """Write a host as URLs do, an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and "[" not in host else host


class Http(Conversation):
    """Asks as soon as the connection stands."""

    __slots__ = ("reply",)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.reply = Reply(place.check)

    def opened(self) -> None:
        self.unsent = asked(self.place, PLAIN_PORT)

    def hear(self, data: bytes) -> Verdict | None:
        return self.reply.feed(data)

    def ended(self) -> Verdict:
        return self.reply.end()

    def expired(self) -> Verdict:
        return self.reply.known or super().expired()

    def waits_for(self) -> str:
        return self.reply.waits_for()
