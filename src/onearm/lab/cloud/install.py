"""Neutron in a virtual environment of its own, built once per generation and kept in the cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from onearm.errors import Missing

HERE = Path(__file__).parent
GENERATIONS = ("29", "26")  # 2026.2 and 2025.1
PYTHONS = ((3, 11), (3, 14))  # the constraints fit these, both included
TIMEOUT_S = 900


def cache_directory() -> Path:
    """Return what is built once and can be built again."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "onearm"


def environment(generation: str = GENERATIONS[0]) -> Path:
    """Return the directory of a ready environment; build it if it is not there."""
    constraints = HERE / f"constraints-{generation}.txt"
    digest = hashlib.sha256(constraints.read_bytes() + (HERE / "inside/schema.py").read_bytes())
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = cache_directory()
    base.mkdir(parents=True, exist_ok=True)
    home = base / f"neutron-{generation}-py{version}-{digest.hexdigest()[:12]}"
    with _alone(home.with_suffix(".lock")):
        if not (home / "ready").exists():
            _build(home, constraints)
    return home


def python(home: Path) -> Path:
    """Return the environment's interpreter."""
    return home / "bin" / "python"


def template(home: Path) -> Path:
    """Return the empty database that each server starts with a copy of."""
    return home / "template.sqlite"


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _build(home: Path, constraints: Path) -> None:
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        raise Missing(
            "the lab's Neutron needs Python 3.11 to 3.14, and this is"
            f" {sys.version.split()[0]}: run onearm under one of these"
        )
    shutil.rmtree(home, ignore_errors=True)
    _run("make a virtual environment", [sys.executable, "-m", "venv", str(home)])
    pinned = _pins(constraints)
    pip = [str(python(home)), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run("install Neutron", [*pip, "-c", str(constraints), *pinned])
    schema = [str(python(home)), "-W", "ignore", str(HERE / "inside/schema.py")]
    _run("make Neutron's database", [*schema, str(template(home))])
    (home / "ready").touch()


def _pins(constraints: Path) -> list[str]:
    wanted = ("neutron==", "python-openstackclient==")
    return [line for line in constraints.read_text().split() if line.startswith(wanted)]


def _run(what: str, argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"cannot {what} for the lab's cloud: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Missing(
            f"cannot {what} for the lab's cloud ({last[:300]}); by hand: {' '.join(argv)}"
        )
