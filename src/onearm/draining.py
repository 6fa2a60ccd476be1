"""`onearm drain` and `onearm undrain`: asked of a director's daemon, and waited for."""

from __future__ import annotations

import contextlib
import difflib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onearm import render
from onearm import spec as spec_module
from onearm.errors import Missing, UsageError
from onearm.figures import duration
from onearm.serve.ends import End, There, here
from onearm.session import Session

LOOK_S = 0.5


@dataclass(frozen=True)
class Whom:
    """Which daemon is meant: by name on this host, or the directors' of a spec."""

    name: str | None = None
    spec: Path | None = None


def drain_command(host: str, whom: Whom, *, deadline: str | None, wait: bool) -> int:
    """Take a server out of rotation and wait until its connections have ended or are cut."""
    seconds = None if deadline is None else duration(deadline)
    if deadline is not None and seconds is None:
        raise UsageError(f"--deadline {deadline}: give it as 30s, 5m or 1h; 0 cuts at once")
    with _ends(whom) as ends:
        for end in ends:
            _known(end, host)
            end.ask("drain", host=host, deadline_s=seconds)
        _say(f"{host} gets no new connections")
        if wait:
            for end in ends:
                _wait(end, host)
    return 0


def undrain_command(host: str, whom: Whom) -> int:
    """Let a server serve again, as far as its health allows."""
    with _ends(whom) as ends:
        for end in ends:
            _known(end, host)
            end.ask("undrain", host=host)
    _say(f"{host} may serve again")
    return 0


def _wait(end: End, host: str) -> None:
    """Follow a drain to its end; Ctrl-C ends the waiting, not the drain."""
    before = -1
    while True:
        told: dict[str, Any] = end.ask("drained", host=host)
        if told.get("drained"):
            cut = int(told.get("cut", 0))
            _say(f"{host} is drained, {render.plural(cut, 'connection')} cut")
            return
        if not told.get("draining"):
            raise UsageError(f"{host} is not drained any more: somebody let it serve again")
        left = int(told.get("connections", 0))
        if left and left != before:
            sys.stderr.write(f"{host}: {render.plural(left, 'connection')} left\n")
            sys.stderr.flush()
        before = left
        time.sleep(LOOK_S)


def _known(end: End, host: str) -> None:
    names = {s.host for service in end.snapshot().services for s in service.servers}
    if host not in names:
        near = difflib.get_close_matches(host, names, 1)
        meant = f", did you mean {near[0]}?" if near else ""
        known = ", ".join(sorted(names)[:20])
        raise UsageError(f"the daemon knows no real server {host!r}{meant or f': it has {known}'}")


@contextlib.contextmanager
def _ends(whom: Whom) -> Iterator[list[End]]:
    """Reach every daemon that is meant."""
    if whom.spec is None:
        yield [here(whom.name)]
        return
    if whom.name is not None:
        raise UsageError("--spec says which daemon is meant: leave --name out")
    spec = spec_module.load(whom.spec)
    with Session(spec) as session:
        found: list[End] = []
        for director in spec.directors:
            end = There(session.place(director.name).daemon)
            with contextlib.suppress(Missing):
                end.snapshot()
                found.append(end)
        if not found:
            names = ", ".join(director.name for director in spec.directors)
            raise Missing(
                f"{names}: no daemon named {spec.name} runs there: start it with"
                " `onearm director SPEC`, or drain by the spec (weight 0)"
            )
        yield found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
