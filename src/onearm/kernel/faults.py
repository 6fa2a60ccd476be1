"""The kernel's error numbers as sentences: what was refused, why, and what to do."""

from __future__ import annotations

import errno
import os
from typing import Union

from onearm import errors

_SENTENCES: dict[int, tuple[type[errors.PlaceError], str]] = {
    errno.EPERM: (errors.Denied, "needs root or CAP_NET_ADMIN; run it through sudo"),
    errno.EACCES: (errors.Denied, "needs root or CAP_NET_ADMIN; run it through sudo"),
    errno.ENOENT: (
        errors.Missing,
        (
            "the kernel knows no such thing, or not the scheduler that it names; "
            "look with ipvsadm -Ln, and try modprobe ip_vs_SCHEDULER"
        ),
    ),
    errno.ESRCH: (
        errors.Denied,
        (
            "there is no such service or entry in the kernel, somebody may have taken it away; "
            "run the command again"
        ),
    ),
    errno.EEXIST: (
        errors.Denied,
        "it is there already, somebody may have made it meanwhile; run the command again",
    ),
    errno.ENODEV: (errors.Denied, "there is no such link; compare with ip link"),
    errno.ENXIO: (errors.Denied, "there is no such link; compare with ip link"),
    errno.EADDRNOTAVAIL: (errors.Denied, "the address is not there; compare with ip address"),
    errno.ENETDOWN: (errors.Denied, "the link is down; set it up with ip link set LINK up"),
    errno.ENETUNREACH: (errors.Denied, "no route leads there; compare with ip route"),
    errno.EINVAL: (
        errors.Denied,
        "the kernel finds a value invalid; an older kernel may not know it",
    ),
    errno.ERANGE: (errors.Denied, "the kernel finds a value out of range; correct it in the spec"),
    errno.EBUSY: (errors.Denied, "it is in use by another program; wait and run the command again"),
    errno.EOPNOTSUPP: (errors.Missing, "this kernel does not support it; load its module"),
    errno.EAFNOSUPPORT: (errors.Missing, "this kernel lacks the address family (is IPv6 off?)"),
    errno.EPROTONOSUPPORT: (errors.Missing, "this kernel lacks the protocol; load its module"),
    errno.ENOSYS: (errors.Missing, "this kernel does not support it"),
    errno.EROFS: (errors.Denied, "it is read-only here; a container may not set it"),
    errno.ETIMEDOUT: (errors.Unreachable, "the kernel did not answer in time; run it again"),
    errno.EAGAIN: (errors.Unreachable, "the table kept changing while it was read; run it again"),
    errno.ENOBUFS: (errors.Unreachable, "an answer of the kernel was lost; run it again"),
    errno.ENOMEM: (errors.Unreachable, "the kernel is out of memory; free some and run it again"),
}


def translate(error: Union[OSError, int], what: str) -> errors.PlaceError:
    """Return our error for an OSError (or bare errno) met while doing `what`; never raises it."""
    code = error if isinstance(error, int) else error.errno or 0
    words = getattr(error, "text", "")
    kind, sentence = _SENTENCES.get(code, (errors.PlaceError, ""))
    if not sentence:
        sentence = os.strerror(code) if code else str(error)
        return kind(f"{what}: {sentence}{_said(words)}; see the kernel's log with dmesg")
    return kind(f"{what}: {sentence}{_said(words)}")


def _said(words: str) -> str:
    return f" (the kernel says: {words})" if words else ""
