"""A snapshot on a terminal: lines of text for a width, and the window of a height; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from onearm.alerts import BAD, WARN, WELL, alerts, in_rotation, title, verdict
from onearm.figures import between, count, latency, short_span, span, volume
from onearm.snapshot import (
    DOWN,
    DRAINED,
    DRAINING,
    RAMPING,
    UNCHECKED,
    UNKNOWN,
    UP,
    ServerView,
    ServiceView,
    Snapshot,
    VipView,
)

# A sign and a word for each state: colour alone tells nobody anything.
SIGNS = {
    UP: ("●", "green"),
    DOWN: ("✖", "bold red"),
    UNKNOWN: ("?", "yellow"),
    DRAINING: ("▼", "magenta"),
    DRAINED: ("▽", "magenta"),
    RAMPING: ("▲", "cyan"),
    UNCHECKED: ("○", ""),
}
LEVELS = {WELL: ("✔", "bold green"), WARN: ("▲", "bold yellow"), BAD: ("✖", "bold red")}
EVENT_STYLES = {"info": "", "warning": "yellow", "error": "bold red"}
RANK = (DOWN, UNKNOWN, DRAINING, RAMPING, DRAINED, UNCHECKED, UP)
NAME_MIN, NAME_MAX = 8, 24
CHECK_FROM, ADDRESS_FROM = 92, 112  # columns from which there is room for these
Slot = tuple[str, str]  # a service's title and a host: one line


@dataclass(frozen=True)
class Line:
    """A line of the body; a server's can be selected."""

    text: Text
    slot: Slot | None = None


def head(snapshot: Snapshot, width: int, live: Text) -> list[Text]:
    """Write who and how it stands: always to be seen."""
    up = between(snapshot.started, snapshot.at) or 0
    who = Text.assemble(
        ("onearm ", "bold blue"), (snapshot.name, "bold"), (f" · director {snapshot.host}", ""),
        (f" · up {span(up)}", "dim"),
    )  # fmt: skip
    found = verdict(snapshot)
    sign, style = LEVELS[found.level]
    said = Text.assemble((f"{sign} {found.head}", style))
    return [_apart(who, live, width), _cut(said, width), *_vips(snapshot, width)]


def _vips(snapshot: Snapshot, width: int) -> Iterator[Text]:
    for vip in snapshot.vips[:3]:
        yield _cut(_vip(vip), width)
    if len(snapshot.vips) > 3:  # noqa: PLR2004 - as above
        yield Text(f"  and {len(snapshot.vips) - 3} more VIPs", "dim")


def _vip(vip: VipView) -> Text:
    address = (str(vip.vip), "bold")
    if vip.claimants:
        others = ", ".join(f"{c.mac} ({c.host})" if c.host else c.mac for c in vip.claimants)
        said = (f" claimed by {others}, too", "red")
        return Text.assemble(("✖ ", "bold red"), address, said)
    if not vip.announced:
        return Text.assemble(("✖ ", "bold red"), address, (" not announced", "red"))
    return Text.assemble(("● ", "green"), address, (f" on {vip.link} {vip.mac}", "dim"))


def body(snapshot: Snapshot, width: int, *, ordered: bool = False) -> list[Line]:
    """Write every service with its servers, the worst first or in the spec's order."""
    lines: list[Line] = []
    names = [server.host for service in snapshot.services for server in service.servers]
    name = min(NAME_MAX, max([NAME_MIN, *map(len, names)]))
    for service in snapshot.services:
        lines.append(Line(_service(service, width)))
        lines.append(Line(_columns(name, width)))
        servers = service.servers if ordered else sorted(service.servers, key=_rank)
        for server in servers:
            slot = (title(service), server.host)
            lines.append(Line(_server(server, snapshot, name, width), slot))
            if server.reason and server.state != UP:
                lines.append(Line(_cut(Text(f"     {_reason(server, snapshot)}", "dim"), width)))
        lines.append(Line(Text()))
    return lines[:-1]


def _rank(server: ServerView) -> int:
    return RANK.index(server.state) if server.state in RANK else 0


def _service(service: ServiceView, width: int) -> Text:
    rotation, all_ = in_rotation(service), len(service.servers)
    sign, style = LEVELS[WELL if all_ and rotation == all_ else WARN if rotation else BAD]
    flags = [
        word
        for word, holds in (
            ("PANIC: all are served", service.panic),
            ("SORRY SERVER", service.sorry),
            (f"BELOW QUORUM {service.quorum}", not service.quorum_met),
        )
        if holds
    ]
    left = Text.assemble(
        (f"{sign} ", style), (title(service), "bold"), (f" {service.scheduler}", "dim"),
        f"  {rotation} of {all_} in rotation", ("".join(f"  {flag}" for flag in flags), "bold red"),
    )  # fmt: skip
    figures = service.counters
    rate = f"{count(figures.connections_per_s)}/s new  {volume(figures.bytes_in_per_s)}/s in"
    return _apart(left, Text(rate), width)


def _columns(name: int, width: int) -> Text:
    cells = ["   ", f"{'server':<{name}}", f"{'state':<9}", f"{'for':>5}", f"{'weight':>8}"]
    cells += [f"{'open':>6}", f"{'new/s':>6}", f"{'in/s':>8}"]
    if width >= CHECK_FROM:
        cells.append(f"  {'check':<18}")
    if width >= ADDRESS_FROM:
        cells.append("address")
    return _cut(Text(" ".join(cells), "dim"), width)


def _server(server: ServerView, snapshot: Snapshot, name: int, width: int) -> Text:
    sign, style = SIGNS.get(server.state, ("?", "yellow"))
    since = between(server.since, snapshot.at)
    weight = "-" if server.weight is None else f"{server.weight}"
    if server.weight != server.wanted:
        weight = f"{weight}/{server.wanted}"
    figures = server.counters
    line = Text.assemble(
        (f" {sign} ", style), " ", (f"{_short(server.host, name):<{name}}", "bold"), " ",
        (f"{server.state:<9}", style), " ",
        (f"{'' if since is None else short_span(since):>5}", "dim"), " ",
        f"{weight:>8} {count(server.active):>6} {count(figures.connections_per_s):>6}"
        f" {volume(figures.bytes_in_per_s):>8}",
    )  # fmt: skip
    if width >= CHECK_FROM:
        line.append(f"   {_check(server):<18}", "dim")
    if width >= ADDRESS_FROM:
        line.append(f" {server.address}", "dim")
    return _cut(line, width)


def _check(server: ServerView) -> str:
    check = server.check
    if check is None:
        return "none"
    took = "" if check.last_latency_s is None else f" {latency(check.last_latency_s)}"
    return f"{check.kind} {'VIP' if check.through == 'vip' else check.through}{took}"


def _reason(server: ServerView, snapshot: Snapshot) -> str:
    if server.state != DRAINING:
        return server.reason
    left = between(snapshot.at, server.drain_deadline) if server.drain_deadline else None
    return server.reason + (f", cut in {span(left)}" if left is not None else "")


def events(snapshot: Snapshot, width: int, most: int) -> list[Text]:
    """Write the newest events, the newest last."""
    newest = snapshot.events[-most:] if most else ()
    return [
        _cut(
            Text.assemble(
                (f"{event.at[11:19]} ", "dim"), (f"{event.kind:<7}", "dim"),
                (event.text, EVENT_STYLES.get(event.level, "")),
            ),
            width,
        )
        for event in newest
    ]  # fmt: skip


def causes(snapshot: Snapshot, width: int) -> list[Text]:
    """Write every alert with what follows from it."""
    lines = []
    for alert in alerts(snapshot):
        sign, style = LEVELS[alert.level]
        text = f": {alert.text}" if alert.text else ""
        lines.append(_cut(Text.assemble((f"{sign} {alert.head}", style), text), width))
    return lines


def window(lines: Sequence[Line], selected: Slot | None, width: int, height: int) -> list[Text]:
    """Cut the lines to a height around the selected one, and mark it."""
    shown = list(range(len(lines)))
    at = next((turn for turn, line in enumerate(lines) if selected and line.slot == selected), 0)
    if len(lines) > height:
        room = max(1, height - 1)
        top = min(max(0, at - room // 2), len(lines) - room)
        shown = list(range(top, top + room))
    found = [_marked(lines[n], width, chosen=bool(selected) and n == at) for n in shown]
    if len(lines) > height:
        above, below = shown[0], len(lines) - 1 - shown[-1]
        where = f"{selected[0]}  " if selected else ""
        found.append(Text(f"   {where}↑ {above} lines above  ↓ {below} below", "dim"))
    return found


def _marked(line: Line, width: int, *, chosen: bool) -> Text:
    if not chosen or line.slot is None:
        return line.text
    return Text(f"▸{line.text.plain[1:]:<{width - 1}}", "bold reverse")


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _cut(text: Text, width: int) -> Text:
    text.no_wrap = True
    text.truncate(width, overflow="ellipsis")
    return text


def _apart(left: Text, right: Text, width: int) -> Text:
    """Put two texts at both ends of a line; the left one gives way."""
    right = _cut(right, width)
    left = _cut(left, max(0, width - right.cell_len - 1))
    return Text.assemble(left, " " * max(0, width - left.cell_len - right.cell_len), right)
