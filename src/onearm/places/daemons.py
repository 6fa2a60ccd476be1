"""A director with a daemon, as an operator's run sees it: one spec file, and the daemon's word."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

from onearm import wire
from onearm.errors import Denied, Differs, OnearmError, PlaceError
from onearm.facts import DaemonFact, OutFact
from onearm.model import Action, Key, Resource, Seen, SpecFile, state_key
from onearm.places import spec_file
from onearm.serve import client

CONVERGE_S = 15.0  # below the deadline of a request to the node


def running(name: str) -> bool:
    """Say whether the daemon of this spec runs here."""
    return name in client.names()


def fact() -> Optional[DaemonFact]:
    """Ask the daemon of this host, whichever it is, how far it is; None where there is none."""
    for name in client.names():
        told = _ask(name, {"do": "left"})
        return DaemonFact(
            name=name,
            spec_path=wire.decode(str, told.get("path")),
            spec_digest=wire.decode(str, told.get("digest")),
            converged=wire.decode(bool, told.get("converged")),
            left=wire.decode(tuple[str, ...], told.get("left")),
            spec_error=wire.decode(str, told.get("spec_error")),
            out=wire.decode(tuple[OutFact, ...], told.get("out")),
        )
    return None


def agree(name: str, *, expected: bool) -> None:
    """Raise Differs when a daemon began or ended since the asker looked: nothing is as planned."""
    if running(name) != expected:
        what = "ended" if expected else "began"
        raise Differs(f"the daemon of {name!r} {what} after the look: run the command again")


def observe(name: str, wanted: Iterable[Resource]) -> dict[Key, Seen]:
    """Show the daemon's file; it is ours whatever it says."""
    told = fact()
    paths = {told.spec_path} if told is not None and told.name == name else set()
    paths |= {r.path for r in wanted if isinstance(r, SpecFile)}
    found = spec_file.read(SpecFile(path, "") for path in sorted(paths))
    return {state_key(r): Seen(r, (name,), r) for r in found}


def apply(
    name: str, batch: Sequence[Action], done: Callable[[Action], None]
) -> dict[Action, PlaceError]:
    """Hand the daemon its file and wait until all stands so; or have it withdraw, and take the file
    away, so that it does not come back with the next boot.
    """
    refused: dict[Action, PlaceError] = {}
    for action in batch:
        try:
            _one(name, action)
        except PlaceError as error:
            refused[action] = error
        else:
            done(action)
    return refused


def _one(name: str, action: Action) -> None:
    resource = action.resource
    if not isinstance(resource, SpecFile):
        raise Denied(f"a daemon runs here and alone changes what the spec {name!r} says: stop it")
    if action.after is None:
        _withdraw(name)
        Path(resource.path).unlink(missing_ok=True)
        return
    spec_file.write(resource)
    text = json.loads(resource.text)
    digest = "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    told = _ask(name, {"do": "converge", "digest": digest, "deadline_s": CONVERGE_S})
    _check(told, digest)


def _withdraw(name: str) -> None:
    """Have it take all down and end; nothing that leans on its traffic may go before that."""
    told = _ask(name, {"do": "withdraw"})
    if told.get("left"):
        left = "; ".join(wire.decode(tuple[str, ...], told["left"]))
        raise PlaceError(f"the daemon ended and could not take down all of it: {left}")
    until = time.monotonic() + CONVERGE_S
    while running(name):
        if time.monotonic() > until:
            raise PlaceError("the daemon took all down and does not end: look at its log")
        time.sleep(0.05)


def _check(told: dict[str, Any], digest: str) -> None:
    error, left = told.get("spec_error"), told.get("left")
    if error:
        raise PlaceError(f"the daemon does not take the file: {wire.decode(str, error)}")
    if told.get("digest") != digest:
        raise PlaceError("the daemon has not read the file in time: look at its log")
    if not told.get("converged"):
        shown = "; ".join(wire.decode(tuple[str, ...], left or [])) or "it did not say what"
        raise PlaceError(f"the daemon has not done all of it: {shown}")


def remember_hosts(name: str, hosts: Sequence[str]) -> None:
    """Have the daemon keep the host names of an apply: it alone writes the ledger."""
    _ask(name, {"do": "hosts", "hosts": list(hosts)})


def _ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        found = client.ask(client.path_of(name), request, deadline_s=CONVERGE_S + 3)
    except PlaceError:
        raise
    except OnearmError as error:
        raise PlaceError(str(error)) from error
    if not isinstance(found, dict):
        raise PlaceError(f"the daemon {name} answered nothing that can be read")
    return found
