"""The one process that owns a lab's Neutron and enforces what it says, as long as the lab lives.

It writes one line to standard output once it is enforced, or why it is not, and ends on SIGTERM or
with the lab's controller; then its Neutron ends too, and its directory goes.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path

from onearm.errors import OnearmError
from onearm.lab import client, paths
from onearm.lab.cloud import files, network
from onearm.lab.cloud.api import Api
from onearm.lab.cloud.enforcement import ENFORCERS, Enforcer
from onearm.lab.controller import report

POLL_S = 0.1
LOG, WISHES, DONE = "keeper.log", "wishes.json", "done"


class Keeper:
    """Neutron and the enforcement of what it says, for one lab."""

    def __init__(self, name: str, directory: Path) -> None:
        """Keep whose it is; `start` starts it."""
        self.directory = directory
        self.ended = threading.Event()
        kind = self.wishes()["enforce"]
        self.enforcer: Enforcer = ENFORCERS[kind](name, directory)
        self.server = self.enforcer.server
        self._done = ""

    def start(self) -> None:
        """Start Neutron, fill it, and enforce it once."""
        self.enforcer.prepare()
        self.server.start()
        admin = Api(self.server.url, _identity("admin"))
        network.build(admin, self.directory, self.enforcer.nodes(self.wishes()["compute"]))
        self.enforcer.begin(admin, self.ended)
        self.once()

    def wishes(self) -> dict[str, str]:
        """Read how it is wanted just now: firewall, compute, and the mark of who asked."""
        found: dict[str, str] = json.loads((self.directory / WISHES).read_text())
        return found

    def once(self) -> None:
        """Enforce what there is and is wanted; say for whom it was done."""
        wishes = self.wishes()
        self.enforcer.once(wishes["firewall"])
        if wishes["asked"] != self._done:
            self._done = wishes["asked"]
            (self.directory / DONE).write_text(self._done)

    def follow(self) -> None:
        """Enforce until the end; what fails is tried again."""
        while not self.ended.wait(POLL_S):
            try:
                self.once()
            except (OnearmError, ValueError, KeyError) as error:
                sys.stderr.write(f"{type(error).__name__}: {error}\n")

    def stop(self) -> None:
        """End Neutron and take its files along."""
        self.ended.set()
        self.server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _identity(name: str) -> files.Identity:
    return next(identity for identity in files.IDENTITIES if identity.name == name)


def _end_with(keeper: Keeper, controller: int) -> None:
    """End on SIGTERM, or when the controller is gone, however it went."""
    signal.signal(signal.SIGTERM, lambda *_: keeper.ended.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    death = os.pidfd_open(controller)

    def wait() -> None:
        select.select([death], [], [])
        keeper.ended.set()

    threading.Thread(target=wait, daemon=True).start()


def run(name: str, directory: Path) -> None:
    """Own the cloud's directory until the end."""
    lock = paths.lock(directory)
    if lock is None:
        raise OnearmError(f"another process keeps the cloud of lab {name}")
    _clear(directory)
    os.dup2(os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    (directory / "pid").write_text(str(os.getpid()))
    keeper = Keeper(name, directory)
    try:
        _end_with(keeper, client.info(name).pid)
        keeper.start()
        report({"url": keeper.server.url})
        keeper.follow()
    finally:
        keeper.stop()
        os.close(lock)


def _clear(directory: Path) -> None:
    """Take away what a killed keeper left: this one begins from nothing."""
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != WISHES:
            entry.unlink()


def main() -> None:
    """Detach and run; `start.py cloud.keeper NAME`."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    name = sys.argv[1]
    directory = paths.lab_directory(name) / "cloud"
    try:
        run(name, directory)
    except OnearmError as error:
        report({"error": type(error).__name__, "text": str(error)})
    except Exception as error:  # noqa: BLE001 - the caller must hear of it: there is no terminal
        trace = traceback.format_exc()
        report({"error": "OnearmError", "text": f"{type(error).__name__}: {error}\n{trace}"})


if __name__ == "__main__":
    main()
