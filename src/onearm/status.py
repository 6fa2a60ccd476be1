"""`onearm status`: what the daemons show, and the kernel's figures where no daemon runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.text import Text

from onearm import planfile, render, wire
from onearm import spec as spec_module
from onearm.each import each
from onearm.errors import Missing, UsageError
from onearm.screen import body, causes, events, head
from onearm.serve.answer import as_object
from onearm.serve.ends import End, There, here
from onearm.session import Session
from onearm.snapshot import Snapshot
from onearm.watch import watch

FINE, OUT = 0, 4
WATCH_S = 2.0
EVENTS = 8


def status_command(path: Path | None, *, name: str | None, watching: bool, as_json: bool) -> int:
    """Show how it stands, once or again and again."""
    if path is None:
        return _local(here(name), watching=watching, as_json=as_json)
    if name is not None:
        raise UsageError("--name is for a daemon of this host: leave SPEC or --name out")
    with Session(spec_module.load(path)) as session:
        session.open()
        return _remote(session, watching=watching, as_json=as_json)


def _local(end: End, *, watching: bool, as_json: bool) -> int:
    """Show the daemon of this host, by its socket: that takes no rights and no other host."""
    first = end.snapshot()
    if watching and not as_json and _on_a_terminal():
        watch(end, first)
        return FINE
    return _again(lambda: _show_one(end.snapshot(), as_json=as_json), watching=watching)


def _show_one(snapshot: Snapshot, *, as_json: bool) -> int:
    if as_json:
        _print_json(as_object(snapshot))
    else:
        _show_snapshot(snapshot)
    return FINE


def _remote(session: Session, *, watching: bool, as_json: bool) -> int:
    daemons = _daemons(session)
    if watching and not as_json and len(daemons) == 1 and _on_a_terminal():
        ((name, first),) = daemons.items()
        watch(There(session.places[name].daemon), first)
        return FINE

    looked = True

    def once() -> int:
        nonlocal daemons, looked
        if not looked:
            session.again()
            daemons = _daemons(session)
        looked = False
        _show(session, daemons, as_json=as_json)
        return OUT if session.out else FINE

    return _again(once, watching=watching)


def _again(once: Callable[[], int], *, watching: bool) -> int:
    while True:
        code = once()
        if not watching:
            return code
        sys.stdout.flush()
        time.sleep(WATCH_S)


def _on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _daemons(session: Session) -> dict[str, Snapshot]:
    """Ask each director that was reached for its daemon's snapshot."""
    jobs = {
        director.name: partial(_snapshot, There(session.places[director.name].daemon))
        for director in session.spec.directors
        if director.name in session.facts
    }
    found, lost = each(jobs)
    session.out |= lost
    return {name: snapshot for name, snapshot in found.items() if snapshot is not None}


def _snapshot(end: End) -> Snapshot | None:
    try:
        return end.snapshot()
    except Missing:
        return None


def _show(session: Session, daemons: dict[str, Snapshot], *, as_json: bool) -> None:
    if as_json:
        _print_json(_data(session, daemons))
        return
    console = render.screen()
    for snapshot in daemons.values():
        _show_snapshot(snapshot)
    if len(daemons) < len(session.spec.directors):
        render.show_status(console, session.spec, session.facts)
    render.show_out(console, session.out)


def _show_snapshot(snapshot: Snapshot) -> None:
    console = render.screen()
    width = console.width if console.is_terminal else min(console.width, 160)
    told = Text(f"as of {snapshot.at[11:19]} UTC", "dim")
    lines = [*head(snapshot, width, told), *causes(snapshot, width)]
    lines += [Text(), *(line.text for line in body(snapshot, width, ordered=True))]
    if snapshot.events:
        lines += [Text(), *events(snapshot, width, EVENTS)]
    for line in lines:
        line.rstrip()
        console.print(line, no_wrap=True, crop=False, overflow="ignore")


def _data(session: Session, daemons: dict[str, Snapshot]) -> dict[str, Any]:
    vips = {vip for service in session.spec.services for vip in service.vips}
    return {
        **planfile.header("status"),
        "name": session.spec.name,
        "directors": {
            d.name: {
                "services": wire.encode(session.facts[d.name].services),
                "daemon": as_object(daemons[d.name]) if d.name in daemons else None,
            }
            for d in session.spec.directors
            if d.name in session.facts
        },
        "vips": {
            str(vip): {
                name: fact.link for name, seen in session.facts.items() for fact in seen.holds(vip)
            }
            for vip in sorted(vips, key=int)
        },
        "out": {name: str(error) for name, error in session.out.items()},
    }


def _print_json(data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")
