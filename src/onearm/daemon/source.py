"""The daemon's spec file: the text that is carried out, and why a newer one is not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from onearm import spec as spec_module
from onearm.errors import SpecError, UsageError
from onearm.spec import Spec


@dataclass
class Source:
    """The file, and the spec that was last taken from it."""

    path: Path
    host: str
    spec: Spec
    error: str = ""
    taken: int = 0
    refused: int = 0

    @property
    def digest(self) -> str:
        """Name the text that is carried out."""
        return digest(self.spec.text)

    def __post_init__(self) -> None:
        """Note which file was read."""
        self._read = self._signature()

    def touched(self) -> bool:
        """Say whether the file is another one than that which was read last."""
        return self._signature() != self._read

    def _signature(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError as error:
            return (error.errno or 0,)
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)

    def reload(self) -> bool:
        """Take the file as it is now; a bad one changes nothing. Say whether there is news."""
        self._read = self._signature()
        try:
            spec = spec_module.load(self.path)
            self._fits(spec)
        except (SpecError, UsageError) as error:
            news = str(error) != self.error
            self.error = str(error)
            self.refused += news
            return news
        news = spec.text != self.spec.text or bool(self.error)
        self.spec, self.error = spec, ""
        self.taken += news
        return news

    def said(self) -> str:
        """Put the last reload in one sentence."""
        if self.error:
            return f"the spec is not taken, the old one goes on: {self.error}"
        return f"the spec of {self.path} is taken"

    def _fits(self, spec: Spec) -> None:
        if spec.name != self.spec.name:
            raise UsageError(
                f"{self.path}: it is named {spec.name!r} now, and this daemon is that of"
                f" {self.spec.name!r}: stop it with --withdraw before the name changes"
            )
        if self.host not in {director.name for director in spec.directors}:
            raise UsageError(f"{self.path}: {self.host} is not among its directors any more")


def digest(text: str) -> str:
    """Name a spec's text."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
