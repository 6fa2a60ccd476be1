"""A daemon as operators reach it: by its socket on this host, or through a director's node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from onearm.errors import Missing, UsageError
from onearm.serve import client
from onearm.serve.answer import assembled
from onearm.snapshot import Snapshot


class End(Protocol):
    """Somebody who knows a daemon."""

    def snapshot(self) -> Snapshot:
        """Give its latest snapshot; raises Missing where none runs."""

    def ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        """Have it carry out a command."""


class Here:
    """By its socket."""

    def __init__(self, path: Path) -> None:
        """Keep where it listens."""
        self._path = path

    def snapshot(self) -> Snapshot:
        """Give its latest snapshot."""
        rows: list[Any] = []
        bare = client.ask(self._path, {"do": "snapshot"}, rows.extend)
        return assembled(bare, rows)

    def ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        """Have it carry out a command."""
        return dict(client.ask(self._path, {"do": verb, **fields}))


Forward = Callable[..., Any]  # of a place: request, and what takes the rows of its parts


class There:
    """Through the node of its host."""

    def __init__(self, forward: Forward) -> None:
        """Keep how a request gets there."""
        self._forward = forward

    def snapshot(self) -> Snapshot:
        """Give its latest snapshot."""
        rows: list[Any] = []
        bare = self._forward({"do": "snapshot"}, rows.extend)
        return assembled(bare, rows)

    def ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        """Have it carry out a command."""
        return dict(self._forward({"do": verb, **fields}))


def here(name: str | None = None, folder: Path = client.FOLDER) -> Here:
    """Find the daemon on this host: that of the name, or the only one."""
    if name is not None:
        return Here(client.path_of(name, folder))
    found = client.names(folder)
    if not found:
        raise Missing(
            f"no director daemon runs on this host (nobody answers in {folder}): start it with"
            " `onearm director SPEC`, or name the spec of another host's"
        )
    if len(found) > 1:
        raise UsageError(f"several daemons run on this host, {', '.join(found)}: add --name")
    return Here(client.path_of(found[0], folder))
