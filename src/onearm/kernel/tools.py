"""Running a system tool by its argument list, and code of ours in a network namespace apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from onearm import errors

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
TIMEOUT_S = 15.0
# A login without root's PATH (ssh NAME sudo -n) may not see where these tools live.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def find(tool: str) -> str:
    """Return the path of a tool; an empty text when the host has none."""
    import shutil

    return shutil.which(tool, path=_PATH) or ""


def attempt(argv: Sequence[str], stdin: str = "") -> tuple[int, str, str]:
    """Run a tool; return exit code, output and error text. Missing: not installed; Unreachable."""
    import subprocess  # most runs need no tool, and a start of the node is paid for every time

    path = find(argv[0])
    if not path:
        raise errors.Missing(f"{argv[0]} is not installed here; install its package")
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env={"PATH": _PATH, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise errors.Unreachable(f"{argv[0]} did not end within {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise errors.PlaceError(f"{argv[0]} cannot be run: {error.strerror}") from error
    return done.returncode, done.stdout, done.stderr


def run(argv: Sequence[str], stdin: str = "") -> str:
    """Run a tool and return its output; Denied with the tool's own words when it fails."""
    code, out, err = attempt(argv, stdin)
    if code:
        raise errors.Denied(f"{' '.join(argv)}: {_first_words(err) or f'exit code {code}'}")
    return out


def _first_words(text: str) -> str:
    """Return the first complaint: what follows is its consequence. `#` opens a mere remark."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def module_there(module: str, modules: str = "/sys/module", lib: str = "/lib/modules") -> bool:
    """Tell whether a kernel module is loaded, or built in; asking must not load it.

    A module that could be loaded but is not has nothing to show, and a tool that only lists would
    load it.
    """
    if Path(modules, module).exists():
        return True
    try:
        known = Path(lib, os.uname().release, "modules.dep").read_text(encoding="utf-8")
    except OSError:
        return True  # no modules to load on this host: then asking loads none
    return f"/{module}.ko" not in known


def apart(work: Callable[[], str]) -> str:
    """Call `work` in a new network namespace that ends with it; return its text, or why not.

    A namespace belongs to a thread, and what the thread starts inherits it: the rest of this
    process stays where it is (unshare(2), CLONE_NEWNET).
    """
    import ctypes  # needed where a new service is planned, and each start pays for what it loads
    import threading

    said: list[str] = []

    def body() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            code = os.strerror(ctypes.get_errno())
            said.append(f"no network namespace to try it in: {code}")
            return
        try:
            said.append(work())
        except (OSError, errors.OnearmError) as error:
            said.append(str(error))

    thread = threading.Thread(target=body, name="apart")
    thread.start()
    thread.join()
    return said[0] if said else "the trial ended without a word"
