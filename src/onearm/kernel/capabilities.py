"""What a process may do beyond its user: all but the capabilities it needs is given up for good."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

# include/uapi/linux/capability.h, prctl.h
NET_BIND_SERVICE, NET_ADMIN, NET_RAW = 10, 12, 13
LAST_CAP = 63
VERSION_3 = 0x20080522
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_GET_SECUREBITS, PR_SET_SECUREBITS = 23, 24, 27, 28
PR_SET_NO_NEW_PRIVS = 38
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
    low, high = mask & 0xFFFFFFFF, mask >> 32
    # effective, permitted, inheritable; with the last the ambient ones go, too
    data = struct.pack("=6I", low, low, 0, high, high, 0)
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
