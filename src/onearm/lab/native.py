"""The native back end: the agent as PID 1 of a pid namespace on the running kernel."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from onearm.lab import children, linux
from onearm.lab.frames import Line
from onearm.lab.paths import CONSOLE

START = Path(__file__).with_name("start.py")


class Native:
    """A lab of namespaces; killing its PID 1 ends all of it."""

    def __init__(self, directory: Path, extra: Sequence[str]) -> None:
        """Start the agent."""
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-ISsB", str(START), "agent", "native", str(theirs.fileno())]
        argv += extra
        self.console = directory / CONSOLE
        self.pid = children.launch(
            argv,
            dict(os.environ),
            keep=theirs.fileno(),
            log=self.console,
            dying=signal.SIGKILL,
            flags=linux.CLONE_NEWPID,
        )
        theirs.close()
        self.line = Line(ours.detach())

    def stop(self) -> None:
        """End it; the kernel reports PID 1 as dead only when all of its namespace is."""
        children.end(self.pid, ((signal.SIGKILL, 10.0),))
