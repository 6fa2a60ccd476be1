"""The node side as one file: a reproducible zipapp of the modules that run on hosts."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent
MODULES = (
    "__init__.py",
    "errors.py",
    "facts.py",
    "ledger.py",
    "model.py",
    "node.py",
    "traffic.py",
    "wire.py",
    "kernel/*.py",
    "places/__init__.py",
    "places/address.py",
    "places/director.py",
    "places/host.py",
    "places/look.py",
    "places/real_server.py",
)
MAIN = "from onearm.node import main\n\nmain()\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name


def sources() -> list[Path]:
    """List the node side's modules."""
    return sorted(path for pattern in MODULES for path in ROOT.glob(pattern))


@functools.cache
def build() -> tuple[str, bytes]:
    """Return the digest (SHA-256, hex) of the file and the file; the same sources give the same."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", MAIN.encode())
        for path in sources():
            _add(archive, f"onearm/{path.relative_to(ROOT).as_posix()}", path.read_bytes())
    data = buffer.getvalue()
    return hashlib.sha256(data).hexdigest(), data


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)
