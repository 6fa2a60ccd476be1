"""The guest kernel's modules as depmod wants them: a tree built once per kernel, in the cache.

Nothing is ever written to the package's own /usr/lib/uml: there is only a link to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from onearm.errors import Missing
from onearm.lab.paths import cache_directory

PACKAGED = Path("/usr/lib/uml/modules")
LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
# What every lab needs; schedulers, iptables, nft and the like are loaded by the guest when asked.
NEEDED = ("overlay", "ipv6", "veth", "bridge", "dummy", "ip_vs")
LOAD = "load"


def tree(version: str) -> Path:
    """Return a directory with lib/modules/VERSION and `load`, the files to load in order."""
    source = PACKAGED / version
    if not (source / "kernel").is_dir():
        raise Missing(f"{source} is missing, so the guest has no ip_vs; install user-mode-linux")
    stamp = f"{version}-{source.stat().st_mtime_ns}"
    built = cache_directory() / f"modules-{stamp}"
    if not (built / LOAD).exists():
        _build(version, source, built)
    return built


def _build(version: str, source: Path, built: Path) -> None:
    """Build aside and rename: another process may be doing the same."""
    aside = Path(tempfile.mkdtemp(prefix=".modules-", dir=built.parent))
    try:
        aside.chmod(0o755)
        inside = aside / "lib/modules" / version
        inside.mkdir(parents=True)
        (inside / "kernel").symlink_to(source / "kernel")
        for name in LISTS:
            if (source / name).exists():
                shutil.copy(source / name, inside)
        _run(["depmod", "-b", str(aside), version])
        paths = [str(path).replace(str(aside), str(built)) for path in _order(aside, version)]
        (aside / LOAD).write_text("\n".join(paths) + "\n", "utf-8")
        _put(aside, built)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(aside: Path, built: Path) -> None:
    try:
        aside.rename(built)
    except OSError:
        if not (built / LOAD).exists():
            shutil.rmtree(built, ignore_errors=True)
            aside.rename(built)


def _order(base: Path, version: str) -> list[Path]:
    """Return the module files that NEEDED come to, each behind what it needs."""
    found: dict[Path, None] = {}
    for name in NEEDED:
        lines = _run(["modprobe", "-d", str(base), "-S", version, "--show-depends", name])
        for line in lines.splitlines():
            word, _, rest = line.partition(" ")
            if word == "insmod":
                found[Path(os.path.normpath(rest.split()[0]))] = None
    return list(found)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is missing; install kmod") from error
    if done.returncode:
        raise Missing(
            f"{' '.join(command)} failed: {done.stderr.strip()}; reinstall user-mode-linux and kmod"
        )
    return done.stdout
