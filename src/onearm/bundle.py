"""The node side as one file: a reproducible zipapp of the modules that run on hosts."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import marshal
import os
import struct
import zipfile
from pathlib import Path

from onearm.errors import UsageError

ROOT = Path(__file__).parent
MODULES = (
    "__init__.py",
    "addresses.py",
    "again.py",
    "alone.py",
    "collector.py",
    "entries.py",
    "errors.py",
    "facts.py",
    "lean.py",
    "ledger.py",
    "mark_words.py",
    "model.py",
    "node.py",
    "traffic.py",
    "vitals.py",
    "wire.py",
    "kernel/*.py",
    "places/__init__.py",
    "places/address.py",
    "places/bodies.py",
    "places/boot_files.py",
    "places/boot_manager.py",
    "places/check_marks.py",
    "places/daemons.py",
    "places/director.py",
    "places/effective.py",
    "places/examine.py",
    "places/gue_port.py",
    "places/host.py",
    "places/lock.py",
    "places/look.py",
    "places/mark_rules.py",
    "places/methods.py",
    "places/real_server.py",
    "places/spec_file.py",
    "places/table.py",
    "places/timeouts.py",
    "places/tunnel_link.py",
    "serve/__init__.py",
    "serve/client.py",
)
# `dataclasses` imports `inspect`, a tenth of a start, to describe classes that have no docstring.
# All of ours have one, so it gets a stand-in that loads the real one when it is asked for anything:
# before Python 3.12 that is never.
MAIN = """\
import sys

if sys.version_info < (3, 9):
    sys.stderr.write("onearm needs Python 3.9 or later, and this is %s.%s" % sys.version_info[:2])
    sys.exit(4)


class Inspect:
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        import inspect

        return getattr(inspect, name)


sys.modules["inspect"] = Inspect()
import dataclasses

del sys.modules["inspect"]

if sys.argv[1:]:
    from onearm.alone import main
else:
    from onearm.node import main

main()
"""
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name


def sources() -> list[Path]:
    """List the node side's modules."""
    return sorted(path for pattern in MODULES for path in ROOT.glob(pattern))


@functools.cache
def build() -> tuple[str, bytes]:
    """Return the digest (SHA-256, hex) of the file and the file; the same sources give the same.

    It holds each module as source and as the bytecode of this Python, which hosts with the same
    bytecode (one minor version) take without compiling: most of what a start costs.
    """
    modules = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sources()}
    key = hashlib.sha256(importlib.util.MAGIC_NUMBER + repr(modules).encode()).hexdigest()[:16]
    data = _cached(key)
    if data is None:
        data = pack(modules)
        _keep(key, data)
    return hashlib.sha256(data).hexdigest(), data


def write(path: Path, data: bytes) -> None:
    """Put the file where somebody wants it, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        why = error.strerror or error
        raise UsageError(f"{path}: cannot be written ({why}): name another place") from error


def pack(modules: dict[str, bytes]) -> bytes:
    """Write the file from the modules' sources."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", MAIN.encode())
        for name, source in modules.items():
            _add(archive, f"onearm/{name}", source)
            _add(archive, f"onearm/{name}c", _bytecode(f"onearm/{name}", source))
    return buffer.getvalue()


def _bytecode(name: str, source: bytes) -> bytes:
    """Compile a module into an unchecked hash-based .pyc (PEP 552), which zipimport prefers."""
    code = compile(source, name, "exec", dont_inherit=True)
    head = importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + importlib.util.source_hash(source)
    try:
        return head + marshal.dumps(code, 2)  # without references, whose form depends on the run
    except ValueError:  # a constant that only a newer form can hold
        return head + marshal.dumps(code)


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onearm"


def _cached(key: str) -> bytes | None:
    """Find the file in the cache; its name tells its digest, so a damaged one is no match."""
    with contextlib.suppress(OSError, RuntimeError):
        for path in _folder().glob(f"node-{key}-*.pyz"):
            data = path.read_bytes()
            if path.stem.rpartition("-")[2] == hashlib.sha256(data).hexdigest():
                return data
    return None


def _keep(key: str, data: bytes) -> None:
    """Keep the file for the next run and drop older builds; a cache that cannot be is no error."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = [path for path in folder.glob("node-*.pyz") if key not in path.name]
        fresh = folder / f"node-{key}-{hashlib.sha256(data).hexdigest()}.pyz"
        part = fresh.with_suffix(f".{os.getpid()}")
        part.write_bytes(data)
        part.replace(fresh)
        for path in old:
            path.unlink(missing_ok=True)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)
