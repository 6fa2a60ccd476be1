"""The files of ours that a host's own tools read at boot: read, replaced in one go, removed."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from onearm.errors import Denied, PlaceError
from onearm.model import Action, BootFile, BootVip, Key, Resource, state_key

KINDS = (BootFile, BootVip)
MOST_BYTES = 1 << 18  # ours are much smaller: what is longer is somebody else's
OURS = re.compile(r"onearm|/[^/]+\.(network|target)\.d$")  # folders that mean nothing when empty

Ours = Union[BootFile, BootVip]
Was = Mapping[Key, Optional[dict[str, str]]]
Verdict = tuple[Action, Optional[PlaceError]]


def read(wanted: Sequence[Resource]) -> dict[Key, Resource]:
    """Show what stands under the paths of `wanted`; what is no plain file is shown as empty."""
    found: list[Resource] = []
    for resource in wanted:
        if isinstance(resource, KINDS):
            found += _standing(resource)
    return {state_key(resource): resource for resource in found}


def _standing(wanted: Ours) -> Iterator[Ours]:
    path = Path(wanted.path)
    try:
        seen = path.lstat()
        if not stat.S_ISREG(seen.st_mode):
            yield type(wanted)(wanted.path, json.dumps(""), 0)
            return
        with path.open("rb") as file:
            data = file.read(MOST_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refused(wanted.path, "read", error) from error
    text = json.dumps(data.decode("utf-8", "replace"))
    yield type(wanted)(wanted.path, text, stat.S_IMODE(seen.st_mode))


def was(_resource: Resource) -> None:
    """Say what stood there before: a file of ours takes nobody's place."""


def apply(batch: Sequence[Action], _marked: Was) -> Iterator[Verdict]:
    """Try every action."""
    for action in batch:
        yield action, _one(action)


def _one(action: Action) -> Optional[PlaceError]:
    resource = action.resource
    if not isinstance(resource, KINDS):
        return None
    verb = "removed" if action.after is None else "written"
    try:
        if action.after is None:
            _remove(Path(resource.path))
        else:
            _write(resource)
    except OSError as error:
        return _refused(resource.path, verb, error)
    return None


def _write(wanted: Ours) -> None:
    """Write it; who reads it sees either what was there or the whole new one."""
    path = Path(wanted.path)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")  # no tool reads files that begin with a dot
    fresh.unlink(missing_ok=True)  # of a run that was killed
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(json.loads(wanted.text).encode())
        os.fchmod(descriptor, wanted.mode)
        os.fsync(descriptor)
    fresh.replace(path)
    _sync(path.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    folder = path.parent
    while OURS.search(str(folder)) and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
    if folder.is_dir():
        _sync(folder)


def _sync(folder: Path) -> None:
    """Make the folder's entries last, as the ledger's do: a reboot may come next."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: str, verb: str, error: OSError) -> Denied:
    return Denied(
        f"{path} cannot be {verb} ({error.strerror or error}): free what keeps it from being so, or"
        " say `boot: off` in the spec"
    )
