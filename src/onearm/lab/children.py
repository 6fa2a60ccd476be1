"""The controller's one child: started so that it cannot outlive it, ended without a rest."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from onearm.lab import linux

POLL_S = 0.01
GRACE_S = 3.0  # for a child to end by itself once its owner is dead
MOST_FDS = 4096
SESSION_FIELD = 3  # of /proc/PID/stat behind the command's name: state, ppid, pgrp, session


def launch(
    argv: list[str],
    environment: dict[str, str],
    *,
    keep: int,
    log: Path,
    dying: int,
    flags: int = 0,
    cpu: int | None = None,
) -> int:
    """Fork and exec in a new session, `keep` inherited, with new namespaces of the kinds `flags`.

    The kernel sends `dying` should this process die first. On that `cpu` alone, if one is named.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if flags:
        linux.unshare(flags)
    pid = os.fork()
    if pid == 0:
        try:
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
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


def guard(pid: int, tend: Callable[[int], float]) -> None:
    """Start a process that sees to it that the session of our child `pid` does not outlive us.

    The signal that the child gets at our death may be caught and come to nothing, and then nobody
    is left who could kill it. The guard is nobody's child: it needs no reaping. As long as both
    live it calls `tend` with the child, again and again after the seconds that this returns.
    """
    owner, child = os.pidfd_open(os.getpid()), os.pidfd_open(pid)
    between = os.fork()
    if between == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _stand_guard(owner, child, pid, tend)
        finally:
            os._exit(0)
    os.waitpid(between, 0)
    os.close(owner)
    os.close(child)


def _stand_guard(owner: int, child: int, pid: int, tend: Callable[[int], float]) -> None:
    """Hold nothing but the two: an open end of the line would hide its owner's death."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(owner, 0)
    os.dup2(child, 1)
    os.dup2(nothing, 2)
    os.closerange(3, MOST_FDS)
    while not select.select([0, 1], [], [], tend(pid))[0]:
        pass
    select.select([1], [], [], GRACE_S)
    clear(pid)


def end(pid: int, patience: tuple[tuple[int, float], ...]) -> None:
    """Wait, then signal and wait again, with growing force; then clear the whole session."""
    for number, seconds in patience:
        if number:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if _reaped(pid, seconds):
            break
    clear(pid)


def clear(pid: int) -> None:
    """Kill every process of the session that `pid` leads, and wait for them to be gone."""
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
