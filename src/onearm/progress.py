"""How far a run over many hosts is: one line that lives at the bottom of a terminal, else nothing.

Finished actions scroll past above it. In a pipe there are only those, as lines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from onearm.each import Watch
from onearm.figures import span

if TYPE_CHECKING:
    from typing_extensions import Self

TICKS_PER_S = 4
NAMED = 3  # hosts that are waited for
BAR = 20  # columns


class Progress(Watch):
    """One line of what is done now, on a terminal that can move its cursor."""

    def __init__(self, console: Console) -> None:
        """Show it on `console`, from `with` to its end."""
        self._lock = threading.Lock()
        self._what, self._total, self._waits = "", 0, dict[str, None]()
        self._begun = time.monotonic()
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            # stdout is somebody else's: it may be a file.
            self._live = Live(
                self,
                console=console,
                transient=True,
                refresh_per_second=TICKS_PER_S,
                redirect_stdout=False,
            )

    def __enter__(self) -> Self:
        """Begin to show it."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the line away again."""
        if self._live:
            self._live.stop()

    def begin(self, what: str, places: Collection[str]) -> None:
        """Show another thing that is done."""
        with self._lock:
            self._what, self._total = what, len(places)
            self._waits = dict.fromkeys(places)
            self._begun = time.monotonic()

    def ended(self, place: str) -> None:
        """Count a place."""
        with self._lock:
            self._waits.pop(place, None)

    def __rich__(self) -> Text:
        """Give the line as it is now, never longer than the terminal is wide."""
        with self._lock:
            what, total, waits = self._what, self._total, list(self._waits)
            passed = time.monotonic() - self._begun
        return line(what, total, waits, passed)


def line(what: str, total: int, waits: list[str], passed_s: float) -> Text:
    """Write how far it is, and after a second for whom it waits."""
    if not what or not total:
        return Text("")
    done = total - len(waits)
    full = BAR * done // total
    said = Text.assemble(
        f"{what} ",
        ("=" * full, "green"),
        ("-" * (BAR - full), "dim"),
        f" {done} of {total}",
        no_wrap=True,
        overflow="ellipsis",
    )
    if passed_s >= 1:
        more = f" and {len(waits) - NAMED} more" if len(waits) > NAMED else ""
        named = ", ".join(waits[:NAMED])
        said.append(f"  {span(passed_s)}, waits for {named}{more}" if waits else "", "dim")
    return said
