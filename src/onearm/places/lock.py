"""One writer per host: a lock, held by a run to its end and by a daemon for life."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from onearm.errors import Busy, Denied

LOCK = Path("/run/onearm/lock")
PAUSE_S = 0.05
LONGEST_NOTE = 100


def take(holder: str, wait_s: float = 0.0) -> int:
    """Take the lock and return its descriptor, which holds it; Busy names who has it."""
    deadline = time.monotonic() + wait_s
    descriptor = _opened()
    while not _locked(descriptor):
        if time.monotonic() >= deadline:
            who = _holder(descriptor)
            os.close(descriptor)
            raise Busy(f"{who} holds the lock of this host ({LOCK}): wait, or end it")
        time.sleep(PAUSE_S)
    with contextlib.suppress(OSError):  # a full disk: the lock holds, its holder has no name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{holder}, process {os.getpid()}".encode(), 0)
    return descriptor


def _opened() -> int:
    try:
        LOCK.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Denied(
            f"{LOCK} cannot be opened ({error.strerror}), and without it nobody may change this"
            " host: it needs root, and a /run that can be written"
        ) from error


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    """Read who noted its name; a holder that has not yet is another run."""
    found = os.pread(descriptor, LONGEST_NOTE, 0).decode("ascii", "replace")
    return found if found.isprintable() and found else "another run"
