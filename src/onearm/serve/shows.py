"""All that shows a daemon, opened and closed together."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from onearm.serve.client import path_of
from onearm.serve.door import Ask, Door
from onearm.serve.picture import Latest
from onearm.serve.textfile import Textfile
from onearm.serve.web import Web, parsed


class Part(Protocol):
    """Something that shows."""

    def open(self) -> None:
        """Begin."""

    def close(self) -> None:
        """End."""


class Shows:
    """The socket always; the page and the file of metrics where they are asked for."""

    def __init__(
        self,
        name: str,
        latest: Latest,
        ask: Ask,
        *,
        listen: str | None = None,
        web_names: tuple[str, ...] = (),
        metrics_file: Path | None = None,
    ) -> None:
        """Prepare; nothing is opened before the first snapshot is there."""
        parts: list[Part] = [Door(path_of(name), latest, ask)]
        if listen is not None:
            parts.append(Web(parsed(listen), latest, web_names))
        if metrics_file is not None:
            parts.append(Textfile(metrics_file, latest))
        self._parts, self._opened = parts, list[Part]()

    def open(self) -> None:
        """Open all; raises what cannot be opened, with nothing left open."""
        for part in self._parts:
            try:
                part.open()
            except Exception:
                self.close()
                raise
            self._opened.append(part)

    def close(self) -> None:
        """Close what is open."""
        while self._opened:
            self._opened.pop().close()
