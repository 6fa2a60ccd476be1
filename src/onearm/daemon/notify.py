"""A word to systemd: ready, reloading, stopping, alive (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import time


class Notify:
    """Speaks to the socket that systemd names; silent where there is none."""

    def __init__(self) -> None:
        """Read where to speak, and how often to say that we live."""
        self._path = os.environ.pop("NOTIFY_SOCKET", "")
        usec = os.environ.pop("WATCHDOG_USEC", "")
        own = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.every_s = int(usec) / 2e6 if usec.isdecimal() and own else None
        self._last = 0.0

    def say(self, *lines: str) -> None:
        """Send lines such as READY=1; a systemd that does not listen costs nothing."""
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto("\n".join(lines).encode(), address)

    def reloading(self) -> None:
        """Say that a reload begins, and when; `say("READY=1")` ends it."""
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.say("RELOADING=1", f"MONOTONIC_USEC={now_usec}")

    def alive(self) -> None:
        """Feed the watchdog, when it is time."""
        if self.every_s is not None and time.monotonic() - self._last >= self.every_s:
            self._last = time.monotonic()
            self.say("WATCHDOG=1")
