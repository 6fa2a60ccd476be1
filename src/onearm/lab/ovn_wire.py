"""A socket on this machine that leads to one in a lab's segment, over the lab's own line."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from onearm.errors import PlaceError
from onearm.lab import client
from onearm.lab.topology import SEGMENT

if TYPE_CHECKING:
    from typing_extensions import Self

RELAY = """\
import os, select, socket, sys
far = socket.socket(socket.AF_UNIX)
far.connect(sys.argv[1])
while True:
    ready = select.select([0, far], [], [])[0]
    for source in ready:
        data = os.read(0, 65536) if source == 0 else far.recv(65536)
        if not data:
            sys.exit()
        if source == 0:
            far.sendall(data)
        while source != 0 and data:
            data = data[os.write(1, data):]
"""


class Door:
    """Listens at a path; each connection becomes one to the socket `remote` in the segment."""

    def __init__(self, path: Path, lab: str, remote: str) -> None:
        """Open it on `__enter__`."""
        self.path, self.lab, self.remote = path, lab, remote
        self._listener = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Listen."""
        self.path.unlink(missing_ok=True)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up on everybody and wait for them to be gone."""
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _begin(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was shut down
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                self._begin(self._carry, near)

    def _carry(self, near: socket.socket) -> None:
        argv = ["python3", "-ISsc", RELAY, self.remote]
        # two descriptors: a session polls its input and its outputs by their numbers
        with near, near.dup() as out, contextlib.suppress(PlaceError):  # the lab may end first
            client.run(self.lab, SEGMENT, argv, stdin=near.fileno(), stdout=out.fileno())
