"""How a probe ends: a verdict on the server, or trouble of our own; each errno said once, here."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple


class Verdict(NamedTuple):
    """Whether the server serves, and why, in one clause."""

    ok: bool
    reason: str


class Down(Exception):  # noqa: N818 - a verdict on its way
    """The server does not serve."""

    @property
    def verdict(self) -> Verdict:
        return Verdict(ok=False, reason=str(self))


class Ours(Exception):  # noqa: N818 - trouble on its way
    """No probe could be made, and not for any fault of the server's."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


THEIRS = {  # what the server, or a router on the way, can cause
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection aborted",
    errno.EPIPE: "connection closed",
    errno.ETIMEDOUT: "no answer",
    errno.EHOSTUNREACH: "host unreachable",
    errno.EHOSTDOWN: "host unreachable",
    errno.ENONET: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ENOPROTOOPT: "protocol unreachable",
    errno.EOPNOTSUPP: "a router refused the way",
    errno.EPROTO: "protocol error",
    errno.EMSGSIZE: "a router refused the size",
}
# Said by connect() itself these come from our own routing table: nothing was sent yet.
UNSENT = {errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENONET, errno.EOPNOTSUPP}
HINTS = {
    errno.EMFILE: "raise the limit of open files",
    errno.EPERM: "a mark wants CAP_NET_ADMIN, and a firewall here may refuse the packet",
    errno.EACCES: "raw sockets want CAP_NET_RAW, and a route here may prohibit the address",
    errno.EADDRNOTAVAIL: "the source address is not this host's, or all its ports are in use",
}


def late(code: int) -> Verdict:
    """Judge an error that came back on a socket that had sent."""
    if code in THEIRS:
        return Verdict(ok=False, reason=THEIRS[code])
    raise ours(code, "a probe failed")


def early(code: int, what: str) -> Verdict:
    """Judge an error of connect() or send() itself."""
    if code in THEIRS and code not in UNSENT:
        return Verdict(ok=False, reason=THEIRS[code])
    raise ours(code, what)


def ours(code: int, what: str) -> Ours:
    """Make trouble of an errno."""
    name = errno.errorcode.get(code, str(code))
    hint = f"; {HINTS[code]}" if code in HINTS else ""
    return Ours(name, f"{what}: {os.strerror(code)} ({name}){hint}")


def clean(text: str | bytes, most: int = 200) -> str:
    """Bring what a stranger sent onto one short printable line."""
    if isinstance(text, bytes):
        text = text[: 4 * most].decode("utf-8", "replace")
    line = "".join(char if char.isprintable() else " " for char in text[:most])
    return " ".join(line.split())
