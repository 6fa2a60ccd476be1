"""The daemon's spec on a director: read, and replaced in one go."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

from onearm.errors import Denied, PlaceError
from onearm.kernel.faults import translate
from onearm.model import Action, SpecFile

MOST_BYTES = 64 << 20
Verdict = tuple[Action, Optional[PlaceError]]


def quoted(text: str) -> str:
    """Write a spec's text on one line of plain characters, as a resource carries it."""
    return json.dumps(text)


def read(wanted: Iterable[SpecFile]) -> list[SpecFile]:
    """Show the files that are there; one that is no text is shown as empty."""
    found = []
    for resource in wanted:
        try:
            with Path(resource.path).open("rb") as file:
                data = file.read(MOST_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise translate(error, f"reading {resource.path}") from error
        found.append(SpecFile(resource.path, quoted(data.decode("utf-8", "replace"))))
    return found


def apply(batch: Iterable[Action]) -> Iterator[Verdict]:
    """Write each; the daemon sees either the old file or the whole new one."""
    for action in batch:
        try:
            _write(action)
        except PlaceError as error:
            yield action, error
        except OSError as error:
            yield action, translate(error, f"writing {action.resource.key[0]}")
        else:
            yield action, None


def _write(action: Action) -> None:
    after = action.after
    if not isinstance(after, SpecFile) or action.before == after:
        return
    path = Path(after.path)
    if not path.is_absolute():
        raise Denied(f"the daemon's spec {after.path!r} has no absolute path: start it with one")
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a run that was killed
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(json.loads(after.text).encode())
        os.fsync(file.fileno())
    fresh.replace(path)
