"""Where labs live on this machine: names, directories, the lock that an owner holds for life."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from onearm.errors import Denied, UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
SOCKET = "socket"
CONSOLE = "console.log"
LOG = "controller.log"


def lab_name(name: str | None) -> str:
    """Return the name asked for, else `$ONEARM_LAB`, else `lab`; refuse what is no name."""
    name = name or os.environ.get("ONEARM_LAB") or "lab"
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a lab: use letters, digits, dots, dashes and underscores, "
            "63 at most, the first a letter or digit"
        )
    return name


def runtime_root() -> Path:
    """Return `$XDG_RUNTIME_DIR/onearm/lab`, or the same under /tmp when there is none of ours."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/") and os.access(given, os.W_OK) and _is_ours(Path(given)):
        return Path(given) / "onearm" / "lab"
    return Path(f"/tmp/onearm-{os.getuid()}/lab")  # noqa: S108 - made 0700 and checked in private()


def _is_ours(directory: Path) -> bool:
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def private(directory: Path) -> Path:
    """Make a directory below one that others may write to; refuse one that somebody planted."""
    for part in (directory.parent, directory):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(part):
            raise Denied(
                f"{part} belongs to somebody else, so the lab cannot live there; "
                "set XDG_RUNTIME_DIR to a directory of your own"
            )
    return directory


def lab_directory(name: str) -> Path:
    return runtime_root() / name


def cache_directory() -> Path:
    """Return what is built once and can be built again."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    directory = base / "onearm" / "lab"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def lock(directory: Path) -> int | None:
    """Own a lab's directory: a descriptor that holds it, or None while another process does."""
    directory.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), directory.stat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass  # held, or taken away between open and flock
    os.close(fd)
    return None


@contextlib.contextmanager
def short_name(directory: Path) -> Iterator[str]:
    """Name a directory in few letters: a socket's address is 108 bytes at most."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
