"""Messages that differ from one that was read in an address alone, as most of a table do."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, Optional, TypeVar, cast

from onearm.addresses import unpacked
from onearm.kernel.ipvs_messages import GENL
from onearm.kernel.netlink import ATTRIBUTE, KIND_MASK
from onearm.lean import like

T = TypeVar("T")
ADDRESS_BYTES = 16  # of either family, as the kernel writes it
MOST = 1 << 12  # different messages without their addresses


class Span(NamedTuple):
    """Where an attribute's payload lies."""

    kind: int
    start: int
    stop: int


def spans(data: bytes, start: int, stop: int) -> Optional[list[Span]]:
    """List the attributes between two offsets; None unless they fill that to the last byte."""
    found: list[Span] = []
    while start + ATTRIBUTE.size <= stop:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < ATTRIBUTE.size or start + length > stop:
            return None
        found.append(Span(kind & KIND_MASK, start + ATTRIBUTE.size, start + length))
        start += (length + 3) & ~3
    return found if start == stop else None


def inside(body: bytes, what: int) -> list[Span]:
    """List the attributes of the one thing in a message; of a repeated one the last counts, and
    that is for the walk: then there are none.
    """
    outer = spans(body, GENL.size, len(body))
    if outer is None or [span.kind for span in outer] != [what]:
        return []
    found = spans(body, outer[0].start, len(body)) or []
    return found if len({span.kind for span in found}) == len(found) else []


class Alike(Generic[T]):
    """What was read, by its message without the address; the like of it has another address.

    All before the address is the same, so that it stands where it stood, and all behind it.
    """

    def __init__(self, what: int, kind: int) -> None:
        """Look in attribute `what` of a message for the address, which is attribute `kind`."""
        self._what, self._kind = what, kind
        self._at: dict[int, int] = {}  # by the message's length
        self._bases: dict[bytes, T] = {}

    def get(self, body: bytes) -> Optional[T]:
        """Read a message that is like another one."""
        at = self._at.get(len(body), 0)
        base: Any = self._bases.get(body[:at] + body[at + ADDRESS_BYTES :]) if at else None
        if base is None:
            return None
        address = unpacked(body[at : at + len(base.address.packed)])
        return cast("T", like(base, address=address))

    def learn(self, body: bytes, found: Any) -> None:
        """Know the like of it again."""
        for kind, start, stop in inside(body, self._what) if found.address is not None else ():
            if kind == self._kind and stop - start == ADDRESS_BYTES:
                if len(self._bases) >= MOST:
                    self._bases.clear()
                self._at[len(body)] = start
                self._bases[body[:start] + body[stop:]] = found
