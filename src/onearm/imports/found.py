"""What stood in a foreign file, whatever its format: services, and what could not be carried."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onearm.model import Address
from onearm.spec import DIRECT, Forwarding

Value = str | int | bytes | float | tuple["Value", ...]
Keys = tuple[tuple[str, Value], ...]
MARKED = (
    "its mark is set by rules outside of this file: write what they match as a group, with `vips`"
    " and `ports`"
)
LONGEST_SHOWN = 200  # characters of a foreign line that a comment repeats


class Cannot(ValueError):  # noqa: N818 - a reason on its way into a comment
    """Why a value has no place in a spec, in words."""


def must(holds: bool, why: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Refuse a value with a reason."""
    if not holds:
        raise Cannot(why)


@dataclass(frozen=True)
class Note:
    """Something that was not carried: where it stood, what it was, why.

    `differs`: without it the kernel's table would be another one, now or when a real server fails.
    """

    at: str
    what: str
    why: str
    differs: bool = False

    def __str__(self) -> str:
        return f"{self.at}: {self.what}: {self.why}" if self.at else f"{self.what}: {self.why}"


@dataclass(frozen=True)
class Server:
    """A real server behind a service; `port` is its own one behind NAT, 0 the service's."""

    address: Address
    weight: int = 1
    upper: int = 0
    lower: int = 0
    way: Forwarding = DIRECT
    port: int = 0


@dataclass(frozen=True)
class Check:
    """The keys of a check as the spec has them, and what did not fit into them."""

    keys: Keys
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Service:
    """A virtual service that a spec can have. `body` is how it stood in the file."""

    at: str
    what: str
    vip: Address
    port: int
    protocol: str
    keys: Keys = ()
    servers: tuple[Server, ...] = ()
    sorry: Address | None = None
    sorry_way: Forwarding = DIRECT
    check: Check | None = None
    notes: tuple[Note, ...] = ()
    body: tuple[str, ...] = ()

    def noted(self, note: Note) -> Service:
        """Add a note."""
        return replace(self, notes=(*self.notes, note))

    def lost(self, why: str) -> Lost:
        """Give the service up, with a reason."""
        return Lost((Note(self.at, self.what, why, differs=True),), self.body)


@dataclass(frozen=True)
class Lost:
    """A virtual service that a spec cannot have; it stands as a comment in its place."""

    notes: tuple[Note, ...]
    body: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A whole file. `timeouts` are of idle connections, in seconds, as far as it says them."""

    tool: str
    services: tuple[Service | Lost, ...]
    notes: tuple[Note, ...] = ()
    timeouts: tuple[tuple[str, int], ...] = ()


def shown(text: str) -> str:
    """Put a foreign line into a comment: printable, on one line, not too long."""
    plain = " ".join("".join(c if c.isprintable() else "?" for c in text.expandtabs(1)).split())
    return plain if len(plain) <= LONGEST_SHOWN else plain[:LONGEST_SHOWN] + "..."


def notes_of(found: Found) -> list[Note]:
    """Give every note of a file, in its order."""
    notes = list(found.notes)
    for service in found.services:
        notes += service.notes
        if isinstance(service, Service) and service.check:
            notes += service.check.notes
    return notes
