"""The few Linux calls that Python 3.9 has no name for."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY = 1
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
POWER_OFF = 0x4321FEDC
PR_SET_PDEATHSIG = 1
SYS_FINIT_MODULE = 313  # x86-64, the only machine that the guest kernel runs on

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(fd, kind), "setns")


def mount(
    source: str, target: str | Path, kind: str = "", flags: int = 0, options: str = ""
) -> None:
    arguments = (source.encode(), str(target).encode(), kind.encode() or None)
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None)
    _checked(result, f"mount {kind or source} on {target}")


def detach(target: str | Path) -> None:
    """Take a mount out of sight; what still uses it keeps it."""
    _checked(_libc.umount2(str(target).encode(), MNT_DETACH), f"umount {target}")


def set_hostname(name: str) -> None:
    _checked(_libc.sethostname(name.encode(), len(name)), "sethostname")


def die_with_parent(number: int) -> None:
    _checked(_libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def load_module(path: str) -> None:
    """Load one module file; to be there already is fine."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if _libc.syscall(SYS_FINIT_MODULE, fd, b"", 0):
            number = ctypes.get_errno()
            if number != FILE_EXISTS:
                raise OSError(number, f"load {path}: {os.strerror(number)}")
    finally:
        os.close(fd)


FILE_EXISTS = 17


def power_off() -> None:
    os.sync()
    _libc.reboot(POWER_OFF)
