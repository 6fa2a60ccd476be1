"""The shim that lets the guest kernel run on CPUs whose register set is larger than it knows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from onearm.errors import Missing
from onearm.lab.paths import cache_directory

SOURCE = Path(__file__).with_name("xstate.c")
LARGE = {"amx_tile", "apxf"}  # the CPU features that outgrow the guest's buffer


def needed() -> bool:
    with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as info:
        flags = next((line for line in info if line.startswith("flags")), "")
    return not LARGE.isdisjoint(flags.split())


def shim() -> Path | None:
    """Return the compiled shim, built when it is missing or older than its source."""
    if not needed():
        return None
    built = cache_directory() / "xstate.so"
    if not built.exists() or built.stat().st_mtime < SOURCE.stat().st_mtime:
        _compile(built)
    return built


def _compile(built: Path) -> None:
    compiler = shutil.which("cc")
    aside = built.with_name(f".{built.name}.{os.getpid()}")
    why = "there is no cc"
    if compiler:
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(aside), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            aside.replace(built)
            return
        why = f"{compiler} failed: {done.stderr.strip()}"
    raise Missing(
        f"this CPU (AMX or APX) needs a small C shim for the guest kernel, and {why}; "
        "install gcc and libc6-dev"
    )
