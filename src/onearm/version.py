"""Which onearm this is: the version, and the commit that it was built from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import onearm

BUILD = "build.txt"  # beside this file in what was built; hatch_build.py writes it
HOME = Path(__file__).resolve().parent


def words() -> str:
    """Say it in one line."""
    return f"onearm, version {onearm.__version__} ({commit()})"


def commit() -> str:
    """Name the commit: the one kept at the build, or that of the checkout that runs."""
    try:
        return (HOME / BUILD).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return described(HOME.parents[1])


def described(folder: Path) -> str:
    """Name the commit of a checkout, and whether files of it were changed since."""
    if not (folder / ".git").exists():  # a repository around it is somebody else's
        return "built outside git"
    git = ["git", "--no-optional-locks", "-C", str(folder)]
    form = ("--always", "--abbrev=40", "--exclude=*", "--dirty= and changes since")
    try:
        done = subprocess.run([*git, "describe", *form], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "built outside git"
    return f"commit {done.stdout.strip()}"
