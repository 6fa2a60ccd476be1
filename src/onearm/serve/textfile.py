"""The metrics in a file, for node_exporter's textfile collector: replaced as a whole."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from onearm.errors import PlaceError
from onearm.serve.metrics import exposition
from onearm.serve.picture import Latest, Once

LOG = logging.getLogger(__name__)
EVERY_S = 5.0


class Textfile:
    """Writes the file every few seconds, in a thread of its own."""

    def __init__(self, path: Path, latest: Latest, every_s: float = EVERY_S) -> None:
        """Prepare; `open` begins."""
        self._path, self._every_s = path, every_s
        self._made = Once(latest, exposition)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="textfile")
        self._failed = ""

    def open(self) -> None:
        """Write it once, which raises what is wrong with it, and go on."""
        try:
            self.write()
        except OSError as error:
            raise PlaceError(
                f"--metrics-file {self._path}: it cannot be written ({error.strerror}):"
                " choose another place, or let this user write there"
            ) from error
        self._thread.start()

    def close(self) -> None:
        """Write no more; old figures are worse than none, so the file goes."""
        self._stop.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def write(self) -> None:
        """Replace the file; its reader sees the old one or the new one, whole."""
        fresh = self._path.with_name(f".{self._path.name}.new")
        fresh.write_bytes(self._made())
        fresh.chmod(0o644)
        os.replace(fresh, self._path)  # noqa: PTH105 - as rename(2), which is the point

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.write()
            except OSError as error:
                self._complain(f"{self._path} cannot be written ({error.strerror})")
            else:
                self._failed = ""

    def _complain(self, text: str) -> None:
        """Log a failure once, until it is another or has gone."""
        if text != self._failed:
            LOG.warning("%s", text)
        self._failed = text
