"""What the kernel tells unasked: changes of links and addresses, and of files."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
from pathlib import Path
from typing import Optional, final

from onearm.kernel.netlink import NETLINK_ROUTE

GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR (linux/rtnetlink.h)
# include/uapi/linux/inotify.h: what ends a write or an atomic replacement
IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x8, 0x80, 0x100, 0x200
IN_NONBLOCK, IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_EVENT = struct.Struct("iIII")
BUFFER_BYTES = 1 << 16


@final
class Events:
    """One wait for all of it. `links` and `file` are what `wait` may return."""

    def __init__(self, file: Path) -> None:
        """Listen from now on. A file is watched by its folder: it may be replaced."""
        self._name = file.name.encode()
        self._routes = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_ROUTE
        )
        try:
            self._routes.bind((0, GROUPS))
            self._files = _inotify(file.parent)
        except BaseException:
            self._routes.close()
            raise

    def wait(self, timeout_s: Optional[float] = None) -> set[str]:
        """Wait for the next changes; nothing when none came in time. One call tells of many."""
        ready, _, _ = select.select([self._routes.fileno(), self._files], [], [], timeout_s)
        found = set()
        if self._routes.fileno() in ready:
            self._empty()
            found.add("links")
        if self._files in ready and self._named():
            found.add("file")
        return found

    def _empty(self) -> None:
        """Read all that waits. What was lost for want of buffer counts as told (ENOBUFS)."""
        while True:
            try:
                self._routes.recv(BUFFER_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue

    def _named(self) -> bool:
        try:
            data = os.read(self._files, BUFFER_BYTES)
        except BlockingIOError:
            return False
        start, found = 0, False
        while start + _EVENT.size <= len(data):
            _, _, _, length = _EVENT.unpack_from(data, start)
            start += _EVENT.size
            found |= data[start : start + length].rstrip(b"\0") == self._name
            start += length
        return found

    def close(self) -> None:
        """Listen no more."""
        self._routes.close()
        os.close(self._files)


def _inotify(folder: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
    if fd < 0:
        raise _error(folder)
    mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE
    if libc.inotify_add_watch(fd, os.fsencode(folder), mask) < 0:
        error = _error(folder)
        os.close(fd)
        raise error
    return int(fd)


def _error(folder: Path) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), str(folder))
