"""The files of an import: read in bounds, and only beside the one that was named."""

from __future__ import annotations

import itertools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from onearm.errors import UsageError
from onearm.imports.keepalived_text import File

LARGEST = 4 << 20  # bytes of all files together
MOST_FILES = 256
MOST_BRACES = 64
DEEPEST = 6  # folders below the file's own
ABROAD = "it lies outside of the folder of the file that is imported: copy it there"
NOTHING = "no such file"
UNREADABLE = "it cannot be read"


def read(path: Path) -> str:
    """Read one file as text; what is no UTF-8 is shown as such."""
    try:
        data = _bytes(path, LARGEST + 1)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"cannot read {path}: {why}; name a file that can be read") from None
    except ValueError as error:
        raise UsageError(f"cannot read {path}: {error}; name a file") from None
    if len(data) > LARGEST:
        raise UsageError(f"{path} has more than {LARGEST >> 20} MiB: that is no configuration")
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _bytes(path: Path, most: int) -> bytes:
    """Read a plain file: nothing that could block, or never end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no plain file")
        return file.read(most)


@dataclass
class Beside:
    """The folder of a configuration, from which it may include files; all in bounds."""

    home: Path
    files: int = 0
    size: int = 0

    def include(self, wanted: str, folder: str) -> list[File] | str:
        """Give the files that a pattern names, in their order, or why there are none."""
        found: list[File] = []
        try:
            for pattern in braces(wanted):
                place = Path(os.path.normpath(Path(folder) / pattern))
                if not place.is_relative_to(self.home):
                    return ABROAD
                for path in self._named(place):
                    if not path.resolve().is_relative_to(self.home):
                        return ABROAD
                    found.append(self._file(path))
        except (OSError, ValueError, UsageError):
            return UNREADABLE
        return found or NOTHING

    def _named(self, place: Path) -> list[Path]:
        """Give the plain files that a path with wildcards names, sorted."""
        pattern = str(place.relative_to(self.home)).replace("**", "*")
        if pattern == "." or pattern.count("/") > DEEPEST:
            return []
        found = sorted(itertools.islice(self.home.glob(pattern), MOST_FILES + 1))
        return [path for path in found if not path.is_dir()]

    def _file(self, path: Path) -> File:
        self.files += 1
        text = read(path)
        self.size += len(text)
        if self.files > MOST_FILES or self.size > LARGEST:
            raise ValueError("too many files")
        name = os.path.relpath(path, self.home)
        return File(name if name.isprintable() else "?", str(path.parent), text)


def braces(text: str, room: int = MOST_BRACES) -> list[str]:
    """Write out {a,b} in a pattern, as a C shell does, in bounds."""
    begin = text.find("{")
    depth, cuts = 0, []
    for at in range(max(begin, 0), len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 1 and text[at] in "{,":
            cuts.append(at)
        if begin >= 0 and depth == 0:
            cuts.append(at)
            break
    if begin < 0 or depth or room <= 0:
        return [text]
    head, tail = text[:begin], text[cuts[-1] + 1 :]
    made: list[str] = []
    for start, end in itertools.pairwise(cuts):
        made += braces(f"{head}{text[start + 1 : end]}{tail}", (room - len(made)) // 2)
        if len(made) > MOST_BRACES:
            break
    return made[:MOST_BRACES]
