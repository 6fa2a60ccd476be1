"""The Pythons of this machine under which hosts could run the node: one of each minor version."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 9)
ASK = "import json, sys, venv, zipimport; print(sys.implementation.name, *sys.version_info[:2])"


def candidates():
    """Give what may be a Python: on the PATH by its minor version, and what pyenv keeps."""
    for minor in range(OLDEST[1], OLDEST[1] + 20):
        found = shutil.which(f"python3.{minor}")
        if found:
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/3.*/bin/python3"))


def others():
    """Give {(3, minor): its path} of all CPythons that hosts may have, but for this one's kind."""
    found = {}
    for path in candidates():
        done = subprocess.run([path, "-I", "-c", ASK], capture_output=True, text=True)
        words = done.stdout.split()  # a shim of pyenv may stand for nothing
        if done.returncode or words[0] != "cpython":
            continue
        version = (int(words[1]), int(words[2]))
        if version >= OLDEST and version != sys.version_info[:2]:
            found.setdefault(version, path)
    return found
