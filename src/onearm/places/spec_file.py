"""The daemon's spec on a director: read, and replaced in one go."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from onearm.errors import Denied
from onearm.model import SpecFile

MOST_BYTES = 64 << 20


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
            raise _refused(resource.path, "read", error) from error
        found.append(SpecFile(resource.path, quoted(data.decode("utf-8", "replace"))))
    return found


def write(wanted: SpecFile) -> None:
    """Write it; the daemon sees either the old file or the whole new one. Raises PlaceError."""
    path = Path(wanted.path)
    if not path.is_absolute():
        raise Denied(f"the daemon's spec {wanted.path!r} has no absolute path: start it with one")
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)  # of a run that was killed
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(json.loads(wanted.text).encode())
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise _refused(wanted.path, "written", error) from error


def _refused(path: str, verb: str, error: OSError) -> Denied:
    return Denied(
        f"the daemon's spec {path} cannot be {verb} ({error.strerror or error}): let it be a plain"
        " file again, or free what keeps it from being written"
    )
