"""The asking end of a daemon's local socket: JSON lines, a request and what answers it."""

from __future__ import annotations

import contextlib
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from onearm import wire
from onearm.errors import (
    Busy,
    Denied,
    Missing,
    OnearmError,
    PlaceError,
    Unreachable,
    revive,
)

FOLDER = Path("/run/onearm")
REPLY_LIMIT = 1 << 27  # bytes of one reply
DEADLINE_S = 10.0
KNOCK_S = 0.02
HEAD = {"onearm": 1}


def path_of(name: str, folder: Path = FOLDER) -> Path:
    """Say where the daemon of a spec's name listens."""
    return folder / f"{name}.sock"


def names(folder: Path = FOLDER) -> list[str]:
    """List the daemons that run on this host."""
    try:
        found = sorted(folder.glob("*.sock"))
    except OSError:
        return []
    return [path.stem for path in found if _answers(path)]


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError, OnearmError):
        if stat.S_ISSOCK(path.stat().st_mode):
            _connect(path, DEADLINE_S).close()
            return True
    return False


def ask(
    path: Path,
    request: dict[str, Any],
    part: Optional[Callable[[Any], None]] = None,
    deadline_s: float = DEADLINE_S,
) -> Any:
    """Send one request to a daemon and hand over the parts of its reply; return what ends it."""
    until = time.monotonic() + deadline_s
    with _connect(path, deadline_s) as door:
        try:
            door.sendall(wire.line({**HEAD, "kind": "request", **request}))
            return _reply(door, part or _no_part, until)
        except TimeoutError:
            raise Unreachable(
                f"the daemon {path.stem} gave no answer within {deadline_s:g} s ({path}):"
                " look at its log"
            ) from None
        except OSError as error:
            raise Unreachable(
                f"the daemon {path.stem} hung up before it answered ({error.strerror or error}):"
                " try again"
            ) from error


def _connect(path: Path, deadline_s: float) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    door.settimeout(deadline_s)
    try:
        _knock(door, path, time.monotonic() + deadline_s)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        door.close()
        raise Missing(
            f"no director daemon named {path.stem} runs on this host (nobody answers at {path}):"
            " start it with `onearm director SPEC`"
        ) from error
    except PermissionError as error:
        door.close()
        raise Denied(f"{path} may not be opened by this user: become root") from error
    except OSError as error:
        door.close()
        raise Busy(f"{path} takes no connection now ({error.strerror}): try again") from error
    return door


def _knock(door: socket.socket, path: Path, until: float) -> None:
    """Connect; where the queue before the door is full, this kind of socket says so at once."""
    while True:
        try:
            return door.connect(str(path))
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(KNOCK_S)


def _reply(door: socket.socket, part: Callable[[Any], None], until: float) -> Any:
    buffer = bytearray()
    reply = wire.ending(lambda: _line(door, buffer, until), part, REPLY_LIMIT)
    if "ok" in reply:
        return reply["ok"]
    raise _revived(reply.get("error"))


def _line(door: socket.socket, buffer: bytearray, until: float) -> bytes:
    while (end := buffer.find(b"\n")) < 0:
        if len(buffer) > wire.LINE_LIMIT:
            raise wire.WireError(f"a line of over {wire.LINE_LIMIT} bytes came back")
        door.settimeout(max(until - time.monotonic(), 0.001))
        data = door.recv(65536)
        if not data:
            raise ConnectionResetError(0, "the end of its answer is missing")
        buffer += data
    line = bytes(buffer[: end + 1])
    del buffer[: end + 1]
    return line


def _revived(error: Any) -> OnearmError:
    if not isinstance(error, dict):
        raise wire.WireError("the daemon sent neither a reply nor an error of ours")
    kind, said = (wire.decode(str, error.get(field)) for field in ("kind", "text"))
    return revive(kind, said)


def _no_part(_data: Any) -> None:
    raise PlaceError("the daemon sent a part where none belongs; both ends must be one build")
