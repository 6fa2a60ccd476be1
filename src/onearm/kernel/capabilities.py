"""What a process may do beyond its user: all but the capabilities it needs is given up for good."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# include/uapi/linux/capability.h, prctl.h
NET_BIND_SERVICE, NET_ADMIN, NET_RAW = 10, 12, 13
LAST_CAP = 63
VERSION_3 = 0x20080522
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_GET_SECUREBITS, PR_SET_SECUREBITS = 23, 24, 27, 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
NOROOT = 0b11  # include/uapi/linux/securebits.h: SECBIT_NOROOT and its lock


def keep_only(wanted: Iterable[int]) -> None:
    """Give up every capability but these, of this thread and of all threads that it starts.

    A program that is run has none at all, though the user may be root: without SECBIT_NOROOT the
    kernel would give root's programs all that the bounding set allows. Threads that run already
    keep theirs: call it before any is started. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    kept = set(wanted)
    for capability in range(LAST_CAP + 1):
        if capability not in kept and libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) > 0:
            _check(libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _no_root(libc)
    mask = sum(1 << capability for capability in kept)
    _capset(libc, mask, mask, 0)


@contextmanager
def lent(wanted: Iterable[int] = (NET_ADMIN, NET_RAW)) -> Iterator[None]:
    """Let the programs that this thread starts meanwhile have these capabilities, as far as it has
    them, where `keep_only` left programs without any. Those of other threads get none.

    A program takes over the ambient ones, which must be inheritable (capabilities(7)).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if _check(libc.prctl(PR_GET_SECUREBITS, 0, 0, 0, 0)) & NOROOT != NOROOT:
        yield  # root's programs have them all
        return
    before = _capget(libc)
    effective, permitted, inheritable = before
    given = [one for one in wanted if permitted >> one & 1]
    try:
        _capset(libc, effective, permitted, inheritable | sum(1 << one for one in given))
        for one in given:
            _check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, one, 0, 0))
        yield
    finally:
        _capset(libc, *before)  # what is not inheritable is not ambient either


def _capget(libc: ctypes.CDLL) -> tuple[int, int, int]:
    """Give the effective, permitted and inheritable capabilities of this thread."""
    data = ctypes.create_string_buffer(24)
    _check(libc.capget(struct.pack("=Ii", VERSION_3, 0), data))
    found = struct.unpack("=6I", data.raw)
    effective, permitted, inheritable = (found[n] | found[n + 3] << 32 for n in range(3))
    return effective, permitted, inheritable


def _capset(libc: ctypes.CDLL, effective: int, permitted: int, inheritable: int) -> None:
    """Set those of this thread; with the inheritable ones the ambient ones go, too."""
    masks = (effective, permitted, inheritable)
    data = struct.pack("=6I", *(m & 0xFFFFFFFF for m in masks), *(m >> 32 for m in masks))
    _check(libc.capset(struct.pack("=Ii", VERSION_3, 0), data))


def _no_root(libc: ctypes.CDLL) -> None:
    """Set the bits, if whoever started us has not: that alone needs no CAP_SETPCAP."""
    bits = _check(libc.prctl(PR_GET_SECUREBITS, 0, 0, 0, 0))
    if bits & NOROOT != NOROOT:
        _check(libc.prctl(PR_SET_SECUREBITS, bits | NOROOT, 0, 0, 0))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
