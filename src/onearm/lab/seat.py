"""Keeps a guest on one CPU of the machine at a time, and moves it when another has more room.

The processes of a guest take turns: its kernel runs while a process of it waits, by ptrace, and
the other way round. On two CPUs each turn wakes the other CPU up, which costs more than the turn.
"""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

from onearm.lab import children

REST_S = 0.4  # about; two guests that would both move at the same time should not
LOOK_S = 0.1
FULL = 0.1  # of the time that was looked at: a CPU that idles for less has no room
ROOM = 0.4  # and one that idles for longer has room for a guest
IDLE, WAITING = 3, 4  # fields of a CPU's line in /proc/stat: idle, and idle until a disk answers
TICKS = os.sysconf("SC_CLK_TCK")

Idle = dict[int, int]


class Seat:
    """The CPU that a guest has."""

    def __init__(self) -> None:
        """Take any of those that this process may have."""
        self.allowed = sorted(os.sched_getaffinity(0))
        self.cpu = random.choice(self.allowed)  # noqa: S311 - no secret
        self._before: Idle = {}

    def tend(self, pid: int) -> float:
        """Look whether another CPU is better; say after how many seconds to be called again."""
        if not self._before:
            self._before = idle()
            return LOOK_S
        cpu = choose(self.cpu, self.allowed, self._before, idle())
        self._before = {}
        if cpu != self.cpu:
            self.cpu = cpu
            move(pid, cpu)
        return REST_S * random.uniform(0.5, 1.5)  # noqa: S311 - no secret


def idle() -> Idle:
    """Return for how many ticks each CPU has been idle since the machine was started."""
    found = {}
    for line in Path("/proc/stat").read_text("ascii").splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            found[int(name[3:])] = int(ticks[IDLE]) + int(ticks[WAITING])
    return found


def choose(here: int, allowed: list[int], before: Idle, after: Idle) -> int:
    """Stay where there is any room; else take the CPU that has most of it, if it has enough."""
    room = {cpu: after.get(cpu, 0) - before.get(cpu, 0) for cpu in allowed}
    most = max(allowed, key=room.__getitem__)
    looked = LOOK_S * TICKS
    return most if room[here] < FULL * looked and room[most] > ROOM * looked else here


def move(pid: int, cpu: int) -> None:
    """Move all of a guest; its kernel first, which makes the others and hands its CPU on."""
    for member in (pid, *children.session(pid)):
        with contextlib.suppress(OSError):  # it ended, or the CPU is no longer ours to have
            os.sched_setaffinity(member, {cpu})
