"""Connections as people read them: rows as they come, then sums, at 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onearm.entries import CONNECTION, PROBE, TEMPLATE, Entry, Served
from onearm.model import Address, endpoint
from onearm.render import plural
from onearm.tally import Slot, Sums

AT_ONCE = 500  # rows that are kept until they are written
STYLES = {"ESTABLISHED": "green", "SYN_RECV": "yellow"}
KIND_STYLES = {TEMPLATE: "cyan", PROBE: "dim"}
MINUTE = 60


class Seen(NamedTuple):
    """What one director's table held."""

    read: int
    told: int
    missed: int
    all: Sums
    servers: dict[Slot, Sums]


def title(served: Served) -> str:
    """Name a service."""
    return f"{endpoint(served.vip, served.port, served.last)}/{served.protocol}"


class Rows:
    """Prints entries in lumps, so that their number does not matter."""

    def __init__(self, console: Console, names: Mapping[Address, str]) -> None:
        """Print on a console."""
        self._console, self._names, self._kept, self._first = console, names, list[Entry](), True

    def add(self, entry: Entry) -> None:
        """Keep an entry; print when enough are there."""
        self._kept.append(entry)
        if len(self._kept) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Print what is kept."""
        if not self._kept:
            return
        table = Table(box=None, pad_edge=False, show_header=self._first, header_style="dim")
        for column in ("client", "service", "server", "state", "left", ""):
            table.add_column(column, justify="right" if column == "left" else "left")
        for entry in self._kept:
            table.add_row(*self._cells(entry))
        self._console.print(table)
        self._kept.clear()
        self._first = False

    def _cells(self, entry: Entry) -> tuple[str | Text, ...]:
        template = entry.kind == TEMPLATE
        client = f"{entry.client}" if template else endpoint(entry.client, entry.client_port)
        kind = "" if entry.kind == CONNECTION else entry.kind
        kept = f"{entry.pe} {entry.pe_data}".strip()
        return (
            client,
            title(Served(entry.protocol, entry.vip, entry.port)),
            self._names.get(entry.server, str(entry.server)),
            Text(entry.state, STYLES.get(entry.state, "")),
            f"{entry.expires_s // MINUTE}:{entry.expires_s % MINUTE:02}",
            Text(f"{kind} {kept}".strip(), KIND_STYLES.get(entry.kind, "")),
        )


def show_sums(
    console: Console, director: str, seen: Seen, names: Mapping[Address, str], *, every: bool
) -> None:
    """Print what there is in all, and for each real server."""
    if seen.told:
        console.print()
    found = seen.all
    head = Text.assemble((director, "bold"), f"  {plural(found.connections, 'connection')}  ")
    head.append_text(_states(found.states))
    head.rstrip()
    console.print(head)
    if seen.servers:
        console.print(_table(seen.servers, names))
    for line in _notes(seen, every=every):
        console.print(Text(line, "dim"))


def _table(servers: Mapping[Slot, Sums], names: Mapping[Address, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("service")
    table.add_column("server")
    table.add_column("open", justify="right")
    table.add_column("half-open", justify="right")
    table.add_column("states")
    before: Served | None = None
    for (served, server), sums in sorted(servers.items(), key=_order):
        table.add_row(
            Text("" if served == before else title(served), "bold"),
            names.get(server, str(server)),
            f"{sums.connections}",
            Text(_share(sums), "bold red" if sums.half_open else ""),
            _states(sums.states, sums.kinds),
        )
        before = served
    return table


def _order(item: tuple[Slot, Sums]) -> tuple[object, ...]:
    (served, server), _ = item
    return (served.vip.version, int(served.vip), served.port, served.protocol,
            server.version, int(server))  # fmt: skip


def _share(sums: Sums) -> str:
    return f"{100 * sums.old // sums.connections} %" if sums.connections else "-"


def _states(states: Counter[str], kinds: Counter[str] | None = None) -> Text:
    """Write states with their numbers, the most frequent first, then what is no connection."""
    parts = [(f"{state} {number}", STYLES.get(state, "")) for state, number in _sorted(states)]
    for kind, style in KIND_STYLES.items():
        if kinds and kinds[kind]:
            parts.append((plural(kinds[kind], kind), style))
    text = Text()
    for turn, (word, style) in enumerate(parts):
        text.append(", " if turn else "")
        text.append(word, style)
    return text


def _sorted(states: Counter[str]) -> list[tuple[str, int]]:
    return sorted(states.items(), key=lambda item: (-item[1], item[0]))


def _notes(seen: Seen, *, every: bool) -> list[str]:
    counted = sum(seen.all.kinds.values()) + seen.missed
    notes = []
    if 0 < seen.told < counted:
        notes.append(f"the first {seen.told} of {counted} entries are shown: --limit for more")
    if counted < seen.read - 1:
        rest = "" if every else ", the rest is not asked for or of other services (--all)"
        notes.append(f"{counted} of {seen.read - 1} entries of its table{rest}")
    if seen.missed:
        notes.append(f"{seen.missed} entries are of more real servers than fit: use --service")
    return notes
