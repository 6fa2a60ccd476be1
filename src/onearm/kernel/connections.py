"""The IPVS connection table, counted while it streams by: it may have millions of entries."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Optional, TextIO, final

from onearm.entries import (
    MARKED,
    PROBE,
    WORDS,
    Marked,
    Served,
    Wanted,
    address,
    kind_of,
    old,
    port,
)
from onearm.model import Address
from onearm.vitals import ConnectionsFact

FOLDER = "/proc/thread-self/net"
PARAMETERS = "/sys/module/ip_vs/parameters"
LINES_MOST = 3_000_000  # some seconds' worth; who diagnoses waits
GROUPS_MOST = 4096
LINE_MOST = 4096  # characters; a persistence engine keeps 255 bytes at most
BEAT_LINES = 1000  # a kernel may take a second for so many once there are a million
EVERYTHING = Wanted(every=True)

# Protocol, VIP, port, real server, state, still as text; kind.
_Key = tuple[str, str, str, str, str, str]


@final
class Scan:
    """One pass over the lines of /proc/net/ip_vs_conn.

    Memory is bounded by the number of groups: entries of one kind with one destination and state.
    `missed` counts entries that found no group any more.
    """

    def __init__(
        self,
        wanted: Wanted = EVERYTHING,
        services: Iterable[Served] = (),
        own: Iterable[Address] = (),
        most: int = GROUPS_MOST,
        marked: Iterable[Marked] = (),
    ) -> None:
        """Count what is `wanted`, of `services`; `own` addresses are those that checks come from.

        At most `most` groups are kept. `marked` name what stands under a group's mark.
        """
        self.read = self.missed = 0
        self._wanted, self._services, self._most = wanted, frozenset(services), most
        self._ranges = [served for served in self._services if served.last]
        self._marked = {one.mark: one.served for one in marked}
        self._own = {_as_written(found) for found in own}
        self._groups: dict[_Key, Optional[list[int]]] = {}
        self._client = _matcher(wanted)

    def lines(
        self, lines: Iterable[str], beat: Callable[[int], None] = lambda _read: None
    ) -> Iterator[str]:
        """Count every line, and yield those that are wanted up to the limit.

        `beat` is told from time to time how many were read.
        """
        left = self._wanted.limit
        for line in lines:
            self.read += 1
            if not self.read % BEAT_LINES:
                beat(self.read)
            if self._count(line) and left != 0:
                yield line.rstrip("\n")
                left = None if left is None else left - 1

    def _count(self, line: str) -> bool:
        words = line.split(None, WORDS)
        if len(words) < WORDS or not self._client(words[1]):
            return False
        kind = kind_of(words, mine=words[1] in self._own)
        key = (words[0], words[3], words[4], words[5], words[7], kind)
        counts = self._groups.get(key, _UNKNOWN)
        if counts is _UNKNOWN:
            counts = self._new(key)
        if counts is None:
            return False
        counts[0] += 1
        counts[1] += old(words[7], words[8])
        return True

    def _new(self, key: _Key) -> Optional[list[int]]:
        """Decide once for a group whether it is wanted, and keep it while there is room."""
        fact = _fact(key, 0, 0)
        counts = [0, 0] if fact is not None and self._wants(fact) else None
        if len(self._groups) < 2 * self._most:
            self._groups[key] = counts
        elif counts is not None:
            self.missed += 1
        return counts

    def _wants(self, seen: ConnectionsFact) -> bool:
        wanted, fact = self._wanted, self._named(seen)
        if wanted.vip is not None and fact.vip != wanted.vip:
            return False
        if wanted.state and fact.state != wanted.state:
            return False
        served = Served(fact.protocol, fact.vip, fact.port)
        return wanted.every or served in self._services or any(map(served.within, self._ranges))

    def _named(self, fact: ConnectionsFact) -> ConnectionsFact:
        """Give what stands under a group's mark the group's name."""
        served = self._marked.get(fact.vip) if fact.protocol == MARKED else None
        if served is None:
            return fact
        return replace(fact, protocol=served.protocol, vip=served.vip, port=served.port)

    def facts(self, first: Container[Address] = ()) -> tuple[ConnectionsFact, ...]:
        """Give the groups. Those of the VIPs in `first` go before the rest."""
        counted = (_fact(key, *counts) for key, counts in self._groups.items() if counts)
        found = [self._named(fact) for fact in counted if fact]
        found.sort(key=lambda fact: fact.vip not in first)
        self.missed += sum(fact.count for fact in found[self._most :])
        return tuple(found[: self._most])


_UNKNOWN: list[int] = []


def _as_written(found: Address) -> str:
    return f"{int(found):08X}" if found.version == 4 else found.exploded


def _matcher(wanted: Wanted) -> Callable[[str], bool]:
    network = wanted.client
    if network is None:
        return lambda _word: True

    def inside(word: str) -> bool:
        try:
            return address(word) in network
        except ValueError:
            return False

    return inside


def _fact(key: _Key, count: int, waiting: int) -> Optional[ConnectionsFact]:
    protocol, vip, digits, server, state, kind = key
    if not (protocol + state).isprintable():  # no kernel writes it, and no wire would keep it
        return None
    try:
        ends = address(vip), port(digits), address(server)  # the header has words here
    except ValueError:
        return None
    return ConnectionsFact(protocol.lower(), *ends, state, count, waiting, kind)


def parse(
    lines: Iterable[str], first: Container[Address] = (), own: Iterable[Address] = ()
) -> tuple[tuple[ConnectionsFact, ...], bool]:
    """Group all lines; the second value tells whether something is left out.

    What health checks leave there, from the host's `own` addresses, is no client's: it is dropped.
    """
    scan = Scan(Wanted(every=True, limit=0), own=own, most=GROUPS_MOST)
    for _ in scan.lines(lines):
        pass
    found = scan.facts(first)
    return tuple(fact for fact in found if fact.kind != PROBE), bool(scan.missed)


@contextmanager
def table(folder: str = FOLDER) -> Iterator[Iterator[str]]:
    """Open the table as lines. Without IPVS there are none; opening loads no module.

    Raises OSError. Only a line feed ends a line: what a persistence engine keeps of a client's
    words may hold any other byte. A kernel that reads from a position may show an entry twice, or
    not at all, while others come and go.
    """
    path = Path(folder, "ip_vs_conn")
    try:
        file = path.open(encoding="ascii", errors="replace", newline="\n")
    except FileNotFoundError:
        yield iter(())
        return
    with file:
        yield _lines(file)


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(LINE_MOST):
        yield line


def connections(
    first: Container[Address], folder: str = FOLDER, own: Iterable[Address] = ()
) -> tuple[tuple[ConnectionsFact, ...], bool]:
    """Return the groups, and whether something is left out; raises OSError."""
    with table(folder) as lines:
        found, cut = parse(islice(lines, LINES_MOST), first, own)
        return found, cut or next(lines, None) is not None


def loaded(folder: str = FOLDER) -> bool:
    """Tell whether IPVS is there for this namespace; asking does not load it."""
    return Path(folder, "ip_vs").exists()


def parameters(folder: str = PARAMETERS) -> dict[str, str]:
    """Return the parameters of the module ip_vs; raises OSError."""
    base = Path(folder)
    if not base.is_dir():
        return {}
    return {
        path.name: path.read_text(encoding="ascii", errors="replace").strip()
        for path in sorted(base.iterdir())
    }
