"""One ssh connection for all that a run does on a host, unless ssh_config says otherwise."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

# ssh_config(5): the first value that is found counts, and the command line comes first. So these
# are only given where no file could say otherwise: a master that an operator opened by hand, with
# a second factor, must stay the one that is used.
SAYS_OTHERWISE = re.compile(
    r"^\s*(?:control(?:master|path|persist)|include)\b", re.IGNORECASE | re.MULTILINE
)
SYSTEM = (Path("/etc/ssh/ssh_config"), Path("/etc/ssh/ssh_config.d"))
PERSIST_S = 30  # a plan, an apply and a verify come one after the other
ALIVE_S = 5  # a connection that died is not shared for long: three of these
# unix(7): a socket's path has 107 bytes; ssh's %C is 40 hex digits, and for a moment 17 more.
LONGEST_FOLDER = 107 - 1 - 40 - 17


@functools.cache
def sharing() -> tuple[str, ...]:
    """Give the options by which runs of ssh share a connection; none where that cannot be."""
    folder = _folder()
    if folder is None or any(SAYS_OTHERWISE.search(text) for text in _configurations()):
        return ()
    options = {
        "ControlMaster": "auto",
        "ControlPath": f"{folder}/%C",
        "ControlPersist": f"{PERSIST_S}",
        "ServerAliveInterval": f"{ALIVE_S}",
    }
    return tuple(word for name, value in options.items() for word in ("-o", f"{name}={value}"))


def _configurations() -> Iterator[str]:
    """Read what ssh reads; Debian's own file only includes its folder, which is read here too."""
    system, extra = SYSTEM
    for path in (Path.home() / ".ssh/config", *sorted(extra.glob("*.conf"))):
        with contextlib.suppress(OSError, RuntimeError):
            yield path.read_text(errors="replace")
    with contextlib.suppress(OSError):
        yield system.read_text(errors="replace").replace(f"Include {extra}/*.conf", "")


def _folder() -> Path | None:
    """Make the folder of the sockets: whoever can open one there is root on the hosts."""
    for variable in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "HOME"):
        given = os.environ.get(variable, "")
        path = Path(given) / (".cache/onearm/ssh" if variable == "HOME" else "onearm/ssh")
        if not given or "%" in given or not path.is_absolute() or len(str(path)) > LONGEST_FOLDER:
            continue
        with contextlib.suppress(OSError):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.stat()
            if found.st_uid == os.getuid() and not found.st_mode & 0o077:
                return path
    return None
