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
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38


def keep_only(wanted: Iterable[int]) -> None:
    """Give up every capability but these, of this thread and of all that it starts.

    Threads that run already keep theirs: call it before any is started. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    kept = set(wanted)
    for capability in range(LAST_CAP + 1):
        if capability not in kept and libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) > 0:
            _check(libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    mask = sum(1 << capability for capability in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)  # effective, permitted, inheritable
    _check(libc.capset(struct.pack("=Ii", VERSION_3, 0), data))


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
