"""What `status --watch` shows and what its keys do: a state and steps; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.text import Text

from onearm.alerts import title
from onearm.figures import duration, span
from onearm.screen import Slot, body, events, head, window
from onearm.snapshot import UNCHECKED, UP, Snapshot

EVENTS_FROM = 20  # rows of the terminal
EVENTS_SHOWN = 3
UP_KEYS, DOWN_KEYS = ("k", "\x1b[A", "\x1bOA"), ("j", "\x1b[B", "\x1bOB")
FAR = {"\x1b[5~": -10, "\x1b[6~": 10, "g": -100000, "G": 100000}
ESCAPE, ENTER, BACK = "\x1b", ("\r", "\n"), ("\x7f", "\x08")
HELP = "↑↓ select  n next that is not up  d drain  u undrain  q quit"
LONGEST_ANSWER = 12


@dataclass(frozen=True)
class Ask:
    """A command for the daemon."""

    verb: str
    host: str
    deadline_s: float | None = None


@dataclass(frozen=True)
class Question:
    """What was asked, about which host, and what is typed so far."""

    verb: str
    host: str
    typed: str = ""

    @property
    def text(self) -> str:
        """Write the question."""
        if self.verb == "drain":
            ways = "Deadline, such as 5m (Enter: none; Esc: do not)"
            return f"Drain {self.host}? {ways}: {self.typed}"
        return f"Let {self.host} serve again? (y/n) "


@dataclass(frozen=True)
class View:
    """All that the screen shows."""

    snapshot: Snapshot
    selected: Slot | None = None
    question: Question | None = None
    said: str = ""
    error: str = ""
    silent_s: float = 0.0
    leaving: bool = False


def slots(snapshot: Snapshot) -> list[Slot]:
    """List what can be selected, in the order of the screen."""
    return [line.slot for line in body(snapshot, 80, ordered=True) if line.slot]


def told(view: View, snapshot: Snapshot) -> View:
    """Take a new snapshot; the selection stays where it was, if that is still there."""
    there = slots(snapshot)
    chosen = view.selected if view.selected in there else next(iter(there), None)
    return replace(view, snapshot=snapshot, selected=chosen, error="", silent_s=0.0)


def pressed(view: View, key: str) -> tuple[View, Ask | None]:
    """Take a key."""
    if view.question is not None:
        return _answered(view, view.question, key)
    view = replace(view, said="")
    if key in ("q", "Q"):
        return replace(view, leaving=True), None
    step = -1 if key in UP_KEYS else 1 if key in DOWN_KEYS else FAR.get(key, 0)
    if step:
        return _moved(view, step), None
    if key == "n":
        return _next_trouble(view), None
    verb = {"d": "drain", "u": "undrain"}.get(key)
    if verb and view.selected:
        return replace(view, question=Question(verb, view.selected[1])), None
    return view, None


def _moved(view: View, step: int) -> View:
    there = slots(view.snapshot)
    if not there:
        return view
    at = there.index(view.selected) if view.selected in there else 0
    return replace(view, selected=there[min(max(0, at + step), len(there) - 1)])


def _next_trouble(view: View) -> View:
    """Select the next server that is not up, round and round."""
    states = {
        (title(service), server.host): server.state
        for service in view.snapshot.services
        for server in service.servers
    }
    there = slots(view.snapshot)
    at = there.index(view.selected) + 1 if view.selected in there else 0
    found = [slot for slot in there[at:] + there[:at] if states[slot] not in (UP, UNCHECKED)]
    return replace(view, selected=found[0]) if found else view


def _answered(view: View, question: Question, key: str) -> tuple[View, Ask | None]:
    closed = replace(view, question=None)
    if key == ESCAPE:
        return closed, None
    if question.verb == "undrain":
        return closed, Ask("undrain", question.host) if key in ("y", "Y") else None
    if key in ENTER:
        deadline = duration(question.typed) if question.typed else None
        if question.typed and deadline is None:
            wrong = f"{question.typed!r} is no deadline: give it as 30s, 5m or 1h"
            return replace(closed, said=wrong), None
        return closed, Ask("drain", question.host, deadline)
    typed = question.typed[:-1] if key in BACK else question.typed
    if len(key) == 1 and key.isalnum() and len(typed) < LONGEST_ANSWER:
        typed += key
    return replace(view, question=replace(question, typed=typed)), None


def frame(view: View, width: int, height: int) -> list[Text]:
    """Write the whole screen, exactly as high as the terminal."""
    live = (
        Text(f"✖ no answer for {span(view.silent_s)}", "bold white on red")
        if view.error
        else Text("● live", "green")
    )
    top = [*head(view.snapshot, width, live), Text()]
    last = events(view.snapshot, width, EVENTS_SHOWN) if height >= EVENTS_FROM else []
    bottom = [*([Text("─" * width, "dim")] if last else []), *last, _foot(view)]
    room = max(1, height - len(top) - len(bottom))
    middle = window(body(view.snapshot, width, ordered=True), view.selected, width, room)
    middle += [Text()] * (room - len(middle))
    lines = [*top, *middle, *bottom][:height]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines


def _foot(view: View) -> Text:
    if view.question is not None:
        text = Text(f"{view.question.text}▁", "bold yellow")
    elif view.error:
        text = Text(view.error, "red")
    elif view.said:
        text = Text(view.said, "bold")
    else:
        text = Text(HELP, "dim")
    return text
