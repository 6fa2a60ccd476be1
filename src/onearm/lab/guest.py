"""The first second of the guest: modules, a writable overlay over the machine's files, chroot."""

from __future__ import annotations

import os
from pathlib import Path

from onearm.lab import linux

LAYERS = Path("/run")
ROOT = LAYERS / "root"
MOUNTS = (
    ("proc", "proc", ""),
    ("sysfs", "sys", ""),
    ("devtmpfs", "dev", ""),
    ("devpts", "dev/pts", ""),
    ("tmpfs", "dev/shm", ""),
    ("tmpfs", "run", "mode=755"),
)

# what udev would make; install(1) and shells read from and write to these names
STREAMS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}


def prepare(modules: str) -> None:
    """Turn the read-only view of the machine into a root of our own.

    This process is PID 1 and must itself chroot, without a mount namespace of its own: the
    kernel's module loader runs with PID 1's root and so finds /lib/modules.
    """
    for path in Path(modules, "load").read_text("utf-8").splitlines():
        linux.load_module(path)
    linux.mount("tmpfs", LAYERS, "tmpfs", options="mode=755")
    for name in ("upper", "work", "root"):
        (LAYERS / name).mkdir()
    options = f"lowerdir=/,upperdir={LAYERS}/upper,workdir={LAYERS}/work"
    linux.mount("overlay", ROOT, "overlay", options=options)
    for kind, name, extra in MOUNTS:
        (ROOT / name).mkdir(parents=True, exist_ok=True)
        linux.mount(kind, ROOT / name, kind, options=extra)
    for name, target in STREAMS.items():
        if not (ROOT / "dev" / name).is_symlink():
            (ROOT / "dev" / name).symlink_to(target)
    (ROOT / "lib/modules").mkdir(parents=True, exist_ok=True)
    linux.mount(f"{modules}/lib/modules", ROOT / "lib/modules", flags=linux.MS_BIND)
    os.chdir(ROOT)
    os.chroot(".")
