"""Reading dumped destinations fast: the layout of a message is learned, then checked each time."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Optional, final

from onearm.addresses import unpacked
from onearm.facts import Counters
from onearm.kernel.ipvs_alike import Alike, Span, inside, spans
from onearm.kernel.ipvs_messages import (
    CMD_DEST,
    CMD_SERVICE,
    DEST_ACTIVE,
    DEST_ADDR,
    DEST_AF,
    DEST_FWD,
    DEST_INACTIVE,
    DEST_LOWER,
    DEST_PERSISTENT,
    DEST_PORT,
    DEST_STATS,
    DEST_STATS64,
    DEST_TUN_FLAGS,
    DEST_TUN_PORT,
    DEST_TUN_TYPE,
    DEST_UPPER,
    DEST_WEIGHT,
    STATS_KINDS,
    SVC_ADDR,
    IpvsDestination,
    IpvsService,
    parse_counters,
    parse_destination,
    parse_service,
)
from onearm.kernel.netlink import HEADER, Datagram

# A destination whose whole message is byte for byte one that was read before is the same one: so
# are all that carry no packets. Of the others the values stand where they stood in a message of
# the same length, if all bytes between them are the same. Anything else is walked.
VALUES = {  # by the attribute: the field that it fills, and how it is packed
    DEST_ADDR: ("address", "16s"),
    DEST_PORT: ("port", "H"),
    DEST_FWD: ("forwarding", "I"),
    DEST_WEIGHT: ("weight", "I"),
    DEST_UPPER: ("upper", "I"),
    DEST_LOWER: ("lower", "I"),
    DEST_TUN_TYPE: ("tunnel_type", "B"),
    DEST_TUN_PORT: ("tunnel_port", "H"),
    DEST_TUN_FLAGS: ("tunnel_flags", "H"),
    DEST_ACTIVE: ("active", "I"),
    DEST_INACTIVE: ("inactive", "I"),
    DEST_PERSISTENT: ("persistent", "I"),
    DEST_AF: ("family", "H"),
}
ABSENT = {"forwarding": 0, "weight": 0}  # as the walk reads a message without them
NEEDED = ("address", "port")
MOST_KNOWN = 1 << 17  # different destinations that are remembered
LENGTH, WIDE_BYTES, IPV4_BYTES = struct.Struct("=I"), 8, 4
NOTHING = Counters()


class Layout(NamedTuple):
    """Where the values of a message stand: bytes between and values by turns, names of these."""

    whole: struct.Struct
    between: tuple[bytes, ...]
    names: tuple[str, ...]


def layout(body: bytes) -> Optional[Layout]:
    """Learn from one message (what follows its header); None where it is built otherwise."""
    shape, names, at = ["="], [], 0
    for span in inside(body, CMD_DEST):
        name, packed = _packed(span)
        if struct.calcsize(f"={packed}") != span.stop - span.start:
            return None
        if name:
            shape.append(f"{span.start - at}s{packed}")
            names.append(name)
            at = span.stop
    if names[-1:] != ["wide"] or at != len(body) or not {*NEEDED} <= {*names}:
        return None
    made = struct.Struct("".join(shape))
    return Layout(made, made.unpack(body)[::2], tuple(names))


def _packed(span: Span) -> tuple[str, str]:
    """Give the field that an attribute fills, and how it is packed; "" for what is not read."""
    size = span.stop - span.start
    if span.kind in (DEST_STATS, DEST_STATS64):
        return ("narrow" if span.kind == DEST_STATS else "wide" if size else ""), f"{size}s"
    return VALUES.get(span.kind, ("", f"{size}s"))


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
    """What this process knows of the kernel's messages: a cache, and nothing else.

    `known` are the destinations by their whole message, by the family of their service.
    """

    layouts: dict[int, Layout] = field(default_factory=dict)  # by a message's length
    known: dict[int, dict[bytes, IpvsDestination]] = field(default_factory=dict)
    alike: dict[int, Alike[IpvsDestination]] = field(default_factory=dict)  # idle, by the family
    services: dict[bytes, IpvsService] = field(default_factory=dict)  # idle, by their messages
    services_alike: Alike[IpvsService] = field(default_factory=lambda: Alike(CMD_SERVICE, SVC_ADDR))
    statistics: Optional[Statistics] = None
    idle: bytes = b""  # statistics that are all 0

    def service(self, body: bytes) -> Optional[IpvsService]:
        """Read a service; one that is known by its whole message is the same one."""
        found = self.services.get(body) or self.services_alike.get(body)
        if found is None:
            found = parse_service(body)
            if found is None or found.counters != NOTHING:
                return found
            self.services_alike.learn(body, found)
        if len(self.services) >= MOST_KNOWN:
            self.services.clear()
        self.services[body] = found
        return found

    def of(self, family: int) -> dict[bytes, IpvsDestination]:
        """Give the destinations that are known behind services of a family."""
        return self.known.setdefault(family, {})

    def alike_of(self, family: int) -> Alike[IpvsDestination]:
        """Give what is known of messages that differ in the address alone."""
        found = self.alike.get(family)
        if found is None:
            found = self.alike[family] = Alike(CMD_DEST, DEST_ADDR)
        return found


LEARNED = Learned()


@final
class Destinations:
    """Reads the messages of destination dumps; `family` is that of the service in question."""

    def __init__(self, family: int = 0, learned: Learned = LEARNED) -> None:
        """Begin with what other dumps taught."""
        self.family = family
        self.found: list[IpvsDestination] = []
        self._learned, self._known = learned, learned.of(family)
        self._alike = learned.alike_of(family)

    def begin(self) -> None:
        """Forget what the last dump brought, not how it was built."""
        self.found = []

    def take(self, datagram: Datagram, start: int, stop: int) -> int:
        """Read the message at `start`, and those behind it that have the very same header.

        Return where the next one begins. The caller saw that the first is whole, and ours.
        """
        length: int = LENGTH.unpack_from(datagram, start)[0]
        if length & 3:
            self._one(bytes(datagram[start + HEADER.size : start + length]))
            return start + ((length + 3) & ~3)
        whole = start + (stop - start) // length * length
        row = f"={HEADER.size}s{length - HEADER.size}s"
        heads, bodies = zip(*struct.iter_unpack(row, datagram[start:whole]))
        count = len(heads) if heads.count(heads[0]) == len(heads) else _alike(heads)
        found = [*map(self._known.get, bodies[:count])]
        if all(found):  # `None in` would compare each, in Python
            self.found += found  # type: ignore[arg-type]
        else:
            for body in bodies[:count]:
                self._one(body)
        return start + count * length

    def _one(self, body: bytes) -> None:
        """Read one message: as it was known, by its layout, or attribute by attribute."""
        found = self._known.get(body)
        if found is None:
            found = self._alike.get(body)
            if found is not None:
                self._keep(body, found)
        found = found or self._laid_out(body)
        if found is None:
            found = parse_destination(body, self.family)
            made = layout(body)
            if made is not None:
                self._learned.layouts[len(body)] = made
        if found is not None:
            self.found.append(found)

    def _laid_out(self, body: bytes) -> Optional[IpvsDestination]:
        """Read a message whose values stand where they stood in another one."""
        known = self._learned.layouts.get(len(body))
        values = known.whole.unpack(body) if known else ()
        if known is None or values[::2] != known.between:
            return None
        told = {**ABSENT, **dict(zip(known.names, values[1::2]))}
        told.pop("narrow", None)
        wide, family = told.pop("wide"), told.pop("family", self.family)
        if family not in (socket.AF_INET, socket.AF_INET6):
            return None
        packed = told["address"]
        told["address"] = unpacked(packed[:IPV4_BYTES] if family == socket.AF_INET else packed)
        told["port"] = socket.ntohs(told["port"])
        told["forwarding"] &= 7
        if told.get("tunnel_port"):
            told["tunnel_port"] = socket.ntohs(told["tunnel_port"])
        if wide != self._learned.idle:
            told["counters"] = self._count(wide)
        found = IpvsDestination(**told)
        self._remember(body, found)
        return found

    def _remember(self, body: bytes, found: IpvsDestination) -> None:
        """Know it again if it is idle: what carries packets is another one each time."""
        if found.active or found.inactive or found.persistent or found.counters != NOTHING:
            return
        self._alike.learn(body, found)
        self._keep(body, found)

    def _keep(self, body: bytes, found: IpvsDestination) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[body] = found

    def _count(self, wide: bytes) -> Counters:
        """Read statistics; those that are all 0 are known again."""
        counters = self._unpacked(wide)
        if counters == NOTHING:
            self._learned.idle = wide
            return NOTHING
        return counters

    def _unpacked(self, wide: bytes) -> Counters:
        learned = self._learned.statistics
        if learned is not None and learned.layout.size == len(wide):
            values = learned.layout.unpack(wide)
            if values[::2] == learned.between:
                return Counters(*values[1::2])
        self._learned.statistics = statistics_layout(wide)
        return parse_counters(wide, b"")


def _alike(heads: Sequence[bytes]) -> int:
    """Count the headers at the start that are the very same."""
    return next(n for n, head in enumerate(heads) if head != heads[0])
