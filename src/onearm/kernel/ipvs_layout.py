"""Reading dumped destinations fast: the layout of a message is learned, then checked each time."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Optional, final

from onearm.facts import Counters
from onearm.kernel.ipvs_messages import (
    CMD_DEST,
    DEST_ACTIVE,
    DEST_INACTIVE,
    DEST_PERSISTENT,
    DEST_STATS,
    DEST_STATS64,
    GENL,
    STATS_KINDS,
    IpvsDestination,
    parse_counters,
    parse_destination,
)
from onearm.kernel.netlink import ATTRIBUTE, HEADER, KIND_MASK, Datagram

# A message is cut into what changes with every packet (the figures) and all the rest: headers,
# lengths, address, weight. Where the rest is byte for byte what was read before, the message is
# built in the same way, so that the figures stand where they stood. Anything else is walked.
FIGURES = (DEST_ACTIVE, DEST_INACTIVE, DEST_PERSISTENT, DEST_STATS, DEST_STATS64)
MOST_KNOWN = 1 << 17  # different destinations that are remembered
LENGTH, WIDE_BYTES = struct.Struct("=I"), 8
NOTHING = Counters()
Rest = tuple[bytes, bytes, bytes, bytes, bytes]


class Span(NamedTuple):
    """Where an attribute's payload stands."""

    kind: int
    start: int
    stop: int


def spans(data: bytes, start: int, stop: int) -> Optional[list[Span]]:
    """Give the attributes of data[start:stop]; None unless they fill it exactly."""
    found = []
    while start + ATTRIBUTE.size <= stop:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < ATTRIBUTE.size or start + length > stop:
            return None
        found.append(Span(kind & KIND_MASK, start + ATTRIBUTE.size, start + length))
        start += (length + 3) & ~3
    return found if start == stop else None


def layout(message: bytes) -> Optional[struct.Struct]:
    """Learn from one whole message where the figures stand; None where it is built otherwise.

    It unpacks to the netlink header, rest, active, rest, inactive, rest, persistent, rest, rest
    and the 64-bit statistics.
    """
    outer = spans(message, HEADER.size + GENL.size, len(message))
    if outer is None or [span.kind for span in outer] != [CMD_DEST]:
        return None
    inner = spans(message, outer[0].start, len(message))
    figures = [span for span in inner or () if span.kind in FIGURES]
    if tuple(span.kind for span in figures) != FIGURES or figures[-1].stop != len(message):
        return None
    active, inactive, persistent, narrow, wide = figures
    if (
        any(span.stop - span.start != LENGTH.size for span in figures[:3])
        or wide.start == wide.stop
    ):
        return None
    return struct.Struct(
        f"={HEADER.size}s{active.start - HEADER.size}sI{inactive.start - active.stop}sI"
        f"{persistent.start - inactive.stop}sI{narrow.start - persistent.stop}s"
        f"{narrow.stop - narrow.start}x{wide.start - narrow.stop}s{wide.stop - wide.start}s"
    )


class Statistics(NamedTuple):
    """How the ten numbers are laid out, and the bytes before each."""

    layout: struct.Struct
    between: tuple[bytes, ...]


def statistics_layout(wide: bytes) -> Optional[Statistics]:
    """Learn where the ten 64-bit numbers stand; None where they are laid out otherwise."""
    found = [span for span in spans(wide, 0, len(wide)) or () if span.kind in STATS_KINDS]
    if [span.kind for span in found] != list(STATS_KINDS) or found[-1].stop != len(wide):
        return None
    if any(span.stop - span.start != WIDE_BYTES for span in found):
        return None
    starts = [0, *(span.stop for span in found)]
    shape = "".join(f"{span.start - at}sQ" for at, span in zip(starts, found))
    made = struct.Struct(f"={shape}")
    return Statistics(made, made.unpack(wide)[::2])


@dataclass
class Learned:
    """What this process knows of the kernel's messages: a cache, and nothing else."""

    layouts: dict[int, struct.Struct] = field(default_factory=dict)  # by a message's length
    known: dict[tuple[int, Rest], IpvsDestination] = field(default_factory=dict)  # idle, by family
    idle: dict[bytes, Counters] = field(default_factory=dict)  # statistics that are all 0
    statistics: Optional[Statistics] = None


LEARNED = Learned()


@final
class Destinations:
    """Reads the messages of destination dumps; `family` is that of the service in question."""

    def __init__(self, family: int = 0, learned: Learned = LEARNED) -> None:
        """Begin with what other dumps taught."""
        self.family = family
        self.found: list[IpvsDestination] = []
        self._learned = learned

    def begin(self) -> None:
        """Forget what the last dump brought, not how it was built."""
        self.found = []

    def take(self, datagram: Datagram, start: int, stop: int) -> int:
        """Read the message at `start`, and those behind it that are built alike.

        Return where the next one begins. The caller saw that the first is whole, and ours.
        """
        (length,) = LENGTH.unpack_from(datagram, start)
        layout_ = self._learned.layouts.get(length)
        if layout_ is not None:
            whole = start + (stop - start) // length * length
            rows = layout_.iter_unpack(datagram[start:whole])
            read = self._rows(rows, bytes(datagram[start : start + HEADER.size]))
            if read:
                return start + read * int(length)
        return self._walk(bytes(datagram[start : start + length]), start)

    def _rows(self, rows: Iterable[tuple[Any, ...]], header: bytes) -> int:
        """Take messages until one has another header, or is not known; return how many."""
        known, idle, found, family = (
            self._learned.known,
            self._learned.idle,
            self.found,
            self.family,
        )
        before = len(found)
        for head, one, active, two, inactive, three, persistent, four, five, wide in rows:
            standing = known.get((family, (one, two, three, four, five)))
            if standing is None or head != header:
                break
            if active or inactive or persistent or wide not in idle:
                standing = _with(standing, active, inactive, persistent, self._count(wide))
            found.append(standing)
        return len(found) - before

    def _count(self, wide: bytes) -> Counters:
        """Read statistics; those that are all 0 are known again."""
        counters = self._unpacked(wide)
        if counters == NOTHING and len(self._learned.idle) < MOST_KNOWN:
            self._learned.idle[wide] = NOTHING
        return counters

    def _unpacked(self, wide: bytes) -> Counters:
        learned = self._learned.statistics
        if learned is not None and learned.layout.size == len(wide):
            values = learned.layout.unpack(wide)
            if values[::2] == learned.between:
                return Counters(*values[1::2])
        self._learned.statistics = statistics_layout(wide)
        return parse_counters(wide, b"")

    def _walk(self, message: bytes, start: int) -> int:
        """Read a message attribute by attribute, and learn from it."""
        found = parse_destination(message[HEADER.size :], self.family)
        if found is not None:
            self.found.append(found)
            self._learn(message, found)
        return start + ((len(message) + 3) & ~3)

    def _learn(self, message: bytes, found: IpvsDestination) -> None:
        made = layout(message)
        if made is None:
            return
        self._learned.layouts[len(message)] = made
        _, one, _, two, _, three, _, four, five, _ = made.unpack(message)
        if len(self._learned.known) >= MOST_KNOWN:
            self._learned.known.clear()
        self._learned.known[self.family, (one, two, three, four, five)] = replace(
            found, active=0, inactive=0, persistent=0, counters=NOTHING
        )


def _with(
    standing: IpvsDestination, active: int, inactive: int, persistent: int, counters: Counters
) -> IpvsDestination:
    """Copy a destination with other figures, in a fraction of the time of dataclasses.replace."""
    made = object.__new__(IpvsDestination)
    figures = {"active": active, "inactive": inactive, "persistent": persistent}
    made.__dict__.update(standing.__dict__, counters=counters, **figures)
    return made
