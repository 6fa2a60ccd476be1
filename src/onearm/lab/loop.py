"""The one selector loop of agent, host inits and controller: lines, other descriptors, children."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable

from onearm.lab.frames import Frame, Line

Receive = Callable[[list[Frame]], None]
Ended = Callable[[], None]
Ready = Callable[[], object]


class Loop:
    """Calls back when something can be done; everything here is one thread."""

    def __init__(self) -> None:
        """Start with nothing to wait for."""
        self.selector = selectors.DefaultSelector()
        self.lines: dict[Line, int] = {}
        self.going = True

    def add(self, line: Line, receive: Receive, ended: Ended) -> None:
        """Serve a line: `receive` gets the frames of each read, `ended` is called once."""

        def readable() -> None:
            try:
                frames = line.receive()
            except (EOFError, ValueError):
                self.drop(line)
                ended()
                return
            receive(frames)

        def ready(mask: int) -> None:
            if mask & selectors.EVENT_WRITE:
                line.flush()
            if mask & selectors.EVENT_READ:
                readable()

        self.lines[line] = line.events
        self.selector.register(line.fd, line.events, ready)

    def drop(self, line: Line) -> None:
        """Forget a line and close it; a second time does nothing."""
        if self.lines.pop(line, None) is not None:
            self.selector.unregister(line.fd)
            line.close()

    def watch(self, fd: int, events: int, ready: Ready) -> None:
        self.selector.register(fd, events, lambda _: ready())

    def unwatch(self, fd: int) -> None:
        """Stop watching; not to be watched is fine."""
        if self.watched(fd):
            self.selector.unregister(fd)

    def watched(self, fd: int) -> bool:
        return fd in self.selector.get_map()

    def signals(self, numbers: tuple[int, ...], arrived: Callable[[int], None]) -> None:
        """Turn signals into calls from the loop."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def ready() -> None:
            for number in set(os.read(reader, 4096)):
                arrived(number)

        self.watch(reader, selectors.EVENT_READ, ready)

    def run(self, until: Callable[[], bool] | None = None, wait_s: float | None = None) -> bool:
        """Serve until `going` is False (-> False), or `until()` holds (-> True).

        With `wait_s` one idle wait that long also ends it.
        """
        while self.going:
            if until and until():
                return True
            self._refresh()
            ready = self.selector.select(wait_s)
            if not ready and wait_s is not None:
                break
            for key, mask in ready:
                if self.selector.get_map().get(key.fd) is key:  # not dropped by one before
                    key.data(mask)
        return False

    def _refresh(self) -> None:
        for line, before in self.lines.items():
            now = line.events
            if now != before:
                self.selector.modify(line.fd, now, self.selector.get_key(line.fd).data)
                self.lines[line] = now
