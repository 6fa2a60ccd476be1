"""Hosts that lie: command prefixes made of small programs, which say what a test wants."""

import stat
import sys
import time
from pathlib import Path

from onearm import bundle

DIGEST = bundle.build()[0]
HEAD = """\
import json, os, signal, subprocess, sys, time
raw = lambda data: os.write(1, data)
say = lambda **line: raw(json.dumps(line).encode() + b"\\n")
hello = lambda: say(onearm=1, kind="hello", build=BUILD)
asked = lambda: json.loads(sys.stdin.readline())
note = lambda pid: open(PIDS, "a").write(f"{pid}\\n")
note(os.getpid())
"""


class Liar:
    """A command prefix whose program is `body`; knows every process that it was."""

    def __init__(self, folder, body):
        self.program, self.pids = folder / "liar", folder / "pids"
        known = f"#!{sys.executable} -S\nBUILD, PIDS = {DIGEST!r}, {str(self.pids)!r}\n"
        self.program.write_text(known + HEAD + body)
        self.program.chmod(stat.S_IRWXU)
        self.prefix = [str(self.program)]

    def left(self):
        """List the processes that still live, after a moment."""
        numbers = [int(line) for line in self.pids.read_text().split()]
        for _ in range(40):
            alive = [n for n in numbers if living(n)]
            if not alive:
                return []
            time.sleep(0.05)
        return alive


def living(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))
