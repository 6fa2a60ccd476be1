"""The guest back end: Debian's User Mode Linux kernel on the machine's own files, unprivileged."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from onearm.errors import Missing
from onearm.lab import children, modules, xstate
from onearm.lab.frames import Line
from onearm.lab.paths import CONSOLE
from onearm.lab.seat import Seat

KERNEL = "linux.uml"
MEMORY = "512M"
MEMORY_VARIABLE = "ONEARM_LAB_MEMORY"
# The guest's tty stalls for ever when its 4 KiB line buffer overflows: less than that may be under
# way towards the guest before the agent says that it has read it.
CREDIT = 2000
PYTHON = "/usr/bin/python3"
START = Path(__file__).with_name("start.py")
LONGEST_COMMAND_LINE = 4000  # the kernel takes 4096
# Two thirds of a boot went into finding the fastest RAID and into testing ciphers, for nobody.
QUICK = ("initcall_blacklist=raid6_select_algo,calibrate_xor_blocks", "cryptomgr.notests")


class Guest:
    """A running guest kernel."""

    def __init__(self, directory: Path, extra: Sequence[str]) -> None:
        """Boot; the agent says HELLO on the line when the network stands."""
        _need_tools()
        self.console = directory / CONSOLE
        ours, theirs = socket.socketpair()
        argv = _command_line(directory, theirs.fileno(), extra)
        self.pid = launch(argv, theirs.fileno(), self.console)
        theirs.close()
        self.line = Line(ours.detach(), CREDIT)

    def stop(self) -> None:
        """Let it halt; then SIGTERM, which takes its helpers along; the session is the last."""
        children.end(self.pid, ((0, 5.0), (signal.SIGTERM, 2.0)))


def launch(argv: list[str], keep: int, log: Path) -> int:
    """Start a guest kernel that does not outlive us, on one CPU at a time."""
    seat = Seat()
    environment = _environment()
    pid = children.launch(argv, environment, keep=keep, log=log, dying=signal.SIGTERM, cpu=seat.cpu)
    children.guard(pid, seat.tend)
    return pid


def _need_tools() -> None:
    packages = {KERNEL: "user-mode-linux", "ip": "iproute2", PYTHON: "python3"}
    for tool, package in packages.items():
        if shutil.which(tool) is None:
            raise Missing(f"the lab's guest needs {tool}, which is not here; install {package}")


def _version() -> str:
    done = subprocess.run([KERNEL, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    shim = xstate.shim()
    if shim:
        environment["LD_PRELOAD"] = str(shim)
    return environment


def _memory() -> str:
    """Say how much memory the guest has; the machine gives what is used of it."""
    found = os.environ.get(MEMORY_VARIABLE) or MEMORY
    if not re.fullmatch(r"[1-9][0-9]{0,5}M", found):
        raise Missing(f"{MEMORY_VARIABLE} is {found[:60]!r}: write megabytes like 2048M")
    return found


def _command_line(directory: Path, fd: int, extra: Sequence[str]) -> list[str]:
    """Make the agent PID 1; words behind `--` are its arguments."""
    tree = modules.tree(_version())
    argv = [
        *(KERNEL, f"mem={_memory()}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
        *(
            "console=tty0",
            "con=null",
            "con0=null,fd:1",
            f"ssl0=fd:{fd}",
            "quiet",
            "panic=-1",
            "noreboot",
        ),
        *QUICK,
        *(f"uml_dir={directory}", "umid=uml", f"init={PYTHON}", "--"),
        *("-ISsB", str(START), "agent", "guest", "/dev/ttyS0", str(tree), *extra),
    ]
    if len(" ".join(argv)) > LONGEST_COMMAND_LINE:
        raise Missing(f"the paths {START} and {tree} are too long for the guest's command line")
    return argv
