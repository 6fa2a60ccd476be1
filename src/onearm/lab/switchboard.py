"""Passes frames between the clients of a lab and its agent; gives every command a stream number."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable

from onearm.lab.frames import Frame, Kind, Line
from onearm.lab.loop import Loop

Question = Callable[[bytes], bytes]


class Switchboard:
    """A client has one command; what it may have under way is bounded by the windows."""

    def __init__(self, loop: Loop, agent: Line, answer: Question) -> None:
        """`answer` answers what is asked of the controller itself."""
        self.loop = loop
        self.agent = agent
        self.answer = answer
        self.clients: dict[int, Line] = {}
        self.streams: dict[Line, int] = {}
        self.last = 0

    def listen(self, listener: socket.socket) -> None:
        listener.settimeout(0)
        self.loop.watch(listener.fileno(), selectors.EVENT_READ, lambda: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            line = Line(listener.accept()[0].detach())
            self.loop.add(
                line, lambda frames: self._from_client(line, frames), lambda: self._died(line)
            )

    def _from_client(self, line: Line, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.kind == Kind.ASK:
                line.send(0, Kind.REPLY, self.answer(frame.payload))
                continue
            if frame.kind == Kind.OPEN:
                self._number(line)
            stream = self.streams.get(line)
            if stream is not None:
                self.agent.send(stream, frame.kind, frame.payload)

    def _number(self, line: Line) -> None:
        self.last += 1
        self.streams[line] = self.last
        self.clients[self.last] = line

    def _died(self, line: Line) -> None:
        stream = self.streams.pop(line, None)
        if stream is not None:
            del self.clients[stream]
            self.agent.send(stream, Kind.GONE)

    def from_agent(self, frame: Frame) -> None:
        """Hand a frame to the client that it is for, if that still lives."""
        line = self.clients.get(frame.stream)
        if line is None:
            return
        line.send(0, frame.kind, frame.payload)
        if frame.kind in {Kind.EXIT, Kind.REFUSED}:
            del self.clients[frame.stream]
            del self.streams[line]
