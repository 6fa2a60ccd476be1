"""`status --watch` on a terminal: one thread asks the daemon, one draws and hears the keys."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import FrameType

from rich.console import Console, Group
from rich.live import Live

from onearm.errors import OnearmError
from onearm.render import screen
from onearm.serve.ends import End
from onearm.snapshot import Snapshot
from onearm.watching import Ask, View, frame, pressed, told

EVERY_S = 1.0
DRAW_S = 0.5  # at least that often, for the seconds of a daemon that is silent
ENDING = (signal.SIGTERM, signal.SIGHUP)


@dataclass
class Asker:
    """Asks the daemon, each second and for what the keys command; never on the drawing thread."""

    end: End
    commands: queue.SimpleQueue[Ask | None] = field(default_factory=queue.SimpleQueue)
    news: queue.SimpleQueue[Snapshot | OnearmError | str] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.bell, self._ring = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True, name="asker")
        self._thread.start()

    def _run(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                command = self.commands.get(timeout=EVERY_S)
                if command is None:
                    return
                self._tell(self._carried_out(command))
            try:
                self._tell(self.end.snapshot())
            except OnearmError as error:
                self._tell(error)

    def _carried_out(self, command: Ask) -> str:
        fields = {"deadline_s": command.deadline_s} if command.verb == "drain" else {}
        try:
            self.end.ask(command.verb, host=command.host, **fields)
        except OnearmError as error:
            return str(error)
        done = "drains" if command.verb == "drain" else "may serve again"
        return f"{command.host} {done}"

    def _tell(self, news: Snapshot | OnearmError | str) -> None:
        self.news.put(news)
        os.write(self._ring, b"!")

    def stop(self) -> None:
        """End; an answer under way is not waited for."""
        self.commands.put(None)


def watch(end: End, first: Snapshot) -> None:
    """Show it until `q`, Ctrl-C or a signal; the terminal is as before then, however it ends."""
    asker = Asker(end)
    view = told(View(first), first)
    try:
        with _keys() as keys, _signals(), Live(
            screen=True, auto_refresh=False, console=screen(), vertical_overflow="crop"
        ) as live:  # fmt: skip
            heard = time.monotonic()
            while not view.leaving:
                _draw(live, view)
                ready, _, _ = select.select([keys, asker.bell], [], [], DRAW_S)
                view, heard = _news(asker, view, heard)
                if keys in ready:
                    view = _typed(asker, view, os.read(keys, 64))
    finally:
        asker.stop()


def _draw(live: Live, view: View) -> None:
    console: Console = live.console
    lines = frame(view, console.width, console.height)
    live.update(Group(*lines), refresh=True)


def _news(asker: Asker, view: View, heard: float) -> tuple[View, float]:
    if select.select([asker.bell], [], [], 0)[0]:
        os.read(asker.bell, 64)
    while True:
        try:
            news = asker.news.get_nowait()
        except queue.Empty:
            return replace(view, silent_s=time.monotonic() - heard), heard
        if isinstance(news, Snapshot):
            view, heard = told(view, news), time.monotonic()
        elif isinstance(news, str):
            view = replace(view, said=news)
        else:
            view = replace(view, error=str(news).splitlines()[0])


def _typed(asker: Asker, view: View, data: bytes) -> View:
    if not data:
        return replace(view, leaving=True)  # the terminal is gone
    for key in split_keys(data.decode("utf-8", "replace")):
        view, ask = pressed(view, key)
        if ask is not None:
            asker.commands.put(ask)
            view = replace(view, said=f"{ask.verb} {ask.host} …")
    return view


def split_keys(text: str) -> Iterator[str]:
    """Tell keys apart that came in one go; an arrow is several characters."""
    while text:
        size = 1
        if text[0] == "\x1b" and text[1:2] in ("[", "O"):
            size = 2 + next((n for n, c in enumerate(text[2:], 1) if c.isalpha() or c == "~"), 0)
        yield text[:size]
        text = text[size:]


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """Have keys one by one, unseen; the terminal gets its own ways back."""
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    try:
        tty.setcbreak(keys)
        yield keys
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Let a signal that ends us end us in order."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
