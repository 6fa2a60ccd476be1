"""A guest that systemd boots, to see a unit run as it will: the real systemd, kernel and seccomp.

The folder that host and guest share holds what the guest needs, and in the end `told.json`.
"""

import json
import os
import shutil
import signal
import socket
import sys
import sysconfig
import time
from pathlib import Path

from onearm.lab import children, uml

HERE = Path(__file__).parent
SRC = Path(uml.__file__).parents[2]
UNIT = SRC.parent / "contrib/systemd/onearm-director@.service"
LONGEST_S = 400
HALT_S = 5  # now and then this kernel spins when it is told to halt


def told(folder, units, more=None):
    """Boot `proof.target`, return what booted_inside.py told; its console goes with a failure.

    `more` replaces parts of the world: its files, by their names in the folder, and its network.
    """
    (folder / "units").mkdir()
    shutil.copy(UNIT, folder / "units")
    for name, text in units.items():
        (folder / "units" / name).write_text(text)
    _write_world(folder, more or {})
    ours, theirs = socket.socketpair()
    argv = _command_line(folder, theirs.fileno())
    console = folder / "console"
    pid = uml.launch(argv, theirs.fileno(), console)
    found, until = folder / "told.json", time.monotonic() + LONGEST_S
    while not found.exists() and time.monotonic() < until and os.waitid(*_ended(pid)) is None:
        time.sleep(0.1)
    children.end(pid, ((0, HALT_S), (signal.SIGTERM, 2.0)))
    ours.close()
    theirs.close()
    assert found.exists(), console.read_text(errors="replace")[-4000:]
    return json.loads(found.read_text())


def _ended(pid):
    return os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT


def _write_world(folder, more):
    """Say where our Python lies: it must be seen though /root and /home are not (ProtectHome)."""
    world = {
        "python": sys.base_prefix,
        "name": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "site": sysconfig.get_path("purelib"),
        "src": str(SRC),
        "inside": str(HERE),
        **more,
    }
    (folder / "world.json").write_text(json.dumps(world))


def _command_line(folder, fd):
    """Boot as the lab does, but with another PID 1."""
    argv = uml._command_line(folder, fd, ())
    words, (*_, modules) = argv[: argv.index("--") + 1], argv
    return [*words, "-ISsB", str(HERE / "booted_init.py"), str(SRC), modules, str(folder)]
