"""The controller's one child: started so that it cannot outlive it, ended without a rest."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

from onearm.lab import linux

POLL_S = 0.01
SESSION_FIELD = 3  # of /proc/PID/stat behind the command's name: state, ppid, pgrp, session


def launch(
    argv: list[str],
    environment: dict[str, str],
    *,
    keep: int,
    log: Path,
    dying: int,
    flags: int = 0,
) -> int:
    """Fork and exec in a new session, `keep` inherited, with new namespaces of the kinds `flags`.

    The kernel sends `dying` should this process die first.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if flags:
        linux.unshare(flags)
    pid = os.fork()
    if pid == 0:
        try:
            _become(argv, environment, keep, output, dying)
        finally:
            os._exit(127)
    os.close(output)
    return pid


def _become(
    argv: list[str], environment: dict[str, str], keep: int, output: int, dying: int
) -> None:
    os.setsid()
    linux.die_with_parent(dying)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(fd, target)
    os.set_inheritable(keep, True)  # noqa: FBT003 - the standard library's own way
    os.execvpe(argv[0], argv, environment)  # noqa: S606 - an argument list, as everywhere


def end(pid: int, patience: tuple[tuple[int, float], ...]) -> None:
    """Wait, then signal and wait again, with growing force; then clear the whole session."""
    for number, seconds in patience:
        if number:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if _reaped(pid, seconds):
            break
    for member in session(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    _reaped(pid, 1)
    _await_empty(pid)


def _reaped(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return True
        except ChildProcessError:
            return True
        time.sleep(POLL_S)
    return False


def _await_empty(pid: int) -> None:
    until = time.monotonic() + 1
    while session(pid) and time.monotonic() < until:
        time.sleep(POLL_S)


def session(pid: int) -> list[int]:
    """Return the living processes of the session that `pid` leads."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                if int(fields[SESSION_FIELD]) == pid and fields[0] != "Z":
                    members.append(int(entry.name))
    return members
