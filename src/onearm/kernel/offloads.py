"""Offloads of links that break forwarding: large receive offload, asked by ioctl."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from array import array
from collections.abc import Iterable

SIOCETHTOOL = 0x8946  # include/uapi/linux/sockios.h
GFLAGS = 0x25  # include/uapi/linux/ethtool.h: ETHTOOL_GFLAGS
FLAGS = {1 << 15: "lro"}  # ETH_FLAG_LRO
_IFREQ = struct.Struct("16sP16x")  # include/uapi/linux/if.h: a name and a pointer, in 40 bytes
_NOT_THERE = (errno.EOPNOTSUPP, errno.ENODEV)  # no ethtool in this driver; the link went away


def flags_on(value: int) -> tuple[str, ...]:
    """Name the offloads in the flags that the kernel gave."""
    return tuple(name for bit, name in FLAGS.items() if value & bit)


def flags(link: str) -> int:
    """Return the flags of a link (ETHTOOL_GFLAGS); raises OSError: EOPNOTSUPP, ENODEV."""
    answer = array("I", (GFLAGS, 0))  # struct ethtool_value
    request = _IFREQ.pack(link.encode()[:15], answer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s.fileno(), SIOCETHTOOL, request)
    return answer[1]


def offloads(links: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return by link the offloads that are on; links without any are left out. Raises OSError."""
    found: dict[str, tuple[str, ...]] = {}
    for link in links:
        try:
            on = flags_on(flags(link))
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            continue
        if on:
            found[link] = on
    return found
