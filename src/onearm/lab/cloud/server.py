"""One running Neutron: a directory, a process, an address."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from onearm.errors import Missing
from onearm.lab.cloud import files, install

if TYPE_CHECKING:
    from typing_extensions import Self

START_S = 90.0
END_S = 5.0


class Server:
    """A Neutron API on 127.0.0.1. It ends with `stop`, or with the process that started it."""

    def __init__(self, directory: Path, generation: str = install.GENERATIONS[0]) -> None:
        """Name the directory; what stands there from an earlier run is kept."""
        self.directory = directory.absolute()
        self.generation = generation
        self.port = 0
        self.started_s = 0.0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def clouds_yaml(self) -> Path:
        """The file for OS_CLIENT_CONFIG_FILE; one cloud per identity."""
        return self.directory / "clouds.yaml"

    def start(self) -> None:
        """Start the process and return when it answers."""
        home = install.environment(self.generation)
        began = time.monotonic()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(self.directory)
        database = self.directory / "neutron.sqlite"
        if not database.exists():
            shutil.copyfile(install.template(home), database)
        self.port = self._spawn(home)
        self.clouds_yaml.touch(mode=0o600)
        self.clouds_yaml.write_text(files.clouds_yaml(self.url))
        self.started_s = time.monotonic() - began

    def _spawn(self, home: Path) -> int:
        script = install.HERE / "inside" / "serve.py"
        argv = [str(install.python(home)), "-W", "ignore", str(script), str(self.directory)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OS_")}
        with (self.directory / "neutron.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*argv, str(self.port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            )
        line = _first_line(self._process.stdout, START_S)
        if not line.strip().isdigit():
            self.stop()
            raise Missing(
                f"the lab's Neutron {self.generation} did not start;"
                f" {self.directory}/neutron.log says why"
            )
        return int(line)

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_line(stream: IO[str] | None, timeout_s: float) -> str:
    """Read one line, or nothing if none comes in time."""
    found: queue.Queue[str] = queue.Queue()
    if stream is None:
        return ""
    threading.Thread(target=lambda: found.put(stream.readline()), daemon=True).start()
    try:
        return found.get(timeout=timeout_s)
    except queue.Empty:
        return ""
