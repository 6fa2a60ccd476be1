"""What a lab's users call: up, down, names, call, and `exec_main` behind `onearm lab exec`.

`exec` is a whole process for every command, so this imports next to nothing, and what only the
others need when they need it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from onearm.errors import OnearmError, PlaceError, Unreachable, UsageError, revive
from onearm.lab import paths
from onearm.lab.frames import Kind, pack
from onearm.lab.session import Session

START = Path(__file__).with_name("start.py")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
DOWN_S = 30.0
POLL_S = 0.01


class LabInfo(NamedTuple):
    """A running lab."""

    name: str
    backend: str  # native or uml
    why: str  # why that one
    kernel: str
    boot_s: float
    pid: int  # of its controller
    directory: str
    hosts: tuple[str, ...]
    already: bool = False  # it ran before


def names() -> list[str]:
    """Return the running labs of this user."""
    root = paths.runtime_root()
    found = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    return [name for name in found if _running(name)]


def _running(name: str) -> bool:
    try:
        _connect(name).close()
    except PlaceError:
        return False
    return True


def info(name: str | None = None) -> LabInfo:
    """Return what a running lab says of itself."""
    return _ask(paths.lab_name(name), b"info")


def up(name: str | None = None, extra: Sequence[str] = ()) -> LabInfo:
    """Start a lab and return when it is ready; a running one is left as it is (`already`).

    `extra`: hosts that not every lab has.
    """
    name = paths.lab_name(name)
    said = {"already": True} if _running(name) else spawn("controller", name, *extra)
    found = info(name)._replace(already=True) if said.get("already") else _info(said)
    lacking = [host for host in extra if host not in found.hosts]
    if lacking:
        raise UsageError(
            f"lab {name} runs already, without {' and '.join(lacking)}; end it first with: "
            f"onearm lab down --name {name}"
        )
    return found


def spawn(module: str, *words: str) -> dict[str, Any]:
    """Run a module of the lab that detaches; return its one line, raise what it complains of."""
    import subprocess

    command = [sys.executable, "-ISsB", str(START), module, *words]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False,
    )  # fmt: skip
    said = _parse(done.stdout)
    if "error" in said:
        raise _kind(said["error"])(said["text"])
    return said


def _parse(output: bytes) -> dict[str, Any]:
    """Read the controller's one line; anything else is a bug, told as it came."""
    import json

    text = output.decode(errors="replace").strip()
    with contextlib.suppress(ValueError, IndexError):
        said: dict[str, Any] = json.loads(text.splitlines()[-1])
        return said
    return {"error": "OnearmError", "text": f"the lab's controller died: {text or 'no word'}"}


def _kind(name: str) -> type[OnearmError]:
    if name == "OnearmError":
        return OnearmError
    return type(revive(name, ""))


def _info(said: dict[str, Any]) -> LabInfo:
    fields = {field: said[field] for field in LabInfo._fields if field in said}
    return LabInfo(**{**fields, "hosts": tuple(said.get("hosts", ()))})


def down(name: str | None = None) -> bool:
    """End a lab and wait until nothing of it is left; False when there was none."""
    name = paths.lab_name(name)
    if (paths.lab_directory(name) / "cloud").is_dir():
        from onearm.lab.cloud import start

        start.end(paths.lab_directory(name))
    until = time.monotonic() + DOWN_S
    while time.monotonic() < until:
        with contextlib.suppress(PlaceError):
            if _ended(_ask(name, b"down").pid, until):
                return True
        if _clear(paths.lab_directory(name)):
            return False
        time.sleep(POLL_S)  # it is just starting or ending
    raise PlaceError(f"lab {name} neither answers nor ends; look for its controller with ps")


def _clear(directory: Path) -> bool:
    """Remove what a killed controller left; False while a living one has the directory."""
    if not directory.is_dir():
        return True
    lock = paths.lock(directory)
    if lock is None:
        return False
    import shutil

    shutil.rmtree(directory)
    os.close(lock)
    return True


def _ended(pid: int, until: float) -> bool:
    """Wait for a controller to be gone; a zombie is one, whatever its parent makes of it."""
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state.split()[0] == "Z":
            return True
        time.sleep(POLL_S)
    return False


def _connect(name: str) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    try:
        with paths.short_name(paths.lab_directory(name)) as here:
            door.connect(f"{here}/{paths.SOCKET}")
    except OSError as error:
        door.close()
        raise Unreachable(
            f"lab {name} is not running; start it with: onearm lab up --name {name}"
        ) from error
    return door


def _ask(name: str, question: bytes) -> LabInfo:
    import json

    with _connect(name) as door:
        door.sendall(pack(0, Kind.ASK, question))
        session = Session(door)
        for frame in session.frames():
            if frame.kind == Kind.REPLY:
                return _info(json.loads(frame.payload))
    raise Unreachable(f"lab {name} ended before it answered")


def call(
    name: str | None,
    host: str,
    argv: list[str],
    input: bytes = b"",  # noqa: A002 - as subprocess.run calls it
    timeout: float = 60,
) -> tuple[int, bytes, bytes]:
    """Run a command in a host without a process of our own: (code, stdout, stderr)."""
    files = [os.memfd_create(which) for which in ("stdin", "stdout", "stderr")]
    try:
        with os.fdopen(files[0], "wb", closefd=False) as stdin:
            stdin.write(input)
        os.lseek(files[0], 0, os.SEEK_SET)
        streams = dict(zip(("stdin", "stdout", "stderr"), files, strict=True))
        code = run(name, host, argv, **streams, timeout=timeout)
        return code, _content(files[1]), _content(files[2])
    finally:
        for fd in files:
            os.close(fd)


def _content(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb", closefd=False) as file:
        return file.read()


def run(
    name: str | None,
    host: str,
    argv: list[str],
    *,
    stdin: int = 0,
    stdout: int = 1,
    stderr: int = 2,
    signals: int | None = None,
    timeout: float | None = None,
) -> int:
    """Run a command in a host on these descriptors; return its exit code as a shell counts it.

    `signals` is a descriptor that yields one byte per signal to hand on.
    """
    name = paths.lab_name(name)
    if not argv:
        raise UsageError(f"there is no command to run in {host}")
    words = [host, os.environ.get("TERM", ""), *argv]
    with _connect(name) as door:
        door.sendall(pack(0, Kind.OPEN, b"\0".join(os.fsencode(word) for word in words)))
        return Session(door, (stdin, stdout, stderr), signals).run(name, timeout)


def exec_main(name: str | None, host: str, argv: list[str]) -> int:
    """`onearm lab exec HOST -- CMD`: this process stands for the command, signals included."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in FORWARDED:
        signal.signal(number, lambda *_: None)
    return run(name, host, argv, signals=reader)
