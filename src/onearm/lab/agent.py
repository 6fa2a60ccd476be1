"""The top of the lab's processes: builds the hosts, passes frames to and from their inits.

In the guest it is PID 1 (`agent guest DEVICE MODULES [HOST…]`); natively it is PID 1 of a pid
namespace (`agent native FD [HOST…]`), so that in both its end is the end of everything in the lab.
The hosts named are those that not every lab has.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import termios
import traceback
import tty
from collections.abc import Sequence
from functools import partial

from onearm.lab import guest, hosts, linux
from onearm.lab.execs import ENVIRONMENT, Execs
from onearm.lab.frames import NUMBER, Frame, Kind, Line
from onearm.lab.loop import Loop
from onearm.lab.topology import HOSTS, wiring

TOP = "-"  # the agent's own namespaces, for tests of the lab itself


class Agent:
    """Knows which host each stream belongs to."""

    def __init__(self, up: Line, extra: Sequence[str], *, chokes: bool) -> None:
        """Talk to the controller over `up`; a line that chokes is told what was taken from it."""
        self.names = (*HOSTS, *extra)
        self.loop = Loop()
        self.up = up
        self.chokes = chokes
        self.execs = Execs(self.loop, TOP, up.send)
        self.lines: dict[str, Line] = {}
        self.routes: dict[int, str] = {}

    def build(self) -> None:
        """Make every host and the network between them."""
        here = os.open("/proc/self/ns/pid", os.O_RDONLY)
        pids = {name: self._born(name, here) for name in self.names}
        os.close(here)
        self._hear_all()
        hosts.ip_batch("link set lo up\n" + wiring(pids))
        for line in self.lines.values():
            line.send(0, Kind.HELLO)
        self._hear_all()

    def _born(self, name: str, here: int) -> int:
        """Fork a host's init as PID 1 of a new pid namespace."""
        ours, theirs = socket.socketpair()
        linux.unshare(linux.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            fd = theirs.detach()
            hosts.close_others(fd)
            try:
                hosts.main(name, fd, self.names)
            finally:
                os._exit(0)
        linux.setns(here, linux.CLONE_NEWPID)
        theirs.close()
        self.lines[name] = Line(ours.detach())
        return pid

    def _hear_all(self) -> None:
        """Wait for a word of every host: HELLO, or why not."""
        for line in self.lines.values():
            for frame in hosts.await_frames(line):
                if frame.kind == Kind.FAILED:
                    raise OSError(frame.payload.decode(errors="replace"))

    def serve(self) -> None:
        self.loop.add(self.up, self._from_controller, self._end)
        for name, line in self.lines.items():
            self.loop.add(line, self._from_host, partial(self._host_died, name))
        self.loop.signals((signal.SIGCHLD,), lambda _: self.execs.reap())
        self.loop.run()

    def _end(self) -> None:
        self.loop.going = False

    def _from_controller(self, frames: list[Frame]) -> None:
        if self.chokes:
            self.up.send(0, Kind.TAKEN, NUMBER.pack(self.up.took))
        for frame in frames:
            if frame.kind == Kind.HALT:
                self._end()
            elif frame.kind == Kind.OPEN:
                self._open(frame)
            else:
                self._pass(frame)

    def _open(self, frame: Frame) -> None:
        name = os.fsdecode(frame.payload.split(b"\0", 1)[0])
        if name == TOP or name in self.lines:
            self.routes[frame.stream] = name
            self._pass(frame)
            return
        text = f"the lab has no host named {name!r}; it has {', '.join(self.names)}"
        self.up.send(frame.stream, Kind.REFUSED, text.encode(errors="replace"))

    def _pass(self, frame: Frame) -> None:
        name = self.routes.get(frame.stream)
        if name == TOP:
            self.execs.take(frame)
        elif name in self.lines:
            self.lines[name].send(*frame)
        if frame.kind == Kind.GONE:
            self.routes.pop(frame.stream, None)

    def _from_host(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.up.send(*frame)
            if frame.kind == Kind.EXIT:
                self.routes.pop(frame.stream, None)

    def _host_died(self, name: str) -> None:
        del self.lines[name]
        for stream in [s for s, host in self.routes.items() if host == name]:
            text = f"the init of {name} died; take the lab down and up again"
            self.up.send(stream, Kind.REFUSED, text.encode())


def in_guest(device: str, modules: str, *extra: str) -> Agent:
    guest.prepare(modules)
    fd = os.open(device, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd, termios.TCSANOW)
    return Agent(Line(fd), extra, chokes=True)


def on_this_kernel(fd: str, *extra: str) -> Agent:
    """Natively: nothing that the lab does may show outside."""
    linux.unshare(hosts.NAMESPACES)
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc")
    hosts.close_others(int(fd))
    return Agent(Line(int(fd)), extra, chokes=False)


def run(agent: Agent) -> None:
    try:
        agent.build()
    except (OSError, EOFError, subprocess.SubprocessError) as error:
        agent.up.send(0, Kind.FAILED, str(error).encode())
    else:
        said = {"kernel": os.uname().release, "hosts": agent.names}
        agent.up.send(0, Kind.HELLO, json.dumps(said).encode())
    agent.serve()


def main() -> None:
    os.chdir("/")
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    kind, *arguments = sys.argv[1:]
    if kind == "guest":
        try:
            run(in_guest(*arguments))
        except Exception:  # noqa: BLE001 - the console is all that is left to tell of it
            traceback.print_exc()
        finally:
            linux.power_off()
    else:
        run(on_this_kernel(*arguments))


if __name__ == "__main__":
    main()
