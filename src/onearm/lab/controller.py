"""The one process that owns a lab: boots it, serves its socket, and takes everything along."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onearm.errors import OnearmError, PlaceError
from onearm.lab import backends, paths
from onearm.lab.frames import Frame, Kind
from onearm.lab.loop import Loop
from onearm.lab.native import Native
from onearm.lab.switchboard import Switchboard
from onearm.lab.uml import Guest

BOOT_S = 90.0  # a loaded machine is slow; a guest that is dead is noticed at once
HALT_S = 2.0
LOCK_S = 0.05
TAIL_LINES = 3
BACKENDS: dict[str, type[Native | Guest]] = {"native": Native, "uml": Guest}


class Controller:
    """A lab from its boot to its end."""

    def __init__(self, name: str, directory: Path, extra: Sequence[str]) -> None:
        """Choose a back end and start it; `boot` waits for it."""
        self.name = name
        self.directory = directory
        self.begun = time.monotonic()
        self.loop = Loop()
        self.choice = backends.choose()
        self.backend = BACKENDS[self.choice.name](directory, extra)
        self.board = Switchboard(self.loop, self.backend.line, self._answer)
        self.info: dict[str, Any] = {}
        self.failed = ""

    def boot(self) -> None:
        """Wait until the agent says that the network stands."""
        self.loop.add(self.backend.line, self._from_agent, self._end)
        # Helpers of a killed guest keep the line open, so its own death is watched as well.
        death = os.pidfd_open(self.backend.pid)
        self.loop.watch(death, selectors.EVENT_READ, self._end)
        self.loop.run(lambda: bool(self.info or self.failed), BOOT_S)
        if not self.info:
            silent = "it was silent for too long" if self.loop.going else "it ended at once"
            raise PlaceError(
                f"lab {self.name} ({self.choice.name}: {self.choice.why}) did not start: "
                f"{self.failed or silent}{self._console()}"
            )
        self.info = {
            "onearm": 1,
            "kind": "lab",
            "name": self.name,
            "backend": self.choice.name,
            "why": self.choice.why,
            "boot_s": round(time.monotonic() - self.begun, 2),
            "pid": os.getpid(),
            "directory": str(self.directory),
            **self.info,
        }

    def _console(self) -> str:
        """Return the last words on the guest's console."""
        with contextlib.suppress(OSError):
            lines = self.backend.console.read_text("utf-8", "replace").strip().splitlines()
            if lines:
                return f"; its console ends with: {' | '.join(lines[-TAIL_LINES:])}"
        return ""

    def _from_agent(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.kind == Kind.HELLO:
                self.info = json.loads(frame.payload)
            elif frame.kind == Kind.FAILED:
                self.failed = frame.payload.decode(errors="replace")
            else:
                self.board.from_agent(frame)

    def _answer(self, question: bytes) -> bytes:
        if question == b"down":
            self._end()
        return json.dumps(self.info).encode()

    def listen(self) -> None:
        """Open the lab's door; who can reach it, runs commands in it."""
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        with paths.short_name(self.directory) as here:
            listener.bind(f"{here}/{paths.SOCKET}")
        os.umask(before)
        listener.listen(128)
        self.board.listen(listener)
        self.loop.signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), lambda _: self._end())

    def _end(self) -> None:
        self.loop.going = False

    def stop(self) -> None:
        """Ask the agent to halt, and see to it that nothing of the back end is left."""
        line = self.backend.line
        if line in self.loop.lines:
            line.send(0, Kind.HALT)
            self.loop.going = True
            self.loop.run(lambda: line not in self.loop.lines, HALT_S)
        self.backend.stop()


def main() -> None:
    """Detach, run the lab; standard output gets one line: the lab's info, or why there is none."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    name, *extra = sys.argv[1:]
    try:
        run(name, paths.private(paths.lab_directory(name)), extra)
    except OnearmError as error:
        report({"error": type(error).__name__, "text": str(error)})
    except Exception as error:  # noqa: BLE001 - the caller must hear of it: there is no terminal
        trace = traceback.format_exc()
        report({"error": "OnearmError", "text": f"{type(error).__name__}: {error}\n{trace}"})


def report(value: dict[str, Any]) -> None:
    """Say how it went, once; from then on the caller no longer waits."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(value).encode() + b"\n")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.close(nothing)


def run(name: str, directory: Path, extra: Sequence[str]) -> None:
    """Own the lab's directory until the end; the lock goes with this process."""
    lock = take(directory)
    if lock is None:
        report({"already": True})
        return
    empty(directory)
    try:
        live(name, directory, extra)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def take(directory: Path) -> int | None:
    """Lock the directory; None when a running lab has it. One that is just ending is waited for."""
    until = time.monotonic() + BOOT_S
    while time.monotonic() < until:
        held = paths.lock(directory)
        if held is not None:
            return held
        if (directory / paths.SOCKET).exists():
            return None
        time.sleep(LOCK_S)
    raise PlaceError(f"another process has been starting or ending the lab in {directory} for long")


def empty(directory: Path) -> None:
    """Clear what a killed controller left."""
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def live(name: str, directory: Path, extra: Sequence[str]) -> None:
    log = os.open(directory / paths.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    controller = Controller(name, directory, extra)
    try:
        controller.boot()
        controller.listen()
        report(controller.info)
        controller.loop.run()
    finally:
        (directory / paths.SOCKET).unlink(missing_ok=True)
        controller.stop()


if __name__ == "__main__":
    main()
